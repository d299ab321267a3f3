"""Endpoints of the OpenAI API that pass through: embeddings, completions, rerank, images, audio, moderations. Pure.

Only the name of the model is read and replaced. Shapes: the `openai` SDK 3.52.0; for rerank the API of Cohere and Jina (both
seen 2026-11-30).
"""

from __future__ import annotations

import base64
import math
import re
from array import array
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from byway.backends import errors
from byway.backends.envelopes import parse
from byway.backends.openai.passthrough import ModelField
from byway.backends.openai.usage import ReportedUsage, TokenCounts
from byway.backends.protocol import Target
from byway.backends.vendors import Vendor
from byway.call import Call
from byway.decoding import DECODE_ERRORS
from byway.messages import request as messages
from byway.messages.events import Usage
from byway.messages.request import renamed
from byway.problems import Problem
from byway.wordings import Wording


class OpenAIEndpoint(NamedTuple):
    """An endpoint that passes through."""

    path: str
    noun: str
    """What its answer is, in the plural: `embeddings`."""
    reads_text: bool = True
    """The size of its request tells how many tokens the prompt has."""
    writes_text: bool = False
    """Its answer is text of a model, which guardrails check."""


COMPLETIONS: Final = OpenAIEndpoint("/v1/completions", "text completions", writes_text=True)
EMBEDDINGS: Final = OpenAIEndpoint("/v1/embeddings", "embeddings")
ENDPOINTS: Final = (
    EMBEDDINGS,
    COMPLETIONS,
    OpenAIEndpoint("/v1/rerank", "reranking"),
    OpenAIEndpoint("/v1/moderations", "moderations"),
    OpenAIEndpoint("/v1/images/generations", "image generation"),
    OpenAIEndpoint("/v1/images/edits", "image edits", reads_text=False),
    OpenAIEndpoint("/v1/images/variations", "image variations", reads_text=False),
    OpenAIEndpoint("/v1/audio/speech", "speech"),
    OpenAIEndpoint("/v1/audio/transcriptions", "audio transcriptions", reads_text=False, writes_text=True),
    OpenAIEndpoint("/v1/audio/translations", "audio translations", reads_text=False, writes_text=True),
)
#: The model of a request that names none: an alias.
DEFAULT: Final = "default"
#: Protocols whose servers have the endpoints of the OpenAI API, as far as they have them at all.
_OPENAI: Final = frozenset(("openai", "responses"))


class _SentFields(Struct):
    model: str | None = None
    stream: Any = None
    max_tokens: Any = None
    dimensions: Any = None


_sent: Final = msgspec.json.Decoder(_SentFields).decode


class PassedRequest(Struct, frozen=True):
    """A request as the client sent it, and where its model is."""

    model: str
    streams: bool
    content_type: str
    body: bytes | bytearray
    model_at: tuple[int, int] | None = None
    """In a form: where the name of the model begins and ends. None for JSON."""
    prefix: bytes = b""
    """In a form: what goes before the name."""
    suffix: bytes = b""
    """In a form: what goes after the name."""
    tokens: int = 0
    """An estimate for the prompt."""
    most: int = 0
    """The most tokens of the answer, where the request limits them."""
    dimensions: int = 0
    """The numbers of an embedding that the client wants; 0: all."""

    def call(self, path: str, model: str, user_agent: str) -> Call:
        """The call for `model` at a backend. A form is sent in pieces of the received bytes, so that it is not copied."""
        headers = (("content-type", self.content_type), *((("user-agent", user_agent),) if user_agent else ()))
        if self.model_at is None:
            body = renamed(bytes(self.body), model, lambda data: msgspec.json.decode(data, type=ModelField).model)
            return Call("POST", path, headers, body)
        start, end = self.model_at
        view = memoryview(self.body)
        name = self.prefix + model.encode() + self.suffix
        return Call("POST", path, headers, pieces=(view[:start], memoryview(name), view[end:]))


def read_json(body: bytes, endpoint: OpenAIEndpoint) -> PassedRequest:
    """Read a body of JSON. Raises Problem `invalid_request`."""
    try:
        sent = _sent(body)
    except Exception as error:
        raise messages.invalid(error, body="The request body") from None
    model = sent.model
    if model is None:
        model = DEFAULT
        if b'"model"' not in body or "model" not in msgspec.json.decode(body, type=dict[str, msgspec.Raw]):
            rest = body[body.index(b"{") + 1 :]
            comma = b"" if rest.lstrip()[:1] == b"}" else b","
            body = b'{"model":"%b"%b%b' % (DEFAULT.encode(), comma, rest)
    most = sent.max_tokens if isinstance(sent.max_tokens, int) and sent.max_tokens > 0 else 0
    return PassedRequest(
        model,
        sent.stream is True,
        "application/json",
        body,
        tokens=len(body) // 4 if endpoint.reads_text else 0,
        most=most,
        dimensions=sent.dimensions if isinstance(sent.dimensions, int) and sent.dimensions > 0 else 0,
    )


def path_at(endpoint: OpenAIEndpoint, vendor: Vendor) -> str:
    """The path of the endpoint at a vendor; empty when the vendor does not have the endpoint."""
    if vendor.protocol not in _OPENAI:
        return ""
    return vendor.endpoints.get(endpoint.path, endpoint.path)


def missing(endpoint: OpenAIEndpoint, target: Target, why: str = "", status: int = 0) -> Problem:
    """The Problem of a backend that does not have the endpoint."""
    if target.vendor.protocol not in _OPENAI:
        reason = f"is called by the Messages API, which has no {endpoint.noun}"
    elif status:
        reason = f"has no {endpoint.noun} for model {target.model!r} (HTTP {status}{f': {why}' if why else ''})"
    else:
        reason = f"({target.vendor.title}) has no {endpoint.noun}"
    facts: dict[str, int | str] = {"status": status, "backend": target.backend} if status else {}
    return Problem(
        "no_endpoint",
        f"Backend {target.backend!r} {reason}. Request a model of a backend that has them, or add such a backend and an alias "
        "for its model under `model_aliases`.",
        facts=facts,
    )


#: How servers name a path that they do not have, and a model that cannot do what the path is for.
_NO_PATH: Final = Wording(
    r"^(?:file )?not found\.?$|page not found|method not allowed|unexpected endpoint|invalid url|unknown (?:url|route|path"
    r"|endpoint|request url)|no (?:such )?(?:route|endpoint|handler)|cannot post|not implemented|does not exist on this server",
    re.IGNORECASE,
)
_NO_ABILITY: Final = Wording(
    r"\b(?:does not|doesn't|do not|cannot|not) support(?:ed)? (?:the )?(?:\w+ ){0,2}"
    r"(?:embedding|completion|rerank|scor|pooling|image|audio|speech|transcri|translat|moderation)"
    r"|not an? (?:embedding|rerank|image|audio|speech|completion)\w* model|start it with `?--(?:embedding|rerank)"
    r"|is not supported (?:in|with) the v1/\w+ endpoint",
    re.IGNORECASE,
)


def problem(status: int, headers: Mapping[str, str], body: bytes, target: Target, endpoint: OpenAIEndpoint) -> Problem:
    """The Problem of a response that is not a success."""
    error = parse(body)
    start = error.message[:500]
    if status in (405, 501) or (
        status == 404 and (error.is_page or not start or (_NO_PATH.search(start) and "model" not in start.lower()))
    ):
        return missing(endpoint, target, "" if error.is_page else start[:200].rstrip("."), status)
    if status in (400, 404, 422, 500) and _NO_ABILITY.search(start):
        return missing(endpoint, target, start[:200].rstrip("."), status)
    return errors.problem(status, headers, body, target)


def failure(data: bytes, target: Target, endpoint: OpenAIEndpoint) -> Problem | None:
    """The Problem that the beginning of an answer with status 200 reports instead of content; None for an answer."""
    if not data.lstrip()[:9].startswith((b'{"error"', b'{ "error"')):
        return None
    error = parse(data)
    if _NO_PATH.search(error.message[:500]):
        return missing(endpoint, target, error.message[:200], 404)
    return errors.from_success(data, backend=target.backend, window=target.window)


#: An object of JSON with at most one level of objects in it. A quote in a text of the answer has a backslash before it.
_USAGE: Final = re.compile(rb'(?<!\\)"(?:usage|tokens)"\s*:\s*(\{[^{}]*+(?:\{[^{}]*+\}[^{}]*+)*+\})')
_reported: Final = msgspec.json.Decoder(ReportedUsage).decode
#: Bytes of an answer at its beginning and at its end in which the usage is searched for.
_KEPT: Final = 8 << 10


class UsageScan:
    """Finds the usage in an answer without holding it: servers report it at the beginning or at the end."""

    def __init__(self, request: PassedRequest) -> None:
        self.counts = TokenCounts(request.tokens)
        self._head = bytearray()
        self._tail = bytearray()
        self._size = 0
        self._reads = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the answer."""
        self._size += len(data)
        room = _KEPT - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data[-_KEPT:]
        if len(self._tail) > 2 * _KEPT:
            del self._tail[:-_KEPT]

    def finish(self) -> None:
        """Read the last usage that was reported."""
        for match in _USAGE.finditer(bytes(self._head + self._tail)):
            try:
                usage = _reported(match[1])
            except DECODE_ERRORS:
                continue
            if not (usage.prompt_tokens or usage.input_tokens):
                usage = msgspec.structs.replace(usage, prompt_tokens=usage.total_tokens)
            self.counts.add_usage(usage)

    def usage(self, endpoint: OpenAIEndpoint) -> Usage:
        """The tokens of the answer; estimated where the backend has reported none."""
        return self.counts.total(self._size if endpoint.writes_text and endpoint.reads_text else 0)


def shortened(answer: bytes, dimensions: int) -> bytes:
    """Embeddings with only their first `dimensions` numbers, of length 1 again. llama.cpp does not read that field."""
    body = msgspec.json.decode(answer)
    for entry in body["data"]:
        vector = entry["embedding"]
        encoded = isinstance(vector, str)
        numbers = array("f", base64.b64decode(vector)) if encoded else array("f", vector)
        del numbers[dimensions:]
        length = math.sqrt(math.fsum(number * number for number in numbers)) or 1.0
        numbers = array("f", (number / length for number in numbers))
        entry["embedding"] = base64.b64encode(numbers.tobytes()).decode() if encoded else numbers.tolist()
    return msgspec.json.encode(body)
