"""Anthropic: the Messages API itself. Requests and answers pass through."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import Vendor

VENDOR: Final = Vendor(
    "anthropic",
    "Anthropic",
    signup="https://platform.claude.com/settings/keys",
    group="cloud",
    spellings=("claude",),
    protocol="anthropic",
    url="https://api.anthropic.com",
    hosts=("api.anthropic.com",),
    prices="anthropic",
    self_hosted=False,
    auth="x-api-key",
    client_credentials=True,
    clamps_max_tokens=False,
    forces_tools=True,
    runs_web_tools=True,
    runs_classifier=True,
)
