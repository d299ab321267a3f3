"""Scalars of settings: choices and numbers, and the texts of problems that describe what was expected."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from byway.config.document import Node
from byway.config.notes import Format, Note

NUMBER: Final = {int: re.compile(r"[-+]?\d{1,15}"), float: re.compile(r"[-+]?\d{1,15}(\.\d{1,15})?")}
#: Formats whose text is not shown in a problem.
_HIDDEN: Final[frozenset[Format]] = frozenset({"secret", "header", "proxy", "url"})


def choice(text: str, allowed: tuple[str, ...], written: object) -> str:
    """The member of `allowed` that `text` means. Raises ValueError that quotes `written`, with the nearest member."""
    plain = {"warn": "warning"}.get(text.lower(), text.lower())
    for member in allowed:
        if plain == member.lower():
            return member
    near = nearest(plain[:40], allowed)
    hint = f" Did you mean {near}?" if near else ""
    raise ValueError(f"{str(written)[:40]!r} is not one of {', '.join(allowed)}.{hint}")


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The known name that is most like `name`, or ""."""
    # Only a mistake in a config needs it, so it is not loaded at start.
    import difflib

    near = difflib.get_close_matches(name, list(known), 1, cutoff)
    return near[0] if near else ""


def got(node: Node, note: Note) -> str:
    """The end of a problem that quotes the text, unless it may be a secret."""
    return "" if note.format in _HIDDEN else f", got {str(node.value)[:40]!r}"


def expected(kind: Any, note: Note) -> str:
    """What a setting of this type and Note may be."""
    low, high = f"{note.minimum:.12g}", f"{note.maximum:.12g}"
    if note.format == "octal":
        return "permissions in octal up to 0777"
    if note.format == "duration":
        return "a duration such as 30s" + (f" of at least {note.minimum:g} s" if note.minimum else "")
    if note.format == "size":
        return f"a size such as 500MiB, from {note.minimum:.12g} to {note.maximum:.12g} bytes"
    if kind in NUMBER:
        what = "a whole number" if kind is int else "a number"
        return what + (f" of at least {low}" if note.maximum >= 1_000_000_000 else f" from {low} to {high}")
    return {bool: "true or false"}.get(kind, "text")
