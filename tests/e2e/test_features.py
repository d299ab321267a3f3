"""What the real Claude Code can do by way of another model: tool search, pictures, PDFs, thinking, hooks, forms, subagents."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from e2e.claude import Claude
from e2e.conftest import Wire, both
from e2e.mcp import png
from e2e.test_claude import ALLOWED, last_prompt, results
from papers import pdf
from scripted import Asked, Reply, Say, Tool

pytestmark = pytest.mark.real


def offered(request: Asked) -> list[str]:
    return [tool["function"]["name"] for tool in request.json.get("tools", [])]


def parts(request: Asked, kind: str) -> list[dict[str, Any]]:
    """The parts of a kind in the whole conversation."""
    contents = [message["content"] for message in request.json["messages"] if isinstance(message["content"], list)]
    return [part for content in contents for part in content if part["type"] == kind]


# -------------------------------- tool search


def test_a_tool_of_an_mcp_server_is_found_loaded_and_called(wire: Wire, claude: Claude) -> None:
    servers = {"demo": {"command": sys.executable, "args": [str(Path(__file__).with_name("mcp.py"))]}}
    wire.play(
        [
            Say(tools=[Tool("ToolSearch", {"query": "widget", "max_results": 3})]),
            Say(tools=[Tool("mcp__demo__say_widget", {"word": "hello"}), Tool("mcp__demo__draw_widget", {})]),
            Say("Found."),
        ]
    )
    turn = claude.ask("ask the widget", ALLOWED, "--mcp-config", json.dumps({"mcpServers": servers}))
    assert (turn.failed, turn.text) == (False, "Found.")
    before, loaded, after = wire.received
    assert not any(name.startswith("mcp__") for name in offered(before)), "what nobody has loaded is not offered"
    assert sorted(offered(loaded)[len(offered(before)) :]) == ["mcp__demo__draw_widget", "mcp__demo__say_widget"]
    assert offered(loaded)[: len(offered(before))] == offered(before), "what is loaded stands last"
    assert b"DeferredToolPlaceholder" not in loaded.body and b"defer_loading" not in loaded.body
    assert b'"$schema"' not in loaded.body
    table = {result["tool_call_id"]: result["content"] for result in results(after)}
    assert "the widget says hello" in table.values()
    (picture,) = parts(after, "image_url")
    assert picture["image_url"]["url"].startswith("data:image/")


# -------------------------------- what Read shows


@both
def test_a_picture_reaches_the_model_as_one(wire: Wire, claude: Claude) -> None:
    file = claude.work / "square.png"
    file.write_bytes(png())
    wire.play([Say(tools=[Tool("Read", {"file_path": str(file)})]), Say("Red.")])
    turn = claude.ask("look", ALLOWED)
    assert (turn.failed, turn.text) == (False, "Red.")
    (picture,) = parts(wire.received[1], "image_url")
    assert picture["image_url"]["url"].startswith("data:image/")
    assert "see below" in results(wire.received[1])[0]["content"]


@both
def test_a_pdf_reaches_the_model_as_its_text(wire: Wire, claude: Claude) -> None:
    file = claude.work / "paper.pdf"
    file.write_bytes(pdf("The first page", "Of byways"))
    wire.play([Say(tools=[Tool("Read", {"file_path": str(file)})]), Say("Two pages.")])
    turn = claude.ask("read", ALLOWED)
    assert (turn.failed, turn.text) == (False, "Two pages.")
    everything = json.dumps(wire.received[1].json["messages"])
    assert "The first page" in everything and "Of byways" in everything
    assert "JVBERi0" not in everything, "no base64 as text"


# -------------------------------- thinking


@both
def test_thinking_is_shown_and_comes_back_without_harm(wire: Wire, claude: Claude) -> None:
    wire.play(
        [
            Say(thinking="First I look.", tools=[Tool("Bash", {"command": "echo one"})]),
            Say(thinking="Now I know.", text="It is one."),
        ]
    )
    turn = claude.ask("think", ALLOWED)
    assert (turn.failed, turn.text) == (False, "It is one.")
    blocks = [block for event in turn.events if event["type"] == "assistant" for block in event["message"]["content"]]
    thoughts = [block["thinking"] for block in blocks if block["type"] == "thinking"]
    assert thoughts == ["First I look.", "Now I know."]
    assert all(block["signature"].startswith("byway.") for block in blocks if block["type"] == "thinking")
    for message in wire.received[1].json["messages"]:
        # The server gets its reasoning back in the field in which it sent it, and never as text.
        reasoning = message.pop("reasoning_content", "") if isinstance(message, dict) else ""
        assert reasoning in ("", "First I look.")
        assert "First I look." not in json.dumps(message)


# -------------------------------- hooks, forms


def settings(claude: Claude, **fields: Any) -> None:
    (Path(claude.environ["CLAUDE_CONFIG_DIR"]) / "settings.json").write_text(json.dumps(fields))


@pytest.mark.parametrize("ok", [True, False])
def test_a_hook_of_type_prompt_is_answered_in_its_form(wire: Wire, claude: Claude, ok: bool) -> None:
    hook = {"type": "prompt", "prompt": "Is this safe? $ARGUMENTS"}
    settings(claude, hooks={"PreToolUse": [{"matcher": "Bash", "hooks": [hook]}]})
    verdicts: list[Asked] = []

    def script(value: Asked) -> Reply | Say:
        if "Is this safe?" in last_prompt(value):
            verdicts.append(value)
            return Say(json.dumps({"ok": ok, "reason": "because of the test"}))
        return Say("Done.") if results(value) else Say(tools=[Tool("Bash", {"command": "echo ran > ran.txt"})])

    wire.play(script)
    turn = claude.ask("run it", ALLOWED)
    assert not turn.failed
    assert (claude.work / "ran.txt").exists() is ok
    (value,) = verdicts
    assert value.json["response_format"]["type"] == "json_schema"
    assert value.json["response_format"]["json_schema"]["schema"]["properties"].keys() >= {"ok", "reason"}
    assert "tools" not in value.json


@both
def test_an_answer_in_a_form_of_the_user_s(wire: Wire, claude: Claude) -> None:
    form = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    wire.play([Say(tools=[Tool("StructuredOutput", {"city": "Bern"})])])
    turn = claude.ask("which city?", ALLOWED, "--json-schema", json.dumps(form))
    assert not turn.failed and json.loads(turn.text) == {"city": "Bern"}
    assert "StructuredOutput" in offered(wire.received[0])


# -------------------------------- subagents, compaction


def test_two_subagents_work_and_the_parent_hears_both(wire: Wire, claude: Claude) -> None:
    def agent(name: str) -> Tool:
        request = {"description": name, "prompt": f"Say {name}", "subagent_type": "general-purpose"}
        return Tool("Agent", {**request, "run_in_background": False})

    def script(request: Asked) -> Reply | Say:
        message = last_prompt(request)
        for name in ("APPLE", "PEAR"):
            if f"Say {name}" in message and "go, parent" not in message:
                return Say(f"Here is {name}.")
        return Say("Both are here.") if len(results(request)) == 2 else Say(tools=[agent("APPLE"), agent("PEAR")])

    wire.play(script)
    turn = claude.ask("go, parent", ALLOWED)
    assert (turn.failed, turn.text) == (False, "Both are here.")
    text = json.dumps([result["content"] for result in results(wire.received[-1])])
    assert "Here is APPLE." in text and "Here is PEAR." in text
    assert len(wire.received) == 4


@both
def test_compact_by_hand_puts_a_summary_in_front(wire: Wire, claude: Claude) -> None:
    def script(request: Asked) -> Reply | Say:
        if "<summary>" in last_prompt(request) and "THE-SUMMARY" not in last_prompt(request):
            return Say("<analysis>Short.</analysis><summary>THE-SUMMARY of a talk.</summary>")
        return Say("After." if b"THE-SUMMARY" in request.body else "Before.")

    wire.play(script)
    turn = claude.talk(["say something", "and more", "and again", "/compact", "and now?"], ALLOWED)
    assert (turn.failed, turn.text) == (False, "After.")
    assert any(event.get("subtype") == "compact_boundary" for event in turn.events)
    last = wire.received[-1].json["messages"]
    assert "THE-SUMMARY of a talk." in json.dumps(last) and "say something" not in json.dumps(last)
