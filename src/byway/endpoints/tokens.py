"""`POST /v1/messages/count_tokens`: the backend's own count where it has one, else an estimate."""

from __future__ import annotations

import msgspec

from byway.endpoints import Ask, Routes, latin
from byway.endpoints.messages import read
from byway.problems import Problem


async def count(ask: Ask) -> None:
    """`{"input_tokens": n}`; `x-byway-count` says whether the backend counted or Byway estimated."""
    request = read(ask, await ask.body())
    ask.record.asked = request.model
    route = await ask.runtime.route(request.model, ask.header(b"x-claude-code-session-id"))
    ask.record.alias = route.alias
    place = ask.runtime.places(route)[0]
    live = ask.runtime.backends[place.backend]
    target = live.target(place.model)
    ask.record.backend, ask.record.model = target.backend, target.model
    call = live.protocol.count(request, target)
    if call is None:
        # What would be sent is made and measured: a count must not succeed where the request would be refused.
        request.params.max_tokens = 1
        tokens, source = max(1, len(live.protocol.request(request, target).body) // 4), b"estimate"
    else:
        try:
            tokens, source = live.protocol.read_count(await live.fetch(call)), b"backend"
        except Problem as problem:
            if problem.row.blame == "client":
                raise
            tokens, source = request.estimate, b"estimate"
    await ask.answer(
        msgspec.json.encode({"input_tokens": tokens}),
        headers=[(b"x-byway-backend", latin(target.backend)), (b"x-byway-count", source)],
    )


ROUTES: Routes = (("POST", "/v1/messages/count_tokens", count),)
