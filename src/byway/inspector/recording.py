"""Recording of requests: which accounts record, and the bodies that were recorded. In memory, with bounds, without secrets.

Nothing here reads a clock. Bodies are kept as they arrive while a request runs, and without secrets from its end on.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from byway.backends.vendors import ProtocolName
from byway.inspector.cleaning import clean_bytes, clean_headers, has_cut_secret
from byway.messages.sse import Decoder
from byway.problems import Problem
from byway.scrub import Scrubber
from byway.upstream.coding import Unpacker

#: Bytes of everything that is recorded, and of each body. What a body has beyond it is left out.
TOTAL_LIMIT: Final = 64 << 20
BODY_LIMIT: Final = 4 << 20
#: Recorded requests, and accounts that record at once.
MOST_EXCHANGES: Final = 200
MOST_ACCOUNTS: Final = 50
#: Calls of one request, and pieces of one answer.
MOST_CALLS: Final = 24
MOST_PIECES: Final = 20_000
#: Bytes that a request, a call and a piece of an answer cost beside their content.
_OVERHEAD: Final = 2048
_PIECE_OVERHEAD: Final = 112
LEFT_OUT: Final = "It contained a secret in several pieces, so it was not recorded."


class Recording(Struct, frozen=True):
    """An account records its requests."""

    account: str
    session: str
    """Only this session; "" for all."""
    ends: float
    """By the monotonic clock."""
    ends_at: float
    """Seconds since the epoch."""


class RecordedBody:
    """A body in the pieces in which it arrived, with the time of each."""

    __slots__ = ("data", "note", "pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[tuple[float, bytes]] = []
        """The seconds since the start of the request, and the bytes."""
        self.data = b""
        """The whole body, once the request has ended."""
        self.size = 0
        """Bytes that have arrived."""
        self.note = ""
        """Why it is not complete; "" when it is."""

    @property
    def complete(self) -> bool:
        """Is all of it recorded?"""
        return not self.note

    def add(self, data: bytes, at: float) -> int:
        """Add a piece. Returns the bytes of memory that it takes."""
        self.size += len(data)
        room = BODY_LIMIT - (self.size - len(data))
        if self.note:
            return 0
        if len(data) > room or len(self.pieces) >= MOST_PIECES:
            self.note = f"Only the first {BODY_LIMIT >> 20} MiB or {MOST_PIECES:,} pieces were recorded."
            data = data[: max(0, room)]
        self.pieces.append((at, data))
        return len(data) + _PIECE_OVERHEAD

    def unpack(self, coding: str) -> None:
        """Undo the content coding of a request's body."""
        raw, unpacker = (
            b"".join([data for _, data in self.pieces]),
            Unpacker("deflate" if "deflate" in coding else "gzip"),
        )
        parts: list[bytes] = []
        size = 0
        try:
            while size <= BODY_LIMIT and (raw or not unpacker.needs_input):
                parts.append(unpacker.unpack(raw))
                raw = b""
                size += len(parts[-1])
        except ValueError:
            parts, self.note = [], f"It could not be decompressed from {coding[:40]}."
        if size > BODY_LIMIT:
            self.note = f"Only the first {BODY_LIMIT >> 20} MiB were recorded."
        self.pieces = [(0.0, b"".join(parts)[:BODY_LIMIT])]

    def clean(self, scrubber: Scrubber) -> None:
        """Replace the pieces by the whole body without secrets."""
        raw = b"".join([data for _, data in self.pieces])
        self.data = clean_bytes(raw, scrubber)
        events = events_of(self.data)
        if events and has_cut_secret((data for _, data in events), scrubber):
            self.data, self.note = b"", LEFT_OUT
        self.pieces = []


class RecordedEvent(Struct, frozen=True, gc=False):
    """An event of an answer, as the client received it."""

    ms: float
    """From the start of the request."""
    name: str
    data: str


class RecordedCall:
    """A call to a backend, and its answer as it came."""

    __slots__ = (
        "answer", "answer_headers", "backend", "body", "headers", "method", "model", "path", "problem", "protocol", "repairs",
        "status", "url", "vendor",
    )  # fmt: skip

    def __init__(self, backend: str, model: str, vendor: str, protocol: ProtocolName, url: str) -> None:
        self.backend = backend
        self.model = model
        self.vendor = vendor
        self.protocol = protocol
        self.url = url
        self.method = self.path = ""
        self.headers: tuple[tuple[str, str], ...] = ()
        self.repairs: tuple[str, ...] = ()
        self.body = RecordedBody()
        self.status = 0
        """0: there was no answer."""
        self.answer_headers: tuple[tuple[str, str], ...] = ()
        self.answer = RecordedBody()
        self.problem = ""


class RecordedExchange:
    """What one request and its response contained, and the calls that Byway made for it."""

    __slots__ = (
        "_recordings", "account", "calls", "cleaned", "cleaning", "events", "headers", "id", "left_out", "method", "path",
        "request", "response", "response_headers", "session", "size", "started", "status",
    )  # fmt: skip

    def __init__(self, recordings: Recordings, id: str, account: str, session: str, started: float) -> None:
        self._recordings = recordings
        self.id = id
        self.account = account
        self.session = session
        self.started = started
        """By the monotonic clock."""
        self.method = self.path = ""
        self.headers: tuple[tuple[str, str], ...] = ()
        self.request = RecordedBody()
        self.calls: list[RecordedCall] = []
        self.left_out = 0
        """Calls that were not recorded."""
        self.status = 0
        self.response_headers: tuple[tuple[str, str], ...] = ()
        self.response = RecordedBody()
        self.events: tuple[RecordedEvent, ...] = ()
        self.size = 0
        self.cleaned = False
        """It has ended and contains no secrets: it may be shown."""
        self.cleaning: asyncio.Task[None] | None = None
        """Removes its secrets, in a thread."""

    def add(self, body: RecordedBody, data: bytes, now: float) -> None:
        """Add a piece to one of the bodies. `now` is the monotonic clock."""
        if self.size:
            self._recordings.grow(self, body.add(data, now - self.started))

    def call(self, backend: str, model: str, vendor: str, protocol: ProtocolName, url: str) -> RecordedCall:
        """A new call to a backend."""
        call = RecordedCall(backend, model, vendor, protocol, url)
        if len(self.calls) < MOST_CALLS:
            self.calls.append(call)
            self._recordings.grow(self, _OVERHEAD)
        else:
            self.left_out += 1
        return call

    def forget(self) -> None:
        """Delete it."""
        self._recordings.drop(self.id)

    def clean(self, scrubber: Scrubber) -> None:
        """Remove all secrets, after the end of the request. It may run in a thread."""
        self.headers = clean_headers(self.headers, scrubber)
        self.response_headers = clean_headers(self.response_headers, scrubber)
        if coding := next((value for name, value in self.headers if name == "content-encoding"), ""):
            self.request.unpack(coding)
        self.request.clean(scrubber)
        pieces = self.response.pieces
        self.response.clean(scrubber)
        if _is_stream(self.response.data):
            self.events = timed_events(pieces, scrubber)
            self.response.data = b""
        for call in self.calls:
            call.headers = clean_headers(call.headers, scrubber)
            call.answer_headers = clean_headers(call.answer_headers, scrubber)
            call.url = scrubber.scrub(call.url)
            call.problem = scrubber.scrub(call.problem)
            call.body.clean(scrubber)
            call.answer.clean(scrubber)
        self.cleaned = True


class Recordings:
    """The accounts that record now, and what they have recorded. It is gone when the process ends."""

    def __init__(self) -> None:
        self.active: dict[str, Recording] = {}
        """By account. Empty while nobody records: that is the only thing a request looks at then."""
        self._exchanges: OrderedDict[str, RecordedExchange] = OrderedDict()
        self.size = 0
        """Bytes of all recorded requests."""

    def start(self, recording: Recording) -> None:
        """Start a recording; it replaces the one of the same account. Raises Problem for too many."""
        if recording.account not in self.active and len(self.active) >= MOST_ACCOUNTS:
            raise Problem("rate_limit", f"{MOST_ACCOUNTS} accounts record at the moment. Try again later.")
        self.active[recording.account] = recording

    def stop(self, account: str) -> Recording | None:
        """End the recording of an account. What was recorded stays."""
        return self.active.pop(account, None)

    def current(self, account: str, now: float) -> Recording | None:
        """The recording of an account; None when it does not record, or not any more."""
        recording = self.active.get(account)
        if recording is not None and now >= recording.ends:
            del self.active[account]
            return None
        return recording

    def begin(self, id: str, account: str, session: str, now: float) -> RecordedExchange | None:
        """The exchange for a request that is recorded; None when it is not."""
        recording = self.current(account, now)
        if recording is None or (recording.session and recording.session != session):
            return None
        exchange = self._exchanges[id] = RecordedExchange(self, id, account, session, now)
        self.grow(exchange, _OVERHEAD)
        while len(self._exchanges) > MOST_EXCHANGES:
            self.drop(next(iter(self._exchanges)))
        return exchange

    def grow(self, exchange: RecordedExchange, size: int) -> None:
        """Count `size` more bytes of an exchange, and drop the oldest ones while there are too many bytes."""
        if self._exchanges.get(exchange.id) is not exchange:
            return
        exchange.size += size
        self.size += size
        while self.size > TOTAL_LIMIT:
            self.drop(next(iter(self._exchanges)))

    def find(self, id: str, account: str) -> RecordedExchange | None:
        """What was recorded of a request, for the account that has recorded it."""
        exchange = self._exchanges.get(id)
        return exchange if exchange is not None and exchange.account == account else None

    def ids(self, account: str) -> frozenset[str]:
        """The ids of the requests that an account has recorded."""
        return frozenset(exchange.id for exchange in self._exchanges.values() if exchange.account == account)

    def sizes(self, account: str) -> tuple[int, int]:
        """The number of requests that an account has recorded, and their bytes."""
        own = [exchange.size for exchange in self._exchanges.values() if exchange.account == account]
        return len(own), sum(own)

    def discard(self, account: str) -> int:
        """Delete what an account has recorded. Returns the number of requests."""
        ids = [exchange.id for exchange in self._exchanges.values() if exchange.account == account]
        for id in ids:
            self.drop(id)
        return len(ids)

    def drop(self, id: str) -> None:
        """Delete what was recorded of a request."""
        exchange = self._exchanges.pop(id, None)
        if exchange is not None:
            self.size -= exchange.size
            exchange.size = 0


def events_of(data: bytes) -> list[tuple[str, bytes]]:
    """The events of an answer of server-sent events; none for another answer."""
    if not _is_stream(data):
        return []
    decoder = Decoder()
    try:
        return [*decoder.feed(data), *decoder.close()]
    except Problem:
        return []


def _is_stream(data: bytes) -> bool:
    """Does an answer consist of server-sent events?"""
    return data[:100].lstrip(b"\xef\xbb\xbf \r\n").startswith((b"event:", b"data:", b":", b"id:", b"retry:"))


def timed_events(pieces: Iterable[tuple[float, bytes]], scrubber: Scrubber) -> tuple[RecordedEvent, ...]:
    """The events of a stream without secrets, each with the time of the piece that has completed it."""
    decoder = Decoder()
    events: list[RecordedEvent] = []
    try:
        for at, data in pieces:
            events += [
                RecordedEvent(round(1000 * at, 1), name, clean_bytes(content, scrubber).decode("utf-8", "replace"))
                for name, content in decoder.feed(data)
            ]
    except Problem:
        pass
    return tuple(events)


def header_texts(headers: Iterable[tuple[bytes, bytes]] | Mapping[bytes, bytes]) -> tuple[tuple[str, str], ...]:
    """Headers as texts."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs)
