"""Repairs of calls by the Responses and Messages APIs, and changes of the API. `repairs` has those of chat completions.

Wordings: public bug reports of OpenAI's API and of gateways (seen 2026-11-29).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from byway.backends.openai.schema import in_words
from byway.backends.vendors import ALL_EFFORTS
from byway.wordings import Wording

#: The change to the other API, and reasoning that this request alone goes without.
BY_RESPONSES: Final = "protocol responses"
BY_CHAT: Final = "protocol chat"
UNSEALED: Final = "input unsealed"
_WORDS: Final[Mapping[str, str]] = {
    BY_RESPONSES: "calls the Responses API instead of chat completions",
    BY_CHAT: "calls chat completions instead of the Responses API",
    UNSEALED: "sends no encrypted reasoning of earlier turns",
    "drop include": "leaves out `include`",
    "drop reasoning.summary": "leaves out `reasoning.summary`",
    "drop output_config.effort": "leaves out `output_config.effort`",
    **{f"set reasoning.effort {effort}": f"sends `reasoning.effort: {effort}`" for effort in ALL_EFFORTS},
}
Fields = dict[str, Raw]
_encode: Final = msgspec.json.Encoder().encode


def any_case(text: str) -> Wording:
    """Return the pattern of a wording, in upper or lower case and over several lines."""
    return Wording(text, re.IGNORECASE | re.DOTALL)


def nearest_effort(effort: Any, listed: str) -> str:
    """Return the effort of those that a refusal lists which is the nearest to `effort`, the lower of two; empty: none."""
    words: list[str] = [
        word for word in re.findall(r"[a-z]+", listed.lower()) if word in ALL_EFFORTS and word != effort
    ]
    if effort not in ALL_EFFORTS or not words:
        return ""
    rank = ALL_EFFORTS.index(effort)
    return min(words, key=lambda word: (abs(ALL_EFFORTS.index(word) - rank), ALL_EFFORTS.index(word)))


#: The simpler forms of a required format, as a refusal leads to one after the other.
FORMS: Final = ("loose", "json_object", "words")
#: "Invalid schema for response_format 'answer': In context=('properties', 'a'), 'minLength' is not permitted."
_NOT_STRICT: Final = re.compile(r"invalid schema|\bstrict\b", re.IGNORECASE)
_STRICT: Final = re.compile(rb'"strict"\s*:\s*true')


def simpler_form(required: bytes, refusal: str) -> str:
    """Return the repair to the next simpler form of a required format: a strict schema, a loose one where `refusal` is about
    the schema, any JSON object, and words alone."""
    if _STRICT.search(required) and _NOT_STRICT.search(refusal):
        return "form loose"
    return "form json_object" if b"json_schema" in required else "form words"


def _if_sent(repair: str, name: str, part: bytes = b"") -> Callable[[re.Match[str], Fields], str]:
    """The repair, when the field was sent and contains `part`."""
    return lambda match, sent: repair if name in sent and part in bytes(sent[name]) else ""


def _effort(match: re.Match[str], sent: Fields) -> str:
    """The nearest effort that the refusal lists."""
    effort = nearest_effort(_object(sent.get("reasoning")).get("effort"), match[1])
    return f"set reasoning.effort {effort}" if effort else ""


def _form(match: re.Match[str], sent: Fields) -> str:
    if b'"format"' not in bytes(sent.get("text", Raw())):
        return ""
    return simpler_form(bytes(sent["text"]), match.string)


_ITEM_TABLE: Final = tuple(
    (any_case(pattern), maker)
    for pattern, maker in (
        # A gateway that repeats the words of chat completions, or that has only them.
        (r"function tools with reasoning_effort|only supported in .{0,4}v1/chat", lambda match, sent: BY_CHAT),
        # "Encrypted content is not supported with this model."
        (
            r"encrypted content is not supported|\binclude\b.{0,80}(?:not support|unsupported|unknown|unrecogni|invalid)"
            r"|(?:not support|unsupported|unknown|unrecogni|invalid).{0,40}\binclude\b",
            _if_sent("drop include", "include"),
        ),
        # It belongs to another organisation or model: "The encrypted content gAAA... could not be verified."
        (
            r"encrypted[_ ]content|without its required following item|item with id .{0,100}not found",
            _if_sent(UNSEALED, "input", b'"type":"reasoning"'),
        ),
        # "Your organization must be verified to generate reasoning summaries."
        (
            r"reasoning summar|reasoning\.summary|(?:unsupported|unknown|not support).{0,60}\bsummary\b",
            _if_sent("drop reasoning.summary", "reasoning", b'"summary"'),
        ),
        (r"(?:supported values are|expected one of|must be one of|please use)(.{1,160})", _effort),
        (r"text\.format|response_format|json_schema|structured output", _form),
    )
)
#: Anthropic: "This model does not support the effort parameter." https://github.com/anthropics/claude-code/issues/30760 (seen
#: 2026-12-01).
_NO_EFFORT: Final = any_case(r"not support (?:the )?effort\b|output_config\.effort.{0,60}(?:not|extra)")
_NAMES_RESPONSES: Final = any_case(r"\bv1/responses\b|\bresponses (?:api|endpoint)\b")
#: What servers say of a path that they do not have. A refusal that names a model is about that model.
_NO_PATH: Final = any_case(
    r"not found|invalid url|no such (?:route|path|endpoint)|cannot post|unknown (?:url|path|route|endpoint)"
    r"|not implemented|method not allowed|no route"
)


def find_item_repair(text: str, sent: Fields, *, other_api: bool = True) -> tuple[str, str] | None:
    """The repair that a refusal names, and its words: for a call by Responses, for one that should be made by them, or for the
    effort of a Messages request."""
    if "input" in sent:
        for pattern, make in _ITEM_TABLE:
            match = pattern.search(text)
            if match is not None and (repair := make(match, sent)) and (other_api or repair != BY_CHAT):
                return repair, match[0]
    elif b'"effort"' in bytes(sent.get("output_config", Raw())) and (match := _NO_EFFORT.search(text)) is not None:
        return "drop output_config.effort", match[0]
    elif other_api and "messages" in sent and (match := _NAMES_RESPONSES.search(text)) is not None:
        return BY_RESPONSES, match[0]
    return None


def lacks_path(text: str, sent: bytes) -> bool:
    """Return whether a 404 or 405 means that the server has no Responses API."""
    return b'"input":' in sent and "model" not in text.lower() and (not text or _NO_PATH.search(text) is not None)


def words_of(repair: str) -> str:
    """What a repair of this module does, in words for people; empty for any other."""
    return _WORDS.get(repair, "")


def lasts(repair: str) -> bool:
    """Return whether a repair holds for later requests too."""
    return repair not in (UNSEALED, "form loose")


def change_items(fields: Fields, repair: str) -> bool:
    """Do a repair of this module; returns False for any other."""
    if repair not in _WORDS:
        return False
    verb, _, rest = repair.partition(" ")
    path, _, value = rest.partition(" ")
    name, _, inner = path.partition(".")
    if repair == UNSEALED:
        items = msgspec.json.decode(fields.get("input", Raw(b"[]")))
        if isinstance(items, list):
            fields["input"] = Raw(_encode([item for item in items if item.get("type") != "reasoning"]))
    elif verb in ("drop", "set") and name in fields:
        if not inner:
            del fields[name]
            return True
        content = _object(fields.pop(name))
        content.pop(inner, None)
        if value:
            content[inner] = value
        if content:
            fields[name] = Raw(_encode(content))
    return True


def change_item_format(fields: Fields, form: str) -> None:
    """Give the schema of the answer in words, beside a simpler required format or none; `loose`: only turn `strict` off."""
    text = _object(fields.pop("text", None))
    if form == "loose":
        if isinstance(text.get("format"), dict):
            text["format"]["strict"] = False
        if text:
            fields["text"] = Raw(_encode(text))
        return
    wanted = text.pop("format", None)
    if form == "json_object":
        text["format"] = {"type": "json_object"}
    if text:
        fields["text"] = Raw(_encode(text))
    words = in_words(_encode(wanted["schema"]) if isinstance(wanted, dict) and "schema" in wanted else None)
    items = msgspec.json.decode(fields["input"])
    fields["input"] = Raw(_encode([*items, {"type": "message", "role": "user", "content": words}]))


def join_instructions(fields: Fields) -> None:
    """Move all messages of the developer to the end of the instructions."""
    items = msgspec.json.decode(fields["input"])
    late = [item for item in items if item.get("role") in ("developer", "system")]
    texts = [msgspec.json.decode(fields["instructions"])] if "instructions" in fields else []
    texts += [item["content"] for item in late if isinstance(item["content"], str)]
    fields["input"] = Raw(_encode([item for item in items if item.get("role") not in ("developer", "system")]))
    if texts:
        fields["instructions"] = Raw(_encode("\n\n".join(texts)))


def _object(raw: Raw | None) -> dict[str, Any]:
    value = msgspec.json.decode(raw) if raw is not None and raw else None
    return value if isinstance(value, dict) else {}
