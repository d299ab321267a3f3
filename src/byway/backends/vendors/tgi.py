"""Text Generation Inference (archived).

https://huggingface.co/docs/text-generation-inference (second-hand, seen 2026-11-29): one model for each server; its limits
are in the words of its errors.
"""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import Vendor

VENDOR: Final = Vendor(
    "tgi",
    "Text Generation Inference",
    signup="https://huggingface.co/docs/text-generation-inference",
    url="http://127.0.0.1:3000",
    spellings=("textgenerationinference",),
    sampling=("temperature", "top_p"),
    stop_limit=4,
    schema="plain",
)
