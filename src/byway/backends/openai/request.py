"""Builds the chat-completions request for a Messages request. `reader` reads the answer."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, UnsetType

from byway.backends.openai.conversation import add_instruction, chat_messages, lacks_reasoning, prefill
from byway.backends.openai.schema import Budget, Dialect, adapt, allows_strict, in_words
from byway.backends.openai.stops import split_stops
from byway.backends.openai.thinking import add_thinking, rule_of, thinks
from byway.backends.openai.tools import tool_choice, tool_list
from byway.backends.protocol import FIRST, Attempt, Target
from byway.backends.vendors import enforces_strict_formats
from byway.call import Call, json_headers
from byway.messages.request import Content, Params, Request, unopened
from byway.problems import Problem

_encode: Final = msgspec.json.Encoder().encode
#: In this form the SDKs of Anthropic and Claude Code continue without threads after one more request (measured, `anthropic`
#: 2.11.0 for Python, 1.14.0 of npm, Claude Code 2.1.329). Without the details the SDKs fail.
_NO_THREADS: Final = '{"error_code":"thread_unsupported_request","unsupported":["thread"]}'


def request(request: Request, target: Target, attempt: Attempt = FIRST) -> Call:
    """Return the call for `request`. It contains only fields of the chat protocol: no cache marks, metadata or betas.

    The keys have the order of a prompt, tools before messages, so that a server which hashes the body sees the same
    beginning in each turn.
    """
    if request.untranslatable is not None:
        raise request.untranslatable
    content, vendor = request.content, target.vendor
    params, extra = content.params, content.extra
    if params.mcp_servers or params.container or params.thread:
        refuse_server_features(request)
    budget = Budget()
    # Without declared tools, only a loose request can add some: its conversation has blocks that do so.
    tools = tool_list(request, target, budget) if params.tools or request.loose else []
    response_format, instruction = None, ""
    if params.output_config is not None or params.output_format is not None:
        response_format, instruction = answer_format(params, target, bool(tools), budget)
    body: dict[str, Any] = {"model": target.model}
    if tools:
        body["tools"] = tools
    rule = rule_of(target) if vendor.thinking else None
    body["messages"] = messages = chat_messages(request, target, rule.missing if rule is not None else "")
    if instruction:
        add_instruction(messages, instruction, vendor)
    limit = answer_limit(content, target, attempt)
    if limit is not None:
        # 0 makes Anthropic fill its cache; the smallest value of other servers is 1.
        body[vendor.max_tokens_field] = limit if limit > 0 else 1
    if not (params.temperature is params.top_p is params.top_k is None):
        for name in vendor.sampling:
            value = getattr(params, name)
            if value is not None:
                body[name] = value
        if params.temperature is not None and "temperature" in body:
            lowest, highest = vendor.temperatures
            body["temperature"] = min(max(params.temperature, lowest), highest)
    if params.stop_sequences:
        # `stops.StoppingReader` ends the answer at the others.
        sequences, _ = split_stops(request, target, attempt)
        if sequences:
            body["stop"] = sequences
    if params.tool_choice is not None:
        body.update(tool_choice(request, tools, target))
    if response_format:
        body["response_format"] = response_format
    if messages and messages[-1].role == "assistant":
        body.update(prefill(messages, vendor))
    if rule is not None:
        on = thinks(
            request, rule, tools=bool(tools), missing=rule.missing == "off" and lacks_reasoning(messages, vendor)
        )
        add_thinking(body, request, rule, on=on)
    if vendor.fields:
        body.update(vendor.fields)
    if tools and vendor.fields_with_tools:
        body.update(vendor.fields_with_tools)
    if extra:
        body.update(extra)
    if request.stream:
        body["stream"] = True
        if vendor.stream_options:
            body["stream_options"] = {"include_usage": True}
    return Call("POST", "/v1/chat/completions", json_headers(request.headers.get("user-agent")), _encode(body))


def answer_limit(content: Content, target: Target, attempt: Attempt) -> int | None:
    """Return the most tokens of the answer; None when the request has no limit. Raises Problem when it needs one."""
    limit = content.params.max_tokens
    if isinstance(limit, UnsetType):
        # A chat completion and a Responses request need no limit; a Messages request does.
        if content.extra is None:
            raise Problem("invalid_request", "max_tokens: Field required")
        return None
    if target.max_output is not None or attempt.room is not None:
        return min(known for known in (limit, target.max_output, attempt.room) if known is not None)
    return limit


def refuse_server_features(request: Request) -> None:
    """Raise Problem for features that only Anthropic's servers have. It names the field, so that the client can leave it out."""
    if bytes(request.params.thread) not in (b"", b"null"):
        raise Problem(
            "invalid_request",
            "thread: this backend keeps no message threads. Send the whole conversation without 'thread'.",
            facts={"details": _NO_THREADS},
        )
    for name in ("mcp_servers", "container"):
        value = bytes(getattr(request.params, name))
        if value not in (b"", b"null", b"[]", b"{}"):
            raise Problem(
                "invalid_request",
                f"{name}: only Anthropic's servers have this feature. Leave {name!r} out, or send this request to an "
                "Anthropic backend.",
            )


def answer_format(params: Params, target: Target, has_tools: bool, budget: Budget) -> tuple[dict[str, Any] | None, str]:
    """The format of the answer's text: the field for the server, and the instruction where the field is not enough."""
    vendor = target.vendor
    config = params.output_config
    wanted = (config.format if config else None) or params.output_format
    if wanted is None:
        return None, ""
    if wanted.type != "json_schema":
        raise Problem(
            "invalid_request", f"output_config.format.type: Input should be 'json_schema', not {wanted.type!r}"
        )
    schema = unopened(wanted.schema, "output_config.format.schema")
    if not schema.startswith(b"{"):
        raise Problem("invalid_request", "output_config.format.schema: Input should be an object")
    instruction = ""
    if vendor.format != "json_schema" or (has_tools and not vendor.format_with_tools):
        instruction = in_words(schema)
    if has_tools and not vendor.format_with_tools:
        return None, instruction
    match vendor.format:
        case "json_schema":
            # A server of an unknown kind may be llama.cpp.
            dialect: Dialect = "grammar" if vendor.schema in ("grammar", "plain") else "open"
            adapted = Raw(adapt(schema, dialect, "output_config.format.schema", tool=False, budget=budget))
            wrapped: dict[str, Any] = {"name": "answer", "schema": adapted}
            # The Messages API guarantees the schema. A server refuses an open schema with `strict`, and accepts it without.
            if enforces_strict_formats(vendor, target.model) and allows_strict(bytes(adapted)):
                wrapped["strict"] = True
            return {"type": "json_schema", "json_schema": wrapped}, instruction
        case "json_object":
            return {"type": "json_object"}, instruction
        case _:
            return None, instruction
