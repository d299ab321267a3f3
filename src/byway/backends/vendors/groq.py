"""Groq."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import KnownModel, ThinkingRule, Vendor

_PARSED: Final = {"reasoning_format": "parsed"}

VENDOR: Final = Vendor(
    "groq",
    "Groq",
    signup="https://console.groq.com/keys",
    group="inference",
    url="https://api.groq.com",
    hosts=("api.groq.com",),
    prices="groq",
    prefix="/openai/v1",
    self_hosted=False,
    max_tokens_field="max_completion_tokens",
    schema="openai",
    strict_formats="gpt-oss",
    stop_limit=4,
    max_tools=128,
    sampling=("temperature", "top_p"),
    thinking=(
        ThinkingRule(r"gpt-oss", ("low", "medium", "high", "high", "high"), off={"reasoning_effort": "low"}),
        ThinkingRule(
            r"qwen-?3", ("default",) * 5, on=_PARSED, off={"reasoning_effort": "none", "reasoning_format": "parsed"}
        ),
    ),
    known_models=(
        KnownModel(r"gpt-oss", 131_072, 65_536, vision=False),
        KnownModel(r"qwen-?3", 131_072, 40_960, vision=False),
    ),
    forces_tools=True,
)
"""
- https://console.groq.com/docs/openai (second-hand, seen 2026-11-29): no `top_k`; `messages[].name` is refused.
- https://console.groq.com/docs/reasoning (seen 2026-11-29): gpt-oss has the efforts low, medium and high; qwen3 has `none` and
  `default`, and needs `reasoning_format: parsed` with tools.
- https://console.groq.com/docs/structured-outputs (second-hand, seen 2026-12-01): `strict: true` guarantees the schema of an
  answer, on gpt-oss only.
- https://console.groq.com/docs/api-reference (second-hand, seen 2026-11-29): `max_completion_tokens`; at most 4 stop sequences.
"""
