"""What Byway does when something goes wrong: clients that leave, backends that break, requests that are none."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import pytest
import scripted
from e2e.conftest import ASK, Wire
from gateway import Answer, Gateway, config
from scripted import Edit, End, Gate, Reply, Say, Scripted, Tool, Wait, cut, put
from strict import check_error, check_event, check_message

STREAM: Final = {**ASK, "stream": True}
ROUNDS: Final = 20


def request(body: Mapping[str, Any] | bytes, path: str = "/v1/messages", **headers: str) -> bytes:
    """A POST as bytes. Header names are given with underscores."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(data))}
    lines.update({name.replace("_", "-"): text for name, text in headers.items()})
    head = "".join(f"{name}: {text}\r\n" for name, text in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + data


@contextmanager
def line(gateway: Gateway, data: bytes = b"") -> Iterator[socket.socket]:
    """A connection on which `data` has been sent."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.sendall(data)
        yield peer


def answered(peer: socket.socket) -> Answer:
    """The answer that comes on a connection."""
    response = http.client.HTTPResponse(peer)
    response.begin()
    with response:
        return Answer(response.status, {name.lower(): text for name, text in response.getheaders()}, response.read())


def raw(gateway: Gateway, data: bytes) -> Answer:
    with line(gateway, data) as peer:
        return answered(peer)


class Flow:
    """A stream as it arrives, event by event."""

    def __init__(self, gateway: Gateway, body: Mapping[str, Any] = STREAM) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
        self._connection.request("POST", "/v1/messages", json.dumps(body), {"content-type": "application/json"})
        self.response = self._connection.getresponse()
        self._rest = b""

    def __enter__(self) -> Flow:
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()
        self._connection.close()

    def events(self) -> Iterator[dict[str, Any]]:
        while data := self.response.read1():
            self._rest += data
            *frames, self._rest = self._rest.split(b"\n\n")
            for frame in frames:
                for field in frame.split(b"\n"):
                    if field.startswith(b"data: "):
                        yield json.loads(field[6:])


def texts(events: list[dict[str, Any]]) -> str:
    return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events if event["type"] != "ping"]


# -------------------------------- the client leaves


def leaves(wire: Wire, say: Say, body: Mapping[str, Any], first: bytes) -> None:
    """Let clients leave once `first` has arrived; fails when a backend connection stays open, which `say` would allow."""
    wire.play([say] * ROUNDS)
    for at in range(ROUNDS):
        with line(wire.gateway, request(body)) as peer:
            sent = wire.server.wait_for(at + 1)
            seen = b""
            while first not in seen:
                seen += peer.recv(65536)
            assert sent.held
        sent.left()


def test_a_client_that_leaves_before_the_first_byte_ends_the_call(wire: Wire) -> None:
    leaves(wire, Say("x", wait=60), STREAM, b"")


def test_a_client_that_leaves_in_mid_stream_ends_the_call(wire: Wire) -> None:
    leaves(wire, Say("one two three", edit=cut(3, End.HANG)), STREAM, b"one ")


def test_a_client_that_leaves_while_it_waits_for_a_whole_answer_ends_the_call(wire: Wire) -> None:
    leaves(wire, Say("x", wait=60), ASK, b"")


def test_a_client_that_leaves_after_pings_ends_the_call(wire: Wire) -> None:
    wire.play([Say("x", wait=60)])
    with line(wire.gateway, request(STREAM)) as peer:
        sent = wire.server.wait_for(1)
        seen = b""
        while b"event: ping" not in seen:
            seen += peer.recv(65536)
    sent.left()


def test_a_client_that_leaves_is_logged_with_status_499(wire: Wire) -> None:
    leaves(wire, Say("x", wait=60), STREAM, b"")
    assert {entry["status"] for entry in wire.logs(ROUNDS)} == {499}


# -------------------------------- the backend breaks in mid-stream

BREAKS: dict[str, Edit] = {
    "reset": lambda steps: [*steps[:4], Wait(0.05), End.RESET],
    "closed": cut(4),
    "ended politely without a finish": cut(4, None),
    "silent": cut(4, End.HANG),
    "no JSON": put(4, b"data: {nonsense\n\n"),
    "an error": put(4, b'data: {"error": {"message": "the GPU fell off", "type": "server_error", "code": 500}}\n\n'),
    "an error by event name": put(4, b'event: error\ndata: {"message": "the GPU fell off"}\n\n'),
}
OFFICIAL_BREAKS: dict[str, Edit] = {
    **{name: BREAKS[name] for name in ("reset", "closed", "ended politely without a finish", "silent")},
    "an error": put(
        4,
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',
        End.CLOSE,
    ),
}


def broken(answer: Answer) -> dict[str, Any]:
    """The error that ends a broken stream, which must be the only one and the last event."""
    assert answer.status == 200
    events = answer.events
    for event in events:
        check_event(event)
    names = types(events)
    assert names.count("error") == 1 and names[-1] == "error", names
    assert "message_stop" not in names and names[0] == "message_start"
    assert texts(events).startswith("one "), "what was said before stays said"
    check_error(events[-1])
    return dict(events[-1]["error"])


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_stream_ends_in_one_error_and_never_politely(wire: Wire, name: str) -> None:
    wire.play([Say("one two three four five", edit=BREAKS[name])])
    error = broken(wire.post(stream=True))
    assert len(wire.received) == 1, "what has begun is not asked for again"
    if name == "silent":
        assert error["type"] == "timeout_error"
    if "error" in name:
        assert "the GPU fell off" in error["message"]
    (entry,) = wire.logs(1)
    assert entry["problem"], "the log says that it failed"


@pytest.mark.parametrize("name", OFFICIAL_BREAKS)
def test_a_broken_stream_of_a_messages_backend_ends_in_one_error(official: Wire, name: str) -> None:
    official.play([Say("one two three four five", edit=OFFICIAL_BREAKS[name])])
    error = broken(official.post(stream=True))
    if name == "an error":
        assert error == {"type": "overloaded_error", "message": "Overloaded"}


@pytest.mark.parametrize("name", ["reset", "closed", "ended politely without a finish"])
def test_a_tool_call_with_truncated_input_is_an_error(wire: Wire, name: str) -> None:
    tool = Tool("Bash", {"command": "rm -rf /tmp/never-to-be"}, pieces=4)
    wire.play([Say(["one "], tools=[tool], edit=BREAKS[name])])
    broken(wire.post(stream=True))


@pytest.mark.parametrize("whole", [b'{"id": "x", "choices": [{"message": {"role": "assi', b"", b"null", b"[]", b"ok"])
def test_an_invalid_whole_answer_is_an_error(wire: Wire, whole: bytes) -> None:
    wire.play([Reply(200, (whole,))] * 2)
    answer = wire.post()
    assert answer.status == 502 and answer.json["error"]["type"] == "api_error"
    check_error(answer.json)


@pytest.fixture(scope="module")
def _official() -> Iterator[Wire]:
    """Byway before a backend that speaks Messages itself."""
    quick = {"commit_after": 0.6, "ping_after": 0.6, "first_byte": 3, "between_chunks": 1}
    with Scripted() as server, Gateway(config(server, type="anthropic", timeouts=quick)) as gateway:
        yield Wire(server, gateway)


@pytest.fixture
def official(_official: Wire) -> Iterator[Wire]:
    _official.begin()
    yield _official
    _official.server.check()


# -------------------------------- what is committed, and when


@pytest.mark.parametrize("wait", [0.0, 0.1])
def test_an_early_error_keeps_its_status_for_a_streaming_request(wire: Wire, wait: float) -> None:
    refusal = scripted.openai_error(400, "No such thing.", "invalid_request_error")
    wire.play([Reply(refusal.status, refusal.steps, wait=wait)])
    answer = wire.post(stream=True)
    assert answer.status == 400 and answer.headers["content-type"] == "application/json"
    check_error(answer.json)
    assert "No such thing." in answer.json["error"]["message"]


def test_an_early_error_after_a_200_gets_its_own_status(wire: Wire) -> None:
    """Some servers say 200 at once, and only then find out."""
    chunk = b'data: {"error": {"message": "no such tool", "type": "invalid_request_error", "code": 400}}\n\n'
    wire.play([Reply(200, (Wait(0.1), chunk), kind=scripted.SSE, chunked=True)])
    answer = wire.post(stream=True)
    assert answer.status == 400 and answer.json["error"]["type"] == "invalid_request_error"


def test_a_late_error_is_an_event(wire: Wire) -> None:
    refusal = scripted.openai_error(400, "No such thing.", "invalid_request_error")
    wire.play([Reply(refusal.status, refusal.steps, wait=1.2)])
    answer = wire.post(stream=True)
    assert answer.status == 200
    events = answer.events
    assert types(events) == ["message_start", "error"]
    for event in events:
        check_event(event)
    assert events[-1]["error"]["type"] == "invalid_request_error"


def test_pings_are_sent_while_the_backend_is_silent(wire: Wire) -> None:
    before, between = Gate(), Gate()
    wire.play([Say("one two three", edit=lambda steps: [before, *steps[:3], between, *steps[3:]])])
    with Flow(wire.gateway) as flow:
        seen: list[dict[str, Any]] = []
        pings = 0
        for event in flow.events():
            seen.append(event)
            pings += event["type"] == "ping"
            # Each gate opens because of pings: without them the answer would not go on.
            if pings == 2:
                before.set()
            if pings == 4:
                between.set()
    for event in seen:
        check_event(event)
    names = types(seen)
    assert names.count("message_start") == 1 and names[0] == "message_start" and names[-1] == "message_stop"
    assert texts(seen) == "one two three"
    assert seen[0]["message"]["model"] == ASK["model"]


def test_a_backend_that_sends_no_first_byte_is_a_timeout(wire: Wire) -> None:
    wire.play([Say("x", wait=60)])
    answer = wire.post()
    assert answer.status == 504 and answer.json["error"]["type"] == "timeout_error"
    assert wire.received[0].left()


def test_each_piece_of_text_is_sent_when_it_arrives(wire: Wire) -> None:
    gates = [Gate() for _ in range(10)]

    def gated(steps: list[scripted.Step]) -> list[scripted.Step]:
        """A gate before each piece of text."""
        edited: list[scripted.Step] = []
        rest = iter(gates)
        for step in steps:
            if isinstance(step, bytes) and b'"a"' in step:
                edited.append(next(rest))
            edited.append(step)
        return edited

    wire.play([Say(["a"] * 10, edit=gated)])
    gates[0].set()
    received = 0
    with Flow(wire.gateway) as flow:
        for event in flow.events():
            if event["type"] == "content_block_delta":
                received += 1
                # The next piece is written only now that this one has arrived.
                if received < len(gates):
                    gates[received].set()
    assert received == 10


# -------------------------------- failover


@contextmanager
def pair(
    first: scripted.Script, second: scripted.Script, **timeouts: float
) -> Iterator[tuple[Gateway, Scripted, Scripted]]:
    """Byway with two targets in order."""
    quick = {"commit_after": 0.6, "ping_after": 0.6, **timeouts}
    with (
        Scripted(first) as first_server,
        Scripted(second) as two,
        Gateway(config(first_server, two, timeouts=quick)) as gateway,
    ):
        yield gateway, first_server, two


FAILING: dict[str, Reply | Say] = {
    "500": scripted.vllm_error(500, "CUDA error", "InternalServerError"),
    "429": scripted.openai_error(429, "Slow down.", "requests", retry_after="30"),
    "401": scripted.openai_error(401, "Incorrect API key.", "invalid_request_error"),
    "404": scripted.ollama_error(404, 'model "local" not found'),
    "loading": scripted.llamacpp_error(503, "Loading model", "unavailable_error"),
    "a page": scripted.page(200, "Sign in"),
    "reset before the head": Reply(0, (End.RESET,)),
    "closed before any content": Say("never", edit=cut(1)),
    "an error chunk": scripted.sse({"error": {"message": "no"}}),
    "pings, then an error": Reply(503, scripted.ollama_error(503, "busy").steps, wait=1.0),
}


@pytest.mark.parametrize("name", FAILING)
def test_the_next_target_answers_when_the_first_cannot(name: str) -> None:
    with pair([FAILING[name]] * (2 if "reset" in name else 1), [Say("from the second")]) as (gateway, resource, two):
        answer = gateway.post(STREAM)
        assert answer.status == 200, answer.body
        events = answer.events
        for event in events:
            check_event(event)
        names = types(events)
        assert names.count("message_start") == 1 and names[-1] == "message_stop" and "error" not in names
        assert texts(events) == "from the second"
        # A connection that rested in the pool and is reset is tried again, once, on a fresh one: it may just have been closed.
        assert (len(resource.requests), len(two.requests)) in ((1, 1), (2, 1) if "reset" in name else (1, 1))
        if "pings" not in name:
            assert answer.headers["x-byway-backend"] == "two"
        gateway.wait(lambda: gateway.requests(), what="the request is logged")
        assert gateway.requests()[0]["backend"] == "two" and gateway.requests()[0]["tries"] == 2


def test_a_target_that_is_not_running_is_skipped() -> None:
    with socket.socket() as taken, Scripted([Say("from the second")] * 2) as two:
        taken.bind(("127.0.0.1", 0))
        settings = config(two, two)
        settings["backends"][0]["url"] = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with Gateway(settings) as gateway:
            for _ in range(2):
                assert gateway.post(ASK).json["content"][0]["text"] == "from the second"


def test_no_retry_after_content_was_sent() -> None:
    with pair([Say("one two three", edit=cut(3))], []) as (gateway, _, two):
        broken(gateway.post(STREAM))
        assert two.requests == []


@pytest.mark.parametrize(
    "reply",
    [scripted.openai_error(400, "Bad.", "invalid_request_error"), scripted.llamacpp_overflow(9000, 8192)],
    ids=["a refusal", "an overflow"],
)
def test_a_bad_request_is_not_sent_to_the_next_target(reply: Reply) -> None:
    with pair([reply], []) as (gateway, _, two):
        assert gateway.post(ASK).status == 400
        assert two.requests == []


def test_the_last_target_is_tried_however_often_it_failed(wire: Wire) -> None:
    wire.play([scripted.vllm_error(500, "CUDA error", "InternalServerError")] * 12)
    for _ in range(6):
        assert wire.post().status == 502
    assert len(wire.received) == 12, "one retry each"
    wire.play([Say("well again")])
    assert wire.post().status == 200


def test_when_all_targets_fail_the_last_error_mentions_the_others() -> None:
    first = scripted.llamacpp_error(503, "Loading model", "unavailable_error")
    second = scripted.openai_error(400, "No.", "invalid_request_error")
    with pair([first], [second]) as (gateway, _, _):
        answer = gateway.post(ASK)
        assert answer.status == 400 and "No." in answer.json["error"]["message"]


# -------------------------------- requests that are none


def test_a_body_with_a_too_large_content_length_is_not_read(wire: Wire) -> None:
    answer = raw(wire.gateway, request(b"", content_length=str((32 << 20) + 1)))
    assert answer.status == 413 and answer.json["error"]["type"] == "request_too_large"
    check_error(answer.json)


def test_a_body_that_grows_too_long_is_cut_off(wire: Wire) -> None:
    head = b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n"
    piece = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    with line(wire.gateway, head) as peer:
        with suppress(OSError):
            for _ in range(40):
                peer.sendall(piece)
        answer = answered(peer)
    assert answer.status == 413 and answer.json["error"]["type"] == "request_too_large"


def test_a_client_that_sends_it_all_before_it_reads_still_reads_the_refusal(wire: Wire) -> None:
    answer = wire.gateway.post(b" " * ((32 << 20) + 1))
    assert answer.status == 413


def test_a_body_of_31_mib_is_fine(wire: Wire) -> None:
    wire.play([Say("Long.")])
    answer = wire.gateway.post({**ASK, "messages": [{"role": "user", "content": "x" * (31 << 20)}]})
    assert answer.status == 200
    assert len(wire.received[0].body) > 31 << 20


def _with(**fields: Any) -> bytes:
    return json.dumps({**ASK, **fields}).encode()


def _with_message(content: Any, role: str = "user") -> bytes:
    return _with(messages=[{"role": "user", "content": "hi"}, {"role": role, "content": content}])


BAD: dict[str, bytes] = {
    "nothing": b"",
    "a brace": b"{",
    "no JSON": b"hello",
    "bytes that are no text": b'{"model": "\xff\xfe"}',
    "null": b"null",
    "a list": b"[]",
    "a string": b'"x"',
    "two values": _with() + b"{}",
    "NaN": _with().replace(b"100", b"NaN"),
    "a depth bomb": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a depth bomb in a message": _with_message("@").replace(b'"@"', b"[" * 50_000 + b"]" * 50_000),
    "a depth bomb in a tool": _with(tools=[{"name": "x", "input_schema": "@"}]).replace(
        b'"@"', b'{"a":' * 20_000 + b"1" + b"}" * 20_000
    ),
    "a lone surrogate": _with_message("@").replace(b"@", rb"\ud800"),
    "a lone surrogate in the model": _with(model="@").replace(b"@", rb"\udfff"),
    "a lone surrogate in a key": _with_message([{"type": "text", "text": "x", "@": 1}]).replace(b"@", rb"\ud800"),
    "a number of thousands of digits": _with(max_tokens="@").replace(b'"@"', b"1" * 5000),
    "thousands of digits in a tool": _with(tools=[{"name": "x", "input_schema": {"maximum": "@"}}]).replace(
        b'"@"', b"1" * 5000
    ),
    "no model": json.dumps({"max_tokens": 1, "messages": ASK["messages"]}).encode(),
    "a model that is no text": _with(model=7),
    "no messages": json.dumps({"model": "x", "max_tokens": 1}).encode(),
    "empty messages": _with(messages=[]),
    "messages that are no list": _with(messages="hi"),
    "a message that is no object": _with(messages=["hi"]),
    "an unknown role": _with_message("x", "robot"),
    "no content": _with(messages=[{"role": "user"}]),
    "content of a wrong type": _with_message(7),
    "null content": _with_message(None),
    "a block that is no object": _with_message(["x"]),
    "a block without type": _with_message([{"text": "x"}]),
    "a text that is none": _with_message([{"type": "text", "text": 7}]),
    "tool_use without id": _with_message([{"type": "tool_use", "name": "x", "input": {}}], "assistant"),
    "tool_use without name": _with_message([{"type": "tool_use", "id": "x", "input": {}}], "assistant"),
    "tool_result without id": _with_message([{"type": "tool_result", "content": "x"}]),
    "negative max_tokens": _with(max_tokens=-1),
    "max_tokens that is no number": _with(max_tokens="many"),
    "stream that is no boolean": _with(stream="yes"),
    "tools that are no list": _with(tools="all"),
    "a tool without name": _with(tools=[{"input_schema": {"type": "object"}}]),
    "stop sequences that are none": _with(stop_sequences=7),
    "system of a wrong type": _with(system=7),
}


#: What a request for a count need not look at.
NOT_COUNTED: Final = (
    "negative max_tokens",
    "max_tokens that is no number",
    "stream that is no boolean",
    "stop sequences that are none",
)


@pytest.mark.parametrize("name", BAD)
def test_an_invalid_request_is_a_400(wire: Wire, name: str) -> None:
    wire.play([])
    answer = wire.gateway.post(BAD[name])
    assert answer.status == 400, (answer.status, answer.body)
    check_error(answer.json)
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert wire.received == [], "the backend was not asked"
    counted = wire.gateway.post(BAD[name], "/v1/messages/count_tokens")
    assert counted.status == 400 or (counted.status == 200 and name in NOT_COUNTED), counted.body


def test_an_odd_but_official_request_is_fine(wire: Wire) -> None:
    wire.play([Say("x")])
    messages = [
        {"role": "user", "content": "one"},
        {"role": "user", "content": [{"type": "text", "text": "two", "cache_control": {"type": "ephemeral"}}]},
        {"role": "system", "content": "in the middle"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "foreign"}]},
        {"role": "user", "content": [{"type": "text", "text": ""}]},
    ]
    answer = wire.post(
        messages=messages, tools=[], metadata={"user_id": '{"a":1}'}, service_tier="auto", mcp_servers=[]
    )
    assert answer.status == 200, answer.body
    texts = json.dumps(wire.received[0].json["messages"])
    assert "one" in texts and "two" in texts and "in the middle" in texts and "foreign" not in texts


def test_a_block_that_is_not_known_still_reaches_the_model(wire: Wire, official: Wire) -> None:
    """Never dropped in silence: the model would answer without what it was asked about."""
    messages = [{"role": "user", "content": [{"type": "some_future_block", "data": "of the future"}]}]
    wire.play([Say("x")])
    assert wire.post(messages=messages).status == 200
    assert "of the future" in wire.received[0].json["messages"][-1]["content"]
    official.play([Say("x")])
    assert official.post(messages=messages).status == 200
    assert official.received[0].json["messages"] == messages


# -------------------------------- the doors

ROUTES: Final = [
    ("POST", "/v1/messages"),
    ("POST", "/anthropic/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/local"),
    ("HEAD", "/"),
    ("HEAD", "/api/hello"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/healthz"),
    ("GET", "/nothing/here"),
]


def knock(gateway: Gateway, method: str, path: str, *headers: str) -> Answer:
    """A request with exactly these headers."""
    body = json.dumps(ASK).encode() if method == "POST" else b""
    lines = [*headers, f"content-length: {len(body)}", "connection: close"]
    with line(
        gateway,
        f"{method} {path} HTTP/1.1\r\n{''.join(f'{name}{chr(13)}{chr(10)}' for name in lines)}\r\n".encode() + body,
    ) as peer:
        response = http.client.HTTPResponse(peer, method=method)
        response.begin()
        with response:
            return Answer(
                response.status, {name.lower(): text for name, text in response.getheaders()}, response.read()
            )


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:38080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example/health?",
        "10.0.0.1",
        "",
    ],
)
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_an_unlisted_host_name_is_rejected_on_every_route(wire: Wire, method: str, path: str, host: str) -> None:
    wire.play([])
    answer = knock(wire.gateway, method, path, f"host: {host}")
    assert answer.status in (400, 421), (answer.status, answer.body)
    if method != "HEAD" and answer.status == 421:
        check_error(answer.json)
    assert wire.received == []


def test_two_hosts_are_one_too_many(wire: Wire) -> None:
    answer = raw(
        wire.gateway, b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n"
    )
    assert answer.status == 400 and "more than one Host" in answer.json["error"]["message"]


@pytest.mark.parametrize("origin", ["http://[x", "null", "http://evil.example"])
def test_an_origin_of_any_form_is_refused(wire: Wire, origin: str) -> None:
    assert wire.gateway.get("/v1/models", headers={"origin": origin}).status == 403


def test_a_limit_of_any_length_is_refused(wire: Wire) -> None:
    assert wire.gateway.get(f"/v1/models?limit=1{'0' * 5000}").status == 400
    assert wire.gateway.get(f"/v1/models?limit=000001{'0' * 5000}").status == 400


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:38080", "[::1]:38080", "byway.localhost"]
)
def test_the_names_of_this_machine_are_fine(wire: Wire, host: str) -> None:
    assert knock(wire.gateway, "GET", "/v1/models", f"host: {host}").status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "file://"])
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_pages_of_other_sites_are_refused_at_every_door(wire: Wire, method: str, path: str, origin: str) -> None:
    wire.play([])
    answer = knock(wire.gateway, method, path, "host: 127.0.0.1", f"origin: {origin}")
    assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers
    assert wire.received == []


def test_allowed_hosts_and_origins_are_let_in() -> None:
    doors = {"allowed_hosts": ["gw.example.com"], "allowed_origins": ["https://chat.example.org"]}
    with Scripted() as server, Gateway(config(server, server=doors)) as gateway:
        assert knock(gateway, "GET", "/v1/models", "host: gw.example.com:8080").status == 200
        assert knock(gateway, "GET", "/v1/models", "host: other.example.com").status == 421
        assert knock(gateway, "GET", "/v1/models", "host: localhost", "origin: https://chat.example.org").status == 200
        assert knock(gateway, "GET", "/v1/models", "host: localhost", "origin: https://example.org").status == 403


def test_without_keys_anybody_may_come_in(wire: Wire) -> None:
    for headers in ({}, {"x-api-key": ""}, {"x-api-key": "any"}, {"authorization": "Bearer any"}):
        wire.play([Say("x")])
        assert wire.gateway.post(ASK, headers=headers).status == 200


@pytest.mark.parametrize("mode", ["blocking", None])
def test_with_keys_only_they_open(mode: str | None) -> None:
    keys: dict[str, Any] = {
        "api_keys": [{"key": "sk-good-0123456789", "id": "me"}, {"key": "sk-off", "enabled": False}]
    }
    if mode:
        keys["mode"] = mode
    with Scripted([Say("x")] * 3) as server, Gateway(config(server, api_keys=keys)) as gateway:
        refused = []
        for headers in (
            {},
            {"x-api-key": ""},
            {"x-api-key": "sk-good-012345678"},
            {"x-api-key": "sk-off"},
            {"authorization": "Bearer sk-wrong"},
            {"authorization": "Basic sk-good-0123456789"},
            {"x-api-key": "ü'; DROP TABLE keys"},
        ):
            data = {name: text.encode("utf-8").decode("latin-1") for name, text in headers.items()}
            answer = gateway.post(ASK, headers=data)
            assert answer.status == 401 and answer.headers["x-should-retry"] == "false", headers
            check_error(answer.json)
            refused.append(answer.json["error"])
            assert gateway.get("/v1/models", data).status == 401
        assert all(error == refused[0] for error in refused), "an unknown key looks as a malformed one does"
        assert refused[0]["type"] == "authentication_error" and server.requests == []
        for headers in (
            {"x-api-key": "sk-good-0123456789"},
            {"authorization": "Bearer sk-good-0123456789"},
            {"x-api-key": "other", "authorization": "Bearer sk-good-0123456789"},
        ):
            assert gateway.post(ASK, headers=headers).status == 200
        for path in ("/livez", "/readyz"):
            assert gateway.get(path).status == 200
        gateway.wait(
            lambda: len([value for value in gateway.requests() if value.get("key") == "me"]) == 3, 5, "the log names it"
        )
        assert "sk-good" not in gateway.text


def test_permissive_keys_only_give_names() -> None:
    keys = {"mode": "permissive", "api_keys": [{"key": "sk-good-0123456789", "id": "me"}]}
    with Scripted([Say("x")] * 3) as server, Gateway(config(server, api_keys=keys)) as gateway:
        for headers in ({}, {"x-api-key": "other"}, {"x-api-key": "sk-good-0123456789"}):
            assert gateway.post(ASK, headers=headers).status == 200
        gateway.wait(lambda: len(gateway.requests()) == 3, what="three requests in the log")
        assert [value.get("key") for value in gateway.requests()] == [None, None, "me"]


def test_nothing_of_the_clients_own_connection_goes_on(wire: Wire, official: Wire) -> None:
    headers = {
        "x-api-key": "sk-mine",
        "authorization": "Bearer sk-mine-too",
        "cookie": "session=1",
        "x-forwarded-for": "10.1.2.3",
        "forwarded": "for=10.1.2.3",
        "via": "1.1 other",
        "connection": "x-secret-hop",
        "x-secret-hop": "1",
        "x-app": "cli",
        "user-agent": "claude-cli/2.1.329",
        "anthropic-beta": "one-2025-01-01,two-2026-01-01",
        "anthropic-version": "2026-10-21",
    }
    for value in (wire, official):
        value.play([Say("x")])
        assert value.gateway.post(ASK, "/v1/messages?beta=true", headers).status == 200
        (outcome,) = value.received
        sent = " ".join(f"{name}: {text}" for name, text in outcome.headers.items())
        for word in ("sk-mine", "session=1", "10.1.2.3", "1.1 other", "x-secret-hop", "x-app"):
            assert word not in sent, sent
        assert "beta=true" not in outcome.path or value is official
    (outcome,) = official.received
    assert outcome.headers["anthropic-beta"] == headers["anthropic-beta"]
    assert outcome.headers["anthropic-version"] == headers["anthropic-version"]
    assert list(outcome.json.items()) == list({**ASK, "model": "local"}.items()), "only the model is changed"


# -------------------------------- paths


@pytest.mark.parametrize("prefix", ["", "/anthropic", "/v1", "/anthropic/v1", "/anthropic/v1/messages", "//anthropic/"])
def test_every_prefix_that_a_base_url_can_give_is_served(wire: Wire, prefix: str) -> None:
    wire.play([Say("x")])
    answer = wire.gateway.post(ASK, f"{prefix}/v1/messages?beta=true")
    assert answer.status == 200, answer.body
    check_message(answer.json)
    assert wire.gateway.post(ASK, f"{prefix}/v1/messages/count_tokens?beta=true").status == 200
    assert wire.gateway.get(f"{prefix}/v1/models?limit=1000").status == 200
    assert wire.gateway.get(f"{prefix}/v1/models/local").json["id"] == "local"


@pytest.mark.parametrize("path", ["/", "/api/hello", "/anthropic", "/anthropic/", "/anthropic/api/hello"])
def test_hello_is_answered(wire: Wire, path: str) -> None:
    answer = knock(wire.gateway, "HEAD", path, "host: 127.0.0.1")
    assert answer.status == 200 and answer.body == b"" and answer.headers["request-id"]


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1/completion", "/anthropic/v1/messages/nothing", "/v1/messages/x", "/../etc/passwd", "/%00"]
)
def test_an_unknown_path_is_a_404_in_the_envelope(wire: Wire, path: str) -> None:
    for method in ("GET", "POST"):
        answer = wire.gateway.ask(method, path, b"{}" if method == "POST" else None)
        assert answer.status == 404, (method, path, answer.status)
        check_error(answer.json)
        assert answer.json["error"]["type"] == "not_found_error"
        assert answer.json["request_id"] == answer.headers["request-id"]


def test_a_wrong_method_is_a_405(wire: Wire) -> None:
    for method, path in (("GET", "/v1/messages"), ("DELETE", "/v1/models"), ("PUT", "/v1/messages")):
        answer = wire.gateway.ask(method, path)
        assert answer.status == 405
        check_error(answer.json)


def test_every_answer_has_a_request_id_of_its_own(wire: Wire) -> None:
    wire.play([Say("x")] * 6)
    ids = [
        knock(wire.gateway, method, path, "host: 127.0.0.1").headers.get("request-id") for method, path in ROUTES * 2
    ]
    assert all(id and id.startswith("req_") for id in ids)
    assert len(set(ids)) == len(ids)


# -------------------------------- a config that is edited, and the end


def test_an_edit_takes_effect_without_interrupting_a_stream() -> None:
    with Scripted([Say(["a"] * 30, gap=0.1)]) as first_server, Scripted([Say("new")] * 2) as two:
        before, after = config(first_server, two), config(first_server, two)
        before["model_aliases"] = {"default": "one/local"}
        after["model_aliases"] = {"default": "two/local"}
        with Gateway(before) as gateway, Flow(gateway) as flow:
            events = flow.events()
            seen = [next(events) for _ in range(5)]
            gateway.write(after)
            gateway.wait(lambda: gateway.post(ASK, "/v1/messages/count_tokens").headers["x-byway-backend"] == "two")
            assert gateway.post(ASK).json["content"][0]["text"] == "new"
            seen += events
            assert texts(seen) == "a" * 30 and seen[-1]["type"] == "message_stop"
            assert (len(first_server.requests), len(two.requests)) == (1, 1)


@pytest.mark.parametrize(
    "bad",
    ["backends: [", "backends: 7", '{"no_such_setting": 1}', '{"backends": [{"name": "x", "type": "no_such_type"}]}'],
)
def test_an_invalid_edit_keeps_the_running_config_and_is_reported(bad: str) -> None:
    with Scripted([Say("still here"), Say("again")]) as server:
        good = config(server)
        with Gateway(good) as gateway:
            assert gateway.get("/readyz").json["config"] == "good"
            gateway.write(bad)
            gateway.wait(
                lambda: gateway.get("/readyz").json["config"] != "good", what="/readyz says that the edit is bad"
            )
            assert gateway.get("/readyz").status == 200, "what runs is still ready"
            assert gateway.post(ASK).json["content"][0]["text"] == "still here"
            gateway.wait(
                lambda: [entry for entry in gateway.logs if entry.get("level") in ("warning", "error")],
                what="the log says so too",
            )
            gateway.write(good)
            gateway.wait(
                lambda: gateway.get("/readyz").json["config"] == "good", what="/readyz says that it is good again"
            )
            assert gateway.post(ASK).json["content"][0]["text"] == "again"


def test_a_setting_that_needs_a_restart_is_reported() -> None:
    with Scripted() as server, Gateway(config(server)) as gateway:
        gateway.write(config(server, server={"bind_address": "127.0.0.1:1"}))
        gateway.wait(lambda: "restart" in gateway.text, what="the log says that it needs a restart")
        assert gateway.get("/livez").status == 200


def test_sigterm_finishes_streams_and_accepts_no_new_requests() -> None:
    with Scripted([Say(["a"] * 15, gap=0.1)]) as server:
        with Gateway(config(server)) as gateway:
            with Flow(gateway) as flow:
                events = flow.events()
                seen = [next(events) for _ in range(4)]
                gateway.process.send_signal(signal.SIGTERM)
                gateway.wait(lambda: "Stopping" in gateway.text, what="the signal was handled")
                with suppress(OSError, http.client.HTTPException):
                    assert gateway.post(ASK).status in (503, 529)
                seen += events
            assert texts(seen) == "a" * 15 and seen[-1]["type"] == "message_stop"
            assert gateway.process.wait(60) == 0
        assert len(server.requests) == 1


def test_a_stream_longer_than_the_drain_time_ends_with_an_error() -> None:
    hanging = Say("one two", edit=cut(3, End.HANG))
    with (
        Scripted([hanging]) as server,
        Gateway(config(server, timeouts={"drain": 1})) as gateway,
        Flow(gateway) as flow,
    ):
        events = flow.events()
        while next(events)["type"] != "content_block_delta":
            pass
        gateway.process.send_signal(signal.SIGTERM)
        rest = list(events)
        assert types(rest)[-1] == "error" and rest[-1]["error"]["type"] == "overloaded_error"
        assert gateway.process.wait(60) == 0
        assert server.last.left()


def test_a_second_signal_stops_byway_at_once() -> None:
    with Scripted([Say("one two", edit=cut(3, End.HANG))]) as server:
        gateway = Gateway(config(server, timeouts={"drain": "10m"})).start()
        try:
            with Flow(gateway) as flow:
                next(flow.events())
                gateway.process.send_signal(signal.SIGTERM)
                gateway.wait(lambda: "Stopping" in gateway.text, what="the signal was handled")
                assert gateway.process.poll() is None, "it waits for the stream"
                gateway.process.send_signal(signal.SIGTERM)
                # The stream hangs, and draining it would take ten minutes.
                gateway.process.wait(60)
        finally:
            with suppress(AssertionError):
                gateway.stop(1)
