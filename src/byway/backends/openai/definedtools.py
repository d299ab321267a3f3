"""The tools that Anthropic defines and another party runs, as functions: bash, text editor, memory, computer, tool search.

A request contains only their dated `type`, because Claude was trained on them; another model needs a description and a schema.
The newest date of a kind is used for all. Pages below https://platform.claude.com/docs/en/agents-and-tools/tool-use/ (seen
2026-11-21, tool-search-tool 2026-11-29): bash-tool, text-editor-tool, memory-tool, tool-search-tool.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from byway.messages.tools import Tool

_encode: Final = msgspec.json.Encoder().encode


class _ToolDefinition(NamedTuple):
    description: str
    schema: dict[str, Any]


def function(tool: Tool) -> Tool | None:
    """Return the tool as a function, or as it is when it is one; None for another type."""
    if tool.type in (None, "custom"):
        return tool
    if tool.type.startswith("computer_"):
        definition = _computer(tool)
    elif (kind := _KIND.match(tool.type)) is not None:
        definition = _KINDS[kind[0]]
    else:
        return None
    return Tool(
        tool.name, description=Raw(_encode(definition.description)), input_schema=Raw(_encode(definition.schema))
    )


def _schema(required: str, **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required.split()}


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


def _numbers(description: str, count: int) -> dict[str, Any]:
    return {
        "type": "array",
        "items": {"type": "integer"},
        "minItems": count,
        "maxItems": count,
        "description": description,
    }


_RANGE: Final = _numbers("For `view` of a file: the first and the last line, counted from 1; -1 is the end.", 2)
_EDITING: Final = {
    "path": _text("The absolute path of the file or folder."),
    "view_range": _RANGE,
    "file_text": _text("For `create`: what the file is to hold."),
    "old_str": _text("For `str_replace`: the text to replace. It must stand in the file exactly once."),
    "new_str": _text("For `str_replace`: what to put in its place."),
    "insert_line": {"type": "integer", "description": "For `insert`: the line behind which to put it; 0 is the start."},
    "insert_text": _text("For `insert`: the text."),
}
_LIMIT: Final = {"type": "integer", "description": "The most tools to find. Usually left out."}
_KINDS: Final = {
    "bash_": _ToolDefinition(
        "Runs a command in a bash session that lasts: folder, variables and files stay from one call to the next. It cannot "
        "answer programs that ask for input.",
        _schema(
            "",
            command=_text("The command. Left out only with `restart`."),
            restart={"type": "boolean", "description": "True starts the session anew."},
        ),
    ),
    "text_editor_": _ToolDefinition(
        "Looks at and changes text files. `view` shows a file with line numbers, or what is in a folder; `create` writes a "
        "whole file; `str_replace` replaces one place; `insert` adds lines.",
        _schema(
            "command path",
            command=_text("What to do.", enum=["view", "create", "str_replace", "insert"]),
            **_EDITING,
        ),
    ),
    "memory_": _ToolDefinition(
        "Keeps notes in files below /memories, which are there again in later conversations. Look there before you begin, "
        "and write down what will be wanted later.",
        _schema(
            "command",
            command=_text("What to do.", enum=["view", "create", "str_replace", "insert", "delete", "rename"]),
            **{**_EDITING, "path": _text("The path, beginning with /memories. All but `rename` need it.")},
            old_path=_text("For `rename`: the path now."),
            new_path=_text("For `rename`: the path to be."),
        ),
    ),
    "tool_search_tool_regex": _ToolDefinition(
        "Finds tools that are not in the list of tools yet and adds them to it. Use it when no tool in the list fits.",
        _schema(
            "pattern",
            pattern=_text(
                "A Python regular expression of at most 200 characters, such as `weather`, `get_.*_data` or `(?i)slack`. It is "
                "searched for in the names, descriptions and arguments of the tools."
            ),
            limit=_LIMIT,
        ),
    ),
    "tool_search_tool_bm25": _ToolDefinition(
        "Finds tools that are not in the list of tools yet and adds them to it. Use it when no tool in the list fits.",
        _schema("query", query=_text("What the tool is to do, in a few words."), limit=_LIMIT),
    ),
}
_KIND: Final = re.compile("|".join(_KINDS))
_ACTIONS: Final = (
    "screenshot key type cursor_position mouse_move left_click right_click middle_click double_click triple_click"
    " left_click_drag left_mouse_down left_mouse_up scroll hold_key wait"
)


def _computer(tool: Tool) -> _ToolDefinition:
    """The tool `computer`, with the size of the screen that the request gives."""
    actions = _ACTIONS.split()
    properties = {
        "action": _text("What to do.", enum=actions),
        "coordinate": _numbers("Where: x and y in pixels, from the top left.", 2),
        "start_coordinate": _numbers("For `left_click_drag`: where to begin.", 2),
        "text": _text("For `type` the text; for `key` and `hold_key` the keys, as in ctrl+s; for clicks keys to hold."),
        "scroll_direction": _text("For `scroll`.", enum=["up", "down", "left", "right"]),
        "scroll_amount": {"type": "integer", "description": "For `scroll`: how many clicks of the wheel."},
        "duration": {"type": "number", "description": "For `wait` and `hold_key`: seconds."},
    }
    if tool.enable_zoom:
        actions.append("zoom")
        properties["region"] = _numbers("For `zoom`: x and y of two corners.", 4)
    size = ""
    if tool.display_width_px and tool.display_height_px:
        size = f" The screen is {tool.display_width_px} pixels wide and {tool.display_height_px} high."
    return _ToolDefinition(
        f"Works a computer by mouse, keyboard and screenshots.{size} Take a screenshot first, and after what may have changed "
        "it; click at the middle of things.",
        _schema("action", **properties),
    )
