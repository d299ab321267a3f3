"""`GET /metrics`: the metrics of this process for Prometheus."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from typing import Final

from byway import __version__, platform
from byway.gateway import Gateway
from byway.metrics.exposition import CONTENT_TYPE, Distribution, Family, lines, request_families
from byway.problems import Problem
from byway.routes.context import RequestContext, Route
from byway.routes.parthealth import health_of_parts

#: The states of a backend in which it can answer.
_UP: Final = frozenset(("ready", "unknown", "asleep"))


async def show(context: RequestContext) -> None:
    """Send the metrics as text."""
    gateway = context.gateway
    metrics = gateway.metrics
    if metrics is None:
        raise Problem("not_found", "This Byway has no metrics. Set `metrics: {enabled: true}` in its config.")
    vendors = {backend.name: backend.settings.type for backend in context.runtime.backends.values()}
    state = list(state_families(gateway))
    # The text of a thousand models takes longer than the event loop may be blocked.
    text = await asyncio.to_thread(lambda: "".join(lines([*state, *request_families(metrics, vendors)])))
    await context.answer(text.encode(), headers=((b"content-type", CONTENT_TYPE),))


def state_families(gateway: Gateway) -> Iterator[Family | Distribution]:
    """What is so at this moment."""
    backends = list(gateway.runtime.backends.values())
    yield Family("byway_info", "gauge", "The version of Byway.", [({"version": __version__}, 1)])
    yield Family(
        "byway_backend_up",
        "gauge",
        "1 while a backend can answer.",
        [({"backend": backend.name, "state": backend.state}, float(backend.state in _UP)) for backend in backends],
    )
    yield Family("byway_requests_running", "gauge", "Requests to models in progress.", [({}, len(gateway.exchanges))])
    yield Family("byway_connections", "gauge", "Open connections of clients.", [({}, gateway.count_connections())])
    cooldown, now = gateway.runtime.cooldown, time.monotonic()
    yield Family(
        "byway_backend_cooldown_seconds",
        "gauge",
        "Time until a backend that has failed is preferred again.",
        [({"backend": backend.name}, cooldown.remaining(backend.name, now)) for backend in backends],
    )
    yield Family(
        "byway_backend_queue_length",
        "gauge",
        "Requests that wait for a slot of a backend.",
        [({"backend": backend.name}, backend.queued) for backend in backends],
    )
    yield Family(
        "byway_part_healthy",
        "gauge",
        "1 while a part of Byway works, 0 after an error. Disabled parts are missing.",
        [({"part": part.name}, part.state == "ready") for part in health_of_parts(gateway) if part.state != "disabled"],
    )
    yield Family(
        "byway_limit_used_ratio",
        "gauge",
        "The used share of a limit, of the name that has used most of it.",
        [({"limit": path, "unit": unit}, share) for (path, unit), share in _used_shares(gateway, now).items()],
    )
    yield Family(
        "byway_config_valid",
        "gauge",
        "0 when the changed config file was rejected.",
        [({}, not gateway.config_problem)],
    )
    if gateway.usage is not None:
        yield Family(
            "byway_usage_stored",
            "gauge",
            "0 while usage records cannot be stored.",
            [({}, not gateway.usage.status.problem)],
        )
    memory = platform.resident_memory(os.getpid())
    if memory is not None:
        yield Family("process_resident_memory_bytes", "gauge", "Memory of this process.", [({}, memory)])


def _used_shares(gateway: Gateway, now: float) -> dict[tuple[str, str], float]:
    """The used share of each limit by its path and unit. Keys and addresses would be names without bound: the fullest counts."""
    shares: dict[tuple[str, str], float] = {}
    limiter = gateway.runtime.limiter
    for use in limiter.uses(now, time.time()) if limiter is not None else ():
        key = (use.path, use.unit)
        shares[key] = max(shares.get(key, 0.0), use.used / use.limit if use.limit else 1.0)
    return shares


ROUTES: Final = (Route("GET", "/metrics", show, "admin", "admin"),)
