"""When one turn of the model is not enough: pure steps that look at its events and either ask again or are done.

The loop is `exchange`'s. Here: a forced tool choice at a server that passes over it.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec
from msgspec import Raw, Struct

from byway.backends.openai import definedtools
from byway.backends.openai.schema import adapt
from byway.backends.protocol import Target
from byway.messages import claudecode
from byway.messages.events import BlockDelta, BlockStart, Event, MessageDelta, Stop, TextDelta, ToolStart, Usage
from byway.messages.request import Format, OutputConfig, Request, Tool, Turn, unopened
from byway.messages.stream import Writer

_encode: Final = msgspec.json.Encoder().encode
_ANY: Final = Raw(b'{"type":"object"}')


class Step(Protocol):
    """A request that may take several turns of the model. Its answer is held back until it is done."""

    @property
    def request(self) -> Request:
        """What to ask first."""

    def next(self, events: list[Event]) -> Request | list[Event]:
        """From a turn's events: what to ask now, or the events of the answer."""


def step(request: Request, target: Target) -> Step | None:
    """The step that `request` needs at `target`; None for nearly all: they are streamed as they come."""
    choice = request.params.tool_choice
    if choice is None or choice.type not in ("any", "tool") or target.vendor.forces_tools:
        return None
    wanted = [tool for tool in claudecode.tools(request) if choice.type == "any" or tool.name == choice.name]
    tools = [function for tool in wanted if (function := definedtools.function(tool)) is not None]
    # Tools that a server would have to run are refused where the request is made.
    if not tools or len(tools) < len(wanted):
        return None
    return Forced(request, tools, blind=target.tools is False)


class _Called(Struct):
    name: str
    arguments: dict[str, Any]


_called: Final = msgspec.json.Decoder(_Called)


class Forced:
    """A forced tool choice. llama.cpp takes a named one as `auto`, and a template without tools drops them all without a
    word (recorded, b11549); a JSON schema is kept by both. So: ask as usual, unless the template is known to be `blind`
    to tools; when no call comes, ask for the call as JSON, and make a call of that.
    """

    def __init__(self, request: Request, tools: list[Tool], *, blind: bool) -> None:
        self._own = request
        self._tools = tools
        self._names = {tool.name for tool in tools}
        self._first: list[Event] = []
        self._as_json = blind
        self.request = self._json() if blind else request

    def next(self, events: list[Event]) -> Request | list[Event]:
        if self._as_json:
            return self._made(events) or self._first or events
        if any(_starts_tool(event, self._names) for event in events):
            return events
        self._first = events
        self._as_json = True
        return self._json()

    def _json(self) -> Request:
        """The same conversation, with the call asked for as the form of the answer."""
        params = msgspec.structs.replace(
            self._own.params,
            tools=None,
            tool_choice=None,
            thinking=None,
            output_format=None,
            output_config=OutputConfig(format=Format("json_schema", Raw(_encode(_one_of(self._tools))))),
        )
        asked = self._own.asking([*self._own.turns, Turn("user", _words(self._tools))], params)
        asked.stream = False
        return asked

    def _made(self, events: list[Event]) -> list[Event] | None:
        """The answer as a tool call; None when it is no call of a tool that was offered."""
        text = "".join(
            event.delta.text for event in events if type(event) is BlockDelta and type(event.delta) is TextDelta
        )
        try:
            called = _called.decode(text)
        except (msgspec.MsgspecError, RecursionError):
            return None
        if called.name not in self._names:
            return None
        usage = next((event.usage for event in reversed(events) if type(event) is MessageDelta), Usage())
        writer = Writer(self._own.id, self._own.model, usage)
        writer.tool(f"toolu_{self._own.id[4:]}_0", called.name)
        writer.input(_encode(called.arguments).decode())
        writer.finish(Stop("tool_use"), usage)
        return writer.take()


def _starts_tool(event: Event, names: set[str]) -> bool:
    return type(event) is BlockStart and type(event.content_block) is ToolStart and event.content_block.name in names


def _one_of(tools: list[Tool]) -> dict[str, Any]:
    """The schema of a call of one of `tools`."""
    forms = [
        {
            "type": "object",
            "properties": {"name": {"enum": [tool.name]}, "arguments": _formed(tool)},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _schema(tool: Tool) -> Raw:
    return tool.input_schema if unopened(tool.input_schema, "tools.input_schema") else _ANY


def _formed(tool: Tool) -> Raw:
    """The schema as a part of another: its references would lead nowhere, so it is one without any, which all servers take."""
    return Raw(adapt(bytes(_schema(tool)), "plain", "tools.input_schema"))


def _words(tools: list[Tool]) -> str:
    """What the model has to know, since its template shows it no tools now."""
    lines = [
        "Call one of these tools now. Answer with one JSON object and nothing else: "
        '{"name": <the tool>, "arguments": <its input>}.'
    ]
    for tool in tools:
        said = unopened(tool.description, "tools.description")
        text = f": {msgspec.json.decode(said)}" if said.startswith(b'"') else ""
        lines.append(f"- {tool.name}{text}\n  arguments: {bytes(_schema(tool)).decode()}")
    return "\n".join(lines)
