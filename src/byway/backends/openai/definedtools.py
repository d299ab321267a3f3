"""The tools that Anthropic has defined and the client runs (bash, text editor, memory, computer), written out as functions.

A request gives their dated `type` alone, since Claude was trained on them; another model has to be told what they take.
The newest date of a kind stands for all: the older ones took less. Pages below https://platform.claude.com/docs/en/ (seen
2026-11-21): agents-and-tools/tool-use/bash-tool, text-editor-tool, memory-tool, computer-use-tool.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from byway.messages.request import Tool

_encode: Final = msgspec.json.Encoder().encode


class _Written(NamedTuple):
    description: str
    schema: dict[str, Any]


def function(tool: Tool) -> Tool | None:
    """The tool as a function, which it may be already; None for a type that is none of these."""
    if tool.type in (None, "custom"):
        return tool
    if tool.type.startswith("computer_"):
        found = _computer(tool)
    elif (kind := _KIND.match(tool.type)) is not None:
        found = _KINDS[kind[0]]
    else:
        return None
    return Tool(tool.name, description=Raw(_encode(found.description)), input_schema=Raw(_encode(found.schema)))


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
_KINDS: Final = {
    "bash_": _Written(
        "Runs a command in a bash session that lasts: folder, variables and files stay from one call to the next. It cannot "
        "answer programs that ask for input.",
        _schema(
            "",
            command=_text("The command. Left out only with `restart`."),
            restart={"type": "boolean", "description": "True starts the session anew."},
        ),
    ),
    "text_editor_": _Written(
        "Looks at and changes text files. `view` shows a file with line numbers, or what is in a folder; `create` writes a "
        "whole file; `str_replace` replaces one place; `insert` adds lines.",
        _schema(
            "command path",
            command=_text("What to do.", enum=["view", "create", "str_replace", "insert"]),
            **_EDITING,
        ),
    ),
    "memory_": _Written(
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
}
_KIND: Final = re.compile("|".join(_KINDS))
_ACTIONS: Final = (
    "screenshot key type cursor_position mouse_move left_click right_click middle_click double_click triple_click"
    " left_click_drag left_mouse_down left_mouse_up scroll hold_key wait"
)


def _computer(tool: Tool) -> _Written:
    """The screen's size is the request's own."""
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
    return _Written(
        f"Works a computer by mouse, keyboard and screenshots.{size} Take a screenshot first, and after what may have changed "
        "it; click at the middle of things.",
        _schema("action", **properties),
    )
