"""mlx-lm and mlx-vlm.

https://github.com/ml-explore/mlx-lm/blob/main/mlx_lm/SERVER.md (second-hand, seen 2026-11-29): no forced tool choice, and
no error for a prompt over the window. https://github.com/ml-explore/mlx-lm/pull/821 (second-hand, seen 2026-11-29): Kimi's
ids.
"""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.templates import OFF, ON
from byway.backends.vendors.vendor import ThinkingRule, Vendor

VENDOR: Final = Vendor(
    "mlx",
    "MLX",
    signup="https://github.com/ml-explore/mlx-lm",
    url="http://127.0.0.1:8080",
    spellings=("mlxlm", "mlxvlm"),
    thinking=(ThinkingRule(on=ON, off=OFF),),
    choices="auto",
    format="prompt",
)
