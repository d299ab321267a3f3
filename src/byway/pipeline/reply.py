"""What a call writes to: the Reply that carries an answer to the client, and the Record for log, metrics and page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from byway.inspector.attempts import FailedAttempt
from byway.inspector.recording import RecordedExchange
from byway.limits.plan import Admission
from byway.messages.events import MessageStart, MessageUsage, Part, Started, Usage
from byway.messages.request import Request


class Record(Struct, gc=False):
    """The result of one request, as the log and the settings page show it."""

    requested: str = ""
    """The model name that the client sent."""
    models: tuple[str, ...] = ()
    """Names and patterns of the models that the client's key may use; empty for every model."""
    probe: bool = False
    """The request comes from Byway itself, which tests its own endpoint."""
    alias: str = ""
    backend: str = ""
    model: str = ""
    tries: int = 0
    key: int = 0
    """The place of the API key that was used last, at a backend with several."""
    first: float | None = None
    """Seconds from the request's last byte to the first content event."""
    usage: Usage | None = None
    estimated: bool = False
    """The backend reported no usage: the numbers are Byway's own estimate."""
    reasoning: int = 0
    """The output tokens that were reasoning, as far as the backend has reported them."""
    turns: tuple[Usage, ...] = ()
    """The usage of earlier turns of the model, when the answer took several."""
    summed: bool = False
    """`usage` is what the client gets to see: `turns` has the usage of every turn."""
    others: tuple[Record, ...] = ()
    """What else this request has used: Byway's own requests for verdicts on tool calls, and attempts that failed."""
    stop_reason: str | None = None
    quota: bytes = b""
    """Lines of headers: about the caller's limits, or about its own quota from a backend that gets its credential."""
    admission: Admission | None = None
    """Counts the request in the limits of the config; None without any."""
    repairs: tuple[str, ...] = ()
    """Changes of the call that earlier refusals of the backend have named."""
    cost: int | None = None
    """Nano-dollars, once the usage is recorded; None when it is not, or when a price is unknown."""
    began: float | None = None
    """When the exchange began, by the monotonic clock: the request was read and admitted."""
    sent: float | None = None
    """When the call of the last attempt was sent to the backend, by the monotonic clock."""
    connecting: float = 0.0
    """Seconds that the connection for that call took; 0 when an open one was used."""
    recording: RecordedExchange | None = None
    """Records the calls of this request; None when it is not recorded."""
    failed: tuple[FailedAttempt, ...] = ()
    """The attempts that have failed, at most MOST_ATTEMPTS."""

    def end_turn(self) -> None:
        """Add the usage to that of earlier turns: another turn of the model follows."""
        if self.usage is not None:
            self.turns += (self.usage,)
            self.usage = None

    def end_failed_attempt(self, backend: str, model: str) -> None:
        """Move the usage of a failed attempt at a target to `others`: another attempt follows."""
        self.others += (
            Record(
                self.requested,
                alias=self.alias,
                backend=backend,
                model=model,
                usage=self.usage,
                estimated=self.estimated,
                reasoning=self.reasoning,
                turns=self.turns,
            ),
        )
        self.usage, self.turns, self.reasoning, self.estimated = None, (), 0, False


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
    return MessageStart(Started(request.id, request.model, MessageUsage(input_tokens=request.estimate)))
