"""Moonshot (Kimi): the API, and the Kimi Code plan, which has an address and keys of its own."""

from __future__ import annotations

from typing import Final

import msgspec

from byway.backends.vendors.vendor import KnownModel, MessagesEndpoint, ThinkingRule, Vendor

_K3: Final = r"kimi[-/]?k(?:[3-9]|\d\d)|kimi-for-coding"
_K3_WORDS: Final = ("low", "high", "high", "max", "max")
_DISABLED: Final = {"thinking": {"type": "disabled"}}
_KEEP: Final = {"thinking": {"type": "enabled", "keep": "all"}}
#: Rules for Kimi.
THINKING: Final = (
    ThinkingRule(_K3, _K3_WORDS, off={"reasoning_effort": "low"}, missing="blank"),
    ThinkingRule(r"k2\.[7-9]|k2-thinking", on=_KEEP, off=_KEEP, forced="auto", missing="blank"),
    ThinkingRule(r"k2\.6", on=_KEEP, off=_DISABLED, forced="off", missing="blank"),
    ThinkingRule(r"k2\.5", on={"thinking": {"type": "enabled"}}, off=_DISABLED, forced="off", missing="blank"),
)

VENDOR: Final = Vendor(
    "moonshot",
    "Moonshot (Kimi)",
    signup="https://platform.moonshot.ai/console/api-keys",
    group="cloud",
    url="https://api.moonshot.ai",
    spellings=("kimi", "moonshotai"),
    hosts=("api.moonshot.ai", "api.moonshot.cn"),
    prices="moonshotai",
    twin="https://api.moonshot.cn",
    messages=MessagesEndpoint(
        "/anthropic/v1",
        thinking=(
            ThinkingRule(
                _K3,
                _K3_WORDS,
                "output_config.effort",
                on={"thinking": None},
                off={"thinking": None, "output_config.effort": "low"},
            ),
            ThinkingRule(r"k2\.[56]", forced="off"),
        ),
    ),
    self_hosted=False,
    schema="moonshot",
    sampling=(),
    stop_limit=5,
    thinking=THINKING,
    known_models=(
        KnownModel(_K3, 1_048_576),
        KnownModel(r"k2\.[5-9]|k2", 262_144),
    ),
    format="json_object",
    forces_tools=False,
    call_content="absent",
    tool_ids="kimi",
    reasoning_field="reasoning_content",
)
"""
- https://platform.kimi.ai/docs/guide/use-kimi-k2-thinking-model (second-hand, seen 2026-11-29): thinking of each model; a
  tool call without its `reasoning_content` is refused, a blank is accepted; temperature, `top_p` and penalties are fixed.
- https://github.com/MoonshotAI/kimi-code (second-hand, seen 2026-11-29): its flavour of JSON schema; the text of a message
  that only calls tools is left out; Kimi Code takes known agents only, by their user agent.
- https://huggingface.co/moonshotai/Kimi-K2-Instruct/blob/main/docs/tool_call_guidance.md (seen 2026-11-20): ids of tool calls.
- https://platform.kimi.com/docs/api/errors (second-hand, seen 2026-11-29): the regions have accounts and keys of their own.
- "tool_choice 'required' is incompatible with thinking enabled" (seen 2026-11-20); K3 accepts it.
- https://github.com/vercel/ai (second-hand, seen 2026-11-29): at most 5 stop sequences.
"""
CODE: Final = msgspec.structs.replace(
    VENDOR,
    name="kimicode",
    prices="",
    title="Kimi Code plan",
    signup="https://www.kimi.com/code",
    url="https://api.kimi.com",
    spellings=("kimiforcoding", "kimicoding", "kimicodeplan"),
    hosts=("api.kimi.com",),
    twin="",
    prefix="/coding/v1",
    key_pattern=r"^sk-kimi-",
    messages=msgspec.structs.replace(VENDOR.messages, prefix="/coding/v1") if VENDOR.messages else None,
)
