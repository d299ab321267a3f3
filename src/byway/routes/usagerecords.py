"""Makes the usage records of a request: the only place that does."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final, Protocol

from byway.access.keys import Caller
from byway.limits.plan import Admission
from byway.messages.events import TOKENS, Usage
from byway.pipeline.reply import Record
from byway.prices.table import PriceTable
from byway.problems import Problem
from byway.usage.record import UsageRecord
from byway.usage.recorder import UsageRecorder

#: The characters that are kept of a session id and of a model name.
_SESSION: Final = slice(64)
_NAME: Final = slice(200)
_NOTHING: Final = Usage()


class _Gateway(Protocol):
    @property
    def usage(self) -> UsageRecorder | None: ...


class _Runtime(Protocol):
    @property
    def prices(self) -> PriceTable: ...


class MeteredRequest(Protocol):
    """The request whose usage is recorded: `byway.routes.context.RequestContext`."""

    id: str
    started: float
    status: int
    session: str
    caller: Caller
    headers: dict[bytes, bytes]
    problem: Problem | None
    record: Record
    metered: bool

    @property
    def gateway(self) -> _Gateway: ...
    @property
    def runtime(self) -> _Runtime: ...


def settle(request: MeteredRequest) -> None:
    """Record what a metered request has used, and replace its estimates in its limits by it, once.

    It happens before the last bytes of the response leave, so that a process that is killed has the record of each
    answered request, and the next request of the client sees what is left.
    """
    request.metered = False
    record = request.record
    admission = record.admission
    recorder = request.gateway.usage
    prices = request.runtime.prices
    at = time.time()
    now = time.monotonic()
    usage, cost = _NOTHING, None
    try:
        if record.usage is None or record.turns or record.summed:
            usage, cost = priced(record, prices, at)
        else:
            usage = record.usage
            cost = prices.cost(record.backend, record.model, usage, at)
        record.cost = cost
        # Any client can mark its request as a probe. With a key or a limit it counts all the same.
        if recorder is not None and record.requested and (not record.probe or request.caller.key or admission):
            problem = request.problem
            status = (request.status if problem is None else problem.status) or 499
            _add(recorder, request, f"req_{request.id}", record, usage, cost, status, at, now)
            if record.others:
                _add_others(recorder, request, prices, at, now)
    finally:
        # Whatever fails before: a request that is never settled would count as running until a restart.
        if admission is not None:
            input_tokens = usage.input_tokens + usage.cache_creation_input_tokens
            admission.settle(input_tokens, usage.output_tokens, cost or 0, now, at)
            if record.others:
                _count_others(admission, record.others, prices, at, now)


def _add_others(recorder: UsageRecorder, request: MeteredRequest, prices: PriceTable, at: float, now: float) -> None:
    """Record Byway's own requests for a request and its failed attempts."""
    for number, other in enumerate(request.record.others, 1):
        usage, cost = priced(other, prices, at)
        main = request.record.cost
        request.record.cost = None if main is None or cost is None else main + cost
        # The answer of an attempt that failed has no stop reason.
        status = 200 if other.stop_reason else 502
        _add(recorder, request, f"req_{request.id}-{number}", other, usage, cost, status, at, now)


def _add(
    recorder: UsageRecorder,
    request: MeteredRequest,
    id: str,
    record: Record,
    usage: Usage,
    cost: int | None,
    status: int,
    at: float,
    now: float,
) -> None:
    caller = request.caller
    first = record.first
    recorder.add(
        UsageRecord(
            id,
            at,
            caller.organization,
            caller.account,
            caller.group,
            caller.key,
            request.session[_SESSION],
            recorder.agents[request.headers.get(b"user-agent", b"")],
            recorder.tag(request.headers) if recorder.tag_header else "",
            record.requested[_NAME],
            record.alias[_NAME],
            record.backend,
            record.model[_NAME],
            status,
            usage.input_tokens,
            usage.cache_read_input_tokens,
            usage.cache_creation_input_tokens,
            usage.output_tokens,
            record.reasoning,
            record.estimated,
            cost,
            # Milliseconds with one decimal. `round` takes four times as long.
            int((now - request.started) * 10_000 + 0.5) / 10,
            None if first is None else int(first * 10_000 + 0.5) / 10,
        )
    )


def priced(record: Record, prices: PriceTable, now: float) -> tuple[Usage, int | None]:
    """What a request has used, and its cost in nano-dollars; None when a price is unknown."""
    usage = record.usage
    if record.turns or record.summed:
        return _turns(record, prices, now)
    if usage is None:
        return _NOTHING, 0
    return usage, prices.cost(record.backend, record.model, usage, now)


def _count_others(admission: Admission, others: Iterable[Record], prices: PriceTable, at: float, now: float) -> None:
    """Count Byway's own requests for a request and its failed attempts in its limits. An unknown cost counts as zero."""
    for other in others:
        usage, cost = priced(other, prices, at)
        input_tokens = usage.input_tokens + usage.cache_creation_input_tokens
        admission.add(other.backend, other.model, input_tokens, usage.output_tokens, cost or 0, now, at)


def _turns(record: Record, prices: PriceTable, now: float) -> tuple[Usage, int | None]:
    """The sums over the turns of an answer. Each turn is priced by itself: prices depend on the length of the prompt."""
    turns = record.turns if record.summed or record.usage is None else (*record.turns, record.usage)
    total, cost = Usage(), 0
    unknown = False
    for turn in turns:
        for name in TOKENS:
            setattr(total, name, getattr(total, name) + getattr(turn, name))
        price = prices.cost(record.backend, record.model, turn, now)
        unknown = unknown or price is None
        cost += price or 0
    return total, None if unknown else cost
