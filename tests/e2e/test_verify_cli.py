"""`byway verify` against a running Byway."""

from __future__ import annotations

import json

from beside import command
from gateway import Gateway, config
from scripted import Say, Scripted

KEY = "the-right-key-0123"


def test_a_connection_is_reported_with_model_and_time() -> None:
    with Scripted(lambda request: Say("Hi")) as server, Gateway(config(server)) as gateway:
        done = command(gateway, "verify")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("Connected: local (backend one) answered sonnet in ")
        body = json.loads(command(gateway, "verify", "--json", "--model", "blue").stdout)
        assert (body["good"], body["summary"], body["requested"], body["model"]) == (True, "Connected", "blue", "local")
        assert body["url"] == f"{gateway.url}/anthropic"
        named = command(gateway, "verify", "--url", gateway.url, "--data-dir", str(gateway.home / "nothing"))
        assert named.returncode == 0


def test_the_key_is_read_from_the_environment_or_stdin_and_never_shown() -> None:
    keys = {"api_keys": [{"key": KEY}]}
    with Scripted(lambda request: Say("Hi")) as server, Gateway(config(server, api_keys=keys)) as gateway:
        assert command(gateway, "verify", ANTHROPIC_API_KEY=KEY).returncode == 0
        assert command(gateway, "verify", "--key", stdin=f"{KEY}\n").returncode == 0
        without = command(gateway, "verify")
        wrong = command(gateway, "verify", "--key", stdin="some-wrong-key-0123", ANTHROPIC_API_KEY=KEY)
    for done in (without, wrong):
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("byway: Authentication failed (credential) at http://127.0.0.1:")
        assert (
            "To fix:  Use a valid key" in done.stderr and "some-wrong-key" not in done.stderr and KEY not in done.stderr
        )


def test_without_a_tcp_address_the_socket_is_used() -> None:
    with Scripted(lambda request: Say("Hi")) as server, Gateway(config(server)) as gateway:
        (gateway.home / "data" / "address").write_text("")
        body = json.loads(command(gateway, "verify", "--json").stdout)
    assert body["good"] and body["url"].startswith("unix:") and body["model"] == "local"


def test_a_stopped_backend_and_a_missing_model() -> None:
    backends = [{"name": "gone", "type": "vllm", "url": "http://127.0.0.1:9", "models": ["m"]}]
    with Gateway({"backends": backends, "model_aliases": {"sonnet": "gone/m"}}) as gateway:
        dead = command(gateway, "verify")
        missing = command(gateway, "verify", "--model", "gpt-9", "--json")
    assert dead.returncode == 1 and "Backend not responding (server)" in dead.stderr and "gone" in dead.stderr
    body = json.loads(missing.stdout)
    assert missing.returncode == 1 and (body["summary"], body["layer"]) == ("Model not found", "model") and body["hint"]
