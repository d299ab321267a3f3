"""The real Claude Code by way of Byway: its turns, its tools, its compaction, and what is read when it fails."""

from __future__ import annotations

import json
import re
import shlex
import socket
from pathlib import Path
from typing import Any, Final

import pytest
import scripted
from e2e.claude import Claude
from e2e.conftest import SECRET, Wire, both
from gateway import Gateway, config
from scripted import Asked, End, Reply, Say, Scripted, Tool, Wait

pytestmark = pytest.mark.real

ALLOWED: Final = "--dangerously-skip-permissions"


def results(request: Asked) -> list[dict[str, Any]]:
    """The tool results that end a chat request, in order."""
    matches = []
    for message in reversed(request.json["messages"]):
        if message["role"] == "assistant":
            break
        if message["role"] == "tool":
            matches.append(message)
    return matches[::-1]


def last_prompt(request: Asked) -> str:
    """What the user, or the client in the user's name, says after the last answer."""
    texts: list[str] = []
    for message in request.json["messages"]:
        if message["role"] == "assistant":
            texts.clear()
        elif message["role"] == "user":
            content = message["content"]
            texts += [content] if isinstance(content, str) else [part.get("text", "") for part in content]
    return "\n".join(texts)


# -------------------------------- turns


@both
def test_a_plain_turn(wire: Wire, claude: Claude) -> None:
    wire.play([Say("Hello from a local model.", tokens=(1234, 7))])
    turn = claude.ask("say hello")
    assert (turn.code, turn.failed, turn.text) == (0, False, "Hello from a local model.")
    (value,) = wire.received
    assert value.json["model"] == "local" and value.stream
    assert value.json["stream_options"] == {"include_usage": True}
    assert value.path == "/v1/chat/completions" and "say hello" in last_prompt(value).splitlines()
    # Nothing that is particular to the client reaches a model that does not know it.
    assert b"x-anthropic-billing-header" not in value.body and b"DeferredToolPlaceholder" not in value.body
    assert b"cache_control" not in value.body and b"defer_loading" not in value.body
    assert value.headers["authorization"] == f"Bearer {SECRET}"
    assert "x-api-key" not in value.headers and b"dummy" not in value.body
    # The client sees the requested model as the one that answered, and what it cost.
    name = "claude-opus-4-8" if claude.old else "claude-opus-5-5"
    assert list(turn.result["modelUsage"]) == [f"{name}[1m]" if claude.old else name]
    answers = [event["message"] for event in turn.events if event["type"] == "assistant"]
    assert {message["model"] for message in answers} == {name}
    usage = turn.result["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (1234, 7)
    (line,) = wire.logs(1)
    assert line["asked"] == name and line["model"] == "local" and line["status"] == 200
    assert line["input_tokens"] == 1234 and "say hello" not in wire.gateway.text


@both
def test_a_model_that_thinks(wire: Wire, claude: Claude) -> None:
    wire.play([Say("Done.", thinking="let me see")])
    turn = claude.ask("think", "--model", "sonnet")
    request = "claude-sonnet-5" if claude.old else "claude-sonnet-5-5"
    assert turn.text == "Done." and list(turn.result["modelUsage"]) == [request]


@pytest.mark.parametrize("path", ["", "/", "/anthropic/", "/anthropic/v1", "/anthropic/v1/messages"])
def test_any_form_of_base_url_works(wire: Wire, claude: Claude, path: str) -> None:
    wire.play([Say("Yes.")])
    turn = claude.ask("hi", environ={"ANTHROPIC_BASE_URL": wire.gateway.url + path})
    assert (turn.failed, turn.text) == (False, "Yes.")


def test_the_discovery_of_models_finds_the_local_one(wire: Wire, claude: Claude) -> None:
    wire.play([Say("Yes.")])
    claude.ask("hi", environ={"CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1"})
    (kept,) = (Path(claude.environ["HOME"]) / "config").rglob("gateway-models.json")
    names = [model["id"] for model in json.loads(kept.read_text())["models"]]
    mine = [name for name in names if "local" in name]
    assert mine, names
    wire.play([Say("By its own name.")])
    turn = claude.ask("hi", "--model", mine[0])
    assert turn.text == "By its own name." and wire.received[-1].json["model"] == "local"


# -------------------------------- tools


@both
def test_a_tool_loop_writes_reads_and_runs_a_file(wire: Wire, claude: Claude) -> None:
    file = claude.work / "sum.py"
    wire.play(
        [
            Say(
                "I write it.",
                tools=[Tool("Write", {"file_path": str(file), "content": "print(6 * 7, 'ü')\n"}, pieces=9)],
            ),
            Say(tools=[Tool("Read", {"file_path": str(file)}, id="call_r")]),
            Say(
                tools=[
                    Tool(
                        "Bash", {"command": "python3 sum.py > out.txt; cat out.txt", "description": "Run it"}, pieces=1
                    )
                ]
            ),
            Say("It is 42."),
        ]
    )
    turn = claude.ask("make it so", ALLOWED)
    assert (turn.failed, turn.text, turn.result["num_turns"]) == (False, "It is 42.", 4)
    assert file.read_text() == "print(6 * 7, 'ü')\n"
    assert (claude.work / "out.txt").read_text() == "42 ü\n"
    wrote, read, ran = (results(item) for item in wire.received[1:])
    assert "sum.py" in wrote[0]["content"] and len(wrote) == 1
    assert "print(6 * 7, 'ü')" in read[0]["content"]
    assert ran[0]["content"].strip() == "42 ü"
    # Each result names the call that it answers, and the calls go back as they came.
    for value in wire.received[1:]:
        (call,) = [message for message in value.json["messages"] if message["role"] == "assistant"][-1]["tool_calls"]
        assert results(value)[0]["tool_call_id"] == call["id"]
    call = wire.received[1].json["messages"][-2]["tool_calls"][0]
    assert call["function"]["name"] == "Write"
    assert json.loads(call["function"]["arguments"])["content"] == "print(6 * 7, 'ü')\n"


@both
@pytest.mark.parametrize("woven", [False, True], ids=["one after the other", "woven"])
def test_parallel_tools_are_answered_together(wire: Wire, claude: Claude, woven: bool) -> None:
    value, two = claude.work / "one.txt", claude.work / "two.txt"
    value.write_text("first secret\n")
    two.write_text("second secret\n")
    tools = [Tool("Read", {"file_path": str(value)}), Tool("Read", {"file_path": str(two)})]
    wire.play([Say("Both.", tools=tools, woven=woven), Say("Read.")])
    turn = claude.ask("read them", ALLOWED)
    assert (turn.failed, turn.text) == (False, "Read.")
    calls = [message for message in wire.received[1].json["messages"] if message["role"] == "assistant"][-1][
        "tool_calls"
    ]
    assert [json.loads(call["function"]["arguments"])["file_path"] for call in calls] == [str(value), str(two)]
    # The client sends results in the order in which they were ready; the ids say which is whose.
    table = {
        result["tool_call_id"]: re.findall(r"\w+ secret", result["content"]) for result in results(wire.received[1])
    }
    assert [table[call["id"]] for call in calls] == [["first secret"], ["second secret"]]
    assert len(table) == 2


@both
def test_calls_with_the_same_id_are_both_run(wire: Wire, claude: Claude) -> None:
    """The client drops the second of two calls with one id, and some servers give every call the same."""
    tools = [Tool("Bash", {"command": f"echo {word} >> said.txt"}, id="call_0") for word in ("one", "two")]
    wire.play([Say(tools=tools), Say("Done.")])
    turn = claude.ask("say them", ALLOWED)
    assert not turn.failed
    assert sorted((claude.work / "said.txt").read_text().split()) == ["one", "two"]


@both
def test_a_repeated_call_and_a_repeated_id_run_each_command_once(wire: Wire, claude: Claude) -> None:
    """The last piece repeats id, name and input; the next turn has the same id; and the first id carries a thought signature."""

    def call(command: str, **fields: Any) -> Reply:
        arguments = json.dumps({"command": command, "description": "Writes"})
        head = {"index": 0, "id": "call_0", "type": "function", **fields}
        pieces: list[dict[str, Any]] = [
            {**head, "function": {"name": "Bash", "arguments": arguments[:9]}},
            {"index": 0, "id": "call_0", "function": {"arguments": arguments[9:]}},
            {**head, "function": {"name": "Bash", "arguments": arguments}},
        ]
        chunks = [{"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]} for piece in pieces]
        return scripted.sse(*chunks, {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}, done=True)

    signed = {"google": {"thought_signature": "c2lnbmF0dXJl" * 3}}
    wire.play([call("echo one >> ran.txt", extra_content=signed), call("echo two >> ran.txt"), Say("Done.")])
    turn = claude.ask("run them", ALLOWED)
    assert (turn.failed, turn.text) == (False, "Done.")
    assert (claude.work / "ran.txt").read_text().split() == ["one", "two"]
    calls = [call for message in wire.received[2].json["messages"] for call in message.get("tool_calls", ())]
    assert [call["id"] for call in calls] == ["call_0", "call_0"], "the backend gets its own ids back"
    assert calls[0]["extra_content"] == signed


def test_the_prompt_of_a_turn_begins_with_that_of_the_turn_before(wire: Wire, claude: Claude) -> None:
    """A local model reads again whatever differs: the messages of one turn are a prefix of the next one's."""
    wire.play(
        [*(Say(tools=[Tool("Bash", {"command": f"echo {at}"}, id=f"call_{at}")]) for at in range(3)), Say("Done.")]
    )
    claude.ask("count", ALLOWED)
    for before, after in zip(wire.received, wire.received[1:], strict=False):
        first, second = before.json, after.json
        assert json.dumps(first["tools"]) == json.dumps(second["tools"])
        kept = json.dumps(second["messages"][: len(first["messages"])])
        assert kept == json.dumps(first["messages"])


# -------------------------------- a window that is full


@both
def test_a_conversation_that_overflows_is_compacted_and_goes_on(wire: Wire, claude: Claude) -> None:
    """The server refuses what is over its window in llama.cpp's words; the client compacts and ends its work."""
    (claude.work / "long.txt").write_text("All work and no play makes a long file.\n" * 150)
    window = 0
    reads = 0
    refused: list[int] = []

    def script(request: Asked) -> Reply | Say:
        nonlocal window, reads
        tokens = len(request.body) // 4
        window = window or tokens + 14_000
        if "<summary> block" in last_prompt(request):
            return Say(
                "<analysis>We read a file.</analysis><summary>THE-SUMMARY: it is long.</summary>", tokens=(tokens, 20)
            )
        if tokens > window:
            refused.append(len(wire.received))
            return scripted.llamacpp_overflow(tokens, window)
        if refused:
            return Say("Finished after compaction.", tokens=(tokens, 5))
        reads += 1
        command = {"command": f"cat long.txt # {reads}"}
        return Say(tools=[Tool("Bash", command, id=f"call_{reads}")], tokens=(tokens, 30))

    wire.play(script)
    turn = claude.ask("read it until you drop", ALLOWED, "--model", "my-local-qwen")
    assert (turn.code, turn.failed, turn.text) == (0, False, "Finished after compaction.")
    assert reads > 5, "it was a long conversation"
    assert len(refused) == 1, "the overflow was understood at once"
    assert any(event.get("subtype") == "compact_boundary" for event in turn.events)
    last = wire.received[-1]
    assert b"THE-SUMMARY" in last.body and len(last.body) // 4 <= window
    assert len(last.json["messages"]) < len(wire.received[refused[0] - 1].json["messages"])


@pytest.mark.parametrize(
    "overflow",
    [
        scripted.llamacpp_overflow(23016, 8192),
        scripted.vllm_overflow(23016, 100, 8192),
        scripted.openai_error(
            400,
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 23016 tokens. "
            "Please reduce the length of the messages.",
            "invalid_request_error",
            "context_length_exceeded",
        ),
    ],
    ids=["llama.cpp", "vLLM", "OpenAI"],
)
def test_a_first_prompt_that_is_too_long_is_called_that(wire: Wire, claude: Claude, overflow: Reply) -> None:
    wire.play([overflow] * 3)
    turn = claude.ask("hi")
    assert turn.failed and turn.text.startswith("Prompt is too long")
    assert turn.result["terminal_reason"] == "prompt_too_long"


# -------------------------------- errors

#: What the backend says, how many requests come to Byway and to the backend, and what the person reads.
Case = tuple[Reply, int, int, str]
ERRORS: Final[dict[str, Case]] = {
    # The client takes off one beta after the other, and tries each time.
    "400": (
        scripted.openai_error(400, "Unsupported value: 'top_k' is not a number.", "invalid_request_error"),
        6,
        6,
        r"API Error: 400 .*'top_k' is not a number",
    ),
    "422 of FastAPI": (
        scripted.detail(422, "Unexpected fields in the request: {'seed'}"),
        6,
        6,
        r"400 .*Unexpected fields",
    ),
    # Our secret is refused: the client must not blame its own key, nor try for minutes.
    "401": (
        scripted.openai_error(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
        1,
        1,
        r"502 .*'one'.*api_key",
    ),
    "403": (
        scripted.openai_error(403, "Country not supported.", "request_forbidden"),
        1,
        1,
        r"'one' denied access.*may not use this model",
    ),
    "404 of Ollama": (
        scripted.ollama_error(404, 'model "local" not found, try pulling it first'),
        2,
        2,
        r"issue with the selected model",
    ),
    "413": (scripted.page(413, "413 Request Entity Too Large"), 1, 1, r"Request too large"),
    # Byway tries once more itself, so each request of the client is two.
    "500": (scripted.vllm_error(500, "CUDA out of memory.", "InternalServerError"), 2, 4, r"'one'.*CUDA out of memory"),
    "502 page": (scripted.page(502), 2, 4, r"Backend 'one' answered with HTTP 502"),
    "529": (scripted.anthropic_error(529, "overloaded_error", "All slots are busy."), 2, 4, r"All slots are busy"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_a_person_reads_names_the_thing_to_do(wire: Wire, claude: Claude, name: str) -> None:
    reply, at_byway, at_backend, words = ERRORS[name]
    wire.play([reply] * (at_backend + 2))
    turn = claude.ask("hi", "--model", "local")
    assert turn.failed and turn.code == 1
    assert re.search(words, turn.text, re.DOTALL), turn.text
    assert "<html>" not in turn.text
    assert turn.result["api_error_status"] != 401
    assert len(wire.received) == at_backend
    assert len(wire.logs(at_byway)) == at_byway


def test_retry_after_is_obeyed(wire: Wire, claude: Claude) -> None:
    slow = scripted.openai_error(
        429, "Rate limit reached for requests", "requests", "rate_limit_exceeded", retry_after="3"
    )
    wire.play([slow, Say("After a while.")])
    turn = claude.ask("hi")
    assert (turn.failed, turn.text) == (False, "After a while.")
    first, second = wire.received
    assert 3.0 <= second.at - first.at < 6


def test_a_persistent_rate_limit_is_shown(wire: Wire, claude: Claude) -> None:
    slow = scripted.openai_error(429, "Rate limit reached: 3 RPM", "requests", "rate_limit_exceeded", retry_after="3")
    wire.play([slow] * 4)
    turn = claude.ask("hi")
    assert turn.failed and "(429)" in turn.text and "3 RPM" in turn.text
    assert len(wire.received) == 2


def test_a_model_that_is_loading_is_waited_for(wire: Wire, claude: Claude) -> None:
    wire.play([scripted.llamacpp_error(503, "Loading model", "unavailable_error"), Say("Loaded.")])
    turn = claude.ask("hi")
    assert (turn.failed, turn.text) == (False, "Loaded.")


def test_a_backend_that_is_not_running(tmp_path: Path) -> None:
    with socket.socket() as taken:
        # Bound and not listening: nobody else can have it, and a connection is refused.
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        backend = {"name": "box", "type": "llamacpp", "url": url, "models": ["local"]}
        with Gateway({"backends": [backend], "model_aliases": {"default": "local"}}) as gateway:
            turn = Claude(tmp_path, gateway.url, CLAUDE_CODE_MAX_RETRIES="1").ask("hi")
            assert turn.failed and turn.result["api_error_status"] == 502
            assert url.removeprefix("http://") in turn.text and "`backends[].url`" in turn.text, turn.text


@pytest.mark.parametrize("end", [End.CLOSE, End.RESET, None], ids=["closed", "reset", "ended without a finish"])
def test_a_broken_stream_is_requested_again_without_streaming(wire: Wire, claude: Claude, end: End | None) -> None:
    words = "one two three four five"
    ends: list[scripted.Step] = [Wait(0.05), *([end] if end else [])]
    wire.play([Say(words, edit=lambda steps: [*steps[:3], *ends]), Say(words)])
    turn = claude.ask("count")
    assert (turn.failed, turn.text) == (False, words)
    first, second = wire.received
    assert first.stream and not second.stream


# -------------------------------- what is printed, to the letter


def printed(gateway: Gateway) -> tuple[dict[str, str], list[str]]:
    """What `byway up` tells a person to export, and the arguments of the command that it tells them to start."""
    gateway.wait(lambda: "Ready." in gateway.lines, what="it has said all")
    result = re.findall(r"^\s*export ([A-Z][A-Z0-9_]*)=(.*)$", gateway.text, re.MULTILINE)
    (command,) = re.findall(r"^\s*(claude\b.*)$", gateway.text, re.MULTILINE)
    return {name: shlex.split(value)[0] for name, value in result}, shlex.split(command)[1:]


def test_the_printed_block_works_with_the_printed_command(tmp_path: Path) -> None:
    """A file is written without a question, the window is known, and no classifier is asked that no local model has."""
    with Scripted(window=65536) as server, Gateway(config(server, type="llamacpp")) as gateway:
        value, arguments = printed(gateway)
        assert value["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "86016" and "WINDOW" not in value.values()
        claude = Claude(tmp_path, gateway.url, **value)
        file = claude.work / "note.txt"
        server.play([Say(tools=[Tool("Write", {"file_path": str(file), "content": "noted"})]), Say("Written.")])
        turn = claude.ask("note it", *arguments)
        assert (turn.failed, turn.text) == (False, "Written.")
        assert file.read_text() == "noted"
        (usage,) = turn.result["modelUsage"].values()
        assert usage["contextWindow"] == 86016
        assert len(server.requests) == 2


def test_a_bare_turn_is_answered_by_the_built_in_model(tmp_path: Path) -> None:
    """With no config and exactly what is printed. Only the structure is looked at: so small a model proves no more."""
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
    with Gateway(model=True) as gateway:
        gateway.wait(lambda: gateway.get("/readyz").json["backends"][0]["state"] == "ready", what="the model is loaded")
        value, arguments = printed(gateway)
        assert value["ANTHROPIC_BASE_URL"] == f"{gateway.url}/anthropic" and value["ANTHROPIC_API_KEY"]
        assert "--bare" in arguments and "-p" in arguments
        claude = Claude(tmp_path, gateway.url, **{**value, "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "200"})
        turn = claude.ask("Say hello.", *(argument for argument in arguments if argument.startswith("--")))
        gateway.wait(gateway.requests, what="the request is logged")
        lines = gateway.requests()
        messages = [
            block.get("text", "")
            for event in turn.events
            if event["type"] == "assistant"
            for block in event["message"]["content"]
        ]
        assert any(text.strip() for text in messages), turn.events
        # It may ramble until it is stopped, which the client calls a failure; anything else must have worked.
        assert not turn.failed or lines[-1]["stop"] == "max_tokens", turn.events
        assert all(line["status"] == 200 for line in lines)
        line = lines[0]
        assert line["output_tokens"] > 0 and line["input_tokens"] > 0
