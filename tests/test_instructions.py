"""How many bytecode instructions Python runs for a request: counted, so that the load of the machine does not matter.

A test that fails here has found work that each request does and did not do before. Do it only where it is needed, or once for
each backend; `python -m bench steps COMMIT` shows the functions. Raise a limit only for work that every request needs.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final, cast

import codexrecordings
import pytest
from test_targets import Network, chat_answer, runtime

from bench import bodies, steps, team
from bench.counted import InstructionCounter
from byway.backends.openai import completions
from byway.backends.protocol import Target
from byway.backends.vendors import VENDORS
from byway.fronts.responseevents import NewResponse, ResponseWriter
from byway.fronts.responsetools import Names
from byway.gateway import Gateway
from byway.messages import sse
from byway.messages.request import parse
from byway.responseitems import ResponseObject
from byway.routes.context import Responder
from byway.server.app import App
from byway.store import StoreError, UsageStore
from byway.usage.recorder import UsageRecorder

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11) or sys.gettrace() is not None,
    reason="each version of Python has other instructions, and a debugger or coverage counts too",
)
#: The first requests to a model are weighed to learn how many tokens a byte is.
_WARM: Final = 20
_TIMES: Final = 3
#: A request of 1 KB took 4,269 when this was written, one of 60 KB 7,251, a chunk 330 (2026-11-30).
_SMALL: Final = 4_450
_LARGE: Final = 7_550
_CHUNK_LIMIT: Final = 360
#: What usage records add to a request of 1 KB took 336, and with keys, prices, limits and a budget 1,140 (2026-11-30).
_USAGE: Final = 350
_EVERYTHING: Final = 1_170
#: What metrics add to a request took 240 (2026-11-30).
_METRICS: Final = 260
#: A Responses request of 1 KB took 4,770, the second one of a turn of Codex 6,570 (2026-11-30).
_RESPONSES: Final = 4_950
_CODEX: Final = 6_850
_CHUNK: Final = (
    b'data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "},'
    b'"finish_reason":null}]}\n\n'
)


class Client(Responder):
    """Byway's own server for one request: its whole body has arrived, and its response is whole."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.statuses: list[int] = []

    async def receive(self) -> dict[str, Any]:
        raise AssertionError("the body was there")

    def whole_body(self) -> bytes:
        return self.body

    def respond(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, lines: bytes) -> None:
        self.statuses.append(status)


def instructions(work: Any) -> int:
    """Byway's instructions in a call of `work`, the least of some calls after the first ones, which fill the caches."""
    for _ in range(_WARM):
        work()
    counter, least = InstructionCounter(), sys.maxsize
    for _ in range(_TIMES):
        counter.start()
        work()
        functions = counter.stop()
        least = min(least, sum(count for name, count in functions.items() if name.startswith("byway/")))
    return least


def one_request(size: int, recorder: UsageRecorder | None = None, **sections: Any) -> int:
    """The instructions of the application for a Messages request of `size` bytes, without HTTP on either side."""
    return one_body(bodies.body(size, tokens=20, gap=0, stream=False), "/v1/messages", recorder, **sections)


def one_body(body: bytes, path: str, recorder: UsageRecorder | None = None, **sections: Any) -> int:
    """The same for a request with `body`."""
    at = runtime("mock", **sections)
    at.backends["mock"].upstream = cast(Any, Network((200, chat_answer({"prompt_tokens": 5, "completion_tokens": 1}))))
    if at.limiter is not None:
        at.limiter.trust_counts()
    gateway = Gateway(at)
    gateway.usage = recorder
    app = App(gateway)
    headers = {b"host": b"127.0.0.1", b"content-length": b"%d" % len(body), b"x-api-key": b"bench"}
    headers[b"user-agent"] = b"claude-cli/2.1.3 (external, cli)"
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    client = Client(body)

    async def serve() -> None:
        await app({**scope, "client": None, "server": ("127.0.0.1", 80)}, client.receive, cast(Any, client))

    with asyncio.Runner() as runner:
        count = instructions(lambda: runner.run(serve()))
    assert set(client.statuses) == {200}
    return count


def test_a_small_request_takes_a_bounded_number_of_instructions() -> None:
    assert one_request(1024) <= _SMALL


def test_a_main_turn_takes_a_bounded_number_of_instructions() -> None:
    assert one_request(60_000) <= _LARGE


def test_a_responses_request_takes_a_bounded_number_of_instructions() -> None:
    part = {"type": "input_text", "text": "x" * 900}
    small = {"model": "claude-bench", "input": [{"role": "user", "content": [part]}], "store": False}
    assert one_body(json.dumps(small).encode(), "/v1/responses") <= _RESPONSES
    codex = {**codexrecordings.body("mcp_unknown_model 1"), "model": "claude-bench", "stream": False}
    assert one_body(json.dumps(codex).encode(), "/v1/responses") <= _CODEX


def test_a_chat_completion_that_passes_through_takes_less_than_a_translated_request() -> None:
    """It is translated only for a backend with another API."""
    for size in (1024, 60_000):
        request = parse(bodies.body(size, tokens=20, gap=0, stream=False), {}, "msg_1")
        body = completions.request(request, Target("mock", "local", VENDORS["generic"])).body
        assert one_body(body, "/v1/chat/completions") < one_request(size)


def test_keys_usage_prices_and_limits_add_a_bounded_number_of_instructions(tmp_path: Path) -> None:
    off = one_request(1024)
    usage = one_request(1024, UsageRecorder(tmp_path, UsageStore(tmp_path), StoreError))
    everything = one_request(1024, UsageRecorder(tmp_path, UsageStore(tmp_path), StoreError), **team.ON)
    assert usage - off <= _USAGE
    assert everything - off <= _EVERYTHING


def test_metrics_add_a_bounded_number_of_instructions() -> None:
    assert one_request(1024, metrics={"enabled": True}) - one_request(1024) <= _METRICS


def test_a_chunk_takes_a_bounded_number_of_instructions() -> None:
    request = parse(bodies.body(1024, tokens=20, gap=0, stream=True), {}, "msg_1")
    reader = completions.reader(request, Target("box", "m", VENDORS["generic"]))
    for _ in range(3):
        reader.feed(_CHUNK)
    assert instructions(lambda: sse.encode(reader.feed(_CHUNK))) <= _CHUNK_LIMIT


def test_a_chunk_for_a_responses_client_takes_no_more_instructions_than_for_others() -> None:
    request = parse(bodies.body(1024, tokens=20, gap=0, stream=True), {}, "msg_1")
    reader = completions.reader(request, Target("box", "m", VENDORS["generic"]))
    writer = ResponseWriter(NewResponse(ResponseObject("resp_1", "m", 1), Names()))
    for _ in range(3):
        writer.encode(reader.feed(_CHUNK))
    assert instructions(lambda: writer.encode(reader.feed(_CHUNK))) <= 1.1 * _CHUNK_LIMIT


def test_the_functions_with_the_largest_difference_come_first() -> None:
    text = steps.table("1k", {"a": 5.0, "b": 30.0, "new": 10.0}, {"a": 5.0, "b": 29.0, "gone": 7.0}, 3)
    assert text.splitlines() == [
        "1k: 45 instructions, 41 in the older commit: +9.8%",
        "      0.0     10.0  new",
        "     29.0     30.0  b",
        "      5.0      5.0  a",
    ]
