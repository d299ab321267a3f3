"""Verify against a running Byway: which layer failed, and what to do."""

from __future__ import annotations

import asyncio

import scripted
from gateway import Gateway, config
from scripted import Say, Scripted

from byway.admin.verify import Verdict, verify


def asked(gateway: Gateway, key: str = "any", model: str = "sonnet", limit: float = 5.0) -> Verdict:
    return asyncio.run(verify(f"{gateway.url}/anthropic", key, model, limit))


def test_a_working_gateway_is_connected() -> None:
    with Scripted([Say("Hi")]) as server, Gateway(config(server)) as gateway:
        found = asked(gateway)
    assert (found.good, found.summary, found.layer) == (True, "Connected", "")
    assert (found.model, found.backend, found.requested) == ("local", "one", "sonnet") and 0 < found.ms < 5000
    assert server.requests[0].json["max_tokens"] == 1


def test_a_wrong_key_and_a_key_without_the_scope() -> None:
    keys = [{"key": "the-right-key-0123"}, {"key": "a-reading-key-0123", "scopes": ["read"]}]
    with Scripted([]) as server, Gateway(config(server, api_keys={"api_keys": keys})) as gateway:
        wrong, unable = asked(gateway, "wrong"), asked(gateway, "a-reading-key-0123")
    assert (wrong.summary, wrong.layer) == ("Authentication failed", "credential") and "API -> Keys" in wrong.hint
    assert (unable.summary, unable.layer) == ("Key lacks a scope", "credential")


def test_a_model_that_no_backend_serves() -> None:
    with Scripted([]) as server:
        settings = config(server)
        settings["model_aliases"] = {"haiku": "one/local"}
        with Gateway(settings) as gateway:
            found = asked(gateway, model="gpt-9")
    assert (found.summary, found.layer) == ("Model not found", "model") and "default" in found.hint


def test_a_stopped_backend_is_reported_as_the_server() -> None:
    backends = [{"name": "gone", "type": "vllm", "url": "http://127.0.0.1:9", "models": ["m"]}]
    with Gateway({"backends": backends, "model_aliases": {"default": "gone/m"}}) as gateway:
        found = asked(gateway)
    assert (found.summary, found.layer) == ("Backend not responding", "server")
    assert "gone" in found.hint and found.message


def test_a_backend_that_rejects_the_api_key() -> None:
    refusal = scripted.openai_error(401, "bad key", "invalid_request_error")
    with Scripted([refusal]) as server, Gateway(config(server)) as gateway:
        found = asked(gateway)
    assert (found.summary, found.layer) == ("Backend rejected the API key", "server")


def test_a_slow_answer_times_out() -> None:
    with Scripted([Say("late", wait=3)]) as server, Gateway(config(server)) as gateway:
        found = asked(gateway, limit=0.5)
    assert (found.summary, found.layer) == ("Request timed out after 0.5 s", "server")
    assert "evicted" in found.hint and "CPU" in found.hint


def test_a_request_that_the_backend_rejects() -> None:
    with Scripted([scripted.openai_error(400, "what is this", "x")]) as server, Gateway(config(server)) as gateway:
        found = asked(gateway)
    assert (found.summary, found.layer, found.message) == (
        "Byway could not parse the request",
        "server",
        "what is this",
    )


def test_a_disabled_tcp_api_is_reported() -> None:
    with Scripted([]) as server, Gateway(config(server, server={"tcp": False})) as gateway:
        found = asked(gateway)
    assert (found.summary, found.layer) == ("The API is off over TCP", "address")
