"""The HTTP application: finds a request's route, runs the checks and the endpoint, turns a Problem into an answer, and logs."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final
from urllib.parse import unquote

from byway.admin.requests import RequestLine
from byway.gateway import Gateway
from byway.inspector.attempts import RequestTimes
from byway.logs import log_exception, writer
from byway.metrics.counts import OTHER, RequestMetrics
from byway.pipeline.watch import ClientGone
from byway.problems import Problem
from byway.routes import chat, health, messages, models, tokens
from byway.routes.authorize import OWNER, identify, login_caller_of, require
from byway.routes.context import (
    AsgiScope,
    Endpoint,
    Receive,
    RequestContext,
    Route,
    Send,
    broken,
    is_browser,
    preflight,
)
from byway.routes.wrongpaths import dialect, wrong_path
from byway.server import checks
from byway.server.recorder import serve_recorded
from byway.tracing.request import TracedRequest

#: The routes whose code is loaded at start: those of most requests, and what a supervisor polls.
FIRST_ROUTES: Final[tuple[Route, ...]] = (
    *messages.ROUTES,
    *chat.ROUTES,
    *tokens.ROUTES,
    *models.ROUTES,
    *health.ROUTES,
)
#: Ends of the paths of routine requests: health checks, polls for a token, telemetry, messages of MCP other than tool calls.
_ROUTINE_ENDS: Final = ("z", "/oauth/token", "/mcp", "/metrics", "/v1/logs", "/v1/traces")
#: Scopes of the routes of APIs for models.
_API_SCOPES: Final = frozenset(("read", "write", "files"))
#: Operations of the OpenTelemetry conventions for other endpoints than those for answers, by the end of the path
#: (https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans, seen 2026-11-30). From
#: `image_generation` on they are words of Byway.
_OPERATIONS: Final = {
    "embeddings": "embeddings",
    "embed": "embeddings",
    "generations": "image_generation",
    "edits": "image_edit",
    "variations": "image_variation",
    "speech": "speech",
    "transcriptions": "transcription",
    "translations": "translation",
    "rerank": "rerank",
    "moderations": "moderation",
}
#: Characters of an error that the list of last requests keeps.
_ERROR_LIMIT: Final = 1000
#: Bytes of `User-Agent` that it keeps.
_AGENT_LIMIT: Final = 200


class App:
    """The application that the server calls for each request, with ASGI's (scope, receive, send)."""

    def __init__(self, gateway: Gateway, wide: bool = False) -> None:
        """`wide`: the server listens beyond loopback, so this machine's addresses are accepted in `Host` too."""
        self.gateway = gateway
        self._host_names = checks.HostNames(wide)
        self._ids: list[str] = []
        self._paths: dict[str, dict[str, Route]] = {}
        self._below: dict[str, dict[str, Route]] = {}
        """Routes whose path ends in `*`, by the part before it."""
        self._templates: dict[tuple[str, ...], dict[str, Route]] = {}
        """Routes whose path has a segment in braces, by their segments."""
        self._add(FIRST_ROUTES)
        self.is_complete = False
        """All routes are loaded, not only the first ones."""
        self._loading: asyncio.Task[None] | None = None

    def _add(self, routes: Iterable[Route]) -> None:
        for route in routes:
            if "{" in route.path:
                self._templates.setdefault(tuple(route.path.split("/")), {})[route.method] = route
                continue
            paths = self._below if route.path.endswith("*") else self._paths
            paths.setdefault(route.path.removesuffix("*"), {})[route.method] = route

    async def load(self) -> None:
        """Load the code of all other routes, and open what they use. They match in the order of ROUTES.

        Requests that need them at the same time wait for one load, which goes on when their clients disconnect.
        """
        if self._loading is None or self._loading.done():
            self._loading = asyncio.get_running_loop().create_task(self._load())
        await asyncio.shield(self._loading)

    async def _load(self) -> None:
        # In a thread: it takes some tenths of a second.
        routes = await asyncio.to_thread(_all_routes)
        if self.gateway.open_parts is not None:
            await self.gateway.open_parts()
            self.gateway.open_parts = None
        for table in (self._paths, self._below, self._templates):
            table.clear()
        self._add(routes)
        self.is_complete = True

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        started = time.monotonic()
        headers: dict[bytes, bytes] = scope["headers"]
        if type(headers) is not dict:
            # ASGI passes a list of pairs; Byway's own connection passes a dict.
            headers = dict(headers)
        ids = self._ids or self._more_ids()
        context = RequestContext(self.gateway, scope, headers, receive, send, ids.pop(), started)
        try:
            try:
                if not self.is_complete and scope["method"] not in self._paths.get(context.path, ()):
                    await self.load()
                endpoint = self._endpoint(context)
                if self.gateway.recordings.active:
                    await serve_recorded(context, endpoint, _refuse)
                else:
                    await endpoint(context)
            except Problem as problem:
                if context.status:
                    raise
                await _refuse(context, problem)
        except (ClientGone, asyncio.CancelledError):
            context.status = 499
        except Exception:
            log_exception("Internal error on a request. Please report this bug.", id=f"req_{context.id}")
            context.problem = broken()
            if not context.status:
                await _refuse(context, context.problem)
        finally:
            if context.reserved:
                context.release_body()
            if context.metered:
                context.settle()
            self._log(context, time.monotonic() - started)

    def _more_ids(self) -> list[str]:
        """Refill the random ids of 24 hex digits: one call for randomness yields many."""
        block = os.urandom(12 * 256).hex()
        self._ids += [block[at : at + 24] for at in range(0, len(block), 24)]
        return self._ids

    def _endpoint(self, context: RequestContext) -> Endpoint:
        """Find the route, run the checks, and return what answers the request."""
        by_method = self._paths.get(context.path) or self._find(context)
        method = context.scope["method"]
        route = context.route = by_method.get(method)
        settings = context.runtime.config.server
        self._host_names.check(context, settings)
        if b"origin" in context.headers or not settings.tcp:
            checks.check_origin(context)
            checks.check_transport(context)
            if method == "OPTIONS" and context.origin:
                return preflight
        if route is None:
            # A login or a valid key is required, so that a path that does not exist reveals no routes.
            login_caller = None
            if b"cookie" in context.headers and self.gateway.admin is not None:
                login_caller = login_caller_of(context)
            if login_caller is not None:
                context.caller = login_caller
            else:
                identify(context)
            form = next(iter(by_method.values())).envelope if by_method else dialect(context.path, context)
            context.dialect = form
            raise wrong_path(context.path, method, by_method, form, self._paths.__contains__)
        require(context, route.scope)
        if self.gateway.draining:
            checks.check_draining(context)
        return route.endpoint

    def _find(self, context: RequestContext) -> dict[str, Route]:
        """The routes of a path that is not in the table as it stands: with `root_path`, doubled slashes or a `*`."""
        path = context.path
        root = context.runtime.config.server.root_path
        if root and (path == root or path.startswith(f"{root}/")):
            path = path[len(root) :]
        path = "/" + "/".join(part for part in path.split("/") if part)
        if path in self._paths:
            return self._paths[path]
        if by_method := self._unversioned(path):
            return by_method
        for start, by_method in self._below.items():
            if path.startswith(start) and len(path) > len(start):
                context.tail = path[len(start) :]
                return by_method
        segments = path.split("/")
        for template, by_method in self._templates.items():
            if len(template) == len(segments):
                pairs = list(zip(template, segments, strict=True))
                if all(name == value or name.startswith("{") for name, value in pairs):
                    context.tail = next(unquote(value) for name, value in pairs if name.startswith("{"))
                    return by_method
        return {}

    def _unversioned(self, path: str) -> dict[str, Route] | None:
        """The routes of an API's path whose `/v1` the client has left out: its base URL lacks it."""
        start = "/anthropic" if path.startswith("/anthropic/") else ""
        by_method = self._paths.get(f"{start}/v1{path[len(start) :]}")
        if by_method and all(route.scope in _API_SCOPES for route in by_method.values()):
            return by_method
        return None

    def _log(self, context: RequestContext, seconds: float) -> None:
        record, problem, caller = context.record, context.problem, context.caller
        if not record.requested and (caller.login or (problem is None and _is_routine(context.path))):
            return
        usage = record.usage
        line = RequestLine(
            f"req_{context.id}",
            context.scope["method"],
            context.path[:200],
            context.status,
            _milliseconds(seconds),
            caller.key,
            context.session[:64],
            record.requested,
            record.alias,
            record.backend,
            record.model,
            None if record.first is None else _milliseconds(record.first),
            None if usage is None else usage.input_tokens,
            None if usage is None else usage.cache_read_input_tokens,
            None if usage is None else usage.output_tokens,
            record.estimated,
            record.stop_reason or "",
        )
        if caller.account:
            line.account = caller.account
        if record.tries > 1:
            line.tries = record.tries
        if record.probe:
            line.probe = True
        error = ""
        if problem is not None:
            text = self.gateway.runtime.scrubber.scrub(problem.message)
            error = text[:_ERROR_LIMIT]
            line.problem = problem.kind
            line.upstream_status = problem.facts.get("status")
            # A backend's error text may quote the prompt: only Byway's own text is logged.
            if "status" not in problem.facts and problem.row.blame != "client":
                line.reason = text[:300]
        output = writer(logging.INFO)
        if output is not None:
            output.put("info", "Request", line)
        # A browser whose login has ended is no client.
        if caller is not OWNER and (context.route is None or context.route.envelope != "page"):
            times = RequestTimes(
                context.started,
                context.started + seconds,
                record.began,
                record.sent,
                record.connecting,
                record.first,
                record.failed,
                record.repairs,
            )
            agent = context.headers.get(b"user-agent", b"")[:_AGENT_LIMIT]
            self.gateway.requests.add(line, error, agent, record.cost, times)
            counts = self.gateway.metrics
            if counts is not None:
                _count(counts, line, OTHER if context.route is None else context.route.path)
            if self.gateway.tracer is not None and line.requested:
                self.gateway.tracer.add(_traced(context, line, seconds))


def _traced(context: RequestContext, line: RequestLine, seconds: float) -> TracedRequest:
    """What the span of a request to a model contains: never the prompt, the answer or a secret."""
    backend = context.runtime.backends.get(line.backend)
    operation = _OPERATIONS.get(line.path.rpartition("/")[2], "chat")
    if line.path.endswith("/v1/completions"):
        operation = "text_completion"
    attributes: dict[str, str | int] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "" if backend is None else backend.settings.type,
        "gen_ai.request.model": line.requested[:200],
        "gen_ai.response.model": line.model,
        "http.request.method": line.method,
        "http.response.status_code": line.status,
        "byway.request_id": line.id,
        "byway.alias": line.alias,
        "byway.backend": line.backend,
        "byway.key": line.key,
        "byway.tries": line.tries,
        "session.id": line.session,
    }
    if line.input_tokens is not None:
        attributes["gen_ai.usage.input_tokens"] = line.input_tokens + (line.cached_tokens or 0)
        attributes["gen_ai.usage.output_tokens"] = line.output_tokens or 0
    error = line.problem or ("cancelled" if line.status == 499 else "")
    name = f"{operation} {line.requested[:200]}"
    return TracedRequest(attributes, name, seconds, error, context.headers.get(b"traceparent", b""))


def _count(counts: RequestMetrics, line: RequestLine, endpoint: str) -> None:
    """Count a request in the metrics."""
    counts.count(line.method, endpoint, line.status, line.problem)
    if line.backend and not line.probe:
        model = counts.model(line.backend, line.model, line.status)
        model.duration.observe(line.ms / 1_000)
        if line.first_ms is not None:
            model.first_token.observe(line.first_ms / 1_000)
        if line.input_tokens is not None:
            model.input_tokens.observe(line.input_tokens)
            model.output_tokens.observe(line.output_tokens or 0)
            model.cached_tokens += line.cached_tokens or 0
        model.retries += line.tries - 1


async def _refuse(context: RequestContext, problem: Problem) -> None:
    """Answer with a Problem: as a page to a browser, in the route's envelope to a program."""
    if is_browser(context) or (context.route is not None and context.route.envelope == "page"):
        await (await asyncio.to_thread(_page_refusal))(context, problem)
    else:
        await context.refuse(problem)


def _page_refusal() -> Callable[[RequestContext, Problem], Awaitable[None]]:
    from byway.ui.refusal import refuse

    return refuse


def _all_routes() -> tuple[Route, ...]:
    from byway.server.routes import ROUTES

    return ROUTES


def _milliseconds(seconds: float) -> float:
    """Milliseconds with one decimal. `round` takes four times as long."""
    return int(seconds * 10_000 + 0.5) / 10


def _is_routine(path: str) -> bool:
    """Is a successful request to `path` not worth a log line: a health check, a file of the page, a poll of a client?"""
    return path.endswith(_ROUTINE_ENDS) or path == "/" or path.startswith(("/static/", "/login", "/favicon"))
