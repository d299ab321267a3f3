"""Every Messages API of a vendor against its strict fake: `protocol: anthropic` sends what the server accepts, first time.

Fakes: `vendors/messages.py`. The play is that of the chat completions of vendors.
"""

from __future__ import annotations

from typing import Any

import pytest
from test_vendor_fakes import CLAUDE, THINKING, TOOLS, Message, called, play, recorded, refusals, runtime, send
from vendors.messages import MESSAGES_FAKES, MessagesFake

from byway.backends.vendors import EFFORTS, VENDORS

QUESTION: list[Message] = [{"role": "user", "content": "[question] Go"}]


each = pytest.mark.parametrize("fake", MESSAGES_FAKES, ids=lambda fake: fake.id)


def test_every_messages_api_of_a_vendor_has_a_fake() -> None:
    offered = {name for name, row in VENDORS.items() if row.messages is not None and not row.managed}
    assert {fake.type for fake in MESSAGES_FAKES} >= offered
    assert len({fake.id for fake in MESSAGES_FAKES}) == len(MESSAGES_FAKES)


@each
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_tool_loop_with_an_image_passes_without_a_refusal(fake: MessagesFake, stream: bool) -> None:
    at, server = runtime(fake)
    messages = play(at, [], stream=stream)
    assert not refusals(server)
    ids = [call["id"] for message in messages if message["role"] == "assistant" for call in called(message)]
    assert len(ids) == len(set(ids)) == 4
    # The thinking of the vendor goes back with the vendor's own signature.
    assert messages[1]["content"][0] == {
        "type": "thinking",
        "thinking": "Step 0: think.\nThen act.",
        "signature": f"{fake.type}-0",
    }
    assert server.bodies[1]["messages"][1]["content"][0] == messages[1]["content"][0]


@each
def test_a_session_that_began_with_another_model_continues_without_a_refusal(fake: MessagesFake) -> None:
    histories = [CLAUDE, recorded("moonshot kimi-k3")]
    if fake.type != "azure":
        # Byway cannot tell the signatures of other Messages APIs from those of Anthropic, which Azure checks.
        histories.append(
            recorded("minimax MiniMax-M3" if fake.type != "minimax" else "deepseek deepseek-flash", "anthropic")
        )
    for history in histories:
        at, server = runtime(fake)
        play(at, history)
        assert not refusals(server)


@each
def test_small_calls_pass_without_a_refusal(fake: MessagesFake) -> None:
    """Forced tools, no thinking, a budget of thinking, every effort, a strict tool, and a message of the system."""
    at, server = runtime(fake)
    strict = [{**TOOLS[0], "strict": True}]
    calls: list[dict[str, Any]] = [
        {"tools": TOOLS, "tool_choice": {"type": "any"}, **THINKING},
        {"tools": TOOLS, "tool_choice": {"type": "tool", "name": "Read"}, **THINKING},
        {"tools": strict},
        {"max_tokens": 64, "thinking": {"type": "disabled"}, "metadata": {"user_id": "x"}},
        {"max_tokens": 64, "temperature": 1.0, "stop_sequences": ["\n\nHuman:"]},
        {"max_tokens": 8000, "thinking": {"type": "enabled", "budget_tokens": 4000}},
        *({"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}} for effort in EFFORTS),
    ]
    for fields in calls:
        answer = send(at, QUESTION, **fields)
        if fields.get("tool_choice") and "tool_choice" not in fake.ignored:
            assert called(answer)
    send(at, [*QUESTION, {"role": "system", "content": "Plan mode is on."}, {"role": "user", "content": "Go on"}])
    assert not refusals(server)
