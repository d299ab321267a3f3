"""What an upstream's error means: from its status, headers and wording to a Problem. Pure, and the same for every protocol.

Each wording was seen in the server named beside it; Claude Code compacts only on Anthropic's own (measured, 2.1.329).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from byway.problems import LONGEST_WAIT, Kind, Problem
from byway.secrets.names import Scrubber

#: Groups: `n` tokens of the prompt, `m` the window, `total` and `out` where the server counts the answer's room in.
_OVERFLOWS: Final = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        # llama.cpp b11549
        r"request \((?P<n>\d+) tokens\) exceeds the available context size \((?P<m>\d+) tokens",
        # vLLM 0.10 and later
        r"is too large: (?P<out>\d+).*maximum context length is (?P<m>\d+) tokens and your request has (?P<n>\d+) input",
        # vLLM, OpenRouter, older OpenAI
        r"maximum context length is (?P<m>\d+) tokens.*requested (?:about )?(?P<total>\d+) tokens \((?P<n>\d+) "
        r"(?:in the messages|of text input|in your prompt)[^)]*?(?:, (?P<out>\d+) (?:in|of) the (?:completion|output))?",
        # OpenAI, DeepSeek
        r"maximum context length is (?P<m>\d+) tokens.*messages resulted in (?P<n>\d+) tokens",
        r"exceed the configured limit of (?P<m>\d+) tokens.*resulted in (?P<n>\d+) tokens",
        # vLLM
        r"prompt \(length (?P<n>\d+)\) is longer than the maximum model length of (?P<m>\d+)",
        r"input length \((?P<n>\d+)\) exceeds model'?s? maximum context length \((?P<m>\d+)\)",
        # SGLang
        r"input \((?P<n>\d+) tokens\) is longer than the model'?s? context length \((?P<m>\d+) tokens\)",
        r"maximum context length of (?P<m>\d+) tokens.*total of (?P<total>\d+) tokens: (?P<n>\d+) tokens from the input "
        r"messages and (?P<out>\d+) tokens for the completion",
        r"maximum context length is (?P<m>\d+) tokens.*?request has (?P<n>\d+) input tokens",
        r"maximum context length is (?P<m>\d+) tokens.*requested (?P<out>\d+) output tokens and your prompt contains at "
        r"least (?P<n>\d+) input tokens",
        # LM Studio
        r"n_keep: (?P<n>\d+)\s*>=\s*n_ctx: (?P<m>\d+)",
        r"keep the first (?P<n>\d+) tokens.*context length of only (?P<m>\d+) tokens",
        # Text Generation Inference
        r"must be <= (?P<m>\d+)\. Given: (?P<n>\d+) `inputs` tokens and (?P<out>\d+) `max_new_tokens`",
        # Gemini
        r"input token count \((?P<n>\d+)\) exceeds the maximum number of tokens allowed \((?P<m>\d+)\)",
        r"input length \((?P<n>\d+) tokens\) exceeds the maximum allowed length \((?P<m>\d+) tokens\)",
        # MLX
        r"prompt too long: (?P<n>\d+) tokens exceeds max context window of (?P<m>\d+)",
        # Mistral
        r"prompt contains (?P<n>\d+) tokens.*?(?P<m>\d+) maximum context length",
    )
)

#: How servers say that `max_tokens` is above what a model can answer with; the group is that limit.
_MOST: Final = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        # OpenAI
        r"max_(?:completion_)?tokens is too large: \d+\. This model supports at most (\d+) completion tokens",
        # Anthropic
        r"max_tokens: \d+ > (\d+), which is the maximum allowed",
        # DeepSeek, Qwen
        r"range of max_(?:completion_)?tokens (?:is|should be) \[\d+, ?(\d+)\]",
        # Groq, Fireworks
        r"max_(?:completion_)?tokens`? must be less than or equal to `?(\d+)",
        # Mistral, Together
        r"max_(?:completion_|new_)?tokens`? (?:cannot|can not|must not|should not) (?:exceed|be greater than) `?(\d+)",
    )
)

#: Some servers show the key that they refuse, or the headers of a proxy before them.
_scrub: Final = Scrubber().scrub
#: Anthropic's own words go on unchanged: the client's retry logic reads them.
_OFFICIAL: Final = re.compile(
    r"(?:prompt is too long|input length and `max_tokens` exceed context limit)"
    r"(?:: (?P<tokens>\d+) (?:tokens|\+ \d+) > (?P<window>\d+))?"
)
_CLIENTS_FAULT: Final = re.compile(r"image input is not supported|Failed to parse tools")
_VAGUE: Final = re.compile(
    r"context_length_exceeded|exceed_context_size|exceeds? the context (?:window|length)|"
    r"(?:maximum|max) context length|prompt (?:is )?too long|greater than the context length|longer than the context",
    re.IGNORECASE,
)


def from_response(
    status: int, headers: Mapping[str, str], body: bytes, *, backend: str, window: int | None = None
) -> Problem:
    """The Problem of an answer that is not a success. `headers` has lower-case names; pages of HTML are not shown."""
    error: Any
    try:
        error = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        text = body.decode(errors="replace").strip()
        error = "" if text.startswith("<") or len(text) > 2000 else text
    return from_error(error, backend=backend, window=window, status=status, headers=headers)


def from_error(
    error: Any,
    *,
    backend: str,
    window: int | None = None,
    status: int = 0,
    headers: Mapping[str, str] | None = None,
) -> Problem:
    """The Problem of an error object, in whichever form servers give it. `status` 0: it stood in an answer of 200."""
    if isinstance(error, dict) and isinstance(error.get("error"), dict | str):
        error = error["error"]
    fields: dict[str, Any] = error if isinstance(error, dict) else {}
    text = error if isinstance(error, str) else fields.get("message") or fields.get("detail") or ""
    if not isinstance(text, str):
        text = msgspec.json.encode(text).decode()
    text = _scrub(text)
    code = fields.get("code")
    if not status:
        status = code if isinstance(code, int) and 400 <= code < 600 else _STATUS.get(str(fields.get("type")), 500)
    kind = f"{fields.get('type') or ''} {code or ''}"
    if status in (400, 413, 422, 500):
        long = _overflow(text, kind, fields, window)
        if long is not None:
            words, numbers = long
            return Problem("prompt_too_long", words, facts={"status": status, "backend": backend, **numbers})
    if status in (400, 422):
        most = next((int(found[1]) for pattern in _MOST if (found := pattern.search(text[:_LOOKED_AT]))), 0)
        if 0 < most < 1 << 53:
            return Problem("invalid_request", text, facts={"status": status, "backend": backend, "max_output": most})
    return _classify(status, text, kind, backend, headers or {})


_STATUS: Final = {
    "invalid_request_error": 400,
    "exceed_context_size_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
    "unavailable_error": 503,
}


#: So much of an error's text is searched: the patterns would need minutes for what a hostile server can send.
_LOOKED_AT: Final = 1000


def _overflow(
    text: str, kind: str, fields: dict[str, Any], window: int | None
) -> tuple[str, dict[str, int | str]] | None:
    """Anthropic's words for a prompt that does not fit, with `tokens` and `window` as far as the server says them; None
    when the error is another."""
    if official := _OFFICIAL.search(text[:_LOOKED_AT]):
        return text, {name: int(size) for name, size in official.groupdict().items() if size and len(size) < 16}
    start = text[:_LOOKED_AT]
    for pattern in _OVERFLOWS:
        match = pattern.search(start)
        if match is not None:
            groups = match.groupdict()
            if any(digits and len(digits) > 15 for digits in groups.values()):
                continue
            prompt, most = int(groups["n"]), int(groups["m"])
            out = int(groups.get("out") or int(groups.get("total") or prompt) - prompt)
            return _too_long(prompt, out, most), {"tokens": prompt, "window": most}
    if _VAGUE.search(start) or _VAGUE.search(kind):
        asked, limit = fields.get("n_prompt_tokens"), fields.get("n_ctx")
        numbers: dict[str, int | str] = {"window": limit} if isinstance(limit, int) else {}
        limit = limit or window
        if isinstance(asked, int) and isinstance(limit, int):
            return _too_long(asked, 0, limit), {**numbers, "tokens": asked}
        return (f"prompt is too long: {text}" if text else "prompt is too long"), numbers
    return None


def _too_long(prompt: int, out: int, most: int) -> str:
    if prompt <= most and out > 0:
        return f"input length and `max_tokens` exceed context limit: {prompt} + {out} > {most}"
    return f"prompt is too long: {prompt} tokens > {most} maximum"


def _classify(status: int, text: str, kind: str, backend: str, headers: Mapping[str, str]) -> Problem:
    wait = retry_after(headers)
    own = text or f"Backend {backend!r} answered with HTTP {status} and said no more."
    facts: dict[str, int | str] = {"status": status, "backend": backend}

    def made(kind: Kind, message: str = own, wait: float | None = wait) -> Problem:
        return Problem(kind, message, retry_after=wait, facts=facts)

    match status:
        case 401 | 403:
            return made(
                "refused",
                f"Backend {backend!r} refuses the secret that Byway's config gives it (HTTP {status}"
                f"{': ' + text if text else ''}). Check `api_key` of backend {backend!r}.",
            )
        case 402:
            return made("billing")
        case 404:
            return made("model_not_found", f"Backend {backend!r}: {text or 'not found (HTTP 404)'}")
        case 408 | 504:
            return made("timeout", text or f"Backend {backend!r} ran out of time (HTTP {status}).")
        case 413:
            return made("too_large")
        case 429:
            return made("billing" if "insufficient_quota" in kind else "rate_limit")
        case 503 if "loading" in text.lower():
            return made("loading", f"Backend {backend!r}: {text}", min(wait or 5, LONGEST_WAIT))
        # llama.cpp answers 500 for what the client did (recorded, b11549): a retry would only repeat it.
        case 500 if _CLIENTS_FAULT.search(text):
            return made("invalid_request")
        case 503 | 529:
            return made("overloaded")
        case _ if 400 <= status < 500:
            return made("invalid_request")
        case _ if 300 <= status < 400:
            return made(
                "broken", f"Backend {backend!r} redirects (HTTP {status}). Put the final address into its `url`."
            )
        case _:
            return made("upstream", f"Backend {backend!r}: {text}" if text else own)


_LONGEST: Final = 86_400.0


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from `retry-after` where it is a number; its date form is left alone."""
    try:
        return min(max(0.0, float(headers["retry-after"])), _LONGEST)
    except (KeyError, ValueError):
        return None
