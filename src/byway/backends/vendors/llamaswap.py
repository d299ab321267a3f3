"""llama-swap: starts a model server, usually llama.cpp, for each model on the first request.

https://github.com/mostlygeek/llama-swap (second-hand, seen 2026-11-29): it lists the configured models; while a model loads
it may send comments.
"""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.llamacpp import THINKING
from byway.backends.vendors.vendor import Vendor

VENDOR: Final = Vendor(
    "llamaswap",
    "llama-swap",
    signup="https://github.com/mostlygeek/llama-swap",
    url="http://127.0.0.1:8080",
    schema="grammar",
    thinking=THINKING,
    forces_json=True,
    choices="words",
    format_with_tools=False,
    reasoning_field="reasoning_content",
)
