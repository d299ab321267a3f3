"""MiniMax."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import EFFORTS, KnownModel, MessagesEndpoint, ThinkingRule, Vendor

#: The models that always think.
_ALWAYS: Final = r"m3\.\d|m(?:[4-9]|\d\d)"

VENDOR: Final = Vendor(
    "minimax",
    "MiniMax",
    signup="https://platform.minimax.io/user-center/basic-information/interface-key",
    group="cloud",
    url="https://api.minimax.io",
    hosts=("api.minimax.io", "api.minimaxi.com"),
    prices="minimax",
    twin="https://api.minimaxi.com",
    messages=MessagesEndpoint(
        "/anthropic/v1",
        auth="bearer",
        thinking=(
            ThinkingRule(
                _ALWAYS,
                EFFORTS,
                "output_config.effort",
                on={"thinking": {"type": "adaptive"}},
                off={"thinking": None, "output_config.effort": "low"},
            ),
            ThinkingRule(on={"thinking": {"type": "adaptive"}}),
        ),
    ),
    self_hosted=False,
    max_tokens_field="max_completion_tokens",
    schema="openai",
    sampling=("temperature", "top_p"),
    temperatures=(0.01, 1.0),
    fields={"reasoning_split": True},
    thinking=(
        ThinkingRule(r"m2", ("low", "medium", "high", "high", "high"), off={"reasoning_effort": "low"}),
        ThinkingRule(_ALWAYS, EFFORTS, off={"reasoning_effort": "low"}),
        ThinkingRule(r"m3", on={"thinking": {"type": "adaptive"}}, off={"thinking": {"type": "disabled"}}),
    ),
    known_models=(
        KnownModel(r"minimax-m2", 204_800, 131_072, vision=False),
        KnownModel(r"minimax-m[3-9]", 1_000_000, 128_000),
    ),
    format="prompt",
    choices="auto",
)
"""
- https://platform.minimax.io/docs/api-reference/text-openai-api (second-hand, seen 2026-11-29): `reasoning_split: true`
  moves the thinking from the text to `reasoning_details`, which go back; temperature above 0 and at most 1.
- https://github.com/can1357/oh-my-pi (second-hand, seen 2026-11-29): exactly one system message; M2 has the efforts low,
  medium and high.
- https://platform.minimax.io/docs/api-reference/errorcode (second-hand, seen 2026-11-29): the codes in `base_resp` of an
  answer with status 200.
- https://java.agentscope.io/v2/en/integration/model/minimax (seen 2026-11-29): `max_completion_tokens`, because `max_tokens` is
  deprecated; M3 has `thinking: {type}` with adaptive and disabled, M2 always thinks.
- https://github.com/esengine/DeepSeek-Reasonix/pull/3594 (seen 2026-11-29): M3 refuses `reasoning_effort`.
- https://git.vaku.org.ua/github-mirrors/tradingagents/commit/e1316686f89692cc01a46f1389da5a51c8e1a300 (seen 2026-11-29):
  `tool_choice` is `none` or `auto`; an object is refused.
- https://qiita.com/xiongyuanmeng1006/items/3b79733b4e966b8b6074 (seen 2026-11-29): M3.1 always thinks, by default with the
  effort max. The efforts are low to max, in `reasoning_effort` or, in the Messages API, `output_config.effort`.
- https://dev.to/aihubmix/fixing-requires-adaptive-thinking-2013-when-moving-from-minimax-m27-to-m31-flash-1iif (seen
  2026-11-29): M3.1 refuses `thinking: {type: disabled}` with 2013, "requires adaptive thinking".
- Windows: models.dev (seen 2026-11-29).
"""
