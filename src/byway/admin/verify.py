"""Verify: one real request of one token through this Byway, and which layer failed when it did not work.

The settings page and `byway verify` show the same texts; docs/troubleshooting.md has a row for each.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from byway.call import Call
from byway.config import TimeoutSettings
from byway.decoding import DECODE_ERRORS
from byway.problems import Problem
from byway.upstream.client import Upstream

#: Marks the request as Byway's own in the log and in the list of requests.
PROBE_HEADER: Final = "x-byway-probe"
#: Seconds that the answer may take.
LIMIT: Final = 5.0
_BODY_LIMIT: Final = 1 << 20

Layer = Literal["", "address", "credential", "model", "server"]
Fix = Literal["", "another model", "load the model", "verify again", "keys", "secrets"]


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
    fix: Fix = ""
    """What the page offers as a button: an action, or the page where the fix is."""


async def verify(
    base: str, key: str, model: str = "sonnet", limit: float = LIMIT, *, extra_cas: Sequence[str] = ()
) -> Verdict:
    """Send a request of one token for `model` to `base`, as Claude Code would. Raises nothing.

    `base` is `http://127.0.0.1:38080/anthropic` or `unix:` with the path of a socket; `limit` is in seconds.
    `extra_cas` are files of certificates that are trusted too.
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
        timeouts = TimeoutSettings(connect=limit, first_byte=limit + 1)
        upstream = Upstream(base, timeouts=timeouts, proxy="none", extra_cas=extra_cas)
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
    fix = _FIXES.get(verdict.summary, "verify again" if verdict.summary.startswith("Request timed out") else "")
    return msgspec.structs.replace(verdict, requested=model, ms=ms, fix=fix)


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
    except DECODE_ERRORS:
        return _not_byway(base)
    backend = headers.get("x-byway-backend", "")
    if status == 200 and answer.type == "message":
        model = headers.get("x-byway-model", "").removeprefix(f"{backend}/")
        return Verdict(True, "Connected", model=model, backend=backend)
    kind = headers.get("x-byway-problem", "") or _KINDS.get(status, "upstream")
    return _failed(kind, answer.error.message, backend, base)


#: The kind of a problem by its status, for a Byway that does not send `x-byway-problem`.
_KINDS: Final[Mapping[int, str]] = {
    400: "invalid_request",
    401: "authentication",
    402: "billing",
    403: "permission",
    404: "not_found",
    405: "method",
    413: "too_large",
    422: "invalid_request",
    429: "rate_limit",
    503: "loading",
    504: "timeout",
    529: "overloaded",
}
#: What the page offers for each result, by its summary.
_FIXES: Final[Mapping[str, Fix]] = {
    "Authentication failed": "keys",
    "Key lacks a scope": "keys",
    "No model is loaded": "load the model",
    "Model not found": "another model",
    "Account without credit": "another model",
    "Backend denied access": "another model",
    "Backend failed": "another model",
    "Backend not responding": "another model",
    "Rate limit reached": "verify again",
    "Backend is busy": "verify again",
    "The model is loading": "verify again",
    "Backend rejected the API key": "secrets",
}
_NOT_LOADED: Final = re.compile(r"\blms load\b|load the model there|no models? (?:is |are )?loaded", re.IGNORECASE)
_OUT_OF_MEMORY: Final = re.compile(r"out of memory|\bOOM\b|failed to allocate", re.IGNORECASE)


def _failed(kind: str, message: str, backend: str, base: str) -> Verdict:
    """The verdict for an error, by the kind of its problem."""
    at = f" {backend}" if backend else ""
    match kind:
        case "authentication":
            verdict = Verdict(
                False,
                "Authentication failed",
                "credential",
                hint="Use a valid key. To create one: API -> Keys on the settings page, or `byway key create NAME`.",
            )
        case "permission" if "over TCP" in message:
            verdict = Verdict(False, "The API is off over TCP", "address", hint="Turn it on under Keys -> Server.")
        case "permission":
            verdict = Verdict(False, "Key lacks a scope", "credential", hint="Use a key with the scope `write`.")
        case "model_not_found" | "not_found" | "invalid_request" if _NOT_LOADED.search(message):
            verdict = Verdict(
                False,
                "No model is loaded",
                "model",
                hint=f"Load a model in the server of backend{at}, then verify again. In LM Studio: Developer -> Load Model, or "
                "`lms load`.",
            )
        case "model_not_found":
            verdict = _model_not_found()
        case "not_found" if "model" in message.lower():
            verdict = _model_not_found()
        case "not_found" | "method":
            return _not_byway(base)
        case "invalid_request" | "prompt_too_long" | "too_large":
            verdict = Verdict(
                False,
                "Byway could not parse the request",
                "server",
                hint="Byway, or the server behind it, does not support Claude Code's request. Update both.",
            )
        case "billing":
            verdict = Verdict(
                False,
                "Account without credit",
                "server",
                hint=f"Add credit to the account of backend{at}, or choose another model.",
            )
        case "forbidden":
            verdict = Verdict(
                False,
                "Backend denied access",
                "server",
                hint=f"The account of backend{at} may not use this model or client. Choose another model, or change the plan.",
            )
        case "rate_limit" | "quota":
            verdict = Verdict(
                False,
                "Rate limit reached",
                "server",
                hint=f"Backend{at} works and limits requests. Wait, or add a second target to the alias.",
            )
        case "overloaded" | "busy" | "stopping":
            verdict = Verdict(
                False,
                "Backend is busy",
                "server",
                hint=f"Backend{at} works and has no free capacity. Verify again in a moment.",
            )
        case "loading":
            verdict = Verdict(
                False,
                "The model is loading",
                "model",
                hint="Wait until it is ready, then verify again. Models shows the progress.",
            )
        case "refused":
            verdict = Verdict(
                False,
                "Backend rejected the API key",
                "server",
                hint="Correct the backend's API key under Secrets, or its `api_key` in byway.yaml.",
            )
        case "timeout":
            verdict = _timed_out(LIMIT)
        case "unreachable":
            verdict = Verdict(
                False,
                "Backend not responding",
                "server",
                hint=f"Byway works, but its backend{at} does not respond. Start that server, or choose another model under "
                "Quick Setup.",
            )
        case _:
            verdict = _server_error(message, at)
    return msgspec.structs.replace(verdict, message=message, backend=backend)


def _model_not_found() -> Verdict:
    return Verdict(
        False,
        "Model not found",
        "model",
        hint="Set the alias `default` (Quick Setup does), and check under Models whether the model is loaded.",
    )


def _server_error(message: str, at: str) -> Verdict:
    hint = f"Backend{at} answered with an error of its own. Read its log, restart it, or choose another model."
    if _OUT_OF_MEMORY.search(message):
        hint = (
            f"The server of backend{at} has too little memory for this model. Use a smaller model, a smaller context or a "
            "smaller quantisation."
        )
    return Verdict(False, "Backend failed", "server", hint=hint)
