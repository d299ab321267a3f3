"""Routes that require no key: the greeting at the root, and `/livez` and `/readyz` for a supervisor."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from byway import platform
from byway.access.keys import PUBLIC_REASONS
from byway.backend import Backend
from byway.routes.context import RequestContext, Route


async def hello(context: RequestContext) -> None:
    """Answer Claude Code's pre-connect, and a program that requests the root."""
    await context.answer(b'{"name":"byway","messages":"/anthropic/v1/messages"}')


async def live(context: RequestContext) -> None:
    """Return 200 while the process answers."""
    await context.answer(b'{"status":"live"}')


async def ready(context: RequestContext) -> None:
    """Return 200 when a request can succeed: Byway is not stopping, and a backend is ready, asleep, or not queried yet.

    A local model has its `memory` in bytes. Messages of backends contain files and addresses, so they are included only
    where no key is required.
    """
    gateway, backends = context.gateway, list(context.runtime.backends.values())
    up = any(backend.state in ("ready", "unknown", "asleep") for backend in backends)
    status = "stopping" if gateway.draining else "ready" if up else "waiting"
    body = {
        "status": status,
        "config": _config(context),
        **_usage(context),
        **_batches(context),
        **_files(context),
        "backends": [await _backend(context, backend) for backend in backends],
    }
    await context.answer(msgspec.json.encode(body), 200 if status == "ready" else 503)


async def _backend(context: RequestContext, backend: Backend) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": backend.name, "state": backend.state}
    if backend.message and not context.runtime.keyring.blocking:
        entry["message"] = context.runtime.scrubber.scrub(backend.message)
    if backend.pid is not None:
        memory = await asyncio.to_thread(platform.resident_memory, backend.pid)
        if memory is not None:
            entry["memory"] = memory
    return entry


def _config(context: RequestContext) -> str:
    """The state of the config. Its problem names files and quotes values, so it is included only where no key is required."""
    problem = context.gateway.config_problem
    if problem and context.runtime.keyring.blocking:
        return problem if problem in PUBLIC_REASONS else "the changed file was rejected; the log has the reason"
    return problem or "good"


def _usage(context: RequestContext) -> dict[str, str]:
    """Whether usage records are stored. The problem names files, so it is included only where no key is required."""
    recorder = context.gateway.usage
    if recorder is None:
        return {}
    problem = recorder.status.problem
    if problem and context.runtime.keyring.blocking:
        problem = "usage records wait; the log has the reason"
    return {"usage": problem or "good"}


def _batches(context: RequestContext) -> dict[str, str]:
    """Whether batches run. The problem names files, so it is included only where no key is required."""
    gateway = context.gateway
    problem = gateway.batches_problem or (gateway.batches.problem if gateway.batches else "")
    if problem and context.runtime.keyring.blocking:
        problem = "batches wait; the log has the reason"
    # Without a batch in the data folder their database is opened with the first request that may need it.
    return {"batches": problem or "good"} if problem or gateway.batches or gateway.open_parts else {}


def _files(context: RequestContext) -> dict[str, str]:
    """Whether uploaded files can be stored. The problem names folders, so it is included only where no key is required."""
    files = context.gateway.files
    if files is None:
        return {}
    problem = files.problem
    if problem and context.runtime.keyring.blocking:
        problem = "the storage cannot be used; the log has the reason"
    return {"files": problem or "good"}


ROUTES: Final = tuple(
    Route(method, path, endpoint, "open")
    for endpoint, paths in (
        (hello, ("/", "/api/hello", "/anthropic", "/anthropic/api/hello")),
        (live, ("/livez", "/health", "/healthz")),
        (ready, ("/readyz",)),
    )
    for path in paths
    for method in ("GET", "HEAD")
    # `ui/claude` answers GET at the root: with a page for a browser, with the greeting for a program.
    if (method, path) != ("GET", "/")
)
