"""The tools that requests declare. What backends make of them is kept while requests repeat them. Types and a cache."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from byway.bounded import BoundedDict
from byway.messages.blocks import Wire


class Tool(Wire):
    """A tool of the client, or (with a dated `type`) one that Anthropic's servers would run."""

    name: str = ""
    type: str | None = None
    # The bulk of a prompt: passed on as it came, never decoded.
    description: Raw = Raw()
    input_schema: Raw = Raw()
    defer_loading: bool | None = None
    strict: bool | None = None
    input_examples: Raw = Raw()
    # Fields of `web_search_...` and `web_fetch_...`.
    max_uses: int | None = None
    max_content_tokens: int | None = None
    use_cache: bool | None = None
    url_sources: Raw = Raw()
    citations: Raw = Raw()
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None
    user_location: Raw = Raw()
    # Fields of the tool `computer_...`.
    display_width_px: int | None = None
    display_height_px: int | None = None
    enable_zoom: bool | None = None


class ToolSet:
    """The declared tools of one request, or of all requests that declare the same ones."""

    __slots__ = ("made", "plain", "shared")

    def __init__(self, tools: list[Tool]) -> None:
        self.plain = all([tool.type in _ORDINARY and not tool.defer_loading for tool in tools])
        """All of them are offered to the model in every turn, and none needs anything from a server."""
        self.shared = self.plain or all(
            [
                not tool.defer_loading and (tool.type in _ORDINARY or str(tool.type).startswith(_SEARCH))
                for tool in tools
            ]
        )
        """What backends make of them is the same in each request that declares them."""
        self.made: dict[Any, Any] = {}
        """What backends have made of shared tools, by what it depends on besides them."""


_SEARCH: Final = "web_search_"
_ORDINARY: Final = (None, "custom")
_NONE: Final = ToolSet([])
#: Clients repeat their tools in each request: comparing them takes a tenth of what converting them does.
_shared: Final[BoundedDict[tuple[int, str, str], tuple[list[Tool], ToolSet]]] = BoundedDict(16)
#: Bytes of tools that are kept for later requests.
_SHARED_BYTES: Final = 512 << 10
#: Bytes that an object takes besides its text.
_OBJECT_BYTES: Final = 64


def tool_set(tools: list[Tool] | None) -> ToolSet:
    """The set of `tools`: the one of an earlier request with the same tools, if there was one."""
    if not tools:
        return _NONE
    key = len(tools), tools[0].name, tools[-1].name
    known = _shared.get(key)
    if known is not None and known[0] == tools:
        return known[1]
    made = ToolSet(tools)
    if made.shared and sum(map(_size, tools)) <= _SHARED_BYTES:
        _shared[key] = [_copied(tool) for tool in tools], made
    return made


def _size(tool: Tool) -> int:
    """About the bytes that keeping `tool` takes."""
    texts = (tool.name, tool.type or "", *(tool.allowed_domains or ()), *(tool.blocked_domains or ()))
    raws = (
        tool.description,
        tool.input_schema,
        tool.input_examples,
        tool.url_sources,
        tool.citations,
        tool.user_location,
    )
    return _OBJECT_BYTES * (1 + len(texts)) + sum(map(len, texts)) + sum(map(len, raws))


def _copied(tool: Tool) -> Tool:
    """A copy that does not keep the bytes of its request alive."""
    raws = {name: value.copy() for name, value in msgspec.structs.asdict(tool).items() if isinstance(value, Raw)}
    return msgspec.structs.replace(tool, **raws)
