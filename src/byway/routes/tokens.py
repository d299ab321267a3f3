"""`POST /v1/messages/count_tokens`: the backend's own count where it has one, else an estimate."""

from __future__ import annotations

import msgspec

from byway.routes.context import RequestContext, api, latin
from byway.routes.messages import read


async def count(context: RequestContext) -> None:
    """`{"input_tokens": n}`; `x-byway-count` says whether the backend counted or Byway estimated."""
    request = read(context, await context.body())
    context.record.asked = request.model
    route = await context.runtime.route(request.model, context.header(b"x-claude-code-session-id"))
    context.record.alias = route.alias
    place = context.runtime.targets(route)[0]
    live = context.runtime.backends[place.backend]
    target = live.registry.target(place.model)
    context.record.backend, context.record.model = target.backend, target.model
    # A count need not say how long the answer may be; the request that is made for it must.
    request.params.max_tokens = 1
    tokens, counted = await live.count_tokens(request, target)
    await context.answer(
        msgspec.json.encode({"input_tokens": tokens}),
        headers=[
            (b"x-byway-backend", latin(target.backend)),
            (b"x-byway-count", b"backend" if counted else b"estimate"),
        ],
    )


ROUTES = api("POST", "/v1/messages/count_tokens", count, "read")
