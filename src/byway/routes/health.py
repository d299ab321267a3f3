"""What needs no key: the hello of a client, and `/livez` and `/readyz` for a supervisor."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from byway import platform
from byway.access.keys import PUBLIC_REASONS
from byway.backend import Backend
from byway.routes.context import RequestContext, Route


async def hello(context: RequestContext) -> None:
    """Claude Code's pre-connect, and what a browser or curl shows at the root."""
    await context.answer(b'{"name":"byway","messages":"/anthropic/v1/messages"}')


async def live(context: RequestContext) -> None:
    """200 as long as the process answers at all."""
    await context.answer(b'{"status":"live"}')


async def ready(context: RequestContext) -> None:
    """200 when a request has a chance: not stopping, and a backend that is up, or has not been asked yet, or wakes up.

    A model that Byway runs itself has its `memory` beside its state, in bytes. Why a backend does not answer is told only
    where there are no keys: it names files and addresses.
    """
    gateway, backends = context.gateway, list(context.runtime.backends.values())
    up = any(live.state in ("ready", "unknown", "asleep") for live in backends)
    status = "stopping" if gateway.draining else "ready" if up else "waiting"
    body = {
        "status": status,
        "config": _config(context),
        "backends": [await _backend(context, live) for live in backends],
    }
    await context.answer(msgspec.json.encode(body), 200 if status == "ready" else 503)


async def _backend(context: RequestContext, live: Backend) -> dict[str, Any]:
    told: dict[str, Any] = {"name": live.name, "state": live.state}
    if live.message and not context.runtime.keyring.blocking:
        told["message"] = context.runtime.scrubber.scrub(live.message)
    if live.pid is not None and (memory := await asyncio.to_thread(platform.resident_memory, live.pid)) is not None:
        told["memory"] = memory
    return told


def _config(context: RequestContext) -> str:
    """Where there are keys, those who show none hear only that there is something: it names files and quotes values."""
    problem = context.gateway.config_problem
    if problem and context.runtime.keyring.blocking:
        return problem if problem in PUBLIC_REASONS else "the changed file was rejected; the log has the reason"
    return problem or "good"


ROUTES: Final = tuple(
    Route(method, path, endpoint, "open")
    for endpoint, paths in (
        (hello, ("/", "/api/hello", "/anthropic", "/anthropic/api/hello")),
        (live, ("/livez", "/health", "/healthz")),
        (ready, ("/readyz",)),
    )
    for path in paths
    for method in ("GET", "HEAD")
    # `ui/claude` answers GET at the root: a page for a browser, the hello for a program.
    if (method, path) != ("GET", "/")
)
