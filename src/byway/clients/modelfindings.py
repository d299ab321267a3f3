"""Finds the models of the running Byway whose context window cannot hold a session of Claude Code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from byway.admin.exports import SMALLEST_SESSION
from byway.clients.facts import GatewayFacts
from byway.clients.report import ExpectedEndpoint, Finding

#: Models that a finding names.
_NAMED: Final = 8


def small_model_findings(
    expected: ExpectedEndpoint, facts: GatewayFacts | None, requested: Sequence[str]
) -> Iterator[Finding]:
    """One finding for all of them. It is a warning when Claude Code uses one: by `requested`, its settings, or without any."""
    if facts is None or not expected.is_byway or not facts.small_models:
        return
    small = facts.small_models
    targets = {facts.models.get(name) or name for name in requested} or {facts.main_model}
    used = targets & small.keys()
    names = sorted(small, key=lambda name: name not in used)
    listed = ", ".join(f"{name} ({small[name]:,})" for name in islice(names, _NAMED))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    chosen = f" Claude Code uses {', '.join(sorted(used))}." if used else ""
    yield Finding(
        "small-models",
        "warning" if used else "note",
        "A model is too small for Claude Code"
        if len(names) == 1
        else f"{len(names)} models are too small for Claude Code",
        f"A session needs a window of {SMALLEST_SESSION:,} tokens. These have less: {listed}{more}.{chosen} "
        "A signed-in Claude Code does not list them in /model.",
        advice="Load the model with a window of 32,768 tokens or more: OLLAMA_CONTEXT_LENGTH for Ollama, -c for llama.cpp, "
        "backends[].window for a model that Byway runs. Or use claude --bare, which needs less.",
    )
