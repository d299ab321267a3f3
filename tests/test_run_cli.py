"""`byway run`: what each agent is started with, and that nothing of the user's diverts it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from endpointserver import EndpointServer
from launching import Run, Started
from launching import run as run
from launching import server as server
from launching import started as started

from byway.endpoints.clients import running_clients
from byway.launch.agents import AGENTS, AgentEndpoint
from byway.launch.codexmodels import MOST_MODELS, catalog
from byway.launch.relay import Relay, RelayTarget
from byway.launch.target import LaunchTarget

AT = AgentEndpoint("http://127.0.0.1:1", "token-1", "qwen3:8b", 32768, "/data/PID.file")


def install(tmp_path: Path, *names: str) -> None:
    for name in names:
        path = tmp_path / "bin" / name
        path.write_text("")
        path.chmod(0o755)


@pytest.mark.parametrize("name", AGENTS)
def test_each_agent_is_given_the_endpoint_one_credential_and_the_model(name: str) -> None:
    setup = AGENTS[name].setup(AT)
    text = f"{setup.variables} {setup.arguments} {setup.content}"
    assert AT.url in text and AT.token in text and AT.model in text
    assert (AT.file in text) == bool(setup.content)
    # A secret among the arguments would be visible to other users of the machine.
    assert AT.token not in f"{setup.arguments}"


def test_the_window_of_the_model_is_passed_on_and_output_leaves_room_for_a_prompt() -> None:
    limit = json.loads(AGENTS["opencode"].setup(AT).variables["OPENCODE_CONFIG_CONTENT"])["provider"]["byway"]
    assert limit["models"]["qwen3:8b"]["limit"] == {"context": 32768, "output": 8192}
    assert AT._replace(window=8192).output == 2048


def test_an_agent_gets_the_relay_and_not_the_secret_of_the_endpoint(
    run: Run, server: EndpointServer, started: Started, tmp_path: Path
) -> None:
    install(tmp_path, "opencode")
    run("endpoint", "add", "lab", server.url, "--token", "--file", "--use", stdin="sk-lab-secret\n")
    result = run("run", "opencode", "run", "hello", HTTP_PROXY="http://127.0.0.1:9")
    assert result.exit_code == 7, result.output
    assert [Path(started.command[0]).name, *started.command[1:]] == ["opencode", "run", "hello"]
    settings = json.loads(started.environ["OPENCODE_CONFIG_CONTENT"])
    options = settings["provider"]["byway"]["options"]
    assert options["baseURL"].startswith("http://127.0.0.1:") and server.url not in options["baseURL"]
    assert settings["model"] == "byway/qwen3:8b" and "127.0.0.1" in started.environ["NO_PROXY"]
    assert "sk-lab-secret" not in f"{started.environ}{started.command}"
    assert not running_clients(tmp_path / "data").running


def test_the_file_of_an_agent_is_private_and_removed_afterwards(
    run: Run, server: EndpointServer, started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "pi")
    run("endpoint", "add", "lab", server.url, "--use")
    contents = []

    def read(command: list[str], environ: dict[str, str]) -> int:
        path = Path(command[command.index("--extension") + 1])
        assert path.stat().st_mode & 0o777 == 0o600 and path.suffix == ".js"
        contents.append(path.read_text())
        return 0

    monkeypatch.setattr("byway.programs.run_in_terminal", read)
    assert run("run", "pi", "-p", "hello").exit_code == 0
    assert "registerProvider" in contents[0] and not list((tmp_path / "data/clients").iterdir())


def test_options_of_byway_are_read_before_and_after_the_agent(
    run: Run, server: EndpointServer, started: Started, tmp_path: Path
) -> None:
    install(tmp_path, "cn")
    run("endpoint", "add", "lab", server.url)
    for arguments in (
        ("--endpoint", "lab", "--model", "qwen3:8b", "continue", "-p", "hi"),
        ("continue", "--endpoint", "lab", "--model", "qwen3:8b", "--", "-p", "hi"),
        ("--endpoint", "lab", "continue", "--model", "qwen3:8b", "-p", "hi"),
    ):
        started.command = []
        assert run("run", *arguments).exit_code == 7
        assert started.command[1] == "--config" and list(started.command[3:]) == ["-p", "hi"]


def test_a_dry_run_prints_the_command_and_no_secret(
    run: Run, server: EndpointServer, started: Started, tmp_path: Path
) -> None:
    install(tmp_path, "qwen")
    run("endpoint", "add", "lab", server.url, "--token", "--file", "--use", stdin="sk-lab-secret\n")
    output = run("run", "qwen", "--dry-run", "hello", ANTHROPIC_API_KEY="sk-ant-real").output
    assert "Endpoint:  lab" in output and "QWEN_CODE_SYSTEM_SETTINGS_PATH" in output and "qwen3:8b" in output
    assert "sk-lab-secret" not in output and "sk-ant-real" not in output and not started.command


def test_codex_gets_a_catalog_with_the_windows_of_the_models_and_its_own_config_stays() -> None:
    setup = AGENTS["codex"].setup(AT._replace(windows={"qwen3:8b": 32768, "glm-5": 200000}))
    settings = dict(part.split("=", 1) for part in setup.arguments[1::2])
    assert set(setup.arguments[::2]) == {"-c"} and all(tomllib.loads(f"value = {text}") for text in settings.values())
    provider = tomllib.loads(f"value = {settings['model_providers.byway']}")["value"]
    assert provider == {
        "name": "Byway",
        "base_url": f"{AT.url}/v1",
        "env_key": "BYWAY_CODEX_KEY",
        "wire_api": "responses",
    }
    models = json.loads(setup.content)["models"]
    assert [(model["slug"], model["context_window"]) for model in models] == [("qwen3:8b", 32768), ("glm-5", 200000)]
    assert all(model["apply_patch_tool_type"] == "freeform" for model in models)


def test_the_catalog_of_codex_is_limited() -> None:
    windows = {f"model-{number}": 8192 for number in range(1000)}
    assert len(json.loads(catalog(windows))["models"]) == MOST_MODELS


def test_an_agent_of_the_responses_api_is_started_elsewhere_with_a_warning(
    run: Run, server: EndpointServer, started: Started, tmp_path: Path
) -> None:
    install(tmp_path, "codex")
    run("endpoint", "add", "lab", server.url, "--use")
    result = run("run", "codex", "exec", "hello")
    assert result.exit_code == 7 and "byway run codex --endpoint byway" in result.output


def test_an_endpoint_that_fails_starts_no_agent(run: Run, started: Started, tmp_path: Path) -> None:
    install(tmp_path, "opencode")
    run("endpoint", "add", "lab", "http://127.0.0.1:1")
    result = run("run", "opencode", "--endpoint", "lab")
    assert result.exit_code == 1 and "refused the connection" in result.output and not started.command


def test_without_an_endpoint_an_agent_runs_as_it_is(run: Run, started: Started, tmp_path: Path) -> None:
    install(tmp_path, "opencode")
    run("endpoint", "off")
    result = run("run", "opencode", "run", "hi")
    assert result.exit_code == 7 and "opencode uses its own settings" in result.output
    assert "OPENCODE_CONFIG_CONTENT" not in started.environ


def test_the_version_of_an_agent_needs_no_endpoint(run: Run, started: Started, tmp_path: Path) -> None:
    install(tmp_path, "opencode")
    assert run("run", "opencode", "--version").exit_code == 7 and list(started.command[1:]) == ["--version"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("opencode",), 1, "npm install -g opencode-ai"),
        (("claude",), 2, "byway claude"),
        (("unknown",), 2, "Use one of: opencode"),
        (("--unknown",), 2, "No such option"),
    ],
)
def test_what_cannot_be_started_is_explained(run: Run, arguments: tuple[str, ...], code: int, text: str) -> None:
    result = run("run", *arguments, npm_config_prefix="/nonexistent", HOME="/nonexistent")
    assert result.exit_code == code and text in result.output, result.output


def test_the_agents_are_listed_with_what_installs_them(run: Run, tmp_path: Path) -> None:
    install(tmp_path, "opencode")
    output = run("run", HOME="/nonexistent").output
    assert str(tmp_path / "bin/opencode") in output and "pip install aider-chat" in output


@pytest.mark.parametrize("name", [b"authorization", b"x-api-key", b"x-byway-key"])
def test_the_relay_accepts_its_token_in_each_header(name: bytes) -> None:
    relay = Relay(RelayTarget(LaunchTarget("lab", "http://127.0.0.1:1")))
    relay.start()
    try:
        value = relay.token.encode()
        assert relay._is_client({name: value}) and not relay._is_client({name: b"other"})
    finally:
        relay.stop()
