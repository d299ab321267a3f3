"""`byway models probe` beside a running Byway: a strong scripted model, broken ones, and the real built-in model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import scripted
from e2e.terminal import Terminal
from gateway import SOURCE, Gateway, config
from probed import strong, weak
from scripted import Say, Scripted

from byway.admin.probes import PROBES

#: Seconds for the test of a real model on a busy machine.
REAL = 900


def environ(gateway: Gateway) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(gateway.home),
        "PYTHONPATH": str(SOURCE),
        "BYWAY_HOME": str(gateway.home / "data"),
    }


def byway(gateway: Gateway, *arguments: str, limit: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "byway", "models", *arguments]
    return subprocess.run(
        command, env=environ(gateway), capture_output=True, text=True, timeout=limit, cwd=gateway.home
    )


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Scripted(strong) as server, Gateway(config(server)) as running:
        yield running


def test_a_strong_model_is_good_for_agent_work(gateway: Gateway) -> None:
    done = byway(gateway, "probe", "sonnet")
    assert done.returncode == 0, done.stderr
    assert "Testing one/local" in done.stdout
    assert [line.split("  ")[1] for line in done.stdout.splitlines() if line.startswith("  ✓")] == [
        f"✓ {probe.title}" for probe in PROBES
    ]
    assert f"good for agent work ({len(PROBES)} of {len(PROBES)} passed)" in done.stdout
    assert "one/local" in byway(gateway, "probe").stdout


def test_the_result_as_json(gateway: Gateway) -> None:
    result = json.loads(byway(gateway, "probe", "one/local", "--json").stdout)
    assert (result["state"], result["verdict"], result["old"]) == ("done", "good for agent work", "")
    assert [probe["name"] for probe in result["results"]] == [probe.name for probe in PROBES]
    [listed] = json.loads(byway(gateway, "probe", "--json").stdout)["models"]
    assert listed == result


def test_a_terminal_shows_each_probe_as_it_ends(gateway: Gateway) -> None:
    command = [sys.executable, "-m", "byway", "models", "probe", "one/local"]
    with Terminal(command, environ(gateway), gateway.home) as terminal:
        screen = terminal.end()
    assert "✓ Tool result" in screen and "good for agent work" in screen


def test_a_model_that_does_not_work_ends_with_1_and_says_what_to_do() -> None:
    refusal = scripted.openai_error(401, "bad key", "invalid_request_error")
    with Scripted(lambda request: refusal) as server, Gateway(config(server)) as running:
        done = byway(running, "probe", "one/local")
        assert done.returncode == 1
        assert "does not work" in done.stdout and "under Secrets" in done.stdout


def test_a_model_that_writes_calls_as_text_is_for_chat_only() -> None:
    text = Say("<call>get_weather(Oslo)</call>")
    script = weak(tool_call=text, tool_result=Say("Hm."), parallel=text, forced_tool=Say("Noted."))
    with Scripted(script) as server, Gateway(config(server)) as running:
        done = byway(running, "probe", "one/local")
    assert done.returncode == 0 and "chat only" in done.stdout
    assert "failed: wrote the call as text" in done.stdout and "trained for tool calls" in done.stdout


def test_without_a_running_byway_the_command_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "byway", "models", "probe", "one/local", "--data-dir", str(tmp_path)]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 1 and "byway up" in done.stderr


@pytest.mark.real
def test_the_built_in_model_is_for_chat_only() -> None:
    """SmolLM2-135M answers, follows instructions badly, and has no template for tools."""
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
    # A small window, because the long prompt fills most of it.
    settings = {"backends": [{"name": "one", "type": "builtin", "window": 3072, "threads": 2}]}
    with Gateway(settings, model=True) as running:
        running.wait(lambda: running.get("/readyz").json["backends"][0]["state"] == "ready", what="the model is loaded")
        result = json.loads(byway(running, "probe", "sonnet", "--json", limit=REAL).stdout)
    states = {probe["name"]: probe["state"] for probe in result["results"]}
    assert result["verdict"] == "chat only", result
    assert result["window"] == 3072 and any("window" in reason for reason in result["reasons"])
    assert states["image"] == "not supported" and states["tool_call"] == "failed"
    # llama.cpp itself keeps what a schema or a forced tool requires, counts tokens and keeps prompts.
    assert states["json_schema"] == states["forced_tool"] == states["token_count"] == "passed", result
