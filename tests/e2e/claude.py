"""The real Claude Code, from the wheel of `claude-agent-sdk`: run in a scratch home, with nothing of this machine's."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import older
import pytest

LIMIT: Final = 240.0


def binary() -> Path:
    """The path of Claude Code; skips the test where it is not installed."""
    spec = importlib.util.find_spec("claude_agent_sdk")
    path = Path(spec.origin).parent / "_bundled" / "claude" if spec and spec.origin else Path("claude")
    if not path.is_file():
        pytest.skip("claude-agent-sdk is not installed (its wheel carries Claude Code)")
    return path


@dataclass(frozen=True)
class Turn:
    """The result of one run of Claude Code."""

    code: int
    events: list[dict[str, Any]]
    """The lines of `--output-format stream-json`."""
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        """The closing line: `is_error`, `result` (what the user sees), `usage`, `modelUsage`, `session_id`."""
        last = [event for event in self.events if event["type"] == "result"]
        assert last, f"Claude Code gave no result (exit {self.code}): {self.stderr}"
        return last[-1]

    @property
    def text(self) -> str:
        return str(self.result["result"])

    @property
    def failed(self) -> bool:
        return bool(self.result["is_error"])


class Claude:
    """A Claude Code with its own home and working folder, connected to one endpoint."""

    old = False

    def __init__(self, home: Path, url: str, **environ: str) -> None:
        """`url` is the gateway's; `environ` has more variables to export."""
        self.path = self.program()
        self.work = home / "work"
        self.work.mkdir(parents=True)
        (home / "config").mkdir()
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "CLAUDE_CONFIG_DIR": str(home / "config"),
            "ANTHROPIC_BASE_URL": f"{url}/anthropic",
            "ANTHROPIC_API_KEY": "dummy",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            # As root it refuses --dangerously-skip-permissions without this.
            "IS_SANDBOX": "1",
            **environ,
        }

    def program(self) -> Path:
        """The path of the program; skips the test where it is not installed."""
        return binary()

    def ask(self, prompt: str, *arguments: str, limit: float = LIMIT, environ: Mapping[str, str] | None = None) -> Turn:
        """Run one `claude -p` turn."""
        return self._run([prompt, *arguments], "", limit, environ or {})

    def talk(self, prompts: Sequence[str], *arguments: str, limit: float = LIMIT) -> Turn:
        """Run several turns of one session in one process."""
        lines = [{"type": "user", "message": {"role": "user", "content": prompt}} for prompt in prompts]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        return self._run(["--input-format", "stream-json", *arguments], text, limit, {})

    def _run(self, arguments: Sequence[str], stdin: str, limit: float, environ: Mapping[str, str]) -> Turn:
        command = [str(self.path), "-p", *arguments, "--output-format", "stream-json", "--verbose"]
        try:
            done = subprocess.run(
                command,
                input=stdin,
                env={**self.environ, **environ},
                cwd=self.work,
                capture_output=True,
                text=True,
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise AssertionError(f"Claude Code took longer than {limit} s: {late.stdout!r} {late.stderr!r}") from None
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return Turn(done.returncode, events, done.stderr)


class OldClaude(Claude):
    """Version 2.1.197."""

    old = True

    def program(self) -> Path:
        if not older.PROGRAM.is_file():
            pytest.skip(older.missing() or f"Claude Code {older.VERSION} is not installed: run python tests/older.py")
        return older.PROGRAM
