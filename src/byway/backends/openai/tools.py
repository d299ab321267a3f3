"""Converts the tools of a Messages request to chat form: names, descriptions, schemas, and the tool choice."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec import Raw

from byway.backends.openai import definedtools
from byway.backends.openai.schema import Budget, adapt, allows_strict
from byway.backends.openai.thinking import rule_of
from byway.backends.protocol import Target
from byway.backends.vendors import Vendor
from byway.messages import claudecode
from byway.messages.blocks import Wire
from byway.messages.request import Request, declared_tools, unopened
from byway.messages.tools import Tool
from byway.problems import Problem


class ChatTool(Wire):
    """One entry of `tools`."""

    function: dict[str, Any]
    type: str = "function"


_NO_SCHEMA: Final = b'{"type":"object","properties":{}}'
#: OpenAI's rule for names, and that of many other servers: https://platform.openai.com/docs/api-reference/chat/create (seen
#: 2026-11-21). MCP servers may offer longer names.
_VALID_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_INVALID: Final = re.compile(r"[^a-zA-Z0-9_-]+")
#: Names of more characters are not cached, so that the cache stays small.
_CACHED_NAME: Final = 256
#: Converted tools, because a client sends the same tools with each request: comparing their bytes is faster than converting.
_converted: Final[dict[tuple[str, bool, str], tuple[Raw, Raw, ChatTool]]] = {}
_CACHED_TOOLS: Final = 512
_CACHED_BYTES: Final = 1 << 15


def wire_name(name: str) -> str:
    """Return the name of a tool as the server gets it: `name` if it is valid there, else its valid characters and a hash."""
    return _cached_wire_name(name) if len(name) <= _CACHED_NAME else _wire_name(name)


def _wire_name(name: str) -> str:
    if _VALID_NAME.match(name):
        return name
    mark = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=5).hexdigest()
    return f"{_INVALID.sub('_', name)[:53]}_{mark}"


_cached_wire_name: Final = lru_cache(1024)(_wire_name)


def tool_list(request: Request, target: Target, budget: Budget) -> list[ChatTool]:
    """Return the tools that the model may call now. `budget` limits the work on the schemas of this request.

    Raises Problem `invalid_request` for a tool that this backend cannot have.
    """
    vendor, declared = target.vendor, declared_tools(request)
    use = vendor.schema, vendor.strict_tools, vendor.max_tools
    shared = not request.loose and (declared.plain or (declared.shared and _leaves_out_search(request)))
    if shared and (known := declared.made.get(use)) is not None:
        offered: list[ChatTool] = known
        return offered
    tools = _offered_tools(request)
    paths: dict[int, str] | None = None
    by_name: dict[str, ChatTool] = {}
    for tool in tools:
        cacheable = tool.type in (None, "custom") and not len(tool.input_examples)
        key = vendor.schema, bool(tool.strict and vendor.strict_tools), tool.name
        cached = _converted.get(key) if cacheable else None
        if cached is not None and cached[0] == tool.description and cached[1] == tool.input_schema:
            chat_tool = cached[2]
        else:
            if paths is None:
                paths = {id(own): f"tools.{at}" for at, own in enumerate(request.params.tools or ())}
            chat_tool = _convert(tool, vendor, paths.get(id(tool), "messages: tool"), budget)
            if cacheable and len(tool.name) + len(tool.description) + len(tool.input_schema) < _CACHED_BYTES:
                if len(_converted) >= _CACHED_TOOLS:
                    _converted.clear()
                # Copies: these are slices of the request's bytes, which the cache must not keep alive.
                description = tool.description.copy()
                if "description" in chat_tool.function:
                    chat_tool.function["description"] = description
                _converted[key] = (description, tool.input_schema.copy(), chat_tool)
            else:
                shared = False
        by_name[chat_tool.function["name"]] = chat_tool
    if len(by_name) < len(tools):
        raise Problem("invalid_request", "tools: Tool names must be unique.")
    offered = list(by_name.values())[: vendor.max_tools]
    if shared:
        declared.made[use] = offered
    return offered


def _leaves_out_search(request: Request) -> bool:
    """Return whether a search among other tools is left out, whatever else the request has."""
    choice = request.params.tool_choice
    return request.extra is not None and (choice is None or choice.name is None)


def tools_over_limit(request: Request, vendor: Vendor) -> int:
    """Return how many tools the request has, where `tool_list` cuts them to the most that the vendor accepts; 0 elsewhere."""
    if vendor.max_tools is None or len(request.params.tools or ()) <= vendor.max_tools:
        return 0
    number = len(_offered_tools(request))
    return number if number > vendor.max_tools else 0


def left_out(request: Request) -> list[str]:
    """Return the types of the server tools that `tool_list` leaves out: for the log."""
    tools = request.params.tools or []
    return [(tool.type or "")[:64] for tool in tools if not _is_offered(request, tool)] if _client_tools(tools) else []


def _offered_tools(request: Request) -> list[Tool]:
    """The tools of the request without those that only Anthropic's servers run: a new one must not cost the whole request.

    When no other tool is left, or the tool is forced, the request cannot do what it is for: then it stays, and is refused.
    """
    tools = claudecode.tools(request)
    if any([tool.type is not None for tool in tools]) and _client_tools(tools):
        return [tool for tool in tools if _is_offered(request, tool)]
    return tools


def _client_tools(tools: list[Tool]) -> bool:
    return any(definedtools.function(tool) is not None for tool in tools)


def _is_offered(request: Request, tool: Tool) -> bool:
    """Return whether the tool stays in the list: each tool of the client, and a server tool that has to be refused."""
    if tool.type in (None, "custom") or definedtools.function(tool) is not None:
        return True
    choice = request.params.tool_choice
    is_forced = choice is not None and choice.type == "tool" and choice.name == tool.name
    # A disabled search is refused with the setting that enables it, but not where clients add it to every request (Codex).
    return is_forced or (request.extra is None and (tool.type or "").startswith(tuple(_DISABLED)))


_DISABLED: Final = {
    "web_search_": "web search is disabled: set `web_search.enabled: true` and `web_search.provider` in byway.yaml",
    "web_fetch_": "web fetch is disabled: set `web_fetch.enabled: true` in byway.yaml",
}


def _convert(tool: Tool, vendor: Vendor, path: str, budget: Budget) -> ChatTool:
    if not tool.name:
        raise Problem("invalid_request", f"{path}.name: Field required")
    function: dict[str, Any] = {"name": wire_name(tool.name)}
    definition = definedtools.function(tool)
    if definition is None:
        kind = tool.type or ""
        reason = next(
            (text for prefix, text in _DISABLED.items() if kind.startswith(prefix)),
            "Byway does not run it: leave the tool out, or send this request to an Anthropic backend",
        )
        raise Problem(
            "invalid_request",
            f"{path}.type: {kind[:100]!r} is not a client tool. This backend runs no server tools, and {reason}.",
        )
    description = _description(definition, path)
    if description is not None:
        function["description"] = description
    schema = unopened(definition.input_schema, f"{path}.input_schema") or _NO_SCHEMA
    schema = adapt(schema, vendor.schema, f"{path}.input_schema", budget=budget)
    function["parameters"] = Raw(schema)
    # The server refuses an open schema with `strict`, and accepts it without.
    if tool.strict and vendor.strict_tools and allows_strict(schema):
        function["strict"] = True
    return ChatTool(function)


def _description(tool: Tool, path: str) -> Raw | str | None:
    """The description of the tool, followed by the examples of its input: the chat protocol has no field for them."""
    description = unopened(tool.description, f"{path}.description")
    if description and not description.startswith(b'"'):
        raise Problem("invalid_request", f"{path}.description: Input should be a string")
    examples = unopened(tool.input_examples, f"{path}.input_examples")
    if not examples:
        return tool.description if description else None
    try:
        inputs = msgspec.json.decode(examples, type=list[Raw])
    except msgspec.MsgspecError:
        raise Problem("invalid_request", f"{path}.input_examples: Input should be a list of inputs") from None
    lines = "\n".join(bytes(example).decode() for example in inputs)
    text = msgspec.json.decode(description) if description else ""
    return f"{text}\n\nExamples of its input:\n{lines}".strip() if inputs else text


def tool_choice(request: Request, tools: list[ChatTool], target: Target) -> dict[str, Any]:
    """Return the fields that say which of the tools to call; none when the model decides, or there are no tools."""
    choice, vendor = request.params.tool_choice, target.vendor
    if choice is None or (choice.type != "tool" and not tools):
        return {}
    fields: dict[str, Any] = {}
    match choice.type:
        case "any":
            fields["tool_choice"] = _ANY_WORDS[vendor.choices]
        case "tool":
            if choice.name is None:
                raise Problem("invalid_request", "tool_choice.name: Field required when type is 'tool'")
            name = wire_name(choice.name)
            if not any(tool.function["name"] == name for tool in tools):
                raise Problem("invalid_request", f"tool_choice.name: Tool {choice.name!r} not found in provided tools")
            if vendor.choices in ("named", "any"):
                fields["tool_choice"] = {"type": "function", "function": {"name": name}}
            else:
                fields["tool_choice"] = _ANY_WORDS[vendor.choices]
        case _:
            fields["tool_choice"] = choice.type
    if choice.type in ("any", "tool") and (rule := rule_of(target)) is not None and rule.forced == "auto":
        fields["tool_choice"] = "auto"
    if (
        choice.disable_parallel_tool_use
        and vendor.parallel_field
        and not _refuses_parallel_flag(vendor.no_parallel_flag, target.family)
    ):
        fields[vendor.parallel_field] = False
    return fields


#: The word for "call any tool", by the choices that a vendor accepts.
_ANY_WORDS: Final = {"named": "required", "words": "required", "any": "any", "auto": "auto"}


@lru_cache(256)
def _refuses_parallel_flag(pattern: str, model: str) -> bool:
    return bool(pattern and re.search(pattern, model))
