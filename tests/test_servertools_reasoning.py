"""Server tools that Byway runs: the reasoning of each turn goes back to the model in the next one, as its vendor requires."""

from __future__ import annotations

import json
import os
from typing import Any, cast

import pytest
import responsesfake as fake
from loaded import loaded
from test_servertools import FETCH, NAMED, PAGE, SAYS, SEARCH, FakeFetcher, FakeSearcher
from test_targets import Network, ask
from test_tool_search import DEFERRED, REGEX, calls, request

from byway.runtime import Runtime

ENCRYPTED: dict[str, Any] = {"type": "reasoning.encrypted", "data": "c2VjcmV0", "id": "r1", "index": 0}
SEARCH_CALL = fake.call("call_1", REGEX["name"], '{"pattern":"weather"}')


def at_model(vendor: str, model: str, **sections: Any) -> Runtime:
    """A runtime whose only model is `model` at a server of this type."""
    backend = {"name": "one", "type": vendor, "url": "http://127.0.0.1:9", "models": [model], "api_key": "sk-test"}
    at = Runtime(loaded({"backends": [backend], "web_fetch": {"enabled": True}, **sections}))
    at.searcher = cast(Any, FakeSearcher())
    at.fetcher = cast(Any, FakeFetcher())
    return at


def turn(name: str, arguments: Any, *, extra: Any = None, **fields: Any) -> tuple[int, Any]:
    """An answer that calls a tool, with more fields of its message and of its call."""
    value = calls(name, arguments)
    value["choices"][0]["message"].update(fields)
    if extra is not None:
        value["choices"][0]["message"]["tool_calls"][0]["extra_content"] = extra
    return 200, value


def second_turn(at: Runtime, first: tuple[int, Any], *tools: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The body of the request that follows the `first` answer."""
    network = Network(first, SAYS)
    ask(at, request(*(tools or (REGEX, *DEFERRED)), thinking={"type": "adaptive"}, **fields), one=network)
    assert len(network.calls) == 2
    return cast(dict[str, Any], json.loads(network.calls[1].body))


def assistant(body: dict[str, Any]) -> dict[str, Any]:
    (message,) = [message for message in body["messages"] if message["role"] == "assistant"]
    return cast(dict[str, Any], message)


def searched(**fields: Any) -> tuple[int, Any]:
    return turn(REGEX["name"], {"pattern": "weather"}, **fields)


@pytest.mark.parametrize(
    ("tools", "name", "arguments"),
    [
        ((REGEX, *DEFERRED), REGEX["name"], {"pattern": "weather"}),
        ((SEARCH,), "web_search", {"query": "oslo"}),
        ((FETCH,), "web_fetch", {"url": PAGE}),
    ],
    ids=["tool search", "web search", "web fetch"],
)
def test_deepseek_keeps_thinking_after_a_server_tool(tools: Any, name: str, arguments: dict[str, Any]) -> None:
    first = turn(name, arguments, reasoning_content="A look first.")
    body = second_turn(at_model("deepseek", "deepseek-v4-pro"), first, *tools, messages=NAMED)
    assert assistant(body)["reasoning_content"] == "A look first."
    assert body["thinking"] == {"type": "enabled"}


def test_each_turn_returns_the_reasoning_of_all_turns_before() -> None:
    first, second = searched(reasoning_content="One."), searched(reasoning_content="Two.", content="Again.")
    network = Network(first, second, SAYS)
    sent = request(REGEX, *DEFERRED, thinking={"type": "adaptive"})
    answer, _ = ask(at_model("deepseek", "deepseek-v4-pro"), sent, one=network)
    messages = [message for message in json.loads(network.calls[2].body)["messages"] if message["role"] == "assistant"]
    assert [(message["reasoning_content"], message["content"]) for message in messages] == [
        ("One.", ""),
        ("Two.", "Again."),
    ]
    assert [block["thinking"] for block in answer["content"] if block["type"] == "thinking"] == ["One.", "Two."]


def test_an_injected_search_returns_reasoning_too() -> None:
    settings = {"enabled": True, "provider": "searxng", "base_url": "http://127.0.0.1:9", "inject": "always"}
    at = at_model("deepseek", "deepseek-v4-pro", web_search=settings)
    first = turn("web_search", {"query": "oslo"}, reasoning_content="A look first.")
    own = {"name": "get_weather", "input_schema": {"type": "object"}}
    assert assistant(second_turn(at, first, own))["reasoning_content"] == "A look first."


def test_kimi_gets_its_reasoning_instead_of_a_blank() -> None:
    body = second_turn(at_model("moonshot", "kimi-k2-thinking"), searched(reasoning_content="A look first."))
    assert assistant(body)["reasoning_content"] == "A look first."


def test_gemini_gets_the_signature_of_its_call_instead_of_the_sentinel() -> None:
    """The signature is too long for the id of the call."""
    signed = {"google": {"thought_signature": os.urandom(300).hex()}}
    body = second_turn(at_model("gemini", "gemini-3-pro"), searched(extra=signed))
    assert assistant(body)["tool_calls"][0]["extra_content"] == signed


@pytest.mark.parametrize("model", ["google/gemini-3-pro", "moonshotai/kimi-k2-thinking"])
def test_openrouter_gets_its_reasoning_details_and_the_call(model: str) -> None:
    details = [ENCRYPTED | {"data": os.urandom(300).hex()}]
    message = assistant(second_turn(at_model("openrouter", model), searched(reasoning_details=details)))
    assert message["reasoning_details"] == details
    assert [call["function"]["name"] for call in message["tool_calls"]] == [REGEX["name"]]


def responses_input(*output: dict[str, Any]) -> list[dict[str, Any]]:
    """The items of the request that follows the `output` of the first turn, by OpenAI's Responses API."""
    network = Network((200, fake.whole(*output)), (200, fake.whole(fake.message("Rain."))))
    sent = request(REGEX, *DEFERRED, thinking={"type": "adaptive"})
    answer, _ = ask(at_model("openai", "gpt-5.6"), sent, one=network)
    assert answer["content"][-1]["text"] == "Rain."
    assert all(call.path == "/v1/responses" for call in network.calls)
    return cast(list[dict[str, Any]], fake.check_request(network.calls[1].body)["input"])


@pytest.mark.parametrize("summary", ["A look first.", ""], ids=["with a summary", "without a summary"])
def test_openai_gets_the_encrypted_reasoning_item_before_its_call(summary: str) -> None:
    items = responses_input(fake.reasoning(*[summary] if summary else []), SEARCH_CALL)
    assert [item["type"] for item in items] == ["message", "reasoning", "function_call", "function_call_output"]
    assert items[1]["encrypted_content"] == "gAAAAenc"
    assert [part["text"] for part in items[1]["summary"]] == ([summary] if summary else [])


def test_the_order_of_reasoning_texts_and_calls_is_kept() -> None:
    items = responses_input(
        fake.reasoning("A.", encrypted="gAAAAone"),
        fake.message("I look.", phase="commentary"),
        SEARCH_CALL,
        fake.reasoning(encrypted="gAAAAtwo"),
        fake.call("call_2", REGEX["name"], '{"pattern":"slack"}'),
    )
    assert [item["type"] for item in items[1:6]] == [
        "reasoning",
        "message",
        "function_call",
        "reasoning",
        "function_call",
    ]
    assert [item["encrypted_content"] for item in items if item["type"] == "reasoning"] == ["gAAAAone", "gAAAAtwo"]
    assert items[2]["phase"] == "commentary" and [item["call_id"] for item in items[-2:]] == ["call_1", "call_2"]
