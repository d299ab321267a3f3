"""Guardrails: the rules of the config, compiled, and what they find in a text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, Protocol

from byway.guardrails.linear import compile_linear, count_steps
from byway.guardrails.patterns import LONGEST_MATCH, LOOKAHEAD, PATTERNS, Pattern, PatternName

Stage = Literal["input", "output"]
Action = Literal["flag", "block"]
STAGES: Final[tuple[Stage, ...]] = ("input", "output")
#: Characters that are searched at once: no other thread runs during a search.
_PIECE: Final = 16 << 10
#: Steps of an expression of the config that are taken at once: about 10 ms.
_STEPS: Final = 1 << 20
#: A byte is searched by every pattern: it takes about as long as so many bytes of other work.
_COST: Final = 16


class RuleSettings(Protocol):
    """A rule as the config has it."""

    @property
    def name(self) -> str: ...
    @property
    def action(self) -> Action: ...
    @property
    def stages(self) -> tuple[Stage, ...]: ...
    @property
    def patterns(self) -> tuple[PatternName, ...]: ...
    @property
    def words(self) -> tuple[str, ...]: ...
    @property
    def regexes(self) -> tuple[str, ...]: ...


class GuardrailMatch(NamedTuple):
    """A rule that a text has matched. The text itself is never kept."""

    rule: str
    action: Action
    what: str
    """What was found, in words: `an API key`."""


class _CompiledRule(NamedTuple):
    name: str
    action: Action
    patterns: tuple[Pattern, ...]
    words: tuple[str, ...]
    """In lower case."""

    def search(self, text: str, start: int, *, complete: bool) -> GuardrailMatch | None:
        for pattern in self.patterns:
            for match in _matches(pattern.expression, text, start, _piece(pattern)):
                if not complete and match.end() + LOOKAHEAD > len(text):
                    # The next characters may show that it is none, or more of it.
                    continue
                if pattern.confirms is None or pattern.confirms(match[0]):
                    return GuardrailMatch(self.name, self.action, pattern.title)
        if self.words:
            for piece in _pieces(text):
                if any(word in piece for word in self.words):
                    return GuardrailMatch(self.name, self.action, "a word of its list")
        return None


def _matches(expression: re.Pattern[str], text: str, start: int, piece: int = _PIECE) -> Iterator[re.Match[str]]:
    """The matches of an expression from `start` on, those of `finditer`, searched in pieces of `piece` characters."""
    while start < len(text):
        stop = following = start + piece
        for match in expression.finditer(text, start, stop + LONGEST_MATCH + LOOKAHEAD):
            if match.start() >= stop:
                break
            yield match
            following = max(stop, match.end())
        start = following


def _piece(pattern: Pattern) -> int:
    """The characters of a text that a pattern searches at once."""
    return min(_PIECE, _STEPS // pattern.steps) if pattern.steps else _PIECE


def _pieces(text: str) -> Iterator[str]:
    """The pieces of a text in lower case. They overlap, so that each word is complete in one of them."""
    for start in range(0, len(text), _PIECE):
        yield text[start : start + _PIECE + LONGEST_MATCH].lower()


class Guardrails:
    """The rules of a config. `counts` has how often each one has matched, by rule, stage and action."""

    def __init__(self, rules: Iterable[RuleSettings]) -> None:
        self._rules: dict[Stage, tuple[_CompiledRule, ...]] = {}
        self._costs: dict[Stage, int] = {}
        self.counts: dict[tuple[str, Stage, Action], int] = {}
        rules = tuple(rules)
        for stage in STAGES:
            self._rules[stage] = tuple(_compiled(rule) for rule in rules if stage in rule.stages)
            self._costs[stage] = _COST + sum(
                pattern.steps for compiled in self._rules[stage] for pattern in compiled.patterns
            )
            self.counts |= {(rule.name, stage, rule.action): 0 for rule in rules if stage in rule.stages}

    def checks(self, stage: Stage) -> bool:
        """Is there a rule for this stage?"""
        return bool(self._rules[stage])

    def cost(self, stage: Stage) -> int:
        """The bytes of other work that take as long as the search of one byte."""
        return self._costs[stage]

    def find(
        self, text: str, stage: Stage, known: Iterable[str] = (), start: int = 0, *, complete: bool = True
    ) -> list[GuardrailMatch]:
        """The rules that `text` matches, those that block first; without the rules named in `known`.

        `start`: no match of a pattern begins before. `complete`: the text has ended, so that a match at its end counts.
        """
        findings = [
            finding
            for rule in self._rules[stage]
            if rule.name not in known and (finding := rule.search(text, start, complete=complete)) is not None
        ]
        return sorted(findings, key=lambda finding: finding.action != "block")

    def count(self, findings: Sequence[GuardrailMatch], stage: Stage) -> None:
        """Count matches."""
        for finding in findings:
            self.counts[finding.rule, stage, finding.action] += 1


def _compiled(rule: RuleSettings) -> _CompiledRule:
    own = (
        Pattern("text of its patterns", compile_linear(expression), steps=count_steps(expression))
        for expression in rule.regexes
    )
    patterns = (*(PATTERNS[name] for name in rule.patterns), *own)
    return _CompiledRule(rule.name, rule.action, patterns, tuple(word.lower() for word in rule.words))


def make_guardrails(enabled: bool, rules: Sequence[RuleSettings]) -> Guardrails | None:
    """The guardrails of a config; None when nothing is checked."""
    return Guardrails(rules) if enabled and rules else None
