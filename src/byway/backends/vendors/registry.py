"""The vendors by name, in the order of the lists. A new one is a module of this package and its row here."""

from __future__ import annotations

from typing import Final

from byway.backends.vendors import (
    anthropic,
    ark,
    azure,
    cerebras,
    cohere,
    dashscope,
    databricks,
    deepseek,
    fireworks,
    gemini,
    generic,
    groq,
    huggingface,
    koboldcpp,
    litellm,
    llamacpp,
    llamaswap,
    lmstudio,
    mimo,
    minimax,
    mistral,
    mlx,
    mlxcel,
    moonshot,
    newapi,
    nvidia,
    ollama,
    openai,
    openrouter,
    qianfan,
    sglang,
    siliconflow,
    tgi,
    together,
    vllm,
    xai,
    zai,
)
from byway.backends.vendors.vendor import Vendor, api_root, serves_host

_ROWS: Final = (
    *(vllm.VENDOR, ollama.VENDOR, llamacpp.VENDOR, lmstudio.VENDOR, sglang.VENDOR, llamaswap.VENDOR, mlx.VENDOR),
    *(mlxcel.VENDOR, koboldcpp.VENDOR, tgi.VENDOR, litellm.VENDOR, newapi.VENDOR, generic.VENDOR),
    *(anthropic.VENDOR, openai.VENDOR, azure.VENDOR, openrouter.VENDOR, gemini.VENDOR, deepseek.VENDOR),
    *(zai.VENDOR, zai.CODING, moonshot.VENDOR, moonshot.CODE, dashscope.VENDOR, dashscope.CODING, minimax.VENDOR),
    *(xai.VENDOR, mistral.VENDOR, groq.VENDOR, cerebras.VENDOR, together.VENDOR, fireworks.VENDOR, nvidia.VENDOR),
    *(siliconflow.VENDOR, mimo.VENDOR, ark.VENDOR, ark.CODING, qianfan.VENDOR, cohere.VENDOR, huggingface.VENDOR),
    *(databricks.VENDOR, llamacpp.BUILTIN),
)

VENDORS: Final[dict[str, Vendor]] = {row.name: row for row in _ROWS}
#: The type that each other spelling means.
SPELLINGS: Final[dict[str, str]] = {spelling: row.name for row in _ROWS for spelling in row.spellings}


def vendor_of_url(url: str) -> Vendor | None:
    """Return the vendor whose address `url` is; None for an unknown host. Of two vendors at one host, the path decides."""
    vendors = [row for row in _ROWS if serves_host(row, url)]
    return max(vendors, key=lambda row: _common_path(row, url), default=None)


def _common_path(vendor: Vendor, url: str) -> int:
    """How much of `url` is the path of the vendor's API."""
    return len(url) - len(api_root(vendor, url)[0])
