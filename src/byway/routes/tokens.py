"""`POST /v1/messages/count_tokens`: the backend's own count where it has one, else an estimate."""

from __future__ import annotations

import msgspec

from byway.backend import Backend
from byway.backends.protocol import Target
from byway.messages.request import Request
from byway.parsing.cache import PdfCache
from byway.pipeline import targets
from byway.pipeline.resolve import resolve
from byway.problems import Problem
from byway.routes.context import RequestContext, api, latin
from byway.routes.messages import read


async def count(context: RequestContext) -> None:
    """`{"input_tokens": n}`; `x-byway-count` says whether the backend counted or Byway estimated."""
    # A count need not name `max_tokens`; the request that it is translated to needs it.
    call = _CountCall((await read(context)).limited(1), context.runtime.pdfs)
    session = context.header(b"x-claude-code-session-id")
    await targets.run(context.runtime, call.request.model, call, context.record, session)
    await context.answer(
        msgspec.json.encode({"input_tokens": call.tokens}),
        headers=[
            (b"x-byway-backend", latin(context.record.backend)),
            (b"x-byway-count", b"backend" if call.counted else b"estimate"),
        ],
    )


class _CountCall:
    """A token count as a call for `targets.run`."""

    started = False

    def __init__(self, request: Request, pdfs: PdfCache) -> None:
        self.request = request
        self._pdfs = pdfs
        self.tokens = 0
        self.counted = False

    async def attempt(self, backend: Backend, target: Target) -> bool:
        target = await resolve(self.request, target, self._pdfs)
        self.tokens, self.counted = await backend.count_tokens(self.request, target)
        return self.counted

    def repair(self, backend: Backend, target: Target, problem: Problem) -> bool:
        return False


ROUTES = api("POST", "/v1/messages/count_tokens", count, "read")
