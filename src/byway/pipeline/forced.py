"""Forced tool choices at servers that ignore them: pure steps from the parts of one model turn to the next request.

The loop over the turns is in `exchange`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec
from msgspec import Raw, Struct

from byway.backends.openai import definedtools
from byway.backends.openai.schema import Budget, adapt
from byway.backends.protocol import Target
from byway.decoding import DECODE_ERRORS
from byway.messages import claudecode
from byway.messages.events import (
    BlockDelta,
    BlockStart,
    Event,
    MessageDelta,
    Part,
    Stop,
    TextDelta,
    ToolStart,
    Usage,
    message_usage,
)
from byway.messages.request import Format, OutputConfig, Request, Turn, unopened
from byway.messages.stream import Writer
from byway.messages.tools import Tool

_encode: Final = msgspec.json.Encoder().encode
_ANY: Final = Raw(b'{"type":"object"}')
#: A schema of more tools makes a grammar that takes longer to build than the turn that it saves.
_TOOLS_AT_ONCE: Final = 16


class Step(Protocol):
    """A request that may take several turns of the model. Its answer is held back until the last turn."""

    @property
    def request(self) -> Request:
        """The request of the first turn."""

    def next(self, parts: Sequence[Part]) -> Request | Sequence[Part]:
        """From the parts of a turn: the request of the next turn, or the parts of the answer."""


def step(request: Request, target: Target, *, emulate: bool = False) -> Step | None:
    """The step for `request` at `target`; None when its choice is free or the server obeys it, which is the usual case.

    `emulate`: the server has refused forced choices.
    """
    choice = request.params.tool_choice
    if choice is None or choice.type not in ("any", "tool") or (target.vendor.forces_tools and not emulate):
        return None
    wanted = [tool for tool in claudecode.tools(request) if choice.type == "any" or tool.name == choice.name]
    tools = [function for tool in wanted if (function := definedtools.function(tool)) is not None]
    # Tools that a server would have to run are rejected where the call is built.
    if not tools or (choice.type == "tool" and len(tools) < len(wanted)):
        return None
    at_once = target.tools is False or (target.vendor.forces_json and len(tools) <= _TOOLS_AT_ONCE)
    return ForcedChoice(request, tools, at_once=at_once)


class _JsonCall(Struct):
    """A tool call that the model wrote as JSON text."""

    name: str
    arguments: dict[str, Any]


_json_call: Final = msgspec.json.Decoder(_JsonCall)


class ForcedChoice:
    """A forced tool choice. llama.cpp treats a named tool as `auto`, and a chat template without tools drops all of them
    (recorded with b11549); both obey a JSON schema. So a call is requested as JSON, which becomes a tool call: at once
    where that is known to work, elsewhere when the client's own request gave no call. One turn with a schema took half the
    time of two (measured with llama.cpp: 32 generated tokens instead of 220).
    """

    def __init__(self, request: Request, tools: list[Tool], *, at_once: bool) -> None:
        """`at_once`: the first turn requests JSON."""
        self._client = request
        self._tools = tools
        self._names = {tool.name for tool in tools}
        self._first: Sequence[Part] = []
        self._as_json = at_once
        self.request = self._json_request() if at_once else request

    def next(self, parts: Sequence[Part]) -> Request | Sequence[Part]:
        if self._as_json:
            return self._tool_call(parts) or self._first or parts
        if any(_starts_tool(part, self._names) for part in parts):
            return parts
        self._first = parts
        self._as_json = True
        return self._json_request()

    def _json_request(self) -> Request:
        """The same conversation, with a JSON schema of the call as the format of the answer."""
        params = msgspec.structs.replace(
            self._client.params,
            tools=None,
            tool_choice=None,
            thinking=None,
            output_format=None,
            output_config=OutputConfig(format=Format("json_schema", Raw(_encode(_one_of(self._tools))))),
        )
        turns = [*self._client.turns, Turn("user", _instructions(self._tools))]
        return self._client.followed(turns, params, stream=False)

    def _tool_call(self, parts: Sequence[Part]) -> list[Event] | None:
        """The JSON answer as a tool call; None when it does not call an offered tool."""
        text = "".join(part.delta.text for part in parts if type(part) is BlockDelta and type(part.delta) is TextDelta)
        try:
            call = _json_call.decode(text)
        except DECODE_ERRORS:
            return None
        if call.name not in self._names:
            return None
        usage = next((part.usage for part in reversed(parts) if type(part) is MessageDelta), Usage())
        writer = Writer(self._client.id, self._client.model, message_usage(usage))
        writer.tool(f"toolu_{self._client.id[4:]}_0", call.name)
        writer.input(_encode(call.arguments).decode())
        writer.finish(Stop("tool_use"), usage)
        return writer.take()


def _starts_tool(part: Part, names: set[str]) -> bool:
    return type(part) is BlockStart and type(part.content_block) is ToolStart and part.content_block.name in names


def _one_of(tools: list[Tool]) -> dict[str, Any]:
    """The schema of a call of one of `tools`."""
    budget = Budget()
    forms = [
        {
            "type": "object",
            "properties": {"name": {"enum": [tool.name]}, "arguments": _part_schema(tool, budget)},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _schema(tool: Tool) -> Raw:
    return tool.input_schema if unopened(tool.input_schema, "tools.input_schema") else _ANY


def _part_schema(tool: Tool, budget: Budget) -> Raw:
    """The schema as a part of another: its references would lead nowhere, so it is one without any, which all servers take."""
    return Raw(adapt(bytes(_schema(tool)), "plain", "tools.input_schema", budget=budget))


def _instructions(tools: list[Tool]) -> str:
    """The tools and how to call them, in words: the request has no tools that a template could show."""
    lines = [
        "Call one of these tools now. Answer with one JSON object and nothing else: "
        '{"name": <the tool>, "arguments": <its input>}.'
    ]
    for tool in tools:
        description = unopened(tool.description, "tools.description")
        text = f": {msgspec.json.decode(description)}" if description.startswith(b'"') else ""
        lines.append(f"- {tool.name}{text}\n  arguments: {bytes(_schema(tool)).decode()}")
    return "\n".join(lines)
