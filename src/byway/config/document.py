"""Parses the YAML of a config into a tree with line numbers, or reports problems. Pure, and unaware of settings.

Supports what a config needs: one document, text keys, anchors and merge keys, but no tags. Depth and size are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any, Final

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from byway.config.settings import ConfigProblem

MAX_CHARACTERS: Final = 512 << 10
MAX_DEPTH: Final = 24
MAX_VALUES: Final = 20_000
"""How many values a config may have, including those that aliases repeat."""


class Node(msgspec.Struct, frozen=True):
    """A value and the line where it starts. `plain`: text without quotes, which can be a number, true or null."""

    line: int
    value: str | list[Node] | dict[str, Node]
    plain: bool = False
    lines: dict[str, int] = {}
    """The line of each key of a mapping."""

    @property
    def null(self) -> bool:
        return self.plain and self.value in ("", "~", "null", "Null", "NULL")


class YamlError(Exception):
    """The text is not YAML that a config can use; `problem` gives the reason."""

    def __init__(self, line: int | None, message: str, path: str = "") -> None:
        super().__init__(message)
        self.problem = ConfigProblem(path, line, message)


# A change of a config reads the text before and after it several times each, and parsing takes most of its time.
@lru_cache(4)
def read(text: str) -> tuple[Node | None, tuple[ConfigProblem, ...]]:
    """Return the tree of a YAML text, or None for an empty one, and problems with keys. Raises YamlError.

    Callers share the tree, so they must not change it.
    """
    if len(text) > MAX_CHARACTERS:
        raise YamlError(None, f"the file is longer than {MAX_CHARACTERS >> 10} KiB")
    if surrogate := re.search("[\ud800-\udfff]", text):
        raise YamlError(text.count("\n", 0, surrogate.start()) + 1, "the text is not UTF-8")
    composer = _Composer(text)
    try:
        return composer.document(), tuple(composer.problems)
    except MarkedYAMLError as error:
        ended = error.context_mark and error.problem_mark and error.problem_mark.index >= len(text.rstrip())
        mark = error.context_mark if ended else error.problem_mark or error.context_mark
        raise YamlError(mark.line + 1 if mark else None, _reason(error)) from None
    except YAMLError as error:
        position = getattr(error, "position", None)
        line = text.count("\n", 0, position) + 1 if isinstance(position, int) else None
        raise YamlError(line, "there is a character that YAML does not allow") from None
    except (ArithmeticError, AssertionError, AttributeError, IndexError, TypeError, ValueError):
        # Some errors of the scanner are not YAMLErrors, such as an escape beyond Unicode.
        raise YamlError(composer.line, "this is not valid YAML") from None


def _reason(error: MarkedYAMLError) -> str:
    """Explain an error of the parser without quoting the file, which may contain a secret."""
    problem = str(error.problem or error.context or "this is not valid YAML")
    if "\\t" in problem:
        return "there is a tab; indent YAML with spaces"
    if "mapping values are not allowed" in problem:
        return 'there is one ":" too many, or the indentation is wrong; text that contains ": " needs quotes'
    if "could not find expected ':'" in problem:
        return 'a key is not followed by ": "'
    if "<stream end>" in problem or "end of stream" in problem:
        started = error.context_mark
        where = f" that starts in line {started.line + 1}" if started else ""
        return f"the file ends before the bracket, brace or quote{where} is closed"
    if "<block end>" in problem or "<document start>" in problem:
        return "the indentation of this line does not match, or the line above is incomplete"
    if "expected ','" in problem:
        return "a comma or the closing bracket is missing before this"
    # The parser's message names what it expected, and then quotes what the file has.
    problem = re.split(r",? but (?:found|got)|, got ", problem)[0]
    return (
        f"this is not valid YAML: {problem.partition(chr(39))[0].strip() if problem.startswith('found') else problem}"
    )


def shown_key(key: str) -> str:
    """Shorten a key for a problem. A missing space joins a key and its value, so what follows a colon or blank is cut."""
    match = re.match(r"[\w.*@/\[\]-]{1,60}", key)
    start = match[0] if match else ""
    return start if start == key else f"{start}…"


class _Composer:
    """Builds the tree from the parser's events as they come, so that a document that exceeds a limit is not parsed whole."""

    def __init__(self, text: str) -> None:
        self.problems: list[ConfigProblem] = []
        self.line = 1
        self._count = 0
        self._anchors: dict[str, Node] = {}
        self._events: Iterator[Any] = iter(YAML(typ="safe", pure=True).parse(text))

    def document(self) -> Node | None:
        root: Node | None = None
        starts = 0
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                starts += 1
                if starts > 1:
                    raise YamlError(
                        event.start_mark.line + 1, "a second document starts here; a config is one document"
                    )
                root = self._node(next(self._events), "", 1)
            elif isinstance(event, StreamEndEvent):
                break
        return None if root is None or root.null else root

    def _node(self, event: Any, path: str, depth: int) -> Node:
        self.line = line = event.start_mark.line + 1
        self._count += 1
        if self._count > MAX_VALUES:
            raise YamlError(line, f"there are more than {MAX_VALUES} values")
        if isinstance(event, AliasEvent):
            anchored = self._anchors.get(event.anchor)
            if anchored is None:
                raise YamlError(line, "an alias (*name) has no anchor (&name) before it", path)
            return anchored
        if event.tag is not None and event.tag not in ("!", "tag:yaml.org,2002:str"):
            raise YamlError(line, "tags (!name) are not supported; put quotes around it if it is text", path)
        if depth > MAX_DEPTH:
            raise YamlError(line, f"values are nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, ScalarEvent):
            node = Node(line, event.value, plain=event.style is None and event.tag is None)
        elif isinstance(event, SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(inner := next(self._events), SequenceEndEvent):
                items.append(self._node(inner, f"{path}.{len(items)}".lstrip("."), depth + 1))
            node = Node(line, items)
        else:
            node = self._mapping(line, path, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _mapping(self, line: int, path: str, depth: int) -> Node:
        own: dict[str, Node] = {}
        lines: dict[str, int] = {}
        merged: list[Node] = []
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._node(event, path, depth + 1)
            name = key.value if isinstance(key.value, str) else ""
            inside = f"{path}.{shown_key(name)}".lstrip(".")
            value = self._node(next(self._events), inside, depth + 1)
            if value.null:
                # The parser places an empty value where the next one starts; its line is that of its key.
                value = Node(key.line, value.value, plain=True)
            if not isinstance(key.value, str):
                self.problems.append(ConfigProblem(path, key.line, "a key must be text, not a list or mapping"))
            elif key.plain and name == "<<":
                merged += value.value if isinstance(value.value, list) else [value]
            elif name in own:
                message = f"this key is given twice; the first is in line {lines[name]}"
                self.problems.append(ConfigProblem(inside, key.line, message))
            else:
                own[name] = value
                lines[name] = key.line
        for other in merged:
            if not isinstance(other.value, dict):
                raise YamlError(other.line, "only mappings can be merged with <<", path)
            self._count += len(other.value)
            for name, value in other.value.items():
                own.setdefault(name, value)
                lines.setdefault(name, other.lines[name])
        return Node(line, own, lines=lines)


_TOP_LEVEL_KEY: Final = re.compile(r"(\w+):")


def lost_indentation(text: str, sections: Collection[str]) -> int:
    """The first line that belongs to one of `sections` and is not indented, in a file without any indented line; else 0."""
    in_section = False
    first = 0
    for number, line in enumerate(text.splitlines(), 1):
        if line[:1] in (" ", "\t") and line.strip():
            return 0
        key = _TOP_LEVEL_KEY.match(line)
        if key is None:
            continue
        if key[1] in sections:
            in_section = not line[key.end() :].partition("#")[0].strip()
        elif in_section and not first:
            first = number
    return first
