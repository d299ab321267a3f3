"""A relay on this machine between one client and its endpoint.

It replaces every credential of the client by the endpoint's, so that exactly one leaves this machine; only a Byway that
forwards the client's own login gets that too. It explains errors by layer, and it follows a change of the active endpoint,
which a running client cannot do. It runs in a thread of the launcher.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from byway import platform
from byway.access.keys import OWN_HEADER, REFUSAL
from byway.call import Call
from byway.config import TimeoutSettings
from byway.decoding import DECODE_ERRORS
from byway.endpoints.advice import Advice, explain
from byway.endpoints.registry import BYWAY
from byway.launch.target import LaunchTarget
from byway.problems import Problem
from byway.server.connection import HttpServer
from byway.upstream.answer import Answer
from byway.upstream.client import Upstream

#: Bytes of a request. Claude Code sends at most 32 MB.
_BODY_LIMIT: Final = 64 << 20
#: Bytes that are read of an error, to explain it.
_ERROR_LIMIT: Final = 1 << 20
_CONNECTIONS: Final = 200
#: Seconds between two looks at the active endpoint.
_POLL: Final = 0.5
#: Seconds until the first byte. Claude Code sends the request again after 360 seconds and shows nothing (measured).
PATIENCE: Final = 300.0
#: Headers of the client that are its own, or belong to one connection (RFC 9110 section 7.6.1).
_DROPPED: Final = frozenset(
    "authorization x-api-key proxy-authorization cookie host connection keep-alive te trailer transfer-encoding upgrade "
    "content-length accept-encoding expect proxy-connection x-byway-key".split()
)
#: Those that are the client's login. They go on to a Byway that forwards them, and nowhere else.
_LOGIN: Final = frozenset(("authorization", "x-api-key"))
_DROPPED_OF_ANSWER: Final = frozenset(
    "connection keep-alive transfer-encoding content-length content-encoding te trailer upgrade proxy-authenticate "
    "set-cookie alt-svc".split()
)
#: The client continues by itself after some refusals, for example of a prompt that is too long, so their text is kept.
_KEPT: Final = (400, 413, 422)
#: Claude Code hides the text of these statuses, and after a 401 it proposes a Claude login; the text of 424 is shown (measured).
_HIDDEN: Final = (401, 403, 404)
_SHOWN: Final = 424


class RelayTarget(Struct, frozen=True):
    """Where the relay sends requests."""

    target: LaunchTarget
    models: tuple[str, ...] = ()
    """The models that the endpoint lists."""
    model_map: dict[str, str] = {}
    default: str = ""
    """The model for names that the endpoint does not serve; empty: names are not changed."""
    resolves_claude: bool = False
    """The endpoint resolves Claude's names itself, as Byway does."""

    def model(self, name: str) -> str:
        """The model for the name in a request: a running client keeps the names of the endpoint that it started with."""
        if name in self.model_map:
            return self.model_map[name]
        if not self.default or name in self.models or (self.resolves_claude and "claude" in name):
            return name
        family = next((word for word in ("haiku", "sonnet", "opus", "fable") if word in name), "")
        return self.model_map.get(family) or self.model_map.get("default") or self.default


#: Returns the endpoint to use from now on; None when nothing has changed. Called every half second, in a thread.
Follow = Callable[[], RelayTarget | None]
#: Returns Byway's address and a key as they are now; None when nothing can be done. Called in a thread.
Renew = Callable[[], LaunchTarget | None]


class Relay:
    """The relay of one client: a listener at a free port of 127.0.0.1, and a secret that only this client has."""

    def __init__(
        self,
        target: RelayTarget,
        follow: Follow | None = None,
        patience: float = PATIENCE,
        renew: Renew | None = None,
    ) -> None:
        """`patience`: seconds of silence after which the endpoint counts as silent. `renew` is for Byway, which may have been
        restarted, or may require a key since then."""
        self._renew = renew
        self._patience = patience
        self.token = f"byway-{secrets.token_hex(16)}"
        """The client's key. Without it other users of this machine could use the endpoint's credential."""
        self.requests = 0
        self._advice: Advice | None = None
        self._target = target
        self._follow = follow
        self._listener = platform.listen_tcp(socket.AF_INET, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._stopping: asyncio.Event | None = None
        self._ready = threading.Event()
        self._upstream = self._connect(target)

    def take_advice(self) -> Advice | None:
        """The last failure of the endpoint since the last call, explained."""
        advice, self._advice = self._advice, None
        return advice

    def start(self) -> None:
        """Serve, in a thread of its own."""
        self._thread.start()
        self._ready.wait()

    def retarget(self, target: RelayTarget, renew: Renew | None) -> None:
        """Send requests to another endpoint from now on. Running answers are finished. Blocks."""
        self._renew = renew
        asyncio.run_coroutine_threadsafe(self._use(target), self._loop).result()

    async def _use(self, target: RelayTarget) -> None:
        upstream = self._connect(target)
        before, self._upstream, self._target = self._upstream, upstream, target
        # Its running answers are finished.
        await before.close()

    def stop(self) -> None:
        """End the running requests and the thread."""
        if self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(5)

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        server = HttpServer(self._answer, _CONNECTIONS)
        bound = await self._loop.create_server(server.connection, sock=self._listener, backlog=platform.BACKLOG)
        background = [asyncio.create_task(server.run_clock())]
        if self._follow is not None:
            background.append(asyncio.create_task(self._watch(self._follow)))
        self._ready.set()
        try:
            await self._stopping.wait()
        finally:
            bound.close()
            for task in (*background, *server.tasks):
                task.cancel()
            await asyncio.gather(*background, *server.tasks, return_exceptions=True)
            server.abort()
            await self._upstream.close()

    async def _watch(self, follow: Follow) -> None:
        while True:
            await asyncio.sleep(_POLL)
            # A failure keeps the endpoint that works.
            with contextlib.suppress(Exception):
                changed = await asyncio.to_thread(follow)
                if changed is not None:
                    await self._use(changed)

    def _connect(self, target: RelayTarget) -> Upstream:
        timeouts = TimeoutSettings(connect=10, first_byte=self._patience, between_chunks=self._patience)
        return Upstream(target.target.base_url, timeouts=timeouts, extra_cas=target.target.extra_cas)

    # --------------------------------------------------------------------------------------------------------- requests

    async def _answer(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        """Answer one request of the client. A client that disconnects ends the request to the endpoint."""
        headers: Mapping[bytes, bytes] = scope["headers"]
        if scope["method"] == "HEAD":
            # Claude Code connects ahead, without a key.
            await _respond(send, 200, [], b"")
            return
        if not self._is_client(headers):
            await _fail(send, 401, "authentication_error", "This relay belongs to a client that Byway has started.")
            return
        body = await _body(headers, receive)
        if body is None:
            await _fail(send, 413, "request_too_large", f"A request has at most {_BODY_LIMIT >> 20} MB.")
            return
        self.requests += 1
        task = asyncio.current_task()
        watch = asyncio.create_task(_disconnected(receive))

        def gone(done: asyncio.Task[None]) -> None:
            if not done.cancelled() and task is not None:
                task.cancel()

        watch.add_done_callback(gone)
        try:
            await self._forward(scope, headers, body, send)
        finally:
            watch.cancel()

    def _is_client(self, headers: Mapping[bytes, bytes]) -> bool:
        token = self.token.encode()
        given = headers.get(b"authorization", b"").removeprefix(b"Bearer ").strip()
        # Other agents send it as a key. Not one comparison may end early.
        is_token = hmac.compare_digest(given, token)
        is_key = hmac.compare_digest(headers.get(b"x-api-key", b""), token)
        return is_token or is_key or self._has_login(headers)

    def _has_login(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether the secret is in a header of its own, so that the credentials are the client's own login."""
        return hmac.compare_digest(headers.get(OWN_HEADER, b""), self.token.encode())

    async def _forward(self, scope: Any, headers: Mapping[bytes, bytes], body: bytes, send: Any) -> None:
        path = _path(scope)
        is_message = path.split("?")[0].endswith(("/messages", "/count_tokens"))
        has_login = self._has_login(headers)
        is_renewed = False
        while True:
            target = self._target
            content = _with_model(body, target) if is_message and target.default else body
            own = {name.lower(): value for name, value in target.target.request_headers().items()}
            keeps_login = has_login and target.target.keeps_login
            dropped = _DROPPED - _LOGIN if keeps_login else _DROPPED
            passed = [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in headers.items()
                if (text := name.decode("latin-1").lower()) not in dropped and text not in own
            ]
            try:
                answer = await self._upstream.open(Call(scope["method"], path, (*passed, *own.items()), content))
            except Problem as problem:
                if problem.kind == "unreachable" and not is_renewed and await self._renewed(target):
                    is_renewed = True
                    continue
                advice = self._explain(target, problem.message, None)
                await _explained(send, advice, 504 if problem.kind == "timeout" else 502)
                return
            if answer.status == 401 and keeps_login:
                if await self._unauthorized(target, answer, send, is_renewed=is_renewed):
                    is_renewed = True
                    continue
                return
            if answer.status == 401 and not is_renewed and await self._renewed(target):
                answer.close()
                is_renewed = True
                continue
            break
        try:
            await self._pass_on(target, answer, send, is_message=is_message)
        except Problem:
            # The connection ends without the rest, which the client reports as an interrupted answer.
            return
        finally:
            answer.close()

    async def _renewed(self, target: RelayTarget) -> bool:
        """Whether Byway has another address or key now, which is used from now on."""
        if self._renew is None or target.target.name != BYWAY:
            return False
        if self._target is not target:
            # Another request has renewed it meanwhile.
            return True
        with contextlib.suppress(Exception):
            changed = await asyncio.to_thread(self._renew)
            if changed is not None and self._target is target:
                before = self._upstream
                self._target = msgspec.structs.replace(target, target=changed)
                self._upstream = self._connect(self._target)
                await before.close()
            return changed is not None
        return False

    async def _unauthorized(self, target: RelayTarget, answer: Answer, send: Any, *, is_renewed: bool) -> bool:
        """Pass on the 401 of a Byway that forwards logins. Returns True when Byway has a new key instead: send again.

        The refusal of a login is not changed, so that the client renews it.
        """
        try:
            raw = await answer.body(_ERROR_LIMIT)
        except Problem:
            return False
        finally:
            answer.close()
        if REFUSAL.encode() not in raw:
            await _respond(send, 401, _headers_of(answer), raw)
        elif not is_renewed and await self._renewed(target):
            return True
        else:
            await _explained(send, self._explain(target, raw.decode(errors="replace"), 401), _SHOWN)
        return False

    async def _pass_on(self, target: RelayTarget, answer: Answer, send: Any, *, is_message: bool) -> None:
        is_page = "text/html" in answer.headers.get("content-type", "") and is_message
        # Byway's own errors are explained already, but a 401 makes the client propose a Claude login.
        is_own = target.target.name == BYWAY and answer.status != 401
        if not is_own and (answer.status >= 300 or is_page) and is_message:
            body, is_whole = await _beginning(answer)
            raw = body.decode(errors="replace")
            advice = self._explain(target, raw or f"status {answer.status}", answer.status)
            if not (answer.status in _KEPT and advice.layer == "server" and not is_page and is_whole):
                status = _SHOWN if answer.status in _HIDDEN or answer.status < 400 else answer.status
                await _explained(send, advice, status, answer.headers.get("retry-after", ""))
                return
            await _respond(send, answer.status, _headers_of(answer), raw.encode())
            return
        await send({"type": "http.response.start", "status": answer.status, "headers": _headers_of(answer)})
        while chunk := await answer.read():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _explain(self, target: RelayTarget, text: str, status: int | None) -> Advice:
        self._advice = explain(target.target.name, target.target.base_url, text, status)
        return self._advice


def _path(scope: Any) -> str:
    """The path and query as the client sent them; the server has decoded the path."""
    path = quote(scope["path"], safe="/:@!$&'()*+,;=~")
    query = scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


async def _body(headers: Mapping[bytes, bytes], receive: Callable[[], Awaitable[Any]]) -> bytes | None:
    """The whole body; None when it is too large, before any of it is read if its length is declared.

    A client that disconnects cancels.
    """
    if int(headers.get(b"content-length") or 0) > _BODY_LIMIT:
        return None
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise asyncio.CancelledError
        parts.append(bytes(message["body"]))
        size += len(parts[-1])
        if size > _BODY_LIMIT:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


async def _beginning(answer: Answer) -> tuple[bytes, bool]:
    """The body of an error up to the limit, and whether that is all of it. Raises Problem."""
    body = b""
    while chunk := await answer.read():
        body += chunk
        if len(body) > _ERROR_LIMIT:
            return body[:_ERROR_LIMIT], False
    return body, True


async def _disconnected(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _with_model(body: bytes, target: RelayTarget) -> bytes:
    """The body with a model that the endpoint serves. Other members keep their bytes."""
    try:
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        name = msgspec.json.decode(members["model"], type=str)
    except (KeyError, *DECODE_ERRORS):
        return body
    model = target.model(name)
    if model == name:
        return body
    members["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(members)


def _headers_of(answer: Answer) -> list[tuple[bytes, bytes]]:
    return [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in answer.headers.items()
        if name.lower() not in _DROPPED_OF_ANSWER
    ]


async def _respond(send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _explained(send: Any, advice: Advice, status: int, retry_after: str = "") -> None:
    """Answer with an explanation, the raw text behind it."""
    # Claude Code replaces an error that names its header by "Not logged in · Please run /login" (measured, 2.1.329).
    raw = advice.details.replace("x-api-key", "API key header")
    details = f" Details: {raw}" if raw else ""
    headers = [(b"retry-after", retry_after.encode("latin-1"))] if retry_after else []
    if status == _SHOWN or advice.layer in ("credential", "model"):
        # Without it Claude Code would try again for minutes.
        headers.append((b"x-should-retry", b"false"))
    await _fail(send, status, "api_error", f"{advice.summary} {advice.action}{details}", headers)


async def _fail(
    send: Any, status: int, kind: str, message: str, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()
    await _respond(send, status, [(b"content-type", b"application/json"), *(headers or [])], body)
