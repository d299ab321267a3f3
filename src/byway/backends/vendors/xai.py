"""xAI (Grok)."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import KnownModel, ThinkingRule, Vendor

_STOP: Final = ("stop",)
_LOW: Final = {"reasoning_effort": "low"}

VENDOR: Final = Vendor(
    "xai",
    "xAI (Grok)",
    signup="https://console.x.ai",
    group="cloud",
    url="https://api.x.ai",
    spellings=("grok", "xdotai"),
    hosts=("api.x.ai", ".api.x.ai"),
    prices="x-ai",
    self_hosted=False,
    max_tokens_field="max_completion_tokens",
    schema="openai",
    sampling=("temperature", "top_p"),
    parallel_field="parallel_function_calling",
    thinking=(
        ThinkingRule(
            r"grok-4\.3", ("low", "medium", "high", "high", "high"), off={"reasoning_effort": "none"}, refuses=_STOP
        ),
        ThinkingRule(r"grok-4\.5", ("low", "medium", "high", "high", "high"), off=_LOW, refuses=_STOP),
        ThinkingRule(
            r"grok-4\.[6-9]|grok-4\.20-multi|grok-(?:[5-9]|\d\d)",
            ("low", "medium", "high", "xhigh", "xhigh"),
            off=_LOW,
            refuses=_STOP,
        ),
        ThinkingRule(r"grok-3-mini", ("low", "low", "high", "high", "high"), off=_LOW, refuses=_STOP),
        ThinkingRule(r"grok-(?:4|build|code)", refuses=_STOP),
    ),
    known_models=(
        KnownModel(r"grok-4\.(?:3|20)", 1_000_000),
        KnownModel(r"grok-4\.5", 500_000),
        KnownModel(r"grok-(?:build|code)", 256_000),
    ),
    forces_tools=True,
    thinking_as_text=False,
    tools_as_text=False,
)
"""
- https://docs.x.ai/docs/guides/reasoning (second-hand, seen 2026-11-29): reasoning models refuse `stop` and penalties;
  efforts of each model.
- https://github.com/pydantic/pydantic-ai and can1357/oh-my-pi (both seen 2026-11-29): 4.5 refuses `none`, 4.6 has xhigh,
  other models refuse the field.
- https://github.com/vercel/ai (second-hand, seen 2026-11-29): `parallel_function_calling`; `completion_tokens` without
  reasoning.
- https://docs.x.ai/docs/models (second-hand, seen 2026-11-29): windows.
"""
