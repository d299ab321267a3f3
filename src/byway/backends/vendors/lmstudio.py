"""LM Studio."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import MessagesEndpoint, Vendor

VENDOR: Final = Vendor(
    "lmstudio",
    "LM Studio",
    signup="https://lmstudio.ai/download",
    url="http://127.0.0.1:1234",
    messages=MessagesEndpoint("/v1"),
    schema="grammar",
    choices="words",
    description_pages=("GET /api/v0/models",),
    load_path="/api/v1/models/load",
)
"""
- https://lmstudio.ai/docs/developer/rest/endpoints (seen 2026-11-21): a page that describes each model.
- https://lmstudio.ai/docs/developer/rest/load (seen 2026-11-30): loads a model and answers when it is loaded, from 0.4.0 on.
- https://github.com/can1357/oh-my-pi (second-hand, seen 2026-11-29): a tool choice is a word; a named tool is refused.
- https://lmstudio.ai/docs/developer/anthropic-compat (second-hand, seen 2026-11-29): the Messages API at the same address,
  without `count_tokens`.
"""
