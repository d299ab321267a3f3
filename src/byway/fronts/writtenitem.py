"""The item of a response that is being written, and the fixed part of its deltas. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from byway.fronts.freeinput import FreeInput

_encode: Final = msgspec.json.Encoder().encode
JsonObject = dict[str, Any]
#: The beginnings of the ids of items, by their kinds.
PREFIXES: Final = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "custom_tool_call": "ctc",
    "web_search_call": "ws",
    "tool_search": "tsc",
    "local_shell": "lsh",
    "shell": "sh",
    "apply_patch": "apc",
}


class WrittenItem(Struct, gc=False):
    """The item that is being written."""

    kind: str
    id: str
    index: int
    item: JsonObject
    pieces: list[str] = []
    head: bytes = b""
    """The event of a delta up to its sequence number; empty where no event is written."""
    defined: str = ""
    """The kind of a tool whose form the client knows."""
    free: FreeInput | None = None
    citations: list[JsonObject] = []
    """Of a message: the citations of the current block."""
    start: int = 0
    """Of a message: where the current block begins in its text."""
    streams_text: bool = False
    """It is a message whose events are written."""
    ended: bool = False
    """It is a call whose input is complete, or was cut: what follows does not belong to it."""
    shown: bool = False
    """Of reasoning: it has a summary."""


def head_of(kind: str, **values: Any) -> bytes:
    """The event of a delta up to its sequence number."""
    return b'event: %b\ndata: %b,"sequence_number":' % (kind.encode(), _encode({"type": kind, **values})[:-1])
