"""The real Claude Code against the strict fakes of vendors: a tool loop, a compaction and a turn, without a refusal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import responsesfake
from e2e.claude import Claude
from e2e.test_claude import ALLOWED
from gateway import Gateway
from scripted import JSON, SSE, Asked, Reply, Scripted
from vendors.rows import FAKES
from vendors.server import PLAIN, Fake, StrictAnswer, StrictServer

from byway.call import Call

pytestmark = pytest.mark.real

#: Four forms of messages, reasoning and ids. `make long` runs all.
IN_CI = ("deepseek deepseek-v4-pro", "moonshot kimi-k3", "gemini gemini-3.1-pro", "mistral mistral-medium-2604")
_PATH = re.compile(r"/(\d+)(/.*)")


class StrictResponses:
    """A server of the Responses API that plays a tool loop: two calls, one call, one call, then a text."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self.folder = ""
        """Where the files are that the client reads."""

    def answer(self, body: bytes) -> Reply:
        try:
            sent = responsesfake.check_request(body)
        except Exception as refusal:
            self.refused.append(str(refusal))
            return Reply(
                400, (json.dumps({"error": {"message": str(refusal), "type": "invalid_request_error"}}).encode(),)
            )
        self.bodies.append(sent)
        output = self._output(sent)
        if sent.get("stream"):
            return Reply(200, (responsesfake.encode(responsesfake.stream(*output)),), SSE)
        return Reply(200, (responsesfake.whole(*output),))

    def _output(self, sent: dict[str, Any]) -> list[dict[str, Any]]:
        items = [] if isinstance(sent["input"], str) else sent["input"]
        results = sum(item.get("type") == "function_call_output" for item in items)
        if "Read" not in [tool["name"] for tool in sent.get("tools") or ()] or results > 3:
            is_json = (sent.get("text") or {}).get("format", {}).get("type", "text") != "text"
            return [responsesfake.message('{"title": "Notes"}' if is_json else "Done. All three files agree.")]
        names = ("a.txt", "b.txt") if not results else (f"step-{results - 1}.txt",)
        calls = [
            responsesfake.call(f"call_{name}", "Read", json.dumps({"file_path": f"{self.folder}{name}"}))
            for name in names
        ]
        return [responsesfake.reasoning("I look.", encrypted=f"gAAAA-{results}"), *calls]


class StrictServers(Scripted):
    """All fakes at one port, each below its number, and the one of the Responses API."""

    def __init__(self) -> None:
        super().__init__()
        self.servers = [StrictServer(fake) for fake in FAKES]
        self.responses = StrictResponses()

    def answer(self, request: Asked) -> Reply:
        if request.path.endswith("/responses"):
            return self.responses.answer(request.body)
        match = _PATH.match(request.path)
        if match is None:
            return Reply(404)
        path = match[2] if not match[2].endswith("/chat/completions") else "/v1/chat/completions"
        answer = _result(self.servers[int(match[1])].open(Call(request.method, path, body=request.body)))
        body = b"".join(answer._pieces)
        kind = SSE if answer.status == 200 and not body.startswith(b"{") else JSON
        return Reply(answer.status, (body,), kind, answer.headers)


def _result(coroutine: Any) -> StrictAnswer:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        answer: StrictAnswer = stop.value
        return answer
    raise AssertionError("the fake has waited")


class Fakes(NamedTuple):
    """The fakes behind one Byway."""

    servers: StrictServers
    gateway: Gateway


@pytest.fixture(scope="module")
def fakes() -> Iterator[Fakes]:
    with StrictServers() as servers:
        backends = [
            {
                "name": f"v{number}",
                "type": fake.type,
                "url": f"{servers.url}/{number}",
                "models": [fake.model],
                "protocol": fake.protocol,
                "api_key": "sesame-0123456789",
            }
            for number, fake in enumerate(FAKES)
        ]
        backends.append(
            {
                "name": "responses",
                "type": "openai",
                "url": f"{servers.url}/openai",
                "models": ["gpt-5.6-terra"],
                "protocol": "responses",
                "api_key": "sesame-0123456789",
            }
        )
        aliases = {"default": [f"v0/{FAKES[0].model}"]}
        with Gateway({"backends": backends, "model_aliases": aliases}) as gateway:
            yield Fakes(servers, gateway)


@pytest.mark.parametrize(
    "fake",
    [pytest.param(fake, id=fake.id, marks=() if fake.id in IN_CI else pytest.mark.long) for fake in FAKES],
)
def test_claude_code_runs_a_tool_loop_a_compaction_and_a_turn(fake: Fake, fakes: Fakes, tmp_path: Path) -> None:
    number = FAKES.index(fake)
    server = fakes.servers.servers[number]
    claude = Claude(
        tmp_path, fakes.gateway.url, CLAUDE_CODE_MAX_RETRIES="1", ANTHROPIC_SMALL_FAST_MODEL=f"v{number}/{fake.model}"
    )
    server.folder = f"{claude.work}/"
    for name in ("a.txt", "b.txt", "step-1.txt", "step-2.txt"):
        (claude.work / name).write_text(f"The text of {name}.\n")
    arguments = (ALLOWED, "--model", f"v{number}/{fake.model}")
    turn = claude.ask("[question] Compare the files.", *arguments)
    assert (turn.failed, turn.text) == (False, "Done. All three files agree."), turn.stderr
    turn = claude.talk(["/compact", f"{PLAIN} And now?"], "--continue", *arguments)
    assert (turn.failed, turn.text) == (False, "Done. All three files agree."), turn.stderr
    assert not server.refused
    bodies = [str(body) for body in server.bodies]
    assert any("The text of step-2.txt." in body for body in bodies), "the results of all tools came back"
    assert any(event.get("subtype") == "compact_boundary" for event in turn.events)
    assert "THE-SUMMARY" in bodies[-1]


def test_claude_code_runs_a_tool_loop_and_a_turn_over_responses(fakes: Fakes, tmp_path: Path) -> None:
    server = fakes.servers.responses
    model = "responses/gpt-5.6-terra"
    claude = Claude(tmp_path, fakes.gateway.url, CLAUDE_CODE_MAX_RETRIES="1", ANTHROPIC_SMALL_FAST_MODEL=model)
    server.folder = f"{claude.work}/"
    for name in ("a.txt", "b.txt", "step-1.txt", "step-2.txt"):
        (claude.work / name).write_text(f"The text of {name}.\n")
    turn = claude.talk(["Compare the files.", "And now?"], ALLOWED, "--model", model)
    assert (turn.failed, turn.text) == (False, "Done. All three files agree."), turn.stderr
    assert not server.refused
    items = server.bodies[-1]["input"]
    assert "The text of step-2.txt." in str(items) and "And now?" in str(items), "both turns reached the server"
    sent = [item.get("encrypted_content") for item in items if item.get("type") == "reasoning"]
    assert sent == ["gAAAA-0", "gAAAA-2", "gAAAA-3"], "the reasoning before each call came back unchanged"
