"""The check of a request against the limits of the config."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Final

from byway.access.keys import OWN_HEADER
from byway.backends.openai.endpoints import PassedRequest
from byway.limits.limiter import Limiter, RequestNames
from byway.messages.request import Request
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
    route = None
    if limiter.needs_route:
        route = runtime.remembered_route(model) or _route(runtime, model)
        if limiter.needs_tokens and route is not None:
            target = route.targets[0]
            if isinstance(request, PassedRequest):
                tokens, most = request.tokens, request.most
            else:
                tokens = runtime.backends[target.backend].counter.prompt_tokens(request, target.model)
                most = request.params.max_tokens or _ANSWER
            if limiter.has_budgets:
                answer = most
                if answer > _ANSWER:
                    answer = _ANSWER
                cost = runtime.prices.estimate(target.backend, target.model, tokens, answer, at)
    if limiter.by_caller:
        admission = limiter.admit_caller(caller, now, at, tokens, cost)
    else:
        address = limiter.address(context.scope, context.headers)
        alias = "" if route is None else route.alias
        names = RequestNames(
            caller.key,
            caller.account,
            caller.group,
            caller.organization,
            address,
            without_suffix(model)[:_LONGEST_NAME],
            alias,
        )
        skip = limiter.has_exceptions and limiter.skips(address, _sent_keys(context.headers))
        admission = limiter.admit(names, now, at, tokens=tokens, cost=cost, skip=skip)
    record.admission = admission
    record.quota = admission.header_lines(at)


def admit_tool(context: RequestContext, limiter: Limiter) -> None:
    """Count the call of a tool of Byway as a request without a model. Raises Problem when a limit refuses it."""
    caller, address = context.caller, limiter.address(context.scope, context.headers)
    names = RequestNames(caller.key, caller.account, caller.group, caller.organization, address)
    skip = limiter.has_exceptions and limiter.skips(address, _sent_keys(context.headers))
    context.record.admission = limiter.admit(names, time.monotonic(), time.time(), skip=skip)


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
