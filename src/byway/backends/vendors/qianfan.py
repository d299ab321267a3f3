"""Baidu Qianfan.

https://cloud.baidu.com/doc/qianfan-api/s/3m7of64lb (second-hand, seen 2026-11-29): the path `/v2`. The input of a tool call
may arrive cumulatively (seen 2026-11-20).
"""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import Vendor

VENDOR: Final = Vendor(
    "qianfan",
    "Baidu Qianfan",
    signup="https://console.bce.baidu.com/qianfan/ais/console/apiKey",
    group="cloud",
    url="https://qianfan.baidubce.com",
    spellings=("baidu", "ernie"),
    hosts=("qianfan.baidubce.com",),
    prefix="/v2",
    self_hosted=False,
    schema="openai",
    sampling=("temperature", "top_p"),
    stop_limit=4,
    format="json_object",
)
