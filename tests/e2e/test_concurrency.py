"""`backends[].max_concurrent` through the real gateway: failover, 529, a queue that a client leaves; the connection pool."""

from __future__ import annotations

import socket
import threading
from typing import Any

from gateway import Answer, Gateway, config
from scripted import Gate, Say, Scripted, Step

ASK = {"model": "sonnet", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}


def limited(*servers: Scripted, **settings: Any) -> dict[str, Any]:
    """A config whose first backend has `settings`."""
    made = config(*servers)
    made["backends"][0] |= settings
    return made


class Held:
    """A request in a thread, whose answer waits at the backend until `end`."""

    def __init__(self, gateway: Gateway) -> None:
        self.gate = Gate()
        self.answers: list[Answer] = []
        self._thread = threading.Thread(target=lambda: self.answers.append(gateway.post({**ASK, "stream": True})))

    def say(self) -> Say:
        def edit(steps: list[Step]) -> list[Step]:
            return [*steps[:2], self.gate, *steps[2:]]

        return Say("one two three", edit=edit)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> Answer:
        self.gate.set()
        self._thread.join(60)
        return self.answers[0]


def test_a_request_beyond_the_limit_goes_to_the_second_target_and_no_cool_down_starts() -> None:
    with (
        Scripted() as first,
        Scripted() as second,
        Gateway(limited(first, second, max_concurrent=1, max_queued=0)) as gateway,
    ):
        held = Held(gateway)
        first.play([held.say(), Say("again")])
        second.play([Say("second")])
        held.start()
        first.wait_for(1)
        assert gateway.post(ASK).headers["x-byway-backend"] == "two"
        assert held.end().events[-1]["type"] == "message_stop"
        assert gateway.post(ASK).headers["x-byway-backend"] == "one", "a full backend has not failed"


def test_a_request_beyond_limit_and_queue_gets_a_529_without_another_target() -> None:
    with Scripted() as server, Gateway(limited(server, max_concurrent=1, max_queued=0)) as gateway:
        held = Held(gateway)
        server.play([held.say()])
        held.start()
        server.wait_for(1)
        answer = gateway.post(ASK)
        assert (answer.status, answer.json["error"]["type"]) == (529, "overloaded_error")
        assert answer.headers["retry-after"] == "5"
        assert "Backend 'one' is busy: 1 requests run and none may wait" in answer.json["error"]["message"]
        assert held.end().status == 200
        assert len(server.requests) == 1


def test_a_request_waits_in_the_queue_until_the_stream_before_it_has_ended() -> None:
    with Scripted() as server, Gateway(limited(server, max_concurrent=1)) as gateway:
        held, waiting = Held(gateway), Held(gateway)
        server.play([held.say(), Say("second")])
        held.start()
        server.wait_for(1)
        waiting.start()
        # A token count is no request to a model: it takes no slot.
        assert gateway.post(ASK, "/v1/messages/count_tokens").status == 200
        assert len(server.requests) == 1
        assert held.end().status == 200
        assert waiting.end().status == 200
        assert len(server.requests) == 2


def test_a_client_that_leaves_the_queue_never_reaches_the_backend() -> None:
    with Scripted() as server, Gateway(limited(server, max_concurrent=1)) as gateway:
        held = Held(gateway)
        server.play([held.say(), Say("third")])
        held.start()
        server.wait_for(1)
        body = b'{"model":"sonnet","max_tokens":5,"messages":[{"role":"user","content":"left"}]}'
        head = b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n" % len(body)
        with socket.create_connection(("127.0.0.1", gateway.port)) as client:
            client.sendall(head + body)
            # The answer of a later request shows that the first one was read.
            assert gateway.get("/readyz").status == 200
        gateway.wait(
            lambda: any(line.get("status") == 499 for line in gateway.requests()), 10, "the client's leave is logged"
        )
        assert held.end().status == 200
        assert gateway.post(ASK).status == 200
        assert [request.json["messages"][-1]["content"] for request in server.requests] == ["hi", "hi"]


def test_a_finished_answer_returns_its_connection_to_the_pool() -> None:
    with Scripted() as server, Gateway(config(server)) as gateway:
        server.play([Say("one"), Say("two"), Say("three")])
        for stream in (False, True, False):
            assert gateway.post({**ASK, "stream": stream}).status == 200
        assert len({id(request.connection) for request in server.requests}) == 1
