"""NVIDIA NIM: the hosted API, and containers with the same one.

https://docs.api.nvidia.com/nim (second-hand, seen 2026-11-29) and https://github.com/can1357/oh-my-pi (second-hand, seen
2026-11-29): unknown fields are refused; thinking is set by arguments of the template; no `strict`.
"""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import ThinkingRule, Vendor

VENDOR: Final = Vendor(
    "nvidia",
    "NVIDIA NIM",
    signup="https://build.nvidia.com/settings/api-keys",
    group="inference",
    url="https://integrate.api.nvidia.com",
    spellings=("nim", "nvidianim"),
    hosts=("integrate.api.nvidia.com",),
    self_hosted=False,
    schema="plain",
    sampling=("temperature", "top_p"),
    stop_limit=4,
    thinking=(
        ThinkingRule(r"gpt-oss", ("low", "medium", "high", "high", "high"), off={"reasoning_effort": "low"}),
        ThinkingRule(
            r"qwen-?3|glm|deepseek-v|kimi-k2\.[5-9]|nemotron",
            on={"chat_template_kwargs": {"enable_thinking": True, "thinking": True}},
            off={"chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
        ),
    ),
)
