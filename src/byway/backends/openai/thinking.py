"""Converts the Messages settings `thinking` and `output_config.effort` to the fields of each vendor."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from byway.backends.protocol import Target
from byway.messages.request import Request

#: From the least to the most, over all servers.
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
# The argument is `enable_thinking` in the templates of Qwen and GLM, and `thinking` in those of DeepSeek and Granite. A
# template ignores unknown arguments.
_ON: Final = {"enable_thinking": True, "thinking": True}
_OFF: Final = {"enable_thinking": False, "thinking": False}


def thinking_fields(request: Request, target: Target) -> dict[str, Any]:
    """Return the fields that set whether and how hard to think; none for a server that may refuse unknown fields.

    As in the Messages API, a request without `thinking` gets none: titles and hooks must not wait for thoughts.
    """
    vendor = target.vendor
    if vendor.thinking == "none":
        return {}
    setting = request.params.thinking
    on = setting is not None and setting.type != "disabled"
    if vendor.thinking == "template":
        fields: dict[str, Any] = {"chat_template_kwargs": _ON if on else _OFF}
        if on and vendor.budget_field and setting is not None and setting.budget_tokens:
            fields[vendor.budget_field] = setting.budget_tokens
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
    """Return the value of `known` (from the least to the most) that is closest to `effort`; the higher of two."""
    if effort in known:
        return effort
    at = _EFFORTS.index(effort) if effort in _EFFORTS else _EFFORTS.index("medium")
    return min(reversed(known), key=lambda word: abs(_EFFORTS.index(word) - at))


def _effort(request: Request) -> str:
    """The effort for the next answer: a message may change it."""
    for turn in reversed(request.turns):
        if turn.output_config and turn.output_config.effort:
            return turn.output_config.effort
    config = request.params.output_config
    return (config.effort if config else None) or "high"


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def accepts_effort(target: Target) -> bool:
    """Return whether the model accepts an effort."""
    return bool(target.vendor.effort_models) and _pattern(target.vendor.effort_models).search(target.model) is not None
