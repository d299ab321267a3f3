"""Classifies the error of a backend: HTTP status, codes and wording become a Problem. The same for every protocol.

`envelopes` finds the sentence, `limits` reads the numbers of a prompt that is too long. Sources of the signs: the servers named
beside them, seen 2026-11-29.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from byway.backends import capabilities, limits
from byway.backends.envelopes import ErrorBody, decode, failure_in_success, from_value, parse
from byway.backends.protocol import Target
from byway.problems import LONGEST_WAIT, Kind, Problem
from byway.scrub import Scrubber
from byway.wordings import Wording

#: Some servers repeat the key that they reject, or the headers of a proxy.
_scrub: Final = Scrubber().scrub
_MAX_MESSAGE: Final = 1 << 16
#: The part of the window from which on a refusal without an explanation is an overflow. Estimates are right within a tenth.
_NEAR: Final = 0.85

#: The status of an error that stood in an answer with status 200, by its type or code.
_STATUS_OF: Final[dict[str, int]] = {
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
    # OpenAI's Responses API
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "bio_policy": 400,
    "cyber_policy": 400,
    "misalignment_policy_violation": 400,
    "data_residency_mismatch": 400,
    "invalid_image": 400,
    "invalid_image_format": 400,
    "invalid_base64_image": 400,
    "invalid_image_url": 400,
    "image_too_large": 400,
    "image_too_small": 400,
    "image_parse_error": 400,
    "image_file_too_large": 400,
    "unsupported_image_media_type": 400,
    "image_content_policy_violation": 400,
    "invalid_encrypted_content": 400,
    "server_is_overloaded": 529,
    "slow_down": 529,
    # MiniMax
    "status_code:1001": 504,
    "status_code:1002": 429,
    "status_code:1004": 401,
    "status_code:1041": 429,
    "status_code:2013": 400,
    "status_code:2045": 429,
    "status_code:2049": 401,
    # GLM
    "1302": 429,
    "1303": 429,
    "1305": 529,
    # OpenRouter
    "provider_overloaded": 529,
    "server": 502,
    "timeout": 504,
}


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


class _Sign(NamedTuple):
    """What tells a class of errors: any of the codes, or the pattern in the text. Checked in the order of `_SIGNS`."""

    cause: str
    kind: Kind
    codes: frozenset[str]
    pattern: Wording
    advice: str
    """The message: `{backend}`, `{text}` and `{status}` are filled in."""
    statuses: frozenset[int] = frozenset()
    """The only statuses; none: all."""


def _sign(cause: str, kind: Kind, codes: str, pattern: str, advice: str, statuses: tuple[int, ...] = ()) -> _Sign:
    return _Sign(cause, kind, _codes(codes), Wording(pattern, re.IGNORECASE), advice, frozenset(statuses))


#: A key is not the reason where the provider names money, a plan, a country or a client: these come first.
_BEFORE_LIMITS: Final = (
    _sign(
        "region",
        "forbidden",
        "unsupported_country_region_territory",
        r"country, region,? or territory|user location is not supported|not (?:available|supported) in your (?:country"
        r"|region|location)"
        r"|(?:country|region) is not supported",
        "Backend {backend!r} does not serve this country or region (HTTP {status}): {text}",
    ),
    # DashScope: a limit of tokens per minute in the words of an empty account.
    _sign("rate", "rate_limit", "throttling.ratequota throttling.allocationquota", r"#token-limit", "{text}"),
    _sign(
        "credit",
        "billing",
        "insufficient_quota exceeded_current_quota_error insufficient_user_quota insufficient_balance arrearage billing_error"
        " payment_required billing_hard_limit_reached billing_disabled budget_exceeded accountoverdueerror"
        " 1113 30001 status_code:1008",
        r"insufficient[ _](?:account[ _])?(?:balance|funds|credits?)|balance (?:is )?(?:insufficient|not enough|too low)"
        r"|(?:run out of|out of|no|used all available|not enough|insufficient) (?:remaining )?credits?\b|requires more credits"
        r"|(?:spending|billing hard) limit|quota is not enough|credit balance|account is in arrears|overdue (?:payment|balance)"
        r"|budget has been exceeded|\bkey limit exceeded|billing to be enabled|额度(?:已用尽|已用完|已耗尽|不足)"
        r"|free allocated quota exceeded|\brecharge\b|余额不足|余额已用完|欠费|充值",
        "The account of backend {backend!r} has no credit (HTTP {status}): {text}",
    ),
    _sign(
        "plan limit",
        "quota",
        "1304 1308 1310 1318 1319 1320 1321 usage_limit_reached status_code:2056",
        r"usage limit (?:for|of) this|reached your (?:\w+ )?usage limit|usage limit (?:has been )?reached|free-models-per-day"
        r"|(?:requests|tokens)[ _-]?per[ _-]?day|\w*perday[\w-]*|(?:daily|weekly|monthly|5-hour|five-hour) (?:usage |request "
        r"|token )?"
        r"(?:limit|quota)|使用上限|限额.{0,40}重置",
        "The limit of the plan of backend {backend!r} is used up (HTTP {status}): {text}",
    ),
    _sign(
        "client or plan",
        "forbidden",
        "access_terminated_error 1309 1311 1313",
        r"only (?:be used|available|allowed|supported) (?:for|by|with|in) (?:\w+ )?(?:coding )?(?:agents?|clients?|tools?)\b"
        r"|(?:plan|subscription|membership) (?:does not|doesn't|has not) (?:include|allow|support|cover)"
        r"|not included in your (?:plan|"
        r"subscription)|(?:plan|subscription|membership) (?:has |is )?expired|upgrade your (?:plan|subscription)",
        "Backend {backend!r} does not serve this client or plan (HTTP {status}): {text} Check the plan and the address of the "
        "backend. If it serves only certain clients, set `headers` with their `User-Agent`.",
    ),
    _sign(
        "not loaded",
        "model_not_found",
        "model_not_loaded",
        r"\blms load\b|no models? (?:is |are )?(?:currently )?loaded|model (?:\S+ )?is not loaded|please load a model",
        "Backend {backend!r}: {text} Load the model there first.",
        (400, 404, 409, 422, 500, 503),
    ),
    _sign(
        "no answers",
        "no_endpoint",
        "",
        r"does not support (?:logits computation|chat|generate|completions|the chat completions api)\b",
        "Backend {backend!r}: the requested model writes no answers (HTTP {status}: {text}). If it makes embeddings, request it "
        "at /v1/embeddings. Choose another model here, or correct the alias.",
        (400, 404, 422, 500, 501),
    ),
    _sign(
        "content filter",
        "invalid_request",
        "content_filter 1301 status_code:1026 status_code:1027 data_inspection_failed datainspectionfailed "
        "content_policy_violation"
        " responsibleaipolicyviolation prohibited_content image_safety_violation",
        r"content (?:management|moderation|safety|usage) polic|content[ _]filter|flagged by|inappropriate content"
        r"|blocked by (?:our |the )?(?:safety|moderation|content)|requires moderation|input was (?:flagged|blocked)",
        "Backend {backend!r} blocked the request by its content filter: {text}",
        (400, 403, 422, 451, 500),
    ),
    # Groq: the model's own call could not be parsed. The same request may work when it is sent again.
    _sign("tool call", "upstream", "tool_use_failed", r"failed to call a function\.", "Backend {backend!r}: {text}"),
)
_AFTER_LIMITS: Final = (
    # llama.cpp returns 500 for errors of the client (recorded, b11549): sending it again gives the same error.
    _sign(
        "modality:image",
        "invalid_request",
        "",
        r"image input is not supported|unknown variant .?image_url|not a multimodal model|(?:does not"
        r"|doesn't) support (?:image|vision|multi-?modal)"
        r"|content\.type 参数非法.{0,20}\['text'\]"
        r"|at most 0 image|support image input|(?:images?|vision) (?:are|is) not supported|no vision support"
        r"|image_url.{0,60}(?:is )?(?:only supported|not (?:supported|permitted|allowed))|cannot (?:process|read"
        r"|accept) images\b"
        r"|supports? (?:only text|text only)|only (?:supports? )?text (?:input|content|is supported)",
        f"{{text}} ({capabilities.token(capabilities.IMAGE)})",
        (400, 404, 415, 422, 500, 501),
    ),
    _sign(
        "modality:document",
        "invalid_request",
        "",
        r"(?:does not|doesn't) support (?:pdf|file|document)|(?:pdfs?|files?|documents?) (?:input )?(?:are|is) not supported"
        r"|unknown variant .?file\b|invalid (?:value|type).{0,20}'?(?:file|document)'?.{0,80}(?:expected|supported)",
        f"{{text}} ({capabilities.token(capabilities.DOCUMENT)})",
        (400, 404, 415, 422, 500, 501),
    ),
    _sign("tools", "invalid_request", "", r"failed to parse tools", "{text}", (400, 500)),
    # llama.cpp: the model's output cannot be parsed; the server would fail in the same way again.
    _sign(
        "tool call",
        "broken",
        "",
        r"failed to parse tool call arguments|failed to parse input at pos",
        "Backend {backend!r} cannot parse the output of its model: {text}",
        (500,),
    ),
    _sign(
        "key",
        "refused",
        "invalid_api_key invalidapikey api_key_invalid incorrect_api_key_error invalid_authentication_error "
        "authentication_error auth_error"
        " unrecognizedclientexception expiredtokenexception 1000 1001 1002 1003 1004 status_code:1004 status_code:2049",
        r"(?:invalid|incorrect|wrong|missing|expired|no) (?:or \w+ )?(?:api|auth\w*)[ _-]?(?:key|token)|api[ _-]?key"
        r" (?:is |was )?"
        r"(?:not valid|not found|invalid|incorrect|missing|required|expired|disabled|revoked)|身份验证失败"
        r"|api ?key.{0,8}(?:无效|错误|过期)",
        "Backend {backend!r} rejected the API key (HTTP {status}: {text}). Check `api_key` of backend {backend!r}: the "
        "key may be "
        "wrong, expired, or of another region or plan of the provider.",
        (400, 401, 403, 429),
    ),
    _sign(
        "model",
        "model_not_found",
        "model_not_found modelnotfound model_not_exist 1211 deploymentnotfound resource_not_found_error",
        r"not a valid model id|\bmodel\b[^.]{0,120}(?:does not|doesn't|not) (?:exist|found|available)|try pulling"
        r"|no available channel"
        r"|unknown model|no endpoints found for|no such model|model not found|not a supported model|模型不存在",
        "Backend {backend!r}: {text}",
        (400, 404, 422, 500, 503),
    ),
    _sign(
        "overloaded",
        "overloaded",
        "1305 1312 engine_overloaded_error overloaded_error server_overloaded provider_overloaded modelnotreadyexception",
        r"\boverloaded\b|(?:at|over|no|out of|insufficient|exceeds?) (?:available )?capacity|server is busy|high"
        r" (?:demand|load)"
        r"|访问量过大|模型繁忙",
        "{text}",
        (429, 498, 500, 502, 503, 529),
    ),
    _sign(
        "never fits",
        "quota",
        "",
        r"request too large .*(?:tokens per (?:minute|day)|\bTP[MD]\b)",
        "Backend {backend!r} can never accept this request: it is larger than the limit of tokens in a time. {text}",
        (413, 429),
    ),
    _sign(
        "bytes",
        "too_large",
        "",
        r"total message size \d+ exceeds|request size \(\d+ bytes\) exceeds",
        "{text}",
        (400, 413),
    ),
    _sign("rate", "rate_limit", "throttlingexception", r"too many tokens, please wait", "{text}", (400, 429)),
)
#: How an error names the field of the request that the server refuses.
_PARAMETERS: Final = tuple(
    Wording(pattern, re.IGNORECASE)
    for pattern in (
        r"unsupported (?:parameter|value|field|argument)s?(?:\(s\))?: ?[`'\"]*([\w.\[\]]+)",
        r"un(?:known|recognized|expected) (?:name|parameter|field|key|property|argument|request argument|keyword argument)s?"
        r"(?: supplied)?:? ?[`'\"]*([\w.\[\]]+)",
        r"(?:parameter|field|argument|property) [`'\"]*([\w.\[\]]+)[`'\"]* (?:is|was) (?:not|un)[ ]?(?:supported"
        r"|permitted|allowed|known)",
        r"does not support (?:the )?(?:parameter|field|option)s?:? ?[`'\"]*([\w.\[\]]+)",
        r"([\w.\[\]]+): extra inputs are not permitted",
        r"[`'\"]?\b([\w.\[\]]+)[`'\"]? is not supported (?:with|by|for|on|in) ",
        r"invalid (temperature|top_p|top_k|stop|tool_choice|reasoning_effort|response_format|thinking)\b",
    )
)


def problem(status: int, headers: Mapping[str, str], body: bytes, target: Target) -> Problem:
    """Return the Problem of a response to a call to `target` that is not a success. The same for every protocol."""
    problem = from_response(status, headers, body, backend=target.backend, window=target.window)
    if "parameter" in problem.facts and target.vendor.clamps_max_tokens:
        # After the words and the token that the client looks for. A message of Anthropic stays as it is.
        problem.message += f" (refused by backend {target.backend!r})"
    if problem.kind == "refused" and target.vendor.twin:
        problem.message += (
            f" A key of the vendor's other region, at {target.vendor.twin} by default, does not work here."
        )
    return problem


def from_response(
    status: int, headers: Mapping[str, str], body: bytes, *, backend: str, window: int | None = None
) -> Problem:
    """Return the Problem of an answer that is not a success. `headers` has lower-case names. Web pages are not shown."""
    return _problem(parse(body), status, headers, backend, window)


def from_error(
    error: Any,
    *,
    backend: str,
    window: int | None = None,
    status: int = 0,
    headers: Mapping[str, str] | None = None,
) -> Problem:
    """Return the Problem of an error object or text. `status` 0: it stood in an answer with status 200."""
    return _problem(from_value(error), status, headers or {}, backend, window)


def from_success(data: bytes, *, backend: str, window: int | None = None) -> Problem | None:
    """Return the Problem that an answer, or an event, with status 200 reports instead of content; None when it reports none."""
    answer = decode(data)
    if answer is None and (match := re.match(rb"[\s]*([45]\d\d)\b", data)):
        # Plain text in place of an event: `429 Too Many Requests`.
        return _problem(parse(data), int(match[1]), {}, backend, window)
    if isinstance(answer, list) and answer:
        answer = answer[0]
    if not isinstance(answer, dict) or not failure_in_success(answer):
        return None
    return _problem(from_value(answer), 0, {}, backend, window)


def _problem(error: ErrorBody, status: int, headers: Mapping[str, str], backend: str, window: int | None) -> Problem:
    text = _scrub(error.message[:_MAX_MESSAGE])
    codes = error.codes
    if "x-amzn-errortype" in headers:
        codes.add(headers["x-amzn-errortype"].partition(":")[0].lower())
    if not status:
        status = error.status or next((_STATUS_OF[code] for code in sorted(codes) if code in _STATUS_OF), 500)
    facts: dict[str, int | str] = {"status": status, "backend": backend}
    wait = retry_after(headers, text, error.retry_delay)
    start = text[: limits.SEARCHED]
    if problem := _by_sign(_BEFORE_LIMITS, status, codes, start, text, facts, wait):
        return problem
    if status in (400, 413, 422, 500):
        overflow = limits.overflow(start, codes, error.numbers, window)
        if overflow is not None:
            for name in ("tokens", "window", "total"):
                if (number := getattr(overflow, name)) is not None:
                    facts[name] = number
            # Words without numbers are shown whole.
            message = (
                overflow.message.removesuffix(start) + text if overflow.message.endswith(start) else overflow.message
            )
            return Problem("prompt_too_long", message, facts=facts)
    if status in (400, 422):
        limit = limits.output_limit(start)
        if limit is not None:
            return Problem("invalid_request", text, facts={**facts, "max_output": limit})
    if not error.is_page and (problem := _by_sign(_AFTER_LIMITS, status, codes, start, text, facts, wait)):
        return problem
    if status in (400, 422) and (parameter := _parameter(error, start)):
        text = capabilities.with_token(text, limits.SEARCHED)
        return Problem("invalid_request", text, facts={**facts, "cause": "parameter", "parameter": parameter})
    if status in (400, 422) and not error.is_page:
        text = capabilities.with_token(text, limits.SEARCHED)
    if status in (400, 413) and not error.is_page and not error.has_sentence:
        facts["unexplained"] = status
    return _by_status(status, text, error.is_page, backend, facts, wait)


def overflow_by_size(problem: Problem, tokens: int, window: int) -> Problem:
    """Return the overflow that an error without an explanation means when the prompt is about as long as the window.

    Cerebras and proxies refuse such a prompt without a word. `tokens`: an estimate of the prompt.
    """
    if "unexplained" not in problem.facts or tokens < _NEAR * window:
        return problem
    status, backend = problem.facts["unexplained"], problem.facts.get("backend", "")
    return Problem(
        "prompt_too_long",
        f"prompt is too long: backend {backend!r} refused a prompt of about {tokens} tokens without an explanation "
        f"(HTTP {status}), and the context window has {window} tokens.",
        facts=problem.facts,
    )


def _by_sign(
    signs: tuple[_Sign, ...],
    status: int,
    codes: set[str],
    start: str,
    text: str,
    facts: dict[str, int | str],
    wait: float | None,
) -> Problem | None:
    for sign in signs:
        if sign.statuses and status not in sign.statuses:
            continue
        if sign.codes & codes or sign.pattern.search(start) or any(map(sign.pattern.fullmatch, codes)):
            words = text or f"HTTP {status} without a message"
            message = sign.advice.format(backend=facts["backend"], text=words, status=status)
            return Problem(sign.kind, message, retry_after=wait, facts={**facts, "cause": sign.cause})
    return None


def _parameter(error: ErrorBody, text: str) -> str:
    """The field of the request that the server refuses; empty when the error names none."""
    if error.parameter and error.codes & {"unsupported_parameter", "unsupported_value", "unknown_parameter"}:
        return error.parameter
    for pattern in _PARAMETERS:
        if match := pattern.search(text):
            # FastAPI puts the part of the request in front.
            return match[1].strip(".[]").removeprefix("body.")
    return ""


#: Texts of servers that do not have the path.
_NO_SUCH_PATH: Final = frozenset(("not found", "404 page not found", "method not allowed"))


def _by_status(
    status: int, text: str, is_page: bool, backend: str, facts: dict[str, int | str], wait: float | None
) -> Problem:
    def make(kind: Kind, message: str, wait: float | None = wait) -> Problem:
        return Problem(kind, message, retry_after=wait, facts=facts)

    name = f"Backend {backend!r}"
    if is_page:
        own = (
            f"{name} answered with HTTP {status} and a web page instead of the API. A proxy, a firewall or a login page "
            f"may be in "
            "front of it, or its `url` is not that of the API."
        )
    else:
        own = text or f"{name} answered with HTTP {status} and without a message."
    match status:
        case 401 if not is_page:
            words = f": {text}" if text else ""
            return make(
                "refused",
                f"{name} rejected the API key (HTTP {status}{words}). Check `api_key` of backend {backend!r}: the key may be "
                "missing, wrong, expired, or of another region or plan of the provider.",
            )
        case 403 if not is_page:
            words = f": {text}" if text else ""
            return make(
                "refused",
                f"{name} denied access (HTTP {status}{words}). The account or the API key of the backend may not use this "
                f"model or "
                "address.",
            )
        case 401 | 403:
            return make("refused", own)
        case 402:
            return make(
                "billing", f"The account of backend {backend!r} has no credit (HTTP 402): {own}" if text else own
            )
        # 405: the path is not that of the API, but has something else, such as a web page.
        case 404 | 405 if is_page or not text or text.lower().strip(" .") in _NO_SUCH_PATH:
            return make(
                "model_not_found",
                f"{name} does not have this model, or no such path (HTTP {status}). Check its `url` and the name of the model.",
            )
        case 404 | 405:
            return make("model_not_found", f"{name}: {text}")
        case 408 | 504:
            return make("timeout", f"{name}: {text}" if text else f"{name} timed out (HTTP {status}).")
        case 413:
            return make("too_large", own)
        case 429:
            return make("rate_limit", own)
        case 503 if "loading" in text.lower():
            return make("loading", f"{name}: {text}", min(wait or 5, LONGEST_WAIT))
        case 498 | 503 | 529:
            return make("overloaded", own)
        case _ if 400 <= status < 500:
            return make("invalid_request", own)
        case _ if 300 <= status < 400:
            return make("broken", f"{name} redirects (HTTP {status}). Set its `url` to the final address.")
        case _:
            return make("upstream", f"{name}: {text}" if text and not is_page else own)


_MAX_WAIT: Final = 86_400.0
_DURATION: Final = Wording(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_IN_WORDS: Final = Wording(
    r"(?:try again|retry|available again|reset\w*|wait)(?: \w+)? (?:in|after|for) (?:about )?"
    r"(\d+(?:\.\d+)?) ?(milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|h)\b"
    r"|(?:try again|retry) in ((?:\d+[hm])+\d+(?:\.\d+)?s)",
    re.IGNORECASE,
)
_UNITS: Final = {"milli": 0.001, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_RESETS: Final = ("x-ratelimit-reset", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens", "ratelimit-reset")


def retry_after(headers: Mapping[str, str], text: str = "", delay: str = "") -> float | None:
    """Return the seconds that the server asks to wait; None when it names no time.

    In order: `retry-after-ms`, `retry-after` (seconds, or a date that is compared with the header `date`), Google's
    `retryDelay`, the text, and the headers that name when a limit that is used up resets.
    """
    seconds = _seconds(headers.get("retry-after-ms", ""), 0.001)
    if seconds is None:
        seconds = _moment(headers.get("retry-after", ""), headers)
    if seconds is None:
        seconds = _duration(delay)
    if seconds is None and (match := _IN_WORDS.search(text[: limits.SEARCHED])):
        if match[3]:
            seconds = _duration(match[3])
        else:
            unit = match[2].lower()
            seconds = float(match[1]) * next(factor for name, factor in _UNITS.items() if unit.startswith(name))
    if seconds is None:
        waits = [
            wait
            for name in _RESETS
            if headers.get(name.replace("reset", "remaining"), "0") == "0"
            if (wait := _moment(headers.get(name, ""), headers)) is not None
        ]
        seconds = max(waits, default=None)
    return None if seconds is None else min(max(0.0, seconds), _MAX_WAIT)


def _seconds(text: str, factor: float = 1.0) -> float | None:
    return float(text) * factor if re.fullmatch(r" *\d{1,15}(?:\.\d{1,9})? *", text) else None


def _moment(text: str, headers: Mapping[str, str]) -> float | None:
    """Seconds from a number, a duration, a date, or a time since 1970 in seconds or milliseconds."""
    text = text.strip()
    number = _seconds(text)
    now = _date(headers.get("date", ""))
    if number is not None:
        if number < 1e9:
            return number
        return None if now is None else (number / 1000 if number > 1e11 else number) - now
    if (duration := _duration(text)) is not None:
        return duration
    moment = _date(text)
    return None if now is None or moment is None else moment - now


def _duration(text: str) -> float | None:
    """Seconds of `1m2.5s`, `20ms` and their like."""
    match = _DURATION.fullmatch(text.strip()[:40])
    if match is None or not any(match.groups()):
        return None
    days, hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    return days * 86_400 + hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def _date(text: str) -> float | None:
    """Seconds since 1970 of an HTTP date or an ISO date."""
    if not text or len(text) > 64:
        return None
    # Few backends send such a header, and the package is large.
    from email.utils import parsedate_to_datetime

    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None
