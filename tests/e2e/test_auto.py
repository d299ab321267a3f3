"""Auto mode with the real client: a classifier's verdicts, none at all, and one that is dead."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.claude import Claude
from gateway import Gateway, config
from scripted import Asked, Reply, Say, Scripted, Tool, openai_error

AUTO = ("--permission-mode", "auto")
Judge = Callable[[Asked], Reply | Say]


def allow(request: Asked) -> Say:
    return Say(json.dumps({"reason": "A test.", "rule": "", "verdict": "allow"}), tokens=(300, 12))


def block(request: Asked) -> Say:
    table = {"reason": "It would delete the user's photos.", "rule": "no deletions", "verdict": "block"}
    return Say("```json\n" + json.dumps(table) + "\n```")


class Stage:
    """A Byway whose main model plays a script, and whose classifier is a function."""

    def __init__(self, server: Scripted, judges: Scripted, gateway: Gateway) -> None:
        self.server, self.judges, self.gateway = server, judges, gateway

    def play(self, script: list[Say], judge: Judge) -> None:
        self.server.play(script)
        self.judges.play(judge)

    def verdicts(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.gateway.lines if line.startswith("{")]
        return [line for line in lines if line["message"] == "Judged a tool call"]


@pytest.fixture(scope="module")
def _stage() -> Iterator[Stage]:
    with Scripted() as server, Scripted(models=("judge",)) as judges:
        sections: dict[str, Any] = {"safeguards": {"classifier": "second/judge"}, "web_fetch": {"enabled": True}}
        settings = config(server, **sections, logging={"format": "json"})
        settings["backends"].append({"name": "second", "type": "vllm", "url": judges.url, "models": ["judge"]})
        with Gateway(settings) as gateway:
            yield Stage(server, judges, gateway)


@pytest.fixture
def stage(_stage: Stage) -> Iterator[Stage]:
    yield _stage
    _stage.server.check()
    _stage.judges.check()


@pytest.fixture
def claude(stage: Stage, tmp_path: Path) -> Claude:
    return Claude(tmp_path, stage.gateway.url, CLAUDE_CODE_MAX_RETRIES="1")


def run(command: str) -> Tool:
    return Tool("Bash", {"command": command, "description": "Do it"})


def classifier_prompt(request: Asked) -> str:
    return "\n".join(str(message["content"]) for message in request.json["messages"] if message["role"] == "tool")


def test_a_call_that_the_classifier_allows_runs(stage: Stage, claude: Claude) -> None:
    stage.play([Say("I make it.", tools=[run("echo made > made.txt")]), Say("Done.")], allow)
    turn = claude.ask("make it", *AUTO)
    assert (turn.failed, turn.text) == (False, "Done.")
    assert (claude.work / "made.txt").read_text() == "made\n"
    (value,) = stage.judges.requests
    question = value.json["messages"]
    assert "echo made > made.txt" in question[-1]["content"] and "make it" in question[-1]["content"]
    assert "system-reminder" not in question[-1]["content"]
    assert value.json["response_format"]["type"] == "json_schema"
    assert not any("safeguards" in request.json for request in stage.server.requests)


def test_a_call_that_the_classifier_blocks_does_not_run_and_the_model_hears_why(stage: Stage, claude: Claude) -> None:
    stage.play([Say(tools=[run("echo gone > gone.txt")]), Say("I leave it.")], block)
    turn = claude.ask("look around", *AUTO)
    assert turn.text == "I leave it." and not (claude.work / "gone.txt").exists()
    assert "It would delete the user's photos." in classifier_prompt(stage.server.requests[1])


def test_each_of_several_calls_has_its_own_verdict(stage: Stage, claude: Claude) -> None:
    def judge(request: Asked) -> Say:
        return (block if "two.txt" in request.json["messages"][-1]["content"].rpartition("<call>")[2] else allow)(
            request
        )

    stage.play([Say(tools=[run("echo 1 > one.txt"), run("echo 2 > two.txt")]), Say("Half.")], judge)
    turn = claude.ask("write both", *AUTO)
    assert turn.text == "Half."
    assert (claude.work / "one.txt").exists() and not (claude.work / "two.txt").exists()


@pytest.mark.parametrize(
    "judge",
    [
        lambda request: openai_error(500, "out of memory", "server_error"),
        lambda value: Say("I think this is fine."),
        lambda item: Say('{"verdict": "maybe", "reason": "", "rule": ""}'),
    ],
    ids=["dead", "talks", "unsure"],
)
def test_without_a_verdict_the_action_is_refused(stage: Stage, claude: Claude, judge: Judge) -> None:
    before = len(stage.verdicts())
    stage.play([Say(tools=[run("echo x > x.txt")]), Say("I could not.")], judge)
    turn = claude.ask("make it", *AUTO)
    assert not (claude.work / "x.txt").exists(), turn.text
    lines = stage.verdicts()[before:]
    assert {line["verdict"] for line in lines} == {"unavailable"} and all(line["problem"] for line in lines)


def test_what_only_looks_is_not_judged(stage: Stage, claude: Claude) -> None:
    file = claude.work / "a.txt"
    file.write_text("the text\n")
    stage.play([Say(tools=[Tool("Read", {"file_path": str(file)})]), Say("Read.")], block)
    turn = claude.ask("read it", *AUTO)
    assert (turn.failed, turn.text) == (False, "Read.") and "the text" in classifier_prompt(stage.server.requests[1])
    assert stage.judges.requests == []


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_byway_has_put_together_has_its_verdicts_too(stage: Stage, stream: bool) -> None:
    """With the tool for fetching pages, whose turns are Byway's own."""
    stage.play([Say("I run it.", tools=[run("ls")])], allow)
    body = {
        "model": "sonnet",
        "max_tokens": 100,
        "stream": stream,
        "messages": [{"role": "user", "content": "Look."}],
        "tools": [
            {"type": "web_fetch_20250910", "name": "web_fetch"},
            {"name": "Bash", "input_schema": {"type": "object", "properties": {}}},
        ],
        "safeguards": [{"type": "dangerous_tool_use", "classifier_context": {}}],
    }
    answer = stage.gateway.post(body)
    assert answer.status == 200, answer.body
    if stream:
        (delta,) = [event["delta"] for event in answer.events if event["type"] == "message_delta"]
        assert answer.events[-1]["type"] == "message_stop"
    else:
        delta = answer.json
    ((verdict,),) = [
        safeguard_result["status"]["tool_uses"].values() for safeguard_result in delta["safeguard_results"]
    ]
    assert verdict == {"type": "evaluated", "outcome": "not_flagged"} and delta["stop_reason"] == "tool_use"


def test_without_a_classifier_the_client_goes_on_without_verdicts(tmp_path: Path) -> None:
    with Scripted() as server, Gateway(config(server)) as gateway:
        claude = Claude(tmp_path, gateway.url, CLAUDE_CODE_MAX_RETRIES="1")
        server.play([Say("Hello.")])
        turn = claude.ask("hi", *AUTO)
        assert (turn.failed, turn.text) == (False, "Hello.")
        gateway.wait(lambda: gateway.requests(), what="the request is logged")
        assert {line["status"] for line in gateway.requests()} == {200}
