"""Together AI."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import ThinkingRule, Vendor

_ON: Final = {"reasoning": {"enabled": True}}
_OFF: Final = {"reasoning": {"enabled": False}}

VENDOR: Final = Vendor(
    "together",
    "Together AI",
    signup="https://api.together.ai/settings/api-keys",
    group="inference",
    url="https://api.together.ai",
    spellings=("togetherai",),
    hosts=("api.together.ai", "api.together.xyz"),
    prices="together",
    self_hosted=False,
    schema="plain",
    thinking=(
        ThinkingRule(r"gpt-oss", ("low", "medium", "high", "high", "high"), off={"reasoning_effort": "low"}),
        ThinkingRule(r"glm-?(?:5\.[3-9]|[6-9])", ("low", "medium", "high", "high", "max"), on=_ON, off=_OFF),
        ThinkingRule(r"deepseek-v|qwen-?3|glm|kimi-k2\.[5-9]", on=_ON, off=_OFF),
    ),
)
"""
- https://docs.together.ai/docs/reasoning-models-guide (second-hand, seen 2026-11-29): `reasoning: {enabled}` for hybrid models,
  `reasoning_effort` for gpt-oss and GLM-5.3.
- Its list of models is a bare JSON list (seen 2026-11-20).
"""
