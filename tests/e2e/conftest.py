"""Fixtures of the end-to-end tests: one Byway in front of one scripted server for each test file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import older
import pytest
from browser import browsing as browsing
from browser import chromium as chromium
from browser import page as page
from e2e.claude import Claude, OldClaude
from gateway import Answer, Gateway, config
from scripted import Asked, Script, Scripted

from byway.local import supervisor

#: A small Messages request.
ASK: dict[str, Any] = {"model": "claude-opus-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}

#: The secret that Byway sends to its backend; no client may see it.
SECRET = "sk-secret-of-the-backend-0123456789"


@pytest.fixture
def installed() -> Path:
    """The weights of the built-in model; skips the test where they are not installed."""
    try:
        return supervisor.builtin_weights()
    except supervisor.NotInstalled as missing:
        pytest.skip(str(missing))


@dataclass
class Wire:
    """A client's end and a backend's end, with the real Byway between."""

    server: Scripted
    gateway: Gateway
    seen: int = 0
    """Log lines from before this test."""

    def play(self, script: Script) -> None:
        self.server.play(script)

    @property
    def received(self) -> list[Asked]:
        """The requests that the backend received."""
        return self.server.requests

    def logs(self, count: int = 0) -> list[dict[str, Any]]:
        """The log lines of this test's requests to the Messages API, when there are at least `count`."""
        self.gateway.wait(lambda: len(self._logged()) >= count, what=f"{count} requests in the log")
        return self._logged()

    def _logged(self) -> list[dict[str, Any]]:
        """The lines that were written before a request made now."""
        mark = self.gateway.get("/v1/models/none").headers["request-id"]
        self.gateway.wait(lambda: mark in self.gateway.text, what="the log is written")
        return self.gateway.requests()[self.seen :]

    def begin(self) -> None:
        """Leave out what was logged before this test."""
        self.seen = 0
        self.seen = len(self._logged())

    def post(self, **fields: Any) -> Answer:
        """A small Messages request with `fields` set."""
        return self.gateway.post({**ASK, **fields})


@pytest.fixture(scope="module")
def _wire() -> Iterator[Wire]:
    # Short enough for tests that wait for silence, long enough for a busy machine.
    quick = {"commit_after": 0.6, "ping_after": 0.6, "first_byte": 3, "between_chunks": 2, "connect": 1}
    with Scripted() as server:
        settings = config(server, timeouts=quick)
        settings["backends"][0]["api_key"] = SECRET
        with Gateway(settings) as gateway:
            yield Wire(server, gateway)
            assert SECRET not in gateway.text


@pytest.fixture
def wire(_wire: Wire) -> Iterator[Wire]:
    _wire.begin()
    yield _wire
    _wire.server.check()


@pytest.fixture
def claude(request: pytest.FixtureRequest, wire: Wire, tmp_path: Path) -> Claude:
    """Claude Code connected to the Byway of `wire`, with few retries; `both` runs a test with each of the two versions."""
    kind = OldClaude if getattr(request, "param", "") == older.VERSION else Claude
    return kind(tmp_path, wire.gateway.url, CLAUDE_CODE_MAX_RETRIES="1")


both = pytest.mark.parametrize("claude", ["newest", pytest.param(older.VERSION, marks=pytest.mark.long)], indirect=True)
