"""Does a client reach a model by way of this Byway? One real request of one token, and which layer failed when it did not.

The words for people are those of the settings page and of `byway verify` alike; docs/troubleshooting.md has the same rows.
"""

from __future__ import annotations

import asyncio
import time
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
    """What came of it. `layer` is what failed: the address, the credential, the model, or the server behind."""

    good: bool
    said: str
    """In two or three words: `Connected`, `Authentication failed`."""
    layer: Layer = ""
    why: str = ""
    """What was answered, in the answer's own words."""
    hint: str = ""
    """What to do."""
    asked: str = ""
    """The model's name that was asked for."""
    model: str = ""
    """The model that answered, and its backend."""
    backend: str = ""
    ms: float = 0


async def verify(base: str, key: str, model: str = "sonnet", limit: float = LIMIT) -> Verdict:
    """Ask `base` (`http://127.0.0.1:38080/anthropic`) as Claude Code would, for one token of `model`. Raises nothing."""
    began = time.monotonic()
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
            "No such address",
            "address",
            f"{base} is no http:// or https:// with a host.",
            "Correct the base URL: http://HOST:PORT/anthropic",
        )
    try:
        async with asyncio.timeout(limit):
            answer = await upstream.open(call)
            try:
                found = await answer.body(_BODY_LIMIT)
                status, given = answer.status, answer.headers
            finally:
                answer.close()
    except Problem as problem:
        verdict = _unreached(problem, base, limit)
    except TimeoutError:
        verdict = _late(limit)
    else:
        verdict = _read(status, given, found, base)
    finally:
        await upstream.close()
    ms = round((time.monotonic() - began) * 1000, 1)
    return msgspec.structs.replace(verdict, asked=model, ms=ms)


def _late(limit: float) -> Verdict:
    return Verdict(
        False,
        f"Request timed out after {limit:g} s",
        "server",
        "",
        "Most often the model was unloaded (evicted) and is read from the disk again: load it under Models and verify once more. "
        "Also look how busy the CPU or GPU is: another program may have it.",
    )


def _unreached(problem: Problem, base: str, limit: float) -> Verdict:
    if problem.kind == "timeout":
        return _late(limit)
    if problem.kind == "broken":
        return _stranger(base)
    refused = "refuse" in problem.message.lower()
    return Verdict(
        False,
        "Connection refused" if refused else "Cannot be reached",
        "address",
        # What it says behind that is for backends.
        f"{problem.message.partition('. ')[0].rstrip('.')}.",
        "Nothing listens there. Start Byway (`byway up`), and look under API -> Status: perhaps its port is another.",
    )


def _stranger(base: str) -> Verdict:
    return Verdict(
        False,
        "Something else answers",
        "address",
        f"What listens at {base} is no Byway.",
        "Another program has that port. The base URL stands in what `byway up` prints, and on the page under Endpoint.",
    )


class _Error(Struct):
    type: str = ""
    message: str = ""


class _Envelope(Struct):
    error: _Error = msgspec.field(default_factory=_Error)
    type: str = ""
    content: Any = None


def _read(status: int, headers: Any, body: bytes, base: str) -> Verdict:
    try:
        said = msgspec.json.decode(body, type=_Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _stranger(base)
    if status == 200 and said.type == "message":
        return Verdict(
            True, "Connected", model=headers.get("x-byway-model", ""), backend=headers.get("x-byway-backend", "")
        )
    return _failed(status, said.error, headers.get("x-byway-backend", ""), base)


def _failed(status: int, error: _Error, backend: str, base: str) -> Verdict:
    why = error.message
    match status:
        case 401:
            return Verdict(
                False,
                "Authentication failed",
                "credential",
                why,
                "Create a key under API -> Keys and paste it here: its value is shown once, when it is made.",
            )
        case 403 if "over TCP" in why:
            return Verdict(False, "The API is off over TCP", "address", why, "Switch it on under API.")
        case 403:
            return Verdict(False, "The key may not do this", "credential", why, "Use a key with the scope `write`.")
        case 404 if "model" in why.lower() or backend:
            return Verdict(
                False,
                "Model not found",
                "model",
                why,
                "Set the `default` alias (Quick Setup does), and look under Models whether that model is really loaded.",
                backend=backend,
            )
        case 404 | 405:
            return _stranger(base)
        case 400 | 413 | 422:
            return Verdict(
                False,
                "Byway could not parse the request",
                "server",
                why,
                "Byway, or the server behind it, does not understand Claude Code's request: bring both up to date.",
                backend=backend,
            )
        case 503 if error.type == "overloaded_error":
            return Verdict(
                False,
                "The model is loading",
                "model",
                why,
                "Wait for it, then verify again: Models shows how far it is.",
                backend=backend,
            )
        case 502 if "secret" in why:
            return Verdict(
                False,
                "The backend refuses Byway",
                "server",
                why,
                "The key that Byway has for that backend is wrong: correct it under Secrets, or `api_key` of the backend.",
                backend=backend,
            )
        case 504:
            return msgspec.structs.replace(_late(LIMIT), why=why, backend=backend)
        case _:
            return Verdict(
                False,
                "The backend does not answer",
                "server",
                why,
                f"Byway is there, but not what should answer{f': {backend}' if backend else ''}. Start that server, or choose "
                "another model under Quick Setup.",
                backend=backend,
            )
