"""Checks of `prices` and `usage`: which numbers are required, and which fit together. Pure."""

from __future__ import annotations

from typing import Any, cast

from byway.config.document import Node
from byway.config.settings import PriceTierSettings, ProblemSink, UsageSettings


def check_price(reader: ProblemSink, values: dict[str, Any], node: Node, path: str) -> None:
    """Report a missing number: with a default of zero a forgotten one would hide costs."""
    _require(reader, node, path, ("input", "output"))
    # A tier of another type was reported, and keeps its place.
    limits = [tier.above for tier in values.get("tiers", ()) if isinstance(tier, PriceTierSettings)]
    if len(set(limits)) < len(limits):
        line = cast("dict[str, Node]", node.value)["tiers"].line
        reader.error(f"{path}.tiers", line, "two tiers begin at the same number of tokens")


def check_tier(reader: ProblemSink, values: dict[str, Any], node: Node, path: str) -> None:
    """Report a missing number of a tier."""
    _require(reader, node, path, ("above", "input", "output"))


def check_usage(reader: ProblemSink, values: dict[str, Any], node: Node, path: str) -> None:
    """Warn about sums that are removed before the records that they add up."""
    default = UsageSettings()
    records, sums = values.get("keep_records", default.keep_records), values.get("keep_sums", default.keep_sums)
    if sums < records:
        message = (
            f"{sums} days are fewer than those of keep_records ({records}), so reports have less than the export. "
            f"Set keep_sums to at least {records}"
        )
        reader.warn(f"{path}.keep_sums", node.line, message)


def _require(reader: ProblemSink, node: Node, path: str, names: tuple[str, ...]) -> None:
    fields = cast("dict[str, Node]", node.value)
    for name in names:
        if name not in fields or fields[name].null:
            unit = "a number of input tokens" if name == "above" else "dollars per million tokens; 0 for free"
            reader.error(f"{path}.{name}", node.line, f"required: {unit}")
