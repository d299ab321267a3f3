"""Edits the text of a config and leaves everything else in it unchanged: comments, order, blanks, quotes. Pure.

Only the edited places are replaced. Then the meaning of the result is compared with the intended change, so that an unusual file
is rejected instead of damaged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from byway.config.document import Node, YamlError, read
from byway.config.settings import ConfigProblem

Path = tuple[str | int, ...]
#: Edits times characters of the text: each edit parses the text.
_MAX_WORK: Final = 8 << 20
#: A value that can be written into a config.
Value = str | int | float | bool | None | Sequence[Any] | Mapping[str, Any]


class Set(NamedTuple):
    """Set the setting at `path`, which need not exist."""

    path: Path
    value: Value


class Append(NamedTuple):
    """Append a value to the list at `path`, which is created when it is missing."""

    path: Path
    value: Value


class Remove(NamedTuple):
    """Remove the setting at `path`. A missing one is ignored."""

    path: Path


Edit = Set | Append | Remove


class EditError(Exception):
    """The text cannot be edited in this way; `problem` gives the reason and what to do."""

    def __init__(self, message: str, path: Path = (), line: int | None = None) -> None:
        super().__init__(message)
        self.problem = ConfigProblem(".".join(map(str, path)), line, message)


class EditConflict(NamedTuple):
    """A setting that was changed since the author of an edit read it, with both values for a person."""

    path: str
    theirs: str
    mine: str


class ConfigChanged(Exception):
    """The file changed since the author read it: the conflicting settings, and the file's etag now."""

    def __init__(self, etag: str, conflicts: Sequence[EditConflict] = ()) -> None:
        paths = ", ".join(conflict.path for conflict in conflicts)
        super().__init__(
            f"The config was changed since it was loaded here{f' ({paths})' if paths else ''}. Reload it, then try again."
        )
        self.etag = etag
        self.conflicts = tuple(conflicts)


def edit(text: str, edits: Sequence[Edit]) -> str:
    """Return `text` after all of `edits`, in order. Raises EditError, also for text that is not YAML."""
    if len(edits) > 1 and len(edits) * len(text) > _MAX_WORK:
        raise EditError(
            f"{len(edits)} edits at once are too many for a config of {len(text)} characters; send fewer at a time"
        )
    bare = text.removeprefix("\ufeff").replace("\r\n", "\n")
    expected = meaning(bare)
    for change in edits:
        expected = _change(expected, change)
        bare = _edited(bare, change)
    # Once for all edits, because parsing costs more than editing.
    if (meaning(bare) or None) != (expected or None):
        paths = dict.fromkeys(".".join(map(str, change.path)) for change in edits)
        raise EditError(
            f"{', '.join(paths)}: an anchor shares this value with another setting, or Byway does not support how it is "
            "written; edit the file by hand"
        )
    if "\r\n" in text:
        bare = bare.replace("\n", "\r\n")
    return ("\ufeff" if text.startswith("\ufeff") else "") + bare


def replace_scalars(text: str, values: Mapping[Path, str]) -> str:
    """`text` with the single value at each path replaced by a text. Raises EditError for a path that is not in it.

    A value that is shared by an anchor is replaced for all that share it.
    """
    bare = text.removeprefix("\ufeff").replace("\r\n", "\n")
    find = _Finder(YAML().compose(bare)).find
    spans: dict[int, tuple[int, str]] = {}
    for path, value in values.items():
        place, rest = find(path)
        if rest:
            # It comes from another mapping by `<<`, where it is replaced too.
            continue
        start = place.node.start_mark.index
        while (mark := _MARK.match(bare, start)) is not None:
            start = mark.end()
        spans[start] = (_end(bare, place.node, place.key), _quoted_like(place.node, value))
    parts, at = [], 0
    for start, (end, value) in sorted(spans.items()):
        parts += [bare[at:start], value]
        at = end
    bare = "".join(parts) + bare[at:]
    if "\r\n" in text:
        bare = bare.replace("\n", "\r\n")
    return ("\ufeff" if text.startswith("\ufeff") else "") + bare


def _quoted_like(node: Any, text: str) -> str:
    """A text with the quotes of the value that it replaces, where they can hold it."""
    if node.style == '"':
        return _escaped(json.dumps(text, ensure_ascii=False))
    if node.style == "'" and text.isascii() and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return scalar(text)


#: An anchor or a tag before a value.
_MARK: Final = re.compile(r"[&!]\S*\s+")

# ----------------------------------------------------------------------------------------------------------- the meaning

_WORDS: Final = frozenset(("", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "<<", "="))
_SAFE: Final = re.compile(r"[A-Za-z_/~][\w./@+~-]*(?::[\w./@+~-]+)*")


def _special(text: str) -> bool:
    """Would YAML read this text, without quotes, as something else than text?"""
    return text.lower() in _WORDS or text[0] in "0123456789.+-"


def meaning(text: str) -> Any:
    """Return the values of a text as dicts, lists and strings. A value that is not text (`true`, `5`) is a tuple of its word.

    Raises EditError.
    """
    try:
        root, problems = read(text.removeprefix("\ufeff"))
    except YamlError as unreadable:
        raise EditError(unreadable.problem.message, (), unreadable.problem.line) from None
    for problem in problems:
        raise EditError(problem.message, (problem.path,), problem.line)
    return None if root is None else _node_meaning(root)


def _node_meaning(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: _node_meaning(value) for key, value in node.value.items()}
    if isinstance(node.value, list):
        return [_node_meaning(value) for value in node.value]
    if node.null:
        return None
    return (node.value,) if node.plain and _special(node.value) else node.value


def _value_meaning(value: Value) -> Any:
    """A new value in the form of `meaning`."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {key: _value_meaning(inner) for key, inner in value.items()}
    if isinstance(value, Sequence):
        return [_value_meaning(inner) for inner in value]
    return (json.dumps(value),)


def _change(tree: Any, change: Edit) -> Any:
    """Apply an edit to a meaning."""
    if not change.path:
        raise EditError("an edit needs a path")
    tree = {} if tree is None else tree
    if isinstance(change, Remove) and not _there(tree, change.path):
        return tree
    at = tree
    for key, following in zip(change.path, change.path[1:], strict=False):
        if isinstance(at, dict) and at.get(str(key)) is None and isinstance(key, str) and isinstance(following, str):
            at[key] = {}
        at = _inner(at, key, change.path)
    last = change.path[-1]
    if isinstance(change, Remove):
        del at[last]
        return tree
    if isinstance(at, list):
        present = _inner(at, last, change.path)
    elif isinstance(at, dict) and isinstance(last, str):
        present = at.get(last)
    else:
        raise EditError("the setting above it is a single value", change.path)
    if isinstance(change, Set):
        at[last] = _value_meaning(change.value)
    else:
        listed = present if isinstance(present, list) else [] if present is None else [present]
        if isinstance(present, dict):
            raise EditError("this is a mapping and not a list", change.path)
        at[last] = [*listed, _value_meaning(change.value)]
    return tree


def value_at(tree: Any, path: Path) -> Any:
    """Return the value at `path` of a meaning, or None."""
    for key in path:
        if not _there(tree, (key,)):
            return None
        tree = tree[key]
    return tree


def _there(tree: Any, path: Path) -> bool:
    for key in path:
        if isinstance(tree, list) and isinstance(key, int):
            if not 0 <= key < len(tree):
                return False
        elif not isinstance(tree, dict) or key not in tree:
            return False
        tree = tree[key]
    return True


def _inner(tree: Any, key: str | int, path: Path) -> Any:
    if not _there(tree, (key,)):
        raise EditError(f"there is no {key!r} in it", path)
    return tree[key]


# -------------------------------------------------------------------------------------------------------------- the text


class _RawText(str):
    """A value as the file writes it, with its quotes."""


def scalar(value: Value) -> str:
    """Format a single value as YAML. Text gets quotes when YAML would read it as something else."""
    if isinstance(value, _RawText):
        return str(value)
    if isinstance(value, str):
        plain = _SAFE.fullmatch(value) is not None and not _special(value)
        # A JSON string is valid YAML, except for characters that YAML requires to be escaped.
        return value if plain else _escaped(json.dumps(value, ensure_ascii=False))
    return json.dumps(value)


def _escaped(text: str) -> str:
    return re.sub(
        "[^\\x20-\\x7e\\xa0-\\u2027\\u202a-\\ud7ff\\ue000-\\ufefe\\uff00-\\ufffd\\U00010000-\\U0010ffff]",
        lambda match: json.dumps(match[0])[1:-1],
        text,
    )


def flow(value: Value) -> str:
    """Format any value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def block(value: Value, column: int) -> list[str]:
    """Format a value as a block that starts at `column`. A single or empty value is one line without indentation."""
    indent = " " * column
    if isinstance(value, Mapping) and value:
        lines = []
        for key, inner in value.items():
            lines += _under(f"{indent}{scalar(key)}:", inner, column)
        return lines
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        lines = []
        for inner in value:
            lines += _dashed(inner, column)
        return lines
    return [flow(value)]


def _under(head: str, value: Value, column: int) -> list[str]:
    """Format `key:` with its value: on the same line when it is single, else in a block below."""
    lines = block(value, column + 2)
    if len(lines) == 1 and not lines[0].startswith(" "):
        return [f"{head} {lines[0]}"]
    return [head, *lines]


def _dashed(value: Value, column: int) -> list[str]:
    first, *others = block(value, column + 2)
    return [f"{' ' * column}- {first.lstrip()}", *others]


class _TextPosition(NamedTuple):
    """A value in the text, with its key and the mapping or list that contains it."""

    node: Any
    key: Any = None
    parent: Any = None
    at: int = 0


def _edited(text: str, change: Edit) -> str:
    root = YAML().compose(text)
    if root is None or (isinstance(root, ScalarNode) and not root.value):
        if isinstance(change, Remove):
            return text
        value = change.value if isinstance(change, Set) else [change.value]
        return _joined(text, len(text), block(_nested(change.path, value), 0))
    place, rest = _Finder(root).find(change.path)
    if isinstance(change, Remove):
        return text if rest else _removed(text, place)
    if rest:
        value = change.value if isinstance(change, Set) else [change.value]
        return _grown(text, place, str(rest[0]), _nested(rest[1:], value))
    if isinstance(change, Set):
        return _replaced(text, place, change.value)
    if isinstance(place.node, SequenceNode) and place.node.value:
        return _appended(text, place.node, change.value)
    node = place.node
    single = isinstance(node, ScalarNode) and (node.style is not None or node.value not in ("", "~", "null"))
    written = _RawText(text[node.start_mark.index : _end(text, node)])
    return _replaced(text, place, [written, change.value] if single else [change.value])


def _nested(path: Path, value: Value) -> Value:
    for key in reversed(path):
        if isinstance(key, int):
            raise EditError("the list has no such member", path)
        value = {key: value}
    return value


class _Finder:
    """Finds places in a tree of nodes. Each mapping is indexed once, however many places are looked up."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._indexes: dict[int, dict[str, _TextPosition]] = {}

    def find(self, path: Path) -> tuple[_TextPosition, Path]:
        """Return the deepest part of `path` that is there, and what is left of the path."""
        place = _TextPosition(self._root)
        for depth, key in enumerate(path):
            inner = self._inner(place.node, key)
            if inner is None:
                return place, path[depth:]
            place = inner
        return place, ()

    def _inner(self, node: Any, key: str | int) -> _TextPosition | None:
        if isinstance(node, MappingNode):
            index = self._indexes.get(id(node))
            if index is None:
                index = self._indexes[id(node)] = {}
                for at, (name, value) in enumerate(node.value):
                    if isinstance(name.value, str):
                        index.setdefault(name.value, _TextPosition(value, name, node, at))
            return index.get(key) if isinstance(key, str) else None
        if isinstance(node, SequenceNode) and isinstance(key, int) and 0 <= key < len(node.value):
            return _TextPosition(node.value[key], None, node, key)
        return None


def _end(text: str, node: Any, key: Any = None) -> int:
    """Return the index after the last character of a value. The parser's own mark of a block, and of an empty value, is where the
    next token starts."""
    if isinstance(node, MappingNode | SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1], last[0]) if isinstance(last, tuple) else _end(text, last)
    if _is_single_pair(text, node):
        return _end(text, *reversed(node.value[0]))
    if isinstance(node, ScalarNode) and node.style is None and not node.value:
        return len(text[: node.start_mark.index].rstrip()) if key is None else _behind_colon(text, key)
    end: int = node.end_mark.index
    if isinstance(node, ScalarNode) and node.style in ("|", ">"):
        return len(text[:end].rstrip()) if node.value else end
    return end


def _is_single_pair(text: str, node: Any) -> bool:
    """Is this a mapping without braces in a list, such as `a: 1` in `[a: 1, b]`? It starts where its key starts, or with `?`."""
    if not isinstance(node, MappingNode) or not node.flow_style or len(node.value) != 1:
        return False
    start: int = node.start_mark.index
    # A key that is an alias has the marks of its anchor.
    return text[start] in "?*" or start == node.value[0][0].start_mark.index


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _joined(text: str, at: int, lines: Sequence[str]) -> str:
    """Insert whole lines after the line that contains `at`."""
    at = _line_end(text, at)
    before = text[:at]
    start = "\n" if before and not before.endswith("\n") else ""
    return before + start + "\n".join(lines) + (text[at:] or "\n")


def _replaced(text: str, place: _TextPosition, value: Value) -> str:
    node, parent = place.node, place.parent
    lines = block(value, 0)
    inline = (len(lines) == 1 and not isinstance(value, Mapping | Sequence)) or isinstance(value, str) or not value
    if parent is None:
        raise EditError("an edit cannot replace the whole file")
    mapped = isinstance(parent, MappingNode)
    end = _end(text, node, place.key)
    if not mapped and isinstance(node, ScalarNode) and node.style is None and not node.value:
        return f"{text[:end]} {flow(value)}{text[end:]}"
    if parent.flow_style or inline:
        start = node.start_mark.index
        if mapped:
            start = _behind_colon(text, place.key)
            return text[:start] + " " + flow(value) + text[end:]
        return text[:start] + flow(value) + text[end:]
    if mapped:
        start, column = _behind_colon(text, place.key), place.key.start_mark.column
        return text[:start] + "\n" + "\n".join(block(value, column + 2)) + text[end:]
    start, column = node.start_mark.index, node.start_mark.column
    return text[:start] + "\n".join(block(value, column)).lstrip(" ") + text[end:]


def _behind_colon(text: str, key: Any) -> int:
    """Return the index after the colon of a key. Its value can be some lines below, after comments."""
    colon = text.find(":", key.end_mark.index)
    if colon < 0:
        raise EditError(
            "Byway does not support a key without a colon; edit the file by hand", (), key.start_mark.line + 1
        )
    return colon + 1


def _through(text: str, node: Any, key: Any = None) -> str:
    """Return the text up to the end of a member of a list or mapping in brackets, so that a comma or bracket can follow."""
    value = node.value[0][1] if _is_single_pair(text, node) else node
    # `a:` without a value needs the blank, because YAML reads `a:,` as the word "a:".
    blank = " " if isinstance(value, ScalarNode) and value.style is None and not value.value else ""
    return text[: _end(text, node, key)] + blank


def _grown(text: str, place: _TextPosition, key: str, value: Value) -> str:
    """Add a key to a mapping."""
    node = place.node
    if isinstance(node, ScalarNode) and place.key is not None and node.value in ("", "~", "null"):
        return _replaced(text, place, {key: value})
    if not isinstance(node, MappingNode):
        raise EditError("the setting above it is not a mapping", (key,), node.start_mark.line + 1)
    if node.flow_style:
        added = f"{scalar(key)}: {flow(value)}"
        if not node.value:
            at = node.end_mark.index - 1
            return text[:at] + added + text[at:]
        name, last = node.value[-1]
        before, after = _through(text, last, name), text[_end(text, last, name) :]
        if not _is_single_pair(text, node):
            return f"{before}, {added}{after}"
        start = node.start_mark.index
        return f"{before[:start]}{{{before[start:]}, {added}}}{after}"
    column = node.value[0][0].start_mark.column
    return _joined(text, _end(text, node), _under(f"{' ' * column}{scalar(key)}:", value, column))


def _appended(text: str, node: Any, value: Value) -> str:
    if node.flow_style:
        last = node.value[-1]
        return f"{_through(text, last)}, {flow(value)}{text[_end(text, last) :]}"
    return _joined(text, _end(text, node), _dashed(value, node.start_mark.column))


def _removed(text: str, place: _TextPosition) -> str:
    parent, at = place.parent, place.at
    siblings = [pair[0] if isinstance(pair, tuple) else pair for pair in parent.value]
    end = _end(text, place.node, place.key)
    if len(siblings) == 1:
        return _emptied(text, parent)
    start = siblings[at].start_mark.index
    if parent.flow_style:
        if at + 1 < len(siblings):
            return text[:start] + text[siblings[at + 1].start_mark.index :]
        before = parent.value[at - 1]
        kept = _through(text, before[1], before[0]) if isinstance(before, tuple) else _through(text, before)
        return kept + text[end:]
    line = text.rfind("\n", 0, start) + 1
    if at == 0 and text[line:start].strip(" ") and isinstance(parent, MappingNode):
        # `- first: ...`: the next key moves to the line of the dash.
        return text[:start] + text[siblings[1].start_mark.index :]
    return text[:line] + text[_line_end(text, end) + 1 :]


def _emptied(text: str, parent: Any) -> str:
    """Remove the last member of a list or mapping, which stays as an empty change."""
    start, end = parent.start_mark.index, _end(text, parent)
    empty = "{}" if isinstance(parent, MappingNode) else "[]"
    if parent.flow_style:
        return text[:start] + empty + text[end:]
    line = text.rfind("\n", 0, start) + 1
    if text[line:start].strip(" -"):
        # Something else is on its line, such as an anchor.
        raise EditError("Byway does not support how this is written; edit the file by hand")
    if "-" in text[line:start]:
        return text[:start] + empty + text[end:]
    above = text[:line].rstrip()
    if not above or (parent.start_mark.column == 0 and isinstance(parent, MappingNode)):
        return text[:line] + text[_line_end(text, end) + 1 :]
    # It is below its key, perhaps after comments.
    return _below(text, line, empty, end)


def _below(text: str, line: int, empty: str, end: int) -> str:
    rest = text[_line_end(text, end) + 1 :]
    lines = text[:line].splitlines(keepends=True)
    for at in range(len(lines) - 1, -1, -1):
        if (body := lines[at].strip()) and not body.startswith("#"):
            bare = lines[at].rstrip("\n")
            cut = re.search(r":(?=\s|$)(?!.*:(?=\s|$))", bare.partition(" #")[0])
            if cut is None:
                break
            lines[at] = f"{bare[: cut.end()]} {empty}{bare[cut.end() :]}\n"
            return "".join(lines) + rest
    raise EditError("Byway does not support how this is written; edit the file by hand")
