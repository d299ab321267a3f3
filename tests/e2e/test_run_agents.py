"""`byway run` with real agents: each one reads a file and writes another through Byway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import npmagents
import pytest
from agentrun import AgentHome, agent_requests
from gateway import Gateway, config
from scripted import Asked, Say, Scripted, Tool

#: Arguments with which an agent works without questions.
AGENTS = {
    "qwen": ("--approval-mode", "yolo"),
    "continue": ("--auto", "-p"),
    "opencode": ("run", "--auto"),
    "copilot": ("--allow-all-tools", "-p"),
    "pi": ("-p",),
}
IN_CI = ("qwen", "continue")


def arguments(schema: dict[str, Any], path: Path, content: str) -> dict[str, Any]:
    """The arguments of a tool of any agent that reads or writes a file."""
    made: dict[str, Any] = {}
    for name in schema["properties"]:
        if "path" in name.lower():
            made[name] = str(path)
        elif name.lower() in ("content", "file_text"):
            made[name] = content
    return {name: value for name, value in made.items() if name in schema["required"]}


class Model:
    """Reads in.txt, then writes out.txt, then is done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results: list[str] = []

    def __call__(self, request: Asked) -> Say:
        tools = {tool["function"]["name"].lower(): tool["function"] for tool in request.json.get("tools", [])}
        read = next((tools[name] for name in ("read", "read_file", "view") if name in tools), None)
        write = next((tools[name] for name in ("write", "write_file", "create") if name in tools), None)
        self.results = [str(message["content"]) for message in request.json["messages"] if message["role"] == "tool"]
        if read is None or write is None or len(self.results) >= 2:
            return Say("All done")
        chosen, file, content = (write, "out.txt", "written") if self.results else (read, "in.txt", "")
        return Say("", [Tool(chosen["name"], arguments(chosen["parameters"], self.folder / file, content))])


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    made = AgentHome(tmp_path)
    (made.work / "in.txt").write_text("text of the file")
    return made


@pytest.fixture
def model(home: AgentHome) -> Model:
    return Model(home.work)


@pytest.fixture
def gateway(home: AgentHome, model: Model) -> Iterator[Gateway]:
    with Scripted() as backend:
        backend.play(model)
        with home.gateway(config(backend)) as gateway:
            yield gateway


@pytest.mark.real
@pytest.mark.parametrize(
    "agent", [pytest.param(agent, marks=[] if agent in IN_CI else [pytest.mark.long]) for agent in AGENTS]
)
def test_an_agent_runs_its_tools_through_byway_with_a_key_of_its_own(
    agent: str, home: AgentHome, model: Model, gateway: Gateway
) -> None:
    program = npmagents.program(agent)
    if not program.exists():
        pytest.skip(npmagents.missing() or f"{agent} is not fetched: {npmagents.__doc__}")
    command = (*AGENTS[agent], "Read in.txt and write out.txt.")
    ran = home.run(agent, program, *command, environ={"PATH": npmagents.search_path()}, timeout=240)
    assert ran.code == 0 and "All done" in ran.output, ran
    assert "text of the file" in model.results[0] and (home.work / "out.txt").read_text() == "written"
    assert agent_requests(gateway)
    assert not list((home.data / "clients").iterdir())
    from byway.store import Store

    with Store(home.data) as store:
        assert [bool(key.revoked_at) for key in store.keys()] == [True]
