"""How hard to think: the Messages settings `thinking` and `output_config.effort` in each vendor's own words."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from byway.backends.protocol import Target
from byway.messages.request import Request

#: From least to most, over all servers.
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
# Templates differ in the word: `enable_thinking` in Qwen's and GLM's, `thinking` in DeepSeek's and Granite's. They pass
# over what they do not know.
_ON: Final = {"enable_thinking": True, "thinking": True}
_OFF: Final = {"enable_thinking": False, "thinking": False}


def thinking_fields(request: Request, target: Target) -> dict[str, Any]:
    """The fields that say whether to think, and how hard; none for a server that may refuse what it does not know.

    As in the Messages API no `thinking` means none: the client's small calls (titles, hooks) must not wait for thoughts.
    """
    vendor = target.vendor
    if vendor.thinking == "none":
        return {}
    asked = request.params.thinking
    on = asked is not None and asked.type != "disabled"
    if vendor.thinking == "template":
        fields: dict[str, Any] = {"chat_template_kwargs": _ON if on else _OFF}
        if on and vendor.budget_field and asked is not None and asked.budget_tokens:
            fields[vendor.budget_field] = asked.budget_tokens
        if on and vendor.efforts and accepts_effort(target):
            effort = nearest_effort(_effort(request), vendor.efforts)
            if vendor.effort_in_template:
                fields["chat_template_kwargs"] = {**_ON, "reasoning_effort": effort}
            else:
                fields["reasoning_effort"] = effort
        return fields
    if vendor.thinking == "switch":
        return {"thinking": {"type": "enabled" if on else "disabled"}}
    if vendor.thinking == "reasoning":
        effort = nearest_effort(_effort(request), vendor.efforts)
        return {"reasoning": {"effort": effort} if on else {"enabled": False}}
    if not accepts_effort(target):
        return {}
    if not on:
        return {"reasoning_effort": vendor.effort_off} if vendor.effort_off else {}
    return {"reasoning_effort": nearest_effort(_effort(request), vendor.efforts)} if vendor.efforts else {}


def nearest_effort(effort: str, known: tuple[str, ...]) -> str:
    """The word of `known` (from least to most) that is closest to `effort`; the higher one of two."""
    if effort in known:
        return effort
    at = _EFFORTS.index(effort) if effort in _EFFORTS else _EFFORTS.index("medium")
    return min(reversed(known), key=lambda word: abs(_EFFORTS.index(word) - at))


def _effort(request: Request) -> str:
    """The effort that holds for the next answer: a message may set it anew."""
    said = [turn.output_config.effort for turn in request.turns if turn.output_config and turn.output_config.effort]
    if said:
        return said[-1]
    config = request.params.output_config
    return (config.effort if config else None) or "high"


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def accepts_effort(target: Target) -> bool:
    """Is the model one that takes an effort?"""
    return bool(target.vendor.effort_models) and _pattern(target.vendor.effort_models).search(target.model) is not None
