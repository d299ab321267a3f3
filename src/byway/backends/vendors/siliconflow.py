"""SiliconFlow.

https://docs.siliconflow.com/en/api-reference/chat-completions/chat-completions (second-hand, seen 2026-11-29):
`enable_thinking` for hybrid models, `thinking_budget` from 128 to 32,768; reasoning in `reasoning_content`. The regions
have keys of their own.
"""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import ThinkingRule, Vendor

VENDOR: Final = Vendor(
    "siliconflow",
    "SiliconFlow",
    signup="https://cloud.siliconflow.com/account/ak",
    group="inference",
    url="https://api.siliconflow.com",
    spellings=("siliconcloud",),
    hosts=("api.siliconflow.com", "api.siliconflow.cn"),
    twin="https://api.siliconflow.cn",
    self_hosted=False,
    schema="plain",
    thinking=(
        ThinkingRule(r"thinking|coder|-instruct|deepseek-r1"),
        ThinkingRule(
            r"qwen-?3|glm-(?:4\.[5-9]|5)|deepseek-v3\.[1-9]|hunyuan",
            on={"enable_thinking": True},
            off={"enable_thinking": False},
            budget_field="thinking_budget",
        ),
    ),
    format="json_object",
)
