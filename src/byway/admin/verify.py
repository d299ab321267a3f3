"""Verify: one real request of one token through this Byway, and which layer failed when it did not work.

The settings page and `byway verify` show the same texts; docs/troubleshooting.md has a row for each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from byway.call import Call
from byway.config import TimeoutSettings
from byway.problems import Problem
from byway.upstream.client import Upstream

#: Marks the request as Byway's own in the log and in the list of requests.
PROBE_HEADER: Final = "x-byway-probe"
#: Seconds that the answer may take.
LIMIT: Final = 5.0
_BODY_LIMIT: Final = 1 << 20

Layer = Literal["", "address", "credential", "model", "server"]


class Verdict(Struct, frozen=True):
    """The result of a verification."""

    good: bool
    summary: str
    """Two or three words: `Connected`, `Authentication failed`."""
    layer: Layer = ""
    """What failed: the address, the credential, the model, or the server behind Byway."""
    message: str = ""
    """The error that was returned."""
    hint: str = ""
    """What to do."""
    requested: str = ""
    """The model name of the request."""
    model: str = ""
    """The model that answered."""
    backend: str = ""
    """The backend that answered, or that failed."""
    ms: float = 0


async def verify(base: str, key: str, model: str = "sonnet", limit: float = LIMIT) -> Verdict:
    """Send a request of one token for `model` to `base`, as Claude Code would. Raises nothing.

    `base` is `http://127.0.0.1:38080/anthropic` or `unix:` with the path of a socket; `limit` is in seconds.
    """
    started = time.monotonic()
    body = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}
    headers = (
        ("content-type", "application/json"),
        ("anthropic-version", "2023-06-01"),
        (PROBE_HEADER, "verify"),
        *((("x-api-key", key),) if key else ()),
    )
    call = Call("POST", "/v1/messages", headers, msgspec.json.encode(body))
    try:
        upstream = Upstream(base, timeouts=TimeoutSettings(connect=limit, first_byte=limit + 1), proxy="none")
    except Problem:
        return Verdict(
            False,
            "Invalid address",
            "address",
            f"{base} is not an http:// or https:// URL with a host.",
            "Correct the base URL: http://HOST:PORT/anthropic",
        )
    try:
        async with asyncio.timeout(limit):
            answer = await upstream.open(call)
            try:
                content = await answer.body(_BODY_LIMIT)
                status, answer_headers = answer.status, answer.headers
            finally:
                answer.close()
    except Problem as problem:
        verdict = _not_connected(problem, base, limit)
    except TimeoutError:
        verdict = _timed_out(limit)
    else:
        verdict = _read(status, answer_headers, content, base)
    finally:
        await upstream.close()
    ms = round((time.monotonic() - started) * 1000, 1)
    return msgspec.structs.replace(verdict, requested=model, ms=ms)


def _timed_out(limit: float) -> Verdict:
    return Verdict(
        False,
        f"Request timed out after {limit:g} s",
        "server",
        "",
        "The model was probably unloaded (evicted) and is being loaded again: load it under Models, then verify again. Also "
        "check the load of CPU and GPU: another program may use them.",
    )


def _not_connected(problem: Problem, base: str, limit: float) -> Verdict:
    if problem.kind == "timeout":
        return _timed_out(limit)
    if problem.kind == "broken":
        return _not_byway(base)
    refused = "refuse" in problem.message.lower()
    return Verdict(
        False,
        "Connection refused" if refused else "Unreachable",
        "address",
        # The rest of the message is about backends.
        f"{problem.message.partition('. ')[0].rstrip('.')}.",
        "No program listens at this address. Start Byway (`byway up`), and compare the port with API -> Status.",
    )


def _not_byway(base: str) -> Verdict:
    return Verdict(
        False,
        "Not Byway",
        "address",
        f"The program that listens at {base} is not Byway.",
        "Another program uses this port. `byway up` and the card Endpoint show Byway's base URL.",
    )


class _ErrorContent(Struct):
    type: str = ""
    message: str = ""


class _MessageOrError(Struct):
    error: _ErrorContent = msgspec.field(default_factory=_ErrorContent)
    type: str = ""
    content: Any = None


def _read(status: int, headers: Mapping[str, str], content: bytes, base: str) -> Verdict:
    try:
        answer = msgspec.json.decode(content, type=_MessageOrError)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _not_byway(base)
    backend = headers.get("x-byway-backend", "")
    if status == 200 and answer.type == "message":
        return Verdict(True, "Connected", model=headers.get("x-byway-model", ""), backend=backend)
    may_retry = headers.get("x-should-retry") != "false"
    return _failed(status, answer.error, backend, base, may_retry=may_retry)


def _failed(status: int, error: _ErrorContent, backend: str, base: str, *, may_retry: bool) -> Verdict:
    """The verdict for an error. Of the errors with 502, only a rejected API key of ours forbids a retry."""
    message = error.message
    match status:
        case 401:
            return Verdict(
                False,
                "Authentication failed",
                "credential",
                message,
                "Use a valid key. To create one: API -> Keys on the settings page, or `byway key create NAME`.",
            )
        case 403 if "over TCP" in message:
            return Verdict(False, "The API is off over TCP", "address", message, "Turn it on under API -> Server.")
        case 403:
            return Verdict(False, "Key lacks a scope", "credential", message, "Use a key with the scope `write`.")
        case 404 if "model" in message.lower() or backend:
            return Verdict(
                False,
                "Model not found",
                "model",
                message,
                "Set the alias `default` (Quick Setup does), and check under Models whether the model is loaded.",
                backend=backend,
            )
        case 404 | 405:
            return _not_byway(base)
        case 400 | 413 | 422:
            return Verdict(
                False,
                "Byway could not parse the request",
                "server",
                message,
                "Byway, or the server behind it, does not support Claude Code's request. Update both.",
                backend=backend,
            )
        case 503 if error.type == "overloaded_error":
            return Verdict(
                False,
                "The model is loading",
                "model",
                message,
                "Wait until it is ready, then verify again. Models shows the progress.",
                backend=backend,
            )
        case 502 if not may_retry:
            return Verdict(
                False,
                "Backend rejected the API key",
                "server",
                message,
                "Correct the backend's API key under Secrets, or its `api_key` in byway.yaml.",
                backend=backend,
            )
        case 504:
            return msgspec.structs.replace(_timed_out(LIMIT), message=message, backend=backend)
        case _:
            return Verdict(
                False,
                "Backend not responding",
                "server",
                message,
                f"Byway works, but its backend{f' {backend}' if backend else ''} does not. Start that server, or choose another "
                "model under Quick Setup.",
                backend=backend,
            )
