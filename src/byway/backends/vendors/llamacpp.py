"""llama.cpp's server, and the one that Byway runs itself."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.templates import OFF, ON
from byway.backends.vendors.vendor import MessagesEndpoint, ThinkingRule, Vendor

_PROPS: Final = ("GET /props?model={model}&autoload=false",)
_INPUT_TOKENS: Final = "/v1/chat/completions/input_tokens"
#: Rules for the templates of models that llama.cpp runs.
THINKING: Final = (
    ThinkingRule(
        r"gpt-oss",
        ("low", "medium", "high", "high", "high"),
        "chat_template_kwargs.reasoning_effort",
        on=ON,
        off=OFF,
        budget_field="thinking_budget_tokens",
    ),
    ThinkingRule(on=ON, off=OFF, budget_field="thinking_budget_tokens"),
)

VENDOR: Final = Vendor(
    "llamacpp",
    "llama.cpp",
    signup="https://github.com/ggml-org/llama.cpp",
    spellings=("llamacppserver", "llamaserver"),
    url="http://127.0.0.1:8080",
    messages=MessagesEndpoint("/v1", auth="bearer", counts_tokens=True),
    schema="grammar",
    description_pages=_PROPS,
    count_path=_INPUT_TOKENS,
    thinking=THINKING,
    forces_json=True,
    choices="words",
    format_with_tools=False,
    reasoning_field="reasoning_content",
)
"""
- https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md (seen 2026-11-21): arguments of the template set
  thinking; its router of several models needs the name, and would load a model only to describe it (run with b11549,
  2026-11-21).
- https://github.com/ggml-org/llama.cpp/pull/21249 (seen 2026-11-21): tool loops need `reasoning_content` back.
- https://github.com/can1357/oh-my-pi (second-hand, seen 2026-11-29): some versions refuse a named tool choice and accept
  `required`.
- https://github.com/ggml-org/llama.cpp/pull/17570 (second-hand, seen 2026-11-29): the Messages API at the same address, with
  `count_tokens`.
"""
BUILTIN: Final = Vendor(
    "builtin",
    "run by Byway",
    managed=True,
    schema="grammar",
    thinking=(ThinkingRule(on=ON, off=OFF),),
    forces_json=True,
    choices="words",
    format_with_tools=False,
    description_pages=_PROPS,
    count_path=_INPUT_TOKENS,
    reasoning_field="reasoning_content",
)
