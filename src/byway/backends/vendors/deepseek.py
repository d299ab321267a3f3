"""DeepSeek."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import KnownModel, MessagesEndpoint, ThinkingRule, Vendor

_WORDS: Final = ("low", "high", "high", "high", "max")

VENDOR: Final = Vendor(
    "deepseek",
    "DeepSeek",
    signup="https://platform.deepseek.com/api_keys",
    group="cloud",
    url="https://api.deepseek.com",
    hosts=("api.deepseek.com",),
    prices="deepseek",
    messages=MessagesEndpoint(
        "/anthropic/v1",
        system_turns=False,
        thinking=(ThinkingRule(words=_WORDS, field="output_config.effort", forced="off", missing="off"),),
    ),
    self_hosted=False,
    schema="openai",
    stop_limit=16,
    max_tools=128,
    sampling=("temperature", "top_p"),
    thinking=(
        ThinkingRule(
            words=_WORDS,
            on={"thinking": {"type": "enabled"}},
            off={"thinking": {"type": "disabled"}},
            forced="off",
            missing="off",
        ),
    ),
    known_models=(
        KnownModel(r"v4.*flash|^deepseek-flash", 1_000_000, 393_216),
        KnownModel(r"v4|^deepseek-(?:chat|reasoner)", 1_000_000, 393_216, vision=False),
    ),
    format="json_object",
    thinking_as_text=False,
    tools_as_text=False,
    call_content="empty",
    reasoning_field="reasoning_content",
    reasoning_required=True,
)
"""
- https://api-docs.deepseek.com/guides/thinking_mode (second-hand, seen 2026-11-29): `thinking: {type}`, on by default;
  efforts low, high and max; a message that calls tools needs its `reasoning_content`, word for word, in all later turns. A
  placeholder is refused, so thinking is turned off for a history of another model.
- https://api-docs.deepseek.com/api/create-chat-completion (seen 2026-11-21): at most 16 stop sequences; `json_object` only.
- A forced tool choice is refused while it thinks: "Thinking mode does not support this tool_choice" (seen 2026-11-20).
- v4-pro and the chat route take text only: "unknown variant `image_url`, expected `text`" (seen 2026-11-20).
- https://github.com/can1357/oh-my-pi (second-hand, seen 2026-11-29): `content` beside tool calls must be a text; the
  longest answer is 393,216 tokens.
- https://api-docs.deepseek.com/guides/anthropic_api (second-hand, seen 2026-11-29): the Messages API below `/anthropic`,
  without `count_tokens` and without messages of the role `system`.
"""
