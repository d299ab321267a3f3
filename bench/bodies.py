"""Request bodies as Claude Code sends them: the same bytes for the same size, on every machine."""

from __future__ import annotations

import json
from random import Random
from typing import Any

MODEL = "claude-bench-{tokens}-{gap}"
"""The requested model; `bench-{tokens}-{gap}` in it sets how the mock answers."""

_WORDS = (
    *("the", "file", "reads", "a", "value", "from", "config", "and", "returns", "each", "path", "that", "was", "given"),
    *("def", "class", "import", "self.assertEqual(result,", "None)", "return", "{key:", "value}", "for", "row", "in"),
    *("\\d+\\s*$", "# why:", "x", "=", "[1, 2, 3]", '"name"', "print(f'{row!r}')", "src/module.py:12"),
)
_RARE = ("naïve", "“quoted”", "…", "—")
"""Not ASCII: one in some hundred words of a coding session, but in most of its texts."""
_TOOLS = (
    *("Agent", "Bash", "Edit", "ListAgents", "Read", "ReportFindings"),
    *("ScheduleWakeup", "Skill", "ToolSearch", "Workflow", "WebFetch", "Write"),
)


def _text(random: Random, length: int) -> str:
    """About `length` characters of prose and code, with the quotes, line ends and escapes that real turns have."""
    parts: list[str] = []
    used = 0
    while used < length:
        word = random.choice(_RARE if random.random() < 0.003 else _WORDS)
        parts.append(word + ("\n" if random.random() < 0.15 else " "))
        used += len(parts[-1])
    return "".join(parts)[:length]


def _tool(random: Random, name: str, length: int) -> dict[str, Any]:
    properties = {
        "command": {"type": "string", "description": _text(random, length // 8), "minLength": 1},
        "timeout": {"type": "integer", "minimum": 0, "maximum": 600000, "default": 120000},
        "mode": {"type": "string", "enum": ["content", "files", "count"], "description": _text(random, length // 8)},
        "edits": {
            "type": "array",
            "maxItems": 50,
            "items": {
                "type": "object",
                "properties": {"old": {"type": "string"}, "new": {"type": "string"}, "all": {"type": "boolean"}},
                "required": ["old", "new"],
                "additionalProperties": False,
            },
        },
    }
    return {
        "name": name,
        "description": _text(random, length * 3 // 4),
        "input_schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": properties,
            "required": ["command"],
            "additionalProperties": False,
        },
    }


def _turn(random: Random, number: int, length: int) -> list[dict[str, Any]]:
    """One step of a tool loop: the assistant calls a tool, the user's side answers with `length` characters."""
    call = f"toolu_{number:024d}"
    use = {
        "type": "tool_use",
        "id": call,
        "name": "Read",
        "input": {"command": f"src/module_{number}.py", "timeout": 5},
    }
    result = {"type": "tool_result", "tool_use_id": call, "content": _text(random, length)}
    return [
        {"role": "assistant", "content": [{"type": "text", "text": _text(random, length // 16)}, use]},
        {"role": "user", "content": [result]},
    ]


def _encode(request: dict[str, Any]) -> bytes:
    return json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()


def body(size: int, *, tokens: int, gap: int, stream: bool) -> bytes:
    """A Messages request of exactly `size` bytes that requests `tokens` tokens, one each `gap` milliseconds.

    From 50 KB up it has the parts of a main turn: three system blocks, 12 tools of about 32 KB together, a system
    message in the middle, and a tool loop that fills the rest. Below that, one small tool and one step.
    """
    random = Random(size)
    main = size >= 50_000
    cached = {"cache_control": {"type": "ephemeral"}}
    request: dict[str, Any] = {"model": MODEL.format(tokens=tokens, gap=gap), "messages": [], "max_tokens": 32000}
    if main:
        request["system"] = [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.329.abc; cc_entrypoint=sdk-cli;"},
            {"type": "text", "text": "You are Claude Code, Anthropic's official CLI for Claude.", **cached},
            {"type": "text", "text": _text(random, 7000), **cached},
        ]
        request["tools"] = [_tool(random, name, 1900) for name in _TOOLS]
        request["metadata"] = {
            "user_id": json.dumps({"device_id": "0" * 64, "account_uuid": "", "session_id": "0" * 36})
        }
        request["thinking"] = {"type": "adaptive", "display": "omitted"}
        request["context_management"] = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
        request["output_config"] = {"effort": "medium"}
        request["messages"] = [
            {"role": "user", "content": [{"type": "text", "text": _text(random, 400)}]},
            {"role": "system", "content": _text(random, 6000)},
        ]
    else:
        request["system"] = [{"type": "text", "text": "You are Claude Code.", **cached}]
        request["tools"] = [
            {"name": "Read", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}
        ]
        request["messages"] = [{"role": "user", "content": "Read it."}, *_turn(random, 0, 240)]
    if stream:
        request["stream"] = True
    turn = 1
    while main and size - len(_encode(request)) > 3000:
        request["messages"] += _turn(random, turn, 1500)
        turn += 1
    last = {"type": "text", "text": "", **cached}
    request["messages"][-1]["content"].append(last)
    missing = size - len(_encode(request))
    if missing < 0:
        raise ValueError(f"a request of {size} bytes has no room for its parts: {-missing} bytes too few")
    last["text"] = "." * missing
    return _encode(request)
