"""The loop over targets, and its seams: cool-down, retry, repairs, the token counter, and what is known of a window."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any, cast

import pytest
from loaded import loaded

from byway.backend import Backend
from byway.backends.protocol import ModelFacts, Target
from byway.call import Call
from byway.messages.events import Part, Passthrough
from byway.messages.request import Request, parse
from byway.messages.stream import fold
from byway.messages.tokens import refuses
from byway.pipeline import exchange, targets
from byway.pipeline.reply import HeldReply, Record
from byway.problems import TABLE, Kind, Problem
from byway.routes.tokens import _CountCall
from byway.runtime import Runtime

BODY = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}


def runtime(*names: str, **sections: Any) -> Runtime:
    """A runtime with these backends; every model name is an alias of all of them, in order."""
    backends = [{"name": name, "type": "generic", "url": "http://127.0.0.1:9", "models": ["local"]} for name in names]
    aliases = {"default": [f"{name}/local" for name in names]}
    return Runtime(loaded({"backends": backends, "model_aliases": aliases, **sections}))


class ScriptedCall:
    """Gives the problems of a list in order, then succeeds; remembers the targets."""

    def __init__(self, *problems: Problem | None, answered: bool = True, repairs: int = 0) -> None:
        self._problems = list(problems)
        self._answered = answered
        self._repairs = repairs
        self.started = False
        self.tried: list[str] = []

    async def attempt(self, backend: Backend, target: Target) -> bool:
        self.tried.append(target.backend)
        problem = self._problems.pop(0) if self._problems else None
        if problem is not None:
            raise problem
        return self._answered

    def repair(self, backend: Backend, target: Target, problem: Problem) -> bool:
        self._repairs -= 1
        return self._repairs >= 0


def run(at: Runtime, call: targets.TargetCall) -> Record:
    record = Record()
    asyncio.run(targets.run(at, "m", call, record))
    return record


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the loop has slept; it does not really sleep."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("byway.pipeline.targets.asyncio.sleep", sleep)
    return slept


BACKENDS_FAULT: list[Kind] = [kind for kind, row in TABLE.items() if row.blame == "backend"]
OTHER_FAULT: list[Kind] = [kind for kind, row in TABLE.items() if row.blame != "backend"]


@pytest.mark.parametrize("kind", BACKENDS_FAULT)
def test_the_second_target_is_used_when_the_first_one_fails_and_by_the_next_request_first(kind: Kind) -> None:
    at, call = runtime("one", "two"), ScriptedCall(Problem(kind, "no"))
    record = run(at, call)
    assert call.tried == ["one", "two"]
    assert (record.backend, record.model, record.tries, record.alias) == ("two", "local", 2, "default")
    later = ScriptedCall()
    run(at, later)
    assert later.tried == ["two"], "a backend in its cool-down comes last"


@pytest.mark.parametrize("kind", OTHER_FAULT)
def test_a_problem_that_is_not_the_backends_starts_no_cool_down(kind: Kind) -> None:
    at, call = runtime("one", "two"), ScriptedCall(Problem(kind, "no"))
    if TABLE[kind].failover:
        run(at, call)
        assert call.tried == ["one", "two"]
    else:
        with pytest.raises(Problem):
            run(at, call)
        assert call.tried == ["one"]
    later = ScriptedCall()
    run(at, later)
    assert later.tried == ["one"]


def test_an_answer_ends_the_cool_down_and_an_estimate_does_not() -> None:
    at = runtime("one")
    failure = Problem("broken", "no")
    for answered, ended in ((False, False), (True, True)):
        with pytest.raises(Problem):
            run(at, ScriptedCall(failure))
        run(at, ScriptedCall(answered=answered))
        assert (at.cooldown.remaining("one", time.monotonic()) == 0) == ended


@pytest.mark.parametrize(("after", "slept"), [(None, [0.25]), (0.0, [0.0]), (1.5, [1.5]), (2.0, [2.0])])
def test_the_last_target_is_tried_once_more_after_a_short_pause(
    after: float | None, slept: list[float], pauses: list[float]
) -> None:
    problem = Problem("rate_limit", "slow down", retry_after=after)
    call = ScriptedCall(problem, problem)
    with pytest.raises(Problem):
        run(runtime("one"), call)
    assert call.tried == ["one", "one"]
    assert pauses == slept


@pytest.mark.parametrize("after", [2.1, 10, 59])
def test_a_long_retry_after_is_left_to_the_client(after: float, pauses: list[float]) -> None:
    call = ScriptedCall(Problem("rate_limit", "slow down", retry_after=after))
    with pytest.raises(Problem) as caught:
        run(runtime("one"), call)
    assert call.tried == ["one"] and not pauses
    assert caught.value.retry_after == after


@pytest.mark.parametrize("kind", ["broken", "timeout", "loading", "refused", "model_not_found"])
def test_only_a_problem_that_may_pass_is_retried(kind: Kind, pauses: list[float]) -> None:
    call = ScriptedCall(Problem(kind, "no"))
    with pytest.raises(Problem):
        run(runtime("one"), call)
    assert call.tried == ["one"] and not pauses


def test_no_attempt_follows_after_content_has_started() -> None:
    class Started(ScriptedCall):
        async def attempt(self, backend: Backend, target: Target) -> bool:
            self.started = True
            return await super().attempt(backend, target)

    call = Started(Problem("unreachable", "cut"), repairs=9)
    at = runtime("one", "two")
    with pytest.raises(Problem, match="cut"):
        run(at, call)
    assert call.tried == ["one"]
    later = ScriptedCall()
    run(at, later)
    assert later.tried == ["two"], "the cut answer starts the cool-down all the same"


def test_repairs_are_tried_at_the_same_target_three_times_at_most() -> None:
    problem = Problem("invalid_request", "no")
    call = ScriptedCall(problem, problem, repairs=2)
    run(runtime("one", "two"), call)
    assert call.tried == ["one"] * 3
    endless = ScriptedCall(*[problem] * 9, repairs=9)
    with pytest.raises(Problem):
        run(runtime("one", "two"), endless)
    assert endless.tried == ["one"] * 4


def test_the_last_problem_quotes_the_earlier_ones(pauses: list[float]) -> None:
    call = ScriptedCall(*[Problem("broken", word) for word in ("first", "first", "third")])
    with pytest.raises(Problem) as caught:
        run(runtime("one", "two", "three"), call)
    assert caught.value.message == "third (tried before: first)"


def test_at_most_two_earlier_problems_are_quoted(pauses: list[float]) -> None:
    call = ScriptedCall(*[Problem("broken", f"problem {number}") for number in range(24)])
    with pytest.raises(Problem) as caught:
        run(runtime(*(f"box-{number}" for number in range(24))), call)
    assert caught.value.message == "problem 23 (tried before: problem 0 / problem 1 / and 21 more)"


# --- exchange: what the loop is given ---------------------------------------------------------------------------------


class Answered:
    sent_at = connecting = 0.0
    is_read = False

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.headers: dict[str, str] = {}
        self._body = [body]

    async def read(self) -> bytes:
        return self._body.pop() if self._body else b""

    async def body(self, limit: int = 0) -> bytes:
        return self._body[0]

    def finish(self) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is open."""


class Network:
    """Gives (status, body) in order, the last one again."""

    def __init__(self, *replies: tuple[int, Any]) -> None:
        self._replies = list(replies)
        self.calls: list[Call] = []

    async def open(self, call: Call) -> Answered:
        self.calls.append(call)
        status, body = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        return Answered(status, body if isinstance(body, bytes) else json.dumps(body).encode())

    async def close(self) -> None:
        """Nothing is open."""


def chat_answer(usage: dict[str, Any] | None) -> dict[str, Any]:
    answer: dict[str, Any] = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
    return answer if usage is None else {**answer, "usage": usage}


def ask(at: Runtime, request: Request, **networks: Network) -> tuple[dict[str, Any], Record]:
    for name, network in networks.items():
        at.backends[name].upstream = cast(Any, network)
    held, record = HeldReply(), Record()
    asyncio.run(exchange.answer(at, request, held, record))
    return json.loads(fold(held.parts)), record


def request(**fields: Any) -> Request:
    return parse(json.dumps({**BODY, **fields}).encode(), {}, "msg_1")


def test_a_second_request_goes_to_target_two_after_a_503() -> None:
    at = runtime("one", "two")
    down, up = Network((503, b"down")), Network((200, chat_answer(None)))
    for _ in range(2):
        _, record = ask(at, request(), one=down, two=up)
        assert record.backend == "two"
    assert len(down.calls) == 1 and len(up.calls) == 2


def test_a_400_starts_no_cool_down() -> None:
    at = runtime("one", "two")
    network = Network((400, {"error": {"message": "temperature: bad value"}}))
    for _ in range(2):
        with pytest.raises(Problem):
            ask(at, request(), one=network, two=Network((200, chat_answer(None))))
    assert len(network.calls) == 2


def learned(usage: dict[str, Any] | None) -> list[float]:
    """The corrections of the token estimates after an answer to a long request with this usage."""
    at = runtime("one")
    ask(at, request(messages=[{"role": "user", "content": "word " * 4000}]), one=Network((200, chat_answer(usage))))
    return list(at.backends["one"].counter._model("local").sizes.kept)


def test_the_counter_learns_the_whole_prompt_from_a_cached_answer() -> None:
    whole = learned({"prompt_tokens": 5000, "completion_tokens": 1})
    cached = learned({"prompt_tokens": 5000, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 4900}})
    assert whole == cached and len(whole) == 3


def test_the_counter_learns_nothing_from_its_own_estimate() -> None:
    assert learned(None) == [1.0, 1.0]
    assert learned({"prompt_tokens": 0, "completion_tokens": 0}) == [1.0, 1.0]


def test_an_answer_is_requested_again_at_the_length_that_the_backend_names() -> None:
    text = "max_tokens: 900 > 50, which is the maximum allowed number of output tokens for local"
    network = Network((400, {"error": {"message": text}}), (200, chat_answer(None)))
    _, record = ask(runtime("one"), request(max_tokens=900), one=network)
    assert [json.loads(call.body)["max_tokens"] for call in network.calls] == [900, 50]
    assert record.tries == 2


def test_room_that_one_target_has_left_is_not_kept_for_the_next() -> None:
    at = runtime("one", "two")
    text = (
        "This model's maximum context length is 1000 tokens. However, you requested 1400 tokens "
        "(600 in the messages, 800 in the completion)."
    )
    first = Network((400, {"error": {"message": text}}), (503, b"down"))
    second = Network((200, chat_answer(None)))
    ask(at, request(max_tokens=800), one=first, two=second)
    assert [json.loads(call.body)["max_tokens"] for call in first.calls] == [800, 400]
    assert json.loads(second.calls[0].body)["max_tokens"] == 800


def test_room_is_computed_where_the_backend_counts_prompt_and_answer_together() -> None:
    text = "Invalid request: Your request exceeded model token limit: 4096 (requested: 4500)"
    network = Network((400, {"error": {"message": text}}), (200, chat_answer(None)))
    ask(runtime("one"), request(max_tokens=900), one=network)
    assert [json.loads(call.body)["max_tokens"] for call in network.calls] == [900, 496]


@pytest.mark.parametrize(("window", "known"), [(1000, None), (4096, 4096)])
def test_a_number_below_1024_in_a_refusal_is_not_remembered_as_the_window(window: int, known: int | None) -> None:
    at = runtime("one")
    text = f"request (5000 tokens) exceeds the available context size ({window} tokens), try increasing it"
    with pytest.raises(Problem):
        ask(at, request(), one=Network((400, {"error": {"message": text}})))
    assert at.backends["one"].registry.target("local").window == known


def test_an_attempt_changes_nothing_in_the_request() -> None:
    sent = request()
    for name in ("id", "model", "stream", "size", "content"):
        with pytest.raises(AttributeError):
            setattr(sent, name, None)


# --- token counts -----------------------------------------------------------------------------------------------------


def test_a_token_count_goes_through_the_same_loop() -> None:
    at = runtime("one", "two")
    call = _CountCall(request().limited(1), at)
    record = run(at, call)
    assert (record.requested, record.alias, record.backend, record.tries) == ("m", "default", "one", 1)
    assert call.tokens > 0 and not call.counted


def test_a_count_needs_no_max_tokens_and_leaves_the_body_alone() -> None:
    bare = parse(b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}', {}, "msg_1")
    limited = bare.limited(1)
    assert limited.params.max_tokens == 1 and limited.body == bare.body
    assert bare.params.max_tokens != 1


# --- windows and usage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("exact", "fits"), [(99, True), (100, True), (101, False)])
def test_a_prompt_as_long_as_the_window_fits(exact: int, fits: bool) -> None:
    assert (refuses(0, exact, 100) is None) == fits


@pytest.mark.parametrize(("estimate", "fits"), [(120, True), (121, False)])
def test_an_estimate_must_be_far_above_the_window(estimate: int, fits: bool) -> None:
    assert (refuses(estimate, None, 100) is None) == fits


def event(kind: str, part: str, **fields: Any) -> Passthrough:
    data = b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps({"type": kind, **fields}).encode())
    return Passthrough(data, cast(Any, part))


def test_a_null_in_the_usage_does_not_overwrite_a_known_count() -> None:
    usage = {"input_tokens": 7, "output_tokens": 1, "cache_read_input_tokens": 3}
    parts: Sequence[Part] = [
        event("message_start", "start", message={"content": [], "usage": usage}),
        event("message_delta", "end", delta={}, usage={"input_tokens": None, "output_tokens": 5}),
        event("message_stop", "end"),
    ]
    assert json.loads(fold(parts))["usage"] == {"input_tokens": 7, "output_tokens": 5, "cache_read_input_tokens": 3}


def test_the_window_of_a_target_comes_with_it() -> None:
    at = runtime("one")
    at.backends["one"].registry.report("local", ModelFacts(1000))
    with pytest.raises(Problem) as caught:
        ask(
            at, request(messages=[{"role": "user", "content": "word " * 20_000}]), one=Network((200, chat_answer(None)))
        )
    assert caught.value.kind == "prompt_too_long"


def test_a_prompt_is_freed_while_its_answer_streams() -> None:
    tools = [{"name": "Read", "input_schema": {"type": "object", "properties": {}}}]
    messages = [{"role": "user", "content": "Hi"}]
    body = json.dumps(
        {"model": "local", "max_tokens": 9, "stream": True, "messages": messages, "tools": tools}
    ).encode()
    references: list[int] = []

    class Streamed(Answered):
        """An answer of two chunks; before the second it counts what refers to the body of the request."""

        async def read(self) -> bytes:
            if not references:
                references.append(0)
                return b'data: {"choices":[{"delta":{"content":"Hello"}}]}\n\n'
            references.append(sys.getrefcount(body))
            return b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

    class Streaming(Network):
        async def open(self, call: Call) -> Answered:
            return Streamed(200, b"")

    class SentReply(HeldReply):
        sent = True

    at = runtime("one")
    at.backends["one"].upstream = cast(Any, Streaming((200, b"")))
    before = sys.getrefcount(body)
    asyncio.run(exchange.answer(at, parse(body, {}, "msg_1"), SentReply(), Record()))
    assert references[1:] == [before]
