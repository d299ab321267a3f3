"""The OpenAI Responses protocol: builds requests and reads answers. No I/O.

https://platform.openai.com/docs/api-reference/responses (seen 2026-11-29). Nothing is stored at the server: each request holds
the whole conversation, with the reasoning of earlier turns in encrypted form.
"""

from __future__ import annotations

from typing import Final

import msgspec

from byway.backends.catalog import read_models
from byway.backends.errors import problem
from byway.backends.openai.completions import read_count
from byway.backends.openai.discovery import describe, models, next_models, read_description
from byway.backends.protocol import FIRST, AnswerReader, Attempt, Target
from byway.backends.responses import passthrough
from byway.backends.responses.passthrough import passes
from byway.backends.responses.reader import ResponsesReader
from byway.backends.responses.request import responses_request
from byway.call import Call
from byway.messages.request import Request

NATIVE: Final = False

__all__ = [
    "NATIVE",
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
#: The fields of a request that its count depends on, as `openai.types.responses.InputTokenCountParams` has them.
_COUNTED: Final = ("model", "instructions", "input", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text")


def request(request: Request, target: Target, attempt: Attempt = FIRST) -> Call:
    if request.content.responses and passes(request, target):
        return passthrough.request(request, target)
    return responses_request(request, target, attempt)


def reader(request: Request, target: Target, attempt: Attempt = FIRST) -> AnswerReader:
    if request.content.responses and passes(request, target):
        return passthrough.PassingReader(request, target, attempt)
    return ResponsesReader(request, target, attempt)


def count(request: Request, target: Target) -> Call | None:
    """Return the call that makes the server count the prompt; None where the server cannot count."""
    if not target.vendor.responses_extras:
        return None
    call = _prompt(request, target)
    fields = msgspec.json.decode(call.body, type=dict[str, msgspec.Raw])
    counted = {name: fields[name] for name in _COUNTED if name in fields}
    return Call("POST", f"{call.path}/input_tokens", call.headers, msgspec.json.encode(counted))


def _prompt(request: Request, target: Target) -> Call:
    if request.content.responses and passes(request, target):
        return passthrough.request(request, target)
    return responses_request(request, target)
