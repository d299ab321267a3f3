"""An OpenAI-compatible server of unknown kind: only what every server accepts. Byway learns the rest from its refusals."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import Vendor

VENDOR: Final = Vendor(
    "generic",
    "OpenAI-compatible server",
    spellings=("openaicompatible", "openaicompat", "localai"),
    # Other versions than 1, and the deployments of Azure.
    complete_urls=r"/v(?:[2-9]|\d\d)\w*$|/v\d\w+/openai$|/openai/deployments/[^/?]+$",
    sampling=("temperature", "top_p"),
    schema="plain",
)
