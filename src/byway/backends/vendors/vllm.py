"""vLLM."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.templates import OFF, ON
from byway.backends.vendors.vendor import MessagesEndpoint, ThinkingRule, Vendor

#: Rules for servers that pass on the template's arguments, and the effort of gpt-oss.
THINKING: Final = (
    ThinkingRule(r"gpt-oss", ("low", "medium", "high", "high", "high"), on=ON, off=OFF),
    ThinkingRule(on=ON, off=OFF),
)

VENDOR: Final = Vendor(
    "vllm",
    "vLLM",
    signup="https://docs.vllm.ai/en/latest/getting_started/quickstart",
    url="http://127.0.0.1:8000",
    messages=MessagesEndpoint("/v1", auth="bearer", counts_tokens=True, system_turns=False),
    thinking=THINKING,
    forces_tools=True,
    count_path="/tokenize",
    reasoning_field="reasoning",
    prefill=True,
)
"""
- https://docs.vllm.ai/en/latest/features/reasoning_outputs/ and features/tool_calling/ (seen 2026-11-21): arguments of the
  template set thinking, for gpt-oss `reasoning_effort`; guided decoding obeys named and required tool choices.
- https://docs.vllm.ai/en/latest/serving/openai_compatible_server (seen 2026-11-21): `/tokenize` takes `messages` and
  `tools`.
- https://github.com/vllm-project/vllm/issues/38488 (seen 2026-11-21): `reasoning_content` is ignored in favour of
  `reasoning`.
- https://github.com/vllm-project/vllm/pull/8942 (seen 2026-11-21): `continue_final_message`.
- https://docs.vllm.ai/en/latest/serving/openai_compatible_server (second-hand, seen 2026-11-29): the Messages API at the same
  address.
"""
