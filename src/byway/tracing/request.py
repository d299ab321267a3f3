"""TracedRequest: the contents of a span of a request. Pure."""

from __future__ import annotations

from typing import NamedTuple


class TracedRequest(NamedTuple):
    """The contents of a span of a request."""

    attributes: dict[str, str | int]
    """Those with empty values are left out."""
    name: str
    seconds: float
    error: str
    """The kind of the problem that ended it; empty when it succeeded."""
    traceparent: bytes
    """The header of the client; empty when it sent none."""
