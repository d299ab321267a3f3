"""Converts the Messages settings `thinking` and `output_config.effort` to the fields that a model's `ThinkingRule` names."""

from __future__ import annotations

from typing import Any

from byway.backends.protocol import Target
from byway.backends.vendors import ALL_EFFORTS, EFFORTS, ThinkingRule, thinking_rule
from byway.messages.request import Request


def rule_of(target: Target) -> ThinkingRule | None:
    """Return the rule of the target's model; None when its vendor has none for it."""
    rules = target.vendor.thinking
    return thinking_rule(rules, target.family) if rules else None


def thinks(request: Request, rule: ThinkingRule, *, tools: bool, missing: bool = False) -> bool:
    """Return whether the model may think before this answer.

    As in the Messages API, a request without `thinking` gets none: titles and hooks must not wait for thoughts. `tools`: the
    request has some. `missing`: the conversation lacks reasoning without which the model refuses to think.
    """
    setting = request.params.thinking
    if setting is None or setting.type == "disabled" or (tools and rule.tools_off):
        return False
    if rule.forced == "off":
        choice = request.params.tool_choice
        if choice is not None and choice.type in ("any", "tool"):
            return False
    return not (missing and rule.missing == "off")


def refuses_stop(request: Request, target: Target) -> bool:
    """Return whether the model refuses stop sequences in this request."""
    rule = rule_of(target)
    if rule is None:
        return False
    return "stop" in rule.refuses or ("stop" in rule.refuses_thinking and thinks(request, rule, tools=False))


def add_thinking(body: dict[str, Any], request: Request, rule: ThinkingRule, *, on: bool) -> None:
    """Set in `body` whether and how hard to think, and remove what the model refuses."""
    for field, value in (rule.on if on else rule.off).items():
        if value is None:
            body.pop(field, None)
        else:
            body[field] = value
    if on and rule.words:
        _set_field(body, rule.field, effort_word(request, rule))
    if on and rule.budget_field:
        setting = request.params.thinking
        if setting is not None and setting.budget_tokens:
            body[rule.budget_field] = setting.budget_tokens
    for name in rule.refuses:
        body.pop(name, None)
    if on:
        for name in rule.refuses_thinking:
            body.pop(name, None)


def effort_word(request: Request, rule: ThinkingRule) -> str:
    """Return the value of effort that the rule has for the request."""
    effort = wanted_effort(request)
    rank = EFFORTS.index(effort) if effort in EFFORTS else 0 if effort in ALL_EFFORTS else EFFORTS.index("medium")
    return rule.words[rank]


def _set_field(body: dict[str, Any], path: str, value: str) -> None:
    """Set a field such as `reasoning.effort`. Objects on the way are copied: they may belong to the rule."""
    *above, name = path.split(".")
    for part in above:
        body[part] = inner = {**(body.get(part) or {})}
        body = inner
    body[name] = value


def wanted_effort(request: Request) -> str:
    """The effort for the next answer: a message may change it."""
    for turn in reversed(request.turns):
        if turn.output_config and turn.output_config.effort:
            return turn.output_config.effort
    config = request.params.output_config
    return (config.effort if config else None) or "high"
