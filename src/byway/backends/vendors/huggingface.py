"""The router of Hugging Face: `org/name`, with `:provider`, `:fastest` or `:cheapest` behind it.

https://huggingface.co/docs/inference-providers (second-hand, seen 2026-11-29): the rules of the provider behind a model
apply; Byway learns them from its refusals.
"""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import Vendor

VENDOR: Final = Vendor(
    "huggingface",
    "Hugging Face",
    signup="https://huggingface.co/settings/tokens",
    group="inference",
    url="https://router.huggingface.co",
    spellings=("hf", "huggingfacerouter"),
    hosts=("router.huggingface.co",),
    prices="huggingface_",
    self_hosted=False,
    sampling=("temperature", "top_p"),
    schema="plain",
)
