"""The official server tools `tool_search_tool_regex` and `tool_search_tool_bm25`: what they search, and their blocks.

https://platform.claude.com/docs/en/agents-and-tools/tool-use/tool-search-tool and the types of the `anthropic` SDK 2.11.0 (seen
2026-11-29).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from byway.decoding import DECODE_ERRORS
from byway.largebodies import off_loop
from byway.messages.tools import Tool
from byway.parsing.job import ParseJob
from byway.parsing.patterns import PatternError, is_simple, matching
from byway.parsing.pool import ParseError, ParserPool
from byway.search.ranking import rank

#: The tool's `type` begins with it.
TOOL_SEARCH_PREFIX: Final = "tool_search_tool_"
#: Tools that one search returns, unless the model sets another `limit`.
_FOUND: Final = 5
_MOST: Final = 20
#: Characters of a pattern or a query, as in the official API.
_LONGEST: Final = 200
#: Characters of one description that are searched.
_SEARCHED: Final = 4000
#: Seconds for a pattern in a child process.
_SECONDS: Final = 10.0
#: Searching a character of the tools takes about as long as translating so many bytes.
_WEIGHT: Final = 8
ToolSearchCode = Literal["invalid_tool_input", "unavailable", "too_many_requests", "execution_time_exceeded"]


class ToolSearchError(Exception):
    """A search that failed, with the official error code."""

    def __init__(self, code: ToolSearchCode, message: str) -> None:
        super().__init__(message)
        self.code: ToolSearchCode = code
        self.message = message


class _Argument(Struct):
    description: Any = None


class _Schema(Struct):
    properties: dict[str, _Argument] = {}


def texts_of(tool: Tool) -> list[str]:
    """What a search sees of a tool: its name, its description, and the names and descriptions of its arguments."""
    texts = [tool.name]
    if description := _decoded(tool.description, str):
        texts.append(description[:_SEARCHED])
    schema = _decoded(tool.input_schema, _Schema)
    for name, argument in (schema.properties if schema else {}).items():
        texts.append(name)
        if isinstance(argument.description, str):
            texts.append(argument.description[:_SEARCHED])
    return texts


def _decoded(raw: msgspec.Raw, type: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=type) if len(raw) else None
    except DECODE_ERRORS:
        # Another backend may accept what is not readable here.
        return None


class ToolSearcher:
    """Searches the deferred tools of a request."""

    def __init__(self, pool: ParserPool | None = None) -> None:
        self._pool = pool or ParserPool(time_limit=_SECONDS)

    async def find(self, kind: str, given: dict[str, Any], tools: Sequence[Tool]) -> list[str]:
        """The names of the tools that match best. `kind`: the tool's `type`. `given`: the input of the call.

        Raises ToolSearchError.
        """
        by_pattern = kind.startswith(f"{TOOL_SEARCH_PREFIX}regex")
        names = ("pattern", "query") if by_pattern else ("query", "pattern")
        text = next((given[name] for name in names if isinstance(given.get(name), str)), "").strip()
        if not text:
            raise ToolSearchError("invalid_tool_input", f"`{names[0]}` is empty")
        if len(text) > _LONGEST:
            raise ToolSearchError("invalid_tool_input", f"`{names[0]}` is longer than {_LONGEST} characters")
        limit = given.get("limit")
        most = min(limit, _MOST) if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0 else _FOUND
        weight = _WEIGHT * sum(len(tool.description) + len(tool.input_schema) + 100 for tool in tools)
        texts = await off_loop(weight, lambda: [texts_of(tool) for tool in tools])
        if by_pattern:
            indices = await self._matching(weight, text, texts)
        else:
            indices = await off_loop(weight, rank, text, texts)
        return [tools[index].name for index in indices[:most]]

    async def _matching(self, weight: int, pattern: str, texts: list[list[str]]) -> list[int]:
        try:
            if is_simple(pattern):
                return await off_loop(weight, matching, pattern, texts)
            data = await off_loop(weight, msgspec.json.encode, texts)
            return (await self._pool.parse(ParseJob("pattern", pattern=pattern), data)).matches
        except PatternError as error:
            raise ToolSearchError("invalid_tool_input", f"the pattern is not a regular expression: {error}") from None
        except ParseError as error:
            if error.reason == "unreadable":
                message = f"the pattern is not a regular expression: {error.message}"
                raise ToolSearchError("invalid_tool_input", message) from None
            raise ToolSearchError("execution_time_exceeded", "the pattern takes too long: use a simpler one") from None


def tool_search_name(kind: str) -> str:
    """The official name of the tool with this `type`."""
    return TOOL_SEARCH_PREFIX + ("regex" if kind.startswith(f"{TOOL_SEARCH_PREFIX}regex") else "bm25")


def tool_search_call(id: str, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The block that shows the call."""
    return {"type": "server_tool_use", "id": id, "name": name, "input": given, "caller": {"type": "direct"}}


def found_tools(id: str, names: Sequence[str]) -> dict[str, Any]:
    """The block with the tools that a search has found."""
    references = [{"type": "tool_reference", "tool_name": name} for name in names]
    content = {"type": "tool_search_tool_search_result", "tool_references": references}
    return {"type": "tool_search_tool_result", "tool_use_id": id, "content": content}


def tool_search_error(id: str, error: ToolSearchError) -> dict[str, Any]:
    """The block of a search that failed."""
    content = {"type": "tool_search_tool_result_error", "error_code": error.code, "error_message": error.message}
    return {"type": "tool_search_tool_result", "tool_use_id": id, "content": content}
