"""The tools of the MCP server: what they are called with, and the text that they return.

They use the same search providers and the same rules for pages as the server tools of the Messages API.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct

from byway.domains import domains_error
from byway.mcp.protocol import tool_result
from byway.providers.protocol import SearchError, SearchQuery
from byway.runtime import Runtime
from byway.search.blocks import result_texts
from byway.web.fetch import FetchError

SEARCH: Final = "web_search"
FETCH: Final = "web_fetch"
#: Seconds of one call. Claude Code waits for 60 (2.1.329).
DEADLINE: Final = 50.0
#: Tokens of a page. Claude Code stores longer results in a file (2.1.329: 25,000).
_PAGE_TOKENS: Final = 20_000
_MOST_RESULTS: Final = 20
_SEARCH_OFF: Final = (
    "Web search is not configured in Byway. Add a search provider on the settings page, under Claude Code."
)
_FETCH_OFF: Final = "Fetching pages is disabled in Byway. Set `web_fetch.enabled: true` in byway.yaml."

_DOMAINS: Final = {"type": "array", "items": {"type": "string"}}
_READ_ONLY: Final = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": True}
#: Claude Code offers the tool without a search for it (2.1.329).
_ALWAYS: Final = {"anthropic/alwaysLoad": True}
_SEARCH_TOOL: Final[Mapping[str, Any]] = {
    "name": SEARCH,
    "title": "Web search",
    "description": (
        "Searches the web and returns titles, URLs and extracts. Use it for current events, for facts that may have changed, "
        "and for what you do not know. Name the sources that you used as links at the end of your answer."
    ),
    "inputSchema": {
        "type": "object",
        "properties": {
            "query": {"type": "string", "minLength": 2, "description": "What to search for."},
            "allowed_domains": {**_DOMAINS, "description": "Return only results from these domains."},
            "blocked_domains": {**_DOMAINS, "description": "Return no results from these domains."},
            "max_results": {"type": "integer", "minimum": 1, "maximum": _MOST_RESULTS},
        },
        "required": ["query"],
    },
    "annotations": {"title": "Web search", **_READ_ONLY},
    "_meta": _ALWAYS,
}
_FETCH_TOOL: Final[Mapping[str, Any]] = {
    "name": FETCH,
    "title": "Web fetch",
    "description": "Fetches one web page, text file or PDF and returns its text as Markdown.",
    "inputSchema": {
        "type": "object",
        "properties": {
            "url": {"type": "string", "description": "The complete URL."},
            "max_content_tokens": {"type": "integer", "minimum": 1, "description": "Return at most so many tokens."},
        },
        "required": ["url"],
    },
    "annotations": {"title": "Web fetch", **_READ_ONLY},
}


class _SearchArguments(Struct, frozen=True):
    query: str
    allowed_domains: tuple[str, ...] | None = None
    blocked_domains: tuple[str, ...] | None = None
    max_results: Annotated[int, Meta(ge=1, le=_MOST_RESULTS)] | None = None


class _FetchArguments(Struct, frozen=True):
    url: str
    max_content_tokens: Annotated[int, Meta(ge=1)] | None = None


class ToolOutcome(NamedTuple):
    """The result of a call."""

    result: Mapping[str, Any]
    provider: str = ""
    """The search provider that answered."""

    @property
    def failed(self) -> bool:
        return "isError" in self.result


def failure(message: str) -> ToolOutcome:
    """The outcome of a call that failed. `message` contains the next action."""
    return ToolOutcome(tool_result(message, is_error=True))


def offered(runtime: Runtime) -> list[Mapping[str, Any]]:
    """The tools that can be used now, as `tools/list` returns them."""
    tools = []
    if runtime.searcher.ready:
        tools.append(_SEARCH_TOOL)
    if runtime.config.web_fetch.enabled:
        tools.append(_FETCH_TOOL)
    return tools


async def run(runtime: Runtime, name: str, arguments: Any) -> ToolOutcome:
    """Call a tool. A failure is an outcome too; it takes at most DEADLINE seconds."""
    try:
        async with asyncio.timeout(DEADLINE):
            return await (_search(runtime, arguments) if name == SEARCH else _fetch(runtime, arguments))
    except TimeoutError:
        return failure(f"{name} took longer than {DEADLINE:g} s. Try again, or use another query or page.")
    except msgspec.ValidationError as error:
        return failure(f"Invalid arguments of {name}: {error}. Correct them and call the tool again.")
    except SearchError as error:
        return failure(_with_advice(error.message, _SEARCH_ADVICE.get(error.code, "")))
    except FetchError as error:
        return failure(_with_advice(error.message, _FETCH_ADVICE.get(error.code, "")))


async def _search(runtime: Runtime, arguments: Any) -> ToolOutcome:
    if not runtime.searcher.ready:
        return failure(_SEARCH_OFF)
    given = msgspec.convert(arguments, _SearchArguments)
    if error := domains_error(given.allowed_domains, given.blocked_domains):
        return failure(f"{error}. Correct the domains and search again.")
    query = SearchQuery(
        given.query,
        given.max_results or runtime.config.web_search.max_results,
        given.allowed_domains or (),
        given.blocked_domains or (),
    )
    answer = await runtime.searcher.search(query)
    return ToolOutcome(tool_result(_joined(result_texts(given.query, answer.results))), answer.provider)


def _joined(blocks: Sequence[Mapping[str, Any]]) -> str:
    return "".join([block["text"] for block in blocks]).rstrip()


async def _fetch(runtime: Runtime, arguments: Any) -> ToolOutcome:
    if not runtime.config.web_fetch.enabled:
        return failure(_FETCH_OFF)
    given = msgspec.convert(arguments, _FetchArguments)
    limit = min(given.max_content_tokens or _PAGE_TOKENS, _PAGE_TOKENS)
    page = await runtime.fetcher.fetch(given.url, max_content_tokens=limit)
    rest = f"\n\n[This is the first part of a page of about {page.tokens:,} tokens.]" if page.cut else ""
    return ToolOutcome(tool_result(f"{page.title}\n{page.url}\n\n{page.text}{rest}".lstrip()))


_SEARCH_ADVICE: Final = {
    "unavailable": "Tell the user to run `byway search QUERY`, which prints the cause.",
    "too_many_requests": "Wait a moment before the next search.",
    "query_too_long": "Search with fewer words.",
    "request_too_large": "Search with fewer domains.",
    "invalid_tool_input": "Change the query and search again.",
}
_FETCH_ADVICE: Final = {
    "invalid_tool_input": "Use a complete http or https URL.",
    "url_too_long": "Use a shorter URL.",
    "url_not_allowed": "Use another page, or tell the user to change `web_fetch` in byway.yaml.",
    "url_not_accessible": "Use another page.",
    "unsupported_content_type": "Use another page.",
    "content_too_large": "Use another page.",
    "too_many_requests": "",
    "unavailable": "Use another page.",
}


def _with_advice(message: str, advice: str) -> str:
    return f"{message} {advice}".rstrip()
