"""The last requests, for people who ask: did my client reach Byway, and what happened? In memory only, without prompts."""

from __future__ import annotations

import time
from collections import deque
from typing import Final, NamedTuple

import msgspec

#: So many are remembered.
MOST: Final = 500


class Line(msgspec.Struct, omit_defaults=True):
    """The log line of a request."""

    id: str
    method: str
    path: str
    status: int
    ms: float
    key: str = ""
    session: str = ""
    asked: str = ""
    alias: str = ""
    backend: str = ""
    model: str = ""
    first_ms: float | None = None
    """To the first content event."""
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    estimated: bool = False
    """The tokens are Byway's guess: the backend gave no usage."""
    stop: str = ""
    tries: int = 1
    problem: str = ""
    upstream_status: int | str | None = None
    reason: str = ""


class Seen(NamedTuple):
    """A request that has ended. `error` is what the client was told, cleared of secrets; empty when all went well."""

    number: int
    at: float
    """When it ended: seconds since the epoch."""
    line: Line
    error: str


class Recent:
    """The newest requests. Numbers rise by one, so that a reader can ask for what it has not seen."""

    def __init__(self) -> None:
        self.count = 0
        self._kept: deque[Seen] = deque(maxlen=MOST)

    def add(self, line: Line, error: str) -> None:
        self.count += 1
        self._kept.append(Seen(self.count, time.time(), line, error))

    def newest(self, most: int = MOST) -> list[Seen]:
        """The last `most`, newest first."""
        return list(self._kept)[: -most - 1 : -1]

    def find(self, number: int) -> Seen | None:
        """One of them; None when it is forgotten."""
        return next((one for one in self._kept if one.number == number), None)
