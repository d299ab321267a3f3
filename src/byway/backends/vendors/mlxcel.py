"""MLXcel."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.templates import OFF, ON
from byway.backends.vendors.vendor import ThinkingRule, Vendor

VENDOR: Final = Vendor("mlxcel", "MLXcel", thinking=(ThinkingRule(on=ON, off=OFF),))
