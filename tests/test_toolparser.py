"""The parser of text, thinking and tool calls; the repair of arguments; token counts. Mostly against hypothesis."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from grammar import Line, plain, summary
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from byway.backends.openai import completions
from byway.backends.openai.arguments import JsonTracker, repaired
from byway.backends.openai.toolformats import (
    FORMATS,
    OPENING_FORMATS,
    ArgumentTypes,
    _parse_functions,
    argument_types,
)
from byway.backends.openai.toolparser import ToolCallParser
from byway.backends.openai.usage import ReportedUsage, ServerTimings, TokenCounts
from byway.backends.protocol import AnswerReader, Target
from byway.backends.vendors import VENDORS
from byway.messages import request as messages
from byway.messages.events import MessageStart

steady = settings(max_examples=examples(300), deadline=None, derandomize=True)
KNOWN: ArgumentTypes = {"Read": {"limit": "number"}, "Bash": {}}
CALL = '{"name": "Read", "arguments": {"file_path": "a"}}'

#: What marks are made of, whole and broken, and what may stand around them.
PIECES = (
    "<think> </think> <thinking> </thinking> [THINK] [/THINK] <tool_call> </tool_call> <function=Read> </function> "
    "<parameter=limit> </parameter> [TOOL_CALLS] [ARGS] Read <|python_tag|> <|channel|> analysis final <|message|> "
    "<|end|> <|start|> <|call|> ; { } [ ] < > ` ``` a </ <t "
    "<|tool_call_start|> <|tool_call_end|> <TOOLCALL> </TOOLCALL> <|channel> <channel|>"
).split()
texts = st.lists(st.sampled_from([*PIECES, " ", "\n", CALL, '{"a": 1}', "to=functions.Read"]), max_size=14).map("".join)
cuts = st.lists(st.integers(0, 12), max_size=40)


class Recorder:
    """Collects what a ToolCallParser passes on, adjacent pieces joined."""

    def __init__(self, known: ArgumentTypes = KNOWN) -> None:
        self.lines: list[Line] = []
        self.parser = ToolCallParser(self.write, self.call, known, tags=True, bare=True)

    def call(self, calls: list[tuple[str, str]], written: str) -> None:
        self.lines += [("tool", name, arguments) for name, arguments in calls]

    def write(self, kind: str, text: str) -> None:
        if self.lines and self.lines[-1][0] == kind:
            text = self.lines.pop()[1] + text
        self.lines.append((kind, text))


def parse(text: str, sizes: list[int], *, cut: bool = False, known: ArgumentTypes = KNOWN) -> list[Line]:
    recorder = Recorder(known)
    at = 0
    for size in sizes:
        recorder.parser.feed(text[at : at + size])
        at += size
    recorder.parser.feed(text[at:])
    recorder.parser.flush(cut=cut)
    return recorder.lines


@steady
@given(text=texts, sizes=cuts, cut=st.booleans())
def test_any_text_is_divided_the_same_wherever_it_is_cut(text: str, sizes: list[int], cut: bool) -> None:
    assert parse(text, sizes, cut=cut) == parse(text, [], cut=cut) == parse(text, [1] * len(text), cut=cut)


@steady
@given(text=st.text(st.sampled_from("ab <>[]{}`\n|/tT"), max_size=60), sizes=cuts)
def test_ordinary_text_comes_out_as_it_went_in(text: str, sizes: list[int]) -> None:
    assert "".join(line[1] for line in parse(text, sizes)) == text


MARKS = (
    *FORMATS,
    *OPENING_FORMATS,
    "<think>",
    "</think>",
    "<thinking>",
    "<thought>",
    "<reasoning>",
    "[THINK]",
    "<|channel>thought\n",
    "<|channel|>",
    "<|start|>",
)


@steady
@given(text=st.text(st.sampled_from("ab <[`\n|/thinkcagTOL_"), max_size=60), sizes=cuts)
def test_ordinary_text_is_held_only_while_it_may_become_a_mark(text: str, sizes: list[int]) -> None:
    recorder, at = Recorder(), 0
    for size in sizes:
        recorder.parser.feed(text[at : at + size])
        at += size
        waiting = text[:at].removeprefix("".join(line[1] for line in recorder.lines))
        # A code block that opens the answer waits until its first line is complete.
        assert len(waiting) < 20 or text.lstrip().startswith("```")
        assert not waiting or any(mark.startswith(waiting) or waiting.startswith("```") for mark in MARKS), waiting


def test_each_piece_in_the_middle_of_text_is_passed_on_at_once() -> None:
    recorder = Recorder()
    for number in range(50):
        recorder.parser.feed(f" word{number} {{a: 1}}")
        assert recorder.lines[-1][1].endswith(f" word{number} {{a: 1}}") and not recorder.parser.holds


@pytest.mark.parametrize("opener", ["`", "```", "````", "``"])
def test_marks_in_code_are_text(opener: str) -> None:
    text = f"so {opener}<tool_call>{CALL}</tool_call>{opener}"
    assert parse(text, []) == [("text", text)]
    assert parse(f"{text} x <tool_call>{CALL}</tool_call>", [3] * 40)[-1][0] == "tool"


@pytest.mark.parametrize(
    "text",
    [
        "Nemotron writes <TOOLCALL>[{name}]</TOOLCALL> here.",
        "<TOOLCALL>[1, 2]</TOOLCALL> is a list.",
        f"Hi <TOOLCALL>[{CALL}] without its end",
        "<|tool_call_start|> opens a call, <|tool_call_end|> ends it.",
        '<|tool_call_start|>{"name": "Unknown", "arguments": {}}<|tool_call_end|> follows.',
        '<|action_start|><|plugin|>{"a": 1}<|action_end|>',
        "<seed:tool_call><function=Unknown></function></seed:tool_call>",
        "A <\uff5cDSML\uff5cfunction_calls> tag.",
        '<\uff5cDSML\uff5ctool_calls><\uff5cDSML\uff5cinvoke name="Unknown"></\uff5cDSML\uff5cinvoke>',
        "In the middle of text <|channel>thought\n is a mark.",
    ],
)
def test_text_about_a_format_and_calls_of_unknown_tools_stay_text(text: str) -> None:
    assert parse(text, [1] * len(text)) == [("text", text)]


def test_inline_code_ends_with_its_line_and_a_code_block_does_not() -> None:
    call = f"<tool_call>{CALL}</tool_call>"
    assert parse(f"don`t\n{call}", [])[-1][0] == "tool"
    assert parse(f"x ```\n\n{call}", []) == [("text", f"x ```\n\n{call}")]


def test_text_behind_thousands_of_marks_is_passed_on_unread() -> None:
    text = "x" + "<tool_call>no " * 5000 + f"<tool_call>{CALL}</tool_call>"
    assert parse(text, []) == [("text", text)] == parse(text, [7] * (len(text) // 7))


def test_a_call_without_an_end_is_passed_on_as_text() -> None:
    text = '<tool_call>{"name": "Read", "arguments": {"file_path": "' + "a" * 70_000
    recorder = Recorder()
    for at in range(0, len(text), 1000):
        recorder.parser.feed(text[at : at + 1000])
    assert not recorder.parser.holds and recorder.lines == [("text", text)]


@pytest.mark.parametrize("value", ["</parameter>", "</invoke>", '<invoke name="Read">', "<\uff5cDSML\uff5cx>", "a < b"])
def test_only_deepseeks_own_tags_end_a_value_of_its_call(value: str) -> None:
    word = "\uff5cDSML\uff5c"
    parameter = f'<{word}parameter name="command" string="true">{value}</{word}parameter>'
    text = f'<{word}function_calls><{word}invoke name="Bash">{parameter}</{word}invoke></{word}function_calls>'
    for sizes in ([], [1] * len(text)):
        (line,) = parse(text, sizes)
        assert line[:2] == ("tool", "Bash") and json.loads(line[2]) == {"command": value}


@steady
@given(
    value=st.dictionaries(
        st.text(max_size=4), st.recursive(st.text(max_size=4) | st.integers(), st.lists, max_leaves=4)
    ),
    form=st.sampled_from(
        [
            lambda input: f'<tool_call>\n{{"name": "Bash", "arguments": {input}}}\n</tool_call>',
            lambda input: f"<function=Bash>{input}</function>",
            lambda input: f'<|python_tag|>{{"name": "Bash", "parameters": {input}}}',
            lambda input: f'{{"name": "Bash", "parameters": {input}}}',
            lambda input: f'[TOOL_CALLS] [{{"name": "Bash", "arguments": {input}}}]',
            lambda input: f"[TOOL_CALLS]Bash{input}",
            lambda input: f'<TOOLCALL>[{{"name": "Bash", "arguments": {input}}}]</TOOLCALL>',
            lambda input: f'<|action_start|><|plugin|>{{"name": "Bash", "parameters": {input}}}<|action_end|>',
            lambda input: f"<seed:tool_call><function=Bash>{input}</function></seed:tool_call>",
        ]
    ),
    sizes=cuts,
)
def test_any_arguments_arrive_in_each_format(
    value: dict[str, Any], form: Callable[[str], str], sizes: list[int]
) -> None:
    (line,) = parse(form(json.dumps(value)), sizes)
    assert line[:2] == ("tool", "Bash") and json.loads(line[2]) == value


def test_the_types_of_a_schema_are_read_once_for_the_same_bytes() -> None:
    def types_of(**schemas: str) -> ArgumentTypes:
        tools = ",".join(f'{{"name":"{name}","input_schema":{schema}}}' for name, schema in schemas.items())
        body = f'{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"Hi"}}],"tools":[{tools}]}}'
        return argument_types(messages.parse(body.encode(), {}, "msg_1"))[0]

    schema = '{"properties":{"a":{"type":"string"},"b":{"type":"integer"},"c":{}}}'
    first = types_of(Odd=schema)["Odd"]
    assert first == {"b": "integer", "c": "any"}
    assert types_of(Odd=schema)["Odd"] is first and types_of(Odd=schema, Other="{}")["Odd"] is first
    assert types_of(Odd='{"properties":{"b":{"type":"string"}}}')["Odd"] == {}
    assert types_of(Wrong='{"properties":3}') == {"Wrong": {}}


# ------------------------------------------------------------------------------------------------------------ arguments


@steady
@given(value=st.dictionaries(st.text(max_size=6), st.text(max_size=6) | st.integers(), max_size=3), data=st.data())
def test_repair_keeps_valid_json_and_never_changes_a_value(value: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(value)
    assert repaired(text) == text
    assert json.loads(repaired(json.dumps(text))) == value
    at = data.draw(st.integers(0, len(text)))
    better = repaired(text[:at])
    if better != text[:at]:
        # Braces alone were added, so every field is one that was there.
        assert json.loads(better).keys() <= value.keys()


@pytest.mark.parametrize(
    ("text", "better"),
    [
        ('{"a": "x', '{"a": "x'),
        ('{"a": ', '{"a": '),
        ('{"a": {"b": [1]', '{"a": {"b": [1]}}'),
        ('{"a": [1, 2, ], }', '{"a": [1, 2 ] }'),
        ('{"a": "x, }"', '{"a": "x, }"}'),
        ('{{"a": 1}}', '{"a": 1}'),
        ('{{"a": {{"b": "{{}}"}}}}', '{"a": {"b": "{{}}"}}'),
        ('{{"a": 1}', '{"a": 1}'),
        ('{"a": 1}}}\n', '{"a": 1}'),
        ('{"a": 1}</tool_call>', '{"a": 1}'),
        ('{"a": 1}}<|tool_call_end|>\n', '{"a": 1}'),
        ('```json\n{"a": 1}\n```', '{"a": 1}'),
        ('{"a": 1} <b>', '{"a": 1} <b>'),
        ('{"a": 1} {"a": 1}', '{"a": 1} {"a": 1}'),
        ("}", "}"),
        ("[1]", "[1]"),
        ("no", "no"),
        ("", ""),
    ],
)
def test_what_is_repaired(text: str, better: str) -> None:
    assert repaired(text) == better


@steady
@given(
    value=st.dictionaries(st.text(max_size=5), st.text(max_size=5), min_size=0), sizes=cuts, rest=st.text(max_size=3)
)
def test_the_end_of_a_json_value_is_found_wherever_it_is_cut(
    value: dict[str, str], sizes: list[int], rest: str
) -> None:
    text = json.dumps(value)
    tracker, at, end = JsonTracker(), 0, -1
    for size in [*sizes, len(text + rest)]:
        piece = (text + rest)[at : at + size]
        if (inside := tracker.feed(piece)) >= 0:
            end = at + inside
            break
        at += len(piece)
    assert end == len(text)


# --------------------------------------------------------------------------------------------------------------- counts

junk = st.none() | st.integers(-(2**60), 2**60) | st.floats() | st.booleans() | st.text(max_size=2)


@steady
@given(
    data=st.lists(st.dictionaries(st.sampled_from(ReportedUsage.__struct_fields__), junk), max_size=3),
    written=st.integers(0, 99),
)
def test_no_count_is_negative_and_the_parts_add_up_to_the_prompt(data: list[dict[str, Any]], written: int) -> None:
    counts = TokenCounts(7)
    for fields in data:
        counts.add_usage(ReportedUsage(**fields))
    usage = counts.total(written)
    parts = (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens)
    assert all(part >= 0 for part in parts) and usage.output_tokens >= 0
    assert sum(parts) == (counts.prompt or 7)


def test_timings_do_not_replace_reported_usage() -> None:
    counts = TokenCounts(7)
    counts.add_usage(ReportedUsage(prompt_tokens=10, completion_tokens=2))
    counts.add_timings(ServerTimings(cache_n=1, prompt_n=1, predicted_n=9))
    assert (counts.prompt, counts.output, counts.estimated) == (10, 2, False)


# --------------------------------------------------------------------------------------------------------------- reader


def reading(*chunks: dict[str, Any]) -> tuple[AnswerReader, list[Any]]:
    body = b'{"model":"sonnet","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"Hi"}]}'
    reader = completions.reader(messages.parse(body, {}, "msg_x"), Target("box", "local", VENDORS["generic"]))
    events = [event for chunk in chunks for event in reader.feed(b"data: %b\n\n" % json.dumps(chunk).encode())]
    return reader, [*events, *reader.close()]


HI = {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}
END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
COUNTED = {"choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": 2}}


def test_the_reader_reports_whether_its_usage_is_estimated() -> None:
    assert reading(HI, END)[0].estimated
    assert not reading(HI, END | {"usage": COUNTED["usage"]})[0].estimated
    assert reading(HI, END | {"usage": {"prompt_tokens": 40}})[0].estimated


def test_message_start_has_the_counts_that_are_known_by_then() -> None:
    def begun(*chunks: dict[str, Any]) -> int:
        (start,) = [event for event in reading(*chunks)[1] if isinstance(event, MessageStart)]
        return start.message.usage.input_tokens

    assert begun(COUNTED, HI, END) == 40
    progress = {"choices": [{"index": 0, "delta": {}}], "prompt_progress": {"total": 50, "cache": 20, "processed": 30}}
    assert begun(progress, HI, END) == 30
    assert begun(HI, END, COUNTED) == begun(HI, END) == 22


@steady
@given(
    text=st.text(st.characters(min_codepoint=0x1F600, max_codepoint=0x1F64F) | st.sampled_from('a\\"'), max_size=5),
    data=st.data(),
)
def test_characters_that_were_cut_between_their_escapes_are_joined(text: str, data: st.DataObject) -> None:
    units = [part for letter in text for part in _units(letter)]
    at = data.draw(st.integers(0, len(units)))
    body = b'{"model":"sonnet","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"Hi"}]}'
    reader = completions.reader(messages.parse(body, {}, "msg_x"), Target("box", "local", VENDORS["openai"]))
    events: list[Any] = []
    for half in (units[:at], units[at:]):
        events += reader.feed(b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % "".join(half).encode())
    events += reader.feed(b"data: [DONE]\n\n")
    lines = summary(plain(events))
    assert "".join(line[1] for line in lines if line[0] == "text") == text


def _units(letter: str) -> list[str]:
    """The JSON escapes of a character, one for each half."""
    escaped = json.dumps(letter)[1:-1]
    return [escaped[:6], escaped[6:]] if len(escaped) == 12 else [escaped]


def test_a_function_with_broken_json_is_no_call_at_the_end_and_may_continue_before() -> None:
    text = '<function=Read>{"a" x'
    assert _parse_functions(text, KNOWN, last=True) == [] and _parse_functions(text, KNOWN, last=False) is None
