"""Histograms of the time to the first token: which bucket a time falls into, and percentiles of the counts. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Final

#: The lower bounds of all buckets but the first, in milliseconds: 10 ms to 10 minutes, each 25 % above the one before. Counts are
#: stored by the number of the bucket, so these never change.
BOUNDS: Final = tuple(round(10 * 1.25**number) for number in range(51))


def bucket_of(milliseconds: float) -> int:
    """The number of the bucket, from 0 to the number of BOUNDS."""
    return bisect_right(BOUNDS, milliseconds)


def _case(column: str, first: int, last: int) -> str:
    if first == last:
        return str(first)
    middle = (first + last) // 2
    return f"CASE WHEN {column} < {BOUNDS[middle]} THEN {_case(column, first, middle)} ELSE {_case(column, middle + 1, last)} END"


def bucket_expression(column: str) -> str:
    """The SQL of `bucket_of`: nested comparisons, six of them for each row."""
    return _case(column, 0, len(BOUNDS))


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """The time in milliseconds that `share` of the requests did not exceed; None without requests.

    Within its bucket it is interpolated, so that it is at most 25 % off.
    """
    total = sum(counts.values())
    if not total:
        return None
    rank = share * total
    below = 0
    for bucket in sorted(counts):
        count = counts[bucket]
        if below + count >= rank:
            low = BOUNDS[bucket - 1] if bucket else 0
            high = BOUNDS[bucket] if bucket < len(BOUNDS) else low
            return low + (high - low) * (rank - below) / count
        below += count
    return float(BOUNDS[-1])
