"""The admin API in one process: every operation, its documented answer, the errors of invalid input, and the audit."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from loops import Loop
from models import gguf
from ports import free_port
from stores import new_store

from byway.admin import localmodels
from byway.admin.services import AdminServices
from byway.config import Config, load
from byway.config.file import ConfigFile
from byway.gateway import Gateway
from byway.routes import openapi
from byway.runtime import Runtime
from byway.server.app import App
from byway.server.probing import open_readiness
from byway.server.routes import ROUTES

ADMIN = "sk-byway-admin-0123456789abcdef"
SECRET = "sk-vendor-0123456789abcdef"
CONFIG = f"""\
# kept
server: {{bind_address: "127.0.0.1:{free_port()}"}}
api_keys:
  api_keys: [{{key: {ADMIN}, id: boss, scopes: [admin]}}]
backends:
  - {{name: one, type: vllm, url: "http://127.0.0.1:9", models: [small, {{id: big, window: 32768}}], api_key: {SECRET}}}
model_aliases:
  haiku: one/small
"""


class Answer(NamedTuple):
    """An answer of the API."""

    status: int
    body: Any
    headers: dict[str, str]


def check_documented(method: str, path: str, answer: Answer) -> None:
    """Assert that an answer has the status and the type that the OpenAPI document declares for its operation."""
    patterns = ((re.sub(r"\{\w+\}", "[^/]+", route.path), route) for route in openapi.ROUTES)
    route = next((route for pattern, route in patterns if route.method == method and re.fullmatch(pattern, path)), None)
    expected: Any = openapi.AdminError
    if answer.status < 300:
        assert route is not None and answer.status == route.operation.status
        expected = route.operation.response
    typed = msgspec.convert(answer.body, expected, strict=False)
    assert json.loads(msgspec.json.encode(typed)) == answer.body, f"{method} {path}"


class Api:
    """One Byway in this process. Each answer of the admin API is compared with its documented type."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "byway.yaml"
        self.file.write_text(CONFIG)
        self.store = new_store(folder)
        self.environ: dict[str, str] = {}
        self.gateway = Gateway(Runtime(self.check(CONFIG)), self.store)
        self.restarts = 0
        file = ConfigFile(self.file, self.check, self.store, folder)
        self.gateway.admin = AdminServices(folder, lambda: file, self.store, reload=self.reload, restart=self.restart)
        self.gateway.admin.base = "http://127.0.0.1:9"
        open_readiness(self.gateway)
        self.app = App(self.gateway)
        self._loop = Loop()

    def check(self, text: str) -> Config:
        return load(text, self.environ)

    async def reload(self) -> None:
        await self.gateway.reload(self.check(self.file.read_text()))

    def restart(self) -> None:
        self.restarts += 1

    def __call__(self, method: str, target: str, body: Any = None, key: str = ADMIN, **headers: str) -> Answer:
        return self._loop.run(self.call(method, target, body, key, **headers))

    async def call(self, method: str, target: str, body: Any = None, key: str = ADMIN, **headers: str) -> Answer:
        data = body.encode() if isinstance(body, str) else b"" if body is None else json.dumps(body).encode()
        messages: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": data, "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        path, _, query = target.partition("?")
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        names.setdefault("content-type", "text/yaml" if isinstance(body, str) else "application/json")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [
                (b"host", b"127.0.0.1:38080"),
                (b"x-api-key", key.encode()),
                *((name.encode(), value.encode()) for name, value in names.items()),
            ],
            "server": ("127.0.0.1", 38080),
            "client": ("127.0.0.1", 5555),
        }
        await self.app(scope, receive, send)
        answered = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        content = messages[1]["body"]
        is_json = answered.get("content-type") == "application/json"
        answer = Answer(messages[0]["status"], json.loads(content) if is_json else content.decode(), answered)
        if path.startswith("/byway/"):
            check_documented(method, path, answer)
        return answer

    @property
    def audit(self) -> list[str]:
        return [f"{entry.who}: {entry.what}: {entry.detail}" for entry in self.store.audit_entries()]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    api = Api(tmp_path)
    yield api
    api.store.close()


# ------------------------------------------------------------------------------------------------------- every resource


def test_a_key_is_created_rotated_and_revoked(api: Api) -> None:
    made = api("POST", "/byway/keys", {"name": "laptop", "scopes": ["read"], "expires": "30d"})
    assert made.status == 201 and made.body["is_first"]
    key, value = made.body["key"], made.body["value"]
    assert (key["name"], key["scopes"], key["state"], key["hint"]) == ("laptop", ["read"], "active", value[-4:])
    listed = api("GET", "/byway/keys").body
    assert value not in json.dumps(listed) and [key["id"] for key in listed["configured"]] == ["boss"]
    assert api("GET", "/v1/models", key=value).status == 200
    fresh = api("POST", f"/byway/keys/{key['id']}/rotate").body
    assert api("GET", "/v1/models", key=value).status == 401
    assert api("GET", "/v1/models", key=fresh["value"]).status == 200
    assert api("DELETE", f"/byway/keys/{key['id']}").body["state"] == "revoked"
    assert api("GET", "/v1/models", key=fresh["value"]).status == 401
    assert [line.rpartition(": ")[0].partition(f": {key['id']}")[0] for line in api.audit][:1] == [
        "key boss: key revoked"
    ]


def test_an_account_is_added_changed_disabled_and_removed(api: Api) -> None:
    made = api("POST", "/byway/accounts", {"id": "ada", "name": "Ada", "group": "lab"})
    assert (made.status, made.body["role"], made.body["state"]) == (201, "member", "active")
    key = api("POST", "/byway/keys", {"name": "laptop", "account": "ada", "models": ["one/*"]}).body
    assert (key["key"]["account"], key["key"]["models"]) == ("ada", ["one/*"])
    assert api("GET", "/v1/models", key=key["value"]).status == 200
    details = api("GET", "/byway/accounts/ada").body
    assert (details["account"]["keys"], details["keys"][0]["id"]) == (1, key["key"]["id"])
    changed = api("PATCH", "/byway/accounts/ada", {"role": "viewer", "group": "", "name": None}).body
    assert (changed["name"], changed["role"], changed["group"], changed["organization"]) == (
        "Ada",
        "viewer",
        "",
        "default",
    )
    assert api("POST", "/v1/messages", {}, key=key["value"]).status == 403, "a viewer uses no models"
    assert api("POST", "/byway/accounts/ada/disable").body["state"] == "disabled"
    assert api("GET", "/v1/models", key=key["value"]).status == 401
    assert api("GET", "/byway/keys").body["keys"][0]["state"] == "disabled"
    assert api("POST", "/byway/accounts/ada/enable").body["state"] == "active"
    assert api("GET", "/v1/models", key=key["value"]).status == 200
    removed = api("DELETE", "/byway/accounts/ada").body
    assert (removed["account"]["id"], removed["revoked"]) == ("ada", 1)
    assert api("GET", "/v1/models", key=key["value"]).status == 401
    assert api("GET", "/byway/accounts").body == {"accounts": []}
    assert len([line for line in api.audit if line.startswith("key boss: account ")]) == 5


def test_the_old_value_of_a_rotated_key_is_accepted_for_its_grace(api: Api) -> None:
    made = api("POST", "/byway/keys", {"name": "laptop"}).body
    rotated = api("POST", f"/byway/keys/{made['key']['id']}/rotate", {"grace": "1h"}).body
    assert rotated["key"]["old_expires_at"] is not None
    for value in (made["value"], rotated["value"]):
        assert api("GET", "/v1/models", key=value).status == 200
    api("POST", f"/byway/keys/{made['key']['id']}/rotate")
    assert api("GET", "/v1/models", key=made["value"]).status == 401


def test_an_alias_is_set_resolved_and_removed(api: Api) -> None:
    changed = api("PUT", "/byway/aliases/claude-%2A", {"targets": ["one/big", "small"]})
    assert (changed.status, changed.body["changed"]) == (200, True)
    assert changed.headers["etag"] == f'"{changed.body["etag"]}"'
    assert "# kept" in api.file.read_text() and '"claude-*":' in api.file.read_text()
    result = api("GET", "/byway/resolve?name=claude-opus-5-5").body
    assert (result["alias"], [target["model"] for target in result["targets"]]) == ("claude-*", ["big", "small"])
    aliases = {alias["name"]: alias for alias in api("GET", "/byway/aliases").body["aliases"]}
    assert aliases["haiku"]["targets"] == ["one/small"] and aliases["opus"]["alias"] == "claude-*"
    assert aliases["default"]["state"] == "not set"
    assert api("DELETE", "/byway/aliases/claude-%2A").status == 200
    assert api("GET", "/byway/resolve?name=nothing").status == 404
    assert api("DELETE", "/byway/aliases/claude-%2A").status == 404
    assert api.audit[0] == "key boss: config changed: alias claude-* removed"


def test_a_backend_is_added_changed_and_removed_with_its_aliases(api: Api) -> None:
    kinds = {kind["name"]: kind for kind in api("GET", "/byway/backend-types").body["types"]}
    assert kinds["openai"]["secret"] == "${BYWAY_OPENAI_API_KEY}"[2:-1] and kinds["ollama"]["secret"] == ""
    added = api("POST", "/byway/backends", {"type": "vllm", "url": "http://127.0.0.1:1", "models": ["m"]})
    assert (added.status, added.body["name"]) == (201, "vllm")
    assert api("POST", "/byway/backends", {"type": "vllm", "models": ["m"]}).body["name"] == "vllm-2"
    api("PUT", "/byway/aliases/opus", {"targets": ["vllm/m"]})
    window = {"models": [{"id": "m", "window": 4096}]}
    assert api("PATCH", "/byway/backends/vllm", window).body["changed"]
    described = api("GET", "/byway/backends/vllm").body
    assert (described["url"], described["models"][0]["window"]) == ("http://127.0.0.1:1", 4096)
    checked = api("POST", "/byway/backends/vllm/check").body
    assert checked["state"] == "failed" and "127.0.0.1:1" in checked["message"]
    assert len(api("POST", "/byway/backend-checks").body["backends"]) == 3
    removed = api("DELETE", "/byway/backends/vllm").body
    assert removed["aliases"] == ["opus"]
    assert "opus" not in api.file.read_text()
    assert api("GET", "/byway/backends/vllm").status == 404
    assert {model["name"] for model in api("GET", "/byway/models").body["models"]} == {"small", "big", "m"}


def test_a_backend_can_be_tried_before_it_is_saved(api: Api) -> None:
    before = api.file.read_text()
    tried = api("POST", "/byway/backend-tests", {"type": "ollama", "url": "http://127.0.0.1:1"})
    assert (tried.status, tried.body["good"]) == (200, False) and "127.0.0.1:1" in tried.body["message"]
    assert api.file.read_text() == before


def test_the_secret_of_a_backend_is_shown_nowhere(api: Api) -> None:
    for route in openapi.ROUTES:
        if route.method == "GET" and "{" not in route.path:
            assert SECRET not in json.dumps(api("GET", f"{route.path}?name=small").body), route.path
    assert SECRET not in json.dumps(api("GET", "/byway/backends/one").body)


def test_a_secret_is_stored_and_cleared_and_never_returned(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BYWAY_SERPER_API_KEY", "BACKEND_AI_SERPER_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    stored = api("PUT", "/byway/secrets/serper", {"value": SECRET, "accept_file": True})
    assert (stored.status, stored.body["variable"]) == (200, "BYWAY_SERPER_API_KEY")
    assert stored.body["stored"] in ("keychain", "file")
    listed = {entry["name"]: entry for entry in api("GET", "/byway/secrets").body["secrets"]}
    assert listed["serper"]["stored"] == stored.body["stored"] and SECRET not in json.dumps(listed)
    assert api("DELETE", "/byway/secrets/serper").body["changed"]
    assert not api("DELETE", "/byway/secrets/serper").body["changed"]
    assert [line for line in api.audit if "secret" in line] == [
        "key boss: secret cleared: serper",
        f"key boss: secret set: serper: {stored.body['stored']}",
    ]
    assert SECRET not in json.dumps(api.audit)


def test_the_built_in_model_is_loaded_and_unloaded(api: Api) -> None:
    loaded = api("POST", "/byway/local-models/load", {"model": "builtin", "window": 512, "alias": "sonnet"})
    assert (loaded.status, loaded.body["backend"]) == (200, "builtin")
    assert api("GET", "/byway/resolve?name=sonnet").body["targets"][0]["backend"] == "builtin"
    models = api("GET", "/byway/local-models").body["models"]
    assert models[0]["backends"] == ["builtin"] and models[0]["origin"] == "builtin"
    unloaded = api("POST", "/byway/local-models/unload", {"model": "builtin"}).body
    assert (unloaded["backend"], unloaded["aliases"]) == ("builtin", ["sonnet"])
    assert "builtin" not in api.file.read_text()


def test_only_a_file_of_byways_own_folder_is_deleted(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = api.folder / "models/own.gguf", api.folder / "other.gguf"
    own.parent.mkdir()
    for path in (own, other):
        path.write_bytes(b"GGUF")
    results = [
        localmodels.LocalModel("own", str(own), 4, "byway"),
        localmodels.LocalModel("other", str(other), 4, "added"),
    ]
    monkeypatch.setattr(localmodels, "list_models", lambda *_: results)
    refused = api("POST", "/byway/local-models/delete", {"path": str(other)})
    assert (refused.status, refused.body["error"]["field"], other.exists()) == (400, "path", True)
    assert api("POST", "/byway/local-models/delete", {"path": str(own)}).status == 200
    assert not own.exists() and "model file deleted" in api.audit[0]


def test_a_folder_of_model_files_is_added_once(api: Api) -> None:
    folder = api.folder / "elsewhere"
    folder.mkdir()
    (folder / "Tiny-Q4_K_M.gguf").write_bytes(gguf())
    added = api("POST", "/byway/local-models/paths", {"path": str(folder)}).body
    assert (added["models"], added["config"]["changed"]) == (["Tiny-Q4_K_M"], True)
    assert not api("POST", "/byway/local-models/paths", {"path": str(folder)}).body["config"]["changed"]
    models = {model["name"]: model for model in api("GET", "/byway/local-models").body["models"]}
    assert models["Tiny-Q4_K_M"]["origin"] == "added" and models["Tiny-Q4_K_M"]["quantisation"] == "Q4_K_M"


def test_the_config_is_changed_replaced_and_restored(api: Api) -> None:
    edit = {"op": "set", "path": ["timeouts", "connect"], "value": "3s"}
    assert api("POST", "/byway/config/check", {"edits": [edit]}).body["good"]
    assert api("PATCH", "/byway/config", {"edits": [edit], "why": "a slow network"}).body["changed"]
    assert api("GET", "/byway/config").body["settings"]["timeouts"]["connect"] == 3
    versions = api("GET", "/byway/config/versions").body["versions"]
    assert (versions[0]["why"], versions[0]["current"]) == ("a slow network", True)
    changes = api("GET", f"/byway/config/versions/{versions[0]['number']}").body["changes"]
    assert any(line.startswith("+") and "connect" in line for line in changes)
    etag = api("GET", "/byway/config").body["etag"]
    assert api("PUT", "/byway/config", f"# new\n{CONFIG}", if_match=f'"{etag}"').body["changed"]
    assert api("POST", "/byway/config/rollback", {"version": versions[0]["number"]}).status == 200
    assert "connect" in api.file.read_text() and "# new" not in api.file.read_text()


def test_a_download_is_started_cancelled_resumed_and_forgotten(api: Api) -> None:
    async def run() -> None:
        started = await api.call("POST", "/byway/downloads", {"source": "http://127.0.0.1:1/x.gguf?signature=1"})
        assert (started.status, started.body["state"]) == (201, "running")
        assert started.body["source"] == "http://127.0.0.1:1/x.gguf"
        number = started.body["number"]
        assert (await api.call("POST", f"/byway/downloads/{number}/cancel")).body["state"] in ("stopped", "failed")
        assert (await api.call("POST", f"/byway/downloads/{number}/resume")).body["state"] == "running"
        listed = (await api.call("GET", "/byway/downloads")).body["downloads"]
        assert len(listed) == 1
        assert (await api.call("DELETE", f"/byway/downloads/{listed[0]['number']}")).status == 200
        assert (await api.call("GET", "/byway/downloads")).body["downloads"] == []
        assert (await api.call("DELETE", f"/byway/downloads/{number}")).status == 404

    asyncio.run(run())


def test_logins_are_listed_and_revoked(api: Api) -> None:
    async def run() -> None:
        logins = api.gateway.services.logins
        cookies = [await logins.enter(logins.link(), f"Browser {number}") for number in range(3)]
        listed = (await api.call("GET", "/byway/logins")).body["logins"]
        assert {login["browser"] for login in listed} == {"Browser 0", "Browser 1", "Browser 2"}
        assert (await api.call("DELETE", f"/byway/logins/{listed[0]['id']}")).status == 200
        assert (await api.call("DELETE", f"/byway/logins/{listed[0]['id']}")).status == 404
        assert (await api.call("DELETE", "/byway/logins")).body == {"revoked": 2}
        assert not any(logins.caller(cookie or "") for cookie in cookies)

    asyncio.run(run())


def test_status_exports_verify_and_restart(api: Api) -> None:
    status = api("GET", "/byway/status").body
    assert (status["backends"], status["keys_required"], status["config_problem"]) == ({"one": "unknown"}, True, None)
    exports = api("GET", "/byway/exports").body
    assert exports["variables"]["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:9/anthropic"
    assert "ANTHROPIC_BASE_URL" in exports["forms"]["bash"]
    assert exports["client_credential"] is False
    verdict = api("POST", "/byway/verify", {"model": "sonnet"}).body
    doctor = api("GET", "/byway/doctor?models=haiku,nosuch").body
    assert doctor["models"] == {"haiku": "one/small", "nosuch": ""} and doctor["keys_required"]
    assert {check["id"]: check["state"] for check in doctor["checks"]}["address"] == "bad"
    assert (verdict["good"], verdict["layer"]) == (False, "address")
    assert api("POST", "/byway/restart").status == 202 and api.restarts == 1


# ---------------------------------------------------------------------------------------------------------- invalid input


@pytest.mark.parametrize(
    ("method", "target", "body", "field"),
    [
        ("POST", "/byway/keys", {}, "name"),
        ("POST", "/byway/keys", {"name": 5}, "name"),
        ("POST", "/byway/keys", {"name": "a", "scopes": ["all"]}, "scopes[0]"),
        ("POST", "/byway/keys", {"name": "a", "expires": "soon"}, "expires"),
        ("POST", "/byway/keys", {"name": "a", "colour": "red"}, "colour"),
        ("PUT", "/byway/aliases/x", {"targets": []}, "targets"),
        ("PUT", "/byway/aliases/x", {"targets": [""]}, "targets"),
        ("PUT", "/byway/aliases/x", {"targets": "one"}, "targets"),
        ("GET", "/byway/resolve", None, "name"),
        ("POST", "/byway/backends", {"type": "nothing"}, "type"),
        ("POST", "/byway/backends", {"type": "generic"}, "url"),
        ("POST", "/byway/backends", {"type": "openai", "api_key": SECRET}, "api_key"),
        ("POST", "/byway/backends", {"type": "ollama", "name": "one"}, "name"),
        ("PATCH", "/byway/backends/one", {"api_key": SECRET}, "api_key"),
        ("PUT", "/byway/secrets/serper", {"value": "a b"}, "value"),
        ("POST", "/byway/local-models/load", {"model": "no such model"}, "model"),
        ("POST", "/byway/local-models/load", {"model": "builtin", "window": 1}, "window"),
        ("POST", "/byway/local-models/paths", {"path": "relative"}, "path"),
        ("POST", "/byway/downloads", {"source": " "}, "source"),
        ("POST", "/byway/downloads", {"source": "???"}, "source"),
        ("GET", "/byway/requests?after=x", None, "after"),
        ("GET", "/byway/audit?limit=99999999", None, "limit"),
        ("POST", "/byway/config/rollback", {"version": 99}, "version"),
        ("PUT", "/byway/config", "x: 1", "If-Match"),
        ("POST", "/byway/keys", "{", "body"),
        ("POST", "/byway/keys/key_none/rotate", {"grace": "soon"}, "grace"),
        ("POST", "/byway/accounts", {}, "id"),
        ("POST", "/byway/accounts", {"id": "ada", "role": "king"}, "role"),
    ],
)
def test_invalid_input_gets_a_400_that_names_the_field(
    api: Api, method: str, target: str, body: Any, field: str
) -> None:
    before = api.file.read_text()
    answer = api(method, target, body)
    assert answer.status == 400, answer.body
    assert answer.body["error"]["field"] == field
    assert answer.body["error"]["message"].startswith(
        (f"{field}: ", "That is not a key", "The keychain", "This system")
    )
    assert SECRET not in json.dumps(answer.body) and api.file.read_text() == before


def test_a_name_that_is_too_long_for_a_file_gets_a_400(api: Api) -> None:
    for target, body in ("load", {"model": "a" * 256}), ("paths", {"path": f"/{'a' * 256}"}):
        answer = api("POST", f"/byway/local-models/{target}", body)
        assert (answer.status, len(answer.body["error"]["message"]) < 200) == (400, True), answer.body


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("DELETE", "/byway/keys/key_none"),
        ("POST", "/byway/keys/key_none/rotate"),
        ("GET", "/byway/accounts/none"),
        ("PATCH", "/byway/accounts/none"),
        ("POST", "/byway/accounts/none/disable"),
        ("POST", "/byway/accounts/none/enable"),
        ("DELETE", "/byway/accounts/none"),
        ("DELETE", "/byway/backends/none"),
        ("POST", "/byway/backends/none/check"),
        ("DELETE", "/byway/secrets/none"),
        ("GET", "/byway/config/versions/99"),
        ("DELETE", "/byway/logins/none"),
        ("GET", "/byway/nothing"),
    ],
)
def test_an_unknown_resource_gets_a_404(api: Api, method: str, target: str) -> None:
    answer = api(method, target)
    assert (answer.status, answer.body["error"]["type"]) == (404, "not_found_error")


def test_a_change_for_an_outdated_etag_is_merged_or_refused_with_its_conflicts(api: Api) -> None:
    base = api("GET", "/byway/config").body["etag"]
    assert api("PUT", "/byway/aliases/haiku", {"targets": ["one/big"]}, if_match=f'"{base}"').status == 200
    assert api("PUT", "/byway/aliases/opus", {"targets": ["one/big"]}, if_match=f'"{base}"').body["merged"]
    refused = api("PUT", "/byway/aliases/haiku", {"targets": ["small"]}, if_match=f'"{base}"')
    assert refused.status == 412
    error = refused.body["error"]
    assert error["etag"] == api("GET", "/byway/config").body["etag"]
    assert error["conflicts"] == [{"path": "model_aliases.haiku", "theirs": "one/big", "mine": "small"}]


# --------------------------------------------------------------------------------------------------------- the document


def test_the_document_lists_every_route_of_the_admin_api(api: Api) -> None:
    document = api("GET", "/byway/openapi.json").body
    listed = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    served = {(route.method, route.path) for route in ROUTES if route.path.startswith("/byway")}
    assert listed == served
    shared = {route.path for route in ROUTES if route.path.startswith("/byway") and route.scope != "admin"}
    assert {route.scope for route in ROUTES if route.path in shared} == {"account", "admin"}
    assert shared >= {"/byway/keys", "/byway/keys/{id}", "/byway/logins", "/byway/requests", "/byway/exports"}


def test_the_documentation_lists_every_operation() -> None:
    page = (Path(__file__).parents[1] / "docs/api.md").read_text("utf-8")
    documented = {
        (method, path) for method, path in re.findall(r"^\| `([A-Z]+) (/byway/[^`?]+)[^`]*` \|", page, re.MULTILINE)
    }
    assert documented == {(route.method, route.path) for route in openapi.ROUTES}


def test_the_document_is_a_valid_openapi_document() -> None:
    document = json.loads(json.dumps(openapi.document()))
    assert document["openapi"] == "3.1.0" and {"title", "version"} <= set(document["info"])
    components = document["components"]["schemas"]
    identifiers = []
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            where = f"{method} {path}"
            identifiers.append(described["operationId"])
            assert described["summary"] and "default" in described["responses"], where
            assert all(response["description"] for response in described["responses"].values()), where
            parameters = described.get("parameters", [])
            in_path = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
            assert in_path == set(re.findall(r"\{(\w+)\}", path)), where
            assert all(parameter["required"] for parameter in parameters if parameter["in"] == "path"), where
            assert method in ("post", "put", "patch") or "requestBody" not in described, where
    assert len(identifiers) == len(set(identifiers))
    references = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(document)))
    assert {f"#/components/schemas/{name}" for name in components} >= references
    assert {"KeyInfo", "BackendInfo", "AdminError", "ConfigChange"} <= set(components)


READ = [route for route in openapi.ROUTES if route.method == "GET" and "{" not in route.path]


@pytest.mark.parametrize("route", READ, ids=lambda route: route.path)
def test_every_answer_has_its_documented_type(api: Api, route: Any) -> None:
    answer = api("GET", f"{route.path}?name=small")
    assert answer.status == route.operation.status
    typed = msgspec.convert(answer.body, route.operation.response, strict=False)
    assert json.loads(msgspec.json.encode(typed)) == answer.body


def test_the_error_body_has_its_documented_type(api: Api) -> None:
    answer = api("POST", "/byway/keys", {})
    assert json.loads(msgspec.json.encode(msgspec.convert(answer.body, openapi.AdminError))) == answer.body


def test_a_body_over_the_limit_is_refused(api: Api) -> None:
    assert api("POST", "/byway/keys", {"name": "x" * (1 << 20)}).status == 413


# ------------------------------------------------------------------------------------------------------------ the page


@pytest.mark.parametrize(
    "path",
    ["/", "/claude", "/models", "/api", "/secrets", "/requests", "/trouble", "/clients", "/models?edit=one"],
)
def test_every_page_of_the_settings_is_rendered(api: Api, path: str) -> None:
    api("POST", "/byway/keys", {"name": "laptop"})
    answer = api("GET", path, accept="text/html")
    assert answer.status == 200 and answer.body.startswith("<!doctype html>"), answer.body[:500]
    assert SECRET not in answer.body


def test_the_page_shows_the_account_and_the_models_of_a_key(api: Api) -> None:
    api("POST", "/byway/accounts", {"id": "ada"})
    form = "name=laptop&account=ada&models=haiku,+local/*&scope:read=on"
    headers = {"accept": "text/html", "content_type": "application/x-www-form-urlencoded"}
    assert api("POST", "/api/keys/create", form, **headers).status == 200
    [key] = api("GET", "/byway/keys").body["keys"]
    assert (key["account"], key["models"]) == ("ada", ["haiku", "local/*"])
    assert "account ada</small>" in api("GET", "/api", accept="text/html").body
    api("POST", "/byway/accounts/ada/disable")
    page = api("GET", "/api", accept="text/html").body
    assert "account ada (disabled)" in page and "models: haiku, local/*" in page
    answer = api("POST", "/api/keys/create", form.replace("ada", "eve"), **headers)
    assert "There is no account" in answer.body


def test_accounts_are_managed_on_the_page(api: Api) -> None:
    headers = {"accept": "text/html", "content_type": "application/x-www-form-urlencoded"}

    def change(action: str, form: str) -> str:
        answer = api("POST", f"/api/accounts/{action}", form, **headers)
        assert answer.body.startswith("<!doctype html>")
        return str(answer.body)

    assert "No accounts." in api("GET", "/api", accept="text/html").body
    assert "ada is added." in change("add", "id=ada&name=Ada+%3Cb%3E&role=viewer&group=lab&organization=")
    [account] = api("GET", "/byway/accounts").body["accounts"]
    assert (account["name"], account["role"], account["group"]) == ("Ada <b>", "viewer", "lab")
    assert "Ada &lt;b&gt;" in change("disable", "id=ada")
    assert api("GET", "/byway/accounts/ada").body["account"]["state"] == "disabled"
    assert "ada is enabled." in change("enable", "id=ada")
    assert "not a valid id of an account" in change("add", "id=Ada&role=member")
    assert "There is no account" in change("remove", "id=eve")
    assert "ada is removed." in change("remove", "id=ada")
    assert api("GET", "/byway/accounts").body == {"accounts": []}
    assert "Accounts</h2>" in api("GET", "/api/cards/accounts", accept="text/html", hx_request="true").body


def test_targets_are_searched_by_words_and_bounded(api: Api) -> None:
    every = api("GET", "/byway/targets").body
    assert every["total"] == every["shown"] > 0
    first = every["groups"][0]
    assert set(first) == {"backend", "title", "state", "self_hosted", "targets"}
    target = first["targets"][0]
    assert target["target"] == f"{first['backend']}/{target['model']}"
    matches = api("GET", f"/byway/targets?q={first['backend'].upper()}+{target['model'][-3:]}").body
    assert target["target"] in [choice["target"] for group in matches["groups"] for choice in group["targets"]]
    assert api("GET", "/byway/targets?q=no+such+model").body == {"groups": [], "total": 0, "shown": 0}
    assert api("GET", "/byway/targets?limit=1").body["shown"] == 1
    for limit in ("0", "501", "x", "-1", "9" * 40):
        refused = api("GET", f"/byway/targets?limit={limit}")
        assert (refused.status, refused.body["error"]["field"]) == (400, "limit"), limit
