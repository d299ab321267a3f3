"""The check of a request against the limits of the config."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Final

from byway.access.keys import OWN_HEADER
from byway.backends.openai.endpoints import PassedRequest
from byway.limits.limiter import Limiter, RequestNames
from byway.limits.meter import Meter
from byway.limits.refusals import quota_lines
from byway.messages.request import Request
from byway.prices.price import FREE, MILLION
from byway.problems import Problem
from byway.routes.context import RequestContext
from byway.routing.route import TargetRoute, without_suffix
from byway.runtime import Runtime

#: Characters of a requested model name that limits compare and remember. Routing knows no longer name.
_LONGEST_NAME: Final = 1000
#: Tokens of an answer that a budget reserves for a request, at most.
_ANSWER: Final = 4096


def admit(context: RequestContext, request: Request | PassedRequest, limiter: Limiter) -> None:
    """Count the request in every limit that applies to it. Raises Problem when one of them refuses it.

    `context.settle` ends it.
    """
    record, caller, runtime, model = context.record, context.caller, context.runtime, request.model
    record.requested = model
    now, at = time.monotonic(), time.time()
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
        admission = plan.admit(tokens, cost, now, at)
    else:
        address = limiter.address(context.scope, context.headers)
        names = RequestNames(
            caller.key,
            caller.account,
            caller.group,
            caller.organization,
            address,
            without_suffix(model)[:_LONGEST_NAME],
            _alias(runtime, model) if limiter.counts_requested else "",
        )
        skip = limiter.has_exceptions and limiter.skips(address, _sent_keys(context.headers))
        admission = limiter.admit(names, now, at, tokens=tokens, cost=cost, skip=skip)
        plan = admission.plan
    record.admission = admission
    record.quota = quota_lines(plan.units, plan.budgets, at)


def admit_tool(context: RequestContext, limiter: Limiter) -> None:
    """Count the call of a tool of Byway as a request without a model. Raises Problem when a limit refuses it."""
    caller, address = context.caller, limiter.address(context.scope, context.headers)
    names = RequestNames(caller.key, caller.account, caller.group, caller.organization, address)
    skip = limiter.has_exceptions and limiter.skips(address, _sent_keys(context.headers))
    context.record.admission = limiter.admit(names, time.monotonic(), time.time(), skip=skip)


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
