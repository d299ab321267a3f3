"""The door: hosts, pages, keys, prefixes. Every route is behind it, whatever it is asked."""

import asyncio
import json

import pytest

from byway.config import load
from byway.gateway import Gateway
from byway.routes import health
from byway.routes.context import PREFIXES
from byway.runtime import Runtime
from byway.server.app import FIRST_ROUTES, App
from byway.server.routes import ROUTES

CONFIG = """
server: {allowed_hosts: [gateway.example], allowed_origins: ["https://chat.example"]}
backends: [{name: box, type: generic, url: "http://127.0.0.1:9", models: [org/m]}]
model_aliases: {default: org/m}
"""
KEYS = CONFIG + "api_keys: {api_keys: [{key: sk-byway-0123456789abcdef, id: ann}]}\n"
API = [(route.method, route.path.replace("*", "org/m")) for route in ROUTES if route.scope in ("read", "write")]


def ask(app, method="GET", path="/livez", headers=(), body=b"", client="127.0.0.1", host="127.0.0.1:38080"):
    """Status, headers and body of one request."""
    return asyncio.run(answer(app, method, path, headers, body, client, host))


async def answer(app, method="GET", path="/livez", headers=(), body=b"", client="127.0.0.1", host="127.0.0.1:38080"):
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    given = [(name.lower().encode(), value.encode()) for name, value in headers]
    if host and not any(name == b"host" for name, _ in given):
        given.append((b"host", host.encode()))
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": given}
    scope["server"], scope["client"] = ("127.0.0.1", 38080), (client, 5555)
    await app(scope, receive, send)
    got = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], got, b"".join(item.get("body", b"") for item in sent[1:])


@pytest.fixture(scope="module")
def open_config():
    return load(CONFIG, {})


@pytest.fixture(scope="module")
def locked_config():
    return load(KEYS, {})


@pytest.fixture
def app(open_config):
    return App(Gateway(Runtime(open_config)))


@pytest.fixture
def locked(locked_config):
    return App(Gateway(Runtime(locked_config)))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:38080",
        "localhost",
        "LOCALHOST:1",
        "[::1]:38080",
        "byway.localhost",
        "gateway.example",
        "Gateway.Example:80",
    ],
)
def test_hosts_that_are_ours(app, host):
    assert ask(app, headers=[("host", host)])[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:127.0.0.1", "", "192.168.1.7", "[::2]",
     "gateway.example.evil", "127.0.0.1@evil.example", "evil.example#127.0.0.1"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/livez", "/v1/models", "/anthropic/v1/messages", "/nope", "/health?"])
def test_other_hosts_are_refused_on_every_route(app, host, path):
    status, _, body = ask(app, path=path, headers=[("host", host)])
    assert (status, json.loads(body)["error"]["type"]) == (421, "permission_error")


def test_a_request_without_a_host_is_a_bad_request_and_closes_the_connection(app):
    status, headers, body = ask(app, host="")
    assert (status, json.loads(body)["error"]["type"]) == (400, "invalid_request_error")
    assert headers["connection"] == "close"


def test_a_claude_name_that_a_request_may_have_can_be_looked_up():
    backend = {"name": "box", "type": "generic", "url": "http://127.0.0.1:9", "models": ["local"]}
    with_default = App(
        Gateway(Runtime(load(json.dumps({"backends": [backend], "model_aliases": {"default": "box/local"}}), {})))
    )
    status, _, body = ask(with_default, path="/v1/models/claude-sonnet-4-5")
    assert (status, json.loads(body)["id"]) == (200, "claude-sonnet-4-5")


def test_with_tcp_off_other_machines_get_nothing_at_all():
    off = App(Gateway(Runtime(load(CONFIG.replace("{allowed_hosts", "{tcp: false, allowed_hosts"), {}))), wide=True)
    assert ask(off)[0] == ask(off, client="::1")[0] == 200
    for path in ("/livez", "/", "/login", "/byway/config", "/v1/models"):
        assert ask(off, path=path, client="192.168.1.9")[0] == 403
    assert ask(off, path="/v1/models")[0] == 403


def test_addresses_of_this_network_are_hosts_when_it_listens_there():
    wide = App(Gateway(Runtime(load(CONFIG, {}))), wide=True)
    assert ask(wide, headers=[("host", "192.168.1.7:38080")])[0] == 200
    assert ask(wide, headers=[("host", "evil.example")])[0] == 421


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:9999", "https://127.0.0.1:38080.evil"]
)
def test_pages_of_other_sites_are_refused_on_every_route(app, origin):
    routes = [*API, ("GET", "/livez"), ("GET", "/readyz"), ("POST", "/nope")]
    statuses = {route: ask(app, *route, [("origin", origin)])[0] for route in routes}
    assert statuses == dict.fromkeys(routes, 403)


def test_its_own_page_and_allowed_pages_come_in(app):
    assert ask(app, headers=[("origin", "http://127.0.0.1:38080")])[0] == 200
    status, headers, _ = ask(app, headers=[("origin", "https://chat.example")])
    assert (status, headers["access-control-allow-origin"], headers["vary"]) == (200, "https://chat.example", "origin")


def test_the_page_works_behind_a_proxy_that_replaces_the_host():
    app = App(Gateway(Runtime(load(f"server: {{public_url: 'https://byway.example'}}{CONFIG.partition(']}')[2]}", {}))))
    assert ask(app, headers=[("origin", "https://byway.example")])[0] == 200
    for origin in ("http://byway.example", "https://byway.example:8443", "https://evil.example"):
        assert ask(app, headers=[("origin", origin)])[0] == 403


def test_a_browser_may_ask_first_for_an_allowed_page_only(app):
    request = [("access-control-request-method", "POST"), ("access-control-request-headers", "x-api-key")]
    status, headers, _ = ask(app, "OPTIONS", "/v1/messages", [("origin", "https://chat.example"), *request])
    assert status == 204 and headers["access-control-allow-headers"] == "x-api-key"
    assert ask(app, "OPTIONS", "/v1/messages", [("origin", "https://evil.example"), *request])[0] == 403


def test_every_api_route_requires_a_key_under_every_prefix(locked):
    for method, path in API:
        status, headers, body = ask(locked, method, path)
        assert (status, headers["x-should-retry"]) == (401, "false"), (method, path)
        error = json.loads(body)["error"]
        # Ollama's form has only a text.
        assert error["type"] == "authentication_error" if isinstance(error, dict) else "key" in error, (method, path)
        status, _, body = ask(locked, method, path, [("x-api-key", "sk-byway-wrong")])
        assert (status, json.loads(body)["error"]) == (401, error), (method, path)


@pytest.mark.parametrize(("method", "path"), [(route.method, route.path) for route in health.ROUTES])
def test_what_a_supervisor_asks_needs_no_key(locked, method, path):
    assert ask(locked, method, path)[0] != 401


def test_unknown_paths_and_methods_need_the_key_first(locked):
    assert ask(locked, path="/nope")[0] == 401
    key = [("x-api-key", "sk-byway-0123456789abcdef")]
    status, _, body = ask(locked, path="/nope", headers=key)
    assert status == 404 and b" /v1/messages " in body and b"/v1/chat/completions" in body
    assert ask(locked, path="/v1/messages", headers=key)[0] == 405


def test_endpoints_that_only_anthropic_has_are_not_supported(app):
    for path in ("/v1/skills", "/anthropic/v1/agents/agent_1", "/v1/organizations/usage_report/messages"):
        status, headers, body = ask(app, "GET", path)
        error = json.loads(body)["error"]
        assert (status, error["type"], headers["x-should-retry"]) == (501, "not_supported", "false"), path
        assert path.removeprefix("/anthropic").split("/")[2] in error["message"]
    assert ask(app, "GET", "/v1/skillset")[0] == ask(app, "GET", "/other/v1/skills")[0] == 404


BEARER = [("authorization", "Bearer x")]
KEY = [("x-api-key", "x")]


@pytest.mark.parametrize(
    ("path", "headers", "form", "named"),
    [
        ("/v1/nope", BEARER, "openai", "POST /v1/chat/completions"),
        ("/v1/nope", KEY, "messages", "/v1/messages"),
        ("/v1/nope", [], "messages", "/v1/messages"),
        ("/v1/chat/nope", [], "openai", "POST /v1/chat/completions"),
        ("/v1/engines/m/completions", [], "openai", "POST /v1/chat/completions"),
        ("/openai/v1/embeddings", BEARER, "openai", "Use /v1/embeddings."),
        ("/api/v1/chat/completions", BEARER, "ollama", "Use /v1/chat/completions."),
        ("/anthropic/v1/nope", BEARER, "messages", "/anthropic/v1/messages"),
        ("/api/pull", [], "ollama", "POST /api/chat"),
        ("/api/v0/models", [], "ollama", "GET /v1/models"),
        ("/api/claude_code/nope", KEY, "messages", "/v1/messages"),
        ("/v1beta/models/gemini-3-pro:generateContent", [], "gemini", "POST /v1/chat/completions"),
        ("/v1/models:list", [("x-goog-api-key", "x")], "gemini", "POST /v1/chat/completions"),
    ],
)
def test_an_unknown_path_is_answered_in_the_form_of_the_clients_api(app, path, headers, form, named):
    status, answered, body = ask(app, "POST", path, headers=headers)
    error = json.loads(body)["error"]
    message = error if form == "ollama" else error["message"]
    assert status == 404 and named in message and answered["x-byway-problem"] == "not_found"
    keys = {"openai": ["message", "type", "param", "code"], "gemini": ["code", "message", "status"]}
    if form in keys:
        assert list(error) == keys[form] and not error.get("param")
    if form == "messages":
        assert json.loads(body)["type"] == "error"


def test_endpoints_that_only_openai_has_are_not_supported(app):
    status, headers, body = ask(app, "POST", "/v1/assistants", headers=BEARER)
    error = json.loads(body)["error"]
    assert (status, error["type"], headers["x-should-retry"]) == (501, "not_supported", "false")
    assert "/v1/assistants of OpenAI's API" in error["message"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/chat/completions", 400),
        ("/messages", 400),
        ("/embeddings", 400),
        ("/anthropic/messages", 400),
        ("/files", 405),
    ],
)
def test_a_base_url_without_v1_is_served(app, path, expected):
    method = "PUT" if expected == 405 else "POST"
    status, _, body = ask(app, method, path, body=b"[]", headers=BEARER)
    assert status == expected, body


def test_a_wrong_method_is_answered_in_the_form_of_the_path(app):
    assert list(json.loads(ask(app, "GET", "/v1/chat/completions")[2])["error"]) == ["message", "type", "param", "code"]
    assert "POST" in json.loads(ask(app, "GET", "/api/chat")[2])["error"]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_models_are_listed_and_shown_under_every_prefix(app, prefix):
    status, headers, body = ask(app, path=f"{prefix}/v1/models")
    assert status == 200 and headers["request-id"].startswith("req_")
    assert {"org/m", "claude-byway-org/m"} <= {item["id"] for item in json.loads(body)["data"]}
    assert json.loads(ask(app, path=f"{prefix}/v1/models/org/m")[2])["id"] == "org/m"


def test_a_doubled_slash_is_one(app):
    assert ask(app, path="//anthropic//v1/models")[0] == 200


def test_head_gets_no_body(app):
    status, _, body = ask(app, "HEAD", "/")
    assert (status, body) == (200, b"")
    assert ask(app, "HEAD", "/api/hello")[0] == 200


def test_while_stopping_it_takes_no_work_and_says_so(app):
    app.gateway.draining = True
    assert ask(app, path="/readyz")[0] == 503
    status, headers, _ = ask(app, "POST", "/v1/messages", body=b"{}")
    assert status == 529 and int(headers["retry-after"]) <= 59


def test_a_bad_edit_is_told_at_readyz(app):
    app.gateway.config_problem = "byway.yaml:3: backends.0.url: not a URL"
    assert json.loads(ask(app, path="/readyz")[2])["config"] == app.gateway.config_problem


@pytest.mark.parametrize(
    ("scopes", "method", "path", "lacks"),
    [
        ("[write]", "GET", "/v1/models", "read"),
        ("[write]", "GET", "/anthropic/v1/models/org/m", "read"),
        ("[write]", "POST", "/v1/messages/count_tokens", "read"),
        ("[read]", "POST", "/v1/messages", "write"),
        ("[read]", "POST", "/anthropic//v1/messages/", "write"),
        ("[admin]", "POST", "/v1/messages", "write"),
        ("[read]", "GET", "/v1/models", None),
        ("[write]", "POST", "/v1/messages", None),
        ("[read]", "GET", "/v1/nothing", None),
        ("[read]", "GET", "/livez", None),
    ],
)
def test_a_key_needs_the_scope_of_what_it_asks_for(scopes, method, path, lacks):
    key = "sk-byway-0123456789abcdef"
    config = CONFIG + f"api_keys: {{api_keys: [{{key: {key}, id: ann, scopes: {scopes}}}]}}\n"
    status, _, body = ask(App(Gateway(Runtime(load(config, {})))), method, path, [("x-api-key", key)], b"{}")
    if lacks is None:
        assert status != 403
    else:
        text = json.loads(body)["error"]
        assert (status, text["type"]) == (403, "permission_error")
        assert f"`{lacks}`" in text["message"] and "ann" in text["message"] and scopes.strip("[]") in text["message"]


def test_the_routes_that_are_loaded_at_start_are_routes_as_all_others():
    assert FIRST_ROUTES and all(route in ROUTES for route in FIRST_ROUTES)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/login", 200), ("POST", "/livez", 405), ("GET", "/nope", 404), ("POST", "/v1/embeddings", 401)],
)
def test_a_request_that_no_loaded_route_answers_loads_the_others(locked, method, path, status):
    key = [("x-api-key", "sk-byway-0123456789abcdef")] if status in (404, 405) else []
    assert ask(locked)[0] == 200
    assert not locked.is_complete
    assert ask(locked, method, path, key)[0] == status
    assert locked.is_complete


def test_requests_that_load_the_routes_at_the_same_time_are_all_answered(app):
    async def both():
        return await asyncio.gather(answer(app, "GET", "/login"), answer(app, "GET", "/static/none"))

    assert [status for status, *_ in asyncio.run(both())] == [200, 404]


def test_parts_are_opened_once_before_a_request_that_needs_them_although_a_client_has_left(app):
    opened = []

    async def ask_twice():
        begun = asyncio.Event()

        async def open_parts():
            opened.append("begun")
            begun.set()
            await asyncio.sleep(0.05)
            opened.append("ended")

        app.gateway.open_parts = open_parts
        leaving = asyncio.create_task(answer(app, "GET", "/login"))
        await asyncio.wait_for(begun.wait(), 20)
        leaving.cancel()
        return (await answer(app, "GET", "/login"))[0]

    assert asyncio.run(ask_twice()) == 200
    assert opened == ["begun", "ended"]
    assert app.gateway.open_parts is None
