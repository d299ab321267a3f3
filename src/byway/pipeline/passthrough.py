"""A call of an endpoint of the OpenAI API that passes through: embeddings, images, audio, and so on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final, Protocol

from byway.backend import Backend
from byway.backends.openai import endpoints
from byway.backends.openai.endpoints import OpenAIEndpoint, PassedRequest, UsageScan
from byway.backends.openai.framing import web_page
from byway.backends.protocol import Target
from byway.largebodies import off_loop
from byway.messages.events import Passthrough, WholeAnswer
from byway.pipeline import recorded
from byway.pipeline.reply import Record, Reply
from byway.problems import Problem
from byway.runtime import Runtime

_ERROR_LIMIT: Final = 1 << 20
#: Bytes of an answer that guardrails check as a whole.
_CHECKED_LIMIT: Final = 8 << 20


class ClientHead(Protocol):
    """The client's side of an answer that passes through, before its body."""

    async def begin(self, headers: Mapping[str, str]) -> None:
        """Send the head of the answer. `headers` are those of the backend."""


class PassthroughCall:
    """A request that passes through, as a call for `targets.run`."""

    def __init__(
        self,
        runtime: Runtime,
        endpoint: OpenAIEndpoint,
        request: PassedRequest,
        client: ClientHead,
        reply: Reply,
        record: Record,
        *,
        user_agent: str = "",
        checked: bool = False,
    ) -> None:
        """`checked`: guardrails check the text of the answer, so one that does not stream is sent as a whole."""
        self._runtime = runtime
        self._endpoint = endpoint
        self._request = request
        self._client = client
        self._reply = reply
        self._record = record
        self._user_agent = user_agent
        self._checked = checked
        self._began = time.monotonic()

    @property
    def started(self) -> bool:
        return self._reply.sent

    def repair(self, backend: Backend, target: Target, problem: Problem) -> bool:
        """Nothing but the model is read, so that nothing can be changed."""
        return False

    async def attempt(self, backend: Backend, target: Target) -> bool:
        record, endpoint, request = self._record, self._endpoint, self._request
        path = endpoints.path_at(endpoint, backend.vendor)
        if not path or not backend.serves(endpoint.path):
            raise endpoints.missing(endpoint, target)
        admission = record.admission
        if admission is not None and admission.plan.target_plan is not None:
            admission.enter(target.backend, target.model, time.monotonic(), time.time())
        self._reply.aim(target.backend, target.model)
        size = len(request.body) if request.model_at is None else 0
        call = await off_loop(size, request.call, path, target.model, self._user_agent)
        recording = record.recording
        answer = await (
            backend.send(call) if recording is None else recorded.send(recording, backend, target, call, ())
        )
        del call
        if record.sent is None:
            record.sent, record.connecting = answer.sent_at, answer.connecting
        if backend.keys is not None:
            record.key = answer.key
        scan = UsageScan(request)
        try:
            if not 200 <= answer.status < 300:
                body = await answer.body(_ERROR_LIMIT)
                raise endpoints.problem(answer.status, answer.headers, body, target, endpoint)
            kind = answer.headers.get("content-type", "").lower()
            data = await answer.read()
            if kind.startswith("text/html") or data.lstrip()[:9].lower() in (b"<!doctype", b"<html>"):
                raise web_page(target.backend)
            if problem := endpoints.failure(data, target, endpoint):
                raise problem
            record.first = time.monotonic() - self._began
            await self._client.begin(answer.headers)
            if backend.vendor.managed and request.dimensions and endpoint is endpoints.EMBEDDINGS:
                data += await answer.body(_CHECKED_LIMIT)
                scan.feed(data)
                data = await off_loop(4 * len(data), endpoints.shortened, data, request.dimensions)
                await self._reply.send([Passthrough(data, "content", chat=True)])
            elif self._checked and not kind.startswith("text/event-stream"):
                rest = await answer.body(_CHECKED_LIMIT)
                data += rest
                scan.feed(data)
                await self._reply.send([WholeAnswer(data, chat=True)])
            else:
                while data:
                    scan.feed(data)
                    await self._reply.send([Passthrough(data, "content", chat=True)])
                    data = await answer.read()
                await self._reply.send([Passthrough(b"", "end", chat=True)])
            record.stop_reason = "end_turn"
        finally:
            answer.close()
            if record.first is not None:
                scan.finish()
                record.usage, record.estimated = scan.usage(endpoint), not scan.counts.prompt
        return True
