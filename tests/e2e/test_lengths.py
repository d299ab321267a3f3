"""max_tokens above the limit of a model is lowered once a backend has named the limit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gateway import Answer, Gateway, config
from scripted import Asked, Reply, Say, Scripted, anthropic_error, openai_error

LIMIT = 4096
TOO_LARGE = f"max_tokens is too large: 32000. This model supports at most {LIMIT} completion tokens, whereas you provided 32000."


def limited(request: Asked) -> Say | Reply:
    """A server with a longest answer, and a window of 8192 of which the prompt takes 8000."""
    most = request.json["max_tokens"]
    if most > LIMIT:
        return openai_error(400, TOO_LARGE, "invalid_request_error", "invalid_value")
    if "long" in str(request.json["messages"]) and most > 192:
        return openai_error(
            400,
            f"'max_tokens' is too large: {most}. This model's maximum context length is 8192 tokens and your request has "
            f"8000 input tokens ({most} > 8192 - 8000).",
            "BadRequestError",
        )
    return Say("hi")


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted(limited) as server:
        yield server


def ask(gateway: Gateway, text: str = "Hi", **fields: object) -> Answer:
    body = {"model": "sonnet", "max_tokens": 32000, "messages": [{"role": "user", "content": text}], **fields}
    return gateway.post(body)


def requested(server: Scripted) -> list[int]:
    return [request.json["max_tokens"] for request in server.requests if request.method == "POST"]


def test_the_longest_answer_is_learned_from_one_refusal_that_the_client_never_sees(server: Scripted) -> None:
    with Gateway(config(server)) as gateway:
        for stream in (True, False, True):
            assert ask(gateway, stream=stream).status == 200
        assert ask(gateway, max_tokens=100).status == 200
    assert requested(server) == [32000, LIMIT, LIMIT, LIMIT, 100]


def test_a_too_large_max_tokens_is_reduced_and_retried(server: Scripted) -> None:
    with Gateway(config(server)) as gateway:
        assert ask(gateway, "long", max_tokens=1000).status == 200
        assert ask(gateway, max_tokens=1000).status == 200
    assert requested(server) == [1000, 192, 1000], "what one prompt leaves is no limit for the next"


def test_a_server_that_keeps_rejecting_is_not_retried_without_end() -> None:
    with (
        Scripted(lambda _: openai_error(400, TOO_LARGE, "invalid_request_error")) as server,
        Gateway(config(server)) as gateway,
    ):
        answer = ask(gateway)
        assert answer.status == 400 and TOO_LARGE in answer.json["error"]["message"]
    assert requested(server) == [32000, LIMIT]


def test_anthropics_clients_do_that_themselves() -> None:
    refusal = "max_tokens: 128000 > 64000, which is the maximum allowed number of output tokens for claude-sonnet-5"
    with (
        Scripted(lambda _: anthropic_error(400, "invalid_request_error", refusal)) as server,
        Gateway(config(server, type="anthropic")) as gateway,
    ):
        assert refusal in ask(gateway).json["error"]["message"]
    assert requested(server) == [32000]
