"""Usage records of requests through the whole app: tokens of every backend kind, names, failures, and when they are made."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from casefile import Case, Reply, cases
from metered import CHAT, MESSAGES, MeteredApp, chat_answer, chat_stream, failure, message_answer
from test_line import Network, events

from byway import config
from byway.access.keys import Caller
from byway.clients import checks
from byway.store import UsageFilter
from byway.usage.journal import FOLDER_NAME
from byway.usage.record import UsageRecord

PROTOCOLS = ("openai", "anthropic", "responses")
ANSWERED = [
    pytest.param(case, id=case.id)
    for protocol in PROTOCOLS
    for case in cases(protocol)
    if case.turns[-1].replies and case.turns[-1].problem is None
]
RECORDINGS = sorted((Path(__file__).parent / "recorded" / "prefix").glob("*.json"))
TOKENS = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens")


def one_record(app: MeteredApp) -> UsageRecord:
    (record,) = app.records()
    return record


def tokens(record: UsageRecord) -> tuple[int, ...]:
    return tuple(getattr(record, name) for name in TOKENS)


# Tokens.


@pytest.mark.parametrize("case", ANSWERED)
def test_the_record_has_the_usage_that_the_client_gets(case: Case, tmp_path: Path) -> None:
    turn = case.turns[-1]

    async def run() -> tuple[list[Any], list[UsageRecord], Network]:
        vendor = case.target.get(
            "vendor", {"anthropic": "anthropic", "responses": "openai"}.get(case.protocol, "generic")
        )
        async with MeteredApp(tmp_path, type=vendor) as app:
            network = app.answers(*turn.replies)
            made = app.kept()
            status, body = await app.request(turn.body, turn.headers)
            stream = msgspec.json.decode(turn.body).get("stream", False)
            return (events(body) if stream else [json.loads(body)]) if status == 200 else [], made, network

    result, records, network = asyncio.run(run())
    if not result or len(network.calls) != 1 or result[-1].get("type") == "error":
        # Several turns and failures have tests of their own.
        return
    usage: dict[str, Any] = {}
    for event in result:
        part = event.get("usage") or event.get("message", {}).get("usage") or {}
        usage |= {name: count for name, count in part.items() if count is not None}
    (record,) = records
    assert tokens(record) == (
        usage.get("input_tokens", 0),
        usage.get("cache_read_input_tokens", 0),
        usage.get("cache_creation_input_tokens", 0),
        usage.get("output_tokens", 0),
    )
    assert record.reasoning_tokens <= record.output_tokens
    assert record.status == 200


@cache
def recorded(path: Path) -> list[bytes]:
    return [json.dumps(request["body"]).encode() for request in json.loads(path.read_text())["requests"]]


def test_recorded_conversations_add_up_to_the_token(tmp_path: Path) -> None:
    """Each request of the recorded client gets an answer with a usage of its own; each recording is a session."""
    expected: dict[str, list[int]] = {}
    cost = 0

    async def run() -> None:
        nonlocal cost
        async with MeteredApp(tmp_path) as app:
            number = 0
            for path in RECORDINGS:
                if path.stem.startswith("openings"):
                    continue
                for body in recorded(path):
                    number += 1
                    cached, written = number % 3 * 40, number % 2 * 20
                    prompt, output = 1_000 + number, 50 + number % 7
                    usage = {
                        "prompt_tokens": prompt,
                        "completion_tokens": output,
                        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
                    }
                    stream = msgspec.json.decode(body).get("stream", False)
                    network = app.answers(chat_stream(usage) if stream else chat_answer(usage))
                    await app.request(body, {"x-claude-code-session-id": path.stem})
                    turns = len(network.calls)
                    sums = expected.setdefault(path.stem, [0] * 5)
                    for at, count in enumerate((1, prompt - cached - written, cached, written, output)):
                        sums[at] += count * (turns if at else 1)
                    # Dollars per million tokens are 1,000 nano-dollars per token.
                    cost += turns * (
                        (prompt - cached - written) * 1_000 + cached * 100 + written * 2_000 + output * 10_000
                    )
            assert number > 100
            app.records()
            rows = {
                row.name: [row.requests, row.input_tokens, row.cached_tokens, row.cache_write_tokens, row.output_tokens]
                for row in app.store.sums("session")
            }
            assert rows == expected
            total = app.store.sums()[0]
            assert (total.cost, total.unpriced) == (cost, 0)
            by_day = app.store.sums("day")
            assert sum(row.cost for row in by_day) == cost

    asyncio.run(run())


@pytest.mark.parametrize(
    ("usage", "output", "reasoning"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 4}}, 9, 4),
        # Gemini and xAI count reasoning beside the answer.
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 9,
                "total_tokens": 18,
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            13,
            4,
        ),
        ({"prompt_tokens": 5, "completion_tokens": 9, "completion_tokens_details": None}, 9, 0),
        ({"prompt_tokens": 5, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": "x"}}, 9, 0),
    ],
)
@pytest.mark.parametrize("path", ["/v1/messages", CHAT])
def test_reasoning_tokens_of_chat_completions(
    usage: dict[str, Any], output: int, reasoning: int, path: str, tmp_path: Path
) -> None:
    async def run() -> UsageRecord:
        async with MeteredApp(tmp_path) as app:
            app.answers(chat_answer(usage))
            await app.request(path=path)
            return one_record(app)

    record = asyncio.run(run())
    assert (record.output_tokens, record.reasoning_tokens) == (output, reasoning)


def test_reasoning_and_cached_tokens_of_the_messages_api(tmp_path: Path) -> None:
    async def run() -> UsageRecord:
        async with MeteredApp(tmp_path, type="anthropic") as app:
            app.answers(
                message_answer(
                    {
                        "input_tokens": 1,
                        "cache_read_input_tokens": 2,
                        "cache_creation_input_tokens": 3,
                        "output_tokens": 40,
                        "output_tokens_details": {"thinking_tokens": 30},
                    }
                )
            )
            await app.request()
            return one_record(app)

    record = asyncio.run(run())
    assert (*tokens(record), record.reasoning_tokens) == (1, 2, 3, 40, 30)
    assert record.cost == 1 * 1_000 + 2 * 100 + 3 * 2_000 + 40 * 10_000


def test_every_turn_of_an_answer_counts_and_is_priced_by_itself(tmp_path: Path) -> None:
    """The answers of the first turn hold no call, so that the model gets another turn."""
    prices = {"*": {"input": 1.0, "output": 1.0, "tiers": [{"above": 150, "input": 5.0, "output": 5.0}]}}

    async def run() -> tuple[UsageRecord, int]:
        async with MeteredApp(tmp_path, prices=prices) as app:
            network = app.answers(
                chat_answer({"prompt_tokens": 100, "completion_tokens": 10}),
                chat_answer({"prompt_tokens": 200, "completion_tokens": 20}, text='{"city":"Rome"}'),
            )
            tool = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
            await app.request(
                {
                    "model": "m",
                    "max_tokens": 99,
                    "messages": [{"role": "user", "content": "Hi"}],
                    "tools": [tool],
                    "tool_choice": {"type": "any"},
                }
            )
            return one_record(app), len(network.calls)

    record, calls = asyncio.run(run())
    assert calls == 2
    assert (record.input_tokens, record.output_tokens) == (300, 30)
    assert record.cost == 110 * 1_000 + 220 * 5_000


def test_an_unknown_price_is_unknown_and_not_zero(tmp_path: Path) -> None:
    async def run() -> None:
        backend = {"name": "box", "type": "anthropic", "url": "https://api.example.org", "models": ["local"]}
        async with MeteredApp(tmp_path, backends=[backend], prices={}) as app:
            app.answers(message_answer({"input_tokens": 1, "output_tokens": 2}))
            await app.request()
            assert one_record(app).cost is None
            total = app.store.sums()[0]
            assert (total.cost, total.unpriced, total.output_tokens) == (0, 1, 2)

    asyncio.run(run())


# Names.


def identify_as(monkeypatch: pytest.MonkeyPatch, caller: Caller) -> None:
    """Let the following requests have this caller, whatever their key is."""
    monkeypatch.setattr("byway.server.app.require", lambda context, *_: setattr(context, "caller", caller))


def test_the_record_names_client_target_and_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caller = Caller("key_a", account="ada", organization="org", group="ops")
    identify_as(monkeypatch, caller)

    async def run() -> None:
        async with MeteredApp(tmp_path, usage={"tag_header": "X-Team"}, model_aliases={"opus": ["box/local"]}) as app:
            app.answers(chat_answer())
            headers = {
                "user-agent": "claude-cli/2.1.329 (external, cli)",
                "x-team": "blue",
                "x-claude-code-session-id": "s",
            }
            await app.request(headers=headers)
            record = one_record(app)
            assert record.id == "req_" + record.id[4:] != "req_"
            assert (record.organization, record.account, record.group, record.key) == ("org", "ada", "ops", "key_a")
            assert (record.session, record.agent, record.tag) == ("s", "claude-cli", "blue")
            assert (record.requested, record.alias) == ("claude-opus-4", "opus")
            assert (record.backend, record.model) == ("box", "local")
            assert record.at == pytest.approx(time.time(), abs=600)
            assert 0 <= (record.first_ms or 0) <= record.latency_ms
            assert app.store.sums("tag")[0].name == "blue"

    asyncio.run(run())


@pytest.mark.parametrize("name", ["Authorization", "x-api-key", "cookie", "bad name"])
def test_a_tag_never_comes_from_a_header_with_a_credential(name: str) -> None:
    with pytest.raises(config.ConfigError, match="tag_header"):
        config.load(json.dumps({"usage": {"tag_header": name}}), {})


def test_the_problem_of_an_invalid_tag_header_describes_the_name() -> None:
    with pytest.raises(config.ConfigError, match="expected the name of a header that clients can send"):
        config.load(json.dumps({"usage": {"tag_header": "bad name"}}), {})


@pytest.mark.parametrize(
    ("records", "sums", "warned"), [(900, 10, True), (None, 80, True), (800, None, True), (90, 90, False)]
)
def test_sums_that_are_removed_before_their_records_are_a_warning(
    records: int | None, sums: int | None, warned: bool
) -> None:
    usage = {name: days for name, days in (("keep_records", records), ("keep_sums", sums)) if days is not None}
    paths = [warning.path for warning in config.load(json.dumps({"usage": usage}), {}).warnings]
    assert paths == ["usage.keep_sums"] * warned


def test_long_names_of_a_client_are_cut(tmp_path: Path) -> None:
    async def run() -> UsageRecord:
        async with MeteredApp(tmp_path) as app:
            app.answers(chat_answer())
            body = {"model": "m" * 250, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
            await app.request(body, {"x-claude-code-session-id": "s" * 5_000})
            return one_record(app)

    record = asyncio.run(run())
    assert (len(record.requested), len(record.session)) == (200, 64)


# Which requests are recorded.


def test_token_counts_probes_and_unknown_paths_are_not_recorded(tmp_path: Path) -> None:
    async def run() -> None:
        async with MeteredApp(tmp_path) as app:
            app.answers(chat_answer())
            assert (await app.request(path="/v1/messages/count_tokens"))[0] == 200
            assert (await app.request(headers={"x-byway-probe": "1"}))[0] == 200
            assert (await app.request(path="/v1/nothing"))[0] == 404
            assert (await app.request(b"{"))[0] == 400
            assert app.records() == []

    asyncio.run(run())


def test_nothing_is_recorded_while_usage_is_disabled(tmp_path: Path) -> None:
    async def run() -> None:
        async with MeteredApp(tmp_path, usage={"enabled": False}) as app:
            app.answers(chat_answer())
            await app.request()
            assert app.records() == []
            settings = app.gateway.runtime.config.usage
            app.gateway.set_usage(msgspec.structs.replace(settings, enabled=True, tag_header="x-team"))
            await app.request(headers={"x-team": "red"})
            assert one_record(app).tag == "red"

    asyncio.run(run())


def test_the_classifier_of_auto_mode_has_a_record_of_its_own(tmp_path: Path) -> None:
    async def run() -> list[UsageRecord]:
        backends = [
            {"name": name, "type": "generic", "url": "http://127.0.0.1:9", "models": [model]}
            for name, model in (("box", "local"), ("judge", "small"))
        ]
        async with MeteredApp(tmp_path, backends=backends, safeguards={"classifier": "judge/small"}) as app:
            call = {"id": "call_1", "type": "function", "function": {"name": "Bash", "arguments": '{"command":"ls"}'}}
            body = json.loads(chat_answer().body)
            body["choices"][0] = {
                "index": 0,
                "message": {"role": "assistant", "content": None, "tool_calls": [call]},
                "finish_reason": "tool_calls",
            }
            app.answers(Reply(200, {}, json.dumps(body).encode()))
            app.answers(chat_answer({"prompt_tokens": 7, "completion_tokens": 3}, text="{}"), backend="judge")
            await app.request(
                {
                    "model": "m",
                    "max_tokens": 99,
                    "messages": [{"role": "user", "content": "Hi"}],
                    "tools": [{"name": "Bash", "input_schema": {"type": "object"}}],
                    "safeguards": [{"type": "tool_use_safety"}],
                },
                {"anthropic-beta": "safeguards-2026-01-01"},
            )
            return app.records()

    answer, judged = sorted(asyncio.run(run()), key=lambda record: record.backend)
    assert (judged.backend, judged.model, judged.input_tokens, judged.output_tokens) == ("judge", "small", 7, 3)
    assert (answer.backend, answer.input_tokens, answer.output_tokens) == ("box", 100, 20)
    assert judged.id == f"{answer.id}-1"


# Failures.


def test_a_refused_request_is_an_error_without_tokens(tmp_path: Path) -> None:
    async def run() -> UsageRecord:
        async with MeteredApp(tmp_path) as app:
            app.answers(failure(400))
            assert (await app.request())[0] == 400
            return one_record(app)

    record = asyncio.run(run())
    assert (record.status, tokens(record), record.cost) == (400, (0, 0, 0, 0), 0)


def test_the_tokens_of_a_stream_that_is_cut_count_as_estimates(tmp_path: Path) -> None:
    async def run() -> UsageRecord:
        async with MeteredApp(tmp_path) as app:
            app.answers(chat_stream({}, ["x" * 400] * 3, ended=False))
            body = {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
            status, answer = await app.request(body)
            assert status == 200
            assert b"event: error" in answer
            return one_record(app)

    record = asyncio.run(run())
    assert record.status >= 500
    assert record.estimated
    assert record.input_tokens > 0
    assert record.output_tokens == 300
    assert record.cost


@pytest.mark.parametrize("usage", ["[]", '"none"', "7", "true", '{"prompt_tokens": []}'])
@pytest.mark.parametrize("path", [MESSAGES, CHAT])
@pytest.mark.parametrize("stream", [False, True])
def test_a_usage_of_another_type_is_estimated_and_breaks_no_answer(
    stream: bool, path: str, usage: str, tmp_path: Path
) -> None:
    async def run() -> tuple[int, bytes, UsageRecord]:
        async with MeteredApp(tmp_path) as app:
            whole = chat_answer({"odd": 1}, text="x" * 80).body.replace(b'{"odd": 1}', usage.encode())
            streamed = chat_stream({"odd": 1}, ["x" * 80]).body.replace(b'{"odd": 1}', usage.encode())
            app.answers(Reply(200, {}, streamed if stream else whole))
            body = {"model": "m", "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}
            return *await app.request(body, path=path), one_record(app)

    status, answer, record = asyncio.run(run())
    assert (status, b"error" in answer) == (200, False)
    assert (record.status, record.estimated) == (200, True)
    assert record.input_tokens > 0
    assert record.output_tokens >= 20


@pytest.mark.parametrize("path", [MESSAGES, CHAT])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_of_the_messages_api_without_usage_counts_as_an_estimate(
    stream: bool, path: str, tmp_path: Path
) -> None:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "local", "stop_reason": "end_turn"}
    text = {"type": "text", "text": "x" * 400}
    frames: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": text},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ]
    streamed = b"".join(b"event: %b\ndata: %b\n\n" % (str(f["type"]).encode(), json.dumps(f).encode()) for f in frames)
    whole = json.dumps({**message, "content": [text]}).encode()

    async def run() -> tuple[int, bytes, UsageRecord]:
        async with MeteredApp(tmp_path, type="anthropic") as app:
            app.answers(Reply(200, {}, streamed if stream else whole))
            body = {"model": "m", "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}
            return *await app.request(body, path=path), one_record(app)

    status, answer, record = asyncio.run(run())
    assert (status, b"error" in answer) == (200, False)
    assert record.estimated
    assert record.input_tokens > 0
    assert record.output_tokens > 10
    assert record.cost


class Silent:
    """An answer whose client disconnects after the first chunk."""

    sent_at = connecting = 0.0
    is_read = False

    status = 200

    def __init__(self, gone: asyncio.Event) -> None:
        self.headers: dict[str, str] = {}
        self._gone = gone
        self._parts = [chat_stream({}, ["x" * 400], ended=False).body]

    async def read(self) -> bytes:
        if self._parts:
            return self._parts.pop()
        self._gone.set()
        await asyncio.Event().wait()
        return b""

    def close(self) -> None:
        """There is nothing to release."""


def test_the_tokens_before_a_disconnection_count_as_estimates(tmp_path: Path) -> None:
    async def run() -> UsageRecord:
        async with MeteredApp(tmp_path) as app:
            gone = asyncio.Event()
            network = app.answers(chat_stream({}, ["x" * 400] * 3, ended=False))

            async def open_silent(call: Any) -> Any:
                return Silent(gone)

            network.open = open_silent  # type: ignore[method-assign]
            body = {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
            await app.request(body, gone=gone)
            return one_record(app)

    record = asyncio.run(run())
    assert (record.status, record.estimated, record.output_tokens) == (499, True, 100)


def test_the_output_of_a_cut_answer_of_the_messages_api_is_estimated_by_its_size(tmp_path: Path) -> None:
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 50, "output_tokens": 1}}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x" * 60}}
    frames: list[dict[str, Any]] = [
        start,
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        delta,
        delta,
    ]
    stream = b"".join(b"event: %b\ndata: %b\n\n" % (str(f["type"]).encode(), json.dumps(f).encode()) for f in frames)

    async def run() -> UsageRecord:
        async with MeteredApp(tmp_path, type="anthropic") as app:
            app.answers(Reply(200, {}, stream))
            await app.request(
                {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
            )
            return one_record(app)

    record = asyncio.run(run())
    assert (record.input_tokens, record.estimated) == (50, True)
    assert record.output_tokens == len(stream) // 40 > 10


def test_a_reload_applies_the_settings_of_usage(tmp_path: Path) -> None:
    async def run() -> None:
        async with MeteredApp(tmp_path) as app:
            before = app.gateway.runtime.config
            usage = config.UsageSettings(tag_header="x-team", keep_records=5, keep_sums=6)
            await app.gateway.reload(msgspec.structs.replace(before, usage=usage))
            app.answers(chat_answer())
            await app.request(headers={"x-team": "red"})
            assert one_record(app).tag == "red"
            assert app.recorder.retention == (5, 6)

    asyncio.run(run())


def test_a_failed_target_does_not_add_to_the_usage_of_the_next(tmp_path: Path) -> None:
    async def run() -> UsageRecord:
        backends = [
            {"name": name, "type": "generic", "url": "http://127.0.0.1:9", "models": ["local"]}
            for name in ("box", "two")
        ]
        aliases = {"default": ["box/local", "two/local"]}
        async with MeteredApp(tmp_path, backends=backends, model_aliases=aliases) as app:
            app.answers(failure(503))
            app.answers(chat_answer({"prompt_tokens": 5, "completion_tokens": 6}), backend="two")
            await app.request()
            return one_record(app)

    record = asyncio.run(run())
    assert (record.backend, record.input_tokens, record.output_tokens) == ("two", 5, 6)


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_failed_target_has_used_is_a_record_of_its_own(stream: bool, tmp_path: Path) -> None:
    """A forced call takes two turns. The first target answers one, and fails then."""

    async def run() -> tuple[list[UsageRecord], dict[str, float]]:
        backends = [
            {"name": name, "type": "generic", "url": "http://127.0.0.1:9", "models": ["local"]}
            for name in ("box", "two")
        ]
        aliases = {"default": ["box/local", "two/local"]}
        limits = [{"for": "backend", "budget": 1}, {"for": "global", "budget": 1}]
        async with MeteredApp(tmp_path, backends=backends, model_aliases=aliases, limits=limits) as app:
            limiter = app.gateway.runtime.limiter
            assert limiter is not None
            limiter.trust_counts()
            app.answers(chat_answer({"prompt_tokens": 100, "completion_tokens": 10}), failure(503))
            app.answers(chat_answer({"prompt_tokens": 7, "completion_tokens": 3}, text='{"a":1}'), backend="two")
            tool = {"name": "weather", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}
            status, _ = await app.request(
                {
                    "model": "m",
                    "max_tokens": 99,
                    "stream": stream,
                    "messages": [{"role": "user", "content": "Hi"}],
                    "tools": [tool],
                    "tool_choice": {"type": "any"},
                }
            )
            assert status == 200
            spent = {use.name: use.used for use in limiter.uses(0, time.time())}
            return sorted(app.records(), key=lambda record: record.backend), spent

    (failed, answered), spent = asyncio.run(run())
    assert (failed.backend, failed.status, failed.id, *tokens(failed)) == (
        "box",
        502,
        f"{answered.id}-1",
        100,
        0,
        0,
        10,
    )
    assert (answered.backend, answered.status, *tokens(answered)) == ("two", 200, 14, 0, 0, 6)
    assert spent == {"box": 0.0002, "two": 0.000074, "all": 0.000274}


@pytest.mark.parametrize("tokens", [-(10**18), 10**18, 10**40])
def test_absurd_numbers_of_a_backend_give_nothing_back_to_a_limit(tokens: int, tmp_path: Path) -> None:
    async def run() -> list[float]:
        limits = [{"for": "global", "budget": 10, "tokens_per_minute": 10**9, "concurrency": 3}]
        async with MeteredApp(tmp_path, type="anthropic", limits=limits) as app:
            limiter = app.gateway.runtime.limiter
            assert limiter is not None
            limiter.trust_counts()
            app.answers(
                message_answer({"input_tokens": 1000, "output_tokens": 1000}),
                message_answer({"input_tokens": tokens, "output_tokens": tokens, "cache_read_input_tokens": tokens}),
            )
            await app.request()
            await app.request()
            assert len(app.records()) == 2
            return [use.used for use in limiter.uses(time.monotonic(), time.time())]

    used, running, spent = asyncio.run(run())
    assert running == 0
    assert (used, spent) == (2000, 0.011) if tokens < 0 else 2000 < used <= 3 * 10**9 and 0.011 < spent < 10**7


def test_a_client_with_a_key_cannot_hide_its_usage_as_a_test(tmp_path: Path) -> None:
    async def run() -> UsageRecord:
        async with MeteredApp(tmp_path, api_keys={"api_keys": [{"key": "key-of-ann", "id": "ann"}]}) as app:
            app.answers(chat_answer())
            await app.request(headers={"x-byway-probe": "1", "x-api-key": "key-of-ann"})
            return one_record(app)

    assert asyncio.run(run()).key == "ann"


def test_requests_are_answered_while_usage_cannot_be_stored(tmp_path: Path) -> None:
    async def run() -> None:
        async with MeteredApp(tmp_path) as app:
            app.store.path.write_bytes(b"no database" * 100)
            app.answers(chat_answer())
            for _ in range(3):
                assert (await app.request())[0] == 200
            app.recorder.flush()
            assert "damaged" in app.recorder.status.problem
            app.store.path.unlink()
            await app.request()
            assert len(app.records()) == 4

    asyncio.run(run())


@pytest.mark.parametrize("keys", [False, True])
def test_readyz_and_the_doctor_report_that_usage_is_not_stored(tmp_path: Path, keys: bool) -> None:
    sections: dict[str, Any] = (
        {"api_keys": {"mode": "blocking", "api_keys": [{"key": "sk-byway-0123456789abcdef"}]}} if keys else {}
    )

    async def run() -> None:
        async with MeteredApp(tmp_path, **sections) as app:

            async def reported() -> str:
                return str(json.loads((await app.request(b"", method="GET", path="/readyz"))[1])["usage"])

            assert await reported() == "good"
            assert checks._usage(app.gateway).state == "good"
            app.store.path.write_bytes(b"no database" * 100)
            app.recorder.add(UsageRecord("req_1", 1.0))
            app.recorder.flush()
            hidden = "usage records wait; the log has the reason"
            assert await reported() == (hidden if keys else app.recorder.status.problem)
            check = checks._usage(app.gateway)
            assert (check.state, check.word) == ("bad", "not stored")
            assert "usage.db is damaged" in check.finding

    asyncio.run(run())


# When the record is made.


@pytest.mark.parametrize("path", ["/v1/messages", CHAT])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["answered", "refused", "cut"])
def test_the_record_is_written_before_the_last_bytes_of_the_answer(
    path: str, stream: bool, kind: str, tmp_path: Path
) -> None:
    """A client that has its whole answer has its record, even if the process is killed at once."""
    usage = {"prompt_tokens": 5, "completion_tokens": 6}
    replies = {
        "answered": chat_stream(usage) if stream else chat_answer(usage),
        "refused": failure(400),
        "cut": chat_stream({}, ["x" * 40] * 3, ended=False),
    }
    lines: list[int] = []

    def on_send(message: Any) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            lines.append(sum(file.read_bytes().count(b"\n") for file in (tmp_path / FOLDER_NAME).iterdir()))

    async def run() -> None:
        async with MeteredApp(tmp_path) as app:
            app.answers(replies[kind])
            app.on_send = on_send
            body = {"model": "m", "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}
            await app.request(body, path=path)
            assert len(app.records()) == 1

    asyncio.run(run())
    assert lines == [1]


def test_a_filter_by_account_shows_only_that_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with MeteredApp(tmp_path) as app:
            app.answers(chat_answer())
            for account in ("ada", "bob", "ada"):
                identify_as(monkeypatch, Caller(f"key_{account}", account=account))
                await app.request()
            app.records()
            rows = app.store.sums("key", where=UsageFilter(account="ada"))
            assert [(row.name, row.requests) for row in rows] == [("key_ada", 2)]

    asyncio.run(run())


# Cost of it.


async def measured(app: MeteredApp, body: dict[str, Any]) -> int:
    """The instructions of Python that one request takes in Byway's own code, after two others."""
    count = 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal count
        if "/byway/" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    for _ in range(2):
        await app.request(body)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        await app.request(body)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("stream", [False, True])
def test_recording_adds_less_than_a_tenth_to_the_work_of_a_request(stream: bool, tmp_path: Path) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 6}
    body = {"model": "m", "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}

    async def run() -> list[int]:
        counts = []
        for enabled in (False, True):
            folder = tmp_path / str(enabled)
            folder.mkdir()
            async with MeteredApp(folder, usage={"enabled": enabled}) as app:
                app.answers(chat_stream(usage) if stream else chat_answer(usage))
                counts.append(await measured(app, body))
        return counts

    off, on = asyncio.run(run())
    assert off < on < off * 1.1, f"{off} opcodes without, {on} with usage records"
