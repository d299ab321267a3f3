"""Repairs of a call whose refusal names what is wrong with it: which words mean which repair, and what it changes. Pure.

A repair is a short text such as `drop temperature`: that is how it is stored and shown. Wordings of vendors were taken from
public bug reports and documentation (seen 2026-11-20).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from byway.backends.envelopes import parse
from byway.backends.itemrepairs import (
    FORMS,
    any_case,
    change_item_format,
    change_items,
    find_item_repair,
    join_instructions,
    nearest_effort,
    simpler_form,
    words_of,
)
from byway.backends.openai.schema import in_words, plain_schema
from byway.backends.openai.toolids import in_form
from byway.backends.vendors import ALL_EFFORTS
from byway.decoding import DECODE_ERRORS
from byway.wordings import Wording

#: Fields that a call may lack: hints of the client, and additions of Byway. No forced tool, format or stop sequence.
OPTIONAL: Final = frozenset(
    """
    temperature top_p top_k min_p seed frequency_penalty presence_penalty repetition_penalty parallel_tool_calls
    stream_options store metadata user service_tier prompt_cache_key prompt_cache_retention safety_identifier
    reasoning_effort reasoning reasoning_format thinking enable_thinking thinking_budget chat_template_kwargs
    logit_bias logprobs top_logprobs verbosity cache_prompt timings_per_token return_progress parse_tool_calls
    context_management include_reasoning
    """.split()
)
_LIMITS: Final = ("max_tokens", "max_completion_tokens")
#: Characters of a refusal that are searched, and of what matched that are kept.
_SEARCHED: Final = 2000
_QUOTED: Final = 200
_encode: Final = msgspec.json.Encoder().encode
_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode


class Refusal(NamedTuple):
    """The parts of an error body that name what was refused."""

    text: str
    field: str
    """The field that the server names beside its text; empty when it names none."""


class NamedRepair(NamedTuple):
    """A repair, and the words of the refusal that name it."""

    repair: str
    words: str


# ------------------------------------------------------------------------------------------------------------- refusals


def refusal(body: bytes) -> Refusal:
    """Read what an error body says, in whichever envelope."""
    error = parse(body)
    return Refusal(" ".join(error.texts)[:_SEARCHED], re.split(r"[.\[]", error.parameter)[0])


# --------------------------------------------------------------------------------------------------------------- table

#: The most stop sequences, not the most characters of one.
_STOP_LIMIT: Final = Wording(
    r"(?:at most|no more than|up to|maximum(?: (?:length|number|of|is))*|limit(?: of| is)?)[ :=]{1,3}(\d{1,3})\b"
    r"(?! ?(?:byte|char|token))",
    re.IGNORECASE,
)
Maker = Callable[[re.Match[str], Mapping[str, Raw]], str]
_NAME: Final = r"[`'\"]?([A-Za-z_]{3,40})[`'\"]?"


def _fixed(repair: str, *needs: str) -> Maker:
    """Always the same repair, when one of the fields `needs` was sent."""
    return lambda match, sent: repair if not needs or any(name in sent for name in needs) else ""


def _drop(match: re.Match[str], sent: Mapping[str, Raw]) -> str:
    """Leave out the field that is named, if it is optional and was sent."""
    name = match[1].lower()
    return f"drop {name}" if name in OPTIONAL and name in sent else ""


def _thinking(match: re.Match[str], sent: Mapping[str, Raw]) -> str:
    """Turn thinking off, in the field that was sent for it."""
    name = next((name for name in ("thinking", "chat_template_kwargs", "enable_thinking") if name in sent), "")
    return f"drop {name}" if name else "set reasoning_effort none" if "reasoning_effort" in sent else ""


def _no_effort(match: re.Match[str], sent: Mapping[str, Raw]) -> str:
    """Leave out the effort, or the field that was sent for thinking."""
    return "drop reasoning_effort" if "reasoning_effort" in sent else _thinking(match, sent)


def _strings(match: re.Match[str], sent: Mapping[str, Raw]) -> str:
    """Content as plain strings: without the images that only a list can have, and an empty string in place of null."""
    messages = bytes(sent.get("messages", Raw()))
    if b'"image_url"' in messages:
        return "messages images"
    return "messages strings" if re.search(rb'"content"\s{0,9}:\s{0,9}null', messages) else ""


def _swap(match: re.Match[str], sent: Mapping[str, Raw]) -> str:
    """Send the limit of the answer under its other name."""
    old = next((name for name in _LIMITS if name in sent), "")
    return f"rename {old} {_LIMITS[1 - _LIMITS.index(old)]}" if old else ""


def _effort(match: re.Match[str], sent: Mapping[str, Raw]) -> str:
    """The nearest effort that the refusal lists; none of its own: leave it out."""
    if "reasoning_effort" not in sent:
        return ""
    own = bytes(sent["reasoning_effort"]).decode(errors="replace").strip('"')
    effort = nearest_effort(own, match[1])
    return f"set reasoning_effort {effort}" if effort else "drop reasoning_effort"


def _stops(match: re.Match[str], sent: Mapping[str, Raw]) -> str:
    """Byway ends the answer at the stop sequences itself: at all of them, or at those beyond the limit that is named."""
    try:
        count = len(msgspec.json.decode(sent.get("stop", Raw(b"")), type=list[Any]))
    except msgspec.MsgspecError:
        return "emulate stop 0" if "stop" in sent else ""
    limit = _STOP_LIMIT.search(match.string)
    number = int(limit[1]) if limit else 0
    return f"emulate stop {number if number < count else 0}"


def _format(match: re.Match[str], sent: Mapping[str, Raw]) -> str:
    """The next simpler form of a required format."""
    if "response_format" not in sent:
        return ""
    return simpler_form(bytes(sent["response_format"]), match.string)


def _placeholder(match: re.Match[str], sent: Mapping[str, Raw]) -> str:
    """A blank for missing reasoning. Where that is refused too (DeepSeek, MiMo): thinking off."""
    if b'"reasoning_content":" "' in bytes(sent.get("messages", Raw())):
        return _thinking(match, sent) or "set reasoning_effort none"
    return "messages placeholder" if "messages" in sent else ""


def _choice(match: re.Match[str], sent: Mapping[str, Raw]) -> str:
    """A forced tool choice: without thinking first, then emulated."""
    if "tool_choice" not in sent:
        return ""
    off = _thinking(match, sent) if "think" in match[0].lower() or "reason" in match[0].lower() else ""
    return off or "emulate tool_choice"


#: The first row whose pattern matches and whose field was sent gives the repair.
_TABLE: Final[tuple[tuple[Wording, Maker], ...]] = tuple(
    (any_case(pattern), maker)
    for pattern, maker in (
        # OpenAI: "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        (r"max_tokens.{0,120}max_completion_tokens|max_completion_tokens.{0,120}max_tokens", _swap),
        (r"(?:unsupported|unknown|unrecognized|unexpected|extra).{0,60}max_completion_tokens", _swap),
        (r"(?:unsupported|unknown|unrecognized|unexpected|extra).{0,60}max_tokens", _swap),
        (
            r"max_(?:completion_)?tokens['\"`]?:? is (?:unsupported|not supported|not permitted|not allowed|unknown)",
            _swap,
        ),
        # OpenAI: "Function tools with reasoning_effort are not supported for gpt-5.4 in /v1/chat/completions."
        (r"function tools with reasoning_effort", _fixed("set reasoning_effort none", "reasoning_effort", "tools")),
        (
            r"reasoning_effort.{0,200}?(?:supported values are|expected one of|must be one of|please use)(.{1,160})",
            _effort,
        ),
        (r"(?:supported values are|please use)(.{0,80}(?:low|high|max).{0,60})", _effort),
        # Moonshot, DeepSeek, Anthropic-compatible servers: a forced choice while thinking.
        (r"tool_choice.{0,120}(?:thinking|reasoning|incompatible|not support|unsupported|must be)", _choice),
        (r"(?:thinking|reasoning|unsupported|not support|only|invalid).{0,80}tool_choice", _choice),
        (
            r"\b(?:thinking|reasoning)(?: mode| effort)? (?:is )?(?:not (?:supported|available|enabled)|unsupported)"
            r"|(?:does not|doesn't|not) support (?:thinking|reasoning(?: effort)?)\b",
            _no_effort,
        ),
        (
            r"thinking.{0,60}(?:cannot be disabled|can ?not be turned off|must be enabled)",
            _fixed("drop thinking", "thinking"),
        ),
        # "only 1 is allowed for this model", "invalid temperature"
        (r"(?:invalid|unsupported).{0,20}(temperature|top_p|top_k)", _drop),
        (r"(temperature|top_p|top_k)\b.{0,80}(?:only|range|default|not support|unsupported|must be|deprecated)", _drop),
        (r"(?:unsupported|unknown|unrecognized|unexpected|invalid|extra).{0,40}(stream_options)", _drop),
        (r"(stream_options)\b.{0,60}(?:not support|unsupported|not allowed|not permitted|only)", _drop),
        # OpenAI: "Invalid 'stop': array too long. Expected an array with maximum length 4". xAI: "Argument not supported on
        # this model: stop".
        (
            r"[`'\"]stop(?:_sequences)?[`'\"].{0,80}?(?:not support|unsupported|not permitted|not allowed|too long|too many"
            r"|at most|up to|maximum|no more than|invalid)",
            _stops,
        ),
        (
            r"(?:not support|unsupported|unknown|unrecognized|unexpected|invalid|too many).{0,60}?[`'\"\s]"
            r"stop(?:[ _]sequences)?(?:[`'\"\s.,:]|\Z)",
            _stops,
        ),
        (r"\bstop(?:_sequences)?[`'\"]?:? (?:extra inputs|is (?:not|unsupported)|list should have at most)", _stops),
        (r"response_format|json_schema|structured output", _format),
        # Mistral
        (r"unexpected role ['\"]?user['\"]? after role ['\"]?tool", _fixed("messages bridge", "messages")),
        # Mistral: "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant".
        # Anthropic: "The conversation must end with a user message."
        (
            r"expected last role|(?:conversation|messages?) must end with a user|last message must (?:be|have).{0,20}user",
            _fixed("messages last", "messages"),
        ),
        (r"tool call id.{0,80}length of 9|a-z, 0-9, with a length of 9", _fixed("ids nine", "messages")),
        (r"string too long.{0,80}maximum length 40|maximum length of 40", _fixed("ids forty", "messages")),
        # Gemma templates
        (
            r"system role (?:is )?not supported|role ['\"`]?system['\"`]? is not supported"
            r"|not support (?:the )?system (?:role|message)",
            _fixed("messages nosystem", "messages"),
        ),
        (r"roles must alternate", _fixed("messages bridge", "messages")),
        # Qwen templates, MiniMax, Mistral
        (
            r"system message must be (?:at the beginning|the first)|(?:only (?:one|a single)|multiple|more than one) system"
            r"|unexpected role ['\"`]?system",
            _fixed("messages system"),
        ),
        (
            r"developer\b.{0,60}(?:not support|invalid|unknown|unsupported)|role.{0,80}developer",
            _fixed("messages system"),
        ),
        (
            r"unknown variant .?image_url|not a multimodal model|image input is not supported|(?:does not|doesn't) support "
            r"image|at most 0 image|no endpoints found that support image|images? (?:is|are) not supported|only supports? text",
            _fixed("messages images", "messages"),
        ),
        (
            r"(?:does not|doesn't) support (?:pdf|file|document)|(?:pdfs?|files?|documents?) (?:inputs? )?(?:are|is) not "
            r"supported|unknown variant .?(?:file|document)\b",
            _fixed("messages documents", "messages"),
        ),
        (
            r"invalid schema for function|compiled grammar|schema.{0,40}too complex|moonshot flavored|unable to generate "
            r"parser|invalid_function_parameters",
            _fixed("tools plain", "tools"),
        ),
        (r"\bstrict\b.{0,60}(?:not support|unsupported|unknown|not permitted|extra)", _fixed("tools plain", "tools")),
        (r"(?:unsupported|unknown|unrecognized|unexpected|extra).{0,40}\bstrict\b", _fixed("tools plain", "tools")),
        # Groq, Text Generation Inference, FastAPI. OpenAI expects "a string with maximum length 20971520" of an image.
        (
            r"\bcontent\b.{0,40}(?:must be a string|expected (?:a )?string(?! with)|should be a valid string"
            r"|not an allowed value)",
            _strings,
        ),
        (
            r"(?:content|message).{0,60}must not be empty|either content or tool_calls",
            _fixed("messages empty", "messages"),
        ),
        # Fireworks; DashScope's open models: "enable_thinking must be set to false for non-streaming calls"
        (r"must (?:have|set) stream ?= ?true|only supports? stream|non-streaming calls", _fixed("stream on")),
        # Moonshot, DeepSeek, MiMo: a turn that called tools lacks its reasoning, since it came from another model.
        (r"reasoning_content.{0,80}(?:missing|must be passed back|required)", _placeholder),
        # OpenRouter: "Reasoning is mandatory for this endpoint and cannot be disabled."
        (r"reasoning (?:is mandatory|cannot be disabled)", _fixed("drop reasoning", "reasoning")),
        # Gemini
        (r"thought_?signature", _fixed("messages sentinel", "messages")),
        (
            r"(?:reasoning_details|reasoning_content|extra_content|['\"`]reasoning['\"`]).{0,60}(?:unsupported|not support|extra "
            r"inputs|not permitted|unknown|unexpected|unrecognized|not allowed)|(?:unknown|unexpected|unsupported|unrecognized)"
            r".{0,40}(?:reasoning_details|reasoning_content|extra_content)",
            _fixed("messages bare", "messages"),
        ),
        # Any other field by its name.
        (rf"unsupported (?:parameter|argument|field|value)(?:s|\(s\))?:? {_NAME}", _drop),
        (rf"unknown (?:name|parameter|field|argument):? {_NAME}", _drop),
        (rf"unrecognized (?:request )?(?:argument|parameter|field)s?(?: supplied)?:? {_NAME}", _drop),
        (rf"(?:does not|doesn't) support (?:the )?(?:(?:parameter|argument|field)s?)?:? ?[\[{{]?{_NAME}", _drop),
        # JSON Schema, and Chinese servers
        (rf"additional properties are not allowed \({_NAME}", _drop),
        (rf"不支持(?:的)?(?:参数|字段)?[^\w'\"`]{{0,2}}{_NAME}", _drop),
        (
            rf"{_NAME}:? (?:parameter )?is (?:not supported|unsupported|not allowed|not permitted|deprecated|not available)",
            _drop,
        ),
        (rf"{_NAME}:? (?:extra inputs are not permitted|unexpected keyword|additional propert)", _drop),
        (rf"unexpected (?:keyword argument|field|property|parameter) {_NAME}", _drop),
        (rf"(?:property|field|parameter) {_NAME} is (?:not supported|unsupported|unknown|not allowed)", _drop),
    )
)
#: Words that make a named field a refusal of it: a field alone may be named for its value.
_REFUSED: Final = any_case(
    r"unsupported|not support|unknown|unrecognized|extra inputs|not permitted|not allowed|unexpected|invalid|deprecated"
    r"|at most|too long|too many"
)


def find(refused: Refusal, sent: bytes, *, other_api: bool = True) -> NamedRepair | None:
    """The repair that a refusal names, for the body that was `sent`; None when it names nothing that can be repaired.

    `other_api`: the call may be made by another API.
    """
    try:
        fields = _fields(sent)
    except DECODE_ERRORS:
        return None
    if (named := find_item_repair(refused.text, fields, other_api=other_api)) is not None:
        return NamedRepair(named[0], named[1][:_QUOTED])
    for pattern, make in _TABLE:
        match = pattern.search(refused.text)
        if match is not None and (repair := make(match, fields)):
            return NamedRepair(repair, match[0][:_QUOTED])
    name = refused.field
    words = _REFUSED.search(refused.text)
    if words is None or name not in fields:
        return None
    if name in OPTIONAL:
        return NamedRepair(f"drop {name}", refused.text[:_QUOTED])
    if name == "stop":
        return NamedRepair(_stops(words, fields), refused.text[:_QUOTED])
    if name in _LIMITS:
        return NamedRepair(f"rename {name} {_LIMITS[1 - _LIMITS.index(name)]}", refused.text[:_QUOTED])
    return None


#: The repair for a kind of content that a model refused, and what is in a body that has such content.
_MEDIA: Final[Mapping[str, tuple[str, tuple[bytes, ...]]]] = {
    "modality:image": ("messages images", (b'"image_url"', b'"image"')),
    "modality:document": ("messages documents", (b'"file"', b'"input_file"', b'"document"')),
}


def find_media(cause: str, refused: Refusal, sent: bytes) -> NamedRepair | None:
    """The repair for content that the model does not accept; None when the body has none. `cause`: see `backends.errors`."""
    repair, marks = _MEDIA[cause]
    return NamedRepair(repair, refused.text[:_QUOTED]) if any(mark in sent for mark in marks) else None


# -------------------------------------------------------------------------------------------------------------- changes


def apply(body: bytes, repairs: Iterable[str]) -> bytes:
    """The body of a call with `repairs` done, in order."""
    fields = _fields(body)
    for repair in repairs:
        if change_items(fields, repair):
            continue
        verb, _, rest = repair.partition(" ")
        match verb:
            case "drop":
                fields.pop(rest, None)
            case "rename":
                old, _, new = rest.partition(" ")
                if old in fields:
                    fields[new] = fields.pop(old)
            case "set":
                name, _, value = rest.partition(" ")
                fields[name] = Raw(_encode(value))
            case "stream":
                fields["stream"] = Raw(b"true")
            case "emulate" if rest == "tool_choice":
                if rest in fields:
                    fields[rest] = Raw(b'"auto"')
            case "emulate":
                _limit_stops(fields, int(rest.rpartition(" ")[2]))
            case "form" if "input" in fields:
                change_item_format(fields, rest)
            case "form":
                _change_format(fields, rest)
            case "tools":
                _change(fields, "tools", _plain_tools)
            case "ids":
                _change(fields, "input" if "input" in fields else "messages", _ID_FORMS[rest])
            case "messages" if rest == "system" and "input" in fields:
                join_instructions(fields)
            case "messages":
                _change(fields, "messages", _MESSAGES[rest])
    return _encode(fields)


def combine(repairs: tuple[str, ...], added: str) -> tuple[str, ...]:
    """`repairs` with one more; a new value or form replaces the one before."""
    verb = added.partition(" ")[0]
    if verb in ("set", "form", "protocol") or is_stop_limit(added):
        name = "" if verb in ("form", "protocol") else added.split(" ")[1]
        repairs = tuple(repair for repair in repairs if not repair.startswith(f"{verb} {name}"))
    return (*repairs, added)


def is_stop_limit(repair: str) -> bool:
    """Return whether a repair sets the number of stop sequences that the backend gets."""
    return re.fullmatch(r"emulate stop \d{1,3}", repair) is not None


def describe(repair: str) -> str:
    """What a repair does, in words for people."""
    if words := words_of(repair):
        return words
    verb, _, rest = repair.partition(" ")
    old, _, new = rest.partition(" ")
    match verb:
        case "drop":
            return f"leaves out `{rest}`"
        case "rename":
            return f"sends `{new}` instead of `{old}`"
        case "set":
            return f"sends `{old}: {new}`"
        case "emulate" if rest == "tool_choice":
            return "requests a forced tool call as JSON"
        case "emulate":
            limit = rest.rpartition(" ")[2]
            return "ends answers at stop sequences itself" + (
                "" if limit == "0" else f", and sends only the first {limit}"
            )
        case "stream":
            return "streams every answer"
        case "form" if rest == "loose":
            return "requires the format without `strict`"
        case "form":
            return "describes the required format in words" + (" and requires JSON" if rest == "json_object" else "")
        case "tools":
            return "sends simpler tool schemas"
        case "ids":
            return f"sends tool call ids of {'9' if rest == 'nine' else 'at most 40'} characters"
        case _:
            return _MESSAGE_WORDS.get(rest, repair)


def _change(fields: dict[str, Raw], name: str, change: Callable[[list[Any]], list[Any]]) -> None:
    """Replace a list of the body by what `change` makes of it."""
    if name in fields:
        value = msgspec.json.decode(fields[name])
        if isinstance(value, list):
            fields[name] = Raw(_encode(change(value)))


def _limit_stops(fields: dict[str, Raw], limit: int) -> None:
    """Send only the first `limit` stop sequences."""
    if not limit:
        fields.pop("stop", None)
    _change(fields, "stop", lambda stops: stops[:limit])


def _change_format(fields: dict[str, Raw], form: str) -> None:
    """Give the schema of the answer in words, beside a simpler required format or none; `loose`: only turn `strict` off."""
    given = fields.pop("response_format", None)
    if given is None:
        return
    if form == "json_object":
        fields["response_format"] = Raw(b'{"type":"json_object"}')
    required = msgspec.json.decode(given)
    if form == "loose":
        if isinstance(required, dict) and isinstance(required.get("json_schema"), dict):
            required["json_schema"].pop("strict", None)
        fields["response_format"] = Raw(_encode(required))
        return
    schema = required.get("json_schema", {}).get("schema") if isinstance(required, dict) else None
    words = in_words(None if schema is None else _encode(schema))
    _change(fields, "messages", lambda messages: [*messages, {"role": "user", "content": words}])


def _id_form(make: Callable[[str], str]) -> Callable[[list[Any]], list[Any]]:
    """Replace the ids of tool calls and of their results by what `make` makes of them."""

    def change(messages: list[Any]) -> list[Any]:
        for message in messages:
            if not isinstance(message, dict):
                continue
            for name in ("tool_call_id", "call_id"):
                if isinstance(message.get(name), str):
                    message[name] = make(message[name])
            for call in message.get("tool_calls") or ():
                if isinstance(call, dict) and isinstance(call.get("id"), str):
                    call["id"] = make(call["id"])
        return messages

    return change


_ID_FORMS: Final = {
    "nine": _id_form(lambda id: in_form(id, "nine")),
    "forty": _id_form(lambda id: in_form(id, "forty")),
}


def _plain_tools(tools: list[Any]) -> list[Any]:
    for tool in tools:
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if isinstance(function, dict):
            if function is tool:
                # Responses make a schema strict where the field is missing.
                function["strict"] = False
            else:
                function.pop("strict", None)
            if "parameters" in function:
                function["parameters"] = plain_schema(function["parameters"])
    return tools


def _one_system(messages: list[Any]) -> list[Any]:
    """All system messages in one, at the beginning."""
    texts: list[str] = []
    others: list[Any] = []
    for message in messages:
        if isinstance(message, dict) and message.get("role") in ("system", "developer"):
            content = message.get("content")
            parts = content if isinstance(content, list) else [{"text": content}]
            texts += [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
        else:
            others.append(message)
    return [{"role": "system", "content": "\n\n".join(texts)}, *others] if texts else others


def _bridge(messages: list[Any]) -> list[Any]:
    """No user message directly after a tool's result: a text joins the result, and anything else gets a line before it."""
    made: list[Any] = []
    for message in messages:
        last = made[-1] if made else None
        if (
            isinstance(message, dict)
            and isinstance(last, dict)
            and (last.get("role"), message.get("role")) == ("tool", "user")
        ):
            if isinstance(message.get("content"), str) and isinstance(last.get("content"), str):
                made[-1] = {**last, "content": f"{last['content']}\n\n{message['content']}"}
                continue
            made.append({"role": "assistant", "content": "I have the result."})
        made.append(message)
    return made


def _no_system(messages: list[Any]) -> list[Any]:
    """No system message: its text begins the first user message."""
    joined = _one_system(messages)
    if not joined or joined[0].get("role") != "system":
        return joined
    text, others = joined[0]["content"], joined[1:]
    first = others[0] if others else None
    if isinstance(first, dict) and first.get("role") == "user":
        content = first.get("content")
        if isinstance(content, list):
            return [{**first, "content": [{"type": "text", "text": text}, *content]}, *others[1:]]
        return [{**first, "content": f"{text}\n\n{content}"}, *others[1:]]
    return [{"role": "user", "content": text}, *others]


def _not_last(messages: list[Any]) -> list[Any]:
    """No assistant message at the end: a server that cannot continue one gets a user message after it."""
    last = messages[-1] if messages else None
    if isinstance(last, dict) and last.get("role") == "assistant" and not _called(last):
        return [*messages, {"role": "user", "content": "Continue."}]
    return messages


#: What stands in for an image that a model cannot see, and for a document that it cannot read.
NO_IMAGE: Final = "[image: this model does not accept images, so it was left out]"
NO_DOCUMENT: Final = "[document: this model does not accept documents, so it was left out]"


def _without(note: str, *kinds: str) -> Callable[[list[Any]], list[Any]]:
    """Replace the parts of these types by `note`: parts of chat completions, and blocks of Messages, in tool results too."""

    def change(messages: list[Any]) -> list[Any]:
        for message in messages:
            parts = message.get("content") if isinstance(message, dict) else None
            if isinstance(parts, list):
                message["content"] = texts = replaced(parts)
                if texts != parts and all(isinstance(part, dict) and part.get("type") == "text" for part in texts):
                    # A server without images may know no parts either.
                    message["content"] = "\n".join(str(part.get("text", "")) for part in texts)
        return messages

    def replaced(parts: list[Any]) -> list[Any]:
        texts: list[Any] = []
        for part in parts:
            if isinstance(part, dict):
                source = part.get("source")
                if part.get("type") in kinds and not (isinstance(source, dict) and source.get("type") == "text"):
                    part = {"type": "text", "text": note}
                elif part.get("type") == "tool_result" and isinstance(part.get("content"), list):
                    part = {**part, "content": replaced(part["content"])}
            texts.append(part)
        return texts

    return change


def _no_empty(messages: list[Any]) -> list[Any]:
    """No assistant message without text and calls."""
    return [
        message
        for message in messages
        if not isinstance(message, dict)
        or message.get("role") != "assistant"
        or message.get("content")
        or message.get("tool_calls")
    ]


def _called(message: Any) -> list[Any]:
    """The tool calls of an assistant message."""
    calls = message.get("tool_calls") if isinstance(message, dict) and message.get("role") == "assistant" else None
    return calls if isinstance(calls, list) else []


def _with_placeholder(messages: list[Any]) -> list[Any]:
    """A blank as the reasoning of each turn that called tools and has none."""
    for message in messages:
        if _called(message) and not message.get("reasoning_content"):
            message["reasoning_content"] = " "
    return messages


#: What Gemini accepts instead of a thought signature: https://ai.google.dev/gemini-api/docs/thought-signatures (seen 2026-11-20).
_SENTINEL: Final = {"google": {"thought_signature": "skip_thought_signature_validator"}}


def _with_sentinel(messages: list[Any]) -> list[Any]:
    """Gemini's sentinel for the first call of each turn that has no thought signature."""
    for message in messages:
        calls = _called(message)
        if calls and isinstance(calls[0], dict) and not calls[0].get("extra_content"):
            calls[0]["extra_content"] = _SENTINEL
    return messages


def _bare(messages: list[Any]) -> list[Any]:
    """No reasoning of earlier turns."""
    for message in messages:
        if isinstance(message, dict):
            for name in ("reasoning", "reasoning_content", "reasoning_details"):
                message.pop(name, None)
        for call in _called(message):
            if isinstance(call, dict):
                call.pop("extra_content", None)
    return messages


def _with_strings(messages: list[Any]) -> list[Any]:
    """An empty string as the content of messages that have none."""
    for message in messages:
        if isinstance(message, dict) and message.get("content", "") is None:
            message["content"] = ""
    return messages


_MESSAGES: Final[Mapping[str, Callable[[list[Any]], list[Any]]]] = {
    "system": _one_system,
    "nosystem": _no_system,
    "bridge": _bridge,
    "last": _not_last,
    "images": _without(NO_IMAGE, "image_url", "image"),
    "documents": _without(NO_DOCUMENT, "file", "document"),
    "empty": _no_empty,
    "strings": _with_strings,
    "placeholder": _with_placeholder,
    "sentinel": _with_sentinel,
    "bare": _bare,
}
_MESSAGE_WORDS: Final[Mapping[str, str]] = {
    "system": "joins all system messages at the beginning",
    "nosystem": "sends the system text in the first user message",
    "last": "adds a user message after an assistant message at the end",
    "bridge": "sends no user message directly after a tool's result",
    "images": "replaces images by a text",
    "documents": "replaces documents by their text, or by a note",
    "empty": "leaves out empty assistant messages",
    "strings": "sends an empty text instead of none",
    "placeholder": "sends a blank as the reasoning of earlier turns without one",
    "sentinel": "sends Gemini's sentinel instead of missing thought signatures",
    "bare": "sends no reasoning of earlier turns",
}


def known(repair: str) -> bool:
    """Return whether this version understands a stored repair."""
    if words_of(repair):
        return True
    verb, _, rest = repair.partition(" ")
    words: Mapping[str, Collection[str]] = {"ids": _ID_FORMS, "messages": _MESSAGES, "form": FORMS}
    if verb in words:
        return rest in words[verb]
    if verb == "drop":
        return rest in OPTIONAL
    if verb == "rename":
        return rest in (" ".join(_LIMITS), " ".join(reversed(_LIMITS)))
    if repair in ("tools plain", "stream on", "emulate tool_choice") or is_stop_limit(repair):
        return True
    return verb == "set" and rest in {f"reasoning_effort {effort}" for effort in ALL_EFFORTS}
