"""Verify against a running Byway: which layer failed, and what to do."""

from __future__ import annotations

import asyncio

import scripted
from gateway import Gateway, config
from scripted import Say, Scripted

from byway.admin.verify import Verdict, verify


def verified(gateway: Gateway, key: str = "any", model: str = "sonnet", limit: float = 5.0) -> Verdict:
    return asyncio.run(verify(f"{gateway.url}/anthropic", key, model, limit))


def test_a_working_gateway_is_connected() -> None:
    with Scripted([Say("Hi")]) as server, Gateway(config(server)) as gateway:
        result = verified(gateway)
    assert (result.good, result.summary, result.layer) == (True, "Connected", "")
    assert (result.model, result.backend, result.requested) == ("local", "one", "sonnet") and 0 < result.ms < 5000
    assert server.requests[0].json["max_tokens"] == 1


def test_a_wrong_key_and_a_key_without_the_scope() -> None:
    keys = [{"key": "the-right-key-0123"}, {"key": "a-reading-key-0123", "scopes": ["read"]}]
    with Scripted([]) as server, Gateway(config(server, api_keys={"api_keys": keys})) as gateway:
        wrong, unable = verified(gateway, "wrong"), verified(gateway, "a-reading-key-0123")
    assert (wrong.summary, wrong.layer) == ("Authentication failed", "credential") and "API -> Keys" in wrong.hint
    assert (unable.summary, unable.layer) == ("Key lacks a scope", "credential")


def test_a_model_that_no_backend_serves() -> None:
    with Scripted([]) as server:
        settings = config(server)
        settings["model_aliases"] = {"haiku": "one/local"}
        with Gateway(settings) as gateway:
            result = verified(gateway, model="gpt-9")
    assert (result.summary, result.layer) == ("Model not found", "model") and "default" in result.hint


def test_a_stopped_backend_is_reported_as_the_server() -> None:
    backends = [{"name": "gone", "type": "vllm", "url": "http://127.0.0.1:9", "models": ["m"]}]
    with Gateway({"backends": backends, "model_aliases": {"default": "gone/m"}}) as gateway:
        result = verified(gateway)
    assert (result.summary, result.layer) == ("Backend not responding", "server")
    assert "gone" in result.hint and result.message


def test_a_backend_that_rejects_the_api_key() -> None:
    refusal = scripted.openai_error(401, "bad key", "invalid_request_error")
    with Scripted([refusal]) as server, Gateway(config(server)) as gateway:
        result = verified(gateway)
    assert (result.summary, result.layer) == ("Backend rejected the API key", "server")


def test_a_slow_answer_times_out() -> None:
    with Scripted([Say("late", wait=3)]) as server, Gateway(config(server)) as gateway:
        result = verified(gateway, limit=0.5)
    assert (result.summary, result.layer) == ("Request timed out after 0.5 s", "server")
    assert "evicted" in result.hint and "CPU" in result.hint


def test_a_request_that_the_backend_rejects() -> None:
    with Scripted([scripted.openai_error(400, "what is this", "x")]) as server, Gateway(config(server)) as gateway:
        result = verified(gateway)
    assert (result.summary, result.layer, result.message) == (
        "Byway could not parse the request",
        "server",
        "what is this",
    )


def test_a_disabled_tcp_api_is_reported() -> None:
    with Scripted([]) as server, Gateway(config(server, server={"tcp": False})) as gateway:
        result = verified(gateway)
    assert (result.summary, result.layer) == ("The API is off over TCP", "address")
