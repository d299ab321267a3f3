"""Every route with every kind of credential: the scope that a route declares decides, and nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any, NamedTuple

import pytest

from byway.admin.services import AdminServices
from byway.config import load
from byway.config.file import ConfigFile
from byway.gateway import Gateway
from byway.routes.context import RequestContext, Route
from byway.runtime import Runtime
from byway.server.app import ROUTES, App
from byway.store import Store

KEYS = {scope: f"sk-byway-{scope}-0123456789abcdef" for scope in ("read", "write", "files", "admin")}
KEY_SETTINGS = [{"key": key, "id": scope, "scopes": [scope]} for scope, key in KEYS.items()]
CONFIG = json.dumps({"api_keys": {"api_keys": KEY_SETTINGS}})
ORIGIN = (b"origin", b"http://127.0.0.1:38080")


class Credential(NamedTuple):
    """What a client shows, and the scopes that it has."""

    headers: tuple[tuple[bytes, bytes], ...]
    scopes: frozenset[str]
    socket: bool = False


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    folder = tmp_path_factory.mktemp("data")
    store = Store(folder)
    gateway = Gateway(Runtime(load(CONFIG, {})), store)

    async def reload() -> None: ...

    file = ConfigFile(folder / "byway.yaml", lambda text: load(text, {}), store, folder)
    gateway.admin = AdminServices(folder, file, store, reload=reload, restart=lambda: None)
    gateway.admin.socket = str(folder / "byway.sock")
    app = App(gateway)

    async def endpoint(context: RequestContext) -> None:
        await context.answer(b'{"reached": true}')

    # The endpoints of the page and of health decide nothing about access, except for the landing page at the root.
    for by_method in (*app._paths.values(), *app._below.values(), *app._templates.values()):
        for method, route in by_method.items():
            by_method[method] = route._replace(endpoint=endpoint)
    return app


def credentials(app: App) -> dict[str, Credential]:
    services = app.gateway.services
    cookie = asyncio.run(services.logins.enter(services.logins.link()))
    assert cookie is not None
    login = (b"cookie", f"{services.logins.cookie_name}={cookie}".encode())
    everything = frozenset(("read", "write", "files", "admin"))
    return {
        "nothing": Credential((), frozenset()),
        "wrong key": Credential(((b"x-api-key", b"sk-byway-wrong"),), frozenset()),
        **{
            f"{scope} key": Credential(((b"x-api-key", key.encode()),), frozenset((scope,)))
            for scope, key in KEYS.items()
        },
        "bearer": Credential(((b"authorization", f"Bearer {KEYS['write']}".encode()),), frozenset(("write",))),
        # A login opens the page, and is no key for the API.
        "login": Credential((login, ORIGIN), frozenset(("admin",))),
        "login of another Byway": Credential(((b"cookie", b"byway_login_00000000=x"), ORIGIN), frozenset()),
        "owner's socket": Credential((), everything, socket=True),
    }


def send(app: App, route: Route, credential: Credential) -> int:
    """The status of a request to `route`."""
    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def collect(message: Any) -> None:
        messages.append(message)

    socket = app.gateway.services.socket
    scope = {
        "type": "http",
        "method": route.method,
        "path": re.sub(r"\*|\{\w+\}", "name", route.path),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:38080"), *credential.headers],
        "server": (socket, None) if credential.socket else ("127.0.0.1", 38080),
        "client": None if credential.socket else ("127.0.0.1", 5555),
    }
    asyncio.run(app(scope, receive, collect))
    status: int = messages[0]["status"]
    return status


@pytest.mark.parametrize("name", ["nothing", "wrong key", "read key", "write key", "files key", "admin key", "bearer",
                                  "login", "login of another Byway", "owner's socket"])  # fmt: skip
def test_every_route_answers_a_credential_by_the_scope_it_declares(app: App, name: str) -> None:
    credential = credentials(app)[name]
    wrong = []
    for route in ROUTES:
        allowed = route.scope == "open" or route.scope in credential.scopes
        recognized = bool(credential.scopes) and not (name == "login" and route.scope != "admin")
        expected = 200 if allowed else 403 if recognized else 401
        status = send(app, route, credential)
        if status != expected:
            wrong.append(f"{route.method} {route.path} ({route.scope}): {status}, expected {expected}")
    assert not wrong


def test_no_two_routes_have_the_same_method_and_path() -> None:
    keys = [(route.method, route.path) for route in ROUTES]
    assert len(keys) == len(set(keys))


def test_a_change_by_a_login_needs_the_pages_own_origin(app: App) -> None:
    login = credentials(app)["login"]
    without_origin = Credential(login.headers[:1], login.scopes)
    for route in ROUTES:
        if route.scope == "admin":
            assert send(app, route, without_origin) == (200 if route.method in ("GET", "HEAD") else 403)


def test_a_login_ends(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    login = credentials(app)["login"]
    route = next(route for route in ROUTES if route.path == "/requests")
    assert send(app, route, login) == 200
    later = time.time() + 8 * 86_400
    monkeypatch.setattr(time, "time", lambda: later)
    assert send(app, route, login) == 401
