"""Google's Gemini API, in its OpenAI-compatible form."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import KnownModel, ThinkingRule, Vendor

_WORDS: Final = ("low", "medium", "high", "high", "high")
_LOW: Final = {"reasoning_effort": "low"}
#: Rules for Gemini.
THINKING: Final = (
    ThinkingRule(r"gemini-2\.5-pro", _WORDS, off=_LOW),
    ThinkingRule(r"gemini-2\.5", _WORDS, off={"reasoning_effort": "none"}),
    ThinkingRule(r"gemini-3(?:\.[0-6])?-flash", _WORDS, off={"reasoning_effort": "minimal"}, missing="sentinel"),
    ThinkingRule(r"gemini-3-pro", ("low", "low", "high", "high", "high"), off=_LOW, missing="sentinel"),
    ThinkingRule(r"gemini-(?:[3-9]|\d\d)", _WORDS, off=_LOW, missing="sentinel"),
)

VENDOR: Final = Vendor(
    "gemini",
    "Google Gemini",
    signup="https://aistudio.google.com/apikey",
    group="cloud",
    url="https://generativelanguage.googleapis.com",
    spellings=("google", "googleai", "googlegemini"),
    hosts=("generativelanguage.googleapis.com",),
    prices="google",
    prefix="/v1beta/openai",
    self_hosted=False,
    schema="plain",
    stop_limit=5,
    sampling=("temperature", "top_p"),
    parallel_field="",
    thinking=THINKING,
    reasons_in_total=True,
    known_models=(KnownModel(r"gemini-(?:2\.5|[3-9]|\d\d)", 1_048_576, 65_536, vision=True),),
    forces_tools=True,
    tools_as_text=False,
)
"""
- https://ai.google.dev/gemini-api/docs/openai (second-hand, seen 2026-11-29): the path `/v1beta/openai`; `reasoning_effort`.
- https://ai.google.dev/gemini-api/docs/thinking (second-hand, seen 2026-11-29): 2.5 Flash stops thinking with `none`, 3 and
  later cannot stop, Flash from 3.7 on refuses `minimal`; 3 Pro has low and high, 3.1 Pro medium too.
- https://ai.google.dev/gemini-api/docs/thinking (second-hand, seen 2026-12-01): thoughts are billed as output; in a stream only
  `total_tokens` counts them.
- https://ai.google.dev/gemini-api/docs/thought-signatures (seen 2026-11-20): the first call of each step needs its
  `thought_signature`; a history of another model may carry a sentinel.
- https://ai.google.dev/api/caching#Schema (seen 2026-11-21): the subset of JSON schema. Unknown fields are refused.
- https://ai.google.dev/gemini-api/docs/models (second-hand, seen 2026-11-29): windows.
"""
