"""The steps, requirements and failures that guides for custom endpoints of Claude Code describe, one test for each."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from endpointserver import EndpointServer, serving
from launching import Run, Started
from launching import run as run
from launching import server as server
from launching import started as started

from byway.endpoints.advice import explain
from byway.launch.clientsettings import read_settings
from byway.launch.environment import client_environment
from byway.launch.relay import Relay, RelayTarget
from byway.launch.target import LaunchTarget

JSON = "application/json"
URL = "http://127.0.0.1:8766"


def through_relay(target: LaunchTarget, body: dict[str, Any], **headers: str) -> tuple[int, str]:
    relay = Relay(RelayTarget(target))
    relay.start()
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(relay.url).port, timeout=60)
    try:
        own = {"content-type": JSON, "authorization": f"Bearer {relay.token}"}
        connection.request("POST", "/v1/messages", json.dumps(body), {**own, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
        relay.stop()


def message(**more: Any) -> dict[str, Any]:
    return {"model": "qwen3:8b", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}], **more}


# --- the three places of the variable -------------------------------------------------------------------------------------


def test_place_shell_a_base_url_of_the_shell_does_not_divert(
    run: Run, server: EndpointServer, started: Started
) -> None:
    run("endpoint", "add", "lab", server.url)
    run(
        "claude",
        "--endpoint",
        "lab",
        ANTHROPIC_BASE_URL="http://127.0.0.1:1",
        ANTHROPIC_AUTH_TOKEN="YOUR_ENDPOINT_TOKEN",
    )
    assert started.environ["ANTHROPIC_BASE_URL"] == started.overlay["env"]["ANTHROPIC_BASE_URL"] != "http://127.0.0.1:1"
    assert "YOUR_ENDPOINT_TOKEN" not in f"{started.environ}{started.overlay}"


def test_place_settings_a_base_url_in_settings_json_is_overridden(tmp_path: Path) -> None:
    environ = {"CLAUDE_CONFIG_DIR": str(tmp_path)}
    (tmp_path / "settings.json").write_text(json.dumps({"env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}}))
    user = [entry.values for entry in read_settings(tmp_path / "work", environ)]
    assert client_environment(LaunchTarget("lab", URL), environ, user).overlay["env"]["ANTHROPIC_BASE_URL"] == URL


def test_place_process_the_variable_is_injected_into_the_client_alone(
    run: Run, server: EndpointServer, started: Started
) -> None:
    run("endpoint", "add", "lab", server.url)
    run("claude", "--endpoint", "lab")
    assert started.environ["ANTHROPIC_BASE_URL"].startswith("http://127.0.0.1:")


def test_tool_search_is_left_to_the_user(run: Run, server: EndpointServer, started: Started) -> None:
    run("endpoint", "add", "lab", server.url)
    run("claude", "--endpoint", "lab", ENABLE_TOOL_SEARCH="true")
    assert started.environ["ENABLE_TOOL_SEARCH"] == "true"


# --- the requirements of an endpoint --------------------------------------------------------------------------------------


def test_requirement_streaming_messages_are_checked(run: Run) -> None:
    answer = (200, JSON, '{"object": "chat.completion", "choices": []}')
    with serving(answer=answer) as openai:
        run("endpoint", "add", "chat", openai.url)
        assert run("endpoint", "check", "chat").exit_code == 1


def test_requirement_reachable_is_checked(run: Run) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        result = run("endpoint", "add", "lab", f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert "tcp          FAILED" in result.output


def test_requirement_credential_is_checked(run: Run, server: EndpointServer) -> None:
    server.answer = (401, JSON, '{"error": {"message": "bad key"}}')
    assert "rejected the key" in run("endpoint", "add", "lab", server.url).output


def test_requirement_tool_blocks_arrive_unchanged(server: EndpointServer) -> None:
    use = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}}
    result = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [{"type": "tool_reference", "tool_name": "X"}],
    }
    turns = [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    body = message(messages=turns, tools=[{"name": "Bash", "input_schema": {"type": "object"}}])
    assert through_relay(LaunchTarget("lab", server.url), body)[0] == 200
    assert server.seen[-1].body == body


def test_requirement_beta_and_version_headers_are_forwarded(server: EndpointServer) -> None:
    headers = {"anthropic-beta": "a-2026-01-01,b-2026-02-02", "anthropic-version": "2023-06-01"}
    through_relay(LaunchTarget("lab", server.url), message(), **headers)
    assert headers.items() <= server.seen[-1].headers.items()


def test_requirement_list_of_models_is_optional_and_fills_the_picker(
    run: Run, server: EndpointServer, started: Started
) -> None:
    run("endpoint", "add", "lab", server.url)
    run("claude", "--endpoint", "lab")
    assert [option["model"] for option in started.overlay["modelPicker"]["options"]] == ["qwen3:8b"]
    server.models = []
    assert run("claude", "--endpoint", "lab").exit_code == 7
    assert "modelPicker" not in started.overlay


# --- the variables of a gateway -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credential", "expected"),
    [
        ("none", {"authorization": "Bearer byway-local"}),
        ("auth_token", {"authorization": "Bearer sk-litellm"}),
        ("api_key", {"x-api-key": "sk-litellm"}),
    ],
)
def test_variable_credential_is_sent_in_its_header_alone(
    server: EndpointServer, credential: Any, expected: dict[str, str]
) -> None:
    secret = "" if credential == "none" else "sk-litellm"
    through_relay(LaunchTarget("lab", server.url, credential, secret), message(), **{"x-api-key": "sk-ant-real"})
    assert server.seen[-1].credentials == expected


def test_variable_custom_headers_go_on_messages_and_on_the_list(run: Run, server: EndpointServer) -> None:
    run("endpoint", "add", "lab", server.url, "--header", "x-team: blue")
    assert {request.headers.get("x-team") for request in server.seen} == {"blue"}
    through_relay(LaunchTarget("lab", server.url, headers={"x-team": "blue"}), message())
    assert server.seen[-1].headers["x-team"] == "blue"


# --- what a wrapper has to handle -----------------------------------------------------------------------------------------


def test_wrapper_a_url_without_a_scheme_is_corrected_and_never_means_anthropic(run: Run, started: Started) -> None:
    result = run("endpoint", "add", "lab", "localhost:8766")
    assert result.exit_code == 2 and "http://localhost:8766" in result.output
    assert run("claude", "--endpoint", "lab").exit_code == 1 and not started.command


def test_wrapper_the_endpoint_never_gets_anthropics_key(server: EndpointServer) -> None:
    through_relay(LaunchTarget("lab", server.url), message(), **{"x-api-key": "sk-ant-api03-real"})
    assert "sk-ant" not in str(server.seen[-1].headers)


def test_wrapper_a_model_that_is_not_served_starts_nothing(run: Run, server: EndpointServer, started: Started) -> None:
    run("endpoint", "add", "lab", server.url)
    server.answer = (404, JSON, '{"error": {"message": "model: gemini-3 not found"}}')
    result = run("claude", "--endpoint", "lab", "--model", "gemini-3")
    assert result.exit_code == 1 and "does not serve the requested model" in result.output and not started.command


# --- errors by layer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "status", "layer"),
    [
        ("connect ECONNREFUSED 127.0.0.1:8766", None, "address"),
        ("getaddrinfo ENOTFOUND proxy.example", None, "address"),
        ('{"error": {"message": "Unauthorized"}}', 401, "credential"),
        ('{"error": {"message": "Forbidden"}}', 403, "credential"),
        ('{"error": {"message": "messages.0: Input should be"}}', 400, "server"),
        ('{"error": "No models loaded. Please use the lms load command"}', 400, "model"),
        ("API Error: Invalid URL", None, "address"),
    ],
)
def test_error_is_explained_by_its_layer_with_the_endpoint_and_one_action(
    text: str, status: int | None, layer: str
) -> None:
    advice = explain("lab", URL, text, status)
    assert (advice.layer, "lab" in advice.summary, bool(advice.action)) == (layer, True, True)
    assert advice.details == text


def test_error_401_proposes_no_claude_login(server: EndpointServer) -> None:
    server.answer = (401, JSON, '{"error": {"message": "Unauthorized"}}')
    status, text = through_relay(LaunchTarget("lab", server.url), message())
    # With 401 the client would propose /login.
    assert status == 424 and "A Claude login does not help" in text


def test_the_user_can_go_back_to_anthropic_with_one_command(run: Run, started: Started) -> None:
    assert run("endpoint", "off").exit_code == 0
    assert run("claude").exit_code == 7 and not started.overlay["env"].get("ANTHROPIC_BASE_URL")
