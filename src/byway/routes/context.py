"""RequestContext, one HTTP request on its way through Byway; Route, the value that declares an endpoint; and error envelopes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import msgspec

from byway import urls
from byway.access.keys import ANONYMOUS
from byway.fronts import responseerrors
from byway.fronts.chat import envelope as chat_envelope
from byway.gateway import Gateway
from byway.largebodies import LARGE
from byway.limits.refusals import header_pairs
from byway.limits.rules import browser_address, contains, networks, parse_address
from byway.pipeline.reply import Record
from byway.problems import MESSAGE_LIMIT, Problem
from byway.routes.usagerecords import settle
from byway.runtime import Runtime
from byway.upstream.coding import Unpacker

#: The ASGI scope: method, path, headers (a dict), client, server.
AsgiScope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_LIMIT: Final = 32 << 20
#: After a refusal the rest of a body is read and thrown away for a moment: a client that is still sending would see its
#: connection reset and never read the refusal.
_LINGER: Final = 2.0
#: Codings of a compressed request body, as `Unpacker` names them.
_CODINGS: Final = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
#: Compressed bytes that are decompressed without a pause: a few milliseconds, even when they hold thousands of empty members.
_DECODED_STEP: Final = 32 << 10
_encode: Final = msgspec.json.Encoder().encode
Header = tuple[bytes, bytes]
_JSON: Final[Header] = (b"content-type", b"application/json")
_TEXT: Final[Header] = (b"content-type", b"text/plain; charset=utf-8")
_CLOSE: Final[Header] = (b"connection", b"close")
#: Of JSON-RPC.
_INVALID_REQUEST: Final = -32600


class Responder:
    """What Byway's own server passes as ASGI `send`: whole bodies and responses in one call, without ASGI's messages, which
    cost twice as much. Any other ASGI server works too, without it."""

    __slots__ = ()

    # No ABC: checking an instance of one is slow, and it is done for every request.

    def whole_body(self) -> bytes | None:
        """The request's whole body when it is there and unread; else None, and `receive` returns it."""
        raise NotImplementedError

    def respond(self, status: int, headers: list[Header], body: bytes, lines: bytes) -> None:
        """Send a whole response. `headers` hold its length and nothing about the connection, `lines` are further headers,
        each with its line end."""
        raise NotImplementedError


class RequestContext:
    """One HTTP request: what the client sent, its caller, the runtime it keeps, and its outcome."""

    # Defaults of the class: few requests read them before they are set.
    tail = ""
    """The part of the path that the route's `*` matches, or the decoded segment that its `{name}` matches."""
    route: Route | None = None
    """The route that answers; None until it is found."""
    dialect: Envelope = "messages"
    """The form of an error of a request without a route."""
    status = 0
    metered = False
    """The usage of the request is to be recorded, or counted in limits."""
    unread = False
    """The endpoint reads the body itself, and has not read all of it: a refusal reads on for a moment."""
    session = ""
    """Claude Code's id of the conversation, from `x-claude-code-session-id`."""
    settle = settle

    def __init__(
        self,
        gateway: Gateway,
        scope: AsgiScope,
        headers: dict[bytes, bytes],
        receive: Receive,
        send: Any,
        id: str,
        started: float = 0.0,
    ) -> None:
        self.gateway = gateway
        self.scope = scope
        self.started = started
        """When the head had arrived, by the monotonic clock."""
        self.path: str = scope["path"]
        self.headers = headers
        self.receive = receive
        self.send: Send = send
        self._responder: Responder | None = send if isinstance(send, Responder) else None
        self.caller = ANONYMOUS
        self.id = id
        """24 random hex digits: `req_` and `msg_` ids are made of it."""
        self.runtime: Runtime = gateway.runtime
        self.record = Record()
        self.origin = b""
        """The request's Origin when `server.allowed_origins` contains it."""
        self.problem: Problem | None = None
        self.reserved = 0
        """Bytes that this request holds of the budget for large bodies."""

    def tap(self, connect: Callable[[Receive, Send, Responder | None], Any]) -> None:
        """Replace the connection by the one that `connect` makes of it: a Responder with `receive`."""
        connection = connect(self.receive, self.send, self._responder)
        if self._responder is not None:
            self._responder = connection
        self.receive, self.send = connection.receive, connection

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")

    async def body(self) -> bytes:
        """The whole body, decompressed; raises Problem `too_large` above 32 MiB, without reading what says its length."""
        if b"content-encoding" in self.headers:
            return await self._decoded_body(self.headers.pop(b"content-encoding"))
        if self._responder is not None and (body := self._responder.whole_body()) is not None:
            return body
        length = int(self.headers.get(b"content-length") or 0)
        if length > BODY_LIMIT:
            raise _too_large()
        if length > LARGE and not self.reserved:
            await self._reserve(length)
        message = await self.receive()
        if not message.get("more_body"):
            if message["type"] == "http.disconnect":
                raise asyncio.CancelledError
            return bytes(message["body"])
        parts = [message["body"]]
        size = len(message["body"])
        while message.get("more_body"):
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise asyncio.CancelledError
            parts.append(message["body"])
            size += len(message["body"])
            if size > BODY_LIMIT:
                raise _too_large()
            if size > LARGE and not self.reserved:
                # A chunked body does not declare its length.
                await self._reserve(BODY_LIMIT)
        return b"".join(parts)

    async def _decoded_body(self, header: bytes) -> bytes:
        """The body without its content coding, which has been removed from the headers.

        Raises Problem: `coding` for a coding that Byway does not know, `invalid_request` for bytes that are not of that
        coding, `too_large` above 32 MiB of decompressed bytes.
        """
        codings = [name for part in header.decode("latin-1").lower().split(",") if (name := part.strip()) != "identity"]
        if any(name not in _CODINGS for name in codings) or len(codings) > 1:
            raise Problem(
                "coding",
                f"content-encoding: {header.decode('latin-1')[:100]!r} is not supported. Send the request body "
                "uncompressed, or compressed with gzip or deflate.",
            )
        if codings and LARGE < int(self.headers.get(b"content-length") or 0) <= BODY_LIMIT:
            # Its length does not tell how much it becomes. Later it would wait for the rest with its memory in use.
            await self._reserve(BODY_LIMIT)
        data = await self.body()
        if not codings:
            return data
        unpacker = Unpacker(_CODINGS[codings[0]])
        parts: list[bytes] = []
        size = 0
        try:
            for at in range(0, len(data), _DECODED_STEP):
                part = data[at : at + _DECODED_STEP]
                while part or not unpacker.needs_input:
                    parts.append(unpacker.unpack(part))
                    part = b""
                    size += len(parts[-1])
                    if size > BODY_LIMIT:
                        raise _too_large()
                    if size > LARGE and not self.reserved:
                        await self._reserve(BODY_LIMIT)
                    # A few kilobytes can become all that is allowed: others run after each megabyte.
                    await asyncio.sleep(0)
            if not unpacker.finished:
                raise ValueError("it ends too early")
        except ValueError as error:
            raise Problem("invalid_request", f"The request body is not valid {codings[0]}: {error}.") from None
        return b"".join(parts)

    async def reserve(self, size: int) -> None:
        """Take part of the budget for large bodies, for a body that becomes larger than it came. Raises Problem."""
        if size > LARGE and size > self.reserved:
            # What it holds is returned first: two requests that wait for each other would wait in vain.
            self.release_body()
            await self._reserve(size)

    async def _reserve(self, size: int) -> None:
        await self.gateway.large_bodies.reserve(size)
        self.reserved = size

    def release_body(self) -> None:
        """Return the body's share of the budget for large bodies: its memory is free, or about to be."""
        if self.reserved:
            self.gateway.large_bodies.release(self.reserved)
            self.reserved = 0

    async def begin(self, status: int, headers: list[Header]) -> None:
        """Send the head; every answer carries `request-id`."""
        headed, lines = self._headed(status, headers), self.record.quota
        await self.send({"type": "http.response.start", "status": status, "headers": headed, "lines": lines})

    def _headed(self, status: int, headers: list[Header]) -> list[Header]:
        self.status = status
        headers.append((b"request-id", b"req_" + self.id.encode()))
        if self.record.quota and self._responder is None:
            headers += header_pairs(self.record.quota)
        if self.origin:
            headers += [(b"access-control-allow-origin", self.origin), (b"vary", b"origin")]
        return headers

    async def answer(
        self, body: bytes, status: int = 200, headers: Iterable[Header] = (), kind: Header = _JSON
    ) -> None:
        """Send a whole answer, of JSON unless `kind` is another content type."""
        headed = self._headed(status, [kind, (b"content-length", b"%d" % len(body)), *headers])
        if self.metered:
            self.settle()
        if self.scope["method"] == "HEAD":
            body = b""
        if self._responder is not None:
            self._responder.respond(status, headed, body, self.record.quota)
            return
        await self.send({"type": "http.response.start", "status": status, "headers": headed})
        await self.send({"type": "http.response.body", "body": body})

    def _error_body(self, problem: Problem) -> bytes:
        """The error in the envelope of the route; an unknown path gets that of the client's API."""
        kind = self.dialect if self.route is None else self.route.envelope
        if kind == "chat" or (kind == "files" and not is_anthropic(self)):
            return chat_envelope(problem, client_message(problem, self.runtime))
        if kind == "responses":
            return responseerrors.envelope(problem, client_message(problem, self.runtime))
        if kind == "ollama":
            return ollama_envelope(problem, self.runtime)
        if kind == "gemini":
            return gemini_envelope(problem, self.runtime)
        if kind == "oauth":
            return oauth_envelope(problem, self.runtime)
        if kind == "admin":
            return admin_envelope(problem, self.id, self.runtime)
        if kind == "mcp":
            return mcp_envelope(problem, self.runtime)
        return envelope(problem, self.id, self.runtime)

    async def refuse(self, problem: Problem) -> None:
        """Send a Problem as an error in the route's envelope."""
        self.problem = problem
        kind, body = _JSON, b""
        if self.route is not None and self.route.envelope == "responses":
            codex = responseerrors.is_codex(self.header(b"user-agent"), self.header(b"originator"))
            responseerrors.show(problem, codex=codex)
            if codex and (text := responseerrors.plain(problem, client_message(problem, self.runtime))):
                kind, body = _TEXT, text
        body = body or self._error_body(problem)
        headers = [*retry_headers(problem), *problem.headers, (b"x-byway-problem", problem.kind.encode())]
        if self.record.backend:
            headers.append((b"x-byway-backend", latin(self.record.backend)))
        if b"host" not in self.headers:
            # The client is broken: its next request on this connection would be too.
            await self.begin(problem.status, [*headers, kind, (b"content-length", b"%d" % len(body)), _CLOSE])
            await self.send({"type": "http.response.body", "body": b"" if self.scope["method"] == "HEAD" else body})
            return
        if not (self.unread or problem.kind == "too_large") or self.record.backend:
            await self.answer(body, problem.status, headers, kind)
            return
        headers += [kind, (b"content-length", b"%d" % len(body))]
        await self.begin(problem.status, [*headers, _CLOSE])
        await self.send({"type": "http.response.body", "body": body, "more_body": True})
        try:
            async with asyncio.timeout(_LINGER):
                while (await self.receive()).get("more_body"):
                    pass
        except TimeoutError:
            pass
        await self.send({"type": "http.response.body", "body": b""})


async def preflight(context: RequestContext) -> None:
    """Answer a CORS preflight: a browser sends it before a page of an allowed origin may send its request."""
    wanted = context.headers.get(b"access-control-request-headers", b"content-type, x-api-key, authorization")
    await context.begin(
        204,
        [
            (b"access-control-allow-methods", b"GET, POST, DELETE"),
            (b"access-control-allow-headers", wanted),
            (b"access-control-max-age", b"600"),
        ],
    )
    await context.send({"type": "http.response.body", "body": b""})


def is_anthropic(context: RequestContext) -> bool:
    """Is the client of a path that both APIs have one of Anthropic's API? OpenAI's sends none of its headers.

    Claude Code's upload has OpenAI's field `purpose`, so the form does not tell.
    """
    return b"x-api-key" in context.headers or is_surely_anthropic(context)


def is_surely_anthropic(context: RequestContext) -> bool:
    """Has the client sent what only clients of Anthropic's API send? A key for Byway may be in `x-api-key` of any client."""
    headers = context.headers
    return b"anthropic-version" in headers or b"anthropic-beta" in headers or context.path.startswith("/anthropic")


def is_htmx(context: RequestContext) -> bool:
    """Is it a request of htmx, which replaces a part of the page?"""
    return context.header(b"hx-request") == "true"


def is_browser(context: RequestContext) -> bool:
    """Does the request come from a browser that shows the response?"""
    return is_htmx(context) or b"text/html" in context.headers.get(b"accept", b"")


def broken() -> Problem:
    """The Problem for an unexpected exception in Byway itself."""
    return Problem(
        "internal", "Internal error in Byway. This is a bug: please report it with the traceback in Byway's log."
    )


def _too_large() -> Problem:
    return Problem(
        "too_large", f"The request body is over {BODY_LIMIT >> 20} MiB. Send less, or send files by reference."
    )


@lru_cache(256)
def latin(text: str) -> bytes:
    """Text as a header value; characters that a header cannot hold are replaced."""
    shown = text if text.isprintable() else "".join([char if char.isprintable() else " " for char in text])
    return shown.encode("latin-1", "replace")


@lru_cache(256)
def answerer(backend: str, model: str) -> tuple[Header, Header]:
    """The headers that name the target of the answer: its backend, and `backend/model`."""
    return (b"x-byway-backend", latin(backend)), (b"x-byway-model", latin(f"{backend}/{model}"))


def only_uncompressed(what: str) -> Problem:
    """The Problem of a compressed body where Byway reads none: `what` has to be sent uncompressed."""
    problem = Problem("coding", f"content-encoding is not supported here. Send {what} uncompressed.")
    problem.headers = ((b"accept-encoding", b"identity"),)
    return problem


def retry_headers(problem: Problem) -> list[Header]:
    """The headers that tell a client when, whether and how to retry."""
    headers: list[Header] = []
    if problem.retry_after is not None:
        # A client that comes earlier than the backend asks is refused again. Digits beyond microseconds are noise of floats.
        seconds = math.ceil(round(problem.retry_after, 6))
        headers.append((b"retry-after", str(max(0, seconds)).encode()))
    if problem.retry is not None:
        headers.append((b"x-should-retry", b"true" if problem.retry else b"false"))
    if problem.kind == "coding" and not any(name == b"accept-encoding" for name, _ in problem.headers):
        # RFC 7694: the codings that the server accepts.
        headers.append((b"accept-encoding", b"gzip, deflate"))
    return headers


def public_url(context: RequestContext) -> str:
    """The URL at which the browser of a request reaches Byway, without a slash at its end.

    `Host` has passed the check of host names.
    """
    config = context.runtime.config
    fixed = config.server.public_url or config.oidc.url.rstrip("/")
    return f"{fixed or _sent_origin(context)}{config.server.root_path}"


def _sent_origin(context: RequestContext) -> str:
    """The origin that the headers of a request name."""
    is_encrypted = context.gateway.certificate is not None or _is_forwarded_https(context)
    return f"{'https' if is_encrypted else 'http'}://{context.header(b'host')}"


def is_https(context: RequestContext) -> bool:
    """Does the browser of a request reach Byway over https?"""
    config = context.runtime.config
    return (
        context.gateway.certificate is not None
        or _is_forwarded_https(context)
        or ((config.server.public_url or config.oidc.url).startswith("https:") and not is_loopback_host(context))
    )


def client_address(context: RequestContext) -> str:
    """The address of the client, which a proxy of `server.trusted_proxies` names; "" for a unix socket."""
    client = context.scope.get("client")
    if not client:
        return ""
    proxies = context.runtime.config.server.trusted_proxies
    return browser_address(str(client[0]), context.header(b"x-forwarded-for"), proxies)


def secure_origin(context: RequestContext) -> str:
    """The origin at which the client of a request reaches Byway, with `server.root_path`.

    Raises Problem when a token would travel over http between machines.
    """
    config, host = context.runtime.config, context.header(b"host").lower()
    root, public = config.server.root_path, config.server.public_url
    sent_host = context.header(b"x-forwarded-host").lower().partition(",")[0].strip()
    if public.startswith("https:") and (
        _is_host_of(public, host) or (sent_host and _is_host_of(public, sent_host) and _is_forwarded_https(context))
    ):
        return f"{public}{root}"
    # A proxy may name the host with or without the port.
    if sent_host and sent_host.partition(":")[0] != host.partition(":")[0]:
        # A client ignores endpoints on another origin than its own, and a person cannot open the page there.
        raise Problem(
            "permission",
            f"A proxy has replaced the Host header by {host[:100]!r}. Configure it to pass on Host unchanged, or set "
            "`server.public_url` to the URL at which it serves Byway.",
            retry=False,
        )
    is_encrypted = context.gateway.certificate is not None or _is_forwarded_https(context)
    if is_encrypted or config.oidc.url == f"https://{host}":
        return f"https://{host}{root}"
    if is_loopback_host(context):
        return f"http://{host}{root}"
    raise Problem(
        "permission",
        "Sign-in works over https only, except on this machine. Set `server.tls`, or serve Byway behind a proxy with https: "
        "set `server.public_url`, or let the proxy send X-Forwarded-Proto and add its address to `server.trusted_proxies`.",
        retry=False,
    )


def _is_host_of(public: str, host: str) -> bool:
    """Is `host`, with or without a port, the host of the origin `public`?"""
    scheme = public.partition(":")[0]
    try:
        return urls.parse(f"{scheme}://{host}/").origin == public
    except ValueError:
        return False


def _is_forwarded_https(context: RequestContext) -> bool:
    """Has a trusted proxy received the request over https?"""
    client = context.scope.get("client")
    if not client or context.headers.get(b"x-forwarded-proto") != b"https":
        return False
    address = parse_address(str(client[0]))
    return address is not None and contains(networks(context.runtime.config.server.trusted_proxies), address)


def is_loopback_host(context: RequestContext) -> bool:
    """Does the browser reach Byway by an address of this machine?"""
    try:
        return urls.is_loopback(urls.parse(f"http://{context.header(b'host')}/"))
    except ValueError:
        return False


def client_message(problem: Problem, runtime: Runtime) -> str:
    """The problem's message for the client: without secrets, and of bounded length."""
    message = runtime.scrubber.scrub(problem.message)
    return message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"


def envelope(problem: Problem, id: str, runtime: Runtime) -> bytes:
    """The error body of the Messages API, without secrets."""
    error: dict[str, Any] = {"type": problem.row.type, "message": client_message(problem, runtime)}
    if details := problem.facts.get("details"):
        error["details"] = msgspec.Raw(str(details).encode())
    return _encode({"type": "error", "error": error, "request_id": f"req_{id}"})


def error_event(problem: Problem, id: str, runtime: Runtime) -> bytes:
    """A Problem as the event that ends a stream."""
    return b"event: error\ndata: %b\n\n" % envelope(problem, id, runtime)


def admin_envelope(problem: Problem, id: str, runtime: Runtime) -> bytes:
    """The error body of the admin API: that of the Messages API with the invalid field, or the conflicts of a change."""
    error: dict[str, Any] = {"type": problem.row.type, "message": client_message(problem, runtime)}
    if field := problem.facts.get("field"):
        error["field"] = field
    if problem.kind == "stale":
        conflicts = runtime.scrubber.scrub(str(problem.facts.get("conflicts") or "[]"))
        error |= {"etag": problem.facts.get("etag", ""), "conflicts": msgspec.Raw(conflicts.encode())}
    return _encode({"type": "error", "error": error, "request_id": f"req_{id}"})


def gemini_envelope(problem: Problem, runtime: Runtime) -> bytes:
    """The error body of Google's APIs (https://google.aip.dev/193, seen 2026-11-30)."""
    status = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}.get(
        problem.status, "INVALID_ARGUMENT"
    )
    return _encode({"error": {"code": problem.status, "message": client_message(problem, runtime), "status": status}})


def ollama_envelope(problem: Problem, runtime: Runtime) -> bytes:
    """The error body of Ollama's API."""
    return _encode({"error": client_message(problem, runtime)})


def oauth_envelope(problem: Problem, runtime: Runtime) -> bytes:
    """The error body of RFC 6749, section 5.2. `facts` may have another code than the kind of the Problem."""
    codes = {"rate_limit": "slow_down", "internal": "server_error", "permission": "access_denied"}
    code = problem.facts.get("oauth") or codes.get(problem.kind, "invalid_request")
    return _encode({"error": code, "error_description": client_message(problem, runtime)})


def mcp_envelope(problem: Problem, runtime: Runtime) -> bytes:
    """The error body of MCP: a JSON-RPC error that belongs to no request, because none was read."""
    error = {"code": _INVALID_REQUEST, "message": client_message(problem, runtime)}
    return _encode({"jsonrpc": "2.0", "id": None, "error": error})


Endpoint = Callable[[RequestContext], Awaitable[None]]
Scope = Literal["open", "read", "write", "files", "tools", "account", "admin"]
"""What a route requires: nothing, a key with that scope, a key with the scope `write` or the MCP token of a sign-in (tools), a
key or a login of an account (account), or an owner: its login, its key with the scope `admin`, or the owner's socket (admin).
`authorize` decides, by the roles of `byway.roles`."""
Envelope = Literal["messages", "chat", "responses", "files", "page", "admin", "oauth", "mcp", "ollama", "gemini"]
"""The form of a route's errors: the Messages API's, OpenAI's, that with the codes of the Responses API, whichever of the first
two the client uses (files), a page where a login is required, the admin API's, OAuth's, MCP's, Ollama's, or that of Gemini, of
which Byway has no path."""


class Route(NamedTuple):
    """One endpoint. A `path` that ends in `*` matches everything below it; `{name}` in it matches one segment."""

    method: str
    path: str
    endpoint: Endpoint
    scope: Scope
    envelope: Envelope = "messages"
    operation: Any = None
    """For the admin API: an `operation.Operation`, from which the OpenAPI document is generated."""


#: The base URLs at which Claude Code signs in: it appends the paths of `oauth`, `managed` and `telemetry` to either.
BASE_PREFIXES: Final = ("", "/anthropic")
#: Where the API's paths are served. The longer ones serve base URLs that end in `/v1` or `/v1/messages`.
PREFIXES: Final = ("", "/anthropic", "/v1", "/anthropic/v1", "/v1/messages", "/anthropic/v1/messages")


def api(method: str, path: str, endpoint: Endpoint, scope: Scope, envelope: Envelope = "messages") -> tuple[Route, ...]:
    """The routes of an API endpoint, one under each prefix."""
    return tuple(Route(method, prefix + path, endpoint, scope, envelope) for prefix in PREFIXES)
