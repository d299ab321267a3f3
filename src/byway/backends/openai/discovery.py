"""What chat servers say of themselves: their models, and what one model can do. Reading never depends on the vendor.

Fields and where they were seen: docs/tokens.md.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from byway.backends.protocol import ModelFacts, Target
from byway.call import Call
from byway.problems import Problem

_JSON: Final = (("content-type", "application/json"),)
#: A Modelfile's own window, in the text of Ollama's `parameters`.
_NUM_CTX: Final = re.compile(r"^num_ctx\s+(\d+)", re.MULTILINE)
_LARGEST: Final = 1 << 31


class _Model(Struct):
    """One entry of a list of models: OpenAI's, LM Studio's or Ollama's."""

    id: str = ""
    model: str = ""
    # vLLM, SGLang
    max_model_len: Any = None
    # OpenRouter, Together; Ollama's /api/ps: that of the loaded model
    context_length: Any = None
    # Groq
    context_window: Any = None
    # Byway itself
    max_input_tokens: Any = None
    # LM Studio, of a loaded model
    loaded_context_length: Any = None
    # Mistral. LM Studio means what the model was trained on.
    max_context_length: Any = None
    # llama.cpp: {n_ctx}
    meta: Any = None
    # OpenRouter: {max_completion_tokens}
    top_provider: Any = None
    # OpenRouter, llama.cpp: {input_modalities}
    architecture: Any = None
    # LM Studio: llm, vlm
    type: Any = None
    # LM Studio, Ollama: a list. Mistral: {vision, function_calling}
    capabilities: Any = None
    # OpenRouter
    supported_parameters: Any = None


class _Models(Struct):
    data: list[_Model]


class _Page(Struct):
    """Any of the pages that say what a model can do."""

    # llama.cpp's /props
    default_generation_settings: Any = None
    chat_template_caps: Any = None
    modalities: Any = None
    # Ollama's /api/show
    capabilities: Any = None
    parameters: Any = None
    # LM Studio's /api/v0/models
    data: list[_Model] = []
    # Ollama's /api/ps
    models: list[_Model] = []


def models() -> Call:
    return Call("GET", "/v1/models")


def read_models(body: bytes) -> dict[str, ModelFacts]:
    """The ids of `GET /v1/models`, each with what the list says of it; raises Problem `broken` for anything else."""
    try:
        return {model.id: _listed(model) for model in msgspec.json.decode(body, type=_Models).data if model.id}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Problem(
            "broken", "The list of models was not understood. Is the backend's `url` that of its API?"
        ) from None


def describe(target: Target) -> tuple[Call, ...]:
    """The pages that say what a model can do, the one that knows best first."""
    calls = []
    for page in target.vendor.description_pages:
        method, _, path = page.partition(" ")
        body = msgspec.json.encode({"model": target.model}) if method == "POST" else b""
        calls.append(Call(method, path.replace("{model}", quote(target.model, "")), _JSON if body else (), body))
    return tuple(calls)


def read_description(body: bytes, target: Target) -> ModelFacts:
    """The Facts of any such page; none of what it does not say."""
    try:
        page = msgspec.json.decode(body, type=_Page)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ModelFacts()
    for model in (*page.data, *page.models):
        if target.model in (model.id, model.model, model.model.removesuffix(":latest")):
            return _listed(model)
    window = _tokens(_field(page.default_generation_settings, "n_ctx"))
    if window is None and isinstance(page.parameters, str) and (found := _NUM_CTX.search(page.parameters)):
        window = _tokens(int(found[1]))
    tools, vision = _capable(page.capabilities)
    caps = _flag(_field(page.chat_template_caps, "supports_tools"))
    sees = _flag(_field(page.modalities, "vision"))
    return _facts(window, tools if caps is None else caps, vision if sees is None else sees)


def _listed(model: _Model) -> ModelFacts:
    local = model.type in ("llm", "vlm")
    window = (
        _tokens(model.max_model_len)
        or _tokens(model.context_length)
        or _tokens(model.context_window)
        or _tokens(model.max_input_tokens)
        or _tokens(model.loaded_context_length)
        or _tokens(_field(model.meta, "n_ctx"))
        or (None if local else _tokens(model.max_context_length))
    )
    tools, vision = _capable(model.capabilities)
    if local:
        vision = model.type == "vlm"
    modalities = _field(model.architecture, "input_modalities")
    if isinstance(modalities, list):
        vision = "image" in modalities
    if isinstance(model.supported_parameters, list):
        tools = "tools" in model.supported_parameters
    return _facts(window, tools, vision, _tokens(_field(model.top_provider, "max_completion_tokens")))


def _facts(window: int | None, tools: bool | None, vision: bool | None, most: int | None = None) -> ModelFacts:
    return ModelFacts(window, tools, vision, most, "backend" if window is not None else "")


def _capable(said: Any) -> tuple[bool | None, bool | None]:
    """Tools and vision, from `capabilities` as a list of words or as an object."""
    if isinstance(said, list) and "completion" in said:
        # Ollama's list is complete.
        return "tools" in said, "vision" in said
    if isinstance(said, list):
        return (True if "tool_use" in said or "tools" in said else None), (True if "vision" in said else None)
    return _flag(_field(said, "function_calling")), _flag(_field(said, "vision"))


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _tokens(value: Any) -> int | None:
    return value if type(value) is int and 0 < value < _LARGEST else None
