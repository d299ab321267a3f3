"""Fireworks AI."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import MessagesEndpoint, ThinkingRule, Vendor

_WORDS: Final = ("low", "medium", "high", "high", "high")

VENDOR: Final = Vendor(
    "fireworks",
    "Fireworks AI",
    signup="https://app.fireworks.ai/settings/users/api-keys",
    group="inference",
    url="https://api.fireworks.ai/inference",
    spellings=("fireworksai",),
    hosts=("api.fireworks.ai",),
    prices="fireworks",
    messages=MessagesEndpoint("/v1", auth="bearer"),
    self_hosted=False,
    schema="plain",
    stop_limit=4,
    thinking=(
        ThinkingRule(r"gpt-oss|minimax-m2", _WORDS, off={"reasoning_effort": "low"}),
        ThinkingRule(
            r"glm-?(?:5[.p][3-9]|5[.p]\d\d|[6-9]|\d\d)",
            ("low", "high", "high", "max", "max"),
            off={"reasoning_effort": "low"},
        ),
        ThinkingRule(r"glm-?5", ("high", "high", "high", "max", "max"), off={"reasoning_effort": "none"}),
        # `none` is not among the efforts of Kimi K2.
        ThinkingRule(r"kimi-k2[.p][5-9]|kimi-k2-thinking", _WORDS, off={"reasoning_effort": "low"}),
        ThinkingRule(r"deepseek|qwen-?3|glm", _WORDS, off={"reasoning_effort": "none"}),
    ),
)
"""
- https://docs.fireworks.ai/guides/reasoning (seen 2026-11-29): `reasoning_effort`, with `none` for models that can stop.
- https://reference.langchain.com/python/deepagents-code/reasoning_effort/FIREWORKS_GLM_EFFORTS and FIREWORKS_KIMI_EFFORTS (both
  seen 2026-11-29): none, high and max for GLM 5; low, medium and high for Kimi K2.
- https://github.com/anomalyco/models.dev, providers/fireworks-ai (seen 2026-11-29): GLM 5.3 has low, high and max; it always
  thinks, and refuses `none` and `thinking: {type: disabled}`.
- https://github.com/can1357/oh-my-pi (second-hand, seen 2026-11-29): without streaming an answer has at most 4,096 tokens;
  Byway then streams.
- https://docs.fireworks.ai/tools-sdks/anthropic-compatibility (second-hand, seen 2026-11-29): the Messages API, with a bearer
  token.
"""
