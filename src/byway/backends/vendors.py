"""Vendors: backends that speak a known protocol with quirks, one row of data each. Behaviour lives in `backends/`."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

ProtocolName = Literal["openai", "anthropic"]


class Vendor(msgspec.Struct, frozen=True):
    """What is particular to one kind of server. The defaults are the plain OpenAI-compatible server."""

    name: str
    """The value of `backends[].type`."""
    title: str
    protocol: ProtocolName = "openai"
    url: str | None = None
    """Where it is when the config gives no `url`."""
    self_hosted: bool = True
    cloud_suffixes: tuple[str, ...] = ()
    """How the names of models end that the server itself runs in a cloud."""
    managed: bool = False
    """Byway starts, watches and stops the server itself."""
    auth: Literal["bearer", "x-api-key"] = "bearer"
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    stop_limit: int | None = None
    """How many stop sequences it takes; more are left out, never a 4xx."""
    sampling: tuple[str, ...] = ("temperature", "top_p", "top_k")
    """The sampling parameters of the Messages API that it knows by the same name."""
    loads_on_demand: bool = False
    """It loads a model on the first request: be patient, and offer no verdict before."""
    thinking: Literal["none", "template", "effort", "switch", "reasoning"] = "none"
    """How it is told to think: not at all; `chat_template_kwargs`; `reasoning_effort`; `thinking: {type}`; `reasoning: {}`."""
    efforts: tuple[str, ...] = ()
    """The words for effort that it knows, from least to most."""
    effort_off: str = ""
    """Its word for no thinking, or for as little as it can."""
    effort_in_template: bool = False
    """The effort belongs among the template's arguments."""
    effort_models: str = ""
    """Which models take an effort: a pattern for their names. Others refuse it."""
    effort_models_refuse: tuple[str, ...] = ()
    """Fields that those models refuse."""
    budget_field: str = ""
    """Its name for the most tokens to think."""
    format: Literal["json_schema", "json_object", "prompt"] = "json_schema"
    """How it is told the form of an answer; `told`: in words alone."""
    format_with_tools: bool = True
    """It takes tools and a form of the answer in one request."""
    clamps_max_tokens: bool = True
    """`max_tokens` is lowered to what it says it takes. Anthropic's clients do that themselves."""
    forces_tools: bool = False
    """It keeps a forced tool choice. Elsewhere Byway looks whether a call came, and asks again when none did."""
    forces_json: bool = False
    """It obeys a JSON schema but no named tool choice: a forced call is requested as JSON at once."""
    runs_web_tools: bool = False
    """It runs the server tools `web_search_...` and `web_fetch_...` itself."""
    runs_classifier: bool = False
    """It gives the verdicts of auto mode itself."""
    thinking_as_text: bool = True
    """It may leave a model's `<think>` and its like in the text, at the start of an answer."""
    tools_as_text: bool = True
    """It may leave tool calls in the text, in the words of the model's own template."""
    description_pages: tuple[str, ...] = ()
    """The pages where it says what a model can do, the one that knows best first. A POST has `{"model": name}`."""
    count_path: str = ""
    """Where it counts the tokens of a chat request."""
    schema: Literal["open", "grammar", "openai", "plain"] = "open"
    """Which JSON schemas of tools it takes: any; those that llama.cpp makes a grammar of; those with an object at the top;
    or only the few words that Gemini knows, and llama.cpp too."""
    strict_tools: bool = False
    """It takes `strict: true` with a tool."""
    no_parallel_flag: str = ""
    """Which models call one tool at a time and refuse `parallel_tool_calls`: a pattern for their names."""
    files: bool = False
    """It takes a PDF as a part of a message. Elsewhere its text is sent."""
    reasoning_field: Literal["", "reasoning", "reasoning_content"] = ""
    """Where in an assistant message it wants that turn's reasoning back; empty: nowhere, and some servers refuse it."""
    reasoning_required: bool = False
    """It refuses an assistant message that calls tools and does not have that field."""
    tool_ids: Literal["native", "kimi", "nine", "forty"] = "native"
    """The form of tool-call ids that it takes: any; `functions.NAME:N`; nine letters and digits; at most 40 characters.
    `native`: Kimi's and Mistral's models get their form wherever they are served."""
    prefill: bool = False
    """It is told by `continue_final_message: true` to go on with an assistant message at the end."""


#: llama.cpp b11549 (run 2026-11-21). Its router of several models wants the name, and would load a model only to describe it.
_PROPS: Final = ("GET /props?model={model}&autoload=false",)
_INPUT_TOKENS: Final = "/v1/chat/completions/input_tokens"

_ROWS: Final = (
    # https://docs.vllm.ai/en/latest/features/reasoning_outputs/ and features/tool_calling/ (seen 2026-11-21): templates are told
    # by their arguments, gpt-oss by `reasoning_effort`; named and required tool choices are kept by guided decoding.
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
        # https://github.com/vllm-project/vllm/issues/38488 (seen 2026-11-21): `reasoning_content` is passed over.
        reasoning_field="reasoning",
        # https://github.com/vllm-project/vllm/pull/8942 (seen 2026-11-21).
        prefill=True,
    ),
    # https://github.com/ollama/ollama/issues/14820 and /12561 (seen 2026-11-21): a model that can think does unless told
    # "none"; any other word is an error with models that know no degrees.
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
        # https://github.com/ollama/ollama/pull/11331 (seen 2026-11-21): only a loaded model has a window; what a model was
        # trained on is no promise.
        description_pages=("GET /api/ps", "POST /api/show"),
        # https://github.com/ollama/ollama/blob/main/openai/openai.go (seen 2026-11-21).
        reasoning_field="reasoning",
    ),
    # https://github.com/ggml-org/llama.cpp tools/server/README.md (seen 2026-11-21).
    Vendor(
        "llamacpp",
        "llama.cpp",
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
        # https://github.com/ggml-org/llama.cpp/pull/21249 (seen 2026-11-21): it should come back for tool loops.
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
    Vendor("generic", "OpenAI-compatible server", sampling=("temperature", "top_p"), schema="plain"),
    # https://platform.openai.com/docs/api-reference/chat/create (seen 2026-11-20): at most 4 stop sequences, no top_k,
    # and `max_tokens` is refused by the reasoning models in favour of `max_completion_tokens`.
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
    # https://api-docs.deepseek.com/guides/thinking_mode and /api/create-chat-completion (seen 2026-11-21): a message that
    # calls tools wants its `reasoning_content` back; at most 16 stop sequences.
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
    Vendor(
        "anthropic",
        "Anthropic",
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
