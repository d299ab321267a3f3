"""The queries of the Grafana dashboard."""

from __future__ import annotations

import json
from pathlib import Path

DASHBOARD = Path(__file__).parent.parent / "contrib/grafana/byway.json"


def expressions(window: str = "$__rate_interval") -> list[str]:
    """The PromQL expression of each query, with `window` as the range of rates."""
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return [target["expr"].replace("$__rate_interval", window) for panel in panels for target in panel["targets"]]
