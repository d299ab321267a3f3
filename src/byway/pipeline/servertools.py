"""Server tools that Byway runs itself: web search, web fetch and tool search, with as many turns of the model as they need.

The contents of their blocks are made in `search.blocks`, `search.tools` and `web.blocks`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import msgspec
from msgspec import Raw, Struct

from byway.backends.openai import definedtools
from byway.backends.protocol import Target
from byway.logs import log
from byway.messages.blocks import Block, FilelessBlock, Text, Thinking, ToolReference, ToolResult, ToolUse
from byway.messages.events import (
    TOKENS,
    BlockDelta,
    BlockStart,
    BlockStop,
    InputDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    Part,
    SignatureDelta,
    Stop,
    TextDelta,
    TextStart,
    ThinkingDelta,
    ThinkingStart,
    ToolStart,
    Usage,
)
from byway.messages.request import Request, Turn
from byway.messages.stream import block_events, tool_input
from byway.messages.tools import Tool
from byway.pipeline.reply import Record, Reply, opening
from byway.providers.protocol import SearchError
from byway.runtime import Runtime
from byway.search.blocks import (
    SEARCH_FUNCTION,
    SEARCH_TOOL_PREFIX,
    claude_code_query,
    result_texts,
    results_for_model,
    search_call,
    search_error,
    search_query,
    search_results,
)
from byway.search.tools import (
    TOOL_SEARCH_PREFIX,
    ToolSearchError,
    found_tools,
    tool_search_call,
    tool_search_error,
    tool_search_name,
)
from byway.web.blocks import FETCH_FUNCTION, FETCH_TOOL_PREFIX, check_fetch_tool, fetch_call, fetch_error, fetched_page
from byway.web.fetch import FetchError
from byway.web.provenance import parse_sources, url_appears

TakeTurn = Callable[[Request, Reply], Awaitable[None]]
"""Takes one turn of the model: sends a request and passes its answer to a reply."""
#: Pages of one answer when the request sets no `max_uses`.
_PAGES: Final = 10
#: Searches for tools of one answer.
_TOOL_SEARCHES: Final = 10
#: Turns in which a model calls only tools that are used up, and gets an error, before the answer ends.
_REFUSED_TURNS: Final = 2


class Served(Protocol):
    """A tool of the request that Byway runs."""

    tool: Tool
    """The tool in the request."""
    function: Tool
    """The function that the model is offered instead."""
    done: int
    """Successful uses. Failed ones do not count, as in the official API."""
    result: str | list[FilelessBlock]
    """The result of the last use, as a model reads it."""
    shown: bool
    """The client sees the blocks of its uses."""

    @property
    def left(self) -> bool:
        """Another use is allowed."""

    async def run(self, given: dict[str, Any], turns: list[Turn]) -> list[dict[str, Any]]:
        """Use the tool once with a model's input, after `turns`. Returns the blocks of this use; a failure is a block too."""


def served(runtime: Runtime, request: Request, target: Target) -> list[Served]:
    """The tools of `request` that Byway runs, without disabled ones; empty for most requests."""
    if target.vendor.runs_web_tools:
        return []
    tools: list[Served] = []
    for at, tool in enumerate(request.params.tools or ()):
        if tool.type is None:
            continue
        if tool.type.startswith(SEARCH_TOOL_PREFIX) and runtime.searcher.ready:
            tools.append(_Searching(runtime, request, at, tool))
        elif tool.type.startswith(TOOL_SEARCH_PREFIX) and (function := definedtools.function(tool)) is not None:
            tools.append(_ToolSearching(runtime, request, at, tool, function))
        elif tool.type.startswith(FETCH_TOOL_PREFIX) and runtime.config.web_fetch.enabled:
            tools.append(_Fetching(runtime, request, at, tool))
    inject = runtime.config.web_search.inject
    if inject != "off" and runtime.searcher.ready and runtime.backends[target.backend].runs_here(target.model):
        tools += _injected(runtime, request, inject == "always")
    return tools


def _injected(runtime: Runtime, request: Request, always: bool) -> list[Served]:
    """The search that `web_search.inject` adds for clients without Anthropic's tool."""
    tools = request.params.tools or ()
    own = next((tool for tool in tools if tool.name == SEARCH_FUNCTION.name), None)
    if not always:
        # It replaces the client's own function. The official tool has another type and is handled by `served`.
        return [_InjectedSearch(runtime, request, 0, own)] if own is not None and own.type in (None, "custom") else []
    choice = request.params.tool_choice
    free = own is None and (choice is None or choice.type == "auto")
    return [_InjectedSearch(runtime, request, 0, Tool(SEARCH_FUNCTION.name))] if free else []


async def answer(request: Request, tools: list[Served], reply: Reply, take_turn: TakeTurn, record: Record) -> bool:
    """Answer a request with `tools` through `reply`. Raises Problem. Returns whether the model was called.

    The WebSearch tool of Claude Code names its query in a sentence, and its model reads the results: there no turn of a
    model is needed. Any other request gets the tools as functions, and as many turns as the model takes and `max_uses`
    allows.
    """
    relay = _Relay(reply, request, {tool.function.name for tool in tools})
    first = tools[0]
    text = claude_code_query(request) if isinstance(first, _Searching) and first.shown else None
    called = text is None or not isinstance(first, _Searching)
    if text is not None and isinstance(first, _Searching):
        log("Anthropic web_search server-tool emulation: extracting query", by="the client's sentence")
        blocks = [*await first.run({"query": text}, []), *first.findings]
        await relay.add(blocks)
        total, stop = Usage(request.estimate, output_tokens=sum(len(str(block)) for block in blocks) // 4), "end_turn"
        record.estimated = True
    else:
        if first.shown:
            log("Anthropic web_search server-tool emulation: extracting query", by="the model")
        total, stop = await _turns(request, tools, relay, take_turn)
    record.end_turn()
    record.usage, record.stop_reason, record.summed = total, stop, True
    total.server_tool_use = _uses(tools)
    await relay.finish(total, stop)
    return called


def _uses(tools: list[Served]) -> dict[str, int]:
    """How often each kind of server tool was used."""
    searches = sum(tool.done for tool in tools if isinstance(tool, _Searching))
    fetches = sum(tool.done for tool in tools if isinstance(tool, _Fetching))
    return {"web_search_requests": searches, "web_fetch_requests": fetches}


class _Searching:
    """Runs `web_search_...` for one answer."""

    function = SEARCH_FUNCTION
    shown = True

    def __init__(self, runtime: Runtime, request: Request, at: int, tool: Tool) -> None:
        self.tool = tool
        self.done = 0
        self.result: str | list[FilelessBlock] = ""
        self.findings: list[dict[str, Any]] = []
        """The results of the last search as text blocks."""
        self._runtime = runtime
        self._id = request.id[4:]
        self._at = at
        self._attempts = 0

    @property
    def left(self) -> bool:
        most = self.tool.max_uses
        return self._attempts < (self._runtime.config.web_search.max_tool_iterations if most is None else most)

    async def run(self, given: dict[str, Any], turns: list[Turn]) -> list[dict[str, Any]]:
        text = str(given.get("query") or "")
        id = f"srvtoolu_{self._id}s{self._attempts}"
        left = self.left
        self._attempts += 1
        call = search_call(id, text)
        self.findings = []
        try:
            if not left:
                raise SearchError("max_uses_exceeded", "no more searches are allowed for this answer")
            query = search_query(self.tool, self._at, text, self._runtime.config.web_search.max_results)
            if not query.text:
                raise SearchError("invalid_tool_input", "the query is empty")
            results = (await self._runtime.searcher.search(query)).results
        except SearchError as failure:
            self.result = json.dumps({"error": f"{failure.code}: {failure.message}"})
            return [call, search_error(id, failure)]
        self.done += 1
        self.findings = result_texts(text, results)
        self.result = results_for_model(results)
        return [call, search_results(id, results)]


class _InjectedSearch(_Searching):
    """A search that the client did not request: it sees only the answer."""

    shown = False


class _Fetching:
    """Runs `web_fetch_...` for one answer."""

    function = FETCH_FUNCTION
    shown = True

    def __init__(self, runtime: Runtime, request: Request, at: int, tool: Tool) -> None:
        check_fetch_tool(tool, at)
        self._sources = parse_sources(tool.url_sources, f"tools.{at}.url_sources")
        self.tool = tool
        self.done = 0
        self.result: str | list[FilelessBlock] = ""
        self._runtime = runtime
        self._request = request
        self._attempts = 0

    @property
    def left(self) -> bool:
        return self._attempts < (_PAGES if self.tool.max_uses is None else self.tool.max_uses)

    async def run(self, given: dict[str, Any], turns: list[Turn]) -> list[dict[str, Any]]:
        address = str(given.get("url") or "")
        id = f"srvtoolu_{self._request.id[4:]}f{self._attempts}"
        left = self.left
        self._attempts += 1
        call = fetch_call(id, address)
        # The official rule: only addresses from the conversation, since a URL can send its content elsewhere.
        so_far = self._request.followed(turns, self._request.params)
        try:
            if not left:
                raise FetchError("max_uses_exceeded", "no more pages are allowed for this answer")
            page = await self._runtime.fetcher.fetch(
                address,
                allowed=self.tool.allowed_domains,
                blocked=self.tool.blocked_domains,
                known=lambda url: url_appears(so_far, url, self._sources),
                max_content_tokens=self.tool.max_content_tokens,
                fresh=self.tool.use_cache is False,
            )
        except FetchError as failure:
            self.result = json.dumps({"error": f"{failure.code}: {failure.message}"})
            return [call, fetch_error(id, failure)]
        self.done += 1
        self.result = f"{page.title}\n{page.url}\n\n{page.text}"
        return [call, fetched_page(id, page, self.tool)]


class _ToolSearching:
    """Runs `tool_search_tool_...` for one answer, over the deferred tools of the request."""

    shown = True

    def __init__(self, runtime: Runtime, request: Request, at: int, tool: Tool, function: Tool) -> None:
        self.tool = tool
        self.function = function
        self.done = 0
        self.result: str | list[FilelessBlock] = ""
        self._runtime = runtime
        self._id = f"{request.id[4:]}t{at}"
        self._deferred = [tool for tool in request.params.tools or () if tool.defer_loading]
        self._attempts = 0

    @property
    def left(self) -> bool:
        return self._attempts < _TOOL_SEARCHES

    async def run(self, given: dict[str, Any], turns: list[Turn]) -> list[dict[str, Any]]:
        kind = self.tool.type or ""
        id = f"srvtoolu_{self._id}_{self._attempts}"
        left = self.left
        self._attempts += 1
        call = tool_search_call(id, tool_search_name(kind), given)
        try:
            if not left:
                raise ToolSearchError("too_many_requests", "no more searches are allowed for this answer")
            names = await self._runtime.tool_searcher.find(kind, given, self._deferred)
        except ToolSearchError as failure:
            self.result = json.dumps({"error": f"{failure.code}: {failure.message}"})
            return [call, tool_search_error(id, failure)]
        self.done += 1
        # The references load the tools for the next turn.
        self.result = [ToolReference(name) for name in names] if names else "No tool matches."
        return [call, found_tools(id, names)]


async def _turns(request: Request, served: list[Served], relay: _Relay, take_turn: TakeTurn) -> tuple[Usage, str]:
    """Let the model use the tools until it answers. Returns the tokens of all turns, and the last stop reason."""
    params = request.params
    by_name = {tool.function.name: tool for tool in served}
    replaced = {id(tool.tool): tool.function for tool in served}
    tools = [replaced.get(id(tool), tool) for tool in params.tools or ()]
    tools += [tool.function for tool in served if tool.function not in tools]
    turns = list(request.turns)
    total = Usage()
    choice = params.tool_choice
    refused = 0
    while True:
        relay.begin()
        following = request.followed(turns, msgspec.structs.replace(params, tools=tools, tool_choice=choice))
        await take_turn(following, relay)
        for name in TOKENS:
            setattr(total, name, getattr(total, name) + getattr(relay.usage, name))
        calls = relay.calls
        if not calls or relay.others:
            # The client's own tools come first; the model can use Byway's again when it has their results.
            return total, relay.stop
        if not any(by_name[call.name].left for call in calls):
            refused += 1
            if refused > _REFUSED_TURNS:
                return total, "end_turn"
        results: list[Block] = []
        for call in calls:
            tool = by_name[call.name]
            blocks = await tool.run(call.arguments, turns)
            if tool.shown:
                await relay.add(blocks)
            results.append(ToolResult(call.id, tool.result))
        turns += [Turn("assistant", relay.content()), Turn("user", results)]
        # A forced choice is for the first turn only; a tool that is used up is not offered again.
        choice = None
        tools = [tool for tool in tools if tool.name not in by_name or by_name[tool.name].left]


class _KeptText(Struct):
    """A text of the model, which goes back to it."""

    pieces: list[str]

    def block(self) -> Block:
        return Text("".join(self.pieces))


class _KeptThinking(Struct):
    """Thinking of the model. Its signature may carry reasoning that the backend requires, also without any text."""

    pieces: list[str]
    signature: str

    def block(self) -> Block:
        return Thinking("".join(self.pieces), self.signature)


class _ServedCall(Struct):
    """A call of a tool that Byway runs."""

    id: str
    name: str
    pieces: list[str]

    @property
    def arguments(self) -> dict[str, Any]:
        """The input of the call."""
        return tool_input("".join(self.pieces))

    def block(self) -> Block:
        return ToolUse(self.id, self.name, Raw(msgspec.json.encode(self.arguments)))


class _Relay:
    """Makes one answer of several turns: passes on every event but the calls of Byway's own tools."""

    # The conversation is still needed after its answer has started.
    sent = False

    def __init__(self, reply: Reply, request: Request, names: set[str]) -> None:
        self._reply = reply
        self._request = request
        self._names = names
        self._started = False
        self._next = 0
        """The index of the next block of the answer."""
        self.begin()

    def begin(self) -> None:
        """Begin a turn of the model."""
        self._kept: dict[int, _KeptText | _KeptThinking | _ServedCall] = {}
        """The blocks that the next turn returns to the model, by their index in this turn."""
        self.others = False
        """The model has called tools of the client."""
        self.usage = Usage()
        self.stop = "end_turn"
        self._indices: dict[int, int | None] = {}
        """The index of a block in its turn -> its index in the answer; None: it is not passed on."""

    @property
    def calls(self) -> list[_ServedCall]:
        """The calls of Byway's tools in this turn."""
        return [block for block in self._kept.values() if isinstance(block, _ServedCall)]

    def content(self) -> list[Block]:
        """The blocks of this turn in their order, as a client would return them."""
        return [block.block() for block in self._kept.values()]

    def aim(self, backend: str, model: str) -> None:
        """The target was named when the attempt began."""

    async def send(self, parts: Sequence[Part]) -> None:
        out: list[Part] = []
        for event in parts:
            if isinstance(event, MessageStart):
                self._start(out, event)
            elif isinstance(event, BlockStart):
                block = event.content_block
                if isinstance(block, ToolStart) and block.name in self._names:
                    self._kept[event.index] = _ServedCall(block.id, block.name, [])
                    self._indices[event.index] = None
                    continue
                if isinstance(block, TextStart):
                    self._kept[event.index] = _KeptText([block.text])
                elif isinstance(block, ThinkingStart):
                    self._kept[event.index] = _KeptThinking([block.thinking], block.signature)
                self.others = self.others or isinstance(block, ToolStart)
                self._indices[event.index] = self._next
                out.append(BlockStart(self._next, block))
                self._next += 1
            elif isinstance(event, BlockDelta):
                index = self._indices[event.index]
                if index is not None:
                    out.append(BlockDelta(index, event.delta))
                self._keep(event)
            elif isinstance(event, BlockStop):
                index = self._indices[event.index]
                if index is not None:
                    out.append(BlockStop(index))
            elif isinstance(event, MessageDelta):
                self.usage, self.stop = event.usage, event.delta.stop_reason or "end_turn"
        if out:
            await self._reply.send(out)

    def _keep(self, event: BlockDelta) -> None:
        """Add a delta to the block that the next turn returns."""
        kept, delta = self._kept.get(event.index), event.delta
        if isinstance(kept, _KeptText) and isinstance(delta, TextDelta):
            kept.pieces.append(delta.text)
        elif isinstance(kept, _KeptThinking) and isinstance(delta, ThinkingDelta):
            kept.pieces.append(delta.thinking)
        elif isinstance(kept, _KeptThinking) and isinstance(delta, SignatureDelta):
            kept.signature = delta.signature
        elif isinstance(kept, _ServedCall) and isinstance(delta, InputDelta):
            kept.pieces.append(delta.partial_json)

    async def add(self, blocks: list[dict[str, Any]]) -> None:
        """Send blocks of Byway's own."""
        out: list[Part] = []
        self._start(out, None)
        for block in blocks:
            out += block_events(self._next, block)
            self._next += 1
        await self._reply.send(out)

    async def finish(self, usage: Usage, stop: str) -> None:
        """Send the end of the answer."""
        out: list[Part] = []
        self._start(out, None)
        await self._reply.send([*out, MessageDelta(Stop(stop), usage), MessageStop()])

    def _start(self, out: list[Part], event: MessageStart | None) -> None:
        if not self._started:
            self._started = True
            out.append(event or opening(self._request))
