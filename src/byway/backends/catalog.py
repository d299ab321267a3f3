"""Reads the list of models of any server: the models, and what the list reports of each. The same for every protocol.

The forms are those of OpenAI, Anthropic, Google, OpenRouter, Together, Groq, Mistral, Moonshot, GitHub Copilot, LiteLLM, Ollama,
LM Studio, llama.cpp, vLLM, Cloudflare and Cohere (seen 2026-11-29; fields: docs/tokens.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from byway.backends.protocol import ModelFacts
from byway.call import Call
from byway.decoding import DECODE_ERRORS
from byway.problems import Problem

_LARGEST: Final = 1 << 31
_MAX_DESCRIPTION: Final = 300
#: Patterns stand for models that the list does not name, as LiteLLM's `openai/*` does.
_PATTERN: Final = re.compile(r"[*?]")
#: Characters of a model's name. Real ones have up to 150.
_LONGEST_NAME: Final = 1000
#: Google's prefix. A path such as `models/7B/model.gguf` is a name of llama.cpp and stays.
_GOOGLE: Final = re.compile(r"\Amodels/([^/]+)\Z")
_FILE: Final = re.compile(r"\.(?:gguf|bin|safetensors)\Z", re.IGNORECASE)


class ListedModel(Struct):
    """One entry of a list of models, in any form. Every field may have any type."""

    # OpenAI and most; Google, Cloudflare; Ollama, OpenAI's older clones; LM Studio
    id: Any = None
    name: Any = None
    model: Any = None
    key: Any = None
    display_name: Any = None
    displayName: Any = None
    description: Any = None
    # vLLM, SGLang
    max_model_len: Any = None
    # OpenRouter, Together, Moonshot; Ollama's /api/ps: that of the loaded model
    context_length: Any = None
    # Groq
    context_window: Any = None
    # Anthropic, LiteLLM, Byway itself
    max_input_tokens: Any = None
    # Google
    inputTokenLimit: Any = None
    # TabbyAPI
    max_seq_len: Any = None
    # LM Studio, of a loaded model
    loaded_context_length: Any = None
    # Mistral. LM Studio: what the model was trained on.
    max_context_length: Any = None
    # llama.cpp: {n_ctx}
    meta: Any = None
    # LiteLLM's /model/info: the fields of this struct
    model_info: Any = None
    # OpenRouter: {max_completion_tokens}
    top_provider: Any = None
    # Groq; Anthropic; Google; LiteLLM
    max_completion_tokens: Any = None
    max_tokens: Any = None
    outputTokenLimit: Any = None
    max_output_tokens: Any = None
    max_output_length: Any = None
    # OpenRouter, llama.cpp: {input_modalities, modality}; xAI has the list at the top
    architecture: Any = None
    input_modalities: Any = None
    modalities: Any = None
    # LM Studio: llm, vlm
    type: Any = None
    # Ollama, LM Studio: a list. Mistral: {vision, function_calling}. Copilot: {limits, supports}
    capabilities: Any = None
    features: Any = None
    # OpenRouter
    supported_parameters: Any = None
    # Moonshot; LiteLLM
    supports_image_in: Any = None
    supports_vision: Any = None
    supports_tools: Any = None
    supports_function_calling: Any = None
    # OpenRouter: {prompt, completion} for a token. Together: {input, output} for a million
    pricing: Any = None
    # LiteLLM: for a token
    input_cost_per_token: Any = None
    output_cost_per_token: Any = None


class _ModelPage(Struct):
    """The members of a list of models, under any of its names."""

    data: Any = None
    models: Any = None
    result: Any = None
    # Vertex
    publisherModels: Any = None
    # The next page: Anthropic and OpenAI; Google; Cohere
    has_more: Any = None
    last_id: Any = None
    nextPageToken: Any = None
    next_page_token: Any = None


_decode_page: Final = msgspec.json.Decoder(_ModelPage).decode
_decode: Final = msgspec.json.Decoder().decode


def read_models(body: bytes) -> dict[str, ModelFacts]:
    """Return the models of a list by name, each with what the list reports of it. Raises Problem `broken` for another body.

    Entries without a printable name, and patterns such as `openai/*`, are left out. The first of two entries with one name
    counts.
    """
    models: dict[str, ModelFacts] = {}
    for name, model in _named(_members(body)):
        if name not in models:
            models[name] = facts_of(model)
    return models


def next_page(first: Call, body: bytes) -> Call | None:
    """Return the call for the page after `body`; None at the end. `first` is the call for the first page."""
    try:
        page = _decode_page(body)
    except DECODE_ERRORS:
        return None
    if page.has_more is True and isinstance(page.last_id, str):
        # Anthropic: `after_id`. OpenAI: `after`. A server ignores the other one.
        query = f"after_id={quote(page.last_id, '')}&after={quote(page.last_id, '')}"
    elif isinstance(page.nextPageToken, str) and page.nextPageToken:
        query = f"pageToken={quote(page.nextPageToken, '')}"
    elif isinstance(page.next_page_token, str) and page.next_page_token:
        query = f"page_token={quote(page.next_page_token, '')}"
    else:
        return None
    return msgspec.structs.replace(first, path=f"{first.path}{'&' if '?' in first.path else '?'}{query}")


def _members(body: bytes) -> list[Any]:
    try:
        value = _decode(body)
    except DECODE_ERRORS:
        value = None
    if isinstance(value, dict):
        for name in ("data", "models", "result", "publisherModels"):
            members = value.get(name)
            if isinstance(members, list):
                return members
            if isinstance(members, dict):
                # By name.
                return [{"id": id, **fields} if isinstance(fields, dict) else id for id, fields in members.items()]
        if "data" in value and value["data"] is None:
            return []
    if isinstance(value, list):
        return value
    raise Problem(
        "broken",
        "The list of models cannot be read. Check that the backend's `url` is that of its API, and its `type` the right one.",
    )


def _named(members: list[Any]) -> Iterator[tuple[str, ListedModel]]:
    for member in members:
        if isinstance(member, str):
            model = ListedModel(id=member)
        else:
            try:
                model = msgspec.convert(member, ListedModel)
            except msgspec.ValidationError:
                continue
        for given in (model.id, model.name, model.model, model.key):
            if isinstance(given, str) and given:
                name = _GOOGLE.sub(r"\1", given) if not _FILE.search(given) else given
                if len(name) <= _LONGEST_NAME and name.isprintable() and not _PATTERN.search(name):
                    yield name, model
                break


def facts_of(model: ListedModel) -> ModelFacts:
    """Return what one entry of a list reports."""
    is_local = model.type in ("llm", "vlm")
    limits = _field(model.capabilities, "limits")
    info = model.model_info
    window = _first(
        model.max_model_len,
        model.context_length,
        model.context_window,
        model.max_input_tokens,
        model.inputTokenLimit,
        model.loaded_context_length,
        model.max_seq_len,
        _field(model.meta, "n_ctx"),
        None if is_local else model.max_context_length,
        _field(limits, "max_prompt_tokens"),
        _field(limits, "max_context_window_tokens"),
        _field(info, "max_input_tokens"),
    )
    max_output = _first(
        _field(model.top_provider, "max_completion_tokens"),
        model.max_completion_tokens,
        model.outputTokenLimit,
        model.max_output_tokens,
        model.max_output_length,
        # Elsewhere `max_tokens` may be the window.
        model.max_tokens if tokens(model.max_input_tokens) else None,
        _field(limits, "max_output_tokens"),
        _field(info, "max_output_tokens"),
    )
    tools, vision = capabilities_of(model.capabilities)
    listed_tools, listed_vision = capabilities_of(model.features)
    supports = _field(model.capabilities, "supports")
    tools = _known(
        "tools" in model.supported_parameters if isinstance(model.supported_parameters, list) else None,
        model.supports_tools,
        model.supports_function_calling,
        _field(supports, "tool_calls"),
        _field(info, "supports_function_calling"),
        tools,
        listed_tools,
    )
    vision = _known(
        _sees(_field(model.architecture, "input_modalities")),
        _sees(model.input_modalities),
        _sees(_field(model.modalities, "input") or model.modalities),
        "image" in modality.partition("->")[0]
        if isinstance(modality := _field(model.architecture, "modality"), str)
        else None,
        model.type == "vlm" if is_local else None,
        model.supports_image_in,
        model.supports_vision,
        _field(supports, "vision"),
        _field(info, "supports_vision"),
        vision,
        listed_vision,
    )
    input_price, output_price = _prices(model)
    description = model.description if isinstance(model.description, str) else ""
    return ModelFacts(
        window,
        tools,
        vision,
        max_output,
        "backend" if window is not None else "",
        " ".join(description[: 2 * _MAX_DESCRIPTION].split())[:_MAX_DESCRIPTION],
        input_price,
        output_price,
    )


def capabilities_of(value: Any) -> tuple[bool | None, bool | None]:
    """Return whether the model has tools and vision, from `capabilities` as a list of words or as an object."""
    if isinstance(value, list) and "completion" in value:
        # Ollama's list is complete.
        return "tools" in value, "vision" in value
    if isinstance(value, list):
        words = {word.lower().replace("-", "_") for word in value[:100] if isinstance(word, str)}
        tools = not words.isdisjoint(("tools", "tool_use", "tool_calls", "tool_calling", "function_calling"))
        return tools or None, not words.isdisjoint(("vision", "image", "images", "image_input")) or None
    return (
        _known(_field(value, "function_calling"), _field(value, "tool_calls"), _field(value, "tools")),
        _known(_field(value, "vision"), _field(value, "image_input")),
    )


def tokens(value: Any) -> int | None:
    """Return `value` when it is a plausible number of tokens."""
    return value if type(value) is int and 0 < value < _LARGEST else None


def _prices(model: ListedModel) -> tuple[float | None, float | None]:
    """US dollars for a million tokens of input and of output."""
    token = (_field(model.pricing, "prompt"), _field(model.pricing, "completion"))
    if token == (None, None):
        token = (model.input_cost_per_token, model.output_cost_per_token)
    if token == (None, None):
        token = (_field(model.model_info, "input_cost_per_token"), _field(model.model_info, "output_cost_per_token"))
    if token != (None, None):
        return _price(token[0], 1e6), _price(token[1], 1e6)
    return _price(_field(model.pricing, "input"), 1), _price(_field(model.pricing, "output"), 1)


def _price(value: Any, factor: float) -> float | None:
    try:
        price = float(value) * factor if isinstance(value, int | float | str) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):
        return None
    # OpenRouter: -1 for a router, whose price depends on the model.
    return round(price, 6) if 0 <= price < 1e6 else None


def _sees(value: Any) -> bool | None:
    return "image" in value if isinstance(value, list) and value else None


def _first(*values: Any) -> int | None:
    return next((number for value in values if (number := tokens(value)) is not None), None)


def _known(*values: Any) -> bool | None:
    return next((value for value in values if isinstance(value, bool)), None)


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None
