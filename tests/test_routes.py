"""Every route with every kind of caller: the scope that a route declares and the caller's role decide, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import pytest
from loops import Loop

from byway.access.sync import KeySync
from byway.admin.logins import create_login_code
from byway.admin.services import AdminServices
from byway.config import load
from byway.config.file import ConfigFile
from byway.gateway import Gateway
from byway.roles import PERMISSIONS, ROLES
from byway.routes.context import RequestContext, Route, Scope
from byway.runtime import Runtime
from byway.server.app import App
from byway.server.routes import ROUTES
from byway.store import Store

KEYS = {scope: f"sk-byway-{scope}-0123456789abcdef" for scope in ("read", "write", "files", "admin")}
KEY_SETTINGS = [{"key": key, "id": scope, "scopes": [scope]} for scope, key in KEYS.items()]
CONFIG = json.dumps({"api_keys": {"api_keys": KEY_SETTINGS}})
ORIGIN = (b"origin", b"http://127.0.0.1:38080")
SAFE: Final = frozenset(("GET", "HEAD"))


class Kind(NamedTuple):
    """What a kind of caller may do, by the words of docs/accounts.md."""

    headers: tuple[tuple[bytes, bytes], ...] = ()
    socket: bool = False
    known: bool = True
    """It is recognised: what it may not do is 403. Otherwise it is 401."""
    scopes: frozenset[str] = frozenset()
    """The scopes with which it uses models and files."""
    reads_own: bool = False
    changes_own: bool = False
    reads_all: bool = False
    changes_all: bool = False
    login: bool = False
    """It is a browser, which shows no key: it is unknown to the API for clients."""


def expected(kind: Kind, route: Route) -> int:
    """The status that a caller gets from a route whose endpoint answers 200."""
    is_read = route.method in SAFE
    allowed: Mapping[Scope, bool] = {
        "open": True,
        "read": "read" in kind.scopes,
        "write": "write" in kind.scopes,
        "files": "files" in kind.scopes,
        "tools": "write" in kind.scopes,
        "account": kind.changes_all or (kind.reads_own or kind.reads_all if is_read else kind.changes_own),
        "admin": kind.changes_all or (is_read and kind.reads_all),
    }
    if allowed[route.scope]:
        return 200
    is_known = kind.known and not (kind.login and route.scope in ("read", "write", "files", "tools"))
    return 403 if is_known else 401


class Walk:
    """One Byway whose endpoints all answer 200, and every kind of caller."""

    def __init__(self, folder: Any) -> None:
        self._loop = Loop()
        store = self.store = Store(folder)
        self.keys: dict[str, str] = {}
        for role in ROLES:
            store.add_account(role, "test", role=role)
            scopes = PERMISSIONS[role].scopes
            self.keys[role] = store.add_key(f"all of {role}", scopes, None, "test", account=role)[1]
        self.keys["member reads"] = store.add_key("reads", ["read"], None, "test", account="member")[1]
        self.keys["owner reads"] = store.add_key("reads", ["read"], None, "test", account="owner")[1]
        self.keys["member writes"] = store.add_key("writes", ["write"], None, "test", account="member")[1]
        store.add_account("gone", "test", role="owner")
        self.keys["disabled"] = store.add_key("of a disabled account", ["read", "admin"], None, "test", account="gone")[
            1
        ]
        gateway = self.gateway = Gateway(Runtime(load(CONFIG, {}), stored=store.key_records()), store)

        async def reload() -> None: ...

        file = ConfigFile(folder / "byway.yaml", lambda text: load(text, {}), store, folder)
        self.services = gateway.admin = AdminServices(folder, lambda: file, store, reload=reload, restart=lambda: None)
        gateway.admin.socket = str(folder / "byway.sock")
        self.cookies = {role: self.login(role) for role in (*ROLES, "gone")}
        self.cookies[""] = self.login("")
        self.cookies["expired"] = self.cookies["member"]
        self.sync = KeySync(gateway)
        asyncio.run(self.sync.read())
        store.disable_account("gone", "test")
        asyncio.run(self.sync.read())
        self.app = App(gateway)
        asyncio.run(self.app.load())

        async def endpoint(context: RequestContext) -> None:
            await context.answer(b'{"reached": true}')

        # The endpoints of the page and of health decide nothing about access, except for the landing page at the root.
        for by_method in (*self.app._paths.values(), *self.app._below.values(), *self.app._templates.values()):
            for method, route in by_method.items():
                by_method[method] = route._replace(endpoint=endpoint)

    def login(self, account: str) -> str:
        """The cookie of a new login of an account; "" is the owner of the data folder."""
        logins = self.services.logins
        if account:
            code = create_login_code(self.store, account, "test").code
            cookie = asyncio.run(logins.enter_code(code, "127.0.0.1"))
        else:
            cookie = asyncio.run(logins.enter(logins.link()))
        assert cookie is not None
        return cookie

    def kinds(self) -> dict[str, Kind]:
        def key(value: str, **more: Any) -> Kind:
            return Kind(((b"x-api-key", value.encode()),), **more)

        def login(cookie: str, **more: Any) -> Kind:
            text = f"{self.services.logins.cookie_name}={cookie}".encode()
            return Kind(((b"cookie", text), ORIGIN), login=True, **more)

        everything = frozenset(("read", "write", "files", "admin"))
        uses = frozenset(("read", "write", "files"))
        owner: dict[str, Any] = {"reads_own": True, "changes_own": True, "reads_all": True, "changes_all": True}
        return {
            "nothing": Kind(known=False),
            "wrong key": key("sk-byway-wrong", known=False),
            "key of a disabled account": key(self.keys["disabled"], known=False),
            **{
                f"{scope} key": key(value, scopes=frozenset((scope,)), **(owner if scope == "admin" else {}))
                for scope, value in KEYS.items()
            },
            "bearer": Kind(((b"authorization", f"Bearer {KEYS['write']}".encode()),), scopes=frozenset(("write",))),
            "member's key": key(self.keys["member"], scopes=uses, reads_own=True),
            "member's key that reads": key(self.keys["member reads"], scopes=frozenset(("read",)), reads_own=True),
            "member's key that writes": key(self.keys["member writes"], scopes=frozenset(("write",))),
            "viewer's key": key(self.keys["viewer"], scopes=frozenset(("read",)), reads_own=True, reads_all=True),
            "owner's key": key(self.keys["owner"], scopes=everything, **owner),
            "owner's key that reads": key(self.keys["owner reads"], scopes=frozenset(("read",)), reads_own=True),
            "member's login": login(self.cookies["member"], reads_own=True, changes_own=True),
            "viewer's login": login(self.cookies["viewer"], reads_own=True, reads_all=True),
            "owner's login": login(self.cookies["owner"], **owner),
            "login by byway page": login(self.cookies[""], **owner),
            "login of a disabled account": login(self.cookies["gone"], known=False),
            "login of another Byway": Kind(((b"cookie", b"byway_login_00000000=x"), ORIGIN), known=False),
            "owner's socket": Kind(socket=True, scopes=everything, **owner),
        }

    def send(self, route: Route, kind: Kind) -> tuple[int, bytes]:
        """The status and the body of the answer to a request to `route`."""
        return self._loop.run(self._send(route, kind))

    def send_to_all(self, kind: Kind) -> list[tuple[Route, int, bytes]]:
        """The same for each route. A task for each request would take longer than most requests."""

        async def send() -> list[tuple[Route, int, bytes]]:
            return [(route, *await self._send(route, kind)) for route in ROUTES]

        return self._loop.run(send())

    async def _send(self, route: Route, kind: Kind) -> tuple[int, bytes]:
        messages: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def collect(message: Any) -> None:
            messages.append(message)

        socket = self.services.socket
        scope = {
            "type": "http",
            "method": route.method,
            "path": re.sub(r"\*|\{\w+\}", "name", route.path),
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1:38080"), *kind.headers],
            "server": (socket, None) if kind.socket else ("127.0.0.1", 38080),
            "client": None if kind.socket else ("127.0.0.1", 5555),
        }
        await self.app(scope, receive, collect)
        status: int = messages[0]["status"]
        return status, b"".join(message.get("body", b"") for message in messages[1:])


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    return Walk(tmp_path_factory.mktemp("data"))


def test_every_route_answers_every_kind_of_caller_by_the_scope_it_declares(walk: Walk) -> None:
    wrong = []
    secrets = [*walk.keys.values(), *walk.cookies.values(), *KEYS.values()]
    for name, kind in walk.kinds().items():
        for route, status, body in walk.send_to_all(kind):
            if status != expected(kind, route):
                wrong.append(
                    f"{name}: {route.method} {route.path} ({route.scope}): {status}, not {expected(kind, route)}"
                )
            if any(secret.encode() in body for secret in secrets):
                wrong.append(f"{name}: {route.method} {route.path} repeats a secret")
    assert not wrong, "\n".join(wrong[:40])


def test_there_are_routes_of_every_scope() -> None:
    assert {route.scope for route in ROUTES} >= {"open", "read", "write", "tools", "account", "admin"}


def test_no_two_routes_have_the_same_method_and_path() -> None:
    keys = [(route.method, route.path) for route in ROUTES]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("account", ["", "owner", "member"])
def test_a_change_by_a_login_needs_the_pages_own_origin(walk: Walk, account: str) -> None:
    cookie = (b"cookie", f"{walk.services.logins.cookie_name}={walk.cookies[account]}".encode())
    for route in ROUTES:
        if route.scope in ("account", "admin") and route.method not in SAFE:
            assert walk.send(route, Kind((cookie,)))[0] == 403, route


def test_logins_end_after_a_week(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = walk.kinds()
    later = time.time() + 8 * 86_400
    monkeypatch.setattr(time, "time", lambda: later)
    for name in ("member's login", "viewer's login", "owner's login", "login by byway page"):
        for route in ROUTES:
            if route.scope in ("account", "admin"):
                assert walk.send(route, kinds[name])[0] == 401, (name, route)


def test_unknown_expired_and_disabled_keys_take_the_same_steps(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a 401 reveals nothing: the number of hashes and of comparisons of keys is the same for each."""
    counts: dict[str, list[str]] = {}
    real = hashlib.sha256
    values = {
        "unknown": "sk-byway-wrong-0123456789abcdef",
        "disabled": walk.keys["disabled"],
        "malformed": "x",
        "long": "sk-byway-" + "y" * 5_000,
    }
    route = next(route for route in ROUTES if route.scope == "write")
    answers = set()
    for name, value in values.items():
        steps = counts[name] = []

        def counted(data: bytes, steps: list[str] = steps) -> Any:
            steps.append("hash")
            return real(data)

        monkeypatch.setattr(hashlib, "sha256", counted)
        status, body = walk.send(route, Kind(((b"x-api-key", value.encode()),)))
        monkeypatch.setattr(hashlib, "sha256", real)
        answers.add((status, re.sub(rb"req_[0-9a-f]+", b"", body)))
    assert len(answers) == 1 and len({tuple(steps) for steps in counts.values()}) == 1, counts


def test_a_login_of_an_account_ends_within_two_reads_of_the_store_after_the_account_is_disabled(walk: Walk) -> None:
    walk.store.add_account("leaver", "test")
    cookie = walk.login("leaver")
    assert walk.services.logins.caller(cookie) is not None
    with Store(walk.store.path.parent) as other:
        other.disable_account("leaver", "a command")
    asyncio.run(walk.sync.read())
    assert walk.services.logins.caller(cookie) is None
    walk.store.enable_account("leaver", "test")
    asyncio.run(walk.sync.read())
    assert walk.services.logins.caller(cookie) is None, "its logins do not come back"


def test_a_changed_role_applies_to_logins(walk: Walk) -> None:
    walk.store.add_account("riser", "test")
    cookie = walk.login("riser")
    caller = walk.services.logins.caller(cookie)
    assert caller is not None and "admin" not in caller.scopes
    walk.store.change_account("riser", "test", role="owner")
    asyncio.run(walk.sync.read())
    caller = walk.services.logins.caller(cookie)
    assert caller is not None and "admin" in caller.scopes
