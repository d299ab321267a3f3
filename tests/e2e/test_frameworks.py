"""Frameworks of Python and the AI SDK run a tool loop through Byway, by every API that they know."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import npmagents
import pytest
import pythonclients
from gateway import Gateway, config
from scripted import Asked, Reply, Say, Scripted, Tool, json_reply

pytestmark = [pytest.mark.real, pytest.mark.long]

SCRIPT = Path(__file__).parents[1] / "python/frameworks.py"
LOOPS = (
    *("agents:responses", "agents:chat", "langchain:responses", "langchain:chat", "langchain:messages"),
    *("pydantic:responses", "pydantic:chat", "pydantic:messages", "litellm:chat", "litellm:messages"),
)
ANSWER = "The sum is 42."


def adder(request: Asked) -> Say:
    """Calls the tool, then answers when the result is there."""
    body = request.body.decode()
    if "sum 42" in body:
        return Say(ANSWER)
    return Say("", [Tool("add", {"a": 19, "b": 23})])


@pytest.fixture(scope="module")
def backend() -> Iterator[Scripted]:
    with Scripted() as backend:
        yield backend


@pytest.fixture(scope="module")
def gateway(backend: Scripted) -> Iterator[Gateway]:
    with Gateway(config(backend)) as gateway:
        yield gateway


def run(name: str, gateway: Gateway, folder: Path) -> str:
    python = pythonclients.program("sdks", "python")
    if not python.exists():
        pytest.skip(f"the frameworks are not installed: {pythonclients.__doc__}")
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "NO_PROXY": "*", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    command = [str(python), str(SCRIPT), name, gateway.url]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("name", LOOPS)
def test_a_framework_runs_its_tool_loop(name: str, gateway: Gateway, backend: Scripted, tmp_path: Path) -> None:
    backend.play(adder)
    assert ANSWER in run(name, gateway, tmp_path)
    backend.check()


def test_the_vectors_of_frameworks_are_those_of_the_backend(
    gateway: Gateway, backend: Scripted, tmp_path: Path
) -> None:
    rows = [{"object": "embedding", "index": at, "embedding": [at + 0.5, 0.25]} for at in range(2)]
    usage = {"prompt_tokens": 2, "total_tokens": 2}
    answer = {"object": "list", "model": "local", "data": rows, "usage": usage}
    backend.play(lambda request: json_reply(200, answer))
    assert run("embeddings:", gateway, tmp_path).count("[[0.5, 0.25], [1.5, 0.25]]") == 2


def test_litellm_completes_a_text(gateway: Gateway, backend: Scripted, tmp_path: Path) -> None:
    def complete(request: Asked) -> Reply:
        assert request.json["prompt"] == "Add 19 and 23." and request.json["model"] == "local"
        choice = {"index": 0, "text": ANSWER, "finish_reason": "stop", "logprobs": None}
        usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
        body = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "local", "choices": [choice]}
        return json_reply(200, {**body, "usage": usage})

    backend.play(complete)
    assert ANSWER in run("completion:", gateway, tmp_path)


@pytest.mark.parametrize("api", ["chat", "responses", "messages"])
def test_the_ai_sdk_runs_its_tool_loop(api: str, gateway: Gateway, backend: Scripted, tmp_path: Path) -> None:
    folder = npmagents.packages("long")
    if not (folder / "ai").exists():
        pytest.skip(npmagents.missing() or f"the AI SDK is not fetched: {npmagents.__doc__}")
    backend.play(adder)
    script = tmp_path / "loop.mjs"
    script.write_text((Path(__file__).parents[1] / "npm/aisdk.mjs").read_text())
    (tmp_path / "node_modules").symlink_to(folder)
    done = subprocess.run(
        ["node", str(script), api, gateway.url],
        env={"PATH": npmagents.search_path(), "HOME": str(tmp_path), "NO_PROXY": "*"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == {"whole": ANSWER, "streamed": ANSWER}
