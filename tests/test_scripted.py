"""The scripted server itself: what it says is what real servers say, and its faults are the faults they claim to be."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from scripted import (
    End,
    Gate,
    Reply,
    Say,
    Scripted,
    Tool,
    Wait,
    cut,
    detail,
    llamacpp_overflow,
    openai_error,
    page,
    put,
    sse,
    without,
)
from strict import check_event, check_message

CHAT = "/v1/chat/completions"
ASK = {"model": "local", "messages": [{"role": "user", "content": "hi"}]}
TOOLS = (Tool("Read", {"file_path": "/etc/hosts"}), Tool("Bash", {"command": "ls -la"}))


@contextmanager
def posted(server: Scripted, path: str, body: dict[str, Any]) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        yield connection.getresponse()
    finally:
        connection.close()


def chunks(body: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: {")]


def test_a_chat_answer_is_the_same_streamed_and_whole() -> None:
    say = Say("one two three", tools=TOOLS, thinking="hm, well")
    with Scripted([say, say]) as server:
        with posted(server, CHAT, ASK) as response:
            whole = json.load(response)["choices"][0]
        with posted(server, CHAT, {**ASK, "stream": True, "stream_options": {"include_usage": True}}) as response:
            assert response.headers["content-type"] == "text/event-stream"
            body = response.read()
    assert body.endswith(b"data: [DONE]\n\n")
    text = chunks(body)
    assert text[-1]["choices"] == [] and text[-1]["usage"]["prompt_tokens"] == 100
    deltas = [chunk["choices"][0]["delta"] for chunk in text[:-1]]
    assert "".join(delta.get("content") or "" for delta in deltas) == whole["message"]["content"] == "one two three"
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == whole["message"]["reasoning_content"]
    calls: dict[int, str] = {}
    for piece in [call for delta in deltas for call in delta.get("tool_calls", ())]:
        calls[piece["index"]] = calls.get(piece["index"], "") + piece["function"]["arguments"]
    assert [call["function"]["arguments"] for call in whole["message"]["tool_calls"]] == list(calls.values())
    assert whole["finish_reason"] == text[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_woven_calls_come_piece_by_piece_in_turn() -> None:
    with Scripted([Say(tools=TOOLS, woven=True)]) as server, posted(server, CHAT, {**ASK, "stream": True}) as response:
        text = chunks(response.read())
    order = [call["index"] for chunk in text for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert order == [0, 1, 0, 1, 0, 1, 0, 1]


def test_the_messages_side_is_official_to_the_letter() -> None:
    say = Say("hello there", tools=TOOLS, thinking="hm, well")
    ask = {**ASK, "max_tokens": 10}
    with Scripted([say, say]) as server:
        with posted(server, "/anthropic/v1/messages?beta=true", ask) as response:
            check_message(json.load(response))
        with posted(server, "/v1/messages", {**ask, "stream": True}) as response:
            events = chunks(response.read())
    for event in events:
        check_event(event)
    assert [event["type"] for event in events][:: len(events) - 1] == ["message_start", "message_stop"]


def test_what_was_asked_is_kept() -> None:
    with Scripted([Say("x")]) as server:
        with posted(server, CHAT, ASK) as response:
            response.read()
        request = server.last
    assert (request.method, request.path, request.json, request.stream, request.anthropic) == (
        "POST",
        CHAT,
        ASK,
        False,
        False,
    )
    assert request.headers["content-type"] == "application/json"


def test_model_lists_and_properties_are_answered_without_a_script() -> None:
    with Scripted(models=("a", "b/c"), window=8192) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("GET", "/v1/models")
        assert [model["id"] for model in json.load(connection.getresponse())["data"]] == ["a", "b/c"]
        # On the same connection.
        connection.request("GET", "/props")
        assert json.load(connection.getresponse())["default_generation_settings"] == {"n_ctx": 8192}
        connection.request("GET", "/nothing")
        assert connection.getresponse().status == 404
        connection.close()
        assert len(server.connections) == 1


def test_a_script_that_runs_out_fails_the_test() -> None:
    server = Scripted().start()
    with posted(server, CHAT, ASK) as response:
        assert response.status == 500
        response.read()
    with pytest.raises(AssertionError, match="only 0 replies"):
        server.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("reply", "status", "words"),
    [
        (llamacpp_overflow(23016, 8192), 400, b"exceed_context_size_error"),
        (openai_error(429, "Slow down", "rate_limit_exceeded", retry_after="2"), 429, b'"param": null'),
        (detail(422, "Unexpected fields"), 422, b'{"detail": "Unexpected fields"}'),
        (page(502), 502, b"<h1>502 Bad Gateway</h1>"),
    ],
)
def test_errors_are_said_in_the_servers_words(reply: Reply, status: int, words: bytes) -> None:
    with Scripted([reply]) as server, posted(server, CHAT, ASK) as response:
        assert response.status == status and words in response.read()


def test_gzip_is_gzip_in_both_ways() -> None:
    with Scripted([Say("hello", gzip=True), Say("hello", gzip=True)]) as server:
        with posted(server, CHAT, ASK) as response:
            assert b"hello" in gzip.decompress(response.read())
        with posted(server, CHAT, {**ASK, "stream": True}) as response:
            assert gzip.decompress(response.read()).endswith(b"data: [DONE]\n\n")


def test_a_stream_is_edited_where_the_script_says() -> None:
    broken: list[Reply | Say] = [
        Say("a b", done=False),
        Say("a b", edit=cut(2, None)),
        Say("a b", edit=put(1, b"data: {nonsense\n\n")),
        Say("a b", edit=without(b'"finish_reason": "stop"')),
        sse({"error": {"message": "no"}}),
    ]
    with Scripted(broken) as server:
        bodies = []
        for _ in broken:
            with posted(server, CHAT, {**ASK, "stream": True}) as response:
                bodies.append(response.read())
    assert b"[DONE]" not in bodies[0] and b'"finish_reason": "stop"' in bodies[0]
    assert len(chunks(bodies[1])) == 2
    assert b"data: {nonsense\n\n" in bodies[2]
    assert b'"finish_reason": "stop"' not in bodies[3]
    assert chunks(bodies[4]) == [{"error": {"message": "no"}}]


@pytest.mark.parametrize(("end", "error"), [(End.CLOSE, http.client.IncompleteRead), (End.RESET, ConnectionResetError)])
def test_an_end_is_the_end_that_it_claims_to_be(end: End, error: type[Exception]) -> None:
    say = Say("a b c d", edit=lambda steps: [*steps[:2], Wait(0.05), end])
    with Scripted([say]) as server, posted(server, CHAT, {**ASK, "stream": True}) as response, pytest.raises(error):
        response.read()


def test_a_connection_can_end_before_the_head() -> None:
    with Scripted([Reply(0, (End.RESET,))]) as server:
        ask = posted(server, CHAT, ASK)
        with pytest.raises(ConnectionResetError):
            ask.__enter__()


def test_a_gate_holds_the_answer_until_it_opens() -> None:
    gate = Gate()
    reply = Reply(steps=(b"before ", gate, b"after"), headers={"content-length": "12"})
    with Scripted([reply]) as server, posted(server, CHAT, ASK) as response:
        assert response.read(7) == b"before "
        gate.set()
        assert response.read() == b"after"


def test_a_peer_that_leaves_is_noticed() -> None:
    with Scripted([Say("a b", edit=cut(1, End.HANG))]) as server:
        peer = socket.create_connection(("127.0.0.1", server.port))
        body = json.dumps({**ASK, "stream": True}).encode()
        peer.sendall(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (CHAT.encode(), len(body), body))
        request = server.wait_for(1)
        assert b"200" in peer.recv(65536) and request.held
        peer.close()
        request.left()
        assert not request.held


def test_a_chunked_request_is_read_whole() -> None:
    with Scripted([Say("x")]) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        body = json.dumps(ASK).encode()
        connection.request("POST", CHAT, iter([body[:7], body[7:]]), encode_chunked=True)
        assert connection.getresponse().status == 200
        connection.close()
        assert server.last.json == ASK and server.last.headers["transfer-encoding"] == "chunked"
