"""Xiaomi MiMo."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import MessagesEndpoint, ThinkingRule, Vendor

#: The fields are the same in both APIs.
_THINKING: Final = (
    ThinkingRule(
        on={"thinking": {"type": "enabled"}}, off={"thinking": {"type": "disabled"}}, forced="off", missing="off"
    ),
)

VENDOR: Final = Vendor(
    "mimo",
    "Xiaomi MiMo",
    signup="https://platform.xiaomimimo.com",
    group="cloud",
    url="https://api.xiaomimimo.com",
    spellings=("xiaomi", "xiaomimimo"),
    hosts=("api.xiaomimimo.com", ".xiaomimimo.com"),
    messages=MessagesEndpoint("/anthropic/v1", thinking=_THINKING),
    self_hosted=False,
    schema="openai",
    sampling=("temperature", "top_p"),
    thinking=_THINKING,
    format="json_object",
    reasoning_field="reasoning_content",
    reasoning_required=True,
    overflows_silently=True,
)
"""
- https://mimo.mi.com/docs (second-hand, seen 2026-11-29): `thinking: {type}`; keys `sk-` are for the API and `tp-` for the
  plan, which has an address of its own; the Messages API below `/anthropic`.
- https://github.com/ValueCell-ai/ClawX/issues/1040 (second-hand, seen 2026-11-29): since 2026-05-12 an assistant message of a
  conversation with tools needs its `reasoning_content`; placeholders are refused.
- https://github.com/earendil-works/pi (second-hand, seen 2026-11-29): a prompt over the window is cut without an error, and
  the answer is empty.
- https://github.com/can1357/oh-my-pi (second-hand, seen 2026-11-29): an empty assistant message is refused; `json_object` only.
"""
