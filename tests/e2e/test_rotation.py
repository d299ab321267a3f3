"""Secrets that are changed while a real Byway works: from the accepted file, a made-up keychain, and GNOME's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from gateway import SOURCE, Gateway, config
from providers import RESULTS, FakeProviders, ProviderRequest, ProviderResponse
from scripted import Asked, Say, Scripted, Tool

pytest.importorskip("keyring", reason="keyring is not installed")

FIRST, SECOND = "first-key-of-serper-0123456789", "second-key-of-serper-0123456789"
#: How long a stream runs, in tenths of a second.
WORDS = 45
SEARCH = [{"type": "web_search_20250305", "name": "web_search"}]
ASK: dict[str, Any] = {"model": "sonnet", "max_tokens": 100, "messages": [{"role": "user", "content": "What is new?"}]}
SLOWLY = {**ASK, "stream": True, "messages": [{"role": "user", "content": "slowly"}]}


# --- where secrets are kept -------------------------------------------------------------------------------------------


def _accepted_file(folder: Path, program: Callable[[str], str]) -> Iterator[dict[str, str]]:
    yield {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}


def _made_up(folder: Path, program: Callable[[str], str]) -> Iterator[dict[str, str]]:
    path = os.pathsep.join((str(SOURCE), str(Path(__file__).parent.parent)))
    yield {"PYTHON_KEYRING_BACKEND": "chain.Chain", "CHAIN": str(folder / "chain.json"), "PYTHONPATH": path}


def _gnome(folder: Path, program: Callable[[str], str]) -> Iterator[dict[str, str]]:
    """A session of its own with GNOME Keyring, unlocked; it ends when its input does."""
    run, keyring = program("dbus-run-session"), program("gnome-keyring-daemon")
    script = f'printf pw | "{keyring}" --unlock --components=secrets >&2; echo "$DBUS_SESSION_BUS_ADDRESS"; cat'
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    with (folder / "log").open("wb") as log:
        session = subprocess.Popen(
            [run, "--", "sh", "-c", script], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
        assert session.stdin is not None and session.stdout is not None
        try:
            address = session.stdout.readline().decode().strip()
            assert address, (folder / "log").read_text()
            yield {
                "PYTHON_KEYRING_BACKEND": "keyring.backends.SecretService.Keyring",
                "DBUS_SESSION_BUS_ADDRESS": address,
            }
        finally:
            session.stdin.close()
            session.wait(60)
            session.stdout.close()


@pytest.fixture(params=[_accepted_file, _made_up, pytest.param(_gnome, marks=pytest.mark.real)])
def place(request: pytest.FixtureRequest, tmp_path: Path, program: Callable[[str], str]) -> Iterator[dict[str, str]]:
    """The environment by which a Byway finds its secrets."""
    if sys.platform != "linux" and request.param is _gnome:
        pytest.skip("only on Linux is there GNOME Keyring")
    yield from request.param(tmp_path, program)


# --- Byway ------------------------------------------------------------------------------------------------------------


class Stage:
    """A Byway whose search provider takes one key at a time."""

    def __init__(self, place: Mapping[str, str], server: Scripted, provider: FakeProviders) -> None:
        search = {"enabled": True, "provider": "serper", "base_url": provider.url, "cache_ttl": 0}
        settings = config(server, web_search={**search, "api_key": "${BYWAY_SERPER_API_KEY}"})
        self.gateway = Gateway(settings, environ=place)
        self.data = self.gateway.home / "data"
        self._environ = {**os.environ, "PYTHONPATH": str(SOURCE), **place}
        self.plain = place["PYTHON_KEYRING_BACKEND"].startswith("keyring.backends.fail")

    def secret(self, *arguments: str, value: str = "") -> str:
        """`byway secret`, as a person calls it while Byway runs."""
        done = subprocess.run(
            [sys.executable, "-m", "byway", "secret", *arguments, "--data-dir", str(self.data)],
            input=value,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def keep(self, value: str) -> str:
        return self.secret("set", "serper", *(["--file"] if self.plain else []), value=value)

    def finds(self) -> bool:
        """Does a search work?"""
        answer = self.gateway.post({**ASK, "tools": SEARCH})
        assert FIRST.encode() not in answer.body and SECOND.encode() not in answer.body
        return answer.status == 200 and RESULTS[0][1] in answer.body.decode()

    def changes(self, met: Callable[[], bool]) -> None:
        """Wait until the changed secret is used."""
        self.gateway.wait(met, what="the changed secret is used")

    def leaks(self, value: str) -> list[str]:
        """Where a secret can be seen."""
        table = {
            "log": self.gateway.text,
            "config": self.gateway.file.read_text(),
            "answers": "".join(self.gateway.get(path).body.decode() for path in ("/readyz", "/v1/models")),
        }
        if sys.platform == "linux":
            process = Path(f"/proc/{self.gateway.process.pid}")
            children = (process / f"task/{process.name}/children").read_text().split()
            table["arguments"] = "".join(
                Path(f"/proc/{item}/cmdline").read_text() for item in (process.name, *children)
            )
            table["environment"] = (process / "environ").read_text()
        table |= {
            path.name: path.read_bytes().decode(errors="replace") for path in self.data.rglob("*") if path.is_file()
        }
        return [name for name, text in table.items() if value in text]


class Slow(threading.Thread):
    """A client that reads a slow stream to its end."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(daemon=True)
        self._gateway, self._began, self.got = gateway, threading.Event(), b""
        self.start()
        assert self._began.wait(60)

    def run(self) -> None:
        body, headers = json.dumps(SLOWLY).encode(), {"content-type": "application/json"}
        with self._gateway.open("POST", "/v1/messages", body, headers) as answer:
            while data := answer.read1():
                self.got += data
                self._began.set()


@pytest.fixture
def accepted() -> list[str]:
    """The keys that the provider takes."""
    return [FIRST]


@pytest.fixture
def stage(place: dict[str, str], accepted: list[str]) -> Iterator[Stage]:
    def provider(seen: ProviderRequest) -> ProviderResponse:
        if seen.headers.get("x-api-key") not in accepted:
            return 403, {"message": f"Unauthorized: {seen.headers.get('x-api-key')}", "statusCode": 403}
        return 200, {"organic": [{"title": t, "link": u, "snippet": s} for t, u, s, _ in RESULTS]}

    def model(request: Asked) -> Say:
        if "slowly" in request.body.decode():
            return Say("word " * WORDS, gap=0.1)
        text = request.json["messages"][-1]["role"] == "tool"
        return Say("Found.") if text else Say(tools=[Tool("web_search", {"query": "rust"})])

    with Scripted(model) as server, FakeProviders(provider) as search:
        yield Stage(place, server, search)


@pytest.mark.slow
def test_a_key_is_rotated_while_a_stream_runs(stage: Stage, accepted: list[str]) -> None:
    stage.keep(FIRST)
    with stage.gateway as gateway:
        assert stage.finds(), gateway.text
        client = Slow(gateway)
        accepted[:] = [SECOND]
        assert not stage.finds(), "the provider does not take the first key any more"
        stage.keep(SECOND)
        stage.changes(stage.finds)
        assert client.is_alive(), "the stream was running all the time"
        client.join(60)
        assert client.got.count(b"word ") == WORDS
        assert client.got.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
        assert [line for line in gateway.requests() if line.get("error")] == []
        for value in (FIRST, SECOND):
            assert stage.leaks(value) == (["secrets.json"] if value == SECOND and stage.plain else [])


def test_a_key_is_cleared_and_stored_again_while_byway_runs(stage: Stage) -> None:
    with stage.gateway as gateway:
        assert "byway secret set serper" in gateway.text
        off = gateway.post({**ASK, "tools": SEARCH})
        assert off.status == 400
        stage.keep(FIRST)
        stage.changes(stage.finds)
        assert "first-…6789" in stage.secret("status")
        stage.secret("clear", "serper")
        stage.changes(lambda: gateway.post({**ASK, "tools": SEARCH}).status == 400)
        assert stage.leaks(FIRST) == []


@pytest.mark.parametrize("place", [_made_up], indirect=True)
def test_a_locked_keychain_blocks_nothing_and_is_read_when_unlocked(stage: Stage, tmp_path: Path) -> None:
    stage.keep(FIRST)
    locked = tmp_path / "chain.locked"
    locked.touch()
    # The keychain stays locked until the start is over: a start that waited for it would fail.
    with stage.gateway as gateway:
        assert gateway.post({**ASK, "tools": SEARCH}).status == 400 and gateway.post(ASK).status == 200
        assert "It may wait for its password" in gateway.text
        locked.unlink()
        stage.changes(stage.finds)


@pytest.mark.slow
@pytest.mark.parametrize("place", [_made_up], indirect=True)
def test_a_keychain_that_stops_answering_stalls_no_stream_and_loses_no_key(stage: Stage, tmp_path: Path) -> None:
    stage.keep(FIRST)
    with stage.gateway as gateway:
        client = Slow(gateway)
        locked = tmp_path / "chain.locked"
        locked.touch()
        (stage.data / "secrets.stamp").write_text("changed")
        gateway.wait(lambda: "It may wait for its password" in gateway.text)
        received = len(client.got)
        gateway.wait(lambda: len(client.got) > received, what="the stream goes on while the keychain is locked")
        assert stage.finds()
        locked.unlink()
        client.join(60)
        assert client.got.count(b"word ") == WORDS
