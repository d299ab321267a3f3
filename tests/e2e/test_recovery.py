"""The real Claude Code after refusals of a backend: what it repairs by itself, what Byway repairs, and what a person sees."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from e2e.claude import Claude
from e2e.conftest import Wire
from scripted import Asked, Reply, Say, Tool, llamacpp_error, openai_error

pytestmark = pytest.mark.real

ALLOWED = "--dangerously-skip-permissions"


def png(path: Path) -> Path:
    """A picture of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(bytes(4))), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def has_image(request: Asked) -> bool:
    return b'"image_url"' in request.body


def test_a_model_without_vision_gets_a_text_instead_of_an_image(wire: Wire, claude: Claude) -> None:
    """llama.cpp's words and status. The session goes on, and the next image is not sent any more."""
    pictures = [png(claude.work / f"{name}.png") for name in ("one", "two")]
    refused = 0

    def script(request: Asked) -> Reply | Say:
        nonlocal refused
        if has_image(request):
            refused += 1
            return llamacpp_error(500, "image input is not supported - hint: you may need the mmproj", "server_error")
        reads = sum(message["role"] == "tool" for message in request.json["messages"])
        if reads < len(pictures):
            return Say(tools=[Tool("Read", {"file_path": str(pictures[reads])}, id=f"call_{reads}")])
        return Say("I cannot see them.")

    wire.play(script)
    turn = claude.ask("look", ALLOWED)
    assert (turn.code, turn.failed, turn.text) == (0, False, "I cannot see them.")
    assert refused == 1 and len(wire.received) == 4
    assert b"which this model cannot see" in wire.received[-1].body
    assert not any(event.get("type") == "system" and event.get("subtype") == "api_retry" for event in turn.events)


@pytest.mark.long
def test_the_client_drops_an_image_when_the_text_instead_of_it_is_refused_too(wire: Wire, claude: Claude) -> None:
    picture = png(claude.work / "one.png")

    def script(request: Asked) -> Reply | Say:
        text = request.body
        if has_image(request) or b"which this model cannot see" in text:
            return openai_error(400, "This model does not support image input.", "invalid_request_error")
        if b"tool_call_id" not in text:
            return Say(tools=[Tool("Read", {"file_path": str(picture)})])
        return Say("I cannot see it.")

    wire.play(script)
    turn = claude.ask("look", ALLOWED, "--model", "other")
    assert (turn.failed, turn.text) == (False, "I cannot see it.")


def overflow(message: str) -> Reply:
    return openai_error(400, message, "invalid_request_error")


@pytest.mark.parametrize(
    "refusal",
    [
        overflow("Prompt contains 23016 tokens, too large for model with 8192 maximum context length"),
        pytest.param(
            overflow("The input token count (23016) exceeds the maximum number of tokens allowed (8192)."),
            marks=pytest.mark.long,
        ),
        pytest.param(
            overflow("This model's maximum prompt length is 8192 but the request contains 23016 tokens."),
            marks=pytest.mark.long,
        ),
    ],
    ids=["Mistral", "Google", "xAI"],
)
def test_a_prompt_that_is_too_long_is_shown_as_such(wire: Wire, claude: Claude, refusal: Reply) -> None:
    """test_claude.py has three more wordings, and a conversation that is compacted."""
    wire.play([refusal] * 3)
    turn = claude.ask("hi")
    assert turn.failed and turn.text.startswith("Prompt is too long")
    assert turn.result["terminal_reason"] == "prompt_too_long"


def test_an_empty_account_is_shown_after_one_request(wire: Wire, claude: Claude) -> None:
    """The provider returns 429, which the client would repeat for minutes."""
    wire.play([openai_error(429, "You exceeded your current quota.", "insufficient_quota", "insufficient_quota")])
    turn = claude.ask("hi", environ={"CLAUDE_CODE_MAX_RETRIES": "10"})
    assert turn.failed and "You exceeded your current quota." in turn.text and "has no credit" in turn.text
    assert len(wire.received) == 1


def test_a_session_with_message_threads_goes_on_without_them(wire: Wire, claude: Claude) -> None:
    wire.play([Say(tools=[Tool("Bash", {"command": "echo seven"})]), Say("It was seven.")])
    turn = claude.ask("count", ALLOWED, environ={"CLAUDE_CODE_TETHER_LIVE": "1"})
    assert (turn.failed, turn.text) == (False, "It was seven.")
    assert [line["status"] for line in wire.logs(3)].count(400) == 1, "the thread is refused once"
    last = wire.received[-1].json["messages"]
    assert [message["role"] for message in last[-3:]] == ["user", "assistant", "tool"], (
        "the whole conversation was sent"
    )
    assert last[-1]["content"].strip() == "seven"
