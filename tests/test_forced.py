"""Forced tool choices at servers that ignore them: the second turn that requests the call as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from byway.backends.openai import completions
from byway.backends.protocol import Target
from byway.backends.vendors import VENDORS
from byway.messages.events import Part
from byway.messages.request import Request, parse
from byway.messages.stream import fold
from byway.pipeline import forced

READ = {
    "name": "Read",
    "description": "Reads a file.",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
}
BASH = {"name": "Bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}


def request(**fields: Any) -> Request:
    body = {"model": "m", "max_tokens": 64, "stream": True, "messages": [{"role": "user", "content": "Read a.txt"}]}
    return parse(json.dumps({**body, "tools": [READ, BASH], **fields}).encode(), {}, "msg_1")


def target(vendor: str = "lmstudio", tools: bool | None = None) -> Target:
    return Target("box", "local", VENDORS[vendor], tools=tools)


def answered(value: Request, at: Target, **message: Any) -> list[Part]:
    """The events of a server's whole answer."""
    reply = {
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4},
    }
    reader = completions.reader(value, at)
    return [*reader.feed(json.dumps(reply).encode()), *reader.close()]


def sent(value: Request, at: Target) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(completions.request(value, at).body)
    return body


CALL = {"id": "call_1", "function": {"name": "Read", "arguments": '{"path":"a.txt"}'}}
NAMED = {"type": "tool", "name": "Read"}


@pytest.mark.parametrize("choice", [None, {"type": "auto"}, {"type": "none"}])
def test_a_free_tool_choice_needs_no_step(choice: dict[str, str] | None) -> None:
    assert forced.step(request(tool_choice=choice), target()) is None


def test_a_server_that_obeys_forced_choices_needs_no_step() -> None:
    assert forced.step(request(tool_choice={"type": "any"}), target("vllm")) is None
    assert forced.step(request(tool_choice={"type": "any"}), target("anthropic")) is None


def test_a_call_in_the_first_turn_is_the_answer() -> None:
    step = forced.step(request(tool_choice={"type": "any"}), target())
    assert step is not None
    assert sent(step.request, target())["tool_choice"] == "required"
    events = answered(step.request, target(), tool_calls=[CALL])
    assert step.next(events) is events


@pytest.mark.parametrize(
    "message", [{"content": "I would read it."}, {"tool_calls": [{**CALL, "function": {"name": "Bash"}}]}]
)
def test_a_missing_call_is_requested_as_json(message: dict[str, Any]) -> None:
    step = forced.step(request(tool_choice=NAMED), target())
    assert step is not None
    received = step.next(answered(step.request, target(), **message))
    assert isinstance(received, Request)
    body = sent(received, target())
    assert "tools" not in body and "tool_choice" not in body and "stream" not in body
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["properties"] == {"name": {"enum": ["Read"]}, "arguments": READ["input_schema"]}
    assert body["messages"][0]["content"].startswith("Read a.txt\n\nCall one of these tools now.")
    assert "- Read: Reads a file.\n  arguments: {" in body["messages"][0]["content"]
    assert "Bash" not in body["messages"][0]["content"]
    done = step.next(answered(received, target(), content='{"name":"Read","arguments":{"path":"a.txt"}}'))
    assert isinstance(done, list)
    message = json.loads(fold(done))
    call = {"type": "tool_use", "id": "toolu_1_0", "name": "Read", "input": {"path": "a.txt"}}
    assert message["content"] == [{**call, "caller": {"type": "direct"}}]
    assert message["stop_reason"] == "tool_use"
    assert message["usage"]["input_tokens"] == 9 and message["usage"]["output_tokens"] == 4


@pytest.mark.parametrize("vendor", ["llamacpp", "builtin"])
@pytest.mark.parametrize("choice", [NAMED, {"type": "any"}])
def test_a_forced_choice_takes_one_turn_where_a_json_schema_is_obeyed(vendor: str, choice: dict[str, str]) -> None:
    at = target(vendor)
    step = forced.step(request(tool_choice=choice), at)
    assert step is not None
    body = sent(step.request, at)
    assert "tools" not in body and body["response_format"]["type"] == "json_schema"
    done = step.next(answered(step.request, at, content='{"name":"Read","arguments":{"path":"a.txt"}}'))
    assert not isinstance(done, Request)
    (block,) = json.loads(fold(done))["content"]
    assert (block["type"], block["name"], block["input"]) == ("tool_use", "Read", {"path": "a.txt"})


def test_a_choice_among_many_tools_is_not_requested_as_json_at_once() -> None:
    tools = [{"name": f"t{at}", "input_schema": {"type": "object"}} for at in range(40)]
    step = forced.step(request(tools=tools, tool_choice={"type": "any"}), target("llamacpp"))
    assert step is not None and sent(step.request, target("llamacpp"))["tool_choice"] == "required"


def test_json_is_requested_at_once_when_the_template_has_no_tools() -> None:
    step = forced.step(request(tool_choice={"type": "any"}), target(tools=False))
    assert step is not None
    schema = sent(step.request, target())["response_format"]["json_schema"]["schema"]
    assert [form["properties"]["name"]["enum"] for form in schema["anyOf"]] == [["Read"], ["Bash"]]


@pytest.mark.parametrize("text", ["", "no json", '{"name":"Read"', '{"name":"Rm","arguments":{}}', "[" * 5000])
def test_the_first_answer_is_returned_when_the_second_has_no_json(text: str) -> None:
    step = forced.step(request(tool_choice={"type": "any"}), target())
    assert step is not None
    first = answered(step.request, target(), content="I would read it.")
    received = step.next(first)
    assert isinstance(received, Request)
    assert step.next(answered(received, target(), content=text)) is first


def test_a_tool_without_description_or_schema_can_be_forced() -> None:
    step = forced.step(request(tools=[{"name": "Go"}], tool_choice={"type": "any"}), target(tools=False))
    assert step is not None
    assert '- Go\n  arguments: {"type":"object"}' in sent(step.request, target())["messages"][0]["content"]


def test_a_tool_defined_by_anthropic_can_be_forced() -> None:
    received = request(tools=[{"type": "bash_20250124", "name": "bash"}], tool_choice={"type": "tool", "name": "bash"})
    step = forced.step(received, target(tools=False))
    assert step is not None
    body = sent(step.request, target())
    assert "- bash: Runs a command in a bash session" in body["messages"][0]["content"]
    assert "command" in body["response_format"]["json_schema"]["schema"]["properties"]["arguments"]["properties"]
    done = step.next(answered(step.request, target(), content='{"name":"bash","arguments":{"command":"ls"}}'))
    assert isinstance(done, list)
    assert json.loads(fold(done))["content"][0] == {
        "type": "tool_use",
        "id": "toolu_1_0",
        "name": "bash",
        "input": {"command": "ls"},
        "caller": {"type": "direct"},
    }


def test_a_server_tool_is_not_forced_beside_other_tools() -> None:
    tools = [READ, {"type": "code_execution_20250825", "name": "code"}]
    step = forced.step(request(tools=tools, tool_choice={"type": "any"}), target())
    assert isinstance(step, forced.ForcedChoice) and [tool.name for tool in step._tools] == ["Read"]


def test_a_forced_server_tool_needs_no_step() -> None:
    tools = [READ, {"type": "code_execution_20250825", "name": "code"}]
    assert forced.step(request(tools=tools, tool_choice={"type": "tool", "name": "code"}), target()) is None


def test_a_forced_tool_with_an_invalid_name_keeps_its_name_for_the_client() -> None:
    step = forced.step(request(tools=[{"name": "my.own"}], tool_choice={"type": "tool", "name": "my.own"}), target())
    assert step is not None
    name = sent(step.request, target())["tools"][0]["function"]["name"]
    assert name != "my.own"
    call = {"id": "call_1", "function": {"name": name, "arguments": "{}"}}
    events = answered(step.request, target(), tool_calls=[call])
    assert step.next(events) is events
    assert json.loads(fold(events))["content"][0]["name"] == "my.own"


def test_the_schema_of_a_forced_call_has_no_references() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/a"}},
        "$defs": {"a": {"type": "string", "pattern": "x"}},
    }
    step = forced.step(
        request(tools=[{"name": "Go", "input_schema": schema}], tool_choice={"type": "any"}), target(tools=False)
    )
    assert step is not None
    form = sent(step.request, target())["response_format"]["json_schema"]["schema"]
    assert form["properties"]["arguments"]["properties"] == {"a": {"type": "string", "description": '(pattern: "x")'}}
