"""Volcengine Ark (Doubao): the API, and the Coding Plan, which has an address of its own.

https://www.volcengine.com/docs/82379/1449737 (second-hand, seen 2026-11-29): `thinking: {type}` with enabled, disabled and
auto. The plan has the paths `/api/coding/v3` and `/api/coding` (Messages API); at the other address its calls are billed or
not found.
"""

from __future__ import annotations

from typing import Final

import msgspec

from byway.backends.vendors.vendor import MessagesEndpoint, ThinkingRule, Vendor

VENDOR: Final = Vendor(
    "ark",
    "Volcengine Ark (Doubao)",
    signup="https://console.volcengine.com/ark",
    group="cloud",
    url="https://ark.cn-beijing.volces.com",
    spellings=("volcengine", "doubao", "volcengineark", "byteplus"),
    hosts=("ark.cn-beijing.volces.com", "ark.ap-southeast.bytepluses.com"),
    prefix="/api/v3",
    needs_models=True,
    self_hosted=False,
    schema="openai",
    sampling=("temperature", "top_p"),
    thinking=(
        ThinkingRule(
            r"seed|doubao|deepseek-v|glm|kimi",
            on={"thinking": {"type": "enabled"}},
            off={"thinking": {"type": "disabled"}},
        ),
    ),
    format="json_object",
    reasoning_field="reasoning_content",
)
CODING: Final = msgspec.structs.replace(
    VENDOR,
    name="arkcoding",
    title="Ark Coding Plan",
    signup="https://www.volcengine.com/activity/codingplan",
    spellings=("doubaocoding", "arkcodingplan", "volcenginecoding"),
    prefix="/api/coding/v3",
    messages=MessagesEndpoint("/api/coding/v1", auth="bearer"),
)
