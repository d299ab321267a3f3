"""`POST /v1/messages/count_tokens`: the backend's own count where it has one, else an estimate."""

from __future__ import annotations

import msgspec

from byway.routes.context import Ask, Routes, latin
from byway.routes.messages import read


async def count(ask: Ask) -> None:
    """`{"input_tokens": n}`; `x-byway-count` says whether the backend counted or Byway estimated."""
    request = read(ask, await ask.body())
    ask.record.asked = request.model
    route = await ask.runtime.route(request.model, ask.header(b"x-claude-code-session-id"))
    ask.record.alias = route.alias
    place = ask.runtime.targets(route)[0]
    live = ask.runtime.backends[place.backend]
    target = live.registry.target(place.model)
    ask.record.backend, ask.record.model = target.backend, target.model
    # A count need not say how long the answer may be; the request that is made for it must.
    request.params.max_tokens = 1
    tokens, counted = await live.count_tokens(request, target)
    await ask.answer(
        msgspec.json.encode({"input_tokens": tokens}),
        headers=[
            (b"x-byway-backend", latin(target.backend)),
            (b"x-byway-count", b"backend" if counted else b"estimate"),
        ],
    )


ROUTES: Routes = (("POST", "/v1/messages/count_tokens", count),)
