"""The tools of a request in chat form: names, descriptions, schemas, and the choice among them."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Raw, Struct

from byway import claudecode
from byway.backends import Target
from byway.messages import Request, unopened
from byway.problems import Problem


class ToolOut(Struct):
    """One entry of `tools`."""

    function: dict[str, Any]
    type: str = "function"


_EMPTY_SCHEMA: Final = Raw(b'{"type":"object","properties":{}}')


def offered(request: Request, target: Target) -> list[ToolOut]:
    """The tools that the model may call now; raises Problem `invalid_request` for one that this backend cannot have."""
    found = []
    for at, tool in enumerate(claudecode.tools(request)):
        if tool.type not in (None, "custom"):
            raise Problem(
                "invalid_request",
                f"tools.{at}.type: {tool.type!r} is a tool that Anthropic's servers run; this backend cannot, and Byway "
                "does not run it yet. Leave the tool out, or send this request to an Anthropic backend.",
            )
        if not tool.name:
            raise Problem("invalid_request", f"tools.{at}.name: Field required")
        function: dict[str, Any] = {"name": tool.name}
        said = unopened(tool.description, f"tools.{at}.description")
        if said:
            if not said.startswith(b'"'):
                raise Problem("invalid_request", f"tools.{at}.description: Input should be a string")
            function["description"] = tool.description
        known = unopened(tool.input_schema, f"tools.{at}.input_schema")
        function["parameters"] = tool.input_schema if known else _EMPTY_SCHEMA
        found.append(ToolOut(function))
    return found


def choice(request: Request) -> dict[str, Any]:
    """The fields that say which of the tools to call; none when that is left to the model."""
    asked = request.params.tool_choice
    if asked is None:
        return {}
    fields: dict[str, Any] = {}
    match asked.type:
        case "any":
            fields["tool_choice"] = "required"
        case "tool":
            if asked.name is None:
                raise Problem("invalid_request", "tool_choice.name: Field required when type is 'tool'")
            fields["tool_choice"] = {"type": "function", "function": {"name": asked.name}}
        case _:
            fields["tool_choice"] = asked.type
    if asked.disable_parallel_tool_use:
        fields["parallel_tool_calls"] = False
    return fields
