"""Cerebras."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import ThinkingRule, Vendor

VENDOR: Final = Vendor(
    "cerebras",
    "Cerebras",
    signup="https://cloud.cerebras.ai",
    group="inference",
    url="https://api.cerebras.ai",
    hosts=("api.cerebras.ai",),
    prices="cerebras",
    self_hosted=False,
    max_tokens_field="max_completion_tokens",
    schema="openai",
    stop_limit=4,
    sampling=("temperature", "top_p"),
    thinking=(
        ThinkingRule(r"gpt-oss", ("low", "medium", "high", "high", "high"), off={"reasoning_effort": "low"}),
        ThinkingRule(r"glm", off={"reasoning_effort": "none"}),
    ),
    reasoning_field="reasoning",
)
"""
- https://github.com/vercel/ai (second-hand, seen 2026-11-29): reasoning streams as `reasoning` and goes back under that name.
- https://github.com/can1357/oh-my-pi (second-hand, seen 2026-11-29): `strict` must be the same on all tools, so it is not
  sent; gpt-oss cannot stop thinking, GLM can with the effort `none`.
- https://inference-docs.cerebras.ai/api-reference/chat-completions (second-hand, seen 2026-11-29): `max_completion_tokens`;
  no `top_k`.
"""
