"""Checks whether the conversation contains a URL before Byway fetches it for a model. Pure.

A URL that the model composed could carry data of the conversation to another server. The official rule:
https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-fetch-tool#url-validation (seen 2026-11-21).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from byway import urls
from byway.messages.blocks import Block, Document, Image, SearchResult, Text, ToolResult, ToolUse, Unknown
from byway.messages.request import Request
from byway.problems import Problem
from byway.urls import Url

#: Results of Anthropic's server tools that contain URLs. Those of its containers (code execution, bash) do not count.
_SERVER_TOOLS: Final = {"web_search_tool_result": "web_search", "web_fetch_tool_result": "web_fetch"}
#: Of a longer URL the first 2,048 characters are compared.
_WITH_SCHEME: Final = re.compile(r"https?://[^\s<>\"`\\]{1,2048}", re.IGNORECASE)
#: A URL without a scheme starts a word: at the beginning, or after one of these characters.
_WORD_START: Final = r"""(?<![^\s"'(<\[*_|>,])"""
_WITHOUT_SCHEME: Final = re.compile(r"[^\s<>\"`\\()\[\]]{0,2048}")
#: Characters that may follow a URL in a sentence, in Markdown or in JSON.
_AFTER_URL: Final = frozenset(".,;:!?)]}'*_|>")
#: Ends of one URL that are tried.
_MAX_ENDS: Final = 32
#: Comparisons of one check. After that the URL counts as unknown.
_MAX_COMPARISONS: Final = 20_000
#: Characters that are searched, and comparisons that are made, between two yields.
_SLICE: Final = 1 << 18
_COMPARISONS: Final = 50
#: No host is longer.
_OVERLAP: Final = 512


class ToolName(Struct, frozen=True):
    """A tool in a filter."""

    name: str


class SourceFilter(Struct, frozen=True):
    """Which results of a source count. `user_input` has no tools: there only `all` and `none` make a difference."""

    type: Literal["all", "none", "only", "except"] = "all"
    tools: tuple[ToolName, ...] = ()

    def accepts(self, tool: str = "") -> bool:
        """True when results of `tool` count."""
        listed = any(entry.name == tool for entry in self.tools)
        return self.type == "all" or (self.type == "only" and listed) or (self.type == "except" and not listed)


class UrlSources(Struct, frozen=True):
    """The tool's `url_sources`, as in the official API (`anthropic` SDK 2.11.0)."""

    user_input: SourceFilter = SourceFilter()
    client_tool_results: SourceFilter = SourceFilter()
    server_tool_results: SourceFilter = SourceFilter()


def parse_sources(raw: Raw, path: str) -> UrlSources:
    """A tool's `url_sources`; by default all count. Raises Problem `invalid_request` with `path`."""
    if not len(raw):
        return UrlSources()
    try:
        return msgspec.json.decode(raw, type=UrlSources | None) or UrlSources()
    except msgspec.MsgspecError as error:
        raise Problem("invalid_request", f"{path}: {error}") from None


def url_appears(request: Request, url: Url, sources: UrlSources | None = None) -> Iterator[bool]:
    """Search for `url` in user messages, results of client tools, and earlier searches and fetches.

    Yields True once when it is found. Yields False after each slice of the work, so that the caller can let other tasks
    run. Text of the model and of the system prompt does not count. The URL may be written in another way: with or
    without a slash at its end, without its scheme, or with http instead of https.
    """
    check = _Check(url)
    for text in _texts(request, sources or UrlSources()):
        for success in check.search(text):
            yield success
            if success:
                return
        if check.comparisons > _MAX_COMPARISONS:
            return


class _Check:
    """The search for one URL."""

    def __init__(self, url: Url) -> None:
        self._url = url
        self._forms = _equal_forms(url)
        self.comparisons = 0
        host = re.escape(url.host)
        self._only_host = not url.path.strip("/") and not url.query
        end = r"(?![\w-]|\.\w)" if self._only_host else "(?=[/:?])"
        self._bare = re.compile(f"{_WORD_START}{host}{end}", re.IGNORECASE)

    def search(self, text: str) -> Iterator[bool]:
        """Yields False after each slice of the work, True when `text` contains the URL."""
        host = self._url.host
        for match in _matches(_WITH_SCHEME, text):
            if match is None:
                yield False
                continue
            written = match[0]
            # Nearly all URLs have another host.
            if written.isascii() and ":" not in host and host not in written.lower():
                continue
            yield from self._compare("", written)
        for match in _matches(self._bare, text):
            if match is None:
                yield False
            elif self._only_host:
                yield True
            else:
                rest = _WITHOUT_SCHEME.match(text, match.start())
                if rest:
                    yield from self._compare("https://", rest[0])

    def _compare(self, scheme: str, written: str) -> Iterator[bool]:
        """Compare what is written with the URL, whole and cut at each character that may follow a URL."""
        ends = [end for end, character in enumerate(written) if character in _AFTER_URL]
        for end in (len(written), *ends[-_MAX_ENDS:]):
            self.comparisons += 1
            if self.comparisons > _MAX_COMPARISONS:
                return
            try:
                if urls.parse(scheme + written[:end]) in self._forms:
                    yield True
            except ValueError:
                continue
            if self.comparisons % _COMPARISONS == 0:
                yield False


def _equal_forms(url: Url) -> frozenset[Url]:
    """The URLs that count as the same."""
    path = url.path.rstrip("/")
    forms = {url, url._replace(path=path or "/"), url._replace(path=f"{path}/")}
    if url.scheme == "https":
        forms |= {form._replace(scheme="http", port=80 if form.port == 443 else form.port) for form in forms}
    return frozenset(forms)


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str] | None]:
    """Like `finditer`, with None after each slice of the text."""
    position = 0
    while position < len(text):
        end = position + _SLICE
        match = pattern.search(text, position, end)
        if match is not None and match.end() > end - _OVERLAP:
            # The end of the slice may have cut it.
            start = match.start()
            match = pattern.match(text, start)
            if match is None:
                position = start + 1
                continue
        if match is None:
            yield None
            position = end if end >= len(text) else end - _OVERLAP
        else:
            yield match
            position = max(match.end(), position + 1)


# ------------------------------------------------------------------------------------------------------- texts that count


def _texts(request: Request, sources: UrlSources) -> Iterator[str]:
    """Every text that counts."""
    tools: dict[str, str] = {}
    for turn in request.turns:
        for block in turn.blocks:
            if isinstance(block, ToolUse):
                tools[block.id] = block.name
            elif isinstance(block, ToolResult):
                if sources.client_tool_results.accepts(tools.get(block.tool_use_id, "")):
                    yield from _content_texts(block.content)
            elif isinstance(block, Unknown):
                tool = _SERVER_TOOLS.get(block.kind)
                if tool is not None and sources.server_tool_results.accepts(tool):
                    yield from _json_texts(msgspec.json.decode(block.raw))
            elif turn.role == "user" and sources.user_input.accepts():
                yield from _block_texts(block)


def _content_texts(content: str | Sequence[Block] | None) -> Iterator[str]:
    if isinstance(content, str):
        yield content
        return
    for block in content or ():
        yield from _json_texts(msgspec.json.decode(block.raw)) if isinstance(block, Unknown) else _block_texts(block)


def _block_texts(block: Block) -> Iterator[str]:
    """The texts and URLs of a block from a user or a client's tool."""
    if isinstance(block, Text):
        yield block.text
    elif isinstance(block, SearchResult):
        yield block.source
        yield from (part.text for part in block.content)
    elif isinstance(block, Document | Image):
        # The data of a file counts only when it is text: then its source has no media type.
        for field in ("url", "content") + (("data",) if getattr(block.source, "media_type", None) is None else ()):
            value = getattr(block.source, field, None)
            if isinstance(value, str | list):
                yield from _content_texts(value)
        if isinstance(block, Document):
            yield from filter(None, (block.title, block.context))


def _json_texts(value: Any) -> Iterator[str]:
    """Every string in a decoded JSON value."""
    values = [value]
    while values:
        value = values.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            values.extend(value.values())
        elif isinstance(value, list):
            values.extend(value)
