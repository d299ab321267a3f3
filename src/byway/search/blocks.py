"""The official server tool `web_search_...`: its query from a request, and the blocks of its answer. Pure.

https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool and the types of the `anthropic` SDK 2.11.0
(seen 2026-11-21).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from byway.domains import domains_error
from byway.messages import claudecode
from byway.messages.blocks import Text
from byway.messages.request import Request
from byway.messages.tools import Tool
from byway.problems import Problem
from byway.providers.protocol import SearchError, SearchQuery, UserLocation, WebResult

#: The tool's `type` begins with it; a date follows.
SEARCH_TOOL_PREFIX: Final = "web_search_"
#: Characters of a snippet that a citation quotes.
_CITED_CHARACTERS: Final = 150
_encode: Final = msgspec.json.Encoder().encode


def search_query(tool: Tool, index: int, text: str, count: int) -> SearchQuery:
    """The query `text` with the tool's domains and location. `index` is the tool's place in the request.

    Raises Problem `invalid_request` for invalid domain lists or an invalid location.
    """
    error = domains_error(tool.allowed_domains, tool.blocked_domains)
    if error:
        raise Problem("invalid_request", f"tools.{index}.{error}")
    place = None
    if len(tool.user_location):
        try:
            place = msgspec.json.decode(tool.user_location, type=UserLocation | None)
        except msgspec.MsgspecError as decode_error:
            raise Problem("invalid_request", f"tools.{index}.user_location: {decode_error}") from None
    return SearchQuery(
        " ".join(text.split()), count, tuple(tool.allowed_domains or ()), tuple(tool.blocked_domains or ()), place
    )


def claude_code_query(request: Request) -> str | None:
    """The query in a request of Claude Code's WebSearch, whose text has a fixed form. None for any other request."""
    if len(request.params.tools or ()) != 1 or len(request.turns) != 1:
        return None
    texts = [block.text for block in request.turns[0].blocks if type(block) is Text]
    if len(texts) != 1 or not texts[0].startswith(claudecode.SEARCHES):
        return None
    return texts[0][len(claudecode.SEARCHES) :].strip() or None


#: The function that a model is offered instead of the server tool.
SEARCH_FUNCTION: Final = Tool(
    "web_search",
    description=Raw(_encode("Searches the web. Use it for what you cannot know or what may have changed.")),
    input_schema=Raw(
        b'{"type":"object","properties":{"query":{"type":"string","description":"What to search for."}},"required":["query"]}'
    ),
)


def search_call(id: str, text: str) -> dict[str, Any]:
    """The block that shows the query."""
    return {"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": text}}


def search_results(id: str, results: Sequence[WebResult]) -> dict[str, Any]:
    """The block with the results."""
    content = [
        {
            "type": "web_search_result",
            "title": result.title,
            "url": result.url,
            "encrypted_content": _opaque(result.snippet),
            "page_age": result.age or None,
        }
        for result in results
    ]
    return {"type": "web_search_tool_result", "tool_use_id": id, "content": content}


def search_error(id: str, error: SearchError) -> dict[str, Any]:
    """The block of a failed search. The HTTP status stays 200."""
    content = {"type": "web_search_tool_result_error", "error_code": error.code}
    return {"type": "web_search_tool_result", "tool_use_id": id, "content": content}


def result_texts(text: str, results: Sequence[WebResult]) -> list[dict[str, Any]]:
    """Text blocks with the results: Claude Code gives its model only titles, URLs and text."""
    if not results:
        return [{"type": "text", "text": f'No results for "{text}".'}]
    blocks: list[dict[str, Any]] = [{"type": "text", "text": f'Results for "{text}":\n\n'}]
    for rank, result in enumerate(results, 1):
        lines = [f"{rank}. {result.title}{f' ({result.age})' if result.age else ''}", result.url, result.snippet]
        citation = {
            "type": "web_search_result_location",
            "url": result.url,
            "title": result.title,
            "encrypted_index": _opaque(f"{rank} {result.url}"),
            "cited_text": result.snippet[:_CITED_CHARACTERS],
        }
        content = "\n   ".join([line for line in lines if line]) + "\n\n"
        blocks.append({"type": "text", "text": content, "citations": [citation]})
    return blocks


def results_for_model(results: Sequence[WebResult]) -> str:
    """The results as the output of a tool for a model."""
    return _encode(
        [{"title": result.title, "url": result.url, "age": result.age, "text": result.snippet} for result in results]
    ).decode()


def _opaque(text: str) -> str:
    """A value where the official API has encrypted data, which clients return and never read."""
    return base64.b64encode(f"byway.{text}".encode()).decode()
