"""`/byway/overview`: the numbers of a period and the steps of the first run, for the API and the page."""

from __future__ import annotations

import time

from msgspec import Struct

from byway.admin import keys, signins
from byway.admin.exports import client_setup
from byway.admin.overview import (
    DEFAULT_PERIOD,
    PERIODS,
    Overview,
    OverviewPeriod,
    SetupStep,
    has_answered,
    member_steps,
    overview,
    read_period,
    setup_steps,
)
from byway.admin.usagereport import visible_usage
from byway.routes.admin import run
from byway.routes.authorize import visible_account
from byway.routes.context import RequestContext
from byway.routes.operation import Parameter, operation, query


class OverviewPage(Struct, frozen=True):
    """What this Byway does at the moment, and what its setup lacks."""

    numbers: Overview
    steps: tuple[SetupStep, ...]


async def show(context: RequestContext) -> OverviewPage:
    """Sum up requests, tokens, latency and cost of a period, and list the steps of the first run. A member sees its own."""
    period = read_period(query(context).get("period", ""))
    return OverviewPage(await numbers(context, period), await steps(context))


async def numbers(context: RequestContext, period: OverviewPeriod) -> Overview:
    """The numbers that the caller may see. Raises Problem."""
    usage, where, now = context.gateway.services.store.usage, visible_usage(context.caller), time.time()
    return await run(lambda: overview(usage, period, where, now))


async def steps(context: RequestContext) -> tuple[SetupStep, ...]:
    """The steps of the caller's setup. Raises Problem."""
    services, account = context.gateway.services, visible_account(context)
    store, where, now = services.store, visible_usage(context.caller), time.time()
    answered, sign_ins = await run(
        lambda: (has_answered(store.usage, where, now), bool(signins.list_sign_ins(store, account)))
    )
    if account is not None:
        own = await run(lambda: keys.list_keys(store, account))
        configured = keys.configured_keys(context.runtime.config, account)
        return tuple(member_steps(sign_ins or bool(configured) or any(key.state == "active" for key in own), answered))
    setup = await client_setup(context.runtime, services.base, trust=services.trust)
    return setup_steps(context.runtime, setup, context.gateway.requests, signed_in=sign_ins, answered=answered)


ROUTES = (
    operation(
        "GET",
        "/byway/overview",
        show,
        response=OverviewPage,
        parameters=(Parameter("period", f"One of {', '.join(PERIODS)}. Default: {DEFAULT_PERIOD}."),),
        scope="account",
    ),
)
