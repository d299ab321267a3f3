"""Meter: what the estimates of requests for one model name depend on."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from byway.messages.tokens import Counter


class Meter(NamedTuple):
    """Estimates tokens and cost by the first target of a name."""

    counter: Counter
    model: str
    """The model of the target."""
    input: int
    """Nano-dollars for a million input tokens; 0 when the price is unknown."""
    output: int
    until: float = inf
    """When another price may apply: seconds since the epoch."""
