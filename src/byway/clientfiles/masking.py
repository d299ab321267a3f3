"""Unified diffs of settings files, whose secrets are masked before the diff is made. Pure."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from typing import Final

from byway.clientfiles import jsonc, shell
from byway.clientfiles.jsonc import JsoncError
from byway.scrub import Scrubber, is_secret_name

#: A long word, which may be a key: no path and no URL.
_LONG_WORD: Final = re.compile(r"[A-Za-z0-9_\-+=.~]{28,}")
_NAMED: Final = re.compile(r"(?<![A-Za-z0-9_])([A-Za-z_][A-Za-z0-9_]{0,199})[ \t]{0,20}=[ \t]{0,20}(?=\S)")
_USER_IN_URL: Final = re.compile(r"(?<=://)[^/\s\"'@]+(?=@)")
_CONTEXT: Final = 3
_SCRUB: Final = Scrubber().scrub


class Masker:
    """Replaces secrets by numbered marks: the same secret has the same mark in every text."""

    def __init__(self, known: Iterable[str] = (), plain: Iterable[str] = ()) -> None:
        """`known`: secrets that are masked wherever they appear. `plain`: values that are no secrets, such as placeholders."""
        self._marks: dict[str, str] = {}
        self._known = sorted({secret for secret in known if len(secret) >= 4}, key=len, reverse=True)
        self._plain = frozenset(plain)

    def value(self, name: str, value: str) -> str:
        """A value as it may be shown, by the name that it has."""
        if not value or value in self._plain:
            return value
        if is_secret_name(name):
            return self._mark(value)
        return self.text(value)

    def text(self, text: str) -> str:
        """Free text without the known secrets and without anything that looks like a key."""
        for secret in self._known:
            if secret in text:
                text = text.replace(secret, self._mark(secret))
        text = _USER_IN_URL.sub(lambda match: self._mark(match[0]), text)
        text = _SCRUB(text)
        return _LONG_WORD.sub(lambda match: self._random(match[0]), text)

    def jsonc(self, text: str) -> str:
        """A JSON file with masked values. A file that cannot be read is masked as free text."""
        try:
            spans = sorted(jsonc.strings(text), key=lambda span: span[1])
        except JsoncError:
            return self.text(text)
        parts, at = [], 0
        for keys, start, end in spans:
            value = json.loads(text[start:end])
            name = next((key for key in reversed(keys) if key and is_secret_name(key)), keys[-1] if keys else "")
            shown = self.value(name, value)
            parts.append(self.text(text[at:start]))
            parts.append(text[start:end] if shown == value else json.dumps(shown, ensure_ascii=False))
            at = end
        return "".join(parts) + self.text(text[at:])

    def shell(self, text: str, kind: shell.Shell) -> str:
        """A shell profile with masked values."""
        by_line = {entry.line: entry for entry in shell.assignments(text, kind)}
        lines = []
        for number, line in enumerate(text.splitlines(keepends=True), 1):
            entry = by_line.get(number)
            if entry is None:
                lines.append(self._line(line))
                continue
            end = line[len(line.rstrip("\r\n")) :]
            shown = self.value(entry.name, entry.value)
            written = entry.text[entry.value_start :] if shown == entry.value else shown
            lines.append(entry.text[: entry.value_start] + written + end)
        return "".join(lines)

    def _line(self, line: str) -> str:
        """A line that is no plain assignment. `export A_KEY=x B=y; run` is masked from the first credential on."""
        for match in _NAMED.finditer(line):
            if is_secret_name(match[1]):
                rest = line[match.end() :].rstrip("\r\n")
                end = line[match.end() + len(rest) :]
                return self.text(line[: match.start()]) + match[0] + self._mark(rest) + end
        return self.text(line)

    def _random(self, text: str) -> str:
        """Mask text that looks random; names of models, versions and files have fewer changes between letters and digits."""
        digits = sum(char.isdigit() for char in text)
        return self._mark(text) if digits >= 5 and not text.startswith("claude-") else text

    def _mark(self, secret: str) -> str:
        return self._marks.setdefault(secret, f"[secret {len(self._marks) + 1}]")


def unified_diff(before: str, after: str, name: str, *, created: bool = False, deleted: bool = False) -> str:
    """The unified diff of two masked texts."""
    old, new = _lines(before), _lines(after)
    # The lines that both have at the start are left out: comparing takes quadratic time at worst.
    same = 0
    while same < min(len(old), len(new)) and old[same] == new[same]:
        same += 1
    skipped = max(same - _CONTEXT, 0)
    end = 0
    while end < min(len(old), len(new)) - same and old[len(old) - 1 - end] == new[len(new) - 1 - end]:
        end += 1
    end = max(end - _CONTEXT, 0)
    old, new = old[skipped : len(old) - end], new[skipped : len(new) - end]
    if len(old) + len(new) > _LINES_LIMIT:
        return f"--- {name}\n+++ {name}\n({len(old):,} lines become {len(new):,} lines; they are not shown)\n"
    lines = difflib.unified_diff(
        old, new, "/dev/null" if created else name, "/dev/null" if deleted else name, n=_CONTEXT
    )
    return "".join(_HUNK.sub(lambda match: _moved(match, skipped), line) for line in lines)


#: Lines that are compared at most.
_LINES_LIMIT: Final = 4_000
_HUNK: Final = re.compile(r"\A@@ -(\d+)(,\d+)? \+(\d+)(,\d+)? @@")


def _moved(match: re.Match[str], by: int) -> str:
    old, new = int(match[1]) + by, int(match[3]) + by
    return f"@@ -{old}{match[2] or ''} +{new}{match[4] or ''} @@"


def _lines(text: str) -> list[str]:
    lines = text.replace("\r\n", "\n").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return lines
