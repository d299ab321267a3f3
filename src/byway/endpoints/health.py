"""What needs no key: the hello of a client, and `/livez` and `/readyz` for a supervisor."""

from __future__ import annotations

import msgspec

from byway.endpoints import Ask, Routes


async def hello(ask: Ask) -> None:
    """Claude Code's pre-connect, and what a browser or curl shows at the root."""
    await ask.answer(b'{"name":"byway","messages":"/anthropic/v1/messages"}')


async def live(ask: Ask) -> None:
    """200 as long as the process answers at all."""
    await ask.answer(b'{"status":"live"}')


async def ready(ask: Ask) -> None:
    """200 when a request has a chance: not stopping, and a backend that is up or has not been asked yet."""
    app, states = ask.app, ask.runtime.report()
    up = any(state in ("ready", "unknown") for _, state, _ in states)
    status = "stopping" if app.draining else "ready" if up else "waiting"
    body = {
        "status": status,
        "config": _config(ask),
        "backends": [{"name": name, "state": state} for name, state, _ in states],
    }
    await ask.answer(msgspec.json.encode(body), 200 if status == "ready" else 503)


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
