"""OpenAI, by chat completions and Responses."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import KnownModel, ThinkingRule, Vendor

_SAMPLING: Final = ("temperature", "top_p", "stop")
#: Rules for the models of OpenAI, at its own API and at Azure.
THINKING: Final = (
    ThinkingRule(r"\bgpt-5\.\d+-chat", ("medium",) * 5, off={"reasoning_effort": "medium"}, refuses=_SAMPLING),
    # It does not reason.
    ThinkingRule(r"\bgpt-[5-9][\w.]*-chat\b"),
    ThinkingRule(
        r"\bgpt-(?:[5-9]|\d\d)[\w.]*-pro\b",
        ("medium", "medium", "high", "xhigh", "xhigh"),
        off={"reasoning_effort": "medium"},
        refuses=_SAMPLING,
    ),
    ThinkingRule(
        r"\bgpt-(?:[6-9]|\d\d)[\w.]*-astra\b",
        ("low", "medium", "high", "xhigh", "max"),
        off={"reasoning_effort": "low"},
        refuses=_SAMPLING,
    ),
    ThinkingRule(
        r"\bgpt-(?:5\.[6-9]|5\.\d\d|[6-9]|\d\d)",
        ("low", "medium", "high", "xhigh", "max"),
        off={"reasoning_effort": "none"},
        refuses_thinking=_SAMPLING,
        tools_off=True,
    ),
    ThinkingRule(
        r"\bgpt-5\.[2-5]",
        ("low", "medium", "high", "xhigh", "xhigh"),
        off={"reasoning_effort": "none"},
        refuses_thinking=_SAMPLING,
        tools_off=True,
    ),
    ThinkingRule(
        r"\bgpt-5\.1",
        ("low", "medium", "high", "high", "high"),
        off={"reasoning_effort": "none"},
        refuses_thinking=_SAMPLING,
    ),
    ThinkingRule(
        r"\bgpt-5-codex", ("low", "medium", "high", "high", "high"), off={"reasoning_effort": "low"}, refuses=_SAMPLING
    ),
    ThinkingRule(
        r"\bgpt-5", ("low", "medium", "high", "high", "high"), off={"reasoning_effort": "minimal"}, refuses=_SAMPLING
    ),
    ThinkingRule(
        r"^o\d|gpt-oss", ("low", "medium", "high", "high", "high"), off={"reasoning_effort": "low"}, refuses=_SAMPLING
    ),
)
#: The window counts the prompt: https://developers.openai.com/api/docs/models (second-hand, seen 2026-11-29).
KNOWN_MODELS: Final = (
    KnownModel(r"\bgpt-5\.[4-6](?!-codex)", 922_000, 128_000),
    KnownModel(r"\bgpt-5(?!\S*chat)", 272_000, 128_000),
)

#: The models that are called by Responses.
RESPONSES_MODELS: Final = (
    r"\bgpt-(?:5\.(?:[4-9]|\d\d)|[6-9]|[1-9]\d)(?!\S*chat)|\bgpt-\S*-codex|^codex-|^(?:o\d|gpt-[5-9])\S*-pro\b"
)

VENDOR: Final = Vendor(
    "openai",
    "OpenAI",
    signup="https://platform.openai.com/api-keys",
    group="cloud",
    url="https://api.openai.com",
    hosts=("api.openai.com",),
    prices="openai",
    self_hosted=False,
    max_tokens_field="max_completion_tokens",
    schema="openai",
    strict_tools=True,
    strict_formats=".",
    tool_ids="forty",
    no_parallel_flag=r"^o\d",
    stop_limit=4,
    max_tools=128,
    sampling=("temperature", "top_p"),
    thinking=THINKING,
    known_models=KNOWN_MODELS,
    forces_tools=True,
    thinking_as_text=False,
    tools_as_text=False,
    files=True,
    responses_models=RESPONSES_MODELS,
    responses_extras=True,
)
"""
- https://platform.openai.com/docs/api-reference/chat/create (seen 2026-11-20): at most 4 stop sequences and 128 tools, no
  `top_k`; reasoning models refuse `max_tokens` and accept `max_completion_tokens`.
- https://platform.openai.com/docs/guides/structured-outputs (second-hand, seen 2026-12-01): without `strict: true` the schema
  of a `response_format` is not enforced.
- https://developers.openai.com/api/docs/guides/reasoning (second-hand, seen 2026-11-29): the efforts of each model.
- https://github.com/openai/openai-openapi/issues/541 (second-hand, seen 2026-11-29): from gpt-5.4 on, chat completions
  accept tools only with the effort `none`; gpt-5.6 reasons unless it is sent. gpt-6-astra has no `none`. Responses accept
  both together.
- https://developers.openai.com/api/docs/models (second-hand, seen 2026-11-29): Codex and Pro models have Responses alone.
- https://github.com/pydantic/pydantic-ai (second-hand, seen 2026-11-29): sampling is accepted again without reasoning from
  gpt-5.1 on.
- https://developers.openai.com/api/docs/guides/file-inputs (seen 2026-11-21): PDF only, and no URL of one.
- https://github.com/run-llama/llama_index/issues/20865 (seen 2026-11-21): reasoning models of the o series refuse
  `parallel_tool_calls`.
- An id of over 40 characters is refused: "string too long. Expected a string with maximum length 40".
"""
