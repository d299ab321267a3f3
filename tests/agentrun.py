"""Runs agents by `byway run`, each in a home of its own, beside a Byway that requires keys."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway import SOURCE, Gateway

#: The setting `api_keys` of that Byway: an agent gets a key of its own, not that of the owner.
API_KEYS: Final[Mapping[str, Any]] = {
    "mode": "blocking",
    "api_keys": [{"key": "byway-key-of-the-owner-0123456789", "id": "owner"}],
}
#: Nothing but loopback can be reached.
OFFLINE: Final[Mapping[str, str]] = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1,localhost"}


class Run(NamedTuple):
    """A run of an agent that has ended."""

    code: int
    output: str
    errors: str


class AgentHome:
    """A home with a folder to work in, and Byway's data."""

    def __init__(self, folder: Path) -> None:
        self.path, self.data, self.work = folder / "home", folder / "data", folder / "work"
        self.path.mkdir()
        self.work.mkdir()

    def gateway(self, config: Mapping[str, Any]) -> Gateway:
        """A Byway with `config` that requires keys."""
        return Gateway({**config, "api_keys": API_KEYS}, environ={"BYWAY_HOME": str(self.data)})

    def run(self, agent: str, program: Path, *arguments: str, environ: Mapping[str, str], timeout: float = 300) -> Run:
        """Run `byway run AGENT ARGUMENTS...` in the folder until it ends."""
        process = subprocess.Popen(
            [sys.executable, "-m", "byway", "run", agent, *arguments],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.path),
                "BYWAY_HOME": str(self.data),
                f"BYWAY_{agent.upper()}": str(program),
                "PYTHONPATH": str(SOURCE),
                "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
                "TERM": "dumb",
                # Credentials for other places stay here.
                "ANTHROPIC_API_KEY": "sk-ant-real",
                "OPENAI_API_KEY": "sk-real",
                **environ,
            },
            cwd=self.work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            output, errors = process.communicate(timeout=timeout)
        finally:
            # Agents leave processes behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()
        return Run(process.returncode, output, errors)


def agent_requests(gateway: Gateway, path: str = "/v1/messages") -> list[dict[str, Any]]:
    """The log lines of the agent's requests, all of them with one key, which is its own."""
    lines = [line for line in gateway.requests(path) if not line.get("probe")]
    keys = {line.get("key") for line in lines}
    assert len(keys) == 1 and not keys & {None, "owner"}, keys
    return lines
