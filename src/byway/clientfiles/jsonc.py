"""Edits JSON with comments in place: what an edit does not concern keeps its bytes. Pure.

Settings files of editors have comments and trailing commas. A value is replaced, inserted or removed by its span in the
text, and `remove` is the inverse of `assign`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

#: Characters of a file that is edited.
SIZE_LIMIT: Final = 4 << 20
_DEPTH_LIMIT: Final = 100
_TRIVIA: Final = re.compile(r"(?:[ \t\r\n]+|//[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_COMMENT: Final = re.compile(r"//[^\r\n]*|/\*.*?\*/", re.DOTALL)
_STRING: Final = re.compile(r'"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*"')
_WORD: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")
_BOM: Final = "\ufeff"


class JsoncError(ValueError):
    """The text is not JSON with comments, or a path does not fit its content. The message has the line and the column."""


class Member(NamedTuple):
    """A step of a path into a list: the object whose `field` has the value `name`."""

    field: str
    name: str


Step = str | Member
Path = tuple[Step, ...]


class _Missing:
    """The type of MISSING."""

    def __repr__(self) -> str:
        return "MISSING"


#: The value of a path that the document does not have.
MISSING: Final = _Missing()


class JsonNode(NamedTuple):
    """A value and its span in the text."""

    kind: str
    """`object`, `array` or `scalar`."""
    start: int
    end: int
    items: tuple[JsonItem, ...] = ()
    comma: int = -1
    """The position of a comma after the last item; -1 without one."""


class JsonItem(NamedTuple):
    """A member of an object, or an element of an array, whose key is empty."""

    key: str
    start: int
    value: JsonNode


class Assigned(NamedTuple):
    """A text with a new value, and what `remove` needs in order to restore the text before it."""

    text: str
    before: str | None
    """The text of the value that was replaced; None when there was none."""
    created: int = 0
    """How many containers above the value were created with it."""
    interior: str | None = None
    """The text inside the container that received the new item, when it had no items; of the whole document without a
    value."""


def parse(text: str) -> JsonNode | None:
    """Parse a document. None when it has only comments. Raises JsoncError."""
    if len(text) > SIZE_LIMIT:
        raise JsoncError(f"the file is larger than {SIZE_LIMIT >> 20} MiB")
    at = _skip(text, len(_BOM) if text.startswith(_BOM) else 0)
    if at == len(text):
        return None
    node = _value(text, at, 0)
    end = _skip(text, node.end)
    if end != len(text):
        raise _error(text, end, "expected the end of the file")
    return node


def value(text: str, path: Path) -> Any:
    """The value at `path`; MISSING when there is none. Raises JsoncError."""
    node = _find(text, parse(text), path)
    return MISSING if node is None else _plain(text, node)


def content(text: str) -> Any:
    """The whole document as plain values; MISSING when it has only comments. Raises JsoncError."""
    return value(text, ())


def assign(text: str, path: Path, new: Any) -> Assigned:
    """Set the value at `path`; containers above it are created where they are missing. Raises JsoncError.

    `new` is a plain value. A container of another kind on the way is an error: it is not replaced.
    """
    root = parse(text)
    if root is None:
        return _assign_root(text, path, new)
    node = root
    for depth, step in enumerate(path):
        _require_container(text, node, path[:depth], step)
        item = _item(text, node, step)
        if item is None:
            rendered = _nested(path[depth + 1 :], new)
            after, interior = _insert(text, root, node, step, rendered)
            return Assigned(after, None, len(path) - depth - 1, interior)
        node = item.value
    before = text[node.start : node.end]
    if _same(_plain(text, node), new):
        return Assigned(text, before)
    rendered = _render(new, _indent_at(text, node.start), _unit(text, root), _newline(text))
    return Assigned(text[: node.start] + rendered + text[node.end :], before)


def replace(text: str, path: Path, raw: str) -> str:
    """Replace the value at `path` by the text `raw` of a value. Raises JsoncError."""
    node = _find(text, parse(text), path)
    return text if node is None else text[: node.start] + raw + text[node.end :]


def remove(text: str, path: Path, created: int = 0, interior: str | None = None) -> str:
    """Remove the value at `path`, then up to `created` containers above it that are empty.

    `created` and `interior` are those of `Assigned`: with them the text is the one before `assign`. Raises JsoncError.
    """
    for length in range(len(path), max(len(path) - created - 1, 0), -1):
        target = path[:length]
        if length < len(path) and not is_empty(text, target):
            return text
        text = _remove_item(text, target)
    if interior is None:
        return text
    if created == len(path):
        return _remove_root(text, interior)
    return _restore_interior(text, path[: len(path) - created - 1], interior)


def is_empty(text: str, path: Path) -> bool:
    """Is there a container without items at `path`? A comment counts as content. Raises JsoncError."""
    node = _find(text, parse(text), path)
    return node is not None and node.kind != "scalar" and not text[node.start + 1 : node.end - 1].strip()


def strings(text: str) -> Iterator[tuple[tuple[str, ...], int, int]]:
    """Each string value of the document: the keys above it and the span of its text with the quotes. Raises JsoncError."""
    root = parse(text)
    stack: list[tuple[tuple[str, ...], JsonNode]] = [((), root)] if root else []
    while stack:
        keys, node = stack.pop()
        if node.kind == "scalar":
            if text[node.start] == '"':
                yield keys, node.start, node.end
            continue
        name: Any = ""
        if node.kind == "object":
            name = next((_plain(text, item.value) for item in node.items if item.key == "name"), "")
        for item in node.items:
            # `{"name": N, "value": V}` is a variable: V is the value of N.
            key = name if item.key == "value" and isinstance(name, str) and name else item.key
            stack.append(((*keys, key), item.value))


def strict_problem(text: str) -> str:
    """Where the text differs from plain JSON, which knows no comments and no trailing commas; empty when it does not."""
    try:
        json.loads(text.removeprefix(_BOM))
    except json.JSONDecodeError as error:
        return f"line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError) as error:
        return str(error)
    return ""


# -------------------------------------------------------------------------------------------------------------- parsing


def _skip(text: str, at: int) -> int:
    match = _TRIVIA.match(text, at)
    return match.end() if match else at


def _error(text: str, at: int, expected: str) -> JsoncError:
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    return JsoncError(f"line {line}, column {column}: {expected}")


def _value(text: str, at: int, depth: int) -> JsonNode:
    if depth > _DEPTH_LIMIT:
        raise _error(text, at, f"more than {_DEPTH_LIMIT} levels")
    mark = text[at : at + 1]
    if mark in ("{", "["):
        return _container(text, at, depth)
    match = _STRING.match(text, at) if mark == '"' else _WORD.match(text, at)
    if match is None:
        raise _error(text, at, "expected a value")
    return JsonNode("scalar", at, match.end())


def _container(text: str, start: int, depth: int) -> JsonNode:
    is_object = text[start] == "{"
    closing = "}" if is_object else "]"
    items: list[JsonItem] = []
    comma = -1
    at = _skip(text, start + 1)
    while text[at : at + 1] != closing:
        if items and comma < 0:
            raise _error(text, at, f'expected "," or "{closing}"')
        item_start, key = at, ""
        if is_object:
            match = _STRING.match(text, at)
            if match is None:
                raise _error(text, at, f'expected a key in quotes or "{closing}"')
            key = _decoded(text, at, match.end())
            at = _skip(text, match.end())
            if text[at : at + 1] != ":":
                raise _error(text, at, 'expected ":"')
            at = _skip(text, at + 1)
        node = _value(text, at, depth + 1)
        items.append(JsonItem(key, item_start, node))
        at = _skip(text, node.end)
        comma = -1
        if text[at : at + 1] == ",":
            comma = at
            at = _skip(text, at + 1)
    return JsonNode("object" if is_object else "array", start, at + 1, tuple(items), comma)


def _plain(text: str, node: JsonNode) -> Any:
    if node.kind == "object":
        return {item.key: _plain(text, item.value) for item in node.items}
    if node.kind == "array":
        return [_plain(text, item.value) for item in node.items]
    return _decoded(text, node.start, node.end)


def _decoded(text: str, start: int, end: int) -> Any:
    """The value of a scalar. Half characters, which no output can contain, are replaced."""
    try:
        plain = json.loads(text[start:end])
    except ValueError:
        # Python limits the digits of a whole number.
        raise _error(text, start, "the number is too long") from None
    if isinstance(plain, str) and "\\u" in text[start:end]:
        return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return plain


def _same(left: Any, right: Any) -> bool:
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


# ---------------------------------------------------------------------------------------------------------------- paths


def _item(text: str, node: JsonNode, step: Step) -> JsonItem | None:
    """The item of a container; the last one of a key, as in JavaScript."""
    for item in reversed(node.items):
        if isinstance(step, str):
            if node.kind == "object" and item.key == step:
                return item
        elif node.kind == "array" and item.value.kind == "object":
            field = _item(text, item.value, step.field)
            if field and _plain(text, field.value) == step.name:
                return item
    return None


def _find(text: str, root: JsonNode | None, path: Path) -> JsonNode | None:
    node = root
    for step in path:
        item = None if node is None else _item(text, node, step)
        node = None if item is None else item.value
    return node


def _require_container(text: str, node: JsonNode, path: Path, step: Step) -> None:
    kind = "object" if isinstance(step, str) else "array"
    if node.kind != kind:
        name = f'"{path[-1]}"' if path and isinstance(path[-1], str) else "the file"
        raise _error(text, node.start, f"{name} is not {'an object' if kind == 'object' else 'a list'}")


def _nested(steps: Path, new: Any) -> Any:
    """`new` inside the containers that `steps` need."""
    for step in reversed(steps):
        new = {step: new} if isinstance(step, str) else [new]
    return new


# ---------------------------------------------------------------------------------------------------------------- edits


def _newline(text: str) -> str:
    at = text.find("\n")
    return "\r\n" if at > 0 and text[at - 1] == "\r" else "\n"


def _indent_at(text: str, at: int) -> str:
    """The white space at the start of the line of `at`."""
    start = text.rfind("\n", 0, at) + 1
    if start == 0 and text.startswith(_BOM):
        start = 1
    end = start
    while text[end : end + 1] in (" ", "\t"):
        end += 1
    return text[start:end]


def _is_on_own_line(text: str, at: int) -> bool:
    start = text.rfind("\n", 0, at) + 1
    return start > 0 and not text[start:at].strip(" \t")


def _unit(text: str, root: JsonNode) -> str:
    """The indentation of one level: that of the first item with a line of its own."""
    for item in root.items:
        if _is_on_own_line(text, item.start):
            unit = _indent_at(text, item.start).removeprefix(_indent_at(text, root.start))
            return unit or "  "
    return "  "


def _render(new: Any, indent: str, unit: str, newline: str) -> str:
    """The text of a value. Objects have a line for each member; objects in lists have one line."""
    if isinstance(new, dict) and new:
        inner = indent + unit
        lines = [
            f"{inner}{json.dumps(key, ensure_ascii=False)}: {_render(entry, inner, unit, newline)}"
            for key, entry in new.items()
        ]
        return f"{{{newline}{f',{newline}'.join(lines)}{newline}{indent}}}"
    if isinstance(new, list) and new and isinstance(new[0], dict):
        inner = indent + unit
        lines = [f"{inner}{_inline(entry)}" for entry in new]
        return f"[{newline}{f',{newline}'.join(lines)}{newline}{indent}]"
    return json.dumps(new, ensure_ascii=False)


def _inline(new: Any) -> str:
    if isinstance(new, dict) and new:
        members = (f"{json.dumps(key, ensure_ascii=False)}: {_inline(entry)}" for key, entry in new.items())
        return f"{{ {', '.join(members)} }}"
    return json.dumps(new, ensure_ascii=False)


def _item_text(step: Step, new: Any, indent: str, unit: str, newline: str) -> str:
    if isinstance(step, str):
        return f"{json.dumps(step, ensure_ascii=False)}: {_render(new, indent, unit, newline)}"
    return _inline(new)


def _after_comments(text: str, at: int, end: int) -> tuple[int, bool]:
    """The end of the last comment between `at` and `end`, else `at`; and whether a line comment ends there."""
    last, is_line = at, False
    for comment in _COMMENT.finditer(text, at, end):
        last, is_line = comment.end(), comment[0].startswith("//")
    return last, is_line


def _insert(text: str, root: JsonNode, node: JsonNode, step: Step, new: Any) -> tuple[str, str | None]:
    """The text with a new last item in a container, and the container's interior when it had no items."""
    newline, unit = _newline(text), _unit(text, root)
    closing = node.end - 1
    if not node.items:
        return _insert_first(text, node, step, new, unit, newline)
    last = node.items[-1]
    at, is_line = _after_comments(text, last.value.end if node.comma < 0 else node.comma + 1, closing)
    if _is_on_own_line(text, last.start):
        indent = _indent_at(text, last.start)
        separator = newline + indent
    else:
        indent = _indent_at(text, node.start)
        separator = f"{newline}{indent}{unit}" if is_line else " "
    item = separator + _item_text(step, new, indent, unit, newline)
    if node.comma >= 0:
        return f"{text[:at]}{item},{text[at:]}", None
    return f"{text[: last.value.end]},{text[last.value.end : at]}{item}{text[at:]}", None


def _insert_first(text: str, node: JsonNode, step: Step, new: Any, unit: str, newline: str) -> tuple[str, str]:
    closing = node.end - 1
    outer = _indent_at(text, node.start)
    indent = outer + unit
    at, _ = _after_comments(text, node.start + 1, closing)
    item = newline + indent + _item_text(step, new, indent, unit, newline)
    rest = text[at:closing]
    if "\n" not in rest:
        rest = newline + outer
    return text[:at] + item + rest + text[closing:], text[node.start + 1 : closing]


def _assign_root(text: str, path: Path, new: Any) -> Assigned:
    newline = _newline(text)
    rendered = _render(_nested(path, new), "", "  ", newline)
    gap = newline if text.strip(_BOM + " \t\r\n") and not text.endswith("\n") else ""
    return Assigned(f"{text}{gap}{rendered}{newline}", None, len(path), text)


def _remove_item(text: str, path: Path) -> str:
    parent = _find(text, parse(text), path[:-1])
    if parent is None or (item := _item(text, parent, path[-1])) is None:
        return text
    at = parent.items.index(item)
    end = item.value.end
    before = _skip(text, parent.items[at - 1].value.end) if at else parent.start
    # The white space before the item goes with it. Comments stay.
    start, _ = _after_comments(text, before + 1, item.start)
    is_last = at == len(parent.items) - 1
    if is_last and parent.comma < 0:
        # The comma before the item goes with it.
        return text[: before if at else start] + (text[before + 1 : start] if at else "") + text[end:]
    comma = _skip(text, end)
    rest = text[end:comma] + text[comma + 1 :]
    if _starts_with_comment(text, comma + 1) and _is_on_own_line(text, item.start):
        # A comment behind the item keeps the line.
        return text[: item.start] + rest.lstrip(" \t")
    return text[:start] + rest


def _starts_with_comment(text: str, at: int) -> bool:
    while text[at : at + 1] in (" ", "\t"):
        at += 1
    return text.startswith(("//", "/*"), at)


def _restore_interior(text: str, path: Path, interior: str) -> str:
    """Give a container without items the interior that it had, when only white space differs."""
    node = _find(text, parse(text), path)
    if node is None or node.items or node.kind == "scalar":
        return text
    if not _same_but_space(text[node.start + 1 : node.end - 1], interior):
        return text
    return text[: node.start + 1] + interior + text[node.end - 1 :]


def _remove_root(text: str, before: str) -> str:
    """Remove a root without content; the text was `before` when it had no root."""
    node = parse(text)
    if node is None or not is_empty(text, ()):
        return text
    rest = text[: node.start] + text[node.end :]
    return before if _same_but_space(rest, before) else rest


def _same_but_space(left: str, right: str) -> bool:
    """Are the two texts the same but for white space?"""
    return "".join(left.split()) == "".join(right.split())


def steps(path: Sequence[Any]) -> Path:
    """A path from its plain form, where a `Member` is a list of two."""
    return tuple(step if isinstance(step, str) else Member(*step) for step in path)
