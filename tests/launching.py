"""Fixtures for commands of the launcher: a scratch home, an endpoint, and a client that is noted instead of started."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from endpointserver import EndpointServer, serving

from byway.cli.main import byway

QWEN = [{"id": "qwen3:8b", "max_input_tokens": 32768}]
Run = Callable[..., Result]


class Started:
    """What would have been started."""

    def __init__(self) -> None:
        self.command: Sequence[str] = ()
        self.environ: Mapping[str, str] = {}
        self.overlay: dict[str, Any] = {}


@pytest.fixture
def server() -> Iterator[EndpointServer]:
    with serving(models=QWEN) as server:
        yield server


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Started:
    """The client is not started: it is noted."""
    state = Started()

    def run(command: Sequence[str], environ: Mapping[str, str]) -> int:
        state.command, state.environ = command, environ
        if "--settings" in command:
            path = Path(command[command.index("--settings") + 1])
            assert path.stat().st_mode & 0o777 == 0o600
            state.overlay = json.loads(path.read_text())
        return 7

    monkeypatch.setattr("byway.programs.run_in_terminal", run)
    return state


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command in `work` with a scratch data folder and a program `claude`."""
    program = tmp_path / "bin/claude"
    program.parent.mkdir()
    program.write_text("")
    program.chmod(0o755)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("BYWAY_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", str(program.parent))

    def invoke(*arguments: str, stdin: str = "", **environ: str) -> Result:
        return CliRunner().invoke(byway, arguments, input=stdin, env=environ)

    return invoke
