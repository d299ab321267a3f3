"""Every vendor's row against its strict fake: a tool loop, an image, a switched model, a format, an overflow, a rate limit.

A row is right when the fake refuses nothing: learning from a refusal is for what no row knows. Fakes: `vendors/`. Overflows and
rate limits are tested for the Messages APIs of vendors too.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, cast

import pytest
from loaded import loaded
from loops import Loop
from strict import check_message
from vendors.messages import MESSAGES_FAKES, MessagesFake, StrictMessagesServer
from vendors.rows import FAKES
from vendors.server import OVERFLOW, RATE_LIMIT, Fake, RefusingServer, StrictServer

from byway.backends.vendors import EFFORTS, VENDORS
from byway.messages.request import parse
from byway.messages.stream import fold
from byway.pipeline import exchange
from byway.pipeline.reply import HeldReply, Record
from byway.problems import Problem
from byway.runtime import Runtime

LOOP = Loop()
Message = dict[str, Any]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
REMINDER = {"type": "text", "text": "<system-reminder>The list is empty.</system-reminder>"}
PATH = {"type": "string", "description": "The file"}
TOOLS = [
    {
        "name": "Read",
        "description": "Reads a file.",
        "input_schema": {"type": "object", "properties": {"file_path": PATH}, "required": ["file_path"]},
    },
    {
        "name": "mcp__server__search.files",
        "description": "Searches files.",
        "input_schema": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": {
                "file_path": PATH,
                "mode": {"enum": ["all", "first"]},
                "limit": {"type": ["integer", "null"], "exclusiveMinimum": 0},
                "filter": {"anyOf": [{"type": "string", "const": "x"}, {"$ref": "#/$defs/range"}]},
                "any": {},
            },
            "$defs": {
                "range": {"type": "object", "properties": {"from": {"type": "integer"}}, "additionalProperties": False}
            },
            "additionalProperties": False,
        },
    },
]
THINKING = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}


def runtime(fake: Fake | MessagesFake) -> tuple[Runtime, RefusingServer]:
    backend = {"name": fake.type, "type": fake.type, "url": "http://127.0.0.1:9", "models": [fake.model]}
    backend |= {"protocol": fake.protocol, "api_key": "sesame-0123456789"}
    aliases = {"default": [f"{fake.type}/{fake.model}"]}
    made = Runtime(loaded({"backends": [backend], "model_aliases": aliases}), secret=b"k" * 32)
    server = StrictServer(fake) if isinstance(fake, Fake) else StrictMessagesServer(fake)
    made.backends[fake.type].upstream = cast(Any, server)
    return made, server


def send(at: Runtime, messages: list[Message], **fields: Any) -> Message:
    body = {"model": "sonnet", "max_tokens": 32_000, "system": "Be brief.", "messages": messages, **fields}
    request = parse(json.dumps(body).encode(), {}, "msg_1")
    held = HeldReply()
    LOOP.run(exchange.answer(at, request, held, Record()))
    answer: Message = json.loads(fold(held.parts))
    check_message(answer)
    return answer


def called(answer: Message) -> list[Message]:
    return [block for block in answer["content"] if block["type"] == "tool_use"]


def play(at: Runtime, history: list[Message], *, stream: bool = True, image: bool = True) -> list[Message]:
    """A tool loop of four turns after `history`; returns the conversation."""
    messages = [*history, {"role": "user", "content": "[question] Compare the files."}]
    for turn in range(4):
        answer = send(at, messages, tools=TOOLS, stream=stream, **THINKING)
        messages = [*messages, {"role": "assistant", "content": answer["content"]}]
        calls = called(answer)
        assert [call["input"]["file_path"] for call in calls] == [
            ["a.txt", "b.txt"],
            ["step-1.txt"],
            ["step-2.txt"],
            [],
        ][turn]
        if not calls:
            assert answer["stop_reason"] == "end_turn"
            break
        assert answer["stop_reason"] == "tool_use"
        results: list[Message] = [
            {"type": "tool_result", "tool_use_id": call["id"], "content": f"text {turn}"} for call in calls
        ]
        if image and turn == 0:
            source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
            results[0]["content"] = [{"type": "image", "source": source}]
        messages = [*messages, {"role": "user", "content": [*results, REMINDER]}]
    return messages


def refusals(server: RefusingServer) -> list[str]:
    return [json.dumps(refused.body, ensure_ascii=False) for refused, _ in server.refused]


@cache
def recorded(fake_id: str, protocol: str = "chat") -> list[Message]:
    """The conversation of a client with one vendor, as it would continue with another."""
    at, _ = runtime(next(fake for fake in BOTH if (fake.id, fake.protocol) == (fake_id, protocol)))
    return play(at, [], image=False)


#: A conversation with Claude: its thinking has a signature of Anthropic.
CLAUDE: list[Message] = [
    {"role": "user", "content": "Look at notes.txt."},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "I should look.", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgx"},
            {"type": "text", "text": "I look."},
            {
                "type": "tool_use",
                "id": "toolu_01A09q90qw90lq917835lq9",
                "name": "Read",
                "input": {"file_path": "notes.txt"},
            },
            {
                "type": "tool_use",
                "id": "toolu_01B09q90qw90lq917835lq9",
                "name": "Read",
                "input": {"file_path": "b.txt"},
            },
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_01A09q90qw90lq917835lq9", "content": "three lines"},
            {
                "type": "tool_result",
                "tool_use_id": "toolu_01B09q90qw90lq917835lq9",
                "content": "no such file",
                "is_error": True,
            },
            REMINDER,
        ],
    },
    {"role": "assistant", "content": [{"type": "text", "text": "Three lines."}]},
]

BOTH: list[Fake | MessagesFake] = [*FAKES, *MESSAGES_FAKES]
each = pytest.mark.parametrize("fake", FAKES, ids=lambda fake: fake.id)
each_of_both = pytest.mark.parametrize("fake", BOTH, ids=lambda fake: f"{fake.id} {fake.protocol}")


def test_every_vendor_has_a_fake() -> None:
    native = VENDORS["anthropic"].protocol
    vendors = {name for name, row in VENDORS.items() if not row.managed and row.protocol != native}
    assert {fake.type for fake in FAKES} == vendors
    assert len({fake.id for fake in FAKES}) == len(FAKES)


@each
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_tool_loop_with_an_image_passes_without_a_refusal(fake: Fake, stream: bool) -> None:
    at, server = runtime(fake)
    messages = play(at, [], stream=stream)
    assert not refusals(server)
    ids = [
        block["id"]
        for message in messages
        if message["role"] == "assistant"
        for block in message["content"]
        if "id" in block
    ]
    assert len(ids) == len(set(ids)) == 4
    if fake.thinks(server.bodies[0]) and fake.reasoning != "signature":
        assert messages[1]["content"][0]["thinking"] == "Step 0: think.\nThen act."


@each
def test_a_session_that_began_with_another_model_continues_without_a_refusal(fake: Fake) -> None:
    before = FAKES[(FAKES.index(fake) - 7) % len(FAKES)]
    for history in (CLAUDE, recorded(before.id), recorded("moonshot kimi-k3")):
        at, server = runtime(fake)
        play(at, history)
        assert not refusals(server), before.id


@each
@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "Read"}], ids=["any", "named"])
def test_a_forced_tool_is_called_without_a_refusal(fake: Fake, choice: Message) -> None:
    at, server = runtime(fake)
    answer = send(at, [{"role": "user", "content": "[question] Go"}], tools=TOOLS, tool_choice=choice, **THINKING)
    assert not refusals(server)
    assert called(answer)[0]["name"] == "Read" and answer["stop_reason"] == "tool_use"


@each
def test_small_calls_of_the_client_pass_without_a_refusal(fake: Fake) -> None:
    """A title in a JSON schema, without thinking; and sampling, stop sequences and one call at a time."""
    at, server = runtime(fake)
    schema = {
        "type": "object",
        "properties": {"title": {"type": "string"}},
        "required": ["title"],
        "additionalProperties": False,
    }
    question = [{"role": "user", "content": "[question] A title"}]
    answer = send(at, question, max_tokens=64, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert json.loads(answer["content"][-1]["text"]) == {"title": "Notes"}
    for fields in (
        {"temperature": 0.0, "top_k": 5},
        {"top_p": 0.9, "stop_sequences": [f"\n{word}:" for word in "abcdef"]},
        {"tools": TOOLS, "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}, **THINKING},
        {"tools": TOOLS, "tool_choice": {"type": "none"}},
        {"thinking": {"type": "enabled", "budget_tokens": 4000}, "max_tokens": 8000},
    ):
        send(at, question, **fields)
    assert not refusals(server)


@each
def test_every_effort_becomes_one_that_the_model_accepts(fake: Fake) -> None:
    at, server = runtime(fake)
    for effort in EFFORTS:
        fields = {"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}}
        send(at, [{"role": "user", "content": "[question] Hi"}], **fields)
    assert not refusals(server)


def test_tools_over_the_limit_of_a_vendor_are_logged_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr("byway.pipeline.exchange.log", lambda text, level=0, **fields: lines.append((text, fields)))
    at, server = runtime(next(fake for fake in FAKES if fake.type == "deepseek"))
    question = [{"role": "user", "content": "[question] Go"}]
    tools = [{**TOOLS[0], "name": f"tool_{number}"} for number in range(130)]
    send(at, question, tools=tools[:128])
    assert lines == []
    for _ in range(3):
        send(at, question, tools=tools)
    warning = (
        "The request has more tools than the backend accepts: the last ones are left out",
        {"tools": 130, "most": 128, "backend": "deepseek"},
    )
    assert lines == [warning]
    assert [len(body["tools"]) for body in server.bodies] == [128] * 4
    # A tool that is not loaded does not count.
    at.backends["deepseek"].tools_warning_due = 0.0
    send(at, question, tools=[*tools[:120], *({**tool, "defer_loading": True} for tool in tools[120:])])
    assert lines == [warning]
    send(at, question, tools=tools)
    assert lines == [warning] * 2


@each_of_both
def test_an_overflow_has_the_words_on_which_claude_code_compacts(fake: Fake | MessagesFake) -> None:
    at, _ = runtime(fake)
    with pytest.raises(Problem) as raised:
        send(at, [{"role": "user", "content": f"[question] {OVERFLOW}"}], tools=TOOLS)
    assert raised.value.kind == "prompt_too_long"
    assert "prompt is too long" in raised.value.message or "exceed context limit" in raised.value.message


@each_of_both
def test_a_rate_limit_is_one_that_the_client_retries(
    fake: Fake | MessagesFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sleep(seconds: float) -> None:
        pass

    monkeypatch.setattr("byway.pipeline.targets.asyncio.sleep", sleep)
    at, _ = runtime(fake)
    with pytest.raises(Problem) as raised:
        send(at, [{"role": "user", "content": f"[question] {RATE_LIMIT}"}])
    assert raised.value.kind in ("rate_limit", "overloaded", "loading")
