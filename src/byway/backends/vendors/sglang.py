"""SGLang."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import MessagesEndpoint, Vendor
from byway.backends.vendors.vllm import THINKING

VENDOR: Final = Vendor(
    "sglang",
    "SGLang",
    signup="https://docs.sglang.ai/get_started/install.html",
    url="http://127.0.0.1:30000",
    messages=MessagesEndpoint("/v1", auth="bearer", counts_tokens=True, system_turns=False),
    thinking=THINKING,
    reasoning_field="reasoning_content",
)
"""
https://docs.sglang.io/basic_usage/openai_api_completions.html (second-hand, seen 2026-11-29): arguments of the template set
thinking, for gpt-oss `reasoning_effort`; reasoning comes as `reasoning_content`; ids of tool calls may repeat; the Messages
API at the same address.
"""
