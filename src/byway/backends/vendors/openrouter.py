"""OpenRouter: models of many makers behind one API."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import MessagesEndpoint, ThinkingRule, Vendor

_WORDS: Final = ("low", "medium", "high", "xhigh", "max")
_MANDATORY: Final = (
    r"gemini-(?:[3-9]|2\.5-pro)|/o\d|gpt-oss|gpt-5(?!\.|\S*chat)|-astra|grok-(?:4\.[5-9]|[5-9])|minimax-m2|kimi-k(?:[3-9]|2\.7)"
    r"|glm-5\.[3-9]|-r1\b|thinking|qwq"
)

VENDOR: Final = Vendor(
    "openrouter",
    "OpenRouter",
    signup="https://openrouter.ai/settings/keys",
    group="gateway",
    url="https://openrouter.ai/api",
    hosts=("openrouter.ai", "eu.openrouter.ai"),
    prices="openrouter",
    messages=MessagesEndpoint("/v1", auth="bearer"),
    self_hosted=False,
    sampling=("temperature", "top_p"),
    schema="plain",
    strict_formats=".",
    thinking=(
        ThinkingRule(r"gemini", _WORDS, "reasoning.effort", off={"reasoning": {"effort": "low"}}, missing="text"),
        ThinkingRule(
            rf"(?:{_MANDATORY})", _WORDS, "reasoning.effort", off={"reasoning": {"effort": "low"}}, missing="blank"
        ),
        ThinkingRule(
            r"deepseek|kimi|moonshot|mimo|glm|qwen",
            _WORDS,
            "reasoning.effort",
            off={"reasoning": {"effort": "none"}},
            missing="blank",
        ),
        ThinkingRule("", _WORDS, "reasoning.effort", off={"reasoning": {"effort": "none"}}),
    ),
    reasoning_field="reasoning",
)
"""
- https://openrouter.ai/docs/quickstart (seen 2026-11-21): OpenAI's API below /api/v1.
- https://openrouter.ai/docs/use-cases/reasoning-tokens (seen 2026-11-29): `reasoning: {effort}` with `max`, `xhigh`, `high`,
  `medium`, `low`, `minimal`, `none`; models whose reasoning is mandatory refuse `none`; `reasoning_details` go back unchanged
  and in order.
- https://openrouter.ai/docs/structured-outputs (seen 2026-12-01): the schema of an answer has `strict: true`.
- Gemini 3 behind it refuses a tool call whose encrypted entry is missing (seen 2026-11-20).
- https://github.com/can1357/oh-my-pi (second-hand, seen 2026-11-29): other thinking models accept a placeholder.
- https://openrouter.ai/docs/guides/claude-code-integration (second-hand, seen 2026-11-29): the Messages API at the same
  address, with a bearer token.
"""
