"""The log: one line per event, nothing that can draw on a terminal, nothing empty."""

import io
import json
import logging

import pytest

from byway import logs


@pytest.fixture
def out():
    before = logs._state.sink, logs._state.level
    yield io.StringIO()
    logs._state.sink, logs._state.level = before


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
