"""The real Claude Code after `byway connect`: when changes reach a running session, and which credentials are sent."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from e2e.claude import LIMIT, binary
from e2e.conftest import Wire
from scripted import Say

from byway.cli import client
from byway.clientfiles.folders import UserFolders
from byway.clientfiles.ledger import Ledger
from byway.clients import connect, doctor, places, sessions
from byway.clients.connect import Prepared
from byway.clients.facts import GatewayFacts
from byway.clients.report import ExpectedEndpoint

REAL_KEY = "sk-ant-api03-real-looking-0123456789"


class Home:
    """A fake home with Claude Code, and the functions of `byway connect`."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.project = root / "project"
        for folder in (self.home / ".claude", self.project):
            folder.mkdir(parents=True)
        self.folders = UserFolders(self.home, self.project, {}, "linux")
        self.ledger = Ledger(root / "data")

    @property
    def settings(self) -> Path:
        return self.home / ".claude" / "settings.json"

    def connect(self, url: str) -> None:
        values = connect.byway_values(
            {"variables": {"ANTHROPIC_BASE_URL": url, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}}, self.folders
        )
        self._make(connect.prepare_connect(self.ledger, ["claude"], self.folders, values))

    def disconnect(self) -> None:
        self._make(connect.prepare_disconnect(self.ledger, ()))

    def _make(self, prepared: Prepared) -> None:
        connect.carry_out(self.ledger, prepared, lambda id: None)

    def environ(self, **more: str) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "DISABLE_AUTOUPDATER": "1", **more}


class Talk:
    """One running process of Claude Code that is given one prompt after the other."""

    def __init__(self, home: Home) -> None:
        command = [str(binary()), "-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"]
        self.process = subprocess.Popen(
            command,
            env=home.environ(),
            cwd=home.project,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._timer = threading.Timer(LIMIT, self.process.kill)
        self._timer.start()

    def turn(self, prompt: str) -> dict[str, Any]:
        """Send a prompt, and return the closing line of the turn."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"type": "user", "message": {"role": "user", "content": prompt}}) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            event: dict[str, Any] = json.loads(line)
            if event.get("type") == "result":
                return event
        raise AssertionError("Claude Code ended before the turn did")

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.read()
        self.process.stdout.close()
        self.process.wait()
        self._timer.cancel()


def test_hot_and_frozen_changes_reach_a_running_session_as_doctor_says(wire: Wire, tmp_path: Path) -> None:
    """A changed value applies within two seconds, a removed one stays in force. Two paths tell the values apart."""
    wire.play(lambda request: Say("Hi"))
    home = Home(tmp_path)
    first, second = f"{wire.gateway.url}/anthropic", wire.gateway.url
    home.connect(first)
    with closing(Talk(home)) as talk:
        session = talk.turn("one")["session_id"]
        assert paths_of(wire, session) == ["/anthropic/v1/messages"]
        home.connect(second)
        (running,) = sessions.local_sessions(home.folders.claude)
        assert (running.id, running.pid, running.base_url) == (session, talk.process.pid, "")
        (row,) = sessions.list_sessions([running], [], places.survey(home.folders), second)
        assert (row.base_url, row.stale) == (second, False)
        # Claude Code watches the file; it notices a change within two seconds.
        assert any(talk.turn("two") and paths_of(wire, session)[-1] == "/v1/messages" for _ in range(30))
        home.disconnect()
        time.sleep(2.5)
        talk.turn("three")
        assert paths_of(wire, session)[-1] == "/v1/messages", "the removed value stays in force"
        removed = doctor.removed_at(home.ledger.read().history)
        arrived = facts_of(wire).sessions
        (row,) = sessions.list_sessions([running], arrived, places.survey(home.folders), second, removed)
        assert row.stale and row.arrival == "arrives" and row.requests >= 3
    assert sessions.local_sessions(home.folders.claude) == [], "the session has ended"
    assert not home.settings.exists()


def paths_of(wire: Wire, session: str) -> list[str]:
    """The paths of the session's requests, in order."""
    return [line["path"].partition("?")[0] for line in wire.logs() if line.get("session") == session]


def facts_of(wire: Wire) -> GatewayFacts:
    """The sessions that the running Byway has seen."""
    answer = client.get(wire.gateway.home / "data", "/byway/doctor?models=sonnet")
    return msgspec.convert(answer, GatewayFacts)


@contextmanager
def recording() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that records the headers of each request and refuses it for good."""
    received: list[dict[str, str]] = []
    body = json.dumps({"type": "error", "error": {"type": "authentication_error", "message": "no"}}).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            received.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(401)
            self.send_header("x-should-retry", "false")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()


def test_a_connected_home_with_keys_and_a_helper_sends_one_placeholder(tmp_path: Path) -> None:
    """A key in the shell, one in the settings, a helper, and Bedrock and a proxy in the shell: only the placeholder leaves."""
    home = Home(tmp_path)
    helper = {"apiKeyHelper": f"echo {REAL_KEY}", "env": {"ANTHROPIC_API_KEY": REAL_KEY}}
    home.settings.write_text(json.dumps(helper))
    hostile = {"ANTHROPIC_API_KEY": REAL_KEY, "CLAUDE_CODE_USE_BEDROCK": "1", "HTTP_PROXY": "http://127.0.0.1:9"}
    with recording() as (url, received):
        home.connect(url)
        folders = home.folders._replace(environ=hostile)
        expected = ExpectedEndpoint("byway", url)
        diagnosis = doctor.diagnose(places.survey(folders), expected, None)
        for id in ("provider:CLAUDE_CODE_USE_BEDROCK", "proxy"):
            home._make(connect.prepare_fix(home.ledger, diagnosis.fixes[id]))
        done = subprocess.run(
            [str(binary()), "-p", "hi"],
            env=home.environ(**hostile),
            cwd=home.project,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=LIMIT,
        )
    assert received, done
    for headers in received:
        assert headers["authorization"] == "Bearer byway-local" and "x-api-key" not in headers
        assert REAL_KEY not in str(headers)
    home.disconnect()
    assert json.loads(home.settings.read_text()) == helper


CHANGER = """
import sys
from pathlib import Path
from byway.clientfiles.ledger import Ledger
from byway.clientfiles.folders import UserFolders
from byway.clients import connect
root = Path(sys.argv[1])
folders = UserFolders(root / "home", root / "project", {}, "linux")
ledger = Ledger(root / "data")
print("ready", flush=True)
for number in range(100_000):
    exported = {"variables": {"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{number % 50_000 + 1}", f"X{number % 3}": "1"}}
    prepared = connect.prepare_connect(ledger, ["claude"], folders, connect.byway_values(exported, folders))
    connect.carry_out(ledger, prepared, lambda id: None)
"""


@pytest.mark.long
def test_a_process_that_is_killed_while_it_connects_leaves_a_file_that_can_be_undone(tmp_path: Path) -> None:
    home = Home(tmp_path)
    text = '{\n  "model": "opus",\r\n  "env": {"ANTHROPIC_API_KEY": "' + REAL_KEY + '"}\n}'
    home.settings.write_bytes(text.encode())
    for delay in (0.02, 0.1, 0.25):
        command = [sys.executable, "-c", CHANGER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            time.sleep(delay)
            process.kill()
        assert json.loads(home.settings.read_text())["model"] == "opus", "the file is never half written"
        # The lock that the killed process may have left is stale after ten seconds.
        with suppress(FileNotFoundError):
            home.settings.with_name("settings.json.lock").rmdir()
        home.disconnect()
        assert home.settings.read_bytes() == text.encode()
