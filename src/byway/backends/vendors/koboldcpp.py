"""KoboldCpp.

https://github.com/LostRuins/koboldcpp/wiki (second-hand, seen 2026-11-29): tools by its own prompt; the name of the model
is ignored; a prompt over the window is cut without an error.
"""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import Vendor

VENDOR: Final = Vendor(
    "koboldcpp",
    "KoboldCpp",
    signup="https://github.com/LostRuins/koboldcpp",
    url="http://127.0.0.1:5001",
    spellings=("kobold",),
    schema="grammar",
    choices="auto",
    overflows_silently=True,
)
