"""new-api and one-api: gateways with channels to many vendors.

https://github.com/QuantumNous/new-api (second-hand, seen 2026-11-29): the usual port is 3000; a model without a channel is
503 "No available channel for model"; the Messages API at the same address.
"""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import MessagesEndpoint, Vendor

VENDOR: Final = Vendor(
    "newapi",
    "new-api / one-api",
    signup="https://github.com/QuantumNous/new-api",
    group="gateway",
    url="http://127.0.0.1:3000",
    spellings=("oneapi",),
    messages=MessagesEndpoint("/v1"),
    sampling=("temperature", "top_p"),
    schema="plain",
)
