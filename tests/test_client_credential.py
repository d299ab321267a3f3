"""`credential: client`: the caller's own credential goes to one confirmed server, unchanged, and nowhere else."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from test_app import ask
from test_targets import Answered

from byway import config
from byway.access.login import PERSON
from byway.admin.exports import FORMS
from byway.call import Call
from byway.config import ConfigError
from byway.config.restrictions import restricted_problems
from byway.gateway import Gateway
from byway.routes.messages import _PrivateHeaders
from byway.routes.status import variables
from byway.runtime import Runtime
from byway.server.app import App

TOKEN = "sk-ant-oat01-the-callers-own"
OURS = "sk-byway-0123456789abcdefghijklmnopqrstuv"
BETA = "oauth-2025-04-20,claude-code-20250219"
PASSED: dict[str, Any] = {
    "name": "claude",
    "type": "anthropic",
    "credential": "client",
    "credential_host": "api.anthropic.com",
    "models": ["claude-opus-5-5"],
}
OTHER: dict[str, Any] = {
    "name": "box",
    "type": "generic",
    "url": "http://127.0.0.1:9",
    "models": ["local", "claude-opus-5-5"],
}
MESSAGE = {
    "id": "msg_x", "type": "message", "role": "assistant", "model": "claude-opus-5-5", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "Hi."}], "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip
QUOTA = {"anthropic-ratelimit-unified-status": "allowed", "anthropic-organization-id": "org", "x-other": "1"}


class Server:
    """A backend that records the headers of each call."""

    def __init__(self, status: int = 200, body: Any = MESSAGE, **headers: str) -> None:
        self._status, self._body, self._headers = status, json.dumps(body).encode(), headers
        self.calls: list[dict[str, str]] = []

    async def open(self, call: Call) -> Answered:
        self.calls.append({name.lower(): value for name, value in call.headers})
        answer = Answered(self._status, self._body)
        answer.headers = {name.replace("_", "-"): value for name, value in self._headers.items()}
        return answer

    async def close(self) -> None:
        """Nothing is open."""


def app(server: Server, *others: dict[str, Any], other: Server | None = None, **sections: Any) -> App:
    runtime = Runtime(config.load(json.dumps({"backends": [PASSED, *others], **sections}), {}))
    runtime.backends["claude"].upstream = cast(Any, server)
    if other is not None:
        runtime.backends["box"].upstream = cast(Any, other)
    return App(Gateway(runtime))


def send(
    to: App, *headers: tuple[str, str], model: str = "claude/claude-opus-5-5", path: str = "/v1/messages"
) -> tuple[int, dict[str, str], Any]:
    body = json.dumps({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    status, given, answer = ask(to, "POST", path, headers, body)
    return status, given, json.loads(answer)


AUTHORIZED = ("authorization", f"Bearer {TOKEN}")


@pytest.mark.parametrize("credential", [AUTHORIZED, ("x-api-key", "sk-ant-api03-own")])
def test_the_callers_credential_and_its_beta_go_on_unchanged(credential: tuple[str, str]) -> None:
    server = Server()
    given = (("anthropic-beta", BETA), ("anthropic-version", "2023-06-01"), ("x-app", "cli"))
    status, _, answer = send(app(server), credential, *given)
    assert status == 200 and answer["content"] == MESSAGE["content"]
    (call,) = server.calls
    assert call[credential[0]] == credential[1] and (call["anthropic-beta"], call["x-app"]) == (BETA, "cli")
    assert not {"authorization", "x-api-key", "x-byway-key"} & call.keys() - {credential[0]}


def test_the_key_of_byway_comes_in_a_header_of_its_own() -> None:
    server = Server()
    keys = {"api_keys": [{"key": OURS, "id": "ann"}]}
    locked = app(server, api_keys=keys)
    assert send(locked, AUTHORIZED)[0] == 401 and server.calls == []
    assert send(locked, AUTHORIZED, ("x-byway-key", OURS + "x"))[0] == 401 and server.calls == []
    assert send(locked, AUTHORIZED, ("x-byway-key", OURS))[0] == 200
    assert OURS not in repr(server.calls)


@pytest.mark.parametrize("name", ["authorization", "x-api-key"])
def test_a_key_of_byway_is_never_forwarded(name: str) -> None:
    server = Server()
    value = f"Bearer {OURS}" if name == "authorization" else OURS
    for keys in ({}, {"api_keys": {"api_keys": [{"key": OURS, "id": "ann"}]}}):
        status, _, answer = send(app(server, **cast(Any, keys)), (name, value))
        assert status == 401 and "x-byway-key" in answer["error"]["message"]
    assert server.calls == []


def test_a_key_of_the_config_without_the_usual_form_is_never_forwarded() -> None:
    server = Server()
    keys = {"api_keys": [{"key": "a-team-key-of-our-own", "id": "ann"}]}
    assert send(app(server, api_keys=keys), ("x-api-key", "a-team-key-of-our-own"))[0] == 401
    assert server.calls == []


@pytest.mark.parametrize("unusable", [{"enabled": False}, {"expires_at": "2020-01-01T00:00:00Z"}])
@pytest.mark.parametrize(
    "header",
    [
        ("x-api-key", "our-old-team-key"),
        ("x-api-key", "our-old-team-key "),
        ("authorization", "Bearer our-old-team-key"),
    ],
)
def test_a_disabled_or_expired_key_of_the_config_is_never_forwarded(
    unusable: dict[str, Any], header: tuple[str, str]
) -> None:
    server = Server()
    entry = {"key": "our-old-team-key", "id": "ann", **unusable}
    keys = {"api_keys": {"mode": "permissive", "api_keys": [entry]}}
    status, _, answer = send(app(server, **cast(Any, keys)), header)
    assert status == 401 and "x-byway-key" in answer["error"]["message"]
    assert server.calls == []


def test_a_request_without_a_credential_is_refused() -> None:
    server = Server()
    status, _, answer = send(app(server))
    assert (status, answer["error"]["type"]) == (401, "authentication_error") and server.calls == []


def test_a_chat_completion_is_not_forwarded() -> None:
    server = Server()
    status, _, _ = send(app(server), AUTHORIZED, path="/v1/chat/completions")
    assert status == 401 and server.calls == []


def test_the_token_count_is_requested_with_the_callers_credential() -> None:
    server = Server(body={"input_tokens": 7})
    status, _, answer = send(app(server), AUTHORIZED, path="/v1/messages/count_tokens")
    assert (status, answer) == (200, {"input_tokens": 7})
    assert server.calls[0]["authorization"] == AUTHORIZED[1]


def test_the_quota_of_the_caller_is_passed_through_in_this_mode_alone() -> None:
    given = {name.replace("-", "_"): value for name, value in QUOTA.items()}
    _, headers, _ = send(app(Server(200, MESSAGE, **given)), AUTHORIZED)
    assert headers["anthropic-ratelimit-unified-status"] == "allowed"
    assert not {"anthropic-organization-id", "x-other"} & headers.keys()
    plain = {**PASSED, "api_key": "sk-ant-of-the-config", "credential": "config"}
    runtime = Runtime(config.load(json.dumps({"backends": [plain]}), {}))
    server = Server(200, MESSAGE, **given)
    runtime.backends["claude"].upstream = cast(Any, server)
    _, headers, _ = send(App(Gateway(runtime)), AUTHORIZED)
    assert not [name for name in headers if name.startswith("anthropic-")]
    assert TOKEN not in repr(server.calls)


def refusal(type: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": type, "message": message}}


def test_a_rejected_credential_of_the_caller_is_a_401_so_that_its_client_renews_it() -> None:
    server = Server(401, refusal("authentication_error", "OAuth token has expired."))
    status, headers, answer = send(app(server), AUTHORIZED)
    assert (status, answer["error"]["type"]) == (401, "authentication_error")
    assert "x-should-retry" not in headers and len(server.calls) == 1


@pytest.mark.parametrize(
    ("status", "type"),
    [(429, "rate_limit_error"), (529, "overloaded_error"), (500, "api_error"), (401, "authentication_error")],
)
def test_there_is_no_failover_and_no_retry(status: int, type: str) -> None:
    server, other = Server(status, refusal(type, "No."), x_should_retry="false"), Server()
    both = app(
        server,
        OTHER,
        other=other,
        model_aliases={"both": ["claude/claude-opus-5-5", "box/local"], "default": "box/local"},
    )
    _, headers, _ = send(both, AUTHORIZED, model="both")
    assert (len(server.calls), len(other.calls)) == (1, 0)
    assert headers["x-should-retry"] == "false"


def test_it_is_no_target_of_a_failover() -> None:
    server, other = Server(), Server(402, {"error": {"message": "No credit."}})
    both = app(server, OTHER, other=other, model_aliases={"both": ["box/local", "claude/claude-opus-5-5"]})
    assert send(both, AUTHORIZED, model="both")[0] == 402
    assert server.calls == [] and other.calls and TOKEN not in repr(other.calls)


def test_a_redirect_is_not_followed() -> None:
    server = Server(302, {}, location="https://evil.example/v1/messages")
    assert send(app(server), AUTHORIZED)[0] == 502 and len(server.calls) == 1


def test_another_backend_gets_no_credential_of_the_caller() -> None:
    server, other = Server(), Server()
    send(app(server, OTHER, other=other), AUTHORIZED, ("x-api-key", "sk-ant-api03-own"), model="box/local")
    assert other.calls and "own" not in repr(other.calls) and server.calls == []


def test_the_credential_is_in_no_text_about_the_request() -> None:
    assert TOKEN not in repr(_PrivateHeaders({"authorization": TOKEN}))


def test_the_list_of_models_is_not_requested() -> None:
    server = Server()
    to = app(server)
    assert ask(to, "GET", "/v1/models")[0] == 200 and server.calls == []


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "http": ({"url": "http://api.anthropic.com"}, "https://"),
    "private network": ({"url": "http://10.0.0.5:8000", "credential_host": "10.0.0.5"}, "https://"),
    "no host": ({"credential_host": None}, "credential_host"),
    "another host": ({"credential_host": "anthropic.com"}, "credential_host"),
    "another url": ({"url": "https://proxy.example.org"}, "credential_host"),
    "another type": ({"type": "generic", "url": "https://api.anthropic.com"}, "type anthropic only"),
    "another protocol": ({"protocol": "chat"}, "type anthropic only"),
    "a key too": ({"api_key": "sk-ant-0123456789"}, "api_key"),
    "a pool": ({"api_key": ["sk-ant-0123456789", "sk-ant-9876543210"]}, "api_key"),
    "a header": ({"headers": {"Authorization": "Bearer x"}}, "forwards this header"),
    "an unchecked certificate": ({"tls": {"verify": False}}, "checked certificate"),
    "no models": ({"models": None}, "name them"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_config_that_could_send_credentials_elsewhere_is_an_error(kind: str) -> None:
    fields, words = WRONG[kind]
    backend = {name: value for name, value in {**PASSED, **fields}.items() if value is not None}
    with pytest.raises(ConfigError, match=words):
        config.load(json.dumps({"backends": [backend]}), {})


@pytest.mark.parametrize(
    "change",
    [
        {"url": "https://evil.example"},
        {"proxy": "http://evil.example:3128"},
        {"tls": {"ca": "x.pem"}},
        {"credential": "client "},
    ],
)
def test_the_page_and_the_api_cannot_change_where_credentials_go(change: dict[str, Any]) -> None:
    before = {"backends": [PASSED, {**OTHER, "url": "http://127.0.0.1:9"}]}
    after = {"backends": [{**PASSED, **change}]}
    assert [problem.path for problem in restricted_problems(before, after, lambda path: True)] == [
        "backends.0.credential"
    ]
    assert [problem.path for problem in restricted_problems({}, before, lambda path: True)] == ["backends.0.credential"]
    moved = {"backends": [OTHER, {**PASSED, "models": ["claude-sonnet-5"]}]}
    assert restricted_problems(before, moved, lambda path: True) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_server_of_this_machine_needs_no_https(host: str) -> None:
    backend = {**PASSED, "url": f"http://{host}:8000", "credential_host": host.strip("[]")}
    assert config.load(json.dumps({"backends": [backend]}), {}).backends[0].credential == "client"


@pytest.mark.anyio
async def test_the_exports_name_a_byway_that_forwards_credentials() -> None:
    for value, expected in ((PASSED, True), (OTHER, False)):
        runtime = Runtime(config.load(json.dumps({"backends": [value]}), {}))
        services = SimpleNamespace(base="http://127.0.0.1:9", trust="", addresses=())
        context = cast(
            Any,
            SimpleNamespace(runtime=runtime, caller=PERSON, gateway=SimpleNamespace(services=services)),
        )
        exported = await variables(context)
        assert exported.client_credential is expected
        assert ("ANTHROPIC_API_KEY" in exported.variables) is not expected
        # A workflow of GitHub needs a key in any case: that of the person, or one of Byway.
        forms = [text for name, text in exported.forms.items() if name in {form[0] for form in FORMS}]
        assert forms and all(("ANTHROPIC_API_KEY" in text) is not expected for text in forms)
