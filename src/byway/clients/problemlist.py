"""One list of what is wrong, for the page Troubleshooting and `byway doctor`: problems first, equal causes merged. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from byway.clients.checks import LiveCheck
from byway.clients.report import Finding

_ORDER: Final = {"bad": 0, "warn": 1, "none": 2, "good": 3}
#: The name and the address of a backend before what is wrong with it.
_NAMED: Final = re.compile(r"Backend '[^']*' (?:(at \S+) )?")
_SEVERITY: Final = {"problem": "bad", "warning": "warn", "note": "none"}


class ProblemItem(NamedTuple):
    """One of several checks that are shown as one."""

    title: str
    text: str


class ProblemRow(NamedTuple):
    """A problem, or something that is fine."""

    state: str
    """`bad`, `warn`, `none` or `good`."""
    headline: str
    """True in every state: `Config file: 2 warnings`."""
    text: str
    advice: str = ""
    items: tuple[ProblemItem, ...] = ()
    """What was merged."""
    page: str = ""
    """The page where a person fixes it."""
    repair: str = ""
    """A fix that Byway makes: one of `clients.fixes`."""
    finding: Finding | None = None
    """The finding about clients of this machine; its fix is a change of their files."""


class ProblemList(NamedTuple):
    """Rows by what to do: problems and warnings, what does not apply, and what is fine."""

    problems: tuple[ProblemRow, ...]
    notes: tuple[ProblemRow, ...]
    healthy: tuple[ProblemRow, ...]

    @property
    def counts(self) -> tuple[int, int]:
        """The problems and the warnings."""
        states = [row.state for row in self.problems]
        return states.count("bad"), states.count("warn")


def problem_list(checks: Iterable[LiveCheck], findings: Sequence[Finding] = ()) -> ProblemList:
    """All rows, the most serious first. Checks that are called alike and have one fix become one row."""
    rows = [_finding_row(finding) for finding in findings]
    merged: dict[tuple[str, str, str], list[LiveCheck]] = {}
    for check in checks:
        key = (check.state, check.plural, check.fix) if check.plural else (check.id, "", "")
        merged.setdefault(key, []).append(check)
    rows += [_check_row(group) for group in merged.values()]
    rows.sort(key=lambda row: _ORDER.get(row.state, 0))
    return ProblemList(
        tuple(row for row in rows if row.state in ("bad", "warn")),
        tuple(row for row in rows if row.state == "none"),
        tuple(row for row in rows if row.state == "good"),
    )


def _check_row(group: Sequence[LiveCheck]) -> ProblemRow:
    check = group[0]
    if len(group) == 1:
        return ProblemRow(check.state, check.headline, check.finding, check.fix, (), check.where, check.repair)
    causes = [_NAMED.sub("", member.finding) for member in group]
    text = causes[0][:1].upper() + causes[0][1:] if len(set(causes)) == 1 else ""
    items = []
    for member in group:
        named = _NAMED.match(member.finding)
        items.append(ProblemItem(member.title, (named[1] or "" if named else "") if text else member.finding))
    return ProblemRow(
        check.state, f"{len(group)} {check.plural}", text, check.fix, tuple(items), check.where, check.repair
    )


def _finding_row(finding: Finding) -> ProblemRow:
    advice = f"{finding.fix}." if finding.fix else finding.advice
    return ProblemRow(_SEVERITY[finding.severity], finding.title, finding.text, advice, finding=finding)
