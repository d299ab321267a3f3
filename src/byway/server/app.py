"""Runtime -> HTTP app: gathers the routes, keeps the door (host, page, key), and turns a Problem into an answer."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from byway import runtime as generations
from byway.access.keys import Caller
from byway.admin.requests import Line, Recent
from byway.config import Config
from byway.logs import taker, trace
from byway.problems import Problem
from byway.routes import chat, health, messages, models, settings, tokens
from byway.routes.context import Ask, Endpoint, Gone, Receive, Routes, Scope, Send, broken, preflight
from byway.runtime import Runtime
from byway.ui import api, claude, login, secrets, trouble
from byway.ui import models as served
from byway.ui import page as ui
from byway.ui import requests as traffic

if TYPE_CHECKING:
    from byway.admin.services import Desk
    from byway.store import Store

#: Every front path may stand under these. The longer ones are what a base URL that ends in `/v1` or `/v1/messages` gives.
PREFIXES: Final = ("", "/anthropic", "/v1", "/anthropic/v1", "/v1/messages", "/anthropic/v1/messages")
FRONT: Final[Routes] = (*messages.ROUTES, *chat.ROUTES, *tokens.ROUTES, *models.ROUTES)
#: What needs no key: a client's hello, and what a supervisor asks.
OPEN: Final[Routes] = (*health.ROUTES, *claude.OPEN, *login.OPEN, *ui.OPEN)
_OPEN: Final = frozenset(endpoint for _, _, endpoint in OPEN)
#: The scope that a key must have for an endpoint; one that is not named here is for `admin` alone.
NEEDED: Final[Mapping[Endpoint | None, str]] = {
    messages.create: "write",
    chat.create: "write",
    tokens.count: "read",
    models.index: "read",
    models.show: "read",
}
#: What is for the page's login, for keys with the scope `admin`, and for the owner of the unix socket in the data folder.
PAGES: Final[Routes] = (
    *claude.ROUTES,
    *served.ROUTES,
    *api.ROUTES,
    *secrets.ROUTES,
    *traffic.ROUTES,
    *trouble.ROUTES,
    *login.ROUTES,
)
ADMIN: Final[Routes] = (*settings.ROUTES, *PAGES)
_PAGES: Final = frozenset(endpoint for _, _, endpoint in PAGES)
_ADMIN: Final = frozenset(endpoint for _, _, endpoint in ADMIN)
#: Who is logged in at the page.
PERSON: Final = Caller("", ("read", "write", "files", "admin"))
#: Who comes by the unix socket in the data folder. Another one than PERSON: what it asks of models is logged.
OWNER: Final = Caller("", PERSON.scopes)
_SAFE: Final = frozenset(("GET", "HEAD"))
_LOOPBACK: Final = frozenset(("localhost", "127.0.0.1", "[::1]"))
_REMEMBERED: Final = 256
#: A name or an address in brackets, and perhaps a port.
_HOST: Final = re.compile(r"(\[[0-9a-f:.%]+\]|[^\s\[\]:/@]+)(?::\d*)?")
#: Seconds between two looks at the running exchanges: how soon a client that left is noticed.
_BEAT: Final = 0.05


class App:
    """The ASGI application. `runtime` is swapped whole on a reload; each request keeps the one that it began with."""

    def __init__(self, runtime: Runtime, wide: bool = False, store: Store | None = None) -> None:
        """`wide`: it listens beyond loopback, so that addresses of this machine's networks are good `Host` names too."""
        self.runtime = runtime
        self.store = store
        self.desk: Desk | None = None
        self.began = runtime.config
        """The config with which the process began: what has changed since may want a restart."""
        self.recent = Recent()
        self.config_problem: str | None = None
        self.draining = False
        self._wide = wide
        self._by_socket_only = not runtime.config.server.tcp
        self._attended: set[Attended] = set()
        self._ids: list[str] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beating = False
        self._hosts: set[bytes] = set()
        """Names that were found to be good: values of `Host`, as they came."""
        self._table: dict[str, dict[str, Endpoint]] = {}
        self._tails: dict[str, Endpoint] = {}
        for prefix in PREFIXES:
            for method, path, endpoint in FRONT:
                if path.endswith("*"):
                    self._tails[prefix + path[:-1]] = endpoint
                else:
                    self._table.setdefault(prefix + path, {})[method] = endpoint
        for method, path, endpoint in ADMIN:
            if path.endswith("*"):
                self._tails[path[:-1]] = endpoint
            else:
                self._table.setdefault(path, {})[method] = endpoint
        for method, path, endpoint in OPEN:
            if path.endswith("*"):
                self._tails[path[:-1]] = endpoint
            else:
                self._table.setdefault(path, {})[method] = endpoint

    # ---------------------------------------------------------------------------------------------------------- requests

    @property
    def active(self) -> int:
        """How many exchanges run."""
        return len(self._attended)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began = time.monotonic()
        headers: dict[bytes, bytes] = scope["headers"]
        if type(headers) is not dict:
            # ASGI has a list of pairs here, Byway's own connection what comes of it.
            headers = dict(headers)
        ids = self._ids or self._more_ids()
        ask = Ask(self, scope, headers, receive, send, ids.pop())
        try:
            try:
                endpoint = self._enter(ask)
                await endpoint(ask)
            except Problem as problem:
                if ask.status:
                    raise
                await self._refuse(ask, problem)
        except (Gone, asyncio.CancelledError):
            ask.status = 499
        except Exception:
            trace("Byway failed on a request: please report this", id=f"req_{ask.id}")
            ask.problem = broken()
            if not ask.status:
                await self._refuse(ask, ask.problem)
        finally:
            self._log(ask, time.monotonic() - began)

    def _more_ids(self) -> list[str]:
        """Random ids of 24 letters, many from one call for randomness."""
        block = os.urandom(12 * 256).hex()
        self._ids += [block[at : at + 24] for at in range(0, len(block), 24)]
        return self._ids

    async def _refuse(self, ask: Ask, problem: Problem) -> None:
        """Say a Problem: to a person as a page, to a program in the API's words."""
        await (ui.refused(ask, problem) if ui.for_person(ask) else ask.refuse(problem))

    def _enter(self, ask: Ask) -> Endpoint:
        """The door, the same for every route: host, page, key. Then the endpoint."""
        headers = ask.headers
        if headers.get(b"host") not in self._hosts:
            self._check_host(ask)
        if b"origin" in headers:
            self._check_origin(ask)
        if self._by_socket_only and _tcp(ask) and not _near(ask):
            raise Problem("permission", _TCP_OFF)
        method = ask.scope["method"]
        if method == "OPTIONS" and ask.origin:
            return preflight
        found = self._table.get(ask.path) or self._find(ask)
        endpoint = found.get(method)
        needed = NEEDED.get(endpoint)
        if needed is not None:
            caller = ask.caller = self._caller(ask)
            if needed not in caller.scopes:
                raise _not_allowed(caller, needed)
            if self._by_socket_only and _tcp(ask):
                raise Problem("permission", _TCP_OFF)
        elif endpoint in _ADMIN:
            try:
                self.admit(ask)
            except Problem as problem:
                if problem.kind != "authentication" or endpoint not in _PAGES:
                    raise
                return login.closed
        elif endpoint not in _OPEN:
            ask.caller = self._caller(ask)
            if endpoint is not None and "admin" not in ask.caller.scopes:
                raise _not_allowed(ask.caller, "admin")
        if endpoint is None:
            if not found:
                raise Problem(
                    "not_found",
                    f"There is nothing at {ask.path[:200]}. The Messages API is at /v1/messages and at "
                    "/anthropic/v1/messages.",
                )
            raise Problem("method", f"{method} is not possible at {ask.path}; possible: {', '.join(sorted(found))}.")
        if self.draining and method == "POST":
            raise Problem("stopping", "Byway is stopping. Ask again in a moment.", retry_after=5)
        return endpoint

    @property
    def at_desk(self) -> Desk:
        """What the settings are changed with; raises Problem where this process has no data folder."""
        if self.desk is None:
            raise Problem("not_found", "This Byway has no settings page.")
        return self.desk

    def admit(self, ask: Ask) -> None:
        """The inner door: a login, a key with the scope `admin`, or the socket that only its owner can open."""
        desk = self.at_desk
        if self._by_owner(ask):
            ask.caller = PERSON
            return
        cookie = _cookie(ask.header(b"cookie"), desk.login.cookie)
        if cookie and desk.login.check(cookie, time.time()):
            if ask.scope["method"] not in _SAFE and (ask.origin or not ask.headers.get(b"origin")):
                # A browser names the page that a form was sent from, and `_check_origin` has looked at it.
                raise Problem("permission", "A change has to come from the settings page itself (there is no Origin).")
            ask.caller = PERSON
            return
        ask.caller = self.runtime.keyring.check(ask.headers, time.time())
        if "admin" not in ask.caller.scopes:
            if ask.caller.key:
                raise _not_allowed(ask.caller, "admin")
            raise Problem("authentication", LOG_IN)

    def _caller(self, ask: Ask) -> Caller:
        """Who asks; raises Problem `authentication` for a key that is none."""
        server = ask.scope["server"]
        if server is not None and server[1] is None and self._by_owner(ask):
            return OWNER
        return self.runtime.keyring.check(ask.headers, time.time())

    def _by_owner(self, ask: Ask) -> bool:
        """Does it come by the socket that nobody but the owner can open?"""
        server = ask.scope.get("server")
        return bool(server and server[1] is None and self.desk and server[0] == self.desk.socket)

    def _find(self, ask: Ask) -> dict[str, Endpoint]:
        """The endpoints of a path that is not written as the table has it, by method; none when there is nothing."""
        path = ask.path
        root = self.runtime.config.server.root_path
        if root and (path == root or path.startswith(f"{root}/")):
            path = path[len(root) :]
        path = "/" + "/".join(part for part in path.split("/") if part)
        found = self._table.get(path)
        if found is not None:
            return found
        for start, endpoint in self._tails.items():
            if path.startswith(start) and len(path) > len(start):
                ask.tail = path[len(start) :]
                return {"GET": endpoint}
        return {}

    def _check_host(self, ask: Ask) -> None:
        """Refuse names that nobody gave this server: a page of another site may have its name point here (DNS rebinding)."""
        server = ask.scope.get("server")
        if server is not None and server[1] is None:
            # A unix socket: no page can reach it.
            return
        host = ask.headers.get(b"host", b"")
        if self._good_host(host.decode("latin-1")):
            if len(self._hosts) < _REMEMBERED:
                self._hosts.add(host)
            return
        if b"," in host:
            raise Problem("invalid_request", "There is more than one Host header; send one.")
        raise Problem(
            "misdirected",
            "This Byway does not answer to that host name. Use 127.0.0.1 or localhost, or add the name to "
            "`server.allowed_hosts`.",
        )

    def _good_host(self, host: str) -> bool:
        name = _name(host)
        if name in _LOOPBACK or name.endswith(".localhost"):
            return True
        if name in (allowed.lower() for allowed in self.runtime.config.server.allowed_hosts):
            return True
        return self._wide and _is_address(name)

    def _check_origin(self, ask: Ask) -> None:
        """Refuse pages of other sites: a browser names them in `Origin`, whatever else they send."""
        origin = ask.headers[b"origin"]
        text = origin.decode("latin-1").lower()
        try:
            parts = urlsplit(text)
        except ValueError:
            parts = urlsplit("")
        if text in (one.lower().rstrip("/") for one in self.runtime.config.server.allowed_origins):
            ask.origin = origin
        elif parts.scheme not in ("http", "https") or parts.netloc != ask.header(b"host").lower():
            raise Problem(
                "permission", "Web pages of other sites may not use this Byway; add theirs to `server.allowed_origins`."
            )

    def attending(self, ask: Ask, beat: Callable[[float], None] | None = None) -> Attended:
        """While this lasts a client that leaves (or `abort`) ends the exchange, and `beat(now)` is called every 50 ms."""
        if self._loop is None or not self._loop.is_running():
            # Kept: to ask for the running loop is a system call (Python 3.11 looks whether it has been forked).
            self._loop = asyncio.get_running_loop()
        if not self._beating:
            self._beating = True
            self._loop.call_later(_BEAT, self._beat)
        return Attended(self._attended, ask, beat, asyncio.current_task(self._loop))  # type: ignore[arg-type]

    def _beat(self) -> None:
        """One timer for all exchanges: a timer and a task for each would cost a short request more than its translation."""
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        for one in list(self._attended):
            one.beat(now)
        self._beating = bool(self._attended)
        if self._beating:
            loop.call_later(_BEAT, self._beat)

    def _log(self, ask: Ask, seconds: float) -> None:
        record, problem = ask.record, ask.problem
        if not record.asked and (ask.caller is PERSON or (problem is None and _unworthy(ask.path))):
            return
        usage = record.usage
        line = Line(
            f"req_{ask.id}",
            ask.scope["method"],
            ask.path[:200],
            ask.status,
            _ms(seconds),
            ask.caller.key,
            ask.session[:64],
            record.asked,
            record.alias,
            record.backend,
            record.model,
            None if record.first is None else _ms(record.first),
            None if usage is None else usage.input_tokens,
            None if usage is None else usage.cache_read_input_tokens,
            None if usage is None else usage.output_tokens,
            record.estimated,
            record.stop_reason or "",
        )
        if record.tries > 1:
            line.tries = record.tries
        if problem is not None:
            line.problem = problem.kind
            line.upstream_status = problem.facts.get("status")
            # An upstream's words may hold pieces of a prompt: those are not logged, only what Byway itself has to say.
            if "status" not in problem.facts and problem.row.blame != "client":
                line.reason = self.runtime.scrubber.scrub(problem.message)[:300]
        log = taker(logging.INFO)
        if log is not None:
            log.put("info", "Request", line)
        if ask.caller is not OWNER:
            self.recent.add(line, "" if problem is None else self.runtime.scrubber.scrub(problem.message)[:_TOLD])

    # -------------------------------------------------------------------------------------------------------- generations

    async def reload(self, config: Config) -> None:
        """Swap in a new config; running requests keep the one that they began with."""
        after = await generations.swap(self.runtime, config)
        if after.stored is not self.runtime.stored:
            # They have changed while the new runtime was made.
            after.take_keys(self.runtime.stored)
        self.runtime = after
        self.config_problem = None
        self._by_socket_only = not config.server.tcp
        self._hosts.clear()

    def drain(self) -> None:
        """Take no new work: `/readyz` says so, and new requests are sent elsewhere."""
        self.draining = True

    def abort(self) -> None:
        """End every running exchange with an `error` event."""
        for one in list(self._attended):
            one.end("stopping")


class Attended:
    """One exchange whose client is watched. Leaving the block tells what ended it."""

    __slots__ = ("_among", "_ask", "_beat", "_task", "_watch", "_why")

    def __init__(
        self, among: set[Attended], ask: Ask, beat: Callable[[float], None] | None, task: asyncio.Task[object]
    ) -> None:
        self._among = among
        self._ask = ask
        self._beat = beat
        self._task = task
        self._why = ""
        self._watch: asyncio.Task[object] | None = None

    def __enter__(self) -> None:
        self._among.add(self)

    def beat(self, now: float) -> None:
        """Look after the exchange: from the first beat on the client is watched, by waiting for what it can only do: leave."""
        if self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._wait())
            self._watch.add_done_callback(self._left)
        if self._beat is not None:
            self._beat(now)

    async def _wait(self) -> object:
        return await self._ask.receive()

    def _left(self, watch: asyncio.Task[object]) -> None:
        if not watch.cancelled():
            self.end("gone")

    def end(self, why: str) -> None:
        """Cancel the exchange; `why` is "gone" or "stopping"."""
        if not self._why:
            self._why = why
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._among.discard(self)
        if self._watch is not None:
            self._watch.remove_done_callback(self._left)
            self._watch.cancel()
        if isinstance(error, asyncio.CancelledError) and self._why:
            self._task.uncancel()
            if self._why == "gone":
                raise Gone from None
            raise Problem("stopping", "Byway was stopped before the answer was finished. Ask again.") from None


def _ms(seconds: float) -> float:
    """Milliseconds with one decimal. `round` costs four times as much."""
    return int(seconds * 10_000 + 0.5) / 10


#: Letters of an error that are remembered.
_TOLD: Final = 1000
LOG_IN: Final = (
    "This is for whoever runs this Byway: open the link that `byway up` has printed (`byway page` prints another), or use a key "
    "with the scope `admin`."
)
_TCP_OFF: Final = (
    "The API is switched off over TCP (`server.tcp: false`); it answers at the unix socket in Byway's data folder. Switch it on "
    "in the settings page, under API."
)


def _unworthy(path: str) -> bool:
    """Is a good answer there nothing that anybody would look for in a log: a supervisor's question, a part of the page?"""
    return path.endswith("z") or path == "/" or path.startswith(("/static/", "/login", "/favicon"))


def _tcp(ask: Ask) -> bool:
    server = ask.scope.get("server")
    return server is None or server[1] is not None


def _near(ask: Ask) -> bool:
    """Does it come from this machine?"""
    client = ask.scope.get("client")
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


def _cookie(header: str, name: str) -> str:
    """The value of a cookie; empty when there is none."""
    for part in header.split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return ""


def _not_allowed(caller: Caller, scope: str) -> Problem:
    has = f"has only {', '.join(caller.scopes)}" if caller.scopes else "has none"
    return Problem(
        "permission", f"This needs a key with the scope `{scope}`, and yours ({caller.key}) {has}. Use another key."
    )


def _name(host: str) -> str:
    """The name in a `Host` header, without its port, in lower case."""
    found = _HOST.fullmatch(host.strip().lower())
    return found[1] if found else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
