"""`/byway/usage`, `/byway/usage/export` and `/byway/prices`: what was used, what it cost, and what models cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from byway.admin.errors import invalid
from byway.admin.prices import PriceInfo, list_prices
from byway.admin.usagereport import (
    BY,
    DEFAULT_SINCE,
    FILTERS,
    ExportFormat,
    UsageQuery,
    UsageReport,
    export,
    read_query,
    usage_report,
    visible_usage,
)
from byway.routes.admin import run
from byway.routes.context import Header, RequestContext, Route
from byway.routes.operation import Operation, Parameter, operation, query

_TYPES: Final[dict[ExportFormat, bytes]] = {
    "csv": b"text/csv; charset=utf-8",
    "jsonl": b"application/x-ndjson",
}


class PricePage(Struct, frozen=True):
    """What models cost."""

    prices: tuple[PriceInfo, ...]


def usage_query(context: RequestContext) -> UsageQuery:
    """The query of a request, within what its caller may see. Raises Problem."""
    return read_query(query(context), time.time(), visible_usage(context.caller))


async def show(context: RequestContext) -> UsageReport:
    """Sum up requests, tokens and cost of a period. A member sees those of its own account."""
    wanted = usage_query(context)
    usage = context.gateway.services.store.usage
    return await run(lambda: usage_report(usage, wanted, time.time()))


async def send_export(context: RequestContext) -> None:
    """Return every usage record of a period, the oldest first. A member gets those of its own account."""
    form = query(context).get("format") or "csv"
    if form not in _TYPES:
        raise invalid("format", f"{form[:20]!r} is not one of csv and jsonl")
    chosen: ExportFormat = "csv" if form == "csv" else "jsonl"
    wanted = usage_query(context)
    store = context.gateway.services.store.usage
    pieces = export(store.records(wanted.since, wanted.until, wanted.where), chosen)
    # The first piece is read before the head is sent, so that a failure of the database has a status.
    piece = await _next(pieces)
    headers: list[Header] = [
        (b"content-type", _TYPES[chosen]),
        (b"content-disposition", b'attachment; filename="byway-usage.%b"' % chosen.encode()),
        (b"cache-control", b"no-store"),
    ]
    await context.begin(200, headers)
    while piece:
        await context.send({"type": "http.response.body", "body": piece, "more_body": True})
        piece = await _next(pieces)
    await context.send({"type": "http.response.body", "body": b""})


async def _next(pieces: Iterator[bytes]) -> bytes:
    """The next piece, read in a thread; empty at the end."""
    return await run(lambda: next(pieces, b""))


async def prices(context: RequestContext) -> PricePage:
    """List what models cost now, and where each price comes from."""
    return PricePage(tuple(list_prices(context.runtime, query(context).get("model", ""))))


_PERIOD: Final = (
    Parameter("since", f"The start: `24h`, `7d`, `4w`, a date or a time, in UTC. Default: {DEFAULT_SINCE}."),
    Parameter("until", "The end. Default: now."),
    *(Parameter(name, f"Only usage of this {name}.") for name in FILTERS),
)

ROUTES = (
    operation(
        "GET",
        "/byway/usage",
        show,
        response=UsageReport,
        parameters=(
            Parameter("by", f"What each row is: {', '.join(BY)}. Default: model."),
            *_PERIOD,
            Parameter("limit", "The most rows. Default: 1000.", int),
            Parameter("split", "`true`: the chart has a part for each of the first five names."),
        ),
        scope="account",
    ),
    Route(
        "GET",
        "/byway/usage/export",
        send_export,
        "account",
        "admin",
        Operation(
            (send_export.__doc__ or "").strip(),
            None,
            str,
            200,
            (Parameter("format", "`csv` or `jsonl` (a line of JSON for each record). Default: csv."), *_PERIOD),
            False,
            False,
            tuple(kind.decode().partition(";")[0] for kind in _TYPES.values()),
        ),
    ),
    operation(
        "GET",
        "/byway/prices",
        prices,
        response=PricePage,
        parameters=(
            Parameter("model", "Only the targets of this name. Default: those of all aliases, and all known models."),
        ),
    ),
)
