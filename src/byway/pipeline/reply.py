"""What a call writes to: the Reply that carries an answer to the client, and the Record for log, metrics and page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from byway.messages.events import MessageStart, Part, Started, Usage
from byway.messages.request import Request


class Record(Struct, gc=False):
    """The result of one request, as the log and the settings page show it."""

    requested: str = ""
    """The model name that the client sent."""
    probe: bool = False
    """The request comes from Byway itself, which tests its own endpoint."""
    alias: str = ""
    backend: str = ""
    model: str = ""
    tries: int = 0
    first: float | None = None
    """Seconds from the request's last byte to the first content event."""
    usage: Usage | None = None
    estimated: bool = False
    """The backend reported no usage: the numbers are Byway's own estimate."""
    stop_reason: str | None = None
    repairs: tuple[str, ...] = ()
    """Changes of the call that earlier refusals of the backend have named."""


class Reply(Protocol):
    """The client's side of an exchange. It knows no backend, and the pipeline knows no HTTP."""

    @property
    def sent(self) -> bool:
        """Content has reached the client: from now on a Problem becomes an `error` event."""

    def aim(self, backend: str, model: str) -> None:
        """Name the target of the next attempt. Parts of an earlier attempt are discarded."""

    async def send(self, parts: Sequence[Part]) -> None: ...


class HeldReply:
    """Keeps the parts of an answer instead of sending them."""

    sent = False

    def __init__(self) -> None:
        self.parts: list[Part] = []

    def aim(self, backend: str, model: str) -> None:
        """Discard the parts of an earlier attempt."""
        self.parts = []

    async def send(self, parts: Sequence[Part]) -> None:
        """Keep `parts`."""
        self.parts += parts


def opening(request: Request) -> MessageStart:
    """The `message_start` of an answer whose backend has not sent anything yet."""
    return MessageStart(Started(request.id, request.model, Usage(input_tokens=request.estimate)))
