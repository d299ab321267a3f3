"""The editor of JSON with comments: an edit keeps every other byte, and removing a value restores the text before it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from growth import assert_linear
from hypothesis import given
from hypothesis import strategies as st

from byway.clientfiles import jsonc
from byway.clientfiles.jsonc import MISSING, JsoncError, Member

SPACES = st.sampled_from(
    [
        "",
        " ",
        "\n",
        "\n  ",
        "\n\t",
        "\r\n    ",
        '  // a comment, with "quotes" and {\n',
        " /* } */ ",
        "\n/* a\n b */\n",
    ]
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8)
)
KEYS = st.one_of(st.sampled_from(["env", "a", "b", "model"]), st.text(max_size=4))


@st.composite
def documents(draw: st.DrawFn, depth: int = 0) -> str:
    """A value with comments and white space everywhere, and trailing commas here and there."""
    kind = draw(st.sampled_from(["scalar", "object", "array"] if depth else ["object"])) if depth < 3 else "scalar"
    if kind == "scalar":
        return json.dumps(draw(SCALARS), ensure_ascii=draw(st.booleans()))
    parts = []
    count = draw(st.integers(0, 3))
    keys = draw(st.lists(KEYS, min_size=count, max_size=count, unique=True))
    for at, key in enumerate(keys):
        body = draw(documents(depth + 1))
        if kind == "object":
            body = f"{json.dumps(key)}{draw(SPACES)}:{draw(SPACES)}{body}"
        comma = "," if at < count - 1 or draw(st.booleans()) else ""
        parts.append(f"{draw(SPACES)}{body}{draw(SPACES)}{comma}")
    opening, closing = "{}" if kind == "object" else "[]"
    return f"{opening}{''.join(parts)}{draw(SPACES)}{closing}"


@st.composite
def files(draw: st.DrawFn) -> str:
    """A file: perhaps a byte order mark, comments around the root, perhaps no root at all."""
    root = draw(documents()) if draw(st.integers(0, 9)) else ""
    return f"{draw(st.sampled_from(['', chr(0xFEFF)]))}{draw(SPACES)}{root}{draw(SPACES)}"


PATHS = st.one_of(
    st.tuples(st.just("env"), st.sampled_from(["ANTHROPIC_BASE_URL", "a", "b"])),
    st.tuples(st.sampled_from(["model", "new"])),
    st.tuples(st.just("agent_servers"), st.just("claude-acp"), st.just("env"), st.just("X")),
    st.tuples(st.just("list"), st.just(Member("name", "X"))),
)


@given(files(), PATHS)
def test_removing_an_inserted_value_restores_every_byte(text: str, path: jsonc.Path) -> None:
    new: Any = {"name": "X", "value": "v"} if isinstance(path[-1], Member) else "http://127.0.0.1:1/anthropic"
    try:
        done = jsonc.assign(text, path, new)
    except JsoncError as error:
        assert "is not" in str(error)
        return
    assert jsonc.value(done.text, path) == new
    if done.before is None:
        assert jsonc.value(text, path) is MISSING
        assert jsonc.remove(done.text, path, done.created, done.interior) == text
    else:
        assert jsonc.replace(done.text, path, done.before) == text


@given(files(), st.lists(st.sampled_from(["A", "B", "C", "D"]), unique=True))
def test_many_values_are_removed_in_the_opposite_order(text: str, names: list[str]) -> None:
    after, receipts = text, []
    try:
        for name in names:
            done = jsonc.assign(after, ("env", name), name)
            after = done.text
            receipts.append((name, done))
    except JsoncError:
        return
    for name, done in reversed(receipts):
        after = jsonc.remove(after, ("env", name), done.created, done.interior)
    assert after == text


@given(files(), PATHS)
def test_an_edit_keeps_every_other_value_and_every_comment(text: str, path: jsonc.Path) -> None:
    try:
        done = jsonc.assign(text, path, {"name": "X"})
    except JsoncError:
        return
    before = jsonc.content(text)
    after = jsonc.content(done.text)
    if isinstance(before, dict):
        top = str(path[0])
        assert {key: entry for key, entry in after.items() if key != top} == {
            key: entry for key, entry in before.items() if key != top
        }
    assert (
        "".join(jsonc._COMMENT.findall(text)) in "".join(jsonc._COMMENT.findall(done.text)) or done.before is not None
    )


@given(files())
def test_what_it_reads_is_what_json_reads_without_comments(text: str) -> None:
    root = jsonc.parse(text)
    if root is None:
        assert jsonc.content(text) is MISSING
        return
    plain = json.dumps(jsonc.content(text))
    assert jsonc.content(plain) == json.loads(plain)


def test_the_style_of_the_file_is_kept() -> None:
    assert jsonc.assign('{\n\t"a": 1\n}\n', ("b",), 2).text == '{\n\t"a": 1,\n\t"b": 2\n}\n'
    assert jsonc.assign('{"a": 1}', ("b",), 2).text == '{"a": 1, "b": 2}'
    assert jsonc.assign('{\r\n    "a": 1, // first\r\n}', ("b",), 2).text == (
        '{\r\n    "a": 1, // first\r\n    "b": 2,\r\n}'
    )
    assert jsonc.assign("{}", ("env", "A"), "x").text == '{\n  "env": {\n    "A": "x"\n  }\n}'
    assert jsonc.assign("", ("env", "A"), "x").text == '{\n  "env": {\n    "A": "x"\n  }\n}\n'
    added = jsonc.assign('{\n  "a": 1 // note\n}', ("b",), 2).text
    assert added == '{\n  "a": 1, // note\n  "b": 2\n}'


def test_a_comment_that_the_user_added_behind_a_value_stays() -> None:
    text = '{\n  "a": 1, // first\n  "b": 2, // mine\n  "c": 3\n}'
    assert jsonc.remove(text, ("b",)) == '{\n  "a": 1, // first\n  // mine\n  "c": 3\n}'


def test_a_member_of_a_list_is_found_by_its_name() -> None:
    text = '{"vars": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}'
    assert jsonc.value(text, ("vars", Member("name", "B"), "value")) == "2"
    assert jsonc.remove(text, ("vars", Member("name", "A"))) == '{"vars": [ {"name": "B", "value": "2"}]}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1', 'line 1, column 8: expected "," or "}"'),
        ('{\n  "a": 1\n  "b": 2\n}', 'line 3, column 3: expected "," or "}"'),
        ('{"a": }', "line 1, column 7: expected a value"),
        ("{a: 1}", 'line 1, column 2: expected a key in quotes or "}"'),
        ('{"a" 1}', 'line 1, column 6: expected ":"'),
        ('{"a": "x\ny"}', "line 1, column 7: expected a value"),
        ("{} {}", "line 1, column 4: expected the end of the file"),
        ("{ /* open", 'line 1, column 3: expected a key in quotes or "}"'),
        ("[" * 200, "line 1, column 102: more than 100 levels"),
    ],
)
def test_a_damaged_file_is_an_error_with_its_place(text: str, message: str) -> None:
    with pytest.raises(JsoncError) as raised:
        jsonc.parse(text)
    assert str(raised.value) == message


def test_a_container_of_another_kind_is_not_replaced() -> None:
    with pytest.raises(JsoncError, match='"env" is not an object'):
        jsonc.assign('{"env": null}', ("env", "A"), "x")
    with pytest.raises(JsoncError, match='"vars" is not a list'):
        jsonc.assign('{"vars": {}}', ("vars", Member("name", "A")), {"name": "A"})


def test_an_edit_of_a_long_file_takes_linear_time() -> None:
    def make(size: int) -> str:
        return "{" + ",\n".join(f'"k{at}": [1, "two", /* three */ {{"four": 4}}]' for at in range(size)) + "}"

    assert_linear(make, lambda text: jsonc.assign(text, ("env", "A"), "x"))
    assert_linear(lambda size: "{" + "/* c */ " * size + "}", lambda text: jsonc.assign(text, ("env", "A"), "x"))
    assert_linear(lambda size: "{ " + "/* c " * size, _fails)


def _fails(text: str) -> None:
    with pytest.raises(JsoncError):
        jsonc.parse(text)
