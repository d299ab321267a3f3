"""Vendors: the kinds of server that speak a known protocol, one row each. Everything particular to a vendor is in its row.

A row is the only place that names a vendor: lists of types, titles, addresses, secrets and spellings are derived from it.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

ProtocolName = Literal["openai", "anthropic"]


class Vendor(msgspec.Struct, frozen=True):
    """One kind of server. The defaults are those of a plain OpenAI-compatible server."""

    name: str
    """The value of `backends[].type`."""
    title: str
    protocol: ProtocolName = "openai"
    url: str | None = None
    """The address when the config gives none; None: the config must."""
    spellings: tuple[str, ...] = ()
    """Other values of `type` that mean this vendor: lower case letters and digits only."""
    self_hosted: bool = True
    cloud_suffixes: tuple[str, ...] = ()
    """The ends of the names of models that a self-hosted server runs in a cloud."""
    managed: bool = False
    """Byway starts, watches and stops the server itself."""
    auth: Literal["bearer", "x-api-key"] = "bearer"
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    stop_limit: int | None = None
    """The most stop sequences that it accepts. More are left out, because it would refuse the request."""
    sampling: tuple[str, ...] = ("temperature", "top_p", "top_k")
    """The sampling parameters of the Messages API that it accepts under the same name."""
    loads_on_demand: bool = False
    """It loads a model on the first request, which may take minutes."""
    thinking: Literal["none", "template", "effort", "switch", "reasoning"] = "none"
    """The setting for thinking: none; `chat_template_kwargs`; `reasoning_effort`; `thinking: {type}`; `reasoning: {}`."""
    efforts: tuple[str, ...] = ()
    """The values of effort that it accepts, from the least to the most."""
    effort_off: str = ""
    """The value of effort for no thinking, or for the least."""
    effort_in_template: bool = False
    """The effort is an argument of the template."""
    effort_models: str = ""
    """The models that accept an effort: a pattern for their names. Others refuse it."""
    effort_models_refuse: tuple[str, ...] = ()
    """The fields that those models refuse."""
    budget_field: str = ""
    """The field for the most tokens of thinking."""
    format: Literal["json_schema", "json_object", "prompt"] = "json_schema"
    """The setting for the format of an answer; `prompt`: only an instruction in the prompt."""
    format_with_tools: bool = True
    """It accepts tools and a format of the answer in one request."""
    clamps_max_tokens: bool = True
    """Byway lowers `max_tokens` to the limit that the server names. The clients of Anthropic do that themselves."""
    forces_tools: bool = False
    """It obeys a forced tool choice. Elsewhere Byway checks that a call came, and requests it again when none did."""
    forces_json: bool = False
    """It obeys a JSON schema but no named tool choice: a forced call is requested as JSON at once."""
    runs_web_tools: bool = False
    """It runs the server tools `web_search_...` and `web_fetch_...` itself."""
    runs_classifier: bool = False
    """It returns the verdicts of auto mode itself."""
    thinking_as_text: bool = True
    """It may leave thinking in the text, such as `<think>` at the start of an answer."""
    tools_as_text: bool = True
    """It may leave tool calls in the text, in the form of the model's template."""
    description_pages: tuple[str, ...] = ()
    """The pages that describe a model, the best one first. The body of a POST is `{"model": name}`."""
    count_path: str = ""
    """The path that counts the tokens of a chat request."""
    schema: Literal["open", "grammar", "openai", "plain"] = "open"
    """The JSON schemas of tools that it accepts: any; those that llama.cpp can convert to a grammar; those with an object at
    the top; or only the keywords that both Gemini and llama.cpp know."""
    strict_tools: bool = False
    """It accepts `strict: true` with a tool."""
    no_parallel_flag: str = ""
    """The models that call one tool at a time and refuse `parallel_tool_calls`: a pattern for their names."""
    files: bool = False
    """It accepts a PDF as a part of a message. Other servers get its text."""
    reasoning_field: Literal["", "reasoning", "reasoning_content"] = ""
    """The field of an assistant message for the reasoning of that turn; empty: none, and some servers refuse it."""
    reasoning_required: bool = False
    """It refuses an assistant message that calls tools and lacks that field."""
    tool_ids: Literal["native", "kimi", "nine", "forty"] = "native"
    """The form of tool-call ids that it accepts: any; `functions.NAME:N`; nine letters and digits; at most 40 characters.
    `native`: models of Kimi and Mistral get their form wherever they are served."""
    prefill: bool = False
    """`continue_final_message: true` makes it continue an assistant message at the end."""


#: llama.cpp b11549 (run 2026-11-21). Its router of several models needs the name, and would load a model only to describe it.
_PROPS: Final = ("GET /props?model={model}&autoload=false",)
_INPUT_TOKENS: Final = "/v1/chat/completions/input_tokens"

_ROWS: Final = (
    # https://docs.vllm.ai/en/latest/features/reasoning_outputs/ and features/tool_calling/ (seen 2026-11-21): arguments of the
    # template set thinking, for gpt-oss `reasoning_effort`; guided decoding obeys named and required tool choices.
    Vendor(
        "vllm",
        "vLLM",
        url="http://127.0.0.1:8000",
        thinking="template",
        efforts=("low", "medium", "high"),
        effort_models="gpt-oss",
        forces_tools=True,
        # https://docs.vllm.ai/en/latest/serving/openai_compatible_server (seen 2026-11-21): `messages` and `tools`.
        count_path="/tokenize",
        # https://github.com/vllm-project/vllm/issues/38488 (seen 2026-11-21): `reasoning_content` is ignored.
        reasoning_field="reasoning",
        # https://github.com/vllm-project/vllm/pull/8942 (seen 2026-11-21).
        prefill=True,
    ),
    # https://github.com/ollama/ollama/issues/14820 and /12561 (seen 2026-11-21): a model that can think does so
    # unless the effort is "none"; any other value is an error for models without efforts.
    Vendor(
        "ollama",
        "Ollama",
        url="http://127.0.0.1:11434",
        schema="grammar",
        # https://docs.ollama.com/cloud (seen 2026-11-29): `gpt-oss:120b-cloud`, `glm-4.6:cloud`.
        cloud_suffixes=("-cloud", ":cloud"),
        loads_on_demand=True,
        thinking="effort",
        effort_off="none",
        effort_models=".",
        # https://github.com/ollama/ollama/pull/11331 (seen 2026-11-21): only a loaded model has a window, which is often
        # smaller than that of its training.
        description_pages=("GET /api/ps", "POST /api/show"),
        # https://github.com/ollama/ollama/blob/main/openai/openai.go (seen 2026-11-21).
        reasoning_field="reasoning",
    ),
    # https://github.com/ggml-org/llama.cpp tools/server/README.md (seen 2026-11-21).
    Vendor(
        "llamacpp",
        "llama.cpp",
        spellings=("llamacppserver", "llamaserver"),
        url="http://127.0.0.1:8080",
        schema="grammar",
        description_pages=_PROPS,
        count_path=_INPUT_TOKENS,
        thinking="template",
        efforts=("low", "medium", "high"),
        effort_in_template=True,
        effort_models="gpt-oss",
        budget_field="thinking_budget_tokens",
        forces_json=True,
        format_with_tools=False,
        # https://github.com/ggml-org/llama.cpp/pull/21249 (seen 2026-11-21): tool loops need it.
        reasoning_field="reasoning_content",
    ),
    Vendor(
        "lmstudio",
        "LM Studio",
        url="http://127.0.0.1:1234",
        schema="grammar",
        loads_on_demand=True,
        # https://lmstudio.ai/docs/developer/rest/endpoints (seen 2026-11-21)
        description_pages=("GET /api/v0/models",),
    ),
    Vendor("mlxcel", "MLXcel", thinking="template"),
    Vendor(
        "generic",
        "OpenAI-compatible server",
        spellings=("openaicompatible", "openaicompat", "localai"),
        sampling=("temperature", "top_p"),
        schema="plain",
    ),
    # https://platform.openai.com/docs/api-reference/chat/create (seen 2026-11-20): at most 4 stop sequences, no top_k,
    # and reasoning models refuse `max_tokens` and accept `max_completion_tokens`.
    Vendor(
        "openai",
        "OpenAI",
        url="https://api.openai.com",
        self_hosted=False,
        max_tokens_field="max_completion_tokens",
        schema="openai",
        strict_tools=True,
        # OpenAI refuses a longer one: "string too long. Expected a string with maximum length 40".
        tool_ids="forty",
        # https://github.com/run-llama/llama_index/issues/20865 (seen 2026-11-21).
        no_parallel_flag=r"^o\d",
        stop_limit=4,
        sampling=("temperature", "top_p"),
        thinking="effort",
        efforts=("low", "medium", "high"),
        effort_off="low",
        effort_models=r"^(o\d|gpt-5)",
        effort_models_refuse=("temperature", "top_p", "stop"),
        forces_tools=True,
        thinking_as_text=False,
        tools_as_text=False,
        # https://developers.openai.com/api/docs/guides/file-inputs (seen 2026-11-21): PDF only, and no URL of one.
        files=True,
    ),
    # https://api-docs.deepseek.com/guides/thinking_mode and /api/create-chat-completion (seen 2026-11-21): a message
    # that calls tools needs its `reasoning_content`; at most 16 stop sequences.
    Vendor(
        "deepseek",
        "DeepSeek",
        schema="openai",
        url="https://api.deepseek.com",
        self_hosted=False,
        stop_limit=16,
        sampling=("temperature", "top_p"),
        thinking="switch",
        format="json_object",
        thinking_as_text=False,
        tools_as_text=False,
        reasoning_field="reasoning_content",
        reasoning_required=True,
    ),
    # https://openrouter.ai/docs/quickstart (seen 2026-11-21): OpenAI's API below /api/v1, for models of any kind.
    Vendor(
        "openrouter",
        "OpenRouter",
        url="https://openrouter.ai/api",
        self_hosted=False,
        sampling=("temperature", "top_p"),
        schema="plain",
    ),
    Vendor(
        "anthropic",
        "Anthropic",
        spellings=("claude",),
        protocol="anthropic",
        url="https://api.anthropic.com",
        self_hosted=False,
        auth="x-api-key",
        clamps_max_tokens=False,
        forces_tools=True,
        runs_web_tools=True,
        runs_classifier=True,
    ),
    Vendor(
        "builtin",
        "run by Byway",
        managed=True,
        schema="grammar",
        thinking="template",
        forces_json=True,
        format_with_tools=False,
        description_pages=_PROPS,
        count_path=_INPUT_TOKENS,
        reasoning_field="reasoning_content",
    ),
)

VENDORS: Final[dict[str, Vendor]] = {row.name: row for row in _ROWS}
#: The type that each other spelling means.
SPELLINGS: Final[dict[str, str]] = {spelling: row.name for row in _ROWS for spelling in row.spellings}
