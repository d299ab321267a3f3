"""Runs every file of `cases/` (their form: `casefile.py`), and on each the checks that no case has to ask for."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any

import msgspec
import pytest
from casefile import CASES, SHORT, Case, Expected, Reply, Turn, cases
from grammar import Line, input_of, parsed, plain, summary
from msgspec import Raw
from papers import with_pdfs
from properties import stride
from strict import check_event, check_message

from byway.backends import anthropic
from byway.backends.openai import completions
from byway.backends.protocol import BackendProtocol, Target
from byway.backends.responses import responses
from byway.backends.vendors import VENDORS
from byway.call import Call
from byway.messages import request as messages
from byway.messages import signature, sse
from byway.messages.events import Part, Passthrough, WholeAnswer
from byway.messages.request import Request
from byway.messages.stream import fold
from byway.problems import Problem

MODULES: dict[str, BackendProtocol] = {"openai": completions, "responses": responses, "anthropic": anthropic}
ALL = [case for protocol in MODULES for case in cases(protocol)]
ANSWERED = [case for case in ALL if case.turns[-1].replies and case.turns[-1].replies[-1].status == 200]
ENDED = [case for case in ANSWERED if case.turns[-1].problem is None]

#: Every byte of an answer is a cut once. Cuts this far apart share one reading.
APART = 200
#: Longer answers are not read byte by byte.
LONG = 20_000
#: An answer is cut off at every byte of its last lines, and at one byte in `STRIDE` before them.
LAST = 300
STRIDE = stride(7)
#: The byte order mark of UTF-8.
BOM = b"\xef\xbb\xbf"

#: The target of a case that names none.
VENDOR_OF = {"anthropic": "anthropic", "responses": "openai"}
MODEL_OF = {"responses": "gpt-5.6"}
ID = "msg_case"
PRIVATE = {"authorization", "x-api-key", "cookie", "host", "connection", "content-length", "x-app"}


def each(items: Iterable[Case]) -> Any:
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in items])


@cache
def target(case: Case) -> Target:
    vendor = case.target.get("vendor", VENDOR_OF.get(case.protocol, "generic"))
    window = case.target.get("window")
    row = VENDORS[vendor].by("responses") if case.protocol == "responses" else VENDORS[vendor]
    return Target(
        "box", case.target.get("model", MODEL_OF.get(case.protocol, "local")), row, int(window) if window else None
    )


@cache
def request_of(turn: Turn) -> Request:
    return messages.parse(turn.body, turn.headers, ID)


def calls(case: Case, turn: Turn) -> Call:
    request = request_of(turn)
    return MODULES[case.protocol].request(request, with_pdfs(request, target(case)))


def read(case: Case, chunks: Iterable[bytes]) -> tuple[list[Part], Problem | None]:
    """The events of an answer that comes in `chunks`, and the Problem that it ends with."""
    reader = MODULES[case.protocol].reader(request_of(case.turns[-1]), target(case))
    events: list[Part] = []
    try:
        for chunk in chunks:
            events += reader.feed(chunk)
        events += reader.close()
    except Problem as problem:
        return events, problem
    return events, None


def wanted(line: str) -> Line:
    """A line of `--- events` in the form that `summary` gives."""
    kind, _, rest = line.partition(" ")
    match kind:
        case "text" | "thinking":
            text, _, times = rest.partition('" *')
            return (kind, json.loads(f'{text}"') * int(times) if times else json.loads(rest))
        case "tool":
            id, name, input = rest.split(" ", 2)
            return ("tool", id, name, input_of(input))
        case "block":
            return ("block", rest)
        case "end":
            reason, *pairs = shlex.split(rest, posix=False)
            given = dict(pair.split("=", 1) for pair in pairs)
            stop = given.pop("stop", None)
            return ("end", reason, json.loads(stop) if stop else None, {name: int(n) for name, n in given.items()})
    raise AssertionError(f"not a line of events: {line}")


def compare(got: list[Line], lines: list[str]) -> None:
    want = [wanted(line) for line in lines]
    seen = []
    for at, line in enumerate(got):
        like = want[at] if at < len(want) else ()
        if line[0] == "tool" and like[:2] == ("tool", "*"):
            line = ("tool", "*", *line[2:])
        if line[0] == "end" and like[:1] == ("end",):
            line = (*line[:3], {name: line[3][name] for name in like[3]})
        seen.append(line)
    assert seen == want


def without_fixed(value: Any) -> Any:
    """The value without fields that are the same in each answer: nulls, and the caller of a tool."""
    if isinstance(value, list):
        return [without_fixed(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: without_fixed(item) for name, item in value.items() if item is not None and name != "caller"}


def without_counts(lines: list[Line]) -> list[Line]:
    return [line[:3] if line[0] == "end" else line for line in lines]


def matches(problem: Problem | None, expected: Expected) -> None:
    assert problem is not None, "a Problem was expected"
    assert (problem.kind, problem.message) == (expected.kind, problem.message)
    for name, value in expected.facts.items():
        match name:
            case "status":
                assert problem.row.status == int(value)
            case "retry_after":
                assert problem.retry_after == float(value)
            case "retry":
                assert problem.retry is json.loads(value)
            case "failover":
                assert problem.row.failover is json.loads(value)
            case _:
                raise AssertionError(f"a problem has no {name}")
    for mark, text in expected.rules:
        if mark == "=":
            assert problem.message == text
        elif mark == "~":
            assert text in problem.message
        else:
            assert text not in problem.message and text not in json.dumps(problem.facts)


# ------------------------------------------------------------------------------------------------------------ the files


def test_the_name_of_a_file_is_its_title() -> None:
    names = {case.path.stem: re.sub(r"[^a-z0-9]+", "_", case.sentence.lower()).strip("_") for case in ALL}
    assert {stem: name for stem, name in names.items() if stem != name} == {}


def test_every_file_is_read() -> None:
    assert len(ALL) == len(list(CASES.rglob("*.case"))) and len(ALL) >= 70


# ------------------------------------------------------------------------------------------------------------- requests


@each([case for case in ALL if any(turn.calls for turn in case.turns)])
def test_call(case: Case) -> None:
    for turn in case.turns:
        for expected in turn.calls:
            call = calls(case, turn)
            assert (call.method, call.path) == (expected.method, expected.path)
            headers = {name.lower(): value for name, value in call.headers}
            assert expected.headers.items() <= headers.items()
            assert not PRIVATE & headers.keys(), "nothing of the client's own connection goes on"
            if expected.body is None:
                fields = msgspec.json.Decoder(dict[str, Raw])
                own, sent = fields.decode(turn.body), fields.decode(call.body)
                assert json.loads(bytes(sent.pop("model"))) == target(case).model
                own.pop("model")
                assert list(sent) == list(own) and all(bytes(sent[name]) == bytes(own[name]) for name in own)
            else:
                assert json.loads(call.body) == expected.body
            assert calls(case, turn) == call, "the same request makes the same bytes"


@each([case for case in ALL if case.protocol != "anthropic" and any(turn.calls for turn in case.turns)])
def test_schemas_and_inputs_keep_the_order_of_their_keys(case: Case) -> None:
    for turn in case.turns:
        body = calls(case, turn).body
        sent = _schemas(json.loads(body))
        own = [tool.get("input_schema") for tool in json.loads(turn.body).get("tools", [])]
        # Where the server takes other schemas, the case says which.
        lines = [schema for expected in turn.calls if expected.body for schema in _schemas(expected.body)]
        assert {json.dumps(schema) for schema in sent} <= {json.dumps(schema) for schema in (*own, *lines)}


def _schemas(body: Any) -> list[Any]:
    return [tool.get("function", tool)["parameters"] for tool in body.get("tools", [])]


@each([case for case in ALL if case.protocol != "anthropic" and len(case.turns) > 1])
def test_turn_is_a_byte_prefix_of_the_next(case: Case) -> None:
    before = b""
    for turn in case.turns:
        fields = msgspec.json.decode(calls(case, turn).body, type=dict[str, Raw])
        prompt = bytes(fields.get("tools", Raw(b""))) + bytes(fields.get("messages") or fields["input"])
        assert prompt.endswith(b"]") and prompt.startswith(before)
        before = prompt[:-1]


@each([case for case in ALL if not case.turns[-1].replies])
def test_request_is_refused(case: Case) -> None:
    turn = case.turns[-1]
    if turn.problem is None:
        assert turn.calls, "a case without a reply shows a call or a problem"
        return
    with pytest.raises(Problem) as raised:
        calls(case, turn)
    matches(raised.value, turn.problem)


# -------------------------------------------------------------------------------------------------------------- answers


@each([case for case in ALL if any(reply.status != 200 for turn in case.turns for reply in turn.replies)])
def test_problem(case: Case) -> None:
    for turn in case.turns:
        for at, reply in enumerate(turn.replies):
            if reply.status == 200:
                continue
            problem = MODULES[case.protocol].problem(reply.status, reply.headers, reply.body, target(case))
            if at < len(turn.replies) - 1:
                assert problem.row.failover or problem.row.again
            else:
                assert turn.problem is not None
                matches(problem, turn.problem)


@each(ANSWERED)
def test_events(case: Case) -> None:
    turn = case.turns[-1]
    request = request_of(turn)
    assert turn.events is not None or turn.problem is not None, "an answer's case says what the client gets"
    for reply in [turn.replies[-1], *turn.others]:
        events, problem = read(case, [reply.body])
        if turn.problem is None:
            assert problem is None, problem
        else:
            matches(problem, turn.problem)
        result = plain(events)
        compare(summary(result, ended=problem is None), turn.events or [])
        for event in result:
            assert event["type"] != "message" or not request.stream, "who asks for a stream gets one"
            if event["type"] == "message_start":
                assert event["message"]["model"] == request.model
                assert case.protocol == "anthropic" or event["message"]["id"] == ID
            if event["type"] != "message" and "unknown" not in case.path.stem:
                check_event(event)


@each(ENDED)
def test_fold_is_the_answer_not_streamed(case: Case) -> None:
    turn = case.turns[-1]
    for reply in [turn.replies[-1], *turn.others]:
        events, _ = read(case, [reply.body])
        message = json.loads(fold(events))
        assert summary([message]) == summary(plain(events))
        assert message["model"] == request_of(turn).model
        if "unknown" not in case.path.stem:
            check_message(message)
        for name, value in (turn.whole or {}).items():
            assert without_fixed(message[name]) == without_fixed(value)
        if case.protocol != "anthropic":
            for block in message["content"]:
                assert block["type"] != "thinking" or signature.holds(block["thinking"], block["signature"])


@each([case for case in ENDED if case.protocol == "anthropic"])
def test_identity_changes_the_name_and_nothing_else(case: Case) -> None:
    reply, request = case.turns[-1].replies[-1], request_of(case.turns[-1])
    if request.stream and not reply.streamed:
        return  # its form had to be changed
    events, _ = read(case, [reply.body])
    out = b"".join(event.data for event in events if isinstance(event, Passthrough | WholeAnswer))
    theirs = re.compile(rb'(?<="model":) ?"' + re.escape(target(case).model.encode()) + rb'"')
    assert _tight(out) == _tight(theirs.sub(json.dumps(request.model).encode(), reply.body, count=1))


def _tight(data: bytes) -> bytes:
    """The bytes with the JSON that holds the model's name written closely: Byway may write that one anew."""
    lines = []
    for line in data.split(b"\n"):
        head, value, text = line.partition(b"data: ") if b'"message_start"' in line else (b"", b"", line)
        if b'"model"' in text and text.startswith(b"{"):
            text = json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False).encode()
        lines.append(head + value + text)
    return b"\n".join(lines)


# --------------------------------------------------------------------------------------------- any cut, any line ending


def pieces(body: bytes, start: int, apart: int = APART) -> list[bytes]:
    """`body` cut at `start` and then every `apart` bytes."""
    places = [0, *range(start, len(body), apart), len(body)]
    return [body[begin:end] for begin, end in itertools.pairwise(places)]


def outcome(case: Case, chunks: Iterable[bytes]) -> Any:
    events, problem = read(case, chunks)
    return blocks(events, problem is None), problem and problem.kind


def blocks(events: list[Part], ended: bool) -> list[Line]:
    """The summary of an answer. Most cuts give the same bytes, which are parsed once."""
    if any(isinstance(event, WholeAnswer) for event in events):
        return summary(plain(events), ended=ended)
    return _blocks(sse.encode(events), ended)


@lru_cache(maxsize=64)
def _blocks(data: bytes, ended: bool) -> list[Line]:
    return summary(parsed(data), ended=ended)


@each(ANSWERED)
def test_cut_anywhere_it_is_the_same_answer(case: Case) -> None:
    for reply in [case.turns[-1].replies[-1], *case.turns[-1].others]:
        body = reply.body
        once = outcome(case, [body])
        apart = max(APART, len(body) // 100)
        for start in range(1, min(apart + 1, len(body)), stride(1 if len(body) <= LONG else apart // 100)):
            assert outcome(case, pieces(body, start, apart)) == once, body[:start]
        if len(body) <= LONG:
            assert outcome(case, [body[at : at + 1] for at in range(len(body))]) == once


@each(case for case in ANSWERED if case.turns[-1].replies[-1].streamed and b"\r" not in case.turns[-1].replies[-1].body)
def test_line_ends_and_a_byte_order_mark_make_no_difference(case: Case) -> None:
    reply = case.turns[-1].replies[-1].body
    once = outcome(case, [reply])
    for end in (b"\r\n", b"\r"):
        body = reply.replace(b"\n", end)
        assert outcome(case, [body]) == once
        for start in range(1, min(APART, len(body)), stride(5)):
            assert outcome(case, pieces(body, start)) == once, (end, body[:start])
        # A mark changes nothing behind the first cuts; cuts at each byte are inside it too.
        marked = BOM + body
        assert outcome(case, [marked]) == once
        for start in range(1, len(BOM) + 2):
            assert outcome(case, pieces(marked, start)) == once, (end, marked[:start])
        if len(body) <= LONG:
            assert outcome(case, pieces(marked, 1, stride())) == once


def finished_at(case: Case, reply: Reply) -> tuple[int, int]:
    """Where the line ends that says the answer is finished, and where its line end does."""
    if not reply.streamed:
        return len(reply.body.rstrip()), len(reply.body.rstrip())
    at = 0
    for line in reply.body.splitlines(keepends=True):
        if line.startswith(b"data:") and _finishes(line.removeprefix(b"data:").strip()):
            return at + len(line.rstrip(b"\r\n")), at + len(line)
        at += len(line)
    raise AssertionError("an answer without a problem has a finish")


def _finishes(data: bytes) -> bool:
    try:
        chunk = json.loads(data)
    except ValueError:
        return data == b"[DONE]"
    if "failed_generation" in (chunk.get("error") or {}):
        return True
    if chunk.get("type") in ("response.completed", "response.incomplete"):
        return True
    if chunk.get("type") == "message_delta":
        return chunk["delta"].get("stop_reason") is not None
    unfinished = (None, "", "null")
    return any(
        choice.get("finish_reason") not in unfinished
        for choice in chunk.get("choices") or []
        if not choice.get("index")
    )


@each(ENDED)
def test_cut_before_the_finish_is_a_problem(case: Case) -> None:
    for reply in [case.turns[-1].replies[-1], *case.turns[-1].others]:
        before, sure = finished_at(case, reply)
        whole = without_counts(outcome(case, [reply.body])[0])
        length = len(reply.body)
        step = STRIDE if length <= LONG else length // 50
        last = range(max(1, before - LAST), min(length, sure + LAST), stride())
        for cut in {*range(1, length, step), *last, *range(before - 1, min(sure + 1, length))}:
            events, problem = read(case, [reply.body[:cut]])
            lines = blocks(events, problem is None)
            if cut < before:
                # A truncated error event is an error of the backend already.
                kinds = {"broken", "upstream"} if b"event: error" in reply.body else {"broken"}
                assert problem is not None and problem.kind in kinds, reply.body[:cut]
            elif cut >= sure:
                assert problem is None, (problem, reply.body[:cut])
                assert without_counts(lines) == whole


def test_the_short_request_is_one() -> None:
    assert messages.parse(SHORT, {}, ID).stream
