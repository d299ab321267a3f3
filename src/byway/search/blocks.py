"""The official server tool `web_search_...` in its own words: what a request asks for, and the blocks that answer it. Pure.

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
from byway.messages.request import Request, Tool
from byway.problems import Problem
from byway.search.provider import SearchError, SearchQuery, UserLocation, WebResult

SEARCH_TOOL_PREFIX: Final = "web_search_"
_CITED: Final = 150
_encode: Final = msgspec.json.Encoder().encode


def search_query(asked: Tool, at: int, text: str, count: int) -> SearchQuery:
    """A query for `text` with the tool's own limits. Raises Problem `invalid_request` for lists that are none."""
    wrong = domains_error(asked.allowed_domains, asked.blocked_domains)
    if wrong:
        raise Problem("invalid_request", f"tools.{at}.{wrong}")
    place = None
    if len(asked.user_location):
        try:
            place = msgspec.json.decode(asked.user_location, type=UserLocation | None)
        except msgspec.MsgspecError as error:
            raise Problem("invalid_request", f"tools.{at}.user_location: {error}") from None
    return SearchQuery(
        " ".join(text.split()), count, tuple(asked.allowed_domains or ()), tuple(asked.blocked_domains or ()), place
    )


def claude_code_query(request: Request) -> str | None:
    """What Claude Code's WebSearch asks for, in its one sentence: then no model has to say what to search for."""
    if len(request.params.tools or ()) != 1 or len(request.turns) != 1:
        return None
    texts = [block.text for block in request.turns[0].blocks if type(block) is Text]
    if len(texts) != 1 or not texts[0].startswith(claudecode.SEARCHES):
        return None
    return texts[0][len(claudecode.SEARCHES) :].strip() or None


#: What a model is offered instead: a function, which Byway runs.
SEARCH_FUNCTION: Final = Tool(
    "web_search",
    description=Raw(_encode("Searches the web. Use it for what you cannot know or what may have changed.")),
    input_schema=Raw(
        b'{"type":"object","properties":{"query":{"type":"string","description":"What to search for."}},"required":["query"]}'
    ),
)


def search_call(id: str, text: str) -> dict[str, Any]:
    """The block that says what is searched for."""
    return {"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": text}}


def search_results(id: str, results: Sequence[WebResult]) -> dict[str, Any]:
    """The block with what was found."""
    listed = [
        {
            "type": "web_search_result",
            "title": one.title,
            "url": one.url,
            "encrypted_content": _sealed(one.snippet),
            "page_age": one.age or None,
        }
        for one in results
    ]
    return {"type": "web_search_tool_result", "tool_use_id": id, "content": listed}


def search_error(id: str, failure: SearchError) -> dict[str, Any]:
    """The block that says why nothing was found: HTTP stays 200."""
    error = {"type": "web_search_tool_result_error", "error_code": failure.code}
    return {"type": "web_search_tool_result", "tool_use_id": id, "content": error}


def result_texts(text: str, results: Sequence[WebResult]) -> list[dict[str, Any]]:
    """Text blocks with what was found, since Claude Code shows its model only titles, addresses and text."""
    if not results:
        return [{"type": "text", "text": f'Nothing was found for "{text}".'}]
    blocks: list[dict[str, Any]] = [{"type": "text", "text": f'Found for "{text}":\n\n'}]
    for rank, one in enumerate(results, 1):
        lines = [f"{rank}. {one.title}{f' ({one.age})' if one.age else ''}", one.url, one.snippet]
        said = "\n   ".join([line for line in lines if line]) + "\n\n"
        cited = {
            "type": "web_search_result_location",
            "url": one.url,
            "title": one.title,
            "encrypted_index": _sealed(f"{rank} {one.url}"),
            "cited_text": one.snippet[:_CITED],
        }
        blocks.append({"type": "text", "text": said, "citations": [cited]})
    return blocks


def results_for_model(results: Sequence[WebResult]) -> str:
    """What was found, as a tool's result for a model."""
    return _encode(
        [{"title": one.title, "url": one.url, "age": one.age, "text": one.snippet} for one in results]
    ).decode()


def _sealed(text: str) -> str:
    """What the official API encrypts: nobody but its maker reads it."""
    return base64.b64encode(f"byway.{text}".encode()).decode()
