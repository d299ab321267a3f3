"""Regular expressions for texts of errors: compiled by their first search, or together in a thread, but not at start."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Final


class Wording:
    """A regular expression. Byway has about 200 of them, and compiling these takes as long as half of the other start."""

    def __init__(self, text: str, flags: int = 0) -> None:
        self._text = text
        self._flags = flags
        _WORDINGS.append(self)

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """The compiled expression."""
        return re.compile(self._text, self._flags)

    def search(self, text: str) -> re.Match[str] | None:
        """As `re.Pattern.search`."""
        return self.compiled.search(text)

    def fullmatch(self, text: str) -> re.Match[str] | None:
        """As `re.Pattern.fullmatch`."""
        return self.compiled.fullmatch(text)


_WORDINGS: Final[list[Wording]] = []


def compile_wordings() -> None:
    """Compile all. It takes some hundredths of a second, so the event loop must not wait for it."""
    for wording in _WORDINGS:
        _ = wording.compiled
