"""Pages of the lists that clients get: how many rows, and what surrounds them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from byway.problems import Problem


def page_limit(query: Mapping[str, list[str]], default: int, most: int) -> int:
    """The most rows of a page, by the parameter `limit`. Raises Problem."""
    text = query.get("limit", [str(default)])[0]
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII) or not 1 <= int(text) <= most:
        raise Problem("invalid_request", f"limit: Input should be a number from 1 to {most}")
    return int(text)


def list_page(rows: Sequence[Any], ids: Sequence[str | None], *, has_more: bool) -> dict[str, Any]:
    """The fields of a page that has `rows` with `ids`."""
    return {
        "data": rows,
        "has_more": has_more,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
    }
