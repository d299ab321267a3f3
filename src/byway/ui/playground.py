"""The page Playground: talk to a model, with streaming, thinking, images and two demo tools.

Its requests take the request line of clients, as the account that is logged in: with its limits and in its usage. The page keeps
the conversation; nothing of it is stored here.
"""

from __future__ import annotations

import datetime
import time
import zoneinfo
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from byway.backends.repairs import describe
from byway.messages.request import Request
from byway.problems import Problem
from byway.routes.authorize import visible_account
from byway.routes.context import RequestContext, Route, public_url
from byway.routes.messages import StreamReply, read, serve
from byway.routes.operation import decode, read_body
from byway.routes.usagerecords import priced
from byway.ui.page import query_fields, send_page
from byway.ui.readiness import VerdictTag, verdict_of

#: The name of this client in the list of requests and in the usage.
_AGENT: Final = b"playground"
_VERSION: Final = b"2023-06-01"
#: Numbers that the demo tool adds at once.
_MOST_NUMBERS: Final = 1_000
#: Bytes of an image, and images of a message.
IMAGE_BYTES: Final = 5 << 20
_MOST_IMAGES: Final = 4
#: Messages of a conversation: the page offers a new one then.
_MOST_MESSAGES: Final = 200
_encode: Final = msgspec.json.Encoder().encode

TOOLS: Final = (
    {
        "name": "get_time",
        "description": "Returns the present date and time in a time zone.",
        "input_schema": {
            "type": "object",
            "properties": {"zone": {"type": "string", "description": "A time zone, such as Europe/Rome or UTC"}},
            "required": ["zone"],
        },
    },
    {
        "name": "add",
        "description": "Adds numbers.",
        "input_schema": {
            "type": "object",
            "properties": {"numbers": {"type": "array", "items": {"type": "number"}}},
            "required": ["numbers"],
        },
    },
)


class PlaygroundModel(NamedTuple):
    """A model in the picker."""

    value: str
    """An alias, or `backend/model`."""
    detail: str
    """The target of an alias."""
    where: str
    """`local` or `cloud`."""
    verdict: VerdictTag


class AnswerSummary(Struct, frozen=True):
    """What an answer took: the last event of the stream."""

    type: str
    request_id: str
    backend: str
    model: str
    ms: float
    first_ms: float | None
    tokens_per_second: float | None
    input_tokens: int
    """With those from the cache."""
    cached_tokens: int
    output_tokens: int
    thinking_tokens: int
    estimated: bool
    cost: float | None
    """US dollars; null when no price is known."""
    attempts: int
    learned: tuple[str, ...]
    """What Byway changed in the call, because the backend has refused it otherwise."""


class ToolInput(Struct, frozen=True):
    """A call of a demo tool."""

    name: str
    input: dict[str, Any]


class ToolOutput(Struct, frozen=True):
    """The result of a demo tool."""

    content: str
    is_error: bool = False


def models(context: RequestContext) -> list[PlaygroundModel]:
    """The aliases that are names, then every model of the backends."""
    runtime = context.runtime
    listed = []
    for alias in runtime.aliases:
        if any(mark in alias for mark in "*?["):
            continue
        try:
            target = runtime.resolve(alias).targets[0]
        except Problem:
            continue
        where = "local" if runtime.backends[target.backend].self_hosted else "cloud"
        name = f"{target.backend}/{target.model}"
        listed.append(PlaygroundModel(alias, name, where, verdict_of(context, target.backend, target.model)))
    for live in runtime.backends.values():
        if live.state == "off":
            continue
        where = "local" if live.self_hosted else "cloud"
        listed += [
            PlaygroundModel(f"{live.name}/{model}", "", where, verdict_of(context, live.name, model))
            for model in live.models or ()
        ]
    return listed


async def index(context: RequestContext) -> None:
    """Send the page."""
    listed = models(context)
    wanted = query_fields(context)["model"][:600]
    names = [model.value for model in listed]
    chosen = wanted if wanted in names else next(iter(names), "")
    await send_page(
        context,
        "playground",
        "Playground",
        here="/playground",
        lead="Talk to a model as a client would. The conversation is in this page only.",
        models=listed,
        chosen=next((model for model in listed if model.value == chosen), None),
        tools=_encode(TOOLS).decode(),
        url=f"{public_url(context)}/anthropic/v1/messages",
        may_send="write" in context.caller.scopes,
        image_bytes=IMAGE_BYTES,
        most_images=_MOST_IMAGES,
        most_messages=_MOST_MESSAGES,
    )


# -------------------------------------------------------------------------------------------------------- the requests


class PlaygroundReply(StreamReply):
    """A streamed answer whose last event is an AnswerSummary."""

    def __init__(self, context: RequestContext, request: Request) -> None:
        super().__init__(context, request)
        self._requested = context

    async def finish(self) -> None:
        context = self._requested
        self.close()
        if context.metered:
            context.settle()
        body = b"%bevent: byway_summary\ndata: %b\n\n" % (self._end, _encode(_summary(context)))
        await context.send({"type": "http.response.body", "body": body})


def _summary(context: RequestContext) -> AnswerSummary:
    """What the answer of a request took."""
    record = context.record
    seconds = time.monotonic() - context.started
    usage, cost = priced(record, context.runtime.prices, time.time())
    first = record.first
    # A server that sends all at once shows no speed.
    writing = None if first is None or seconds - first < 0.001 else seconds - first
    return AnswerSummary(
        "byway_summary",
        f"req_{context.id}",
        record.backend,
        record.model,
        round(seconds * 1000, 1),
        None if first is None else round(first * 1000, 1),
        round(usage.output_tokens / writing, 1) if writing and usage.output_tokens > 1 else None,
        usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens,
        usage.cache_read_input_tokens,
        usage.output_tokens,
        record.reasoning,
        record.estimated,
        None if cost is None else cost / 1e9,
        record.tries,
        tuple(describe(repair) for repair in record.repairs),
    )


async def send(context: RequestContext) -> None:
    """Answer a Messages request of the page as a stream."""
    _require_write(context)
    context.headers[b"user-agent"] = _AGENT
    context.headers.setdefault(b"anthropic-version", _VERSION)
    request = await read(context)
    if not request.stream:
        raise Problem("invalid_request", "stream: the playground streams every answer. Set it to true.")
    await serve(context, request, PlaygroundReply(context, request))


_decode_call: Final = msgspec.json.Decoder(ToolInput)


async def call_tool(context: RequestContext) -> None:
    """Run a demo tool that the model has called."""
    _require_write(context)
    call = decode(_decode_call, await read_body(context))
    await context.answer(_encode(run_tool(call.name, call.input, datetime.datetime.now(datetime.UTC))))


def run_tool(name: str, given: Mapping[str, Any], now: datetime.datetime) -> ToolOutput:
    """The result of a demo tool for an input that a model has made."""
    if name == "get_time":
        zone = str(given.get("zone") or "UTC")[:100]
        try:
            local = now.astimezone(zoneinfo.ZoneInfo(zone))
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            return ToolOutput(f"unknown time zone {zone!r}. Use a name such as Europe/Rome, or UTC", True)
        return ToolOutput(f"{local:%A %Y-%m-%d %H:%M:%S} {zone}")
    if name == "add":
        numbers = given.get("numbers")
        if not isinstance(numbers, list) or not all(isinstance(number, int | float) for number in numbers):
            return ToolOutput("numbers: expected a list of numbers", True)
        if len(numbers) > _MOST_NUMBERS:
            return ToolOutput(f"numbers: at most {_MOST_NUMBERS:,}", True)
        try:
            return ToolOutput(str(sum(numbers)))
        except (OverflowError, ValueError):
            return ToolOutput("numbers: too large", True)
    return ToolOutput(f"unknown tool {name[:100]!r}. The tools are get_time and add", True)


async def find_request(context: RequestContext) -> None:
    """Return the number of a request in the list of requests; null when the list does not have it (yet)."""
    id = context.tail[:64]
    recent = context.gateway.requests
    number = recent.numbers([id]).get(id)
    if number is not None and recent.find(number, visible_account(context)) is None:
        number = None
    await context.answer(_encode({"number": number}), headers=[(b"cache-control", b"no-store")])


def _require_write(context: RequestContext) -> None:
    if "write" not in context.caller.scopes:
        raise Problem(
            "permission", f"Account {context.caller.account} may not use models: its role has no scope `write`."
        )


ROUTES = (
    Route("GET", "/playground", index, "account", "page"),
    Route("POST", "/playground/messages", send, "account", "messages"),
    Route("POST", "/playground/tool", call_tool, "account", "messages"),
    Route("GET", "/playground/request/*", find_request, "account", "messages"),
)
