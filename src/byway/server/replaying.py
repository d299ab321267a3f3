"""Sends a recorded request again through the application: the same routes, limits, targets, log lines and usage."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from byway.access.keys import Caller
from byway.admin.replay import Replayed
from byway.gateway import Gateway
from byway.problems import Problem
from byway.routes.context import Endpoint, RequestContext
from byway.server.app import App
from byway.server.internal import InternalExchange, internal_scope

_SECONDS: Final = 600.0
_USER_AGENT: Final = b"byway-replay"


def open_replay(gateway: Gateway) -> None:
    """Let the inspector send requests again."""
    gateway.replay = ReplayApp(gateway).send


class ReplayApp(App):
    """The application for requests that are sent again. Their caller has logged in, so that no host and no key is checked."""

    def _endpoint(self, context: RequestContext) -> Endpoint:
        context.caller = context.scope["caller"]
        route = context.route = self._find(context)["POST"]
        if context.gateway.draining:
            raise Problem("stopping", "Byway is stopping. Send the request again after its restart.")
        return route.endpoint

    async def send(self, path: str, body: bytes, headers: dict[bytes, bytes], caller: Caller) -> Replayed:
        """Send a request for `caller` and wait for its whole answer."""
        exchange = InternalExchange(body)
        # The caller of the page is no client of models: its requests would not be listed.
        client = msgspec.structs.replace(caller, login=False)
        scope = internal_scope(path, body, {b"user-agent": _USER_AGENT, **headers}, client)
        task = asyncio.get_running_loop().create_task(self(scope, exchange.receive, exchange))
        try:
            await asyncio.wait((task,), timeout=_SECONDS)
        finally:
            if not task.done():
                task.cancel()
        id = exchange.headers.get(b"request-id", b"").decode("latin-1")
        return Replayed(exchange.status, id, exchange.body)
