"""Mistral."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import ThinkingRule, Vendor

VENDOR: Final = Vendor(
    "mistral",
    "Mistral",
    signup="https://console.mistral.ai/api-keys",
    group="cloud",
    url="https://api.mistral.ai",
    spellings=("mistralai",),
    hosts=("api.mistral.ai", "codestral.mistral.ai"),
    prices="mistral",
    self_hosted=False,
    schema="openai",
    sampling=("temperature", "top_p"),
    stream_options=False,
    thinking=(
        ThinkingRule(
            r"mistral-(?:small|medium)(?:-latest|-26(?:0[3-9]|1\d)|-2[7-9]\d\d|-[3-9]\d{3}|$)",
            ("high",) * 5,
            off={"reasoning_effort": "none"},
        ),
    ),
    forces_tools=True,
    choices="any",
    tools_as_text=False,
    user_after_tool=False,
    tool_name_back=True,
    call_content="empty",
    tool_ids="nine",
)
"""
- "Unexpected role 'user' after role 'tool'", and ids of nine letters and digits (seen 2026-11-20).
- https://github.com/vercel/ai (second-hand, seen 2026-11-29): a forced choice is `any`; thinking is a part of the content;
  small and medium models from 2603 on have the efforts none and high.
- https://github.com/can1357/oh-my-pi (second-hand, seen 2026-11-29): the result of a tool has its name.
- https://docs.mistral.ai/api (second-hand, seen 2026-11-29): unknown fields are refused with 422, so there is no `top_k` and no
  `stream_options`; a stream always ends with its usage.
"""
