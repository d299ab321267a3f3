"""Ollama."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import MessagesEndpoint, ThinkingRule, Vendor

_OFF: Final = {"reasoning_effort": "none"}

VENDOR: Final = Vendor(
    "ollama",
    "Ollama",
    signup="https://ollama.com/download",
    url="http://127.0.0.1:11434",
    messages=MessagesEndpoint("/v1", auth="bearer", leaves_out=("tool_choice", "metadata")),
    schema="grammar",
    cloud_suffixes=("-cloud", ":cloud"),
    thinking=(
        ThinkingRule(r"gpt-oss", ("low", "medium", "high", "high", "high"), off={"reasoning_effort": "low"}),
        ThinkingRule(r"[-:]cloud$", ("low", "medium", "high", "high", "max"), off=_OFF),
        ThinkingRule(off=_OFF),
    ),
    choices="auto",
    description_pages=("GET /api/ps", "POST /api/show"),
    reasoning_field="reasoning",
    overflows_silently=True,
)
"""
- https://github.com/ollama/ollama/issues/14820 and /12561 (seen 2026-11-21): a model that can think does so unless the
  effort is `none`; any other value is an error for models that cannot.
- https://docs.ollama.com/capabilities/thinking (second-hand, seen 2026-11-29): the efforts low, medium, high and max.
  Models other than gpt-oss accept them as "on", so they are sent to gpt-oss and to the models of Ollama's cloud alone.
- https://docs.ollama.com/api/openai-compatibility (second-hand, seen 2026-11-29): `tool_choice` is not read.
- https://docs.ollama.com/cloud (second-hand, seen 2026-11-29): `gpt-oss:120b-cloud`, `glm-4.6:cloud`.
- https://github.com/ollama/ollama/pull/11331 (seen 2026-11-21): only a loaded model has a window, which is often smaller
  than that of its training. A longer prompt is cut without an error.
- https://github.com/ollama/ollama/blob/main/openai/openai.go (seen 2026-11-21): `reasoning` in both directions.
- https://docs.ollama.com/api/anthropic-compatibility (second-hand, seen 2026-11-29): the Messages API at the same address,
  without `count_tokens`, `tool_choice` and PDFs.
"""
