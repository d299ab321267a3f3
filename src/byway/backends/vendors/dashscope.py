"""Alibaba's DashScope (Qwen): the API, and the Coding Plan, which has an address and keys of its own."""

from __future__ import annotations

from typing import Final

import msgspec

from byway.backends.vendors.vendor import KnownModel, MessagesEndpoint, ThinkingRule, Vendor

_OFF: Final = {"enable_thinking": False}

VENDOR: Final = Vendor(
    "dashscope",
    "Alibaba DashScope (Qwen)",
    signup="https://bailian.console.alibabacloud.com/?tab=model#/api-key",
    group="cloud",
    url="https://dashscope-intl.aliyuncs.com",
    spellings=("qwen", "alibaba", "alibabacloud", "modelstudio", "bailian"),
    hosts=("dashscope-intl.aliyuncs.com", "dashscope.aliyuncs.com", "dashscope-us.aliyuncs.com", ".maas.aliyuncs.com"),
    twin="https://dashscope.aliyuncs.com",
    prefix="/compatible-mode/v1",
    messages=MessagesEndpoint("/apps/anthropic/v1"),
    self_hosted=False,
    schema="openai",
    thinking=(
        ThinkingRule(
            r"qwen-?(?:3\.[89]|3\.\d\d|[4-9])",
            ("low", "medium", "medium", "xhigh", "xhigh"),
            on={"enable_thinking": True, "preserve_thinking": True},
            off=_OFF,
            forced="off",
        ),
        ThinkingRule(
            r"deepseek-v(?:[4-9])",
            ("high", "high", "high", "high", "max"),
            on={"enable_thinking": True},
            off=_OFF,
            forced="off",
        ),
        # They do not think.
        ThinkingRule(r"coder|qwen-(?:vl|mt|math|long)"),
        ThinkingRule(
            r"qwen|glm|kimi|deepseek",
            on={"enable_thinking": True},
            off=_OFF,
            budget_field="thinking_budget",
            forced="off",
        ),
    ),
    known_models=(
        KnownModel(r"qwen-?3\.8", 1_000_000, 131_072),
        KnownModel(r"qwen-?3\.[5-7]-(?:plus|max|flash)", 1_000_000, 65_536),
        KnownModel(r"coder", vision=False),
        KnownModel(r"qwen-?3\.[56]", 262_144),
    ),
    format="json_object",
    reasoning_field="reasoning_content",
)
"""
- https://www.alibabacloud.com/help/en/model-studio/deep-thinking (second-hand, seen 2026-11-29): `enable_thinking`,
  `thinking_budget`; qwen3.8 has the efforts low, medium and xhigh, and `preserve_thinking`.
- "tool_choice parameter does not support being set to required or object in thinking mode" (seen 2026-11-20).
- https://github.com/can1357/oh-my-pi (second-hand, seen 2026-11-29): one system message, first; models of text only.
- https://www.alibabacloud.com/help/en/model-studio/json-mode (second-hand, seen 2026-11-29): `json_object`.
- https://www.alibabacloud.com/help/en/model-studio/error-code (second-hand, seen 2026-11-29): a key of another region or plan
  is refused.
"""
CODING: Final = msgspec.structs.replace(
    VENDOR,
    name="dashscopecoding",
    title="Alibaba Coding Plan",
    signup="https://www.alibabacloud.com/help/en/model-studio/coding-plan",
    url="https://coding-intl.dashscope.aliyuncs.com",
    spellings=("qwencoding", "alibabacoding", "alibabacodingplan"),
    hosts=("coding-intl.dashscope.aliyuncs.com", "coding.dashscope.aliyuncs.com"),
    twin="https://coding.dashscope.aliyuncs.com",
    prefix="/v1",
    needs_models=True,
)
