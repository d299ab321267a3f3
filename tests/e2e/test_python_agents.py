"""`byway run` with agents of Python that have no tool calls of the usual form: each one writes a file that the model names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pythonclients
from agentrun import OFFLINE, AgentHome, agent_requests
from gateway import config
from scripted import Asked, Say, Scripted, Tool

pytestmark = [pytest.mark.real, pytest.mark.long]

TASK = "Write out.txt with one line: written"


class PythonAgent(NamedTuple):
    """How an agent is run without questions, and what a model says to it."""

    command: str
    arguments: tuple[str, ...]
    turns: tuple[Say, ...]


AGENTS = {
    "aider": PythonAgent(
        "aider",
        ("--yes-always", "--no-git", "--no-stream", "--edit-format", "whole", "--message", TASK, "out.txt"),
        (Say("out.txt\n```\nwritten\n```\n"),),
    ),
    "gptme": PythonAgent(
        "gptme",
        ("--non-interactive", "--tools", "save", TASK),
        (Say("I write it.\n\n```save out.txt\nwritten\n```\n"), Say("All done")),
    ),
    "mini": PythonAgent(
        "mini",
        ("--yolo", "--exit-immediately", "--cost-limit", "0", "--task", TASK),
        (
            Say("THOUGHT: I write it.", [Tool("bash", {"command": "echo written > out.txt"})]),
            Say("Done.", [Tool("bash", {"command": "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"})]),
        ),
    ),
}


class Model:
    """Says one turn after the other to the agent. The short request with which Byway checks an endpoint gets a text."""

    def __init__(self, turns: tuple[Say, ...]) -> None:
        self.turns = turns
        self.requests: list[Asked] = []

    def __call__(self, request: Asked) -> Say:
        if "out.txt" not in request.body.decode():
            return Say("Hello")
        self.requests.append(request)
        return self.turns[min(len(self.requests), len(self.turns)) - 1]


@pytest.fixture
def backend() -> Iterator[Scripted]:
    with Scripted(window=100_000) as backend:
        yield backend


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_writes_a_file_through_byway_with_a_key_of_its_own(
    name: str, backend: Scripted, tmp_path: Path
) -> None:
    agent = AGENTS[name]
    program = pythonclients.program(name, agent.command)
    if not program.exists():
        pytest.skip(f"{name} is not installed: {pythonclients.__doc__}")
    model = Model(agent.turns)
    backend.play(model)
    home = AgentHome(tmp_path)
    environ = {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", **OFFLINE}
    with home.gateway(config(backend)) as gateway:
        ran = home.run(name, program, "--", *agent.arguments, environ=environ)
        assert ran.code == 0, ran
        lines = agent_requests(gateway)
    assert (home.work / "out.txt").read_text().strip() == "written", ran
    assert {line["status"] for line in lines} == {200}
    assert all("real" not in str(request.headers) for request in model.requests)
