"""Quantities as text for people: bytes, durations, token counts, times. Shared by the CLI, the page and error messages."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Final

#: Each state of a backend as a colour and a label.
BACKEND_STATES: Final[Mapping[str, tuple[str, str]]] = {
    "ready": ("good", "ready"),
    "asleep": ("good", "asleep"),
    "loading": ("warn", "loading"),
    "unknown": ("warn", "no answer yet"),
    "failed": ("bad", "failed"),
    "off": ("none", "off"),
    "not served": ("bad", "not served"),
}


def size(count: float | None) -> str:
    """Bytes in decimal units: `98 MB`, `1.2 GB`; `unknown` for None."""
    if count is None:
        return "unknown"
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= least:
            shown = count / least
            return f"{shown:.1f} {unit}" if shown < 10 and unit == "GB" else f"{shown:.0f} {unit}"
    return f"{count:.0f} B"


def machine_memory_text(total: int | None, free: int | None) -> str:
    """The memory of a machine as a sentence: `This machine has 16 GB of memory, 9.1 GB free.`"""
    if total is None:
        return "The memory of this machine is unknown."
    return f"This machine has {size(total)} of memory{f', {size(free)} free' if free is not None else ''}."


def duration(seconds: float) -> str:
    """A duration of at least seconds: `42 s`, `3 min 5 s`, `1 h 20 min`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def elapsed(seconds: float) -> str:
    """How long a step took, or takes so far: `0.4 s`, from a minute on as a duration."""
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def latency(ms: float) -> str:
    """Milliseconds, from ten seconds on in seconds: `1,234 ms`, `12.3 s`."""
    return f"{ms:,.0f} ms" if ms < 10_000 else f"{ms / 1000:,.1f} s"


def window(tokens: int) -> str:
    """A context window: `32k` for a multiple of 1024, `1,000,000` for any other number."""
    return f"{tokens // 1024:,}k" if tokens % 1024 == 0 else f"{tokens:,}"


def moment(at: datetime.datetime | None) -> str:
    """A UTC time to the minute: `2026-11-21 14:05 UTC`; empty for None."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"


def count(number: int, noun: str) -> str:
    """A number with its noun: `1 model`, `3 models`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def dollars(cost: float | None) -> str:
    """US dollars: `$1,012.34`, `$0.0042`, `unknown` for None."""
    if cost is None:
        return "unknown"
    if cost == 0:
        return "$0"
    if cost < 0.01:
        return f"${cost:.2g}" if cost >= 0.0001 else "<$0.0001"
    return f"${cost:,.2f}"


def clock(at: float) -> str:
    """A time of day in the local zone; `at` in seconds since the epoch."""
    return datetime.datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")


def listing(names: Sequence[str], limit: int = 5) -> str:
    """The first `limit` names with commas, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
