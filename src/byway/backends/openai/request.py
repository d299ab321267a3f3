"""Builds the chat-completions request for a Messages request. `reader` reads the answer."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, UnsetType

from byway.backends.openai.conversation import ChatMessage, chat_messages, prefill
from byway.backends.openai.schema import Budget, Dialect, adapt
from byway.backends.openai.thinking import accepts_effort, thinking_fields
from byway.backends.openai.tools import tool_choice, tool_list
from byway.backends.protocol import FIRST, Attempt, Target
from byway.backends.vendors import Vendor
from byway.call import Call
from byway.messages.request import Params, Request, unopened
from byway.problems import Problem

_encode: Final = msgspec.json.Encoder().encode
_JSON: Final = (("content-type", "application/json"),)
#: In this form the SDKs of Anthropic and Claude Code continue without threads after one more request (measured, `anthropic`
#: 2.11.0 for Python, 1.14.0 of npm, Claude Code 2.1.329). Without the details the SDKs fail.
_NO_THREADS: Final = '{"error_code":"thread_unsupported_request","unsupported":["thread"]}'


def request(request: Request, target: Target, attempt: Attempt = FIRST) -> Call:
    """Return the call for `request`. It contains only fields of the chat protocol: no cache marks, metadata or betas.

    The keys have the order of a prompt, tools before messages, so that a server which hashes the body sees the same
    beginning in each turn.
    """
    params, vendor = request.params, target.vendor
    if len(params.mcp_servers) or len(params.container) or params.safeguards or len(params.thread):
        _refuse_server_features(request, attempt)
    budget = Budget()
    tools = tool_list(request, target, budget)
    response_format, instruction = None, ""
    if params.output_config is not None or params.output_format is not None:
        response_format, instruction = _response_format(params, vendor, bool(tools), budget)
    body: dict[str, Any] = {"model": target.model}
    if tools:
        body["tools"] = tools
    body["messages"] = messages = chat_messages(request, target)
    if instruction:
        _add_instruction(messages, instruction)
    max_tokens = params.max_tokens
    if isinstance(max_tokens, UnsetType):
        # A chat completion needs no limit; a Messages request does.
        if request.extra is None:
            raise Problem("invalid_request", "max_tokens: Field required")
    else:
        if target.max_output is not None or attempt.room is not None:
            max_tokens = min(limit for limit in (max_tokens, target.max_output, attempt.room) if limit is not None)
        # 0 makes Anthropic fill its cache; the smallest value of other servers is 1.
        body[vendor.max_tokens_field] = max_tokens if max_tokens > 0 else 1
    if not (params.temperature is params.top_p is params.top_k is None):
        for name in vendor.sampling:
            value = getattr(params, name)
            if value is not None:
                body[name] = value
    if params.stop_sequences:
        # Servers refuse an empty stop sequence, and some a long list. Dropping the rest is better than losing the request.
        body["stop"] = [text for text in params.stop_sequences if text][: vendor.stop_limit]
    if params.tool_choice is not None:
        body.update(tool_choice(request, tools, target))
    if response_format:
        body["response_format"] = response_format
    if messages and messages[-1].role == "assistant":
        body.update(prefill(messages, vendor))
    if vendor.thinking != "none":
        body.update(thinking_fields(request, target))
    if vendor.effort_models_refuse and accepts_effort(target):
        for name in vendor.effort_models_refuse:
            body.pop(name, None)
    if request.extra:
        body.update(request.extra)
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return Call("POST", "/v1/chat/completions", _JSON, _encode(body))


def _add_instruction(messages: list[ChatMessage], instruction: str) -> None:
    """Add `instruction` to the end of the last user message."""
    last = messages[-1] if messages else None
    if last is not None and last.role == "user" and isinstance(last.content, str):
        messages[-1] = ChatMessage("user", f"{last.content}\n\n{instruction}")
    else:
        messages.append(ChatMessage("user", instruction))


def _refuse_server_features(request: Request, attempt: Attempt) -> None:
    """Raise Problem for features that only Anthropic's servers have. It names the field, so that the client can leave it out.

    Claude Code 2.1.329 sends `safeguards` in auto mode and continues without it (measured). A verdict is never invented.
    """
    if request.params.safeguards and not attempt.judged:
        raise Problem(
            "invalid_request",
            "safeguards: this backend cannot classify tool calls. Leave 'safeguards' out: Claude Code does so by itself. "
            "Without a classifier of its own, choose another permission mode, such as acceptEdits, or set "
            "`safeguards.classifier` in byway.yaml.",
        )
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


def _response_format(
    params: Params, vendor: Vendor, has_tools: bool, budget: Budget
) -> tuple[dict[str, Any] | None, str]:
    """The format of the answer's text: the field for the server, and the instruction where the field is not enough."""
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
        instruction = (
            f"Answer with one JSON object and nothing else. It must match this JSON schema:\n{schema.decode()}"
        )
    if has_tools and not vendor.format_with_tools:
        return None, instruction
    match vendor.format:
        case "json_schema":
            # A server of an unknown kind may be llama.cpp.
            dialect: Dialect = "grammar" if vendor.schema in ("grammar", "plain") else "open"
            adapted = Raw(adapt(schema, dialect, "output_config.format.schema", tool=False, budget=budget))
            return {"type": "json_schema", "json_schema": {"name": "answer", "schema": adapted}}, instruction
        case "json_object":
            return {"type": "json_object"}, instruction
        case _:
            return None, instruction
