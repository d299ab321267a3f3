"""Requests of the real Codex to the Responses API, with placeholders for its texts: `recorded/codex.json`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent / "recorded" / "codex.json"


@cache
def _recorded() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return loaded


def names() -> list[str]:
    """The scenarios, each with the number of its request."""
    return list(_recorded()["requests"])


def body(name: str) -> dict[str, Any]:
    """The body of one request, with its tools."""
    made: dict[str, Any] = json.loads(json.dumps(_recorded()["requests"][name]))
    for holder in (made, *(item for item in made["input"] if item.get("type") == "additional_tools")):
        if "tools" in holder:
            holder["tools"] = json.loads(json.dumps(_recorded()["tools"][holder["tools"]["tools"]]))
    return made
