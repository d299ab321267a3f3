"""Verify against a running Byway: which layer failed, and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
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


# --- what each answer of a model server means -------------------------------------------------------------------------

LM_STUDIO = "No models loaded. Please load a model in the developer page or use the `lms load` command."


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Scripted, Gateway]]:
    with Scripted([]) as server, Gateway(config(server)) as gateway:
        yield server, gateway


@pytest.mark.parametrize(
    ("status", "text", "summary", "advice"),
    [
        (400, LM_STUDIO, "No model is loaded", "lms load"),
        (404, LM_STUDIO, "No model is loaded", "lms load"),
        (503, LM_STUDIO, "No model is loaded", "lms load"),
        (404, "The model `local` does not exist.", "Model not found", "Quick Setup"),
        (429, "Rate limit exceeded, slow down.", "Rate limit reached", "second target"),
        (500, "CUDA out of memory. Tried to allocate 2.00 GiB.", "Backend failed", "too little memory"),
        (500, "Internal server error", "Backend failed", "Read its log"),
        (503, "The server is busy", "Backend is busy", "free capacity"),
        (503, "Loading model", "The model is loading", "Models shows the progress"),
        (401, "Incorrect API key provided", "Backend rejected the API key", "under Secrets"),
        (402, "Insufficient credit", "Account without credit", "credit"),
        (400, "what is this field", "Byway could not parse the request", "Update both"),
    ],
)
def test_each_error_of_a_model_server_has_its_own_result(
    shared: tuple[Scripted, Gateway], status: int, text: str, summary: str, advice: str
) -> None:
    server, gateway = shared
    server.play(lambda request: scripted.openai_error(status, text, "server_error"))
    result = verified(gateway)
    assert (result.good, result.summary, result.backend) == (False, summary, "one")
    assert result.fix or summary == "Byway could not parse the request"
    assert advice in result.hint and text[:20].strip() in result.message
