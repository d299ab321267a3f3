"""The tools of a request in chat form: names, descriptions, schemas, and the choice among them."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec import Raw

from byway.backends.openai import definedtools
from byway.backends.openai.schema import adapt, allows_strict
from byway.backends.protocol import Target
from byway.backends.vendors import Vendor
from byway.messages import claudecode
from byway.messages.blocks import Wire
from byway.messages.request import Request, Tool, unopened
from byway.problems import Problem


class ToolOut(Wire):
    """One entry of `tools`."""

    function: dict[str, Any]
    type: str = "function"


_NO_SCHEMA: Final = b'{"type":"object","properties":{}}'
#: OpenAI's rule for names, and that of many others: https://platform.openai.com/docs/api-reference/chat/create (seen
#: 2026-11-21). MCP servers may offer longer ones.
_FITS: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_UNFIT: Final = re.compile(r"[^a-zA-Z0-9_-]+")
#: The tools of one client are the same request after request: comparing their bytes is cheaper than reading them.
_seen: Final[dict[tuple[str, bool, str], tuple[Raw, Raw, ToolOut]]] = {}
_SEEN_MOST: Final = 512
_KEPT_MOST: Final = 1 << 15


@lru_cache(1024)
def wire_name(name: str) -> str:
    """The name of a tool as it is sent: itself where it may be, else what is left of it and a mark that tells it apart."""
    if _FITS.match(name):
        return name
    mark = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=5).hexdigest()
    return f"{_UNFIT.sub('_', name)[:53]}_{mark}"


def tool_list(request: Request, target: Target) -> list[ToolOut]:
    """The tools that the model may call now; raises Problem `invalid_request` for one that this backend cannot have."""
    vendor = target.vendor
    tools = claudecode.tools(request)
    found: dict[str, ToolOut] = {}
    for tool in tools:
        plain = tool.type in (None, "custom") and not len(tool.input_examples)
        key = vendor.schema, bool(tool.strict and vendor.strict_tools), tool.name
        known = _seen.get(key) if plain else None
        if known is not None and known[0] == tool.description and known[1] == tool.input_schema:
            out = known[2]
        else:
            out = _made(tool, vendor, _path(request, tool))
            if plain and len(tool.description) + len(tool.input_schema) < _KEPT_MOST:
                if len(_seen) >= _SEEN_MOST:
                    _seen.clear()
                # Copies: what is kept must not keep the request alive, whose bytes these are.
                said = tool.description.copy()
                if "description" in out.function:
                    out.function["description"] = said
                _seen[key] = (said, tool.input_schema.copy(), out)
        found[out.function["name"]] = out
    if len(found) < len(tools):
        raise Problem("invalid_request", "tools: Tool names must be unique.")
    return list(found.values())


def _path(request: Request, tool: Tool) -> str:
    """Where the client has declared it: among the tools, or in a message."""
    return next((f"tools.{at}" for at, one in enumerate(request.params.tools or ()) if one is tool), "messages: tool")


_SWITCHED_OFF: Final = {
    "web_search_": "web search is switched off in Byway: set `web_search.enabled: true` and `web_search.provider` in byway.yaml.",
    "web_fetch_": "web fetch is switched off in Byway: set `web_fetch.enabled: true` in byway.yaml.",
}


def _made(tool: Tool, vendor: Vendor, path: str) -> ToolOut:
    if not tool.name:
        raise Problem("invalid_request", f"{path}.name: Field required")
    function: dict[str, Any] = {"name": wire_name(tool.name)}
    written = definedtools.function(tool)
    if written is None:
        kind = tool.type or ""
        what = next(
            (words for prefix, words in _SWITCHED_OFF.items() if kind.startswith(prefix)),
            "Byway does not run it. Leave the tool out, or send this request to an Anthropic backend.",
        )
        raise Problem(
            "invalid_request",
            f"{path}.type: {kind[:100]!r} is a tool that Anthropic's servers run, or none that is known; this backend cannot, "
            f"and {what}",
        )
    said = _description(written, path)
    if said is not None:
        function["description"] = said
    schema = unopened(written.input_schema, f"{path}.input_schema") or _NO_SCHEMA
    schema = adapt(schema, vendor.schema, f"{path}.input_schema")
    function["parameters"] = Raw(schema)
    # A schema that is not closed is refused with `strict`; without it the tool works all the same.
    if tool.strict and vendor.strict_tools and allows_strict(schema):
        function["strict"] = True
    return ToolOut(function)


def _description(tool: Tool, path: str) -> Raw | str | None:
    """What the tool is for, with the examples of its input behind it: chat has no place for them."""
    said = unopened(tool.description, f"{path}.description")
    if said and not said.startswith(b'"'):
        raise Problem("invalid_request", f"{path}.description: Input should be a string")
    examples = unopened(tool.input_examples, f"{path}.input_examples")
    if not examples:
        return tool.description if said else None
    try:
        listed = msgspec.json.decode(examples, type=list[Raw])
    except msgspec.MsgspecError:
        raise Problem("invalid_request", f"{path}.input_examples: Input should be a list of inputs") from None
    lines = "\n".join(bytes(one).decode() for one in listed)
    text = msgspec.json.decode(said) if said else ""
    return f"{text}\n\nExamples of its input:\n{lines}".strip() if listed else text


def tool_choice(request: Request, tools: list[ToolOut], target: Target) -> dict[str, Any]:
    """The fields that say which of the tools to call; none when that is left to the model, or there are none."""
    asked = request.params.tool_choice
    if asked is None or (asked.type != "tool" and not tools):
        return {}
    fields: dict[str, Any] = {}
    match asked.type:
        case "any":
            fields["tool_choice"] = "required"
        case "tool":
            if asked.name is None:
                raise Problem("invalid_request", "tool_choice.name: Field required when type is 'tool'")
            name = wire_name(asked.name)
            if not any(tool.function["name"] == name for tool in tools):
                raise Problem("invalid_request", f"tool_choice.name: Tool {asked.name!r} not found in provided tools")
            fields["tool_choice"] = {"type": "function", "function": {"name": name}}
        case _:
            fields["tool_choice"] = asked.type
    if asked.disable_parallel_tool_use and not _one_by_one(target.vendor.no_parallel_flag, target.model):
        fields["parallel_tool_calls"] = False
    return fields


@lru_cache(256)
def _one_by_one(models: str, model: str) -> bool:
    return bool(models and re.search(models, model))
