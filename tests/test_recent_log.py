"""The newest lines of the log in memory: bounds, levels, search, and the request that a line belongs to."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from pages import Pages

from byway import logs
from byway.admin.log import read_log
from byway.admin.requests import RecentRequests, RequestLine
from byway.logs import LogWriter, RecentLines


def batch(*messages: str, level: str = "info") -> list[tuple[float, str, str, logs.Fields]]:
    return [(1_700_000_000.5, level, message, {"id": f"req_{message}"}) for message in messages]


def messages(recent: RecentLines, **filters: object) -> list[str]:
    return [line.message for line in read_log(recent, RecentRequests(), **filters).lines]  # type: ignore[arg-type]


def test_the_oldest_batches_leave_when_there_are_too_many_lines() -> None:
    recent = RecentLines(lines=4)
    for number in range(10):
        recent.add(batch(f"{number}a", f"{number}b"), 10)
    assert messages(recent) == ["8a", "8b", "9a", "9b"]
    assert recent.count == 20 and [line.number for line in recent.after(18)] == [20, 19]


def test_the_oldest_batches_leave_when_their_text_is_too_long() -> None:
    recent = RecentLines(size=100)
    for number in range(10):
        recent.add(batch(str(number)), 40)
    assert messages(recent) == ["8", "9"]
    recent.add(batch("huge"), 1000)
    assert messages(recent) == []


def test_lines_are_filtered_by_level_text_and_number() -> None:
    recent = RecentLines()
    recent.add(batch("Alpha") + batch("beta", level="warning") + batch("gamma", level="error"), 10)
    assert messages(recent, level="warning") == ["beta", "gamma"]
    assert messages(recent, search="ALPHA") == ["Alpha"] and messages(recent, search="req_beta") == ["beta"]
    assert messages(recent, after=2) == ["gamma"] and messages(recent, limit=1) == ["gamma"]
    # The number is from before a restart.
    assert messages(recent, after=99) == ["Alpha", "beta", "gamma"]


def test_a_line_of_a_request_has_the_number_of_the_request() -> None:
    recent, requests = RecentLines(), RecentRequests()
    recent.add(batch("x", "y"), 10)
    requests.add(RequestLine("req_other", "POST", "/", 200, 1.0), "")
    requests.add(RequestLine("req_y", "POST", "/", 200, 1.0), "")
    assert [line.request for line in read_log(recent, requests).lines] == [0, 2]


def test_what_is_written_is_kept_with_its_level() -> None:
    writer = LogWriter(io.StringIO(), pretty=False, colour=False)
    writer.put("info", "Started", {"port": 1})
    writer.put("error", "Failed", RequestLine("req_1", "POST", "/v1/messages", 500, 2.0))
    lines = read_log(writer.recent, RecentRequests()).lines
    assert [(line.level, line.message) for line in lines] == [("info", "Started"), ("error", "Failed")]
    assert lines[1].fields["status"] == 500 and lines[1].text.startswith("id=req_1 method=POST")


def test_a_page_without_lines_and_a_wrong_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs._state, "writer", None)
    pages = Pages(tmp_path)
    assert "The log is empty" in pages.get("/log").text
    assert pages.get("/byway/log?level=loud").status == 400
    assert pages.get("/byway/log?lines=99999").status == 400
    pages.close()


def test_lines_are_escaped_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = LogWriter(io.StringIO(), pretty=False, colour=False)
    monkeypatch.setattr(logs._state, "writer", writer)
    writer.put("error", "<script>alert(1)</script>", {"model": "<img src=x>", "trace": "File <x>"})
    pages = Pages(tmp_path)
    for target in ("/log", "/log/more?after=0"):
        sent = pages.get(target)
        assert sent.status == 200 and "<script>alert" not in sent.html and "<img src" not in sent.html
        assert "&lt;script&gt;" in sent.html and "Traceback" in sent.text
    pages.close()
