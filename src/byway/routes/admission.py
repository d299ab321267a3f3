"""The check of a request against the limits of the config."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

from byway.access.keys import OWN_HEADER
from byway.backends.openai.endpoints import PassedRequest
from byway.limits.limiter import Limiter, RequestNames
from byway.limits.meter import Meter
from byway.limits.plan import Admission
from byway.messages.request import Request
from byway.prices.price import FREE, MILLION
from byway.problems import Problem
from byway.roles import DEFAULT_ORGANIZATION
from byway.routes.context import RequestContext, latin
from byway.routing.route import TargetRoute, without_suffix
from byway.runtime import Runtime

#: Byway sends this header when it tests its own endpoint. Such a request is marked in the log and in the list of requests.
PROBE: Final = b"x-byway-probe"
#: Claude Code's id of the conversation.
SESSION: Final = b"x-claude-code-session-id"
#: Characters of a requested model name that limits compare and remember. Routing knows no longer name.
_LONGEST_NAME: Final = 1000
#: Tokens of an answer that a budget reserves for a request, at most.
_ANSWER: Final = 4096


def admit(context: RequestContext, request: Request | PassedRequest) -> None:
    """Note what the record of a request needs, and count it in every limit that applies to it. `context.settle` ends it.

    Raises Problem when a limit refuses it.
    """
    caller = context.caller
    if SESSION in context.headers:
        context.session = context.header(SESSION)
    if PROBE in context.headers:
        context.record.probe = True
    if caller.models:
        context.record.models = caller.models
    if caller.organization != DEFAULT_ORGANIZATION:
        context.record.quota = _organization_line(caller.organization)
    runtime = context.runtime
    limiter = runtime.limiter
    if limiter is None:
        context.metered = context.gateway.usage is not None
        return
    context.metered = True
    record = context.record
    model = record.requested = request.model
    now = time.monotonic()
    at = time.time()
    tokens = cost = 0
    if limiter.needs_tokens:
        meter = runtime.meters.get(model)
        if meter is None or at >= meter.until:
            meter = _find_meter(runtime, model, at)
        if meter is not None:
            if isinstance(request, PassedRequest):
                tokens, answer = request.tokens, request.most
            else:
                tokens = meter.counter.prompt_tokens(request, meter.model)
                answer = request.content.params.max_tokens or _ANSWER
            if answer > _ANSWER:
                answer = _ANSWER
            cost = (meter.input * tokens + meter.output * answer) // MILLION
    if limiter.by_caller:
        plan = limiter.plans.get(caller) or limiter.plan_of_caller(caller, now, at)
    else:
        alias = _alias(runtime, model) if limiter.counts_requested else ""
        names, skip = _names(context, limiter, without_suffix(model)[:_LONGEST_NAME], alias)
        plan = limiter.plan(names, now, at, skip=skip)
    plan.count(tokens, cost, now, at)
    record.admission = Admission(plan, tokens, cost)
    record.quota += plan.headers.lines(at)


def admit_tool(context: RequestContext, limiter: Limiter) -> None:
    """Count the call of a tool of Byway as a request without a model. Raises Problem when a limit refuses it."""
    names, skip = _names(context, limiter)
    context.record.admission = limiter.admit(names, time.monotonic(), time.time(), skip=skip)


def _names(
    context: RequestContext, limiter: Limiter, requested: str = "", alias: str = ""
) -> tuple[RequestNames, bool]:
    """The names under which limits count a request, and whether `rate_limiting` leaves out its client."""
    caller, address = context.caller, limiter.address(context.scope, context.headers)
    names = RequestNames(caller.key, caller.account, caller.group, caller.organization, address, requested, alias)
    return names, limiter.has_exceptions and limiter.skips(address, _sent_keys(context.headers))


@lru_cache(256)
def _organization_line(name: str) -> bytes:
    """The line of the header that names the organization of the caller."""
    return b"anthropic-organization-id: %b\r\n" % latin(name)


def _find_meter(runtime: Runtime, model: str, at: float) -> Meter | None:
    """The meter of a model name, which is remembered; None for an unknown one."""
    route = _route(runtime, model)
    if route is None:
        return None
    target = route.targets[0]
    priced = runtime.prices.find(target.backend, target.model, at)
    rates = FREE.rates if priced.price is None else priced.price.rates
    counter = runtime.backends[target.backend].counter
    meter = runtime.meters[model] = Meter(counter, target.model, rates.input, rates.output, priced.until)
    return meter


def _alias(runtime: Runtime, model: str) -> str:
    """The alias that a model name stands for; "" for none, and for an unknown name."""
    route = runtime.remembered_route(model) or _route(runtime, model)
    return "" if route is None else route.alias


def _route(runtime: Runtime, model: str) -> TargetRoute | None:
    try:
        return runtime.resolve(model)
    except Problem:
        # An unknown model: the exchange refreshes the backends, and raises this again.
        return None


def _sent_keys(headers: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """The keys that the client has sent."""
    for name in (OWN_HEADER, b"x-api-key"):
        if value := headers.get(name):
            yield value.strip()
    authorization = headers.get(b"authorization", b"")
    if authorization[:7].lower() == b"bearer ":
        yield authorization[7:].strip()
