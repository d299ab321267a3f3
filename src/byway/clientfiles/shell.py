"""Variables in shell profiles: reads assignments, and writes a block of them that can be removed again. Pure.

Only plain assignments are read. What a profile computes, or reads from other files, is not known.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

Shell = Literal["bash", "zsh", "fish", "powershell"]

BEGIN: Final = "# >>> byway connect >>>"
END: Final = "# <<< byway connect <<<"
REMARK: Final = "# To remove these lines: byway disconnect"
#: Starts a line that `byway doctor` has disabled.
DISABLED: Final = "# disabled by byway doctor: "
_POSIX: Final = re.compile(
    r"(?P<lead>[ \t]*(?:(?:export|declare[ \t]+-x|typeset[ \t]+-x)[ \t]+)?)(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)"
)
_FISH: Final = re.compile(
    r"(?P<lead>[ \t]*set[ \t]+(?:-{1,2}[A-Za-z]+[ \t]+)*)(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]+(?P<value>.*)"
)
_POWERSHELL: Final = re.compile(
    r"(?P<lead>[ \t]*\$env:)(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(?P<value>.*)", re.IGNORECASE
)
#: Characters of a value that is read.
_LONGEST: Final = 10_000


class Assignment(NamedTuple):
    """An assignment in a profile."""

    line: int
    """From 1."""
    name: str
    value: str
    """Without quotes. A value that the shell computes is as written."""
    text: str
    """The whole line without its end."""
    value_start: int
    """Where the value starts in the line."""


def assignments(text: str, shell: Shell) -> Iterator[Assignment]:
    """Each assignment of a profile, in order. Later ones of a name replace earlier ones."""
    pattern = {"fish": _FISH, "powershell": _POWERSHELL}.get(shell, _POSIX)
    for number, line in enumerate(text.splitlines(), 1):
        match = pattern.fullmatch(line)
        if match:
            yield Assignment(number, match["name"], _unquoted(match["value"], shell), line, match.start("value"))


def render(name: str, value: str, shell: Shell) -> str:
    """The line that sets a variable for programs that the shell starts. The value stays one word of the shell."""
    if shell == "fish":
        # Only `\` and `'` are escaped in quotes: https://fishshell.com/docs/current/language.html#quotes (seen 2026-11-21).
        return "set -gx {} '{}'".format(name, value.replace("\\", "\\\\").replace("'", "\\'"))
    if shell == "powershell":
        # https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_quoting_rules (seen 2026-11-21).
        return "$env:{} = '{}'".format(name, value.replace("'", "''"))
    return f"export {name}={shlex.quote(value)}"


def block_lines(text: str) -> list[str] | None:
    """The lines between the marks of the block; None when there is no block."""
    span = _span(text)
    return None if span is None else text[span[0] : span[1]].splitlines()[1:-1]


class WithBlock(NamedTuple):
    """A profile with a block, and what `without_block` needs."""

    text: str
    added_newline: bool
    """The profile did not end with a line end."""


def with_block(text: str, lines: Sequence[str]) -> WithBlock:
    """A profile with the block at its end, where it replaces earlier assignments. There must be no block yet."""
    newline = "\r\n" if "\r\n" in text else "\n"
    added = bool(text.strip("\ufeff")) and not text.endswith("\n")
    block = newline.join((BEGIN, REMARK, *lines, END))
    return WithBlock(f"{text}{newline if added else ''}{block}{newline}", added)


def without_block(text: str, ours: Sequence[str], *, added_newline: bool) -> str:
    """A profile without the lines `ours` of the block, and without the block when nothing else is in it.

    Lines that the user has changed or added in the block stay where they are.
    """
    span = _span(text)
    if span is None:
        return text
    start, end = span
    known = {*ours, REMARK}
    kept = [line for line in text[start:end].splitlines(keepends=True)[1:-1] if line.rstrip("\r\n") not in known]
    is_last = not text[end:].strip()
    if added_newline and is_last and not kept and not text[end:]:
        start -= 2 if text[:start].endswith("\r\n") else 1
    return text[:start] + "".join(kept) + text[end:]


def disable_line(text: str, line: str) -> str:
    """Make the last line that is exactly `line` a comment. Without such a line the text stays as it is."""
    return _replace_line(text, line, DISABLED + line)


def enable_line(text: str, line: str) -> str:
    """The inverse of `disable_line`."""
    return _replace_line(text, DISABLED + line, line)


def _replace_line(text: str, old: str, new: str) -> str:
    lines = text.splitlines(keepends=True)
    for at in range(len(lines) - 1, -1, -1):
        bare = lines[at].rstrip("\r\n")
        if bare == old:
            lines[at] = new + lines[at][len(bare) :]
            break
    return "".join(lines)


def _span(text: str) -> tuple[int, int] | None:
    """The block with its marks and the line end behind it. A block without its end mark is none: it was cut."""
    start = end = -1
    at = 0
    for line in text.splitlines(keepends=True):
        bare = line.strip()
        if bare == BEGIN:
            start = at
        elif bare == END and start >= 0:
            end = at + len(line)
            break
        at += len(line)
    return None if end < 0 else (start, end)


def _unquoted(value: str, shell: Shell) -> str:
    """The value without quotes and without a comment behind it; as written when it cannot be read."""
    value = value.strip()
    if len(value) > _LONGEST:
        return value
    if shell == "powershell":
        match = re.match(r"'((?:[^']|'')*)'|\"([^\"`$]*)\"", value)
        if match:
            return match[1].replace("''", "'") if match[1] is not None else match[2]
        return value
    try:
        words = shlex.split(value, comments=True)
    except ValueError:
        return value
    return words[0] if words else ""


def is_computed(value: str) -> bool:
    """Does the shell compute the value? Then it is not known."""
    return "$" in value or "`" in value
