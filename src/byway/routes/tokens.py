"""`POST /v1/messages/count_tokens`: the backend's own count where it has one, else an estimate."""

from __future__ import annotations

import msgspec

from byway.backend import Backend
from byway.backends.protocol import Target
from byway.messages.request import Request
from byway.pipeline import targets
from byway.pipeline.guarding import check
from byway.pipeline.resolve import resolve, unread_pdfs
from byway.problems import Problem
from byway.routes.admission import SESSION
from byway.routes.context import Header, RequestContext, api, latin
from byway.routes.messages import read
from byway.runtime import Runtime


async def count(context: RequestContext) -> None:
    """`{"input_tokens": n}`; `x-byway-count` says whether the backend counted or Byway estimated."""
    tokens, headers = await counted(context, await read(context))
    await context.answer(msgspec.json.encode({"input_tokens": tokens}), headers=headers)


async def counted(context: RequestContext, request: Request) -> tuple[int, list[Header]]:
    """The tokens of a request's prompt, and the headers of the answer. Raises Problem."""
    if context.runtime.guardrails is not None:
        await check(context.runtime.guardrails, request, context.record)
    # A count need not name `max_tokens`; the request that it is translated to needs it.
    call = _CountCall(request.limited(1), context.runtime)
    session = context.header(SESSION)
    context.record.models = context.caller.models
    await targets.run(context.runtime, call.request.model, call, context.record, session)
    return call.tokens, [
        (b"x-byway-backend", latin(context.record.backend)),
        (b"x-byway-count", b"backend" if call.counted else b"estimate"),
    ]


class _CountCall:
    """A token count as a call for `targets.run`."""

    started = False

    def __init__(self, request: Request, runtime: Runtime) -> None:
        self.request = request
        self._runtime = runtime
        self.tokens = 0
        self.counted = False

    async def attempt(self, backend: Backend, target: Target) -> bool:
        request, prompts = self.request, self._runtime.prompts
        if prompts is not None:
            request = prompts.apply(request, target.backend, target.model).limited(1)
        if files := unread_pdfs(request, target):
            target = await resolve(files, target, self._runtime.pdfs)
        self.tokens, self.counted = await backend.count_tokens(request, target)
        return self.counted

    def repair(self, backend: Backend, target: Target, problem: Problem) -> bool:
        return False


ROUTES = api("POST", "/v1/messages/count_tokens", count, "read")
