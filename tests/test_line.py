"""Every case through the whole app, from the client's bytes to the client's bytes, with a scripted network."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import msgspec
import pytest
from casefile import Case, Reply, Turn, cases
from grammar import summary
from loaded import loaded
from papers import InProcess
from strict import check_error, check_event, check_message
from test_cases import compare

from byway.backends.protocol import ModelFacts
from byway.call import Call
from byway.gateway import Gateway
from byway.parsing.cache import PdfCache
from byway.runtime import Runtime
from byway.server.app import App

ALL = [case for protocol in ("openai", "anthropic") for case in cases(protocol)]
REPLIED = [pytest.param(case, id=case.id) for case in ALL if case.turns[-1].replies]
REFUSED = [pytest.param(case, id=case.id) for case in ALL if case.turns[-1].problem and not case.turns[-1].replies]


class Answered:
    """An answer of the case, in pieces of a few bytes."""

    sent_at = connecting = 0.0
    is_read = False

    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.headers = reply.headers
        size = max(7, len(reply.body) // 50)
        self._pieces = [reply.body[at : at + size] for at in range(0, len(reply.body), size)]

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def body(self, limit: int = 0) -> bytes:
        return b"".join(self._pieces)

    def finish(self) -> None:
        self.close()

    def close(self) -> None:
        self._pieces = []


class Network:
    """Stands where `upstream.Upstream` does: gives the case's replies in order, the last one again when asked again."""

    def __init__(self, replies: list[Reply]) -> None:
        self._replies = list(replies)
        self.calls: list[Call] = []

    async def open(self, call: Call) -> Answered:
        self.calls.append(call)
        return Answered(self._replies.pop(0) if len(self._replies) > 1 else self._replies[0])

    async def close(self) -> None:
        pass


async def ask(case: Case, turn: Turn, network: Network) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the app's answer to the turn."""
    model = case.target.get("model", "local")
    vendor = case.target.get("vendor", "anthropic" if case.protocol == "anthropic" else "generic")
    backend = {"name": "box", "type": vendor, "url": "http://127.0.0.1:9", "models": [model]}
    runtime = Runtime(loaded({"backends": [backend], "model_aliases": {"default": ["box/" + model]}}))
    runtime.pdfs = PdfCache(InProcess())
    live = runtime.backends["box"]
    live.upstream = cast(Any, network)
    live.registry.report(model, ModelFacts(int(case.target["window"]) if "window" in case.target else None))
    sent: list[Any] = []
    came = [{"type": "http.request", "body": turn.body, "more_body": False}]

    async def receive() -> Any:
        return came.pop() if came else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    headers = {"host": "127.0.0.1", "content-length": str(len(turn.body)), **turn.headers}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/anthropic/v1/messages",
        "query_string": b"beta=true",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 38080),
    }
    await App(Gateway(runtime))(scope, receive, send)
    await runtime.close()
    assert [message["type"] for message in sent].count("http.response.start") == 1
    assert not sent[-1].get("more_body"), "the answer is brought to its end"
    head = {name.decode().lower(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return sent[0]["status"], head, b"".join(message.get("body", b"") for message in sent[1:])


def events(body: bytes) -> list[dict[str, Any]]:
    frames = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n")
    return [json.loads(line[5:]) for frame in frames for line in frame.split(b"\n") if line.startswith(b"data:")]


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once."""
    monkeypatch.setattr("byway.pipeline.targets._PAUSE", 0.0)


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize("case", REPLIED)
def test_the_client_gets_the_events_of_the_case(case: Case) -> None:
    turn = case.turns[-1]
    network = Network(turn.replies)
    status, head, body = asyncio.run(ask(case, turn, network))
    assert head["request-id"].startswith("req_")
    stream = msgspec.json.decode(turn.body).get("stream", False)
    if status != 200:
        assert turn.problem is not None
        _refused(turn, status, head, json.loads(body))
        return
    assert (head["x-byway-backend"], head["x-byway-model"]) == ("box", f"box/{case.target.get('model', 'local')}")
    result = events(body) if stream else [json.loads(body)]
    assert head["content-type"].startswith("text/event-stream" if stream else "application/json")
    if turn.problem is None:
        compare(summary(result), turn.events or [])
    else:
        check_error(result[-1])
        assert _text(turn, result[-1]["error"]["message"])
        compare(summary(result[:-1], ended=False), turn.events or [])
    if "unknown" not in case.path.stem:
        for event in result:
            (check_event if stream else check_message)(event)


@pytest.mark.parametrize("case", REFUSED)
def test_a_rejected_request_calls_no_backend(case: Case) -> None:
    network = Network([])
    status, head, body = asyncio.run(ask(case, case.turns[-1], network))
    _refused(case.turns[-1], status, head, json.loads(body))
    assert not network.calls, "no backend is asked"


def _refused(turn: Turn, status: int, head: dict[str, str], body: dict[str, Any]) -> None:
    assert turn.problem is not None
    check_error(body)
    assert _text(turn, body["error"]["message"])
    facts = turn.problem.facts
    assert status == int(facts.get("status", status))
    assert float(head.get("retry-after", 0)) == float(facts.get("retry_after", head.get("retry-after", 0)))
    assert head.get("x-should-retry") == facts.get("retry", head.get("x-should-retry"))
    assert not (turn.events or []), "with content sent the status is 200"


def _text(turn: Turn, message: str) -> bool:
    assert turn.problem is not None
    return all(
        message == text if mark == "=" else (text in message) == (mark == "~") for mark, text in turn.problem.rules
    )
