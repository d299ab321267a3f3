"""The OpenAI chat-completions protocol: what to send for a Messages request, and how to read what comes back. No I/O.

https://platform.openai.com/docs/api-reference/chat (seen 2026-11-20); what servers really answer was recorded with
llama.cpp b11549 and transformers 5.23. Reading never depends on the vendor: a field is understood wherever it stands.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from byway import faults
from byway.backends import Call, Facts, Target
from byway.backends.openai.reader import ChatReader, reader
from byway.backends.openai.request import request
from byway.messages import Request
from byway.problems import Problem

__all__ = [
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


def problem(status: int, headers: Mapping[str, str], body: bytes, target: Target) -> Problem:
    return faults.read(status, headers, body, backend=target.backend, window=target.window)


def count(request: Request, target: Target) -> Call | None:
    return None


def read_count(body: bytes) -> int:
    raise Problem("internal", "Chat completions have no call that counts tokens.")


def models() -> Call:
    return Call("GET", "/v1/models")


class _Model(Struct):
    id: str


class _Models(Struct):
    data: list[_Model]


def read_models(body: bytes) -> list[str]:
    """The ids of `GET /v1/models`; raises Problem `broken` for anything else."""
    try:
        return [model.id for model in msgspec.json.decode(body, type=_Models).data]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Problem(
            "broken", "The list of models was not understood. Is the backend's `url` that of its API?"
        ) from None


def describe(target: Target) -> Call | None:
    """llama.cpp says its window at `/props`; others are asked nothing."""
    return Call("GET", "/props") if target.vendor.props else None


class _Settings(Struct):
    n_ctx: int | None = None


class _Caps(Struct):
    supports_tools: bool | None = None


class _Props(Struct):
    default_generation_settings: _Settings | None = None
    chat_template_caps: _Caps | None = None


def read_description(body: bytes, target: Target) -> Facts:
    """Facts from llama.cpp's `/props`: the window of one slot, and whether its template has tools."""
    try:
        props = msgspec.json.decode(body, type=_Props)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Facts()
    settings = props.default_generation_settings or _Settings()
    return Facts(settings.n_ctx, (props.chat_template_caps or _Caps()).supports_tools)
