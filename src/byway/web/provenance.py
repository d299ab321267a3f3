"""Has an address been named before? Models may only fetch what the user, a tool or an earlier search gave them: an address of
their own making could carry away what the conversation holds.

The rule: https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-fetch-tool#url-validation (seen 2026-11-21).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from byway import urls
from byway.messages.blocks import Block, Content, Document, Image, SearchResult, Text, ToolResult, ToolUse, Unknown
from byway.messages.request import Request
from byway.problems import Problem
from byway.urls import Url

#: Results of Anthropic's own tools that name addresses; those of its containers (code execution, bash) do not count.
_SERVER: Final = {"web_search_tool_result": "web_search", "web_fetch_tool_result": "web_fetch"}
_SCHEME: Final = re.compile(r"https?://[^\s<>\"`\\]+", re.IGNORECASE)
#: An address without a scheme stands alone: at the beginning, or behind one of these.
_BEFORE: Final = r"""(?<![^\s"'(<\[*_|>,])"""
_BARE: Final = re.compile(r"[^\s<>\"`\\()\[\]]{0,2048}")
#: What may follow an address in a sentence, in Markdown, in JSON, without being of it.
_ENDS: Final = frozenset(".,;:!?)]}'*_|>")
_CANDIDATES: Final = 32
_LONGEST: Final = 2048


class ToolName(Struct, frozen=True):
    """A tool that a filter names."""

    name: str


class SourceFilter(Struct, frozen=True):
    """Which results of a source count; for `user_input` only `all` and `none`."""

    type: Literal["all", "none", "only", "except"] = "all"
    tools: tuple[ToolName, ...] = ()

    def takes(self, tool: str = "") -> bool:
        """Do the results of `tool` count?"""
        named = any(one.name == tool for one in self.tools)
        return self.type == "all" or (self.type == "only" and named) or (self.type == "except" and not named)


class UrlSources(Struct, frozen=True):
    """The tool's `url_sources`, as the official API has it (`anthropic` SDK 2.11.0)."""

    user_input: SourceFilter = SourceFilter()
    client_tool_results: SourceFilter = SourceFilter()
    server_tool_results: SourceFilter = SourceFilter()


def parse_sources(raw: Raw, path: str) -> UrlSources:
    """A tool's `url_sources`; all of them where it has none. Raises Problem `invalid_request` with `path`."""
    if not len(raw):
        return UrlSources()
    try:
        return msgspec.json.decode(raw, type=UrlSources | None) or UrlSources()
    except msgspec.MsgspecError as error:
        raise Problem("invalid_request", f"{path}: {error}") from None


def url_appeared(request: Request, url: Url, sources: UrlSources | None = None) -> bool:
    """Did `url` stand in a user's message, in a client tool's result, or in an earlier search or fetch?

    What only the model or the system prompt said does not count. The same address may be written otherwise: with or
    without a slash at its end, without its scheme, or with http where https is asked for.
    """
    forms = _forms(url)
    return any(_names(text, url, forms) for text in _texts(request, sources or UrlSources()))


def _forms(url: Url) -> frozenset[Url]:
    path = url.path.rstrip("/") if url.path != "/" else url.path
    same = {url, url._replace(path=path or "/"), url._replace(path=f"{path.rstrip('/')}/")}
    if url.scheme == "https":
        same |= {one._replace(scheme="http", port=80 if one.port == 443 else one.port) for one in same}
    return frozenset(same)


def _names(text: str, url: Url, forms: frozenset[Url]) -> bool:
    for found in _SCHEME.finditer(text):
        # Most texts name many addresses, and nearly all of them are others.
        if found[0].isascii() and ":" not in url.host and url.host not in found[0].lower():
            continue
        if any(_read(one) in forms for one in _cut(found[0])):
            return True
    # Without a scheme: `see example.com/docs`. Only where a word begins with it.
    if not url.path.strip("/") and not url.query:
        return re.search(rf"{_BEFORE}{re.escape(url.host)}(?![\w-]|\.\w)", text, re.IGNORECASE) is not None
    for found in re.finditer(rf"{_BEFORE}{re.escape(url.host)}(?=[/:?])", text, re.IGNORECASE):
        rest = _BARE.match(text, found.start())
        if rest and any(_read(f"https://{one}") in forms for one in _cut(rest[0])):
            return True
    return False


def _cut(written: str) -> Iterator[str]:
    """`written`, and what is left of it when it ends before any mark that a sentence may add."""
    written = written[:_LONGEST]
    yield written
    ends = [at for at, letter in enumerate(written) if letter in _ENDS]
    for at in ends[-_CANDIDATES:]:
        yield written[:at]


def _read(text: str) -> Url | None:
    try:
        return urls.parse(text)
    except ValueError:
        return None


# ------------------------------------------------------------------------------------------------------- where to look


def _texts(request: Request, sources: UrlSources) -> Iterator[str]:
    """Every text that counts."""
    tools: dict[str, str] = {}
    for turn in request.turns:
        for block in turn.blocks:
            if isinstance(block, ToolUse):
                tools[block.id] = block.name
            elif isinstance(block, ToolResult):
                if sources.client_tool_results.takes(tools.get(block.tool_use_id, "")):
                    yield from _content(block.content)
            elif isinstance(block, Unknown):
                tool = _SERVER.get(block.kind)
                if tool is not None and sources.server_tool_results.takes(tool):
                    yield from _strings(msgspec.json.decode(block.raw))
            elif turn.role == "user" and sources.user_input.takes():
                yield from _said(block)


def _content(content: Content) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for block in content or () if not isinstance(content, str) else ():
        yield from _strings(msgspec.json.decode(block.raw)) if isinstance(block, Unknown) else _said(block)


def _said(block: Block) -> Iterator[str]:
    """The texts and addresses of a block that a person or a client's tool wrote."""
    if isinstance(block, Text):
        yield block.text
    elif isinstance(block, SearchResult):
        yield block.source
        yield from (part.text for part in block.content)
    elif isinstance(block, Document | Image):
        # Of a file's bytes only what is text is read.
        for field in ("url", "content") + (("data",) if getattr(block.source, "media_type", None) is None else ()):
            value = getattr(block.source, field, None)
            if isinstance(value, str | list):
                yield from _content(value)
        if isinstance(block, Document):
            yield from filter(None, (block.title, block.context))


def _strings(value: Any) -> Iterator[str]:
    """Every text in a decoded JSON value, however deep."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)
