"""Builds the Responses request for a Messages request. `reader` reads the answer."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec import Raw

from byway.backends.openai.request import answer_format, answer_limit, refuse_server_features
from byway.backends.openai.schema import Budget
from byway.backends.openai.stops import split_stops
from byway.backends.openai.thinking import add_thinking, rule_of, thinks, wanted_effort
from byway.backends.openai.tools import ChatTool, tool_choice, tool_list
from byway.backends.protocol import FIRST, Attempt, Target
from byway.backends.responses.conversation import input_items
from byway.call import Call, json_headers
from byway.messages.request import Request
from byway.responseitems import InputItem, MessageItem

_encode: Final = msgspec.json.Encoder().encode
PATH: Final = "/v1/responses"
#: https://platform.openai.com/docs/api-reference/responses/create (seen 2026-11-29): OpenAI refuses a smaller limit.
_LEAST_TOKENS: Final = 16
#: Fields of a chat completion that the Responses API has too.
_SHARED: Final = (
    *("metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier", "user"),
)
_ENCRYPTED: Final = ["reasoning.encrypted_content"]
#: Characters of the conversation's first text that tell conversations apart.
_FIRST_TEXT: Final = 4000


def responses_request(request: Request, target: Target, attempt: Attempt = FIRST) -> Call:
    """Return the call for `request`. The server keeps nothing, and the keys have the order of a prompt."""
    if request.untranslatable is not None:
        raise request.untranslatable
    params, vendor = request.params, target.vendor
    if len(params.mcp_servers) or len(params.container) or len(params.thread):
        refuse_server_features(request)
    budget = Budget()
    tools = tool_list(request, target, budget) if params.tools or request.loose else []
    wanted, instruction = None, ""
    if params.output_config is not None or params.output_format is not None:
        wanted, instruction = answer_format(params, target, bool(tools), budget)
    body: dict[str, Any] = {"model": target.model}
    instructions, items = input_items(request, target)
    if instruction:
        items.append(MessageItem("user", instruction))
    if not items:
        # The server refuses an empty input: a conversation of system messages alone is that input.
        items.append(MessageItem("developer", instructions))
        instructions = ""
    if instructions:
        body["instructions"] = instructions
    if tools:
        body["tools"] = list(map(_tool, tools))
    body["input"] = items
    limit = answer_limit(request.content, target, attempt)
    if limit is not None:
        body["max_output_tokens"] = max(limit, _LEAST_TOKENS)
    if params.stop_sequences:
        # Refuses sequences that are too long to look for.
        split_stops(request, target, attempt)
    for name in ("temperature", "top_p"):
        value = getattr(params, name)
        if value is not None:
            body[name] = value
    if params.tool_choice is not None:
        body.update(_tool_choice(request, tools, target))
    if wanted is not None:
        body["text"] = {"format": _format(wanted)}
    body["store"] = False
    _add_reasoning(body, request, target)
    if vendor.responses_extras:
        body["prompt_cache_key"] = _cache_key(items, target)
    if request.extra:
        _add_extra(body, request.extra)
    if request.stream:
        body["stream"] = True
        if vendor.responses_extras:
            body["stream_options"] = {"include_obfuscation": False}
    return Call("POST", PATH, json_headers(request.headers.get("user-agent")), _encode(body))


#: Tools in the flat form, by their objects: `openai.tools` keeps an object for each tool that clients repeat.
_flat_tools: Final[dict[int, tuple[ChatTool, Raw]]] = {}
_KEPT_TOOLS: Final = 512
_KEPT_BYTES: Final = 1 << 15


def _tool(tool: ChatTool) -> Raw:
    """A function in the flat form. Without `strict` the server would try to make its schema strict."""
    known = _flat_tools.get(id(tool))
    if known is not None and known[0] is tool:
        return known[1]
    flat = Raw(_encode({"type": "function", "strict": False, **tool.function}))
    if len(bytes(flat)) < _KEPT_BYTES:
        if len(_flat_tools) >= _KEPT_TOOLS:
            _flat_tools.clear()
        _flat_tools[id(tool)] = (tool, flat)
    return flat


def _tool_choice(request: Request, tools: list[ChatTool], target: Target) -> dict[str, Any]:
    fields = tool_choice(request, tools, target)
    choice = fields.get("tool_choice")
    if isinstance(choice, dict):
        fields["tool_choice"] = {"type": "function", **choice["function"]}
    return fields


def _format(wanted: dict[str, Any]) -> dict[str, Any]:
    """The format of the answer's text in the flat form."""
    schema = wanted.get("json_schema")
    if schema is None:
        return wanted
    return {"type": "json_schema", "strict": False, **schema}


def _add_reasoning(body: dict[str, Any], request: Request, target: Target) -> None:
    """Set whether and how hard to reason, request the reasoning in encrypted form, and remove what the model refuses.

    The rules are those for chat completions, but here tools and reasoning go together.
    """
    setting, rule = request.params.thinking, rule_of(target)
    on = setting is not None and setting.type != "disabled"
    effort = None
    if rule is not None:
        on = on and thinks(request, rule, tools=False)
        add_thinking(body, request, rule, on=on)
        effort = body.pop("reasoning_effort", None)
    elif on and not target.vendor.thinking:
        # The protocol itself has a field for the effort.
        effort = wanted_effort(request)
    if effort:
        summary = on and setting is not None and setting.display != "omitted"
        body["reasoning"] = {"effort": effort, "summary": "auto"} if summary else {"effort": effort}
    if effort or not target.vendor.thinking:
        body["include"] = _ENCRYPTED


def _add_extra(body: dict[str, Any], extra: dict[str, Raw]) -> None:
    """Add the fields of a chat completion that the Messages API does not have and this one has."""
    body.update({name: extra[name] for name in _SHARED if name in extra})
    if "verbosity" in extra:
        body["text"] = {**body.get("text", {}), "verbosity": extra["verbosity"]}


def _cache_key(items: list[InputItem], target: Target) -> str:
    """A text that is the same for all requests of one conversation: the server sends them to one machine, with one cache."""
    first = next((item.content for item in items if isinstance(item, MessageItem)), "")
    text = first if isinstance(first, str) else next((part.text for part in first if part.text), "") or ""
    data = f"{target.model} {text[:_FIRST_TEXT]}".encode("utf-8", "surrogatepass")
    return blake2b(data, key=target.key[:64], digest_size=16).hexdigest()
