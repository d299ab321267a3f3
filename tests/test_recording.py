"""Recording of requests: off by default, bounded, without credentials, and of one's own account only."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any, cast

import pytest
from growth import assert_linear
from loaded import loaded
from loops import run_skipping
from test_account_page import Team
from test_targets import BODY, Network, chat_answer, runtime

from byway.access.keys import Caller
from byway.admin import recording as service
from byway.gateway import Gateway
from byway.inspector import recording
from byway.inspector.cleaning import HIDDEN, clean_bytes, clean_headers, has_cut_secret
from byway.inspector.recording import RecordedBody, RecordedExchange, Recording, Recordings
from byway.problems import Problem
from byway.runtime import Runtime
from byway.scrub import Scrubber
from byway.server.app import App

KEY = "sk-ant-api03-abcdefghijklmnopqrstuvwxyz0123456789"
SECRET = "the-secret-of-this-backend"
FOREVER = 4.0 * 10**9


def recordings(account: str = "", session: str = "") -> Recordings:
    made = Recordings()
    made.start(Recording(account, session, FOREVER, FOREVER))
    return made


def begun(made: Recordings, id: str = "req_1", account: str = "", session: str = "") -> RecordedExchange | None:
    return made.begin(id, account, session, 1.0)


# -------------------------------------------------------------------------------------------------------------- on and off


def test_nothing_is_recorded_by_default() -> None:
    assert begun(Recordings()) is None
    gateway = Gateway(runtime("one"))
    assert gateway.recordings.active == {} and gateway.recordings.size == 0


def test_only_the_account_and_the_session_of_the_recording_are_recorded() -> None:
    made = recordings("ada", "s1")
    assert begun(made, "req_1", "ada", "s1") is not None
    assert begun(made, "req_2", "ada", "s2") is None
    assert begun(made, "req_3", "", "s1") is None
    assert begun(made, "req_4", "grace", "s1") is None
    assert made.find("req_1", "ada") is not None
    assert made.find("req_1", "grace") is None and made.find("req_1", "") is None
    assert made.ids("ada") == {"req_1"} and made.ids("") == frozenset()


def test_a_recording_ends_by_its_time() -> None:
    made = Recordings()
    made.start(Recording("", "", 10.0, 10.0))
    assert made.begin("req_1", "", "", 9.9) is not None
    assert made.begin("req_2", "", "", 10.0) is None
    assert made.active == {}, "from then on a request looks at nothing else"


def test_the_number_of_accounts_that_record_is_bounded() -> None:
    made = Recordings()
    for number in range(recording.MOST_ACCOUNTS):
        made.start(Recording(f"a{number}", "", FOREVER, FOREVER))
    made.start(Recording("a0", "s", FOREVER, FOREVER))
    with pytest.raises(Problem, match="Try again later"):
        made.start(Recording("another", "", FOREVER, FOREVER))


def test_start_and_end_are_in_the_audit_log(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        later: list[Any] = []
        monkeypatch.setattr(loop, "call_later", lambda seconds, call, *rest: later.append((seconds, call, rest)))
        made, store = team.gateway.recordings, team.store
        first = await service.start(made, store, "ada", "account ada", 5)
        assert first.active and first.ends_at is not None and abs(first.ends_at - time.time() - 300) < 60
        await service.start(made, store, "ada", "account ada", 1, "s1")
        _, end, rest = later[0]
        end(*rest)
        assert made.active, "the first one was replaced: its end is not that of the second"
        await service.stop(made, store, "ada", "account ada", discard=False)
        await service.start(made, store, "", "the page", 1)
        seconds, end, rest = later[-1]
        end(*rest)
        assert (seconds, made.active) == (60, {})
        await loop.run_in_executor(None, lambda: None)

    run_skipping(run())
    entries = [(entry.who, entry.what) for entry in reversed(team.store.audit_entries())]
    assert [entry for entry in entries if "recording" in entry[1]][:4] == [
        ("account ada", "recording started"),
        ("account ada", "recording started"),
        ("account ada", "recording stopped"),
        ("the page", "recording started"),
    ]


@pytest.mark.parametrize(("minutes", "session"), [(0, ""), (241, ""), (5, "x" * 200), (5, "a\nb")])
def test_invalid_recordings_are_rejected(team: Team, minutes: int, session: str) -> None:
    with pytest.raises(Problem):
        run_skipping(service.start(team.gateway.recordings, team.store, "", "x", minutes, session))
    assert team.gateway.recordings.active == {}


# ------------------------------------------------------------------------------------------------------------------ bounds


def fill(made: Recordings, requests: int, size: int) -> None:
    for number in range(requests):
        exchange = begun(made, f"req_{number}")
        if exchange is not None:
            exchange.add(exchange.request, b"x" * size, 1.0)
            call = exchange.call("box", "m", "generic", "openai", "http://box")
            exchange.add(call.body, b"x" * size, 1.0)
            exchange.add(exchange.response, b"x" * size, 1.0)


@pytest.mark.parametrize("size", [100, 1 << 20, 8 << 20])
def test_memory_stays_below_its_limit_when_requests_double(size: int) -> None:
    for requests in (16, 32, 64):
        made = recordings()
        fill(made, requests, size)
        kept = [exchange for exchange in made._exchanges.values()]
        real = sum(
            len(data)
            for exchange in kept
            for body in (exchange.request, exchange.response, *(call.body for call in exchange.calls))
            for _, data in body.pieces
        )
        assert real <= made.size <= recording.TOTAL_LIMIT
        assert made.size == sum(exchange.size for exchange in kept)
        assert kept[-1].id == f"req_{requests - 1}", "the oldest ones are dropped"


def test_the_number_of_requests_calls_and_pieces_is_bounded() -> None:
    made = recordings()
    fill(made, 2 * recording.MOST_EXCHANGES, 1)
    assert len(made._exchanges) == recording.MOST_EXCHANGES
    exchange = begun(made, "req_x")
    assert exchange is not None
    for _ in range(recording.MOST_CALLS + 5):
        exchange.call("box", "m", "generic", "openai", "http://box")
    assert (len(exchange.calls), exchange.left_out) == (recording.MOST_CALLS, 5)
    for _ in range(recording.MOST_PIECES + 5):
        exchange.add(exchange.response, b"x", 1.0)
    assert len(exchange.response.pieces) <= recording.MOST_PIECES + 1 and exchange.response.note


def test_a_large_body_is_cut_with_a_note() -> None:
    body = RecordedBody()
    body.add(b"a" * (recording.BODY_LIMIT - 10), 0.0)
    body.add(b"b" * 100, 0.0)
    body.add(b"c" * 100, 0.0)
    body.clean(Scrubber())
    assert len(body.data) == recording.BODY_LIMIT and body.data.endswith(b"a" + b"b" * 10)
    assert body.size == recording.BODY_LIMIT + 190 and "first 4 MiB" in body.note and not body.complete


def test_a_dropped_request_records_nothing_more() -> None:
    made = recordings()
    exchange = begun(made)
    assert exchange is not None
    made.discard("")
    exchange.add(exchange.request, b"x" * 1000, 1.0)
    assert (made.size, exchange.request.pieces) == (0, [])


def test_a_compressed_request_is_recorded_as_it_was_read() -> None:
    import gzip

    for coding, data in (("gzip", gzip.compress(b'{"model": "m"}')), ("gzip", b"no gzip")):
        made = recordings()
        exchange = begun(made)
        assert exchange is not None
        exchange.headers = (("content-encoding", coding),)
        exchange.add(exchange.request, data, 1.0)
        exchange.clean(Scrubber())
        assert exchange.request.data == (b'{"model": "m"}' if data != b"no gzip" else b"")
        assert bool(exchange.request.note) == (data == b"no gzip")


def test_a_bomb_of_a_compressed_request_stays_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    monkeypatch.setattr(recording, "BODY_LIMIT", 1 << 20)
    made = recordings()
    exchange = begun(made)
    assert exchange is not None
    exchange.headers = (("content-encoding", "gzip"),)
    exchange.add(exchange.request, gzip.compress(b"0" * (16 << 20), 1), 1.0)
    exchange.clean(Scrubber())
    assert len(exchange.request.data) == recording.BODY_LIMIT and exchange.request.note


# ------------------------------------------------------------------------------------------------------------- credentials


@pytest.mark.parametrize("before", ["", "\n", "\t", "\x1b", 'a"', "\\n", "key="])
def test_a_key_is_removed_wherever_it_stands_in_json(before: str) -> None:
    value: Any = {"text": before + KEY}
    for _ in range(3):
        data = json.dumps(value).encode()
        cleaned = clean_bytes(data, Scrubber([SECRET]))
        assert KEY.encode() not in cleaned and b"[secret]" in cleaned
        assert json.loads(cleaned)
        value = {"nested": data.decode()}


@pytest.mark.parametrize("size", [100, 20_000, 300_000])
def test_configured_secrets_are_removed_from_large_bodies(size: int) -> None:
    words = f'"{SECRET}", ' * 3
    data = (("x" * 97 + " ") * (size // 98) + words).encode() + b"\xff\xfe"
    cleaned = clean_bytes(data, Scrubber([SECRET]))
    assert SECRET.encode() not in cleaned and cleaned.endswith(b"\xff\xfe")


def test_cleaning_takes_linear_time() -> None:
    scrubber = Scrubber([SECRET])
    for unit in ("line of code\\n", "\\" * 12, "sk-", "x" * 12, '"a":1,'):
        assert_linear(lambda n, unit=unit: (unit * n).encode(), lambda data: clean_bytes(data, scrubber), 2000, 300_000)  # type: ignore[misc]


def test_headers_of_unknown_names_are_not_recorded() -> None:
    given = (("Authorization", f"Bearer {KEY}"), ("x-api-key", KEY), ("cookie", "a=b"), ("cf-access-token", "t"),
             ("user-agent", f"client {KEY}"), ("content-type", "application/json"), ("x-stainless-os", "Linux"))  # fmt: skip
    cleaned = dict(clean_headers(given, Scrubber()))
    assert {name for name, value in cleaned.items() if value == HIDDEN} == {
        "authorization", "x-api-key", "cookie", "cf-access-token",
    }  # fmt: skip
    assert cleaned["user-agent"] == "client [secret]" and cleaned["x-stainless-os"] == "Linux"


def stream(*pieces: str, chat: bool = False) -> list[bytes]:
    events: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"content": piece}}]}
        if chat
        else {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
        for piece in pieces
    ]
    return [b"event: x\ndata: %b\n\n" % json.dumps(event).encode() for event in events]


@pytest.mark.parametrize("chat", [False, True])
def test_a_secret_that_a_stream_cuts_is_not_recorded(chat: bool) -> None:
    made = recordings()
    exchange = begun(made)
    assert exchange is not None
    for data in stream("The key is ", KEY[:9], KEY[9:20], KEY[20:], chat=chat):
        exchange.add(exchange.response, data, 1.0)
    exchange.clean(Scrubber())
    assert exchange.events == () and exchange.response.data == b"" and exchange.response.note == recording.LEFT_OUT
    assert not has_cut_secret([b'{"delta": {"text": "sk-"}}', b"no json", b"[1]"], Scrubber())


def test_the_events_of_a_stream_keep_their_times() -> None:
    made = recordings()
    exchange = begun(made)
    assert exchange is not None
    first, second = stream("Hello", " there")
    for at, data in ((1.5, first[:10]), (2.0, first[10:] + second[:30]), (3.25, second[30:])):
        exchange.add(exchange.response, data, at)
    exchange.clean(Scrubber())
    assert [(event.ms, event.name) for event in exchange.events] == [(1000.0, "x"), (2250.0, "x")]
    assert "Hello" in exchange.events[0].data


def everything(value: Any) -> str:
    """All text that an exchange contains."""
    if isinstance(value, (RecordedExchange, recording.RecordedCall, RecordedBody)):
        return " ".join(
            everything(getattr(value, name)) for name in value.__slots__ if name not in ("_recordings", "cleaning")
        )
    if isinstance(value, list | tuple):
        return " ".join(map(everything, value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def one_request(body: dict[str, Any], path: str = "/v1/messages", **headers: str) -> tuple[RecordedExchange, int]:
    """A recorded request through the application, at a backend with a secret."""
    backend = {"name": "one", "type": "generic", "url": "http://127.0.0.1:9", "models": ["local"], "api_key": SECRET}
    at = Runtime(loaded({"backends": [backend], "model_aliases": {"default": "one/local"}}))
    answer = chat_answer(None)
    answer["choices"][0]["message"]["content"] = f"Your key is {KEY} and {SECRET}."
    network = Network((503, {"error": {"message": f"bad key {KEY}"}}), (200, answer))
    at.backends["one"].upstream = cast(Any, network)
    gateway = Gateway(at)
    gateway.recordings.start(Recording("", "", FOREVER, FOREVER))
    sent: list[Any] = []

    bodies = [json.dumps(body).encode()]

    async def receive() -> dict[str, Any]:
        if not bodies:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": bodies.pop(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    given = {"host": "127.0.0.1", "x-api-key": KEY, "authorization": f"Bearer {KEY}", "cookie": f"a={KEY}", **headers}
    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"", "client": None,
        "server": ("127.0.0.1", 80), "headers": {name.encode(): value.encode() for name, value in given.items()},
    }  # fmt: skip

    async def run() -> RecordedExchange:
        await App(gateway)(scope, receive, send)
        return await service.recorded(gateway.recordings, gateway.requests.newest()[0].line.id, "")

    return run_skipping(run()), sent[0]["status"]


def test_a_recorded_request_contains_both_sides_and_no_credential() -> None:
    text = f"My key:\n{KEY}\nand {SECRET}"
    exchange, status = one_request({**BODY, "messages": [{"role": "user", "content": text}]})
    assert status == 200 and exchange.status == 200
    shown = everything(exchange)
    assert KEY not in shown and SECRET not in shown and "[secret]" in shown
    assert "My key" in exchange.request.data.decode()
    assert [call.status for call in exchange.calls] == [503, 200]
    assert "My key" in exchange.calls[1].body.data.decode() and exchange.calls[1].path == "/v1/chat/completions"
    assert "Your key is" in exchange.calls[1].answer.data.decode()
    assert "Your key is" in exchange.response.data.decode()


@pytest.mark.parametrize("path", ["/v1/embeddings", "/api/embed", "/v1/completions", "/v1/rerank"])
def test_a_request_that_passes_through_is_recorded(path: str) -> None:
    exchange, status = one_request({"model": "m", "input": f"My key: {KEY}"}, path)
    assert [call.status for call in exchange.calls] == [503, 200]
    assert "My key" in exchange.calls[1].body.data.decode()
    assert "Your key is" in exchange.calls[1].answer.data.decode()
    # The answer has no embeddings to translate for Ollama.
    assert status == exchange.status == (502 if path == "/api/embed" else 200)
    shown = everything(exchange)
    assert KEY not in shown and SECRET not in shown


def test_a_request_that_is_refused_is_recorded_too() -> None:
    exchange, status = one_request({"model": "m", "messages": []})
    assert status == exchange.status == 400 and exchange.calls == []
    assert b"at least one message" in exchange.response.data


def test_the_answer_that_passes_through_the_recorder_is_unchanged() -> None:
    at = runtime("one")
    at.backends["one"].upstream = cast(Any, Network((200, chat_answer(None))))
    answers = []
    for active in (False, True):
        gateway = Gateway(at)
        if active:
            gateway.recordings.start(Recording("", "", FOREVER, FOREVER))
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps(BODY).encode(), "more_body": False}

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        headers = {b"host": b"127.0.0.1"}
        scope = {"type": "http", "method": "POST", "path": "/v1/messages", "query_string": b"", "headers": headers}
        run_skipping(App(gateway)({**scope, "client": None, "server": ("127.0.0.1", 80)}, receive, send))
        body = json.loads(sent[1]["body"])
        answers.append((sent[0]["status"], body["content"], body["stop_reason"]))
    assert answers[0] == answers[1]


# ---------------------------------------------------------------------------------------------------------------- accounts


@pytest.fixture
def team(tmp_path: Path) -> Any:
    opened = Team(tmp_path)
    yield opened
    opened.close()


def kept(team: Team, account: str) -> int:
    """A recorded request of an account, and its number in the list."""
    request = next(request for request in team.gateway.requests.newest() if request.line.account == account)
    made = team.gateway.recordings
    made.start(Recording(account, "", FOREVER, FOREVER))
    exchange = made.begin(request.line.id, account, "", 1.0)
    assert exchange is not None
    exchange.method, exchange.path = "POST", "/v1/messages"
    exchange.add(
        exchange.request,
        b'{"model":"m","messages":[{"role":"user","content":"the prompt of %b"}]}' % account.encode(),
        1.0,
    )
    exchange.clean(Scrubber())
    return request.number


PARTS = ("", "/drawer", "?part=request", "/drawer?part=answer", "?part=actions", "/case?title=x")


@pytest.mark.parametrize("reader", ["ada", "vera", "owner"])
def test_no_one_else_sees_what_a_member_has_recorded(team: Team, reader: str) -> None:
    number = kept(team, "grace")
    team.as_account(reader)
    for part in PARTS:
        answer = team.get(f"/requests/{number}{part}")
        assert answer.status in (200, 404) and "the prompt of" not in answer.html, part
    for target in (f"/byway/requests/{number}/recording", f"/byway/requests/{number}/case"):
        status, refused = team.api("GET", target)
        assert status == 404 and "the prompt" not in json.dumps(refused)
    assert team.post(f"/requests/{number}/replay", {"model": "one/local"}).status in (403, 404, 422)
    team.as_account("grace")
    assert "the prompt of grace" in team.get(f"/requests/{number}?part=request").html
    status, shown = team.api("GET", f"/byway/requests/{number}/recording")
    assert status == 200 and "the prompt of grace" in shown["request"]["text"]


def test_a_key_reads_no_recorded_prompt_and_starts_no_recording(team: Team) -> None:
    number = kept(team, "grace")
    headers = {"x-api-key": team.values["grace"]}
    answer = team.call("GET", f"/byway/requests/{number}/recording", "", headers, cookie=False)
    assert answer.status == 403 and "the prompt of" not in answer.html
    assert (
        team.call("GET", f"/requests/{number}?part=request", "", headers, cookie=False).html.find("the prompt of") == -1
    )
    team.gateway.recordings.stop("grace")
    assert team.call("POST", "/byway/recording", "{}", headers, cookie=False).status == 403
    assert team.gateway.recordings.active == {}


def test_a_member_records_and_deletes_its_own_requests_only(team: Team) -> None:
    number = kept(team, "grace")
    team.as_account("ada")
    status, state = team.api("POST", "/byway/recording", {"minutes": 5})
    assert status == 200 and state["active"] and set(team.gateway.recordings.active) == {"ada", "grace"}
    assert (state["requests"], state["bytes"]) == (0, 0)
    assert "Stop recording" in team.get("/usage").html, "every page shows it"
    assert team.api("DELETE", "/byway/recording?discard=1")[0] == 200
    assert set(team.gateway.recordings.active) == {"grace"}
    assert "Stop recording" not in team.get("/usage").html
    team.as_account("grace")
    assert team.api("GET", f"/byway/requests/{number}/recording")[0] == 200
    team.as_account("vera")
    shown = team.get(f"/requests/{number}?part=request").text
    assert "Only the account of a request can record it" in shown and "Record this session" not in shown
    assert team.api("POST", "/byway/recording", {"minutes": 5})[0] == 403
    assert "Record prompts" not in team.get("/requests").html


def test_a_caller_of_an_account_is_recorded_for_that_account_only() -> None:
    caller = Caller("k1", account="ada")
    made = recordings("")
    assert made.begin("req_1", caller.account, "", 1.0) is None
