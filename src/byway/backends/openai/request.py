"""What to send for a Messages request: the chat-completions request. What comes back is read in `reader`."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UnsetType

from byway.backends import Call, Target
from byway.backends.openai.conversation import conversation
from byway.backends.openai.tools import choice, offered
from byway.messages import Request
from byway.problems import Problem

_encode: Final = msgspec.json.Encoder().encode


def request(request: Request, target: Target) -> Call:
    """The call for `request`. Only what the protocol knows is sent: no cache marks, no metadata, no betas.

    The order of the keys is that of a prompt: tools, then messages, so that a server which hashes the body sees the
    same beginning turn after turn.
    """
    params, vendor = request.params, target.vendor
    body: dict[str, Any] = {"model": target.model}
    tools = offered(request, target)
    if tools:
        body["tools"] = tools
    body["messages"] = conversation(request, target)
    if isinstance(params.max_tokens, UnsetType):
        raise Problem("invalid_request", "max_tokens: Field required")
    # 0 asks Anthropic to fill its cache; the smallest that these servers take is 1.
    body[vendor.max_tokens_field] = max(1, params.max_tokens)
    for name in vendor.sampling:
        value = getattr(params, name)
        if value is not None:
            body[name] = value
    if params.stop_sequences:
        # Servers refuse an empty stop sequence, and some a long list: the rest is left out rather than the request lost.
        body["stop"] = [text for text in params.stop_sequences if text][: vendor.stop_limit]
    if tools:
        body.update(choice(request))
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return Call("POST", "/v1/chat/completions", _JSON, _encode(body))


_JSON: Final = (("content-type", "application/json"),)
