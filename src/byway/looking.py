"""The turns in which Byway itself searches the web for a request: who is asked when, and what the answer is made of.

What the blocks hold is `search.telling`'s, whom to ask `search.searching`'s; the line's own part is one line in `exchange`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from byway.logs import say
from byway.messages import Request, Text, Tool, ToolResult, ToolUse, Turn, Usage
from byway.runtime import Runtime
from byway.search import Failed, telling

if TYPE_CHECKING:
    from byway.exchange import Record

Ask = Callable[[Request], Awaitable[bytes]]
"""One turn of the model, held: its answer as one JSON message."""


async def look(runtime: Runtime, request: Request, at: int, tool: Tool, ask: Ask, record: Record) -> bytes:
    """The whole answer to a request with the search tool `tool`, its `at`th. Raises Problem.

    Claude Code's own sentence says what to search for, and its model reads what was found: no turn of a model is wasted on
    that. Any other request gets the tool as a function, and as many turns as the model wants and `max_uses` lets it.
    """
    searching = _Searching(runtime, request, at, tool)
    text = telling.sentence(request)
    if text is not None:
        say("Anthropic web_search server-tool emulation: extracting query", by="the client's sentence")
        content = [*await searching.search(text), *searching.findings]
        record.usage = Usage(request.estimate, output_tokens=sum(len(str(block)) for block in content) // 4)
        record.estimated, record.stop_reason = True, "end_turn"
        return telling.message(request, content, msgspec.to_builtins(record.usage), searching.searches)
    say("Anthropic web_search server-tool emulation: extracting query", by="the model")
    return await _turns(searching, request, tool, ask, record)


class _Searching:
    """The searches of one answer."""

    def __init__(self, runtime: Runtime, request: Request, at: int, tool: Tool) -> None:
        self.searches = 0
        """Those that gave something: a failed one is not counted, as in the official API."""
        self.findings: list[dict[str, Any]] = []
        """The last search, in text blocks."""
        self.told = ""
        """The same for a model."""
        self._runtime = runtime
        self._request = request
        self._at = at
        self._tool = tool
        self._asked = 0

    @property
    def left(self) -> bool:
        """May there be another search?"""
        return self._asked < telling.uses(self._tool)

    async def search(self, text: str) -> list[dict[str, Any]]:
        """Search once; the blocks that tell of it. A failure is a block too."""
        id = f"srvtoolu_{self._request.id[4:]}{self._asked}"
        left = self.left
        self._asked += 1
        call = telling.call(id, text)
        self.findings = []
        settings = self._runtime.config.web_search
        try:
            if not left:
                raise Failed("max_uses_exceeded", "no more searches are allowed for this answer")
            query = telling.query(self._tool, self._at, text, settings.max_results)
            if not query.text:
                raise Failed("invalid_tool_input", "the query is empty")
            results = (await self._runtime.searcher.search(query)).results
        except Failed as failure:
            self.told = json.dumps({"error": f"{failure.code}: {failure.message}"})
            return [call, telling.failed(id, failure)]
        self.searches += 1
        self.findings = telling.findings(text, results)
        self.told = telling.told(results)
        return [call, telling.found(id, results)]


async def _turns(searching: _Searching, request: Request, tool: Tool, ask: Ask, record: Record) -> bytes:
    """Let the model search until it answers."""
    params = request.params
    tools = [telling.FUNCTION if one is tool else one for one in params.tools or ()]
    turns = list(request.turns)
    content: list[dict[str, Any]] = []
    total = Usage()
    choice = params.tool_choice
    while True:
        asked = request.asking(turns, msgspec.structs.replace(params, tools=tools, tool_choice=choice))
        said = json.loads(await ask(asked))
        for name in total.__struct_fields__:
            setattr(total, name, getattr(total, name) + (said["usage"].get(name) or 0))
        calls = [one for one in said["content"] if one["type"] == "tool_use" and one["name"] == telling.FUNCTION.name]
        others = [one for one in said["content"] if one not in calls]
        content += others
        if not calls or any(one["type"] == "tool_use" for one in others):
            # What the client has to run comes first; the model can search again when it has the results.
            break
        spoken: list[Any] = [Text(one["text"]) for one in others if one["type"] == "text"]
        heard: list[Any] = []
        for one in calls:
            content += await searching.search(str(one["input"].get("query") or ""))
            spoken.append(ToolUse(one["id"], one["name"], Raw(json.dumps(one["input"]).encode())))
            heard.append(ToolResult(one["id"], searching.told))
        turns += [Turn("assistant", spoken), Turn("user", heard)]
        # A forced choice is for the first turn; and when no search is left, the tool is not offered any more.
        choice = None
        if not searching.left:
            tools = [one for one in tools if one is not telling.FUNCTION]
    record.usage, record.stop_reason = total, said["stop_reason"]
    return telling.message(request, content, msgspec.to_builtins(total), searching.searches, said["stop_reason"])
