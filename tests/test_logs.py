"""The log: one line per event, safe for a terminal, and never in the way of requests."""

import asyncio
import io
import json
import logging
import threading
from typing import Any

import pytest

from byway import logs


@pytest.fixture
def out():
    before = logs._state.writer, logs._state.level
    yield io.StringIO()
    logs._state.writer, logs._state.level = before


def test_json_lines_hold_message_and_fields(out):
    logs.start("info", "json", out)
    logs.log("Request", status=200, backend="b", empty="", none=None)
    line = json.loads(out.getvalue())
    assert (line["message"], line["status"], line["backend"]) == ("Request", 200, "b")
    assert not {"empty", "none"} & set(line)


@pytest.mark.parametrize("form", ["json", "pretty"])
def test_control_and_bidi_characters_cannot_leave_the_line(out, form):
    logs.start("info", form, out, colour=False)
    logs.log("Request", model="a\r\nb\x1b[31m\u202e\u2028c\x9b")
    text = out.getvalue()
    assert text.count("\n") == 1 and text.endswith("\n")
    assert not set(text[:-1]) & set("\r\x1b\u202e\u2028\x9b")


def test_a_line_is_bounded(out):
    logs.start("info", "json", out)
    logs.log("Request", path="x" * 100_000)
    assert len(out.getvalue()) <= 8193


def test_levels_are_obeyed(out):
    logs.start("warning", "json", out)
    logs.log("quiet")
    logs.log("loud", logging.WARNING)
    assert "quiet" not in out.getvalue() and "loud" in out.getvalue()


def test_pretty_is_for_terminals_only_unless_asked(out):
    logs.start("info", "auto", out)
    logs.log("x")
    assert out.getvalue().startswith("{")


def test_a_failure_carries_its_trace(out):
    logs.start("info", "json", out)
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        logs.log_exception("failed")
    assert "boom" in json.loads(out.getvalue())["trace"]


class Blocked(io.StringIO):
    """A stream whose writes block until `open` is set, as a pipe that is not read."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()

    def write(self, text: str) -> int:
        self.open.wait()
        return super().write(text)


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_log_that_is_not_read_never_blocks_and_reports_what_was_dropped(out, monkeypatch):
    monkeypatch.setattr(logs, "QUEUE_LIMIT", 5000)
    monkeypatch.setattr(logs, "GATHER_LIMIT", 1000)
    stream = Blocked()
    logs.start("info", "json", stream)

    async def work() -> None:
        for number in range(3000):
            logs.log("Request", logging.WARNING if number % 2 else logging.INFO, number=number)
            await asyncio.sleep(0)
        stream.open.set()
        writer = logs.writer(logging.INFO)
        assert writer is not None
        writer.flush()
        await asyncio.to_thread(writer.wait, 60)
        logs.log("After")
        writer.flush()
        await asyncio.to_thread(writer.wait, 60)

    asyncio.run(work())
    lines = lines_of(stream)
    assert lines[-1]["message"] == "After"
    dropped = sum(line["lines"] for line in lines if line["message"].startswith("Log lines were dropped"))
    written = sum(line["message"] == "Request" for line in lines)
    assert dropped > 0 and written + dropped == 3000


def test_a_line_outside_the_event_loop_is_written_at_once(out):
    logs.start("info", "json", out)
    logs.log("Now")
    assert lines_of(out)[0]["message"] == "Now"
