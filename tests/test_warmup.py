"""Requests with `max_tokens: 0`, with `compaction`, and with `safeguards` where no classifier is set."""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_targets import Network, ask, chat_answer, runtime

from byway.messages.request import Request, parse
from byway.problems import Problem

SAFEGUARDS = [{"type": "dangerous_tool_use", "classifier_context": {"v": 1}}, {"type": "later"}]
UNSUPPORTED = [
    {"type": "dangerous_tool_use", "status": {"type": "unsupported"}},
    {"type": "later", "status": {"type": "unsupported"}},
]
CALL = {"type": "tool_use", "id": "toolu_1", "name": "SubagentHandback", "input": {"summary": "Done."}}


def request(**fields: Any) -> Request:
    body = {"model": "sonnet", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}], **fields}
    return parse(json.dumps(body).encode(), {}, "msg_1")


def test_safeguards_without_a_classifier_are_answered_as_unsupported() -> None:
    network = Network((200, chat_answer({"prompt_tokens": 5, "completion_tokens": 1})))
    answer, record = ask(runtime("one"), request(safeguards=SAFEGUARDS), one=network)
    assert answer["safeguard_results"] == UNSUPPORTED
    assert answer["content"][0]["text"] == "Hello"
    assert record.tries == 1 and b"safeguards" not in network.calls[0].body


def test_an_answer_to_a_request_without_safeguards_has_no_results() -> None:
    answer, _ = ask(runtime("one"), request(), one=Network((200, chat_answer(None))))
    assert "safeguard_results" not in answer


def test_a_request_for_no_tokens_gets_an_empty_answer() -> None:
    """Servers make one token at least; their prompt cache is filled all the same."""
    network = Network((200, chat_answer({"prompt_tokens": 5, "completion_tokens": 1})))
    answer, record = ask(runtime("one"), request(max_tokens=0), one=network)
    assert (answer["content"], answer["stop_reason"]) == ([], "max_tokens")
    assert answer["usage"]["input_tokens"] == 5 and answer["usage"]["output_tokens"] == 0
    assert json.loads(network.calls[0].body)["max_tokens"] == 1 and record.tries == 1


def test_a_review_of_the_last_call_needs_no_turn_of_the_model() -> None:
    network = Network((500, b"the model must not be called"))
    messages = [{"role": "user", "content": "Do it"}, {"role": "assistant", "content": [CALL]}]
    answer, _ = ask(runtime("one"), request(max_tokens=0, safeguards=SAFEGUARDS, messages=messages), one=network)
    assert answer["content"] == [] and answer["safeguard_results"] == UNSUPPORTED
    assert not network.calls


def test_a_failed_backend_is_still_an_error_when_no_tokens_are_wanted() -> None:
    with pytest.raises(Problem, match="broken down"):
        ask(runtime("one"), request(max_tokens=0), one=Network((400, {"error": {"message": "broken down"}})))


TOOL = {"name": "look", "input_schema": {"type": "object"}}


@pytest.mark.parametrize("stream", [False, True])
def test_a_compaction_is_a_block_with_the_summary_of_the_model(stream: bool) -> None:
    network = Network((200, chat_answer({"prompt_tokens": 50, "completion_tokens": 9})))
    wanted = request(compaction={"type": "summarize"}, tools=[TOOL], tool_choice={"type": "any"}, stream=stream)
    answer, record = ask(runtime("one"), wanted, one=network)
    assert answer["content"] == [{"type": "compaction", "content": "Hello"}] and answer["stop_reason"] == "compaction"
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"], record.tries) == (50, 9, 1)
    sent = json.loads(network.calls[0].body)
    assert sent["messages"][0]["content"].startswith("Hi\n\nSummarize the conversation")
    assert sent["tool_choice"] == "none" and len(sent["tools"]) == 1 and "compaction" not in sent


def test_the_instructions_of_a_compaction_replace_those_of_byway() -> None:
    network = Network((200, chat_answer(None)))
    ask(runtime("one"), request(compaction={"type": "summarize", "instructions": "In one word."}), one=network)
    assert json.loads(network.calls[0].body)["messages"][0]["content"] == "Hi\n\nIn one word."


@pytest.mark.parametrize("wrong", [{"type": "later"}, {"type": "summarize", "instructions": 5}, "yes"])
def test_a_compaction_of_another_kind_is_rejected_with_its_path(wrong: Any) -> None:
    network = Network((200, chat_answer(None)))
    with pytest.raises(Problem, match=r"^compaction") as caught:
        ask(runtime("one"), request(compaction=wrong), one=network)
    assert caught.value.status == 400 and not network.calls


def test_no_compaction_is_an_ordinary_request() -> None:
    answer, _ = ask(runtime("one"), request(compaction=None), one=Network((200, chat_answer(None))))
    assert answer["stop_reason"] == "end_turn"
