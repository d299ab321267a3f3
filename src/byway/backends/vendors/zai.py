"""Z.ai (Zhipu): the API, and the Coding Plan, which has an address of its own."""

from __future__ import annotations

from typing import Final

import msgspec

from byway.backends.vendors.vendor import KnownModel, MessagesEndpoint, ThinkingRule, Vendor

_ON: Final = {"type": "enabled", "clear_thinking": False}
#: Rules for GLM.
THINKING: Final = (
    ThinkingRule(
        r"glm-?(?:5\.[3-9]|5\.\d\d|[6-9]|\d\d)",
        ("low", "high", "high", "max", "max"),
        on={"thinking": _ON},
        off={"thinking": _ON, "reasoning_effort": "low"},
    ),
    ThinkingRule(
        r"glm-?5\.2",
        ("high", "high", "high", "max", "max"),
        on={"thinking": _ON},
        off={"thinking": {"type": "disabled"}},
    ),
    ThinkingRule(r"glm-?(?:4\.[5-9]|5)", on={"thinking": _ON}, off={"thinking": {"type": "disabled"}}),
)

VENDOR: Final = Vendor(
    "zai",
    "Z.ai (GLM)",
    signup="https://z.ai/manage-apikey/apikey-list",
    group="cloud",
    url="https://api.z.ai",
    spellings=("glm", "zhipu", "zhipuai", "bigmodel", "zdotai"),
    hosts=("api.z.ai", "open.bigmodel.cn"),
    prices="zai",
    twin_prices="zhipuai",
    twin="https://open.bigmodel.cn",
    prefix="/api/paas/v4",
    messages=MessagesEndpoint("/api/anthropic/v1", auth="bearer"),
    self_hosted=False,
    schema="openai",
    sampling=("temperature", "top_p"),
    temperatures=(0.01, 1.0),
    thinking=THINKING,
    known_models=(
        KnownModel(r"glm-?\d[\d.]*v", 131_072, 32_768, vision=True),
        KnownModel(r"glm-?5v|glm-?5\.3-flash", 1_000_000, 131_072, vision=True),
        KnownModel(r"glm-?5\.[2-9]", 1_000_000, 131_072, vision=False),
        KnownModel(r"glm-?(?:5|5\.1)(?![\d.])", 200_000, 131_072, vision=False),
        KnownModel(r"glm-?4\.[67]", 204_800, 131_072, vision=False),
        KnownModel(r"glm-?4\.5", 131_072, 98_304, vision=False),
    ),
    fields_with_tools={"tool_stream": True},
    format="json_object",
    choices="auto",
    reasoning_field="reasoning_content",
    overflows_silently=True,
)
"""
- https://docs.z.ai/guides/capabilities/thinking-mode (second-hand, seen 2026-11-29): `thinking: {type, clear_thinking}`; with
  `clear_thinking: false` the reasoning of earlier turns comes back. GLM-5.2 has the efforts high and max, GLM-5.3 low, high and
  max; GLM-5.3 cannot be switched off.
- https://docs.z.ai/guides/tools/stream-tool (seen 2026-11-29): `tool_stream: true` streams the arguments of tool calls.
- https://docs.bigmodel.cn/cn/api/api-code (second-hand, seen 2026-11-29): the codes of errors. 1113 means an empty account,
  also where the key belongs to the Coding Plan.
- https://github.com/earendil-works/pi (second-hand, seen 2026-11-29): a prompt over the window is accepted without an error.
- https://github.com/can1357/oh-my-pi (second-hand, seen 2026-11-29): only models with a `v`, and 5.3-flash, take images.
- `tool_choice` is documented as `auto` only (seen 2026-11-29).
"""
CODING: Final = msgspec.structs.replace(
    VENDOR,
    name="zaicoding",
    prices="",
    twin_prices="",
    title="GLM Coding Plan",
    signup="https://z.ai/subscribe",
    spellings=("glmcoding", "zaiplan", "zaicodingplan", "glmcodingplan"),
    prefix="/api/coding/paas/v4",
)
