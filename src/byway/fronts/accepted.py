"""Makes the Messages requests of other APIs acceptable to servers of Anthropic: ids, stop sequences, thinking, cache marks. Pure.

What those servers refuse (https://platform.claude.com/docs/en/api/messages, seen 2026-12-01): an empty text, an id of a tool call
that does not match `^[a-zA-Z0-9_-]+$` or is not unique, a stop sequence of white space, and a forced tool choice, `temperature`
or `top_p` together with thinking.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from functools import partial
from hashlib import blake2b
from typing import Any, Final

import msgspec

from byway.messages import request as messages
from byway.messages.request import Request

_encode: Final = msgspec.json.Encoder().encode
CACHED: Final = {"type": "ephemeral"}
#: The turn of a user that has no text, where a server requires one.
CONTINUE: Final = "Continue."
ID_LIMIT: Final = 64
_VALID_ID: Final = re.compile(rf"[a-zA-Z0-9_-]{{1,{ID_LIMIT}}}\Z")
#: The ids of Byway that carry reasoning are longer.
_LONG_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,200}\Z")


def other_id(id: str, count: int) -> str:
    """The id of a call in the form that every server of the Messages API accepts. Some models repeat an id."""
    valid = id
    if not _VALID_ID.match(id):
        valid = f"call_{blake2b(id.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}"
    return valid if count == 1 else f"{valid[:56]}_{count}"


class CallIds:
    """The ids of the tool calls of one conversation: valid, and unique where the client repeats them."""

    __slots__ = ("_counts", "_used", "_waiting")

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        """How many calls have had each id of the client."""
        self._used: set[str] = set()
        self._waiting: dict[str, deque[str]] = {}
        """The ids of the calls of the last answer that have no result yet, by the client's."""

    def begin(self) -> None:
        """Begin an answer: the results that follow belong to its calls."""
        self._waiting = {}

    def call(self, id: str) -> str:
        """The id for the next call of the answer."""
        count = self._counts.get(id, 0) + 1
        own = id if count == 1 and _LONG_ID.match(id) else other_id(id, count)
        while own in self._used:
            count += 1
            own = other_id(id, count)
        self._counts[id] = count
        self._used.add(own)
        self._waiting.setdefault(id, deque()).append(own)
        return own

    def result(self, id: str) -> str:
        """The id for the result of a call of the last answer."""
        if waiting := self._waiting.get(id):
            # A second result for the same call is for the server to refuse.
            return waiting.popleft() if len(waiting) > 1 else waiting[0]
        return id if _LONG_ID.match(id) else other_id(id, 1)


def parse(body: dict[str, Any], headers: Mapping[str, str], id: str) -> Request:
    """The request for a body of the Messages API. A server of this API gets it without what it refuses, with cache marks.

    Backends with other APIs use the parameters, which have every wish of the client. Raises Problem `invalid_request`.
    """
    request = messages.parse(_encode(body), headers, id)
    request.content.body = b""
    request.content.encode = partial(_accepted, body)
    return request


def _accepted(body: dict[str, Any]) -> bytes:
    """The body for a server of the Messages API."""
    body = dict(body)
    # Those servers answer 400 "each stop sequence must contain non-whitespace".
    if stops := [text for text in body.pop("stop_sequences", ()) if text.strip()]:
        body["stop_sequences"] = stops
    if body.get("thinking", _OFF)["type"] != "disabled":
        if body.get("tool_choice", _OFF)["type"] in ("any", "tool"):
            del body["thinking"]
        else:
            body.pop("temperature", None)
            body.pop("top_p", None)
    if not _has_marks(body):
        _add_marks(body)
    return _encode(body)


_OFF: Final = {"type": "disabled"}


def _has_marks(body: dict[str, Any]) -> bool:
    """The client has set what is cached."""
    system = body.get("system")
    if isinstance(system, list) and any("cache_control" in block for block in system):
        return True
    if any("cache_control" in tool for tool in body.get("tools", ())):
        return True
    for turn in body["messages"]:
        for block in turn["content"] if isinstance(turn["content"], list) else ():
            if "cache_control" in block:
                return True
            inner = block.get("content")
            if isinstance(inner, list) and any("cache_control" in part for part in inner):
                return True
    return False


def _add_marks(body: dict[str, Any]) -> None:
    """Mark the end of the system prompt and of the conversation, which the next request repeats.

    Without marks those servers read the prompt again at the full price.
    """
    if system := body.get("system"):
        body["system"] = _marked(system)
    *before, last = body["messages"]
    body["messages"] = [*before, {**last, "content": _marked(last["content"])}]


def _marked(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The content with a mark at its last block."""
    *before, last = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [*before, {**last, "cache_control": CACHED}]
