"""Removes secrets from recorded bodies, in pieces that do not stop other threads, and finds those that a stream cuts. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from byway.decoding import DECODE_ERRORS
from byway.scrub import Scrubber

#: Characters that are scrubbed at once: a few milliseconds.
_PIECE: Final = 16 << 10
#: A piece ends at a character that no secret contains, so far behind its end at most.
_PIECE_END: Final = re.compile(r'["\s,;{}]')
_REACH: Final = 256 << 10
#: An escape in JSON, also in JSON that is a text in JSON; and characters of no language, one of which marks its end.
_ESCAPE: Final = re.compile(r"(?<!\\)\\++(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)
_BEHIND_ESCAPE: Final = re.compile(_ESCAPE.pattern + "(?:sk|xai|gsk|hf|ghp|AIza|AKIA|[Bb]earer)", re.DOTALL)
_MARKS: Final = ("\ue0f0", "\ue0f1", "\ue0f2", "\ue0f3")
#: Headers whose values are kept. The value of any other header may be a credential.
_KEPT_HEADERS: Final = frozenset(
    (
        *(
            "accept",
            "content-type",
            "content-length",
            "content-encoding",
            "user-agent",
            "retry-after",
            "x-should-retry",
        ),
        *("anthropic-version", "anthropic-beta", "x-app", "x-claude-code-session-id", "request-id", "x-request-id"),
        *("openai-processing-ms", "openai-version", "server", "x-byway-backend", "x-byway-model", "x-byway-problem"),
    )
)
_KEPT_PREFIXES: Final = ("x-stainless-", "anthropic-ratelimit-", "x-ratelimit-")
HIDDEN: Final = "[not recorded]"
#: Fields of events that have a piece of what the model writes.
_PIECES: Final = frozenset(
    ("text", "partial_json", "thinking", "content", "reasoning_content", "reasoning", "arguments", "delta", "refusal")
)
_decode: Final = msgspec.json.Decoder().decode


def clean_headers(headers: Iterable[tuple[str, str]], scrubber: Scrubber) -> tuple[tuple[str, str], ...]:
    """The headers, with the values of those only that contain no credential."""
    return tuple(
        (name, scrubber.scrub(value) if name in _KEPT_HEADERS or name.startswith(_KEPT_PREFIXES) else HIDDEN)
        for name, value in ((name.lower(), value) for name, value in headers)
    )


def clean_text(text: str, scrubber: Scrubber) -> str:
    """`text`, which may be JSON, without secrets."""
    if len(text) <= _PIECE:
        return _scrubbed(text, scrubber)
    parts = []
    at = 0
    while at < len(text):
        end = at + _PIECE
        match = _PIECE_END.search(text, end, end + _REACH)
        end = min(end + _REACH, len(text)) if match is None else match.start()
        parts.append(_scrubbed(text[at:end], scrubber))
        at = end
    return "".join(parts)


def _scrubbed(text: str, scrubber: Scrubber) -> str:
    text = scrubber.scrub(text)
    if _BEHIND_ESCAPE.search(text) is None:
        return text
    mark = next((mark for mark in _MARKS if mark not in text), _MARKS[0])
    # A key behind `\\n` looks as if it began in the middle of a word.
    return scrubber.scrub(_ESCAPE.sub(lambda match: match[0] + mark, text)).replace(mark, "")


def clean_bytes(data: bytes, scrubber: Scrubber) -> bytes:
    """`data` without secrets. Bytes that are no UTF-8 stay as they are."""
    return clean_text(data.decode("utf-8", "surrogateescape"), scrubber).encode("utf-8", "surrogateescape")


def has_cut_secret(events: Iterable[bytes], scrubber: Scrubber) -> bool:
    """Do the pieces that the events contain make up a secret that none of them contains by itself?"""
    joined: dict[str, list[str]] = {}
    for data in events:
        try:
            value = _decode(data)
        except DECODE_ERRORS:
            continue
        if isinstance(value, dict):
            _collect(value, "", joined, 0)
    return any(clean_text(text, scrubber) != text for text in map("".join, joined.values()))


def _collect(value: Mapping[str, Any], path: str, joined: dict[str, list[str]], depth: int) -> None:
    """Add the pieces in an event to those before, by their place in it."""
    index = value.get("index", value.get("output_index", value.get("item_id", "")))
    path = f"{path}/{index}" if isinstance(index, int | str) else path
    for name, item in value.items():
        if isinstance(item, str):
            if name in _PIECES:
                joined.setdefault(f"{path}/{name}", []).append(item)
        elif depth < 6:
            for member in item if isinstance(item, list) else (item,):
                if isinstance(member, dict):
                    _collect(member, f"{path}/{name}", joined, depth + 1)
