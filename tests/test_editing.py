"""Changes to a config's text: what is asked for, and nothing else."""

from __future__ import annotations

import difflib
import io

import pytest
from growth import assert_linear
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples
from ruamel.yaml import YAML

from byway.config import document, load
from byway.config.editing import Append, Edit, EditError, Remove, Set, edit

TEXT = """\
# top
server:
  bind_address: "127.0.0.1:38080" # where
backends:
# the first one
- name: a   # first
  url: http://x
  models:
    - one
    - {id: two, window: 5}
- {name: b, url: 'http://y'}

# about aliases
model_aliases:
  haiku: a/one
  # keep
  default: [a/one, b/x]
"""


def changed(value: Edit, text: str = TEXT) -> list[str]:
    """The lines that go and come."""
    lines = difflib.unified_diff(text.splitlines(), edit(text, [value]).splitlines(), n=0, lineterm="")
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (Set(("model_aliases", "haiku"), "qwen3:8b"), ["-  haiku: a/one", "+  haiku: qwen3:8b"]),
        (Set(("model_aliases", "sonnet"), ["a/b", "c"]), ["+  sonnet:", "+    - a/b", "+    - c"]),
        (Set(("web_search", "enabled"), True), ["+web_search:", "+  enabled: true"]),
        (
            Set(("backends", 1, "weight"), 5),
            ["-- {name: b, url: 'http://y'}", "+- {name: b, url: 'http://y', weight: 5}"],
        ),
        (Set(("backends", 0, "url"), "${X}"), ["-  url: http://x", '+  url: "${X}"']),
        (Append(("backends",), {"name": "c", "models": ["y"]}), ["+- name: c", "+  models:", '+    - "y"']),
        (Append(("backends", 0, "models"), "z"), ["+    - z"]),
        (Append(("model_aliases", "haiku"), "q"), ["-  haiku: a/one", "+  haiku:", "+    - a/one", "+    - q"]),
        (Append(("model_aliases", "default"), "q"), ["-  default: [a/one, b/x]", "+  default: [a/one, b/x, q]"]),
        (Remove(("backends", 1)), ["-- {name: b, url: 'http://y'}"]),
        (Remove(("backends", 0, "models", 0)), ["-    - one"]),
        (Remove(("backends", 0, "name")), ["-- name: a   # first", "-  url: http://x", "+- url: http://x"]),
        (Remove(("backends", 1, "url")), ["-- {name: b, url: 'http://y'}", "+- {name: b}"]),
        (Remove(("nothing", "here")), []),
    ],
)
def test_a_change_touches_its_own_lines_only(value: Edit, lines: list[str]) -> None:
    assert changed(value) == lines


@pytest.mark.parametrize(
    ("text", "value", "after"),
    [
        ("", Set(("a", "b"), 1), "a:\n  b: 1\n"),
        ("# only words\n", Append(("l",), 1), "# only words\nl:\n  - 1\n"),
        ("backends:\n", Append(("backends",), {"a": 1}), "backends:\n  - a: 1\n"),
        ("a: {}\n", Set(("a", "b"), 1), "a: {b: 1}\n"),
        ("a: b", Set(("c",), "d"), "a: b\nc: d\n"),
        ("l:\n  - x\nz: 1\n", Remove(("l", 0)), "l: []\nz: 1\n"),
        ("m:\n  # why\n  k: v\nz: 1\n", Remove(("m", "k")), "m: {}\n  # why\nz: 1\n"),
        ("a: |\n  two\n  lines\nb: 1\n", Set(("a",), "one"), "a: one\nb: 1\n"),
        ("a: 1\r\n# c\r\nb: 2\r\n", Set(("a",), 3), "a: 3\r\n# c\r\nb: 2\r\n"),
        ("\ufeffa: 1\n", Set(("a",), 3), "\ufeffa: 3\n"),
        ("a: b\n", Set(("a",), "yes"), 'a: "yes"\n'),
        ("a: b\n", Set(("a",), "owl \U0001f989"), 'a: "owl \U0001f989"\n'),
        ("a: b\n", Set(("a",), "two\nlines: \u2028 # \x07"), 'a: "two\\nlines: \\u2028 # \\u0007"\n'),
    ],
)
def test_files_of_any_shape(text: str, value: Edit, after: str) -> None:
    assert edit(text, [value]) == after


@pytest.mark.parametrize(
    ("text", "value", "says"),
    [
        ("a: [", Set(("a",), 1), "closed"),
        ("a: 1\na: 2\n", Set(("a",), 1), "twice"),
        ("a: text\n", Set(("a", "b"), 1), "a single value"),
        ("x: &one {k: 1}\ny: *one\n", Set(("y", "k"), 2), "anchor"),
        ("l: [1]\n", Set(("l", 4), 2), "there is no 4"),
        ("a: {b: 1}\n", Append(("a",), 2), "mapping"),
        ("a: {b: 1, c}\n", Set(("a", "c"), 2), "a key without a colon"),
    ],
)
def test_what_cannot_be_changed_is_said(text: str, value: Edit, says: str) -> None:
    with pytest.raises(EditError, match=says) as caught:
        edit(text, [value])
    assert caught.value.problem.message


@pytest.mark.parametrize(
    ("pair", "value", "after"),
    [
        ("[a: null]", Set(("b", 0, "new"), None), "[{a: null, new: null}]"),
        ("[x, a: 1 , y]", Set(("b", 1, "new"), ["z"]), "[x, {a: 1, new: [z]} , y]"),
        ("[&n a: 1]", Set(("b", 0, "new"), 2), "[{&n a: 1, new: 2}]"),
        ("[? a : 1]", Set(("b", 0, "new"), 2), "[{? a : 1, new: 2}]"),
        ("[*k : 1]", Set(("b", 0, "new"), 2), "[{*k : 1, new: 2}]"),
        ("[&m {a: 1}]", Set(("b", 0, "new"), 2), "[&m {a: 1, new: 2}]"),
        ("[a: ]", Set(("b", 0, "new"), 2), "[{a: , new: 2} ]"),
        ("[a: [a: 1]]", Set(("b", 0, "a", 0, "new"), 2), "[a: [{a: 1, new: 2}]]"),
        ("[a: null]", Set(("b", 0, "a", "new"), 2), "[a: {new: 2}]"),
        ("[a: 1 , y]", Set(("b", 0, "a"), {"k": 2}), "[a: {k: 2} , y]"),
        ("[\n  a: 1 # why\n  ]", Set(("b", 0), "z"), "[\n  z # why\n  ]"),
        ("[\n  a: 1 # why\n  ]", Append(("b",), "z"), "[\n  a: 1, z # why\n  ]"),
        ("[a: ]", Append(("b",), "z"), "[a: , z ]"),
        ("[a:]", Append(("b",), "z"), "[a:, z]"),
        ("[a: 1]", Append(("b", 0, "a"), 2), "[a: [1, 2]]"),
        ("[a: 1]", Append(("b", 0, "new"), 2), "[{a: 1, new: [2]}]"),
        ("[a: 1 , y]", Remove(("b", 0, "a")), "[{} , y]"),
        ("[a: 1, y]", Remove(("b", 0)), "[y]"),
        ("[a: , y]", Remove(("b", 1)), "[a: ]"),
        ("[a: 1]", Remove(("b", 0, "new")), "[a: 1]"),
    ],
)
def test_a_pair_without_braces_in_a_list_is_a_mapping(pair: str, value: Edit, after: str) -> None:
    assert edit(f"k: &k a\nb: {pair}\n", [value]) == f"k: &k a\nb: {after}\n"


keys = st.sampled_from(["a", "b", "c d", "1", "null", "x:y"])
scalars = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text("ab:#'\"-{}[], \n%&*!|>\t", max_size=6))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=examples(300), deadline=None)
@given(st.dictionaries(keys, values, max_size=3), st.sampled_from([None, False, True]), st.data())
def test_any_change_means_what_it_should_or_is_refused(
    tree: dict[str, object], style: bool | None, data: st.DataObject
) -> None:
    yaml = YAML()
    yaml.default_flow_style = style
    out = io.StringIO()
    yaml.dump(tree, out)
    text = out.getvalue()
    path: tuple[str | int, ...] = ()
    at: object = tree
    for _ in range(data.draw(st.integers(1, 3))):
        key: str | int
        if isinstance(at, list) and at:
            key = data.draw(st.integers(0, len(at) - 1))
            at = at[key]
        elif isinstance(at, dict):
            key = data.draw(st.sampled_from([*at, "new"]))
            at = at.get(key, {})
        else:
            break
        path = (*path, key)
    value = data.draw(values)
    changes: list[Edit] = [Set(path, value), Append(path, value), Remove(path)]
    result = data.draw(st.sampled_from(changes))
    # The comparison of meanings inside is the oracle; an ordinary file has to pass it.
    try:
        edit(text, [result])
    except EditError as refused:
        assert "anchor" not in str(refused) and "does not support" not in str(refused), (text, result)


def test_what_is_written_can_be_loaded() -> None:
    text = edit(
        "# mine\n",
        [
            Append(
                ("backends",), {"name": "work", "type": "vllm", "url": "http://10.0.0.5:8000", "api_key": "${WORK_KEY}"}
            ),
            Set(("model_aliases", "default"), "work/qwen3-coder"),
            Set(("model_aliases", "claude-*"), ["work/qwen3-coder", "work/other"]),
        ],
    )
    config = load(text, {"WORK_KEY": "secret-of-work"})
    assert config.model_aliases["claude-*"] == ("work/qwen3-coder", "work/other")
    assert config.backends[0].api_key == "secret-of-work"
    assert text.startswith("# mine\n")


def text_of(size: int) -> str:
    backends = "".join(f"- {{name: b{number}, type: ollama}}  # comment\n" for number in range(size))
    return f"backends:\n{backends}model_aliases:\n" + "".join(
        f"  name-{number}: b{number}/m\n" for number in range(size)
    )


def edit_anew(text: str, change: Edit) -> str:
    """Edit a text that is not parsed yet."""
    document.read.cache_clear()
    return edit(text, [change])


@pytest.mark.parametrize(
    "change",
    [
        Set(("model_aliases", "name-0"), "x"),
        Set(("model_aliases", "new"), ["x", "y"]),
        Append(("backends",), {"name": "new", "type": "ollama"}),
        Remove(("backends", 0)),
        Remove(("model_aliases", "name-1")),
        Set(("backends", 1, "weight"), 5),
    ],
)
def test_time_of_an_edit_grows_linearly_with_the_text(change: Edit) -> None:
    assert_linear(text_of, lambda text: edit_anew(text, change), size=50)


@pytest.mark.parametrize("change", [Set(("b", 1, "new"), 2), Remove(("b", 1, "a")), Append(("b",), 2)])
def test_time_of_an_edit_grows_linearly_with_pairs_without_braces(change: Edit) -> None:
    assert_linear(lambda size: f"b: [{', '.join(['a: 1'] * size)}]\n", lambda text: edit_anew(text, change), size=50)


def test_more_edits_than_a_large_config_can_take_at_once_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway.config.editing._MAX_WORK", 100_000)
    text = text_of(100)
    changes = [Set(("model_aliases", f"name-{number}"), "x") for number in range(30)]
    with pytest.raises(EditError, match="30 edits at once are too many"):
        edit(text, changes)
    small = text_of(5)
    assert edit(small, changes).count(": x\n") == 30
    assert edit(text, changes[:1]).count(": x\n") == 1
