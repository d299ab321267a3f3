"""A report about a Byway for an issue: versions, states, problems, last errors; no secrets, prompts or hosts. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

from byway.clients.problemlist import ProblemList, ProblemRow

_URL_HOST: Final = re.compile(r"(?<=://)(?:[^/\s@]*@)?(\[[0-9a-fA-F:]+\]|[^/\s:\"'`<>)]+)")
_ADDRESS: Final = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
_MAIL: Final = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,6}")
_LOCAL: Final = frozenset(("localhost", "host.docker.internal"))
#: Items of a merged row, and lines of the log, that a report has.
_ITEMS: Final = 5
_LOG_LINES: Final = 20


class IssueFacts(NamedTuple):
    """What a report contains, before it is made anonymous."""

    version: str
    python: str
    system: str
    listens: str
    """`http on this machine`, and whether keys are required."""
    config: str
    backends: Sequence[tuple[str, str]]
    """The vendor and the state of each."""
    problems: ProblemList
    log: Sequence[str]
    """The last warnings and errors."""


def issue_report(facts: IssueFacts, scrub: Callable[[str], str], home: str, hosts: Collection[str] = ()) -> str:
    """The report as Markdown. `scrub` removes secrets, `home` is the folder that `~` stands for, `hosts` are left out."""
    backends = ", ".join(f"{vendor} {state}" for vendor, state in facts.backends) or "none"
    lines = [
        f"- Byway {facts.version}, Python {facts.python}, {facts.system}",
        f"- Listens: {facts.listens}",
        f"- Config: {facts.config}",
        f"- Backends: {backends}",
        "",
        "### Problems",
        *([line for row in facts.problems.problems for line in _row(row)] or ["- none found"]),
    ]
    if facts.log:
        lines += ["", "### Last warnings and errors of the log", "```", *facts.log[-_LOG_LINES:], "```"]
    return anonymous(scrub("\n".join(lines)), home, hosts) + "\n"


def _row(row: ProblemRow) -> list[str]:
    lines = [f"- **{row.headline}**{f': {row.text}' if row.text else ''}"]
    lines += [f"  - {item.title}: {item.text}" for item in row.items[:_ITEMS] if not row.text]
    if len(row.items) > _ITEMS and not row.text:
        lines.append(f"  - {len(row.items) - _ITEMS} more")
    return lines


def anonymous(text: str, home: str, hosts: Collection[str] = ()) -> str:
    """`text` without `hosts` and others in URLs, addresses, mail addresses and the path of the user's home."""
    names: dict[str, str] = {}

    def host(name: str) -> str:
        return names.setdefault(name.lower(), f"host-{len(names) + 1}")

    def in_url(match: re.Match[str]) -> str:
        name = match[1].strip("[]")
        return match[0] if _is_local(name) or name in names.values() else host(name)

    def address(match: re.Match[str]) -> str:
        return match[0] if _is_local(match[0]) else host(match[0])

    others = sorted((name for name in hosts if name and not _is_local(name)), key=len, reverse=True)
    if others:
        text = re.compile("|".join(map(re.escape, others)), re.IGNORECASE).sub(lambda match: host(match[0]), text)
    if len(home) > 1:
        text = text.replace(home, "~")
    return _MAIL.sub("mail", _ADDRESS.sub(address, _URL_HOST.sub(in_url, text)))


def _is_local(name: str) -> bool:
    if name.lower() in _LOCAL:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback or ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return False
