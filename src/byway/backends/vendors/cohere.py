"""Cohere, by its OpenAI-compatible API.

https://docs.cohere.com/docs/compatibility-api (second-hand, seen 2026-11-29): the path `/compatibility/v1`; the efforts none
and high. https://docs.cohere.com/reference/rerank (seen 2026-11-30): reranking is at `/v2/rerank`.
"""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import ThinkingRule, Vendor

VENDOR: Final = Vendor(
    "cohere",
    "Cohere",
    signup="https://dashboard.cohere.com/api-keys",
    group="cloud",
    url="https://api.cohere.ai",
    hosts=("api.cohere.ai", "api.cohere.com"),
    prices="cohere",
    prefix="/compatibility/v1",
    self_hosted=False,
    schema="openai",
    sampling=("temperature", "top_p"),
    stop_limit=5,
    endpoints={"/v1/rerank": "/v2/rerank"},
    thinking=(ThinkingRule(r"reasoning", ("high",) * 5, off={"reasoning_effort": "none"}),),
)
