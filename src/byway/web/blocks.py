"""The official server tool `web_fetch_...`: the function offered to models, and the blocks of its answer. Pure.

https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-fetch-tool and the types of the `anthropic` SDK 2.11.0
(seen 2026-11-21).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from byway.decoding import DECODE_ERRORS
from byway.domains import domains_error
from byway.messages.tools import Tool
from byway.problems import Problem
from byway.web.fetch import FetchedPage, FetchError

#: The tool's `type` begins with it; a date follows.
FETCH_TOOL_PREFIX: Final = "web_fetch_"
_encode: Final = msgspec.json.Encoder().encode
#: The function that a model is offered instead of the server tool.
FETCH_FUNCTION: Final = Tool(
    "web_fetch",
    description=Raw(
        _encode("Fetches a web page and returns its text. Only URLs from the conversation can be fetched.")
    ),
    input_schema=Raw(
        b'{"type":"object","properties":{"url":{"type":"string","description":"The complete URL."}},"required":["url"]}'
    ),
)


def check_fetch_tool(tool: Tool, index: int) -> None:
    """Raise Problem `invalid_request` for invalid domain lists. `index` is the tool's place in the request."""
    error = domains_error(tool.allowed_domains, tool.blocked_domains)
    if error:
        raise Problem("invalid_request", f"tools.{index}.{error}")


def fetch_call(id: str, url: str) -> dict[str, Any]:
    """The block that shows the URL."""
    return {"type": "server_tool_use", "id": id, "name": "web_fetch", "input": {"url": url}}


def fetched_page(id: str, page: FetchedPage, tool: Tool) -> dict[str, Any]:
    """The block with the page."""
    document = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": page.text},
        "title": page.title or None,
        "citations": {"enabled": _wants_citations(tool)},
    }
    result = {"type": "web_fetch_result", "url": page.url, "content": document, "retrieved_at": page.retrieved_at}
    return {"type": "web_fetch_tool_result", "tool_use_id": id, "content": result}


class _Citations(Struct):
    enabled: bool = False


_citations: Final = msgspec.json.Decoder(_Citations | None)


def _wants_citations(tool: Tool) -> bool:
    try:
        citations = _citations.decode(tool.citations) if tool.citations else None
    except DECODE_ERRORS:
        return False
    return citations is not None and citations.enabled


def fetch_error(id: str, error: FetchError) -> dict[str, Any]:
    """The block of a failed fetch. The HTTP status stays 200."""
    content = {"type": "web_fetch_tool_result_error", "error_code": error.code}
    return {"type": "web_fetch_tool_result", "tool_use_id": id, "content": content}
