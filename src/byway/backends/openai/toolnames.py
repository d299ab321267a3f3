"""The name of a called tool, cleaned of what models leave in it."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

#: Namespaces that models put in front: gpt-oss and Kimi, Gemini, and generic prompts.
_NAMESPACE: Final = re.compile(r"(?:functions|function|tools|tool|default_api|namespace)[.:/]")
#: A special token that leaked, such as `Read<|channel|>commentary`, or Kimi's counter, as in `functions.Read:0`.
_LEAK: Final = re.compile(r"\s*(?:<[|\uff5c].*|:\d+)\Z", re.DOTALL)
_LONGEST: Final = 256


def offered_name(name: str, offered: Container[str]) -> str | None:
    """The offered tool that `name` stands for; None for a name that stands for none."""
    if name in offered:
        return name
    if len(name) > _LONGEST:
        return None
    plain = _LEAK.sub("", name).strip().strip("\"'`")
    if plain in offered:
        return plain
    plain = _NAMESPACE.sub("", plain, count=1)
    return plain if plain in offered else None
