"""Verdicts of auto mode in whole requests: each tool call is judged, and the answer's end carries the verdicts."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import msgspec
import pytest
from strict import check_event
from test_targets import Answered, Network, ask, chat_answer

from byway import config
from byway.backends.vendors import VENDORS
from byway.call import Call
from byway.messages import sse
from byway.messages.request import Request, parse
from byway.pipeline import exchange
from byway.pipeline.reply import HeldReply, Record
from byway.problems import Problem
from byway.runtime import Runtime

ALLOWED = {"type": "evaluated", "outcome": "not_flagged"}
UNAVAILABLE = {"type": "unavailable", "reason": "error"}
KINDS = [{"type": "dangerous_tool_use"}, {"type": "other"}]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once."""
    monkeypatch.setattr("byway.pipeline.targets._PAUSE", 0.0)


def at_work(**safeguards: Any) -> Runtime:
    backends = [
        {"name": name, "type": kind, "url": "http://127.0.0.1:9", "models": [model]}
        for name, kind, model in (
            ("one", "generic", "local"),
            ("cloud", "anthropic", "claude-x"),
            ("judge", "vllm", "local"),
        )
    ]
    settings = {
        "backends": backends,
        "model_aliases": {"default": "one/local", "claude-x": "cloud/claude-x"},
        "safeguards": safeguards or {"classifier": "judge/local"},
    }
    return Runtime(config.load(json.dumps(settings), {}))


def request(**fields: Any) -> Request:
    body = {
        "model": "sonnet",
        "max_tokens": 99,
        "messages": [{"role": "user", "content": "Tidy up."}],
        "tools": [{"name": name, "input_schema": {"type": "object"}} for name in ("Bash", "Read")],
        "safeguards": KINDS,
        **fields,
    }
    return parse(json.dumps(body).encode(), {"anthropic-version": "2023-06-01"}, "msg_1")


def calls(*pairs: tuple[str, dict[str, Any]]) -> tuple[int, Any]:
    entries = [
        {"id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
        for at, (name, given) in enumerate(pairs)
    ]
    return 200, {"choices": [{"message": {"content": None, "tool_calls": entries}, "finish_reason": "tool_calls"}]}


def says(text: str) -> tuple[int, Any]:
    answer = chat_answer({"prompt_tokens": 30, "completion_tokens": 3})
    answer["choices"][0]["message"]["content"] = text
    return 200, answer


ALLOW = says('{"reason":"Fine.","rule":"","verdict":"allow"}')
BLOCK = says('{"reason":"Bad.","rule":"no rm","verdict":"block"}')


def tool_verdicts(answer: dict[str, Any]) -> dict[str, Any]:
    """The verdict of each tool call by the call's command."""
    status, other = answer["safeguard_results"]
    assert other == {"type": "other", "status": {"type": "unsupported"}}
    assert (status["type"], status["status"]["type"]) == ("dangerous_tool_use", "available")
    names = {block["id"]: block["input"].get("command", block["name"]) for block in answer["content"]}
    return {names[id]: verdict for id, verdict in status["status"]["tool_uses"].items()}


class Judge(Network):
    """Allows or blocks a call by the words in it."""

    async def open(self, call: Call) -> Answered:
        self.calls.append(call)
        question = json.loads(call.body)["messages"][-1]["content"].partition("<call>")[2]
        status, body = BLOCK if "rm -rf" in question else ALLOW
        return Answered(status, json.dumps(body).encode())


def test_each_call_gets_its_own_verdict_and_harmless_tools_get_none() -> None:
    judge = Judge()
    network = Network(calls(("Bash", {"command": "ls"}), ("Bash", {"command": "rm -rf /"}), ("Read", {})))
    answer, record = ask(at_work(), request(), one=network, judge=judge)
    assert tool_verdicts(answer) == {
        "ls": ALLOWED,
        "rm -rf /": {"type": "evaluated", "outcome": "flagged", "explanation": "Bad.", "cited_rule": "no rm"},
        "Read": {"type": "skipped"},
    }
    assert answer["stop_reason"] == "tool_use" and len(judge.calls) == 2
    assert record.backend == "one", "the record is that of the request, not of its verdicts"
    assert "safeguards" not in json.loads(network.calls[0].body)


@pytest.mark.parametrize(
    "reply",
    [says("I would allow it."), says('{"verdict":"maybe"}'), (500, {"error": {"message": "down"}}), (200, b"<html>")],
)
def test_without_a_clear_verdict_a_call_is_unavailable(reply: tuple[int, Any]) -> None:
    answer, _ = ask(at_work(), request(), one=Network(calls(("Bash", {"command": "ls"}))), judge=Network(reply))
    assert tool_verdicts(answer) == {"ls": UNAVAILABLE}


def test_a_call_that_is_too_long_is_not_judged() -> None:
    judge = Judge()
    command = "x" * 70_000
    answer, _ = ask(at_work(), request(), one=Network(calls(("Bash", {"command": command}))), judge=judge)
    assert tool_verdicts(answer) == {command: UNAVAILABLE} and not judge.calls


def test_a_classifier_that_does_not_answer_in_time_gives_no_verdict() -> None:
    class Hanging(Network):
        async def open(self, call: Call) -> Answered:
            await asyncio.Event().wait()
            raise AssertionError

    at = at_work(classifier="judge/local", timeout="50ms")
    answer, _ = ask(at, request(), one=Network(calls(("Bash", {"command": "ls"}))), judge=Hanging())
    assert tool_verdicts(answer) == {"ls": UNAVAILABLE}


def test_at_most_four_calls_are_judged_at_a_time() -> None:
    class Counting(Judge):
        now = most = 0

        async def open(self, call: Call) -> Answered:
            self.now += 1
            self.most = max(self.most, self.now)
            for _ in range(20):
                await asyncio.sleep(0)
            self.now -= 1
            return await super().open(call)

    judge = Counting()
    network = Network(calls(*[("Bash", {"command": f"echo {number}"}) for number in range(9)]))
    answer, _ = ask(at_work(), request(), one=network, judge=judge)
    assert tool_verdicts(answer) == {f"echo {number}": ALLOWED for number in range(9)} and judge.most == 4


def test_without_a_classifier_the_client_decides_by_itself() -> None:
    at = at_work(classifier="")
    answer, _ = ask(at, request(), one=Network(calls(("Bash", {"command": "ls"}))), judge=Judge())
    assert answer["safeguard_results"] == [
        {"type": name, "status": {"type": "unsupported"}} for name in ("dangerous_tool_use", "other")
    ]


@pytest.fixture
def compatible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `cloud` a server with the Messages API, but without a classifier of its own."""
    row = msgspec.structs.replace(VENDORS["anthropic"], runs_classifier=False)
    monkeypatch.setitem(cast(dict[str, Any], VENDORS), "anthropic", row)


USE = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "rm -rf /"}}
MESSAGE = {
    "id": "msg_9",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [USE],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 2},
}


def stream(*events: dict[str, Any]) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode()) for event in events
    )


@pytest.mark.usefixtures("compatible")
def test_calls_of_an_answer_that_passes_through_are_judged_too() -> None:
    judge = Judge()
    answer, _ = ask(at_work(), request(model="claude-x"), cloud=Network((200, MESSAGE)), judge=judge)
    assert tool_verdicts(answer)["rm -rf /"]["outcome"] == "flagged" and answer["content"] == [USE]


@pytest.mark.usefixtures("compatible")
def test_a_stream_that_passes_through_carries_the_verdicts_in_its_end() -> None:
    use = {**USE, "input": {}}
    body = stream(
        {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "I tidy."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": use},
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": '{"command"'},
        },
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": ':"rm -rf /"}'},
        },
        {"type": "content_block_stop", "index": 1},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {"output_tokens": 2},
        },
        {"type": "message_stop"},
    )
    at = at_work()
    at.backends["cloud"].upstream = cast(Any, Network((200, body)))
    at.backends["judge"].upstream = cast(Any, Judge())
    held = HeldReply()
    asyncio.run(exchange.answer(at, request(model="claude-x", stream=True), held, Record()))
    lines = sse.encode(held.parts).decode().splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert [event["type"] for event in events][-2:] == ["message_delta", "message_stop"]
    results = events[-2]["delta"].pop("safeguard_results")
    assert results[0]["status"]["tool_uses"]["toolu_1"]["outcome"] == "flagged"
    for event in events:
        check_event(event)


@pytest.mark.usefixtures("compatible")
@pytest.mark.parametrize("content", [[{"id": "x"}], [5], None])
def test_an_answer_whose_calls_cannot_be_read_is_broken(content: Any) -> None:
    broken = {**MESSAGE, "content": content}
    with pytest.raises(Problem) as caught:
        ask(at_work(), request(model="claude-x"), cloud=Network((200, broken)), judge=Judge())
    assert caught.value.kind == "broken"
