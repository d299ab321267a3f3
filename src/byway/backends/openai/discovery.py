"""Reads the pages on which chat servers describe one model. Reading does not depend on the vendor.

Fields and where they were seen: docs/tokens.md. Lists of models: `catalog`.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from byway.backends.catalog import ListedModel, capabilities_of, facts_of, next_page, tokens
from byway.backends.protocol import ModelFacts, Target
from byway.call import Call
from byway.decoding import DECODE_ERRORS

_JSON: Final = (("content-type", "application/json"),)
#: The window in a Modelfile, in the text of Ollama's `parameters`.
_NUM_CTX: Final = re.compile(r"^num_ctx\s+(\d{1,10})", re.MULTILINE)


class _DescriptionPage(Struct):
    """Any of the pages that describe a model."""

    # llama.cpp's /props
    default_generation_settings: Any = None
    chat_template_caps: Any = None
    modalities: Any = None
    # Ollama's /api/show
    capabilities: Any = None
    parameters: Any = None
    # LM Studio's /api/v0/models
    data: list[ListedModel] = []
    # Ollama's /api/ps
    models: list[ListedModel] = []


_decode_page: Final = msgspec.json.Decoder(_DescriptionPage).decode


def models() -> Call:
    """Return the call for the list of models."""
    return Call("GET", "/v1/models")


def next_models(body: bytes) -> Call | None:
    """Return the call for the page after `body`; None at the end of the list."""
    return next_page(models(), body)


def describe(target: Target) -> tuple[Call, ...]:
    """Return the calls for the pages that describe a model, the best one first."""
    calls = []
    for page in target.vendor.description_pages:
        method, _, path = page.partition(" ")
        body = msgspec.json.encode({"model": target.model}) if method == "POST" else b""
        calls.append(Call(method, path.replace("{model}", quote(target.model, "")), _JSON if body else (), body))
    return tuple(calls)


def read_description(body: bytes, target: Target) -> ModelFacts:
    """Return what such a page reports of the model; a body that cannot be read reports nothing."""
    try:
        page = _decode_page(body)
    except DECODE_ERRORS:
        return ModelFacts()
    for model in (*page.data, *page.models):
        name = model.model if isinstance(model.model, str) else ""
        if target.model in (model.id, name, name.removesuffix(":latest")):
            return facts_of(model)
    window = tokens(_field(page.default_generation_settings, "n_ctx"))
    if window is None and isinstance(page.parameters, str) and (match := _NUM_CTX.search(page.parameters)):
        window = tokens(int(match[1]))
    tools, vision = capabilities_of(page.capabilities)
    template_tools = _field(page.chat_template_caps, "supports_tools")
    sees = _field(page.modalities, "vision")
    return ModelFacts(
        window,
        template_tools if isinstance(template_tools, bool) else tools,
        sees if isinstance(sees, bool) else vision,
        source="backend" if window is not None else "",
    )


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None
