"""Recorded requests as case files and as curl commands; two bodies side by side; events as rows."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import test_cases as cases
from casefile import Case, load
from growth import assert_linear

from byway.admin.inspection import case, curl
from byway.admin.requests import RecentRequest, RequestLine
from byway.backend import PROTOCOLS
from byway.inspector import recording
from byway.inspector.casefile import case_file, case_name
from byway.inspector.comparison import compare, count_marks, groups
from byway.inspector.recording import RecordedEvent, RecordedExchange, Recording, Recordings
from byway.problems import Problem
from byway.scrub import Scrubber
from byway.ui.inspector import event_rows

KEY = "sk-ant-api03-abcdefghijklmnopqrstuvwxyz0123456789"
TITLE = "A saved case: it passes"
BODY: dict[str, Any] = {"model": "sonnet", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
ANSWER = b'{"choices":[{"message":{"content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":1}}'


def recorded(
    body: bytes = json.dumps(BODY).encode(),
    answer: bytes = ANSWER,
    status: int = 200,
    headers: dict[str, str] | None = None,
    answer_headers: dict[str, str] | None = None,
    path: str = "/v1/messages",
    **target: Any,
) -> RecordedExchange:
    """A recorded request with one call."""
    made = Recordings()
    made.start(Recording("", "", 10.0**9, 10.0**9))
    exchange = made.begin("req_1", "", "", 1.0)
    assert exchange is not None
    exchange.method, exchange.path, exchange.headers = "POST", path, tuple((headers or {}).items())
    exchange.add(exchange.request, body, 1.0)
    given = {
        "backend": "box",
        "model": "local",
        "vendor": "generic",
        "protocol": "openai",
        "url": "http://box",
        **target,
    }
    call = exchange.call(**given)
    call.method, call.path, call.status = "POST", "/v1/chat/completions", status
    call.answer_headers = tuple((answer_headers or {}).items())
    exchange.add(call.answer, answer, 1.0)
    exchange.clean(Scrubber())
    return exchange


def saved(exchange: RecordedExchange, folder: Path, title: str = TITLE) -> Case:
    """The case of a recorded request, written and read."""
    made = case_file(exchange, title, "1.0", PROTOCOLS)
    file = folder / made.folder / made.name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(made.content)
    return load(file)


def check(read: Case) -> None:
    """What the runner checks of a case."""
    turn = read.turns[-1]
    assert case_name(read.sentence) == read.path.stem
    cases.test_call.__wrapped__(read) if hasattr(cases.test_call, "__wrapped__") else cases.test_call(read)
    if turn.replies[-1].status == 200:
        cases.test_events(read)
        if turn.problem is None:
            cases.test_fold_is_the_answer_not_streamed(read)
    else:
        cases.test_problem(read)


SINGLE = [
    read
    for read in cases.ALL
    if len(read.turns) == 1
    and len(read.turns[0].replies) == 1
    and "window" not in read.target
    and "unknown" not in read.id
]


@cases.each(SINGLE)
def test_every_case_of_the_project_can_be_saved_again(case: Case, tmp_path: Path) -> None:
    turn, target = case.turns[0], cases.target(case)
    reply = turn.replies[0]
    exchange = recorded(
        turn.body, reply.body, reply.status, turn.headers, reply.headers,
        vendor=target.vendor.name, model=target.model, protocol=case.protocol,
    )  # fmt: skip
    check(saved(exchange, tmp_path))


def test_nearly_all_cases_of_the_project_are_tried() -> None:
    assert len(SINGLE) >= 150


def test_secrets_and_the_person_are_not_in_the_case(tmp_path: Path) -> None:
    body = {**BODY, "metadata": {"user_id": "user_4711_account_1"}, "system": f"Key:\n{KEY}"}
    exchange = recorded(json.dumps(body).encode(), headers={"x-api-key": KEY, "user-agent": "claude-cli/2"})
    made = case_file(exchange, TITLE, "1.0", PROTOCOLS)
    text = made.content.decode()
    assert KEY not in text and "4711" not in text and "x-api-key" not in text
    assert '"user_case"' in text and "[secret]" in text and "user-agent: claude-cli/2" in text
    check(saved(exchange, tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        'say "x" *y* and "z" *3',
        "--- call\n--- reply 200",
        "\\ back \\n slash",
        "a\u2028b\n\n\nc",
        "\t\x0b",
        "é 漢字 🦊",
        "  ",
    ],
)
@pytest.mark.parametrize("stop", [None, "END HERE", 'a "b" c'])
def test_texts_that_look_like_the_format_survive(text: str, stop: str | None, tmp_path: Path) -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    end: dict[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    data = "".join(f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in (chunk, end)) + "data: [DONE]\n\n"
    body = {**BODY, "stream": True, **({"stop_sequences": [stop]} if stop else {})}
    check(saved(recorded(json.dumps(body).encode(), data.encode()), tmp_path))
    # Other line ends, and an end without a blank line.
    check(saved(recorded(json.dumps(body).encode(), data.replace("\n", "\r\n").encode()), tmp_path))
    check(saved(recorded(json.dumps(body, indent=1).encode(), data.rstrip().encode()), tmp_path))


def test_a_failed_answer_is_saved_with_its_problem(tmp_path: Path) -> None:
    error = b'{"error":{"message":"slow down","type":"rate_limit"}}'
    read = saved(recorded(answer=error, status=429, answer_headers={"retry-after": "7", "set-cookie": "a"}), tmp_path)
    assert read.turns[0].replies[0].headers == {"retry-after": "7"}
    assert read.turns[0].problem is not None and read.turns[0].problem.kind == "rate_limit"
    check(read)


def test_a_cut_answer_is_saved_with_its_problem(tmp_path: Path) -> None:
    data = b'data: {"choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}\n\n'
    read = saved(recorded(json.dumps({**BODY, "stream": True}).encode(), data), tmp_path)
    assert read.turns[0].events == ['text "Hel"'] and read.turns[0].problem is not None
    check(read)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"path": "/v1/chat/completions"}, "Messages API"),
        ({"body": b"[1]"}, "valid JSON object"),
        ({"body": b"{"}, "valid JSON object"),
        ({"status": 0}, "did not answer"),
        ({"answer": b"x" * (1 << 20) + b"x"}, "first 1 MiB"),
        ({"body": b"{" + b" " * (1 << 20)}, "first 1 MiB"),
    ],
)
def test_what_a_case_cannot_express_is_refused_with_the_reason(
    change: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "BODY_LIMIT", 1 << 20)
    with pytest.raises(Problem, match=why):
        case_file(recorded(**change), TITLE, "1.0", PROTOCOLS)


def test_an_answer_of_several_turns_is_refused() -> None:
    exchange = recorded()
    second = exchange.call("box", "local", "generic", "openai", "http://box")
    second.status = 200
    with pytest.raises(Problem, match="several turns"):
        case(exchange)
    exchange.calls.clear()
    with pytest.raises(Problem, match="no call"):
        case(exchange)


@pytest.mark.parametrize("title", ["", "!!!", "--- call", " \n "])
def test_a_title_without_words_is_refused(title: str) -> None:
    with pytest.raises(Problem):
        case_file(recorded(), title, "1.0", PROTOCOLS)


@pytest.mark.parametrize("title", ["../../etc/passwd", 'a"; rm -rf /', "x" * 5000, "Ünïcödé title\r\nset-cookie: a"])
def test_a_title_becomes_a_harmless_file_name(title: str, tmp_path: Path) -> None:
    made = case_file(recorded(), title, "1.0", PROTOCOLS)
    assert made.name.removesuffix(".case").replace("_", "").isalnum() and made.name.isascii() and len(made.name) < 150
    assert b"\r" not in made.content.split(b"\n")[0]


# -------------------------------------------------------------------------------------------------------------------- curl


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions", "/v1/responses"])
def test_without_a_recording_curl_has_a_short_prompt(path: str) -> None:
    command = curl("http://h", RecentRequest(1, 0.0, RequestLine("r", "POST", path, 200, 1.0, requested="m"), ""), None)
    words = shlex.split(command.partition("<<")[0])
    assert f"http://h{path}" in words
    assert json.loads(command.splitlines()[-2])["model"] == "m"


# -------------------------------------------------------------------------------------------------------------- comparison


def test_fields_are_changed_removed_or_added() -> None:
    left = {"model": "a", "n": 1, "gone": {"x": [1]}, "same": "s"}
    right = {"model": "b", "n": 1, "same": "s", "new": True}
    lines, complete = compare(left, right)
    assert complete and count_marks(lines) == {"same": 4, "changed": 1, "removed": 5, "added": 1}
    assert ('  "model": "a"', '  "model": "b"') in [(line.left, line.right) for line in lines if line.mark == "changed"]
    assert all(not line.right for line in lines if line.mark == "removed")


def test_messages_meet_those_of_the_same_role() -> None:
    left = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
    right = [{"role": "system", "content": "S"}, *left]
    marks = count_marks(compare(left, right)[0])
    assert (marks["changed"], marks["removed"], marks["added"]) == (0, 0, 4)


def test_long_texts_are_cut_where_they_differ_and_numbers_of_another_type_are_changed() -> None:
    lines, _ = compare({"t": "x" * 5000 + "A" + "y" * 5000}, {"t": "x" * 5000 + "B" + "y" * 5000})
    (line,) = [line for line in lines if line.mark == "changed"]
    assert "A" in line.left and "B" in line.right and len(line.left) < 1000 and "more characters" in line.left
    assert count_marks(compare({"a": 1}, {"a": True})[0])["changed"] == 1


def test_long_runs_of_equal_lines_are_folded() -> None:
    same = {f"k{number}": number for number in range(40)}
    lines, _ = compare({"a": 1, **same, "z": 1}, {"a": 2, **same, "z": 2})
    folded = [group for group in groups(lines) if group.folded]
    assert [len(group.lines) for group in folded] == [36]
    assert sum(len(group.lines) for group in groups(lines)) == len(lines)


def test_a_comparison_is_bounded_and_linear() -> None:
    lines, complete = compare([1] * 10_000, [2] * 10_000, most=100)
    assert len(lines) == 100 and not complete

    def messages(count: int) -> tuple[Any, Any]:
        left = [{"role": "user", "content": "x" * 50} for _ in range(count)]
        right = [{"role": "tool", "content": "y"}, *({"role": "user", "content": "x" * 49 + "y"} for _ in range(count))]
        return left, right

    assert_linear(messages, lambda pair: compare(*pair, most=10**9), 200)
    assert_linear(lambda n: ("a" * n + "b", "a" * n + "c"), lambda pair: compare(*pair), 10_000)

    nested: Any = []
    for _ in range(900):
        nested = [nested]
    assert compare(nested, [nested])[0]


def test_neighbouring_pieces_of_a_block_are_one_row() -> None:
    def delta(index: int, text: str) -> str:
        value = {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}}
        return json.dumps(value)

    pieces = [RecordedEvent(1.0 + n, "content_block_delta", delta(0, "ab")) for n in range(3)]
    events = [RecordedEvent(0.0, "message_start", "{}"), *pieces]
    events += [RecordedEvent(9.0, "content_block_delta", delta(1, "c")), RecordedEvent(10.0, "", "no json")]
    assert [(row.ms, row.pieces) for row in event_rows(events)] == [(0.0, 1), (1.0, 3), (9.0, 1), (10.0, 1)]
    assert event_rows(events)[1].text == "ababab"
    chat = [RecordedEvent(0.0, "", json.dumps({"choices": [{"index": 0, "delta": {"content": "x"}}]}))] * 4
    assert [(row.text, row.pieces) for row in event_rows(chat)] == [("xxxx", 4)]
