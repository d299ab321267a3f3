"""`byway verify`, as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from beside import command
from click.testing import CliRunner, Result
from gateway import Gateway, config
from scripted import Say, Scripted

from byway.cli.main import byway

KEY = "the-right-key-0123"


def test_connected_says_who_and_how_fast() -> None:
    with Scripted(lambda asked: Say("Hi")) as server, Gateway(config(server)) as gateway:
        done = command(gateway, "verify")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("Connected: local (backend one) answers for sonnet, in ")
        told = json.loads(command(gateway, "verify", "--json", "--model", "blue").stdout)
        assert (told["good"], told["said"], told["asked"], told["model"]) == (True, "Connected", "blue", "local")
        assert told["url"] == f"{gateway.url}/anthropic"
        named = command(gateway, "verify", "--url", gateway.url, "--data-dir", str(gateway.home / "nothing"))
        assert named.returncode == 0


def test_the_key_comes_from_the_environment_or_stdin_and_is_never_shown() -> None:
    keys = {"api_keys": [{"key": KEY}]}
    with Scripted(lambda asked: Say("Hi")) as server, Gateway(config(server, api_keys=keys)) as gateway:
        assert command(gateway, "verify", ANTHROPIC_API_KEY=KEY).returncode == 0
        assert command(gateway, "verify", "--key", stdin=f"{KEY}\n").returncode == 0
        without = command(gateway, "verify")
        wrong = command(gateway, "verify", "--key", stdin="some-wrong-key-0123", ANTHROPIC_API_KEY=KEY)
    for done in (without, wrong):
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("byway: Authentication failed (credential) at http://127.0.0.1:")
        assert "Try:  Create a key" in done.stderr and "some-wrong-key" not in done.stderr and KEY not in done.stderr


def test_one_without_an_address_is_asked_by_its_socket() -> None:
    with Scripted(lambda asked: Say("Hi")) as server, Gateway(config(server)) as gateway:
        (gateway.home / "data" / "address").write_text("")
        told = json.loads(command(gateway, "verify", "--json").stdout)
    assert told["good"] and told["url"].startswith("unix:") and told["model"] == "local"


def test_a_dead_backend_and_a_missing_model() -> None:
    backends = [{"name": "gone", "type": "vllm", "url": "http://127.0.0.1:9", "models": ["m"]}]
    with Gateway({"backends": backends, "model_aliases": {"sonnet": "gone/m"}}) as gateway:
        dead = command(gateway, "verify")
        missing = command(gateway, "verify", "--model", "gpt-9", "--json")
    assert dead.returncode == 1 and "The backend does not answer (server)" in dead.stderr and "gone" in dead.stderr
    told = json.loads(missing.stdout)
    assert missing.returncode == 1 and (told["said"], told["layer"]) == ("Model not found", "model") and told["hint"]


def run(folder: Path, *arguments: str, **environ: str) -> Result:
    environ = {"ANTHROPIC_BASE_URL": "", "ANTHROPIC_API_KEY": "", **environ}
    return CliRunner().invoke(byway, ["verify", "--data-dir", str(folder), *arguments], env=environ)


def test_nobody_is_there(tmp_path: Path) -> None:
    done = run(tmp_path, "--url", "http://127.0.0.1:9/anthropic")
    assert (done.exit_code, done.stdout) == (1, "")
    assert (
        "Connection refused (address)" in done.stderr and "byway up" in done.stderr and "backends[]" not in done.stderr
    )
    told = json.loads(run(tmp_path, "--json", ANTHROPIC_BASE_URL="http://127.0.0.1:9/anthropic").stdout)
    assert (told["url"], told["said"]) == ("http://127.0.0.1:9/anthropic", "Connection refused")


@pytest.mark.parametrize("elsewhere", ["https://api.anthropic.com", "http://10.0.0.1", "http://[", "nonsense", ""])
def test_without_a_byway_only_this_machine_is_asked(
    tmp_path: Path, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("byway.cli.verify._USUAL", "http://127.0.0.1:9")
    told = json.loads(run(tmp_path, "--json", ANTHROPIC_BASE_URL=elsewhere).stdout)
    assert told["url"] == "http://127.0.0.1:9/anthropic"


def test_what_is_no_url_and_no_key_is_said(tmp_path: Path) -> None:
    odd = run(tmp_path, "--url", "nonsense")
    assert odd.exit_code == 1 and "No such address" in odd.stderr and "HOST:PORT" in odd.stderr
    assert run(tmp_path, "--url", "http://127.0.0.1:9", ANTHROPIC_API_KEY="a\u2028b").exit_code == 2
