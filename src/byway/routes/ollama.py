"""Ollama's API, for editors and programs that speak only that: chat, generate, embeddings, and the lists of models."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from byway.backend import Backend
from byway.backends.openai.endpoints import EMBEDDINGS, read_json
from byway.backends.protocol import Target
from byway.backends.vendors.vendor import thinking_rule
from byway.decoding import DECODE_ERRORS
from byway.fronts import ollama
from byway.fronts.ollama import AnswerLines
from byway.largebodies import off_loop
from byway.messages.events import Part, Passthrough, WholeAnswer
from byway.messages.request import Request
from byway.pipeline import targets
from byway.pipeline.guarding import check_fields
from byway.pipeline.passthrough import PassthroughCall
from byway.problems import Problem
from byway.routes.admission import admit
from byway.routes.context import RequestContext, Route, answerer, ollama_envelope
from byway.routes.forms import read_at_most
from byway.routes.messages import StreamReply, WholeReply, forwarded, serve
from byway.routes.models import listing
from byway.routing.permission import permitted_targets
from byway.routing.route import CLAUDE_PREFIX
from byway.runtime import Runtime

#: Clients compare it with the version that has what they need (GitHub Copilot: 0.6.4). It is that of the API described in
#: `fronts.ollama`.
_VERSION: Final = "0.12.11"
#: Neither is known of a model behind Byway.
_MODIFIED: Final = "2025-01-01T00:00:00Z"
_NEVER: Final = "2318-01-01T00:00:00Z"
#: Bytes of a request that only names a model.
_NAME_LIMIT: Final = 64 << 10
#: Bytes of embeddings that are translated.
_VECTORS_LIMIT: Final = 32 << 20
_LINES: Final = (b"content-type", b"application/x-ndjson")
_PARAMETERS: Final = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)b\b", re.IGNORECASE)
_LATEST: Final = ":latest"
_encode: Final = msgspec.json.Encoder().encode


class _NamedModel(msgspec.Struct):
    model: str = ""
    name: str = ""
    """The older name of the field."""


_named: Final = msgspec.json.Decoder(_NamedModel)


def _model_name(runtime: Runtime, name: str) -> str:
    """The name without the tag that Ollama adds to names, where a model of that name is unknown."""
    if not name.endswith(_LATEST) or runtime.remembered_route(name) is not None:
        return name
    try:
        route = runtime.resolve(name)
    except Problem:
        return name.removesuffix(_LATEST)
    return name.removesuffix(_LATEST) if route.alias and route.alias != name else name


# ------------------------------------------------------------------------------------------------------------------ answers


async def chat(context: RequestContext) -> None:
    """Answer `/api/chat`, as a stream unless `stream` is false."""
    await _answer(context, chat=True)


async def generate(context: RequestContext) -> None:
    """Answer `/api/generate`, as a stream unless `stream` is false."""
    await _answer(context, chat=False)


async def _answer(context: RequestContext, *, chat: bool) -> None:
    body = await context.body()
    headers, runtime = forwarded(None, None, context.headers.get(b"user-agent")), context.runtime

    def name(model: str) -> str:
        return _model_name(runtime, model)

    given, request = await off_loop(len(body), lambda: ollama.read(body, headers, f"msg_{context.id}", name, chat=chat))
    lines = AnswerLines(given.model, time.time(), lambda: time.monotonic() - context.started, chat=chat)
    if request is None:
        # The client loads the model, or unloads it with `keep_alive: 0`. Byway loads and unloads models itself.
        await _route_target(context, given.model)
        await context.answer(lines.loaded(unloaded=given.keep_alive == 0))
        return
    reply = _LineStream(context, request, lines) if request.stream else _WholeLine(context, lines)
    del given
    await serve(context, request, reply)


class _WholeLine(WholeReply):
    __slots__ = ("_lines",)

    def __init__(self, context: RequestContext, lines: AnswerLines) -> None:
        super().__init__(context)
        self._lines = lines

    async def finish(self) -> None:
        await self._context.answer(self._lines.whole(self._parts), headers=self._headers)


class _LineStream(StreamReply):
    head = (_LINES, (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))

    def __init__(self, context: RequestContext, request: Request, lines: AnswerLines) -> None:
        super().__init__(context, request)
        self._encode = lines.encode

    def _failure(self, problem: Problem) -> bytes:
        return ollama_envelope(problem, self._context.runtime) + b"\n"


# --------------------------------------------------------------------------------------------------------------- embeddings


async def embed(context: RequestContext) -> None:
    """Answer `/api/embed` and the older `/api/embeddings` by the backend's `/v1/embeddings`."""
    body = await context.body()
    runtime, record = context.runtime, context.record
    given = await off_loop(len(body), ollama.read_embed, body)
    model = _model_name(runtime, given.model)
    body = await off_loop(len(body), ollama.embeddings_body, given, model)
    request = await off_loop(len(body), read_json, body, EMBEDDINGS)
    admit(context, request)
    if runtime.guardrails is not None:
        await check_fields(runtime.guardrails, body, model, record)
    held = _HeldBytes()
    agent = context.header(b"user-agent")
    call = PassthroughCall(runtime, EMBEDDINGS, request, held, held, record, user_agent=agent)
    with context.gateway.exchanges.watch(context.receive):
        await targets.run(runtime, model, call, record, context.session)
    elapsed = time.monotonic() - context.started
    answer = await off_loop(4 * held.size, lambda: ollama.embedded(b"".join(held.pieces), given, elapsed))
    await context.answer(answer, headers=answerer(record.backend, record.model))


class _HeldBytes:
    """Keeps an answer that passes through, to translate it."""

    sent = False

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size = 0

    def aim(self, backend: str, model: str) -> None:
        """Discard the bytes of an earlier attempt."""
        self.pieces, self.size = [], 0

    async def begin(self, headers: Mapping[str, str]) -> None:
        """The head is not needed."""

    async def send(self, parts: Sequence[Part]) -> None:
        """Keep the bytes. Raises Problem above the limit."""
        for part in parts:
            if isinstance(part, Passthrough | WholeAnswer):
                self.pieces.append(part.data)
                self.size += len(part.data)
        if self.size > _VECTORS_LIMIT:
            raise Problem("broken", f"The embeddings are over {_VECTORS_LIMIT >> 20} MiB. Send fewer texts at once.")


# ------------------------------------------------------------------------------------------------------------------- models


async def tags(context: RequestContext) -> None:
    """List the models and aliases."""
    await context.runtime.refresh(2.0)
    entries = listing(context.runtime, context.caller.models)
    models = [_listed(entry) for entry in entries if not entry["id"].startswith(CLAUDE_PREFIX)]
    await context.answer(_encode({"models": models}))


def _listed(entry: Mapping[str, Any]) -> dict[str, Any]:
    name = entry["id"]
    digest = hashlib.sha256(name.encode()).hexdigest()
    return {
        "name": name,
        "model": name,
        "modified_at": _MODIFIED,
        "size": 0,
        "digest": digest,
        "details": _details(name, entry["owned_by"]),
    }


def _details(name: str, family: str) -> dict[str, Any]:
    size = _PARAMETERS.search(name.replace("-", " "))
    return {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family],
        "parameter_size": f"{size[1]}B" if size else "",
        "quantization_level": "",
    }


async def _route_target(context: RequestContext, name: str) -> tuple[Backend, Target]:
    """The first target of a model that the caller may use. Raises Problem."""
    runtime, permitted = context.runtime, context.caller.models
    route = await runtime.route(name, probe=True)
    place = (permitted_targets(permitted, name, route) if permitted else route.targets)[0]
    backend = runtime.backends[place.backend]
    return backend, backend.registry.target(place.model)


async def show(context: RequestContext) -> None:
    """Describe a model: its window and what it can do."""
    body = await read_at_most(context, _NAME_LIMIT, "The request is too large. It names one model.")
    try:
        named = _named.decode(body)
    except DECODE_ERRORS:
        raise Problem("invalid_request", "The request body is not valid JSON with a `model`.") from None
    name = _model_name(context.runtime, named.model or named.name)
    if not name:
        raise Problem("invalid_request", "model: Field required")
    backend, target = await _route_target(context, name)
    info: dict[str, Any] = {"general.architecture": "byway", "general.basename": name}
    if target.window is not None:
        info["byway.context_length"] = target.window
    answer = {
        "modelfile": "",
        "parameters": "",
        "template": "",
        "license": "",
        "modified_at": _MODIFIED,
        "details": _details(name, backend.vendor.name),
        "model_info": info,
        "capabilities": _capabilities(backend, target),
    }
    await context.answer(_encode(answer))


def _capabilities(backend: Backend, target: Target) -> list[str]:
    if backend.use in ("embeddings", "reranking"):
        return ["embedding"]
    names = ["completion"]
    if target.tools is not False:
        names.append("tools")
    if target.vision or (target.vision is None and backend.protocol.NATIVE):
        names.append("vision")
    if backend.protocol.NATIVE or thinking_rule(target.vendor.thinking, target.family) is not None:
        names.append("thinking")
    return names


async def loaded(context: RequestContext) -> None:
    """List the models that Byway itself has loaded."""
    await context.runtime.refresh(2.0)
    permitted = {entry["id"] for entry in listing(context.runtime, context.caller.models)}
    models = [
        {
            **_listed({"id": name, "owned_by": backend.vendor.name}),
            "expires_at": _NEVER,
            "size_vram": 0,
            "context_length": backend.registry.get(name).window or 0,
        }
        for backend in context.runtime.backends.values()
        if backend.vendor.managed and backend.state == "ready"
        for name in backend.models or ()
        if name in permitted
    ]
    await context.answer(_encode({"models": models}))


async def version(context: RequestContext) -> None:
    """The version of Ollama whose API this is."""
    await context.answer(_encode({"version": _VERSION}))


#: The settings page has other paths below `/api`.
ROUTES: Final = (
    Route("POST", "/api/chat", chat, "write", "ollama"),
    Route("POST", "/api/generate", generate, "write", "ollama"),
    Route("POST", "/api/embed", embed, "write", "ollama"),
    Route("POST", "/api/embeddings", embed, "write", "ollama"),
    Route("GET", "/api/tags", tags, "read", "ollama"),
    Route("POST", "/api/show", show, "read", "ollama"),
    Route("GET", "/api/ps", loaded, "read", "ollama"),
    Route("GET", "/api/version", version, "read", "ollama"),
)
