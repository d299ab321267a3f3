"""Explains failures of an endpoint by layer: what failed, and one thing to do. Pure.

The forms are those of Claude Code 2.1.329 and of the servers named at the patterns (measured 2026-11-20).
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, Literal

from msgspec import Struct

from byway.endpoints.address import AddressCheck

AdviceLayer = Literal["address", "credential", "model", "server", "process"]

#: LM Studio, TabbyAPI, text-generation-webui, Jan, KoboldCpp, LocalAI, GPT4All, llama-swap, mlx-lm.
_NO_MODEL: Final = re.compile(
    r"\blms load\b|no models? (?:is |are )?(?:currently )?(?:loaded|available|running)|models? (?:\S+ )?(?:is |are )?not "
    r"(?:yet |currently )?(?:loaded|running)|please load (?:a|the) model|load a model first|could not load model|"
    r"model_not_loaded",
    re.IGNORECASE,
)
#: llama.cpp, vLLM, TGI, Byway.
_LOADING: Final = re.compile(
    r"\bloading (?:the )?model\b|model (?:\S+ )?is (?:still )?loading|still starting", re.IGNORECASE
)
#: Ollama, vLLM, llama-swap, OpenAI, Anthropic, LiteLLM.
_MODEL_UNKNOWN: Final = re.compile(
    r"model\b.{0,200}?(?:not found|does not exist|not exist|unknown|is not known|invalid)|unknown model|invalid model|"
    r"no such model|not_found_error.{0,40}model|model_not_found|try pulling it|issue with the selected model",
    re.IGNORECASE | re.DOTALL,
)
_REFUSED: Final = re.compile(r"connection refused|econnrefused|actively refused|refuses? connections", re.IGNORECASE)
_UNKNOWN_HOST: Final = re.compile(
    r"enotfound|eai_again|name or service not known|getaddrinfo|nodename nor servname|unknown host|could not resolve|"
    r"cannot be resolved|no address",
    re.IGNORECASE,
)
_CERTIFICATE: Final = re.compile(r"certificate|self.signed|\bssl\b|\btls\b", re.IGNORECASE)
_SILENCE: Final = re.compile(r"timed? ?out|etimedout|no answer within|silence", re.IGNORECASE)
_RESET: Final = re.compile(r"econnreset|connection (?:was )?(?:reset|closed|dropped)|broken pipe", re.IGNORECASE)
_INVALID_URL: Final = re.compile(r"invalid url", re.IGNORECASE)
_LOGIN: Final = re.compile(r"not logged in|please run /login|authentication required", re.IGNORECASE)
#: The raw text that is kept under the details.
_DETAILS: Final = 2_000


class Advice(Struct, frozen=True):
    """A failure as a user should read it."""

    layer: AdviceLayer
    summary: str
    """What failed, with the endpoint's name: one sentence."""
    action: str
    """One thing to do."""
    details: str = ""
    """The raw text of the server or client."""


def explain(name: str, url: str, text: str, status: int | None = None) -> Advice:
    """Explain a failure of the endpoint `name` at `url`.

    `text` is the error of the server, the network or Claude Code; `status` the HTTP status if one arrived. The text of a
    status counts more than its number: local servers use any number for a model that is not loaded.
    """
    details = text.strip()[:_DETAILS]
    sentence, kinds = _message(details)
    text = f"{sentence} {kinds}".strip()
    place = f"The endpoint {name} ({url})"
    made = _by_text(name, place, text, status) or _by_status(name, place, text, status, sentence)
    return Advice(*made, details)


def invalid_url(name: str, check: AddressCheck, details: str = "") -> Advice:
    """Explain that the stored URL of the endpoint `name` cannot be used as it is."""
    return Advice(
        "address",
        f"The endpoint {name} has an invalid URL: {check.objection}",
        f"Correct it: byway endpoint add {name} {check.url or 'URL'} --replace",
        details,
    )


def _by_text(name: str, place: str, text: str, status: int | None) -> tuple[AdviceLayer, str, str] | None:
    if _NO_MODEL.search(text):
        return (
            "model",
            f"{place} has no model loaded.",
            "Load a model in that server (LM Studio: Developer > Load Model, or `lms load`; Ollama: `ollama run MODEL`).",
        )
    if _LOADING.search(text):
        return "model", f"{place} is still loading its model.", "Wait until the model is loaded, then try again."
    if _is_html(text):
        return (
            "address",
            f"{place} returned a web page instead of JSON.",
            "Correct the base URL: a login page, a proxy or another program answers there.",
        )
    if status is None or status >= 500:
        return _network(name, place, text, status)
    return None


def _network(name: str, place: str, text: str, status: int | None) -> tuple[AdviceLayer, str, str] | None:
    start = "Start Byway: byway up" if name == "byway" else "Start the server at this address, or correct its port"
    if _REFUSED.search(text) and status is None:
        return "address", f"{place} refused the connection: no program listens there.", f"{start}."
    if _UNKNOWN_HOST.search(text) and status is None:
        return (
            "address",
            f"{place}: its host name is unknown.",
            "Correct the host name, or connect to its network or VPN.",
        )
    if _INVALID_URL.search(text):
        return (
            "address",
            f"{place} has an invalid URL.",
            f"Enter the whole URL: byway endpoint add {name} http://HOST:PORT --replace",
        )
    if status is None and _CERTIFICATE.search(text):
        return (
            "address",
            f"{place} has a certificate that is not trusted.",
            "Set NODE_EXTRA_CA_CERTS to the file of its certificate authority.",
        )
    if status is None and _RESET.search(text):
        return "server", f"{place} closed the connection without an answer.", "Check the log of that server."
    if status is None and _SILENCE.search(text):
        return (
            "server",
            f"{place} accepts connections, but does not answer in time.",
            "Check whether that server is busy or loads a model. For slow models set API_TIMEOUT_MS to a longer time.",
        )
    return None


def _by_status(name: str, place: str, text: str, status: int | None, sentence: str) -> tuple[AdviceLayer, str, str]:
    key = (
        "Create a key: byway key create NAME"
        if name == "byway"
        else f"Set its key: byway endpoint add {name} URL --replace --key (or --token)"
    )
    if status == 401 or (status is None and _LOGIN.search(text)):
        # Never Claude's login: its token is of no use here, and must not be sent.
        return "credential", f"{place} rejected the key, or needs one.", f"{key}. A Claude login does not help here."
    if status == 403:
        return (
            "credential",
            f"{place} accepts the key, but forbids this request.",
            f"Use a key with more rights. {key}.",
        )
    if status == 404 and not _MODEL_UNKNOWN.search(text):
        return (
            "address",
            f"{place} has no Messages API at this path.",
            "Correct the base URL: Byway's ends in /anthropic, and /v1 does not belong into it.",
        )
    if status == 404 or _MODEL_UNKNOWN.search(text):
        other = (
            "byway alias set default NAME"
            if name == "byway"
            else f"byway endpoint add {name} URL --replace --map default=NAME"
        )
        return (
            "model",
            f"{place} does not serve the requested model.",
            f"Choose a served model: byway claude --model NAME, or {other}",
        )
    if status == 429:
        return "server", f"{place} limits the rate of requests.", "Wait, then try again, or choose another endpoint."
    if status == 405:
        return "address", f"{place} has no Messages API at this path.", "Correct the base URL of the endpoint."
    if status in (400, 422):
        return (
            "server",
            f"{place} does not accept Claude Code's requests.",
            "Use a server with the Anthropic Messages API, or put this server behind Byway as a backend.",
        )
    if name == "byway" and status is not None:
        # Its errors name the cause and the next step.
        return (
            "server",
            f"{place} answers: {sentence}",
            "Check the backends: byway models, or the page's Troubleshooting.",
        )
    if status is not None and status >= 500:
        return "server", f"{place} reports an error of its own (status {status}).", "Check the log of that server."
    if status is not None:
        return (
            "server",
            f"{place} sent an unexpected answer (status {status}).",
            "Check that the URL is a Messages API.",
        )
    return (
        "process",
        f"A client of the endpoint {name} failed.",
        "Read the details. To check the endpoint: byway doctor",
    )


def is_loading(text: str) -> bool:
    """Whether a server reports that it is loading its model, so that it will answer later."""
    return bool(_LOADING.search(" ".join(_message(text))))


def _is_html(text: str) -> bool:
    start = text.lstrip()[:200].lower()
    return start.startswith(("<!doctype html", "<html")) or "empty or malformed response" in start


def _message(text: str) -> tuple[str, str]:
    """The sentence in a JSON error of any usual form, with its type and code; other text as it is."""
    try:
        body: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text, ""
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        kinds = " ".join(str(error[name]) for name in ("type", "code") if isinstance(error.get(name), str))
        message = next((error[name] for name in ("message", "detail", "error") if isinstance(error.get(name), str)), "")
        return (message, kinds) if message or kinds else (text, "")
    return (error if isinstance(error, str) else text), ""
