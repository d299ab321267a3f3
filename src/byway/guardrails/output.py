"""OutputScanner: checks the text of an answer while it arrives, and returns how much of it may be sent. Pure."""

from __future__ import annotations

from byway.guardrails.patterns import LONGEST_MATCH, LOOKAHEAD
from byway.guardrails.rules import GuardrailMatch, Guardrails


class OutputScanner:
    """Keeps the last characters of an answer, so that a match is found before its beginning was sent."""

    def __init__(self, guardrails: Guardrails) -> None:
        self._guardrails = guardrails
        self._tail = ""
        self._seen = 0
        """Characters at the beginning of `_tail` where no match can begin: patterns only look at them."""
        self._known: set[str] = set()
        """The rules that have matched: each counts once for an answer."""

    def feed(self, text: str, *, complete: bool = False) -> list[GuardrailMatch]:
        """Check the next text, and return the rules that match for the first time. `complete`: the answer ends here."""
        whole = self._tail + text
        findings = self._guardrails.find(whole, "output", self._known, self._seen, complete=complete) if whole else []
        self._known.update(finding.rule for finding in findings)
        # What the last match could still need, and one character more: some patterns look at the character before.
        kept = LONGEST_MATCH + LOOKAHEAD
        self._seen = 1 if len(whole) > kept else self._seen
        self._tail = whole[-kept:]
        return findings
