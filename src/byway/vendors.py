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
    auth: Literal["bearer", "x-api-key"] = "bearer"
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    stop_limit: int | None = None
    """How many stop sequences it takes; more are left out, never a 4xx."""
    sampling: tuple[str, ...] = ("temperature", "top_p", "top_k")
    """The sampling parameters of the Messages API that it knows by the same name."""
    props: bool = False
    """It says its window at `GET /props`, as llama.cpp does."""
    wakes: bool = False
    """It loads a model on the first request: be patient, and offer no verdict before."""


_ROWS: Final = (
    Vendor("vllm", "vLLM", url="http://127.0.0.1:8000"),
    Vendor("ollama", "Ollama", url="http://127.0.0.1:11434", wakes=True),
    Vendor("llamacpp", "llama.cpp", url="http://127.0.0.1:8080", props=True),
    Vendor("lmstudio", "LM Studio", url="http://127.0.0.1:1234", wakes=True),
    Vendor("mlxcel", "MLXcel"),
    Vendor("generic", "OpenAI-compatible server", sampling=("temperature", "top_p")),
    # https://platform.openai.com/docs/api-reference/chat/create (seen 2026-11-20): at most 4 stop sequences, no top_k,
    # and `max_tokens` is refused by the reasoning models in favour of `max_completion_tokens`.
    Vendor(
        "openai",
        "OpenAI",
        url="https://api.openai.com",
        self_hosted=False,
        max_tokens_field="max_completion_tokens",
        stop_limit=4,
        sampling=("temperature", "top_p"),
    ),
    Vendor(
        "anthropic",
        "Anthropic",
        protocol="anthropic",
        url="https://api.anthropic.com",
        self_hosted=False,
        auth="x-api-key",
    ),
    Vendor("builtin", "built-in model", props=True),
)

VENDORS: Final[dict[str, Vendor]] = {row.name: row for row in _ROWS}
