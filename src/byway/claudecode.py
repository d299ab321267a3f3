"""What is particular to Claude Code as a client, seen on the wire with 2.1.329 and 2.1.197. Pure; no other file knows it."""

from __future__ import annotations

from typing import Final

from byway.messages import Request, Tool, ToolReference, ToolResult

#: A text block, not a header: its digits differ from conversation to conversation (with 2.1.197 from request to
#: request), so in front of a prompt it makes a local model read everything again.
_ATTRIBUTION: Final = "x-anthropic-billing-header:"
#: A tool that stands for those which are not loaded yet; no model may call it.
_PLACEHOLDER: Final = "DeferredToolPlaceholder"


def system(texts: list[str]) -> list[str]:
    """The system texts that a model should read: without the attribution block."""
    return [text for text in texts if not text.startswith(_ATTRIBUTION)]


def reminder(text: str) -> str:
    """A system message in mid-conversation, as user text: many templates allow one system message, and only first.

    The tag is the one that the client itself uses for what it adds to a user's turn.
    """
    return text if text.lstrip().startswith("<system-reminder>") else f"<system-reminder>\n{text}\n</system-reminder>"


def tools(request: Request) -> list[Tool]:
    """The tools that the model may call now, those loaded in mid-conversation last, so that the prompt's beginning holds.

    A tool with `defer_loading` counts as loaded once a result in the conversation refers to it.
    """
    offered = request.params.tools
    if not offered:
        return []
    if not any(tool.defer_loading for tool in offered):
        return [tool for tool in offered if tool.name != _PLACEHOLDER]
    loaded: dict[str, None] = {}
    for turn in request.turns:
        for block in turn.blocks:
            inner = block.content if isinstance(block, ToolResult) and isinstance(block.content, list) else [block]
            loaded.update((part.tool_name, None) for part in inner if isinstance(part, ToolReference))
    late = {tool.name: tool for tool in offered if tool.defer_loading}
    return [
        *(tool for tool in offered if not tool.defer_loading and tool.name != _PLACEHOLDER),
        *(late[name] for name in loaded if name in late and name != _PLACEHOLDER),
    ]
