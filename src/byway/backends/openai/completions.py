"""The OpenAI chat-completions protocol: what to send for a Messages request, and how to read what comes back. No I/O.

https://platform.openai.com/docs/api-reference/chat (seen 2026-11-20); what servers really answer was recorded with
llama.cpp b11549 and transformers 5.23. Reading never depends on the vendor: a field is understood wherever it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from byway.backends import errors
from byway.backends.openai import passthrough
from byway.backends.openai.discovery import describe, models, read_description, read_models
from byway.backends.openai.reader import ChatReader
from byway.backends.openai.request import request as _made
from byway.backends.protocol import FIRST, AnswerReader, Attempt, Target
from byway.call import Call
from byway.messages.request import Request
from byway.problems import Problem

NATIVE: Final = False

__all__ = [
    "NATIVE",
    "ChatReader",
    "count",
    "describe",
    "models",
    "problem",
    "read_count",
    "read_description",
    "read_models",
    "reader",
    "request",
]


def request(request: Request, target: Target, attempt: Attempt = FIRST) -> Call:
    return passthrough.request(request, target) if request.chat else _made(request, target, attempt)


def reader(request: Request, target: Target, attempt: Attempt = FIRST) -> AnswerReader:
    return (passthrough.PassthroughReader if request.chat else ChatReader)(request, target, attempt)


def problem(status: int, headers: Mapping[str, str], body: bytes, target: Target) -> Problem:
    problem = errors.from_response(status, headers, body, backend=target.backend, window=target.window)
    if status == 400 and b'"tool_use_failed"' in body:
        # Groq: the model wrote a call that cannot be parsed. The request is valid, so another try may succeed.
        return Problem("upstream", problem.message, facts=problem.facts)
    return problem


class _Prompt(Struct):
    """What of a chat request makes up its prompt."""

    model: str
    messages: Raw
    tools: Raw | UnsetType = UNSET
    tool_choice: Raw | UnsetType = UNSET
    chat_template_kwargs: Raw | UnsetType = UNSET


def count(request: Request, target: Target) -> Call | None:
    """The call that has the server count the very prompt that `request` would send; None where it has no such page."""
    if not target.vendor.count_path:
        return None
    prompt = msgspec.json.decode(_made(request, target).body, type=_Prompt)
    return Call("POST", target.vendor.count_path, (("content-type", "application/json"),), msgspec.json.encode(prompt))


class _Count(Struct):
    input_tokens: int | None = None
    # vLLM
    count: int | None = None


def read_count(body: bytes) -> int:
    """The number of tokens, by either of its names; raises Problem `broken` for anything else."""
    try:
        found = msgspec.json.decode(body, type=_Count)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found = _Count()
    tokens = found.count if found.input_tokens is None else found.input_tokens
    if tokens is None or not 0 <= tokens < 1 << 53:
        raise Problem("broken", "The backend's token count was not understood.")
    return tokens
