"""LiteLLM's proxy: models of many vendors behind names of its own."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import MessagesEndpoint, Vendor

VENDOR: Final = Vendor(
    "litellm",
    "LiteLLM",
    signup="https://docs.litellm.ai/docs/simple_proxy",
    group="gateway",
    url="http://127.0.0.1:4000",
    spellings=("litellmproxy",),
    messages=MessagesEndpoint("/v1", counts_tokens=True),
    sampling=("temperature", "top_p"),
    schema="plain",
)
"""
https://docs.litellm.ai/docs/proxy (second-hand, seen 2026-11-29): the usual port is 4000. It refuses parameters that the
provider behind a model does not have; Byway learns them from its refusals. https://docs.litellm.ai/docs/anthropic_unified
(second-hand, seen 2026-11-29): the Messages API at the same address.
"""
