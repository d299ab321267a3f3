"""How much of repeated work tests do: all of it in CI, a part in `make unit`, for an answer within a minute."""

from __future__ import annotations

import os
from typing import Final

#: The part of their work that property tests, growth tests and tests of every cut do.
SHARE: Final = float(os.environ.get("BYWAY_TEST_EXAMPLES") or 1)


def examples(count: int) -> int:
    """`count`, or the share of it that BYWAY_TEST_EXAMPLES sets."""
    return max(10, round(count * SHARE))


def stride(step: int = 1) -> int:
    """The distance between the places that a test of many places tries: `step`, or more of it in `make unit`."""
    return max(step, round(step / SHARE))
