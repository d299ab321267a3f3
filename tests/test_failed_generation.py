"""A tool call that Groq could not parse and that its error response holds."""

from __future__ import annotations

import asyncio
import json

import pytest
from casefile import CASES, Case, Reply, Turn
from grammar import summary
from test_line import Network, ask, events

from byway.backends.openai import completions
from byway.backends.protocol import Target
from byway.backends.vendors import VENDORS
from byway.messages.request import parse


def error(generation: str) -> bytes:
    fields = {
        "message": "Failed to call a function. See 'failed_generation' for more details.",
        "type": "invalid_request_error",
        "code": "tool_use_failed",
        "failed_generation": generation,
    }
    return json.dumps({"error": fields}).encode()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once."""
    monkeypatch.setattr("byway.pipeline.targets._PAUSE", 0.0)


def answer(generation: str, *, stream: bool) -> tuple[int, bytes]:
    body = {
        "model": "sonnet",
        "max_tokens": 9,
        "stream": stream,
        "messages": [{"role": "user", "content": "Read notes.txt."}],
        "tools": [{"name": "Read", "input_schema": {"type": "object"}}],
    }
    network = Network([Reply(400, {}, error(generation))])
    turn = Turn(json.dumps(body).encode(), {})
    case = Case(CASES / "openai" / "failed_generation.case", "", {}, [turn])
    status, _, data = asyncio.run(ask(case, turn, network))
    return status, data


@pytest.mark.parametrize(
    "generation",
    [
        '<function=Read>{"file_path":"notes.txt"}</function>',
        '<function=Read{"file_path":"notes.txt"}</function>',
        '{"name": "Read", "arguments": {"file_path": "notes.txt"}}',
        '```json\n{"name": "functions.Read", "parameters": {"file_path": "notes.txt"}}\n```',
        '<tool_call>{"name": "Read", "arguments": {"file_path": "notes.txt"}',
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_a_call_in_an_error_response_is_the_answer(generation: str, stream: bool) -> None:
    status, data = answer(generation, stream=stream)
    lines = summary(events(data) if stream else [json.loads(data)])
    assert status == 200
    assert [line[2:] for line in lines if line[0] == "tool"] == [("Read", {"file_path": "notes.txt"})]
    assert lines[-1][1] == "tool_use"


@pytest.mark.parametrize("generation", ["I would read it.", '{"name": "Nope", "arguments": {}}', "", '{"name"'])
def test_an_error_without_a_call_of_an_offered_tool_may_be_retried(generation: str) -> None:
    status, data = answer(generation, stream=True)
    assert status == 502 and json.loads(data)["error"]["type"] == "api_error"
    problem = completions.problem(400, {}, error(generation), Target("box", "m", VENDORS["generic"]))
    assert problem.row.again and "Failed to call a function" in problem.message


@pytest.mark.parametrize("body", [b'{"error":{"failed_generation":', b'{"failed_generation":' + b"[" * 5000, b"{}"])
def test_a_body_that_cannot_be_read_holds_no_call(body: bytes) -> None:
    turn = Turn(b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}', {})
    reader = completions.reader(parse(turn.body, {}, "msg_1"), Target("box", "m", VENDORS["groq"]))
    assert reader.read_error(body) is False
