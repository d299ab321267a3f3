"""What needs no key: the hello of a client, and `/livez` and `/readyz` for a supervisor."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from byway import platform
from byway.backend import Backend
from byway.routes.context import Ask, Routes


async def hello(ask: Ask) -> None:
    """Claude Code's pre-connect, and what a browser or curl shows at the root."""
    await ask.answer(b'{"name":"byway","messages":"/anthropic/v1/messages"}')


async def live(ask: Ask) -> None:
    """200 as long as the process answers at all."""
    await ask.answer(b'{"status":"live"}')


async def ready(ask: Ask) -> None:
    """200 when a request has a chance: not stopping, and a backend that is up, or has not been asked yet, or wakes up.

    A model that Byway runs itself has its `memory` beside its state, in bytes. Why a backend does not answer is told only
    where there are no keys: it names files and addresses.
    """
    app, backends = ask.app, list(ask.runtime.backends.values())
    up = any(live.state in ("ready", "unknown", "asleep") for live in backends)
    status = "stopping" if app.draining else "ready" if up else "waiting"
    body = {
        "status": status,
        "config": _config(ask),
        "backends": [await _backend(ask, live) for live in backends],
    }
    await ask.answer(msgspec.json.encode(body), 200 if status == "ready" else 503)


async def _backend(ask: Ask, live: Backend) -> dict[str, Any]:
    told: dict[str, Any] = {"name": live.name, "state": live.state}
    if live.message and not ask.runtime.keyring.blocking:
        told["message"] = ask.runtime.scrubber.scrub(live.message)
    if live.pid is not None and (memory := await asyncio.to_thread(platform.resident, live.pid)) is not None:
        told["memory"] = memory
    return told


def _config(ask: Ask) -> str:
    """Where there are keys, those who show none hear only that there is something: it names files and quotes values."""
    problem = ask.app.config_problem
    if problem and ask.runtime.keyring.blocking:
        return "the changed file is not good; the log says why"
    return problem or "good"


ROUTES: Routes = (
    *(
        (method, path, hello)
        for method in ("GET", "HEAD")
        for path in ("/", "/api/hello", "/anthropic", "/anthropic/api/hello")
        # A person who asks for the root gets the settings page: `ui/claude`.
        if (method, path) != ("GET", "/")
    ),
    *((method, path, live) for method in ("GET", "HEAD") for path in ("/livez", "/health", "/healthz")),
    *((method, "/readyz", ready) for method in ("GET", "HEAD")),
)
