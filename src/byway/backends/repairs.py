"""Repairs of a call whose refusal names what is wrong with it: which words mean which repair, and what it changes. Pure.

A repair is a short text such as `drop temperature`: that is how it is stored and shown. Wordings of vendors were taken from
public bug reports and documentation (seen 2026-11-20).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

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
#: From little to much.
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
#: Characters of a refusal that are searched, and of what matched that are kept.
_SEARCHED: Final = 2000
_QUOTED: Final = 200
_DEPTH: Final = 6
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

_TEXTS: Final = frozenset("message detail msg error error_msg error_description raw title status_msg errors".split())


def refusal(body: bytes) -> Refusal:
    """Read what an error body says, in whichever envelope."""
    try:
        error = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Refusal(body[:_SEARCHED].decode(errors="replace"), "")
    texts: list[str] = []
    fields: list[str] = []
    _collect(error, texts, fields, 0)
    return Refusal(" ".join(texts)[:_SEARCHED], fields[0] if fields else "")


def _collect(value: Any, texts: list[str], fields: list[str], depth: int) -> None:
    """Collect the sentences of an error body, and the fields that it names."""
    if depth > _DEPTH or len(texts) > 20:
        return
    if isinstance(value, str):
        if value.lstrip().startswith("{"):
            try:
                value = msgspec.json.decode(value)
            except (msgspec.MsgspecError, RecursionError):
                texts.append(value[:_SEARCHED])
                return
            _collect(value, texts, fields, depth + 1)
            return
        texts.append(value[:_SEARCHED])
    elif isinstance(value, list):
        for item in value[:20]:
            _collect(item, texts, fields, depth + 1)
    elif isinstance(value, dict):
        where = value.get("loc")
        if isinstance(where, list):
            # FastAPI: the path of the field. Its text alone does not name it.
            names = [part for part in where if isinstance(part, str) and part != "body"]
            fields += names[:1]
        param = value.get("param")
        if isinstance(param, str) and re.fullmatch(r"[\w.\[\]]{1,80}", param):
            fields.append(re.split(r"[.\[]", param)[0])
        elif isinstance(param, str):
            texts.append(param[:_SEARCHED])
        for name, item in list(value.items())[:40]:
            if name in _TEXTS or isinstance(item, dict):
                _collect(item, texts, fields, depth + 1)


# --------------------------------------------------------------------------------------------------------------- table

Maker = Callable[[re.Match[str], Mapping[str, Raw]], str]
_NAME: Final = r"[`'\"]?([A-Za-z_]{3,40})[`'\"]?"


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE | re.DOTALL)


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


def _swap(match: re.Match[str], sent: Mapping[str, Raw]) -> str:
    """Send the limit of the answer under its other name."""
    old = next((name for name in _LIMITS if name in sent), "")
    return f"rename {old} {_LIMITS[1 - _LIMITS.index(old)]}" if old else ""


def _effort(match: re.Match[str], sent: Mapping[str, Raw]) -> str:
    """The nearest effort that the refusal lists; none of its own: leave it out."""
    if "reasoning_effort" not in sent:
        return ""
    own = bytes(sent["reasoning_effort"]).decode(errors="replace").strip('"')
    listed = [word for word in re.findall(r"[a-z]+", match[1].lower()) if word in _EFFORTS and word != own]
    if own not in _EFFORTS or not listed:
        return "drop reasoning_effort"
    rank = _EFFORTS.index(own)
    return (
        f"set reasoning_effort {min(listed, key=lambda word: (abs(_EFFORTS.index(word) - rank), _EFFORTS.index(word)))}"
    )


def _format(match: re.Match[str], sent: Mapping[str, Raw]) -> str:
    """The next simpler form of a required format: a schema, then any JSON object, then words alone."""
    if "response_format" not in sent:
        return ""
    return "form json_object" if b"json_schema" in bytes(sent["response_format"]) else "form words"


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
_TABLE: Final[tuple[tuple[re.Pattern[str], Maker], ...]] = tuple(
    (_pattern(pattern), maker)
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
        (r"(?:thinking|reasoning|unsupported|not support|only).{0,80}tool_choice", _choice),
        (
            r"thinking.{0,60}(?:cannot be disabled|can ?not be turned off|must be enabled)",
            _fixed("drop thinking", "thinking"),
        ),
        # "only 1 is allowed for this model", "invalid temperature"
        (r"(?:invalid|unsupported).{0,20}(temperature|top_p|top_k)", _drop),
        (r"(temperature|top_p|top_k)\b.{0,80}(?:only|range|default|not support|unsupported|must be|deprecated)", _drop),
        (r"(?:unsupported|unknown|unrecognized|unexpected|invalid|extra).{0,40}(stream_options)", _drop),
        (r"(stream_options)\b.{0,60}(?:not support|unsupported|not allowed|not permitted|only)", _drop),
        (r"response_format|json_schema|structured output", _format),
        # Mistral
        (r"unexpected role ['\"]?user['\"]? after role ['\"]?tool", _fixed("messages bridge", "messages")),
        (r"expected last role", _fixed("messages bridge", "messages")),
        (r"tool call id.{0,80}length of 9|a-z, 0-9, with a length of 9", _fixed("ids nine", "messages")),
        (r"string too long.{0,80}maximum length 40|maximum length of 40", _fixed("ids forty", "messages")),
        # Qwen templates, MiniMax
        (
            r"system message must be at the beginning|only (?:one|a single) system|multiple system",
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
            r"invalid schema for function|compiled grammar|schema.{0,40}too complex|moonshot flavored|unable to generate "
            r"parser|invalid_function_parameters",
            _fixed("tools plain", "tools"),
        ),
        (r"\bstrict\b.{0,60}(?:not support|unsupported|unknown|not permitted|extra)", _fixed("tools plain", "tools")),
        (r"(?:unsupported|unknown|unrecognized|unexpected|extra).{0,40}\bstrict\b", _fixed("tools plain", "tools")),
        (
            r"(?:content|message).{0,60}must not be empty|either content or tool_calls",
            _fixed("messages empty", "messages"),
        ),
        (r"must (?:have|set) stream ?= ?true|only supports? stream", _fixed("stream on")),
        # Moonshot, DeepSeek, MiMo: a turn that called tools lacks its reasoning, since it came from another model.
        (r"reasoning_content.{0,80}(?:missing|must be passed back|required)", _placeholder),
        # Gemini
        (r"thought_?signature", _fixed("messages sentinel", "messages")),
        (
            r"(?:reasoning_details|reasoning_content|extra_content|['\"`]reasoning['\"`]).{0,60}(?:unsupported|not support|extra "
            r"inputs|not permitted|unknown|unexpected|unrecognized|not allowed)|(?:unknown|unexpected|unsupported|unrecognized)"
            r".{0,40}(?:reasoning_details|reasoning_content|extra_content)",
            _fixed("messages bare", "messages"),
        ),
        # Any other field by its name.
        (rf"unsupported (?:parameter|argument|field|value):? {_NAME}", _drop),
        (rf"unknown (?:name|parameter|field|argument):? {_NAME}", _drop),
        (rf"unrecognized (?:request )?(?:argument|parameter|field)s?(?: supplied)?:? {_NAME}", _drop),
        (rf"(?:does not|doesn't) support (?:the )?(?:parameter|argument|field)?:? ?{_NAME}", _drop),
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
_REFUSED: Final = _pattern(
    r"unsupported|not support|unknown|unrecognized|extra inputs|not permitted|not allowed|unexpected|invalid|deprecated"
)


def find(refused: Refusal, sent: bytes) -> NamedRepair | None:
    """The repair that a refusal names, for the body that was `sent`; None when it names nothing that can be repaired."""
    try:
        fields = _fields(sent)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
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
    if name in _LIMITS:
        return NamedRepair(f"rename {name} {_LIMITS[1 - _LIMITS.index(name)]}", refused.text[:_QUOTED])
    return None


# -------------------------------------------------------------------------------------------------------------- changes


def apply(body: bytes, repairs: Iterable[str]) -> bytes:
    """The body of a call with `repairs` done, in order."""
    fields = _fields(body)
    for repair in repairs:
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
            case "emulate":
                if rest in fields:
                    fields[rest] = Raw(b'"auto"')
            case "form":
                _change_format(fields, rest)
            case "tools":
                _change(fields, "tools", _plain_tools)
            case "ids":
                _change(fields, "messages", _ID_FORMS[rest])
            case "messages":
                _change(fields, "messages", _MESSAGES[rest])
    return _encode(fields)


def combine(repairs: tuple[str, ...], added: str) -> tuple[str, ...]:
    """`repairs` with one more; a new value or form replaces the one before."""
    verb = added.partition(" ")[0]
    if verb in ("set", "form"):
        name = added.split(" ")[1] if verb == "set" else ""
        repairs = tuple(repair for repair in repairs if not repair.startswith(f"{verb} {name}"))
    return (*repairs, added)


def describe(repair: str) -> str:
    """What a repair does, in words for people."""
    verb, _, rest = repair.partition(" ")
    old, _, new = rest.partition(" ")
    match verb:
        case "drop":
            return f"leaves out `{rest}`"
        case "rename":
            return f"sends `{new}` instead of `{old}`"
        case "set":
            return f"sends `{old}: {new}`"
        case "emulate":
            return "requests a forced tool call as JSON"
        case "stream":
            return "streams every answer"
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


def _change_format(fields: dict[str, Raw], form: str) -> None:
    """Give the schema of the answer in words, beside a simpler required format or none."""
    given = fields.pop("response_format", None)
    if given is None:
        return
    if form == "json_object":
        fields["response_format"] = Raw(b'{"type":"json_object"}')
    required = msgspec.json.decode(given)
    schema = required.get("json_schema", {}).get("schema") if isinstance(required, dict) else None
    words = "Answer with one JSON object and nothing else."
    if schema is not None:
        words += f" It must match this JSON schema:\n{_encode(schema).decode()}"
    _change(fields, "messages", lambda messages: [*messages, {"role": "user", "content": words}])


def _id_form(make: Callable[[str], str]) -> Callable[[list[Any]], list[Any]]:
    """Replace the ids of tool calls and of their results by what `make` makes of them."""

    def change(messages: list[Any]) -> list[Any]:
        for message in messages:
            if not isinstance(message, dict):
                continue
            if isinstance(message.get("tool_call_id"), str):
                message["tool_call_id"] = make(message["tool_call_id"])
            for call in message.get("tool_calls") or ():
                if isinstance(call, dict) and isinstance(call.get("id"), str):
                    call["id"] = make(call["id"])
        return messages

    return change


def _hash(text: str, size: int) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()[:size]


_ID_FORMS: Final = {
    "nine": _id_form(lambda id: id if re.fullmatch(r"[a-zA-Z0-9]{9}", id) else _hash(id, 9)),
    "forty": _id_form(lambda id: id if len(id) <= 40 else _hash(id, 40)),
}
#: Words of a schema that some servers refuse. Without them it allows more.
_HARD_WORDS: Final = frozenset(
    "$schema $id $comment pattern patternProperties format default examples additionalProperties minLength maxLength minItems "
    "maxItems uniqueItems exclusiveMinimum exclusiveMaximum multipleOf minProperties maxProperties propertyNames not if then "
    "else dependentSchemas dependentRequired unevaluatedProperties contentEncoding contentMediaType".split()
)


def _plain_tools(tools: list[Any]) -> list[Any]:
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict):
            function.pop("strict", None)
            if "parameters" in function:
                function["parameters"] = _plain_schema(function["parameters"])
    return tools


def _plain_schema(schema: Any) -> Any:
    """The schema without its hard words; names of properties are no such words."""
    if isinstance(schema, list):
        return [_plain_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain: dict[str, Any] = {}
    for word, value in schema.items():
        if word in ("properties", "$defs", "definitions") and isinstance(value, dict):
            plain[word] = {name: _plain_schema(item) for name, item in value.items()}
        elif word in ("enum", "const", "required"):
            plain[word] = value
        elif word not in _HARD_WORDS:
            plain[word] = _plain_schema(value)
    return plain


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


#: What stands in for an image that a model cannot see.
NO_IMAGE: Final = "[image: this model does not accept images, so it was left out]"


def _no_images(messages: list[Any]) -> list[Any]:
    for message in messages:
        parts = message.get("content") if isinstance(message, dict) else None
        if isinstance(parts, list):
            texts = [
                {"type": "text", "text": NO_IMAGE}
                if isinstance(part, dict) and part.get("type") == "image_url"
                else part
                for part in parts
            ]
            message["content"] = texts
            if all(isinstance(part, dict) and part.get("type") == "text" for part in texts):
                # A server without images may know no parts either.
                message["content"] = "\n".join(str(part.get("text", "")) for part in texts)
    return messages


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


_MESSAGES: Final[Mapping[str, Callable[[list[Any]], list[Any]]]] = {
    "system": _one_system,
    "bridge": _bridge,
    "images": _no_images,
    "empty": _no_empty,
    "placeholder": _with_placeholder,
    "sentinel": _with_sentinel,
    "bare": _bare,
}
_MESSAGE_WORDS: Final[Mapping[str, str]] = {
    "system": "joins all system messages at the beginning",
    "bridge": "sends no user message directly after a tool's result",
    "images": "replaces images by a text",
    "empty": "leaves out empty assistant messages",
    "placeholder": "sends a blank as the reasoning of earlier turns without one",
    "sentinel": "sends Gemini's sentinel instead of missing thought signatures",
    "bare": "sends no reasoning of earlier turns",
}


def known(repair: str) -> bool:
    """Return whether this version understands a stored repair."""
    verb, _, rest = repair.partition(" ")
    words: Mapping[str, Collection[str]] = {"ids": _ID_FORMS, "messages": _MESSAGES, "form": ("json_object", "words")}
    if verb in words:
        return rest in words[verb]
    if verb == "drop":
        return rest in OPTIONAL
    if verb == "rename":
        return rest in (" ".join(_LIMITS), " ".join(reversed(_LIMITS)))
    return repair in ("tools plain", "stream on", "emulate tool_choice") or (
        verb == "set" and rest in {f"reasoning_effort {effort}" for effort in _EFFORTS}
    )
