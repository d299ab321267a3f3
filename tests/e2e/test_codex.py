"""The real Codex CLI through Byway: shell, patch, MCP, parallel calls, errors and resume, with backends of every protocol."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import npmagents
import pytest
import responsesfake
from agentrun import API_KEYS, OFFLINE, AgentHome, agent_requests
from gateway import Gateway
from scripted import SSE, Asked, Reply, Say, Scripted, Tool, openai_error
from smallmodel import needs_weights, small_model

pytestmark = pytest.mark.real

PATCH = "*** Begin Patch\n*** Add File: out.txt\n+written\n*** End Patch\n"
#: The protocols of backends, with what makes a backend speak each one.
BACKENDS: dict[str, dict[str, Any]] = {
    "chat": {"type": "generic"},
    "messages": {"type": "anthropic"},
    "responses": {"type": "openai", "protocol": "responses"},
}
IN_CI = ("chat",)
#: Bytes of a request that is not one of Codex.
_SHORT = 2_000
#: An MCP server with one tool, which adds two numbers.
MCP_SERVER = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    method, params = message["method"], message.get("params") or {}
    result = {}
    if method == "initialize":
        result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "calc", "version": "1"}}
    elif method == "tools/list":
        numbers = {"a": {"type": "number"}, "b": {"type": "number"}}
        schema = {"type": "object", "properties": numbers, "required": ["a", "b"]}
        result = {"tools": [{"name": "add", "description": "Adds two numbers.", "inputSchema": schema}]}
    elif method == "tools/call":
        total = params["arguments"]["a"] + params["arguments"]["b"]
        result = {"content": [{"type": "text", "text": f"sum {total}"}]}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


class Shell(NamedTuple):
    command: str


class Patch(NamedTuple):
    text: str = PATCH


class Add(NamedTuple):
    """A call of the MCP server's tool."""

    a: int
    b: int


Action = Shell | Patch | Add | str
"""What the model does in a turn: calls of tools, or text."""


class Model:
    """Plays turns in the protocol of the request. The short request with which Byway checks an endpoint gets a text."""

    def __init__(self, *turns: Sequence[Action] | Reply) -> None:
        self.turns = turns
        self.requests: list[Asked] = []

    def __call__(self, request: Asked) -> Reply | Say:
        if len(request.body) < _SHORT:
            return Say("Hello")
        self.requests.append(request)
        turn = self.turns[min(len(self.requests), len(self.turns)) - 1]
        if isinstance(turn, Reply):
            return turn
        if request.responses:
            return _as_items(turn, len(self.requests))
        names = [str((tool.get("function") or tool).get("name")) for tool in request.json.get("tools") or ()]
        texts = [action for action in turn if isinstance(action, str)]
        tools = [_as_function(action, names) for action in turn if not isinstance(action, str)]
        return Say(" ".join(texts), tools)

    @property
    def results(self) -> str:
        """What the last request tells the model about its calls."""
        return self.requests[-1].body.decode()


def _as_function(action: Shell | Patch | Add, names: Sequence[str]) -> Tool:
    match action:
        case Shell(command):
            return Tool(_named(names, "exec_command"), {"cmd": command})
        case Patch(text):
            return Tool(_named(names, "apply_patch"), {"input": text})
        case Add(a, b):
            return Tool(_named(names, "add"), {"a": a, "b": b})


def _named(names: Sequence[str], end: str) -> str:
    return next(name for name in names if name.endswith(end))


def _as_items(turn: Sequence[Action], number: int) -> Reply:
    """The turn as a server of the Responses API sends it, with custom tools and namespaces."""
    items: list[dict[str, Any]] = []
    for at, action in enumerate(turn):
        id = f"call_{number}_{at}"
        match action:
            case Shell(command):
                items.append(responsesfake.call(id, "exec_command", json.dumps({"cmd": command})))
            case Add(a, b):
                call = responsesfake.call(id, "add", json.dumps({"a": a, "b": b}))
                items.append({**call, "namespace": "mcp__calc"})
            case Patch(text):
                item = {"type": "custom_tool_call", "id": f"ctc_{id}", "call_id": id, "name": "apply_patch"}
                items.append({**item, "input": text, "status": "completed"})
            case _:
                items.append(responsesfake.message(action))
    opening = responsesfake.response(status="in_progress")
    events: list[dict[str, Any]] = [{"type": "response.created", "response": opening}]
    for at, item in enumerate(items):
        events.append({"type": "response.output_item.added", "output_index": at, "item": item})
        events.append({"type": "response.output_item.done", "output_index": at, "item": item})
    done = {**responsesfake.response(), "output": items, "usage": responsesfake.USAGE}
    events.append({"type": "response.completed", "response": done})
    numbered = [{**event, "sequence_number": at} for at, event in enumerate(events)]
    return Reply(200, (responsesfake.joined(numbered),), SSE)


class CodexRun(NamedTuple):
    """What one run of Codex has printed."""

    code: int
    events: list[dict[str, Any]]
    errors: str

    @property
    def text(self) -> str:
        items = [event["item"] for event in self.events if event["type"] == "item.completed"]
        return "\n".join(item["text"] for item in items if item.get("type") == "agent_message")

    @property
    def thread(self) -> str:
        return next(str(event["thread_id"]) for event in self.events if event["type"] == "thread.started")

    @property
    def failure(self) -> str:
        return "\n".join(json.dumps(event) for event in self.events if event["type"] in ("error", "turn.failed"))


class Codex:
    """Codex in a home of its own, started by `byway run codex`."""

    def __init__(self, folder: Path) -> None:
        self.home = AgentHome(folder)
        self.config = self.home.path / ".codex"
        self.config.mkdir()
        self.data, self.work = self.home.data, self.home.work
        (self.work / "in.txt").write_text("text of the file")
        server = folder / "calc.py"
        server.write_text(MCP_SERVER)
        servers = f"[mcp_servers.calc]\ncommand = {json.dumps(sys.executable)}\nargs = [{json.dumps(str(server))}]\n"
        (self.config / "config.toml").write_text(servers)

    def run(self, prompt: str, *arguments: str, resume: str = "", timeout: float = 240) -> CodexRun:
        options = ("--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", *arguments)
        command = ["exec", *options, *(("resume", resume) if resume else ()), prompt]
        environ = {"CODEX_HOME": str(self.config), "HTTP_PROXY": OFFLINE["HTTPS_PROXY"], **OFFLINE}
        ran = self.home.run("codex", npmagents.program("codex"), "--", *command, environ=environ, timeout=timeout)
        events = [json.loads(line) for line in ran.output.splitlines() if line.startswith("{")]
        return CodexRun(ran.code, events, ran.errors)


Start = Callable[[str, Model], Gateway]


@pytest.fixture
def codex(tmp_path: Path) -> Codex:
    if not npmagents.program("codex").exists():
        pytest.skip(npmagents.missing() or f"Codex is not fetched: {npmagents.__doc__}")
    return Codex(tmp_path)


@pytest.fixture
def start(codex: Codex) -> Iterator[Start]:
    """Starts a Byway whose only backend plays a model in the given protocol."""
    with contextlib.ExitStack() as stack:

        def started(protocol: str, model: Model) -> Gateway:
            backend = stack.enter_context(Scripted(window=200_000))
            backend.play(model)
            row = {"name": "one", "url": backend.url, "models": ["local"], **BACKENDS[protocol]}
            if protocol != "chat":
                row |= {"api_key": "sk-of-the-backend"}
            config = {"backends": [row], "model_aliases": {"default": ["one/local"]}}
            return stack.enter_context(codex.home.gateway(config))

        yield started


PROTOCOLS = [
    pytest.param(protocol, marks=[] if protocol in IN_CI else [pytest.mark.long], id=protocol) for protocol in BACKENDS
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_codex_runs_a_task_with_shell_patch_and_an_mcp_server(protocol: str, codex: Codex, start: Start) -> None:
    model = Model([Shell("cat in.txt"), Add(19, 23)], [Patch()], ["All done"])
    gateway = start(protocol, model)
    ran = codex.run("Read in.txt, add two numbers and write out.txt.")
    assert ran.code == 0 and ran.text == "All done", (ran.events, ran.errors)
    assert (codex.work / "out.txt").read_text() == "written\n"
    # Both results of the calls made at once came back, and that of the patch.
    assert "text of the file" in model.results and "sum 42" in model.results and "out.txt" in model.results
    assert "unsupported call" not in model.results and "aborted" not in model.results
    assert not ran.failure and "Model metadata" not in ran.errors
    assert {line.get("status") for line in agent_requests(gateway, "/v1/responses")} == {200}
    assert not list((codex.data / "clients").iterdir())
    assert all("sk-real" not in request.body.decode() + str(request.headers) for request in model.requests)


@pytest.mark.long
@pytest.mark.parametrize("protocol", BACKENDS)
def test_codex_resumes_a_session_with_its_history(protocol: str, codex: Codex, start: Start) -> None:
    model = Model([Shell("cat in.txt")], ["First answer"], ["Second answer"])
    start(protocol, model)
    first = codex.run("Read in.txt.")
    assert first.code == 0 and first.text == "First answer", (first.events, first.errors)
    second = codex.run("And now?", resume=first.thread)
    assert second.code == 0 and second.text == "Second answer", (second.events, second.errors)
    assert all(text in model.results for text in ("Read in.txt.", "text of the file", "First answer", "And now?"))


@pytest.mark.long
@pytest.mark.parametrize("protocol", BACKENDS)
def test_codex_shows_why_a_request_was_refused_once(protocol: str, codex: Codex, start: Start) -> None:
    refusal = openai_error(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")
    model = Model(refusal)
    start(protocol, model)
    ran = codex.run("say hello", timeout=120)
    # Byway's own words name the backend and the next step. A key does not become right by retries.
    assert ran.code != 0 and "one" in ran.failure and "API key" in ran.failure, (ran.events, ran.errors)
    assert len(model.requests) <= 2


@pytest.mark.long
@pytest.mark.parametrize("protocol", BACKENDS)
def test_codex_tells_the_user_that_the_window_is_full(protocol: str, codex: Codex, start: Start) -> None:
    words = "This model's maximum context length is 200000 tokens. However, your messages resulted in 210000 tokens."
    model = Model(openai_error(400, words, "invalid_request_error", "context_length_exceeded"))
    start(protocol, model)
    ran = codex.run("say hello", timeout=120)
    assert ran.code != 0 and "ran out of room" in ran.failure, (ran.events, ran.errors)


@pytest.mark.long
def test_codex_compacts_before_the_window_of_the_catalog_is_full(codex: Codex, start: Start) -> None:
    class Filling(Model):
        def __call__(self, request: Asked) -> Reply | Say:
            answer = super().__call__(request)
            tokens = {1: 150_000, 2: 195_000}.get(len(self.requests), 3_000)
            return answer if isinstance(answer, Reply) else Say(answer.text, answer.tools, tokens=(tokens, 20))

    model = Filling([Shell("cat in.txt")], [Shell("cat in.txt")], ["The summary of the work"], ["All done"])
    start("chat", model)
    ran = codex.run("Read in.txt.")
    assert ran.code == 0 and ran.text.endswith("All done"), (ran.events, ran.errors)
    assert "The summary of the work" in model.results


@pytest.mark.long
@needs_weights
def test_codex_runs_a_turn_on_a_small_model(codex: Codex) -> None:
    """What it says is its own affair; that the whole prompt, the tools and the stream pass is ours."""
    with small_model({"BYWAY_HOME": str(codex.data)}, api_keys=API_KEYS) as gateway:
        ran = codex.run("Answer with the word hello. Call no tool.", timeout=900)
        assert ran.code == 0 and ran.text, (ran.events, ran.errors)
        assert {line.get("status") for line in agent_requests(gateway, "/v1/responses")} == {200}
