"""A key that is limited to models: what its patterns match, what it gets for another model, and the models it sees."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest

from byway.config import load
from byway.gateway import Gateway
from byway.problems import Problem
from byway.routing.permission import is_permitted, permitted_targets
from byway.routing.route import TargetName, TargetRoute
from byway.runtime import Runtime
from byway.server.app import App
from byway.store import KeyRecord

CONFIG = """
api_keys: {mode: blocking}
backends:
  - {name: local, type: generic, url: "http://127.0.0.1:9", models: [qwen3, coder]}
  - {name: cloud, type: generic, url: "http://127.0.0.1:9", models: [gpt-x, claude-opus-5-5]}
model_aliases: {haiku: local/qwen3, opus: [cloud/claude-opus-5-5, local/coder], default: cloud/gpt-x}
"""
KEY = "sk-byway-0123456789abcdef"
LOCAL, CLOUD = TargetName("local", "coder"), TargetName("cloud", "claude-opus-5-5")


@pytest.mark.parametrize(
    ("patterns", "requested", "alias", "left"),
    [
        (("opus",), "claude-opus-4-1", "opus", [CLOUD, LOCAL]),
        (("claude-opus-4-1",), "claude-opus-4-1", "opus", [CLOUD, LOCAL]),
        (("claude-opus-4-1",), "claude-opus-4-1[1m]", "opus", [CLOUD, LOCAL]),
        (("claude-opus-4-1[1m]",), "claude-opus-4-1[1m]", "opus", [CLOUD, LOCAL]),
        (("claude-*",), "claude-opus-4-1", "opus", [CLOUD, LOCAL]),
        (("local/*",), "claude-opus-4-1", "opus", [LOCAL]),
        (("coder", "haiku"), "claude-opus-4-1", "opus", [LOCAL]),
        (("cloud/claude-opus-5-5",), "claude-opus-4-1", "opus", [CLOUD]),
        (("haiku",), "claude-opus-4-1", "opus", []),
        (("*",), "claude-opus-4-1", "opus", [CLOUD, LOCAL]),
        # Every model has a name with this prefix: a pattern must not match it in place of the model's own name.
        (("claude-byway-*",), "claude-byway-coder", "", []),
        (("co*",), "claude-byway-coder", "", [LOCAL]),
        (("",), "claude-opus-4-1", "opus", []),
        (("",), "", "", []),
    ],
)
def test_patterns_match_the_requested_name_the_alias_or_the_targets(
    patterns: tuple[str, ...], requested: str, alias: str, left: list[TargetName]
) -> None:
    route = TargetRoute((CLOUD, LOCAL), alias)
    if left:
        assert list(permitted_targets(patterns, requested, route)) == left
        return
    with pytest.raises(Problem) as caught:
        permitted_targets(patterns, requested, route)
    assert caught.value.kind == "not_found"
    assert f"It may use: {', '.join(patterns)}." in caught.value.message


def test_a_long_list_of_models_is_cut_in_the_error() -> None:
    patterns = tuple(f"m{at}" for at in range(25))
    with pytest.raises(Problem, match="m18, m19 and 5 more"):
        permitted_targets(patterns, "x", TargetRoute((LOCAL,)))


def test_a_name_in_brackets_matches_itself() -> None:
    assert is_permitted(("m[1m]",), "m[1m]") and not is_permitted(("m[1m]",), "m[2m]")


class Client:
    """A client in this process, whose key is limited to `models`."""

    def __init__(self, *models: str) -> None:
        digest = hashlib.sha256(KEY.encode()).digest()
        record = KeyRecord("key_a", "laptop", digest, ("read", "write"), None, False, models=models)
        self.app = App(Gateway(Runtime(load(CONFIG, {}), stored=[record])))

    def __call__(self, method: str, path: str, **fields: Any) -> tuple[int, Any]:
        sent: list[Any] = []
        body = {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], **fields}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps(body).encode() if fields else b""}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"x-api-key", KEY.encode()), (b"user-agent", b"test (external, cli)")]
        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
        scope |= {"server": ("127.0.0.1", 38080), "client": ("127.0.0.1", 5555)}
        asyncio.run(self.app(scope, receive, send))
        return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


@pytest.mark.parametrize(
    "path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions", "/v1/embeddings"]
)
@pytest.mark.parametrize("model", ["gpt-x", "claude-sonnet-5", "cloud/gpt-x", "claude-byway-gpt-x", "nonsense"])
def test_a_request_for_another_model_is_refused_with_the_models_of_the_key(path: str, model: str) -> None:
    status, body = Client("haiku", "local/*")("POST", path, model=model)
    assert status == 404
    assert body["error"]["message"] == (
        f"model: this key may not use {model}. It may use: haiku, local/*. Choose one of these, or use another key."
    )


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "haiku", "coder", "local/coder", "claude-byway-coder", "opus"])
def test_a_request_for_a_model_of_the_key_is_answered(model: str) -> None:
    # The backend does not run, so Byway estimates the count.
    assert Client("haiku", "local/*")("POST", "/v1/messages/count_tokens", model=model)[0] == 200


def test_claude_code_gets_the_refusal_with_a_status_whose_message_it_shows() -> None:
    status, body = Client("haiku")("POST", "/v1/messages", model="gpt-x", stream=True)
    assert status == 424 and "It may use: haiku." in body["error"]["message"]


def test_a_key_without_a_list_of_models_may_use_every_model() -> None:
    assert Client()("POST", "/v1/messages/count_tokens", model="gpt-x")[0] == 200


@pytest.mark.parametrize(
    ("models", "listed"),
    [
        (("haiku",), ["claude-haiku"]),
        (("local/*",), ["qwen3", "claude-byway-qwen3", "coder", "claude-byway-coder", "claude-haiku", "claude-opus"]),
        (("cloud/gpt-x",), ["gpt-x", "claude-byway-gpt-x"]),
        (("none",), []),
    ],
)
def test_only_the_models_of_the_key_are_listed(models: tuple[str, ...], listed: list[str]) -> None:
    client = Client(*models)
    status, body = client("GET", "/v1/models")
    assert (status, [model["id"] for model in body["data"]]) == (200, listed)
    for name in ("qwen3", "gpt-x", "claude-haiku"):
        status, body = client("GET", f"/v1/models/{name}")
        assert (status == 200) == (name in listed), name
