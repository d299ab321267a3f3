"""The OpenAI chat-completions protocol: builds requests and reads answers. No I/O.

https://platform.openai.com/docs/api-reference/chat (seen 2026-11-20). Answers were recorded with llama.cpp b11549 and
transformers 5.23. Reading does not depend on the vendor.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from byway.backends.catalog import read_models
from byway.backends.errors import problem
from byway.backends.openai import passthrough
from byway.backends.openai.discovery import describe, models, next_models, read_description
from byway.backends.openai.reader import ChatReader
from byway.backends.openai.request import request as _request
from byway.backends.openai.stops import StoppingReader, split_stops
from byway.backends.protocol import FIRST, AnswerReader, Attempt, Target
from byway.call import Call
from byway.decoding import DECODE_ERRORS
from byway.messages.request import Request
from byway.problems import Problem

NATIVE: Final = False

__all__ = [
    "NATIVE",
    "ChatReader",
    "count",
    "describe",
    "models",
    "next_models",
    "passes",
    "problem",
    "read_count",
    "read_description",
    "read_models",
    "reader",
    "request",
]


def passes(request: Request, target: Target) -> bool:
    return bool(request.content.chat)


def request(request: Request, target: Target, attempt: Attempt = FIRST) -> Call:
    return passthrough.request(request, target) if request.content.chat else _request(request, target, attempt)


def reader(request: Request, target: Target, attempt: Attempt = FIRST) -> AnswerReader:
    content = request.content
    if content.chat:
        return passthrough.PassthroughReader(request, target, attempt)
    if content.params.stop_sequences and (sequences := split_stops(request, target, attempt)[1]):
        return StoppingReader(request, target, attempt, sequences)
    return ChatReader(request, target, attempt)


class _PromptFields(Struct):
    """The fields of a chat request that its prompt is made of."""

    model: str
    messages: Raw
    tools: Raw | UnsetType = UNSET
    tool_choice: Raw | UnsetType = UNSET
    chat_template_kwargs: Raw | UnsetType = UNSET


def count(request: Request, target: Target) -> Call | None:
    """Return the call that makes the server count the prompt of `request`; None where the server cannot count."""
    if not target.vendor.count_path:
        return None
    prompt = msgspec.json.decode(_request(request, target).body, type=_PromptFields)
    return Call("POST", target.vendor.count_path, (("content-type", "application/json"),), msgspec.json.encode(prompt))


class _ChatTokenCount(Struct):
    # llama.cpp
    input_tokens: int | None = None
    # vLLM
    count: int | None = None


def read_count(body: bytes) -> int:
    """Return the number of tokens; raises Problem `broken` for another body."""
    try:
        count = msgspec.json.decode(body, type=_ChatTokenCount)
    except DECODE_ERRORS:
        count = _ChatTokenCount()
    tokens = count.count if count.input_tokens is None else count.input_tokens
    if tokens is None or not 0 <= tokens < 1 << 53:
        raise Problem("broken", "The backend's token count cannot be read.")
    return tokens
