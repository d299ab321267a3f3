"""The catalog of models that Codex is given: it makes a model of any name one with a window, efforts and `apply_patch`. Pure.

Codex treats a name that it does not know as a model without patches and with a window that it guesses. A catalog replaces its
built-in list. The fields are those of `codex debug models` (0.171.0, seen 2026-11-30); all others have defaults.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

#: Models of the catalog: the list of an aggregator has hundreds, and Codex shows all of them.
MOST_MODELS: Final = 200
#: Codex has no instructions of its own for a model of a catalog.
_INSTRUCTIONS: Final = """\
You are a coding agent in the user's terminal. You work in the folder that the environment context names, and you help the
user to understand, change and test software there.

Work like this:
- Read before you write. Look at the files and at the conventions of the project, and search with `rg` where it is installed.
- Do the whole task. Go on until it is done, and use the tools instead of describing what one could do.
- Change files with the tool `apply_patch`, in small patches with enough context. Create files with it too. Never change a
  file by a shell command when a patch can do it.
- Run commands with the shell tool. Prefer commands that end by themselves, and read their output before the next step.
- Independent calls may be made at once.
- Keep the style of the code around a change, change nothing else, and add no comments that repeat the code.
- Run the tests or the program that belong to a change. When something fails, find the cause first.
- Never undo work of the user that you do not know. Ask before you delete anything that cannot be restored.
- Tools whose names begin with `mcp` belong to servers of the user. Use them when they fit the task.

At the end, say in a few sentences what you changed and what you ran. Name files by their paths. Be honest about what does
not work yet.
"""
_EFFORTS: Final = (
    ("low", "Answers soon"),
    ("medium", "A balance of speed and depth"),
    ("high", "Thinks longer"),
)


def catalog(windows: Mapping[str, int]) -> str:
    """The content of the file for `model_catalog_json`. `windows`: the context window of each model, the chosen one first."""
    models = [_entry(name, window, at) for at, (name, window) in enumerate([*windows.items()][:MOST_MODELS], 1)]
    return json.dumps({"models": models}, indent=1)


def _entry(name: str, window: int, priority: int) -> dict[str, Any]:
    return {
        "slug": name,
        "display_name": name,
        "description": f"{name} by way of Byway",
        "default_reasoning_level": "medium",
        "supported_reasoning_levels": [{"effort": effort, "description": text} for effort, text in _EFFORTS],
        "shell_type": "unified_exec",
        "visibility": "list",
        "supported_in_api": True,
        "priority": priority,
        "base_instructions": _INSTRUCTIONS,
        "supports_reasoning_summaries": True,
        "support_verbosity": False,
        "apply_patch_tool_type": "freeform",
        "truncation_policy": {"mode": "tokens", "limit": 10_000},
        "supports_parallel_tool_calls": True,
        "input_modalities": ["text", "image"],
        "context_window": window,
        "experimental_supported_tools": [],
    }
