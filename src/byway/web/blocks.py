"""The official server tool `web_fetch_...` in its own words: the blocks that tell of a page, or why there is none. Pure.

https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-fetch-tool and the types of the `anthropic` SDK 2.11.0
(seen 2026-11-21).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

from byway.domains import domains_error
from byway.messages.request import Tool
from byway.problems import Problem

if TYPE_CHECKING:
    from byway.web.fetch import FetchedPage, FetchError

FETCH_TOOL_PREFIX: Final = "web_fetch_"
_encode: Final = msgspec.json.Encoder().encode
#: What a model is offered instead: a function, which Byway runs.
FETCH_FUNCTION: Final = Tool(
    "web_fetch",
    description=Raw(
        _encode("Fetches a web page and gives its text. Only addresses that stand in the conversation can be fetched.")
    ),
    input_schema=Raw(
        b'{"type":"object","properties":{"url":{"type":"string","description":"The whole address."}},"required":["url"]}'
    ),
)


def check_fetch_tool(tool: Tool, at: int) -> None:
    """Raises Problem `invalid_request` for lists of domains that are none."""
    wrong = domains_error(tool.allowed_domains, tool.blocked_domains)
    if wrong:
        raise Problem("invalid_request", f"tools.{at}.{wrong}")


def fetch_call(id: str, url: str) -> dict[str, Any]:
    """The block that says what is fetched."""
    return {"type": "server_tool_use", "id": id, "name": "web_fetch", "input": {"url": url}}


def fetched_page(id: str, page: FetchedPage, tool: Tool) -> dict[str, Any]:
    """The block with the page."""
    document = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": page.text},
        "title": page.title or None,
        "citations": {"enabled": bool(tool.citations and tool.citations.get("enabled"))},
    }
    result = {"type": "web_fetch_result", "url": page.url, "content": document, "retrieved_at": page.retrieved_at}
    return {"type": "web_fetch_tool_result", "tool_use_id": id, "content": result}


def fetch_error(id: str, failure: FetchError) -> dict[str, Any]:
    """The block that says why there is no page: HTTP stays 200."""
    error = {"type": "web_fetch_tool_result_error", "error_code": failure.code}
    return {"type": "web_fetch_tool_result", "tool_use_id": id, "content": error}
