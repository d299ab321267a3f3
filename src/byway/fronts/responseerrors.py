"""Failures in the form of the Responses API, with the codes and statuses by which its clients choose between retry and end. Pure.

What clients do with each was measured with Codex 0.171.0 (2026-11-29).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from byway.problems import Kind, Problem

_encode: Final = msgspec.json.Encoder().encode
_CODES: Final[dict[Kind, str]] = {
    "prompt_too_long": "context_length_exceeded",
    "rate_limit": "rate_limit_exceeded",
    "limit": "rate_limit_exceeded",
    "quota": "insufficient_quota",
    "budget": "insufficient_quota",
    "billing": "insufficient_quota",
    "authentication": "invalid_api_key",
    "model_not_found": "model_not_found",
    "policy_blocked": "policy_blocked",
}
#: Codes of a failure in a stream. Codex ends the turn at `invalid_prompt` and shows the message; it repeats the request after
#: `server_error`, and after `rate_limit_exceeded` when the time has passed that the message names.
_FINAL: Final = "invalid_prompt"
_TEMPORARY: Final = "server_error"
#: Kinds of failures of which a repetition of the request may be free.
_REPEATED: Final = frozenset(
    (
        "rate_limit",
        "overloaded",
        "busy",
        "loading",
        "unreachable",
        "upstream",
        "broken",
        "timeout",
        "stopping",
        "internal",
    )
)
#: Seconds after which a client may repeat a request with a status of 429 that names no time.
_WAIT: Final = 5
_LONG_WAIT: Final = 60


def code_of(problem: Problem) -> str | None:
    """The code in an error before the stream."""
    if problem.status == 400 and problem.message.startswith(("prompt is too long", "input length and")):
        return _CODES["prompt_too_long"]
    known = problem.facts.get("code")
    return _CODES.get(problem.kind, str(known) if isinstance(known, str) else None)


def envelope(problem: Problem, message: str) -> bytes:
    """An error before the stream: https://platform.openai.com/docs/guides/error-codes (seen 2026-11-20)."""
    error: dict[str, Any] = {
        "message": message,
        "type": problem.row.type,
        "param": problem.facts.get("param"),
        "code": code_of(problem),
    }
    return _encode({"error": error})


def plain(problem: Problem, message: str) -> bytes:
    """The body of a failure for Codex, which shows that of a 400 as it is; empty where Codex reads the code of the failure."""
    return message.encode() if problem.status == 400 and code_of(problem) != "context_length_exceeded" else b""


def failure(problem: Problem, message: str) -> tuple[str, str]:
    """The message and the code of a failure in a stream."""
    code = code_of(problem)
    if code in ("context_length_exceeded", "insufficient_quota"):
        return message, code
    if problem.kind in ("rate_limit", "limit"):
        # Codex reads the time out of the message.
        wait = _WAIT if problem.retry_after is None else max(0.1, problem.retry_after)
        return f"{message.rstrip('.')}. Please try again in {wait:g}s.", "rate_limit_exceeded"
    return message, _TEMPORARY if problem.kind in _REPEATED else _FINAL


def is_codex(user_agent: str, originator: str) -> bool:
    """Return whether the headers are those of Codex."""
    return originator.startswith("codex") or user_agent.startswith("codex")


def show(problem: Problem, *, codex: bool) -> None:
    """Give the problem a status with which the client shows its message and does not repeat the request in vain."""
    if problem.status == 429 and problem.retry_after is None:
        # Without a time Codex gives up, and drops the message.
        problem.retry_after = _LONG_WAIT if code_of(problem) == "insufficient_quota" else _WAIT
    if codex and problem.kind not in _REPEATED and problem.status not in (400, 404, 429):
        # It sends a request again five times after any other status.
        problem.status = 400
