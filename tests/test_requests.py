"""The list of requests: filters, sums, sessions, the parts of a request's time, and its attempts."""

from __future__ import annotations

import time
from typing import Any

import pytest
from loops import run_skipping
from test_targets import Network, chat_answer, request, runtime

from byway.admin.inspection import details
from byway.admin.requests import (
    RecentRequests,
    RequestFilter,
    RequestLine,
    by_session,
    dollars,
    filter_choices,
    recent_requests,
    sums,
)
from byway.inspector.attempts import MOST_ATTEMPTS, FailedAttempt, RequestTimes, attempts, phases
from byway.messages.request import Request
from byway.pipeline import exchange
from byway.pipeline.reply import HeldReply, Record
from byway.problems import Problem

AGENT = b"claude-cli/2.1.3 (external, cli)"


def line(**fields: Any) -> RequestLine:
    given = {"id": "req_1", "method": "POST", "path": "/v1/messages", "status": 200, "ms": 10.0, **fields}
    return RequestLine(**given)


@pytest.fixture
def recent() -> RecentRequests:
    recent = RecentRequests()
    tokens = {"input_tokens": 100, "cached_tokens": 300, "output_tokens": 20}
    recent.add(
        line(requested="opus", backend="box", model="qwen", session="s1", key="k1", **tokens), "", AGENT, 10_000_000
    )
    recent.add(line(requested="haiku", session="s2", account="ada", status=503), "Backend `box` is down.", b"curl/8.1")
    recent.add(line(requested="opus", backend="cloud", model="gpt", session="s1", **tokens), "", AGENT)
    return recent


@pytest.mark.parametrize(
    ("chosen", "numbers"),
    [
        (RequestFilter(), [3, 2, 1]),
        (RequestFilter(failed=True), [2]),
        (RequestFilter(model="OPUS"), [3, 1]),
        (RequestFilter(model="box/q"), [1]),
        (RequestFilter(session="s"), [3, 2, 1]),
        (RequestFilter(session="s2"), [2]),
        (RequestFilter(key="k1"), [1]),
        (RequestFilter(key="k"), []),
        (RequestFilter(account="ada"), [2]),
        (RequestFilter(agent="Claude-CLI"), [3, 1]),
        (RequestFilter(text="is DOWN"), [2]),
        (RequestFilter(text="503"), [2]),
        (RequestFilter(text="claude-cli", model="gpt"), [3]),
    ],
)
def test_a_filter_accepts_the_requests_that_match_all_its_fields(
    recent: RecentRequests, chosen: RequestFilter, numbers: list[int]
) -> None:
    assert [request.number for request in recent_requests(recent, 0, None, chosen)] == numbers


def test_sums_contain_tokens_cache_failures_and_known_costs(recent: RecentRequests) -> None:
    total = sums(recent.newest())
    assert (total.requests, total.failed, total.input_tokens, total.cached_tokens) == (3, 1, 800, 600)
    assert (total.output_tokens, total.cost, total.unpriced) == (40, 0.01, 1)
    assert total.text == (
        "3 requests · 1 failed · 800 tokens in (75 % cached) · 40 tokens out · $0.01 without unknown prices"
    )
    assert sums([]).text == "0 requests"


def test_requests_are_grouped_by_session_with_the_newest_session_first(recent: RecentRequests) -> None:
    groups = by_session(recent.newest())
    assert [(group.session, group.agent, group.sums.requests) for group in groups] == [
        ("s1", "claude-cli", 2),
        ("s2", "curl", 1),
    ]
    choices = filter_choices(recent.newest())
    assert choices.models == ("box/qwen", "cloud/gpt", "haiku", "opus")
    assert (choices.sessions, choices.keys, choices.accounts) == (("s1", "s2"), ("k1",), ("ada",))
    assert choices.agents == ("claude-cli", "curl")


def test_amounts_of_money_are_short() -> None:
    assert [dollars(amount) for amount in (0, 12.345, 0.25, 0.00314, 0.00000001)] == [
        "$0.00",
        "$12.35",
        "$0.25",
        "$0.0031",
        "< $0.0001",
    ]


# --- times and attempts -------------------------------------------------------------------------------------------------


def failure(ended: float, **fields: Any) -> FailedAttempt:
    given = {"backend": "one", "model": "m", "ended": ended, "sent": None, "connecting": 0.0, "problem": "overloaded"}
    return FailedAttempt(**{**given, "status": 503, "message": "busy", "repairs": (), **fields})


def test_the_phases_of_a_request_add_up_to_its_time() -> None:
    times = RequestTimes(100.0, 104.0, 100.1, 101.5, 0.3, 1.9, (failure(101.0),))
    assert [(phase.name, phase.start_ms, phase.ms) for phase in phases(times)] == [
        ("admission", 0.0, 100.0),
        ("failed attempts", 100.0, 900.0),
        ("queue", 1000.0, 200.0),
        ("connect", 1200.0, 300.0),
        ("first token", 1500.0, 500.0),
        ("stream", 2000.0, 2000.0),
    ]


@pytest.mark.parametrize(
    ("times", "names"),
    [
        (RequestTimes(1.0, 2.0), ["queue"]),
        (RequestTimes(1.0, 2.0, 1.5), ["admission", "queue"]),
        (RequestTimes(1.0, 2.0, 1.5, 1.6), ["admission", "queue", "answer"]),
        # A clock that stands still, and one that is ahead.
        (RequestTimes(1.0, 2.0, 1.5, 1.4, 0.0, 0.2), ["admission", "first token", "stream"]),
        (RequestTimes(1.0, 2.0, 1.5, 3.0, 0.0, 0.2), ["admission", "queue"]),
        (RequestTimes(1.0, 1.0, 1.0, 1.0), []),
    ],
)
def test_a_request_has_only_the_phases_that_it_reached(times: RequestTimes, names: list[str]) -> None:
    parts = phases(times)
    assert [part.name for part in parts] == names
    assert abs(sum(part.ms for part in parts) - 1000 * (times.ended - times.started)) < 0.2


def test_the_last_attempt_of_a_failed_request_is_listed_once() -> None:
    failed = RequestTimes(1.0, 2.0, 1.1, failed=(failure(1.5), failure(2.0, problem="timeout", status=None)))
    assert [(entry.outcome, entry.ms) for entry in attempts(failed, "one", "m", "timeout", 504)] == [
        ("overloaded", 500.0),
        ("timeout", 500.0),
    ]
    answered = RequestTimes(1.0, 2.0, 1.1, 1.6, failed=(failure(1.5),), repairs=("drop x",))
    last = attempts(answered, "two", "m", "", 200)[-1]
    assert (last.backend, last.outcome, last.status, last.repairs) == ("two", "answered", 200, ("drop x",))
    left = attempts(RequestTimes(1.0, 2.0, 1.1), "one", "m", "", 499)
    assert [entry.outcome for entry in left] == ["disconnected"]
    assert attempts(RequestTimes(1.0, 2.0), "", "", "model_not_found", 404) == ()


def run(at: Any, record: Record, sent: Request, **networks: Network) -> Problem | None:
    for name, network in networks.items():
        at.backends[name].upstream = network
    try:
        run_skipping(exchange.answer(at, sent, HeldReply(), record))
    except Problem as problem:
        return problem
    return None


def test_each_attempt_keeps_its_target_its_problem_and_its_repairs() -> None:
    at, record = runtime("one", "two"), Record()
    unknown = {"error": {"message": "Unsupported parameter: 'temperature' is not supported.", "param": "temperature"}}
    two = Network((400, unknown), (200, chat_answer(None)))
    assert run(at, record, request(temperature=0.5), one=Network((503, b"down")), two=two) is None
    first, second = record.failed
    assert (first.backend, first.problem, first.status) == ("one", "overloaded", 503)
    assert (second.backend, second.problem, second.repairs) == ("two", "invalid_request", ())
    assert record.repairs == ("drop temperature",)
    assert record.began is not None and record.began <= first.ended <= second.ended <= time.monotonic()


def test_the_message_of_an_attempt_contains_no_secret_and_the_number_of_attempts_is_bounded() -> None:
    names = [f"b{number}" for number in range(MOST_ATTEMPTS + 6)]
    at, record = runtime(*names), Record()
    secret = "sk-abcdefghijklmnop0123456789"
    refused = Network((503, {"error": {"message": f"key {secret} is over its limit " + "x" * 5000}}))
    problem = run(at, record, request(), **dict.fromkeys(names, refused))
    assert problem is not None and len(record.failed) == MOST_ATTEMPTS
    assert all(secret not in attempt.message and len(attempt.message) <= 500 for attempt in record.failed)


def test_a_request_without_times_has_no_phases(recent: RecentRequests) -> None:
    known = details(recent.newest()[0])
    assert (known.phases, known.attempts, known.request.agent) == ((), (), "claude-cli")
