"""What to send for a Messages request: the chat-completions request. What comes back is read in `reader`."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, UnsetType

from byway.backends.openai.conversation import ChatMessage, chat_messages, prefill
from byway.backends.openai.schema import Dialect, adapt
from byway.backends.openai.thinking import accepts_effort, thinking_fields
from byway.backends.openai.tools import tool_choice, tool_list
from byway.backends.protocol import FIRST, Attempt, Call, Target
from byway.backends.vendors import Vendor
from byway.messages.request import Params, Request, unopened
from byway.problems import Problem

_encode: Final = msgspec.json.Encoder().encode


def request(request: Request, target: Target, attempt: Attempt = FIRST) -> Call:
    """The call for `request`. Only what the protocol knows is sent: no cache marks, no metadata, no betas.

    The order of the keys is that of a prompt: tools, then messages, so that a server which hashes the body sees the
    same beginning turn after turn.
    """
    params, vendor = request.params, target.vendor
    if len(params.mcp_servers) or len(params.container) or params.safeguards:
        _check(request, attempt)
    tools = tool_list(request, target)
    form, words = None, ""
    if params.output_config is not None or params.output_format is not None:
        form, words = _form(params, vendor, bool(tools))
    body: dict[str, Any] = {"model": target.model}
    if tools:
        body["tools"] = tools
    body["messages"] = messages = chat_messages(request, target)
    if words:
        _tell(messages, words)
    most = params.max_tokens
    if isinstance(most, UnsetType):
        # A chat completion needs no limit; a Messages request does.
        if request.extra is None:
            raise Problem("invalid_request", "max_tokens: Field required")
    else:
        if target.max_output is not None or attempt.room is not None:
            most = min(limit for limit in (most, target.max_output, attempt.room) if limit is not None)
        # 0 asks Anthropic to fill its cache; the smallest that others take is 1.
        body[vendor.max_tokens_field] = most if most > 0 else 1
    if not (params.temperature is params.top_p is params.top_k is None):
        for name in vendor.sampling:
            value = getattr(params, name)
            if value is not None:
                body[name] = value
    if params.stop_sequences:
        # Servers refuse an empty stop sequence, and some a long list: the rest is left out rather than the request lost.
        body["stop"] = [text for text in params.stop_sequences if text][: vendor.stop_limit]
    if params.tool_choice is not None:
        body.update(tool_choice(request, tools, target))
    if form:
        body["response_format"] = form
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


def _tell(messages: list[ChatMessage], words: str) -> None:
    """Add `words` as the user's last."""
    last = messages[-1] if messages else None
    if last is not None and last.role == "user" and isinstance(last.content, str):
        messages[-1] = ChatMessage("user", f"{last.content}\n\n{words}")
    else:
        messages.append(ChatMessage("user", words))


_JSON: Final = (("content-type", "application/json"),)


def _check(request: Request, attempt: Attempt) -> None:
    """Refuse what only Anthropic's own servers can do, by the name of its field, so that the client can leave it out.

    Claude Code 2.1.329 sends `safeguards` in auto mode and goes on without it (measured); a verdict is never made up.
    """
    if request.params.safeguards and not attempt.judged:
        raise Problem(
            "invalid_request",
            "safeguards: the backend that answers here gives no verdicts on tool calls. Leave 'safeguards' out: Claude Code does "
            "so by itself. Without a classifier of its own, choose another permission mode, such as acceptEdits, or set "
            "`safeguards.classifier` in byway.yaml.",
        )
    for name in ("mcp_servers", "container"):
        value = bytes(getattr(request.params, name))
        if value not in (b"", b"null", b"[]", b"{}"):
            raise Problem(
                "invalid_request",
                f"{name}: Anthropic's servers do this; the backend that answers here cannot. Leave {name!r} out, or send this "
                "request to an Anthropic backend.",
            )


def _form(params: Params, vendor: Vendor, tools: bool) -> tuple[dict[str, Any] | None, str]:
    """The form that the answer's text must have: as the server is told it, and in words where it cannot be."""
    config = params.output_config
    asked = (config.format if config else None) or params.output_format
    if asked is None:
        return None, ""
    if asked.type != "json_schema":
        raise Problem("invalid_request", f"output_config.format.type: {asked.type!r} is not known; 'json_schema' is.")
    schema = unopened(asked.schema, "output_config.format.schema")
    if not schema.startswith(b"{"):
        raise Problem("invalid_request", "output_config.format.schema: Input should be an object")
    words = ""
    if vendor.format != "json_schema" or (tools and not vendor.format_with_tools):
        words = f"Answer with one JSON object and nothing else. It must match this JSON schema:\n{schema.decode()}"
    if tools and not vendor.format_with_tools:
        return None, words
    match vendor.format:
        case "json_schema":
            # A server of an unknown kind may be llama.cpp too.
            dialect: Dialect = "grammar" if vendor.schema in ("grammar", "plain") else "open"
            taken = Raw(adapt(schema, dialect, "output_config.format.schema", tool=False))
            return {"type": "json_schema", "json_schema": {"name": "answer", "schema": taken}}, words
        case "json_object":
            return {"type": "json_object"}, words
        case _:
            return None, words
