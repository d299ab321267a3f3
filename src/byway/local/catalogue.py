"""Models worth downloading, the best one for agents first: what they are, where they are, and what they need."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

ToolAbility = Literal["good", "fair", "weak"]


class CatalogueEntry(NamedTuple):
    """A model worth downloading."""

    name: str
    """A short name that commands accept."""
    title: str
    source: str
    """`owner/repo:quantisation` of the hub."""
    size: int
    """Bytes of the file, rounded."""
    parameters: str
    """How many parameters it has, and how many of them compute a token."""
    window: int
    """The context window that it was trained for, in tokens."""
    cache: int
    """Bytes of memory for each token of context."""
    tools: ToolAbility
    """How well it calls tools."""
    licence: str
    advice: str
    confirmed: bool = True
    """The size was read in a model card."""


CATALOGUE: Final = (
    CatalogueEntry(
        "qwen3.6-35b-a3b",
        "Qwen3.6 35B-A3B",
        "unsloth/Qwen3.6-35B-A3B-GGUF:Q4_K_M",
        21_200_000_000,
        "35B, 3B active",
        262_144,
        20_480,
        "good",
        "Apache-2.0",
        "The first choice for agent work with 32 GB of memory: fast for its size, and long contexts cost little.",
        confirmed=False,
    ),
    CatalogueEntry(
        "qwen3-coder-30b-a3b",
        "Qwen3-Coder 30B-A3B",
        "unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF:Q4_K_M",
        18_600_000_000,
        "30B, 3B active",
        262_144,
        98_304,
        "good",
        "Apache-2.0",
        "Made for coding agents; answers without thinking first.",
    ),
    CatalogueEntry(
        "glm-4.7-flash",
        "GLM-4.7-Flash",
        "unsloth/GLM-4.7-Flash-GGUF:Q4_K_M",
        18_310_000_000,
        "30B, 3B active",
        202_752,
        54_144,
        "good",
        "MIT",
        "Agent work with thinking; a long context takes little memory.",
    ),
    CatalogueEntry(
        "gpt-oss-20b",
        "gpt-oss 20B",
        "ggml-org/gpt-oss-20b-GGUF:mxfp4",
        12_100_000_000,
        "21B, 3.6B active",
        131_072,
        24_576,
        "good",
        "Apache-2.0",
        "The first choice for agent work with 16 GB of memory.",
    ),
    CatalogueEntry(
        "devstral-small-2",
        "Devstral Small 2",
        "bartowski/mistralai_Devstral-Small-2-24B-Instruct-2512-GGUF:Q4_K_M",
        14_330_000_000,
        "24B",
        262_144,
        163_840,
        "good",
        "Apache-2.0",
        "Made for coding agents. All of it computes each token, so it needs a GPU to be quick.",
    ),
    CatalogueEntry(
        "qwen3-30b-a3b",
        "Qwen3 30B-A3B Instruct",
        "unsloth/Qwen3-30B-A3B-Instruct-2507-GGUF:Q4_K_M",
        18_600_000_000,
        "30B, 3B active",
        262_144,
        98_304,
        "good",
        "Apache-2.0",
        "A general model with tools; for code take Qwen3-Coder.",
        confirmed=False,
    ),
    CatalogueEntry(
        "qwen3-14b",
        "Qwen3 14B",
        "Qwen/Qwen3-14B-GGUF:Q4_K_M",
        9_000_000_000,
        "14B",
        40_960,
        163_840,
        "good",
        "Apache-2.0",
        "Small agent tasks. The window is short for Claude Code.",
        confirmed=False,
    ),
    CatalogueEntry(
        "qwen3-8b",
        "Qwen3 8B",
        "Qwen/Qwen3-8B-GGUF:Q4_K_M",
        5_030_000_000,
        "8B",
        40_960,
        147_456,
        "fair",
        "Apache-2.0",
        "Small calls of Claude Code, such as titles and summaries; simple tools.",
        confirmed=False,
    ),
    CatalogueEntry(
        "qwen3-4b",
        "Qwen3 4B Instruct",
        "unsloth/Qwen3-4B-Instruct-2507-GGUF:Q4_K_M",
        2_500_000_000,
        "4B",
        262_144,
        147_456,
        "fair",
        "Apache-2.0",
        "The most that 8 GB of memory run well: chat, summaries, simple tools.",
    ),
    CatalogueEntry(
        "qwen2.5-coder-14b",
        "Qwen2.5-Coder 14B",
        "Qwen/Qwen2.5-Coder-14B-Instruct-GGUF:Q4_K_M",
        8_990_000_000,
        "14B",
        32_768,
        196_608,
        "weak",
        "Apache-2.0",
        "Writes and explains code in a chat. It often writes tool calls as text.",
        confirmed=False,
    ),
    CatalogueEntry(
        "qwen2.5-coder-7b",
        "Qwen2.5-Coder 7B",
        "Qwen/Qwen2.5-Coder-7B-Instruct-GGUF:Q4_K_M",
        4_680_000_000,
        "7B",
        32_768,
        57_344,
        "weak",
        "Apache-2.0",
        "Code in a chat on a small machine; not for agents.",
        confirmed=False,
    ),
    CatalogueEntry(
        "gemma-3-12b",
        "Gemma 3 12B",
        "ggml-org/gemma-3-12b-it-GGUF:Q4_K_M",
        7_300_000_000,
        "12B",
        131_072,
        65_536,
        "weak",
        "Gemma terms",
        "Chat and translation in many languages; it was not trained for tool calls.",
    ),
    CatalogueEntry(
        "qwen2.5-coder-1.5b",
        "Qwen2.5-Coder 1.5B",
        "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF:Q4_K_M",
        1_120_000_000,
        "1.5B",
        32_768,
        28_672,
        "weak",
        "Apache-2.0",
        "Runs everywhere, for a first try; not for work.",
        confirmed=False,
    ),
)
"""
Sizes are those of the model cards, rounded; the hub reports the exact one when a download starts. `cache` is
2 x layers x key-value heads x head size x 2 bytes, from each model's config; layers with a sliding window or without a cache
do not count. Sources, all second-hand and seen 2026-11-30, because the hub itself was not reachable:

- Qwen3.6: https://huggingface.co/Qwen/Qwen3.6-35B-A3B as quoted by the cards of its conversions: 262,144 tokens, Apache-2.0,
  tools, 10 of 40 layers with a cache. The size of the conversion is not confirmed.
- Qwen3 and Qwen3-Coder: https://huggingface.co/Qwen, https://huggingface.co/unsloth and the tables of
  https://huggingface.co/bartowski/Qwen_Qwen3-4B-GGUF (2.50 GB) and Qwen_Qwen3-8B-GGUF; Qwen3-Coder-30B-A3B in Q4_K_M has
  18.6 GB. The header of Qwen3-4B-Instruct-2507 has 36 layers, 8 key-value heads of 128 and 262,144 tokens.
- gpt-oss: https://huggingface.co/ggml-org/gpt-oss-20b-GGUF; 12.1 GB, 131,072 tokens, Apache-2.0.
- Devstral Small 2: https://huggingface.co/mistralai/Devstral-Small-2-24B-Instruct-2512 (40 layers, 8 key-value heads, 262,144
  tokens, Apache-2.0); 14.33 GB in Q4_K_M at https://huggingface.co/bartowski.
- GLM-4.7-Flash: https://huggingface.co/zai-org/GLM-4.7-Flash (202,752 tokens, MIT, a latent cache of 576 values for each of 47
  layers); 18.3 GB in Q4_K_M at https://huggingface.co/unsloth.
- Qwen2.5-Coder: https://huggingface.co/Qwen/Qwen2.5-Coder-7B-Instruct-GGUF and those beside it; 32,768 tokens, Apache-2.0.
- Gemma 3: https://huggingface.co/ggml-org/gemma-3-12b-it-GGUF; 7.3 GB, 131,072 tokens, no tokens for tool calls; measured tool
  calls of it in https://ollama.com/orieg/gemma3-tools.
"""
_BY_NAME: Final = {entry.name: entry for entry in CATALOGUE}


def source_of(text: str) -> str:
    """The source of the entry with that name; any other text as it is."""
    entry = _BY_NAME.get(text.strip().lower())
    return entry.source if entry is not None else text
