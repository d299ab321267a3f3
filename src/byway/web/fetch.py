"""Fetches web pages for models: checks the URL, resolves and checks its host, follows redirects, extracts text, caches.

Requests have no cookies and no credentials, and use no proxy of the environment: a proxy would resolve the host again, and
could connect to an address that was not checked.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal, NamedTuple

from byway import __version__, urls
from byway.call import Call
from byway.config import TimeoutSettings, WebFetchSettings
from byway.domains import DomainFilter
from byway.messages.tokens import text_tokens
from byway.parsing.html import decode_text
from byway.parsing.job import ParseJob
from byway.parsing.pool import ParseError, ParseReason, ParserPool
from byway.problems import Problem
from byway.upstream.client import Answer, Upstream
from byway.urls import Url
from byway.web.content import ContentKind, content_kind, sniff
from byway.web.guard import AddressPolicy, IPAddress

#: Codes of the official API: `anthropic` SDK 2.11.0, `web_fetch_tool_result_error_code.py` (seen 2026-11-21).
FetchErrorCode = Literal[
    "invalid_tool_input",
    "url_too_long",
    "url_not_allowed",
    "url_not_in_prior_context",
    "url_not_accessible",
    "unsupported_content_type",
    "too_many_requests",
    "max_uses_exceeded",
    "unavailable",
    "content_too_large",
]
#: https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-fetch-tool#errors (seen 2026-11-21).
MAX_URL: Final = 250
#: A redirect may lead to a longer one, such as a signed URL.
_MAX_REDIRECT_URL: Final = 2048
_MAX_REDIRECTS: Final = 5
_REDIRECT_STATUSES: Final = frozenset((301, 302, 303, 307, 308))
_ACCEPT: Final = (
    "text/markdown, text/html;q=0.9, application/xhtml+xml;q=0.9, text/plain;q=0.8, application/pdf;q=0.8, */*;q=0.1"
)
_PARSE_CODES: Final[Mapping[ParseReason, FetchErrorCode]] = {
    "unreadable": "unsupported_content_type",
    "limit": "content_too_large",
    "missing": "unavailable",
}
_MAX_CONCURRENT: Final = 16
_CACHE_PAGES: Final = 256
_CACHE_BYTES: Final = 32 << 20
#: No text has more characters per token.
_CHARACTERS_PER_TOKEN: Final = 12
#: Addresses of one host that are tried.
_MAX_ADDRESSES: Final = 16

#: Threads of their own: slow host names must not delay the connections to backends.
_RESOLVER_THREADS: Final = ThreadPoolExecutor(4, "byway-resolve")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class FetchError(Exception):
    """A page that was not fetched: the official code, and a message for a person."""

    def __init__(self, code: FetchErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: FetchErrorCode = code
        self.message = message


class FetchedPage(NamedTuple):
    """A page."""

    url: str
    """After redirects, normalized."""
    title: str
    text: str
    """Markdown for HTML, text with page markers for PDF, everything else unchanged."""
    media_type: str
    retrieved_at: str
    """ISO 8601, UTC."""
    trail: tuple[Url, ...]
    """Every URL that was requested; the last one is `url`."""
    tokens: int = 0
    """The estimated tokens of the text before it was cut."""
    cut: bool = False


class Fetcher:
    """Fetches and caches pages for all requests."""

    def __init__(
        self,
        settings: WebFetchSettings,
        *,
        local_only: bool = False,
        resolve: Resolve | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`resolve(host, port)` returns the IP addresses of a host; None uses the system's resolver."""
        self.settings = settings
        self._policy = AddressPolicy(settings.allow_private, local_only=local_only)
        self._domains = DomainFilter(settings.allowed_domains, settings.blocked_domains)
        self._resolve = resolve or _system_resolve
        self._clock = clock
        self._parsers = ParserPool()
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)
        self._cache: OrderedDict[str, tuple[float, FetchedPage]] = OrderedDict()
        self._cached_bytes = 0
        limit = settings.timeout
        self._timeouts = TimeoutSettings(connect=min(10.0, limit), first_byte=limit, between_chunks=limit)
        self._headers = (("accept", _ACCEPT), ("user-agent", settings.user_agent or f"byway/{__version__} (web fetch)"))

    async def fetch(
        self,
        url: str,
        *,
        allowed: Sequence[str] | None = None,
        blocked: Sequence[str] | None = None,
        known: Callable[[Url], Iterable[bool]] | None = None,
        max_content_tokens: int | None = None,
        fresh: bool = False,
    ) -> FetchedPage:
        """The page at `url`. Raises FetchError.

        `allowed` and `blocked` are the domain lists of the tool (checked by `domains.domains_error` before); those of the
        settings apply too. `known` searches the conversation for the URL (`provenance.url_appears`). `fresh` ignores the
        cache. The text is cut at `max_content_tokens` or at the setting, whichever is less.
        """
        if len(url) > MAX_URL:
            raise FetchError("url_too_long", f"The URL has {len(url)} characters; the limit is {MAX_URL}.")
        try:
            start = urls.parse(url.strip())
        except ValueError as error:
            raise FetchError("invalid_tool_input", f"The URL {error}.") from None
        if known is not None and not await _any(known(start)):
            raise FetchError(
                "url_not_in_prior_context",
                "The conversation does not contain this URL. Byway fetches only URLs from the user, a tool or a search.",
            )
        filters = (self._domains, DomainFilter(allowed, blocked))

        def check(url: Url) -> None:
            reason = self._policy.rejects(url)
            if reason:
                raise FetchError("url_not_allowed", f"This URL is not fetched: {reason}.")
            if not all(domains.permits(url) for domains in filters):
                raise FetchError("url_not_allowed", f"The domain lists do not permit {url.host}.")

        check(start)
        page = None if fresh else self._cached(str(start))
        if page is None:
            try:
                async with asyncio.timeout(self.settings.timeout), self._slots:
                    page = await self._follow(start, check)
            except TimeoutError:
                raise FetchError(
                    "url_not_accessible",
                    f"{start.host} did not send the whole page within {self.settings.timeout:g} s (`web_fetch.timeout`).",
                ) from None
            self._remember(str(start), page)
        else:
            for requested in page.trail:
                check(requested)
        limit = self.settings.max_content_tokens
        return _cut(page, limit if max_content_tokens is None else max(1, min(limit, max_content_tokens)))

    # -------------------------------------------------------------------------------------------------------- requests

    async def _follow(self, url: Url, check: Callable[[Url], None]) -> FetchedPage:
        """Request a page and follow its redirects; each URL is checked like the first."""
        trail = [url]
        while True:
            addresses = await self._addresses(url)
            upstream = Upstream(url.origin, timeouts=self._timeouts, pool=0, pinned=addresses)
            try:
                response = await upstream.open(Call("GET", url.target, self._headers))
                try:
                    if response.status not in _REDIRECT_STATUSES:
                        return await self._page(response, trail)
                    location = response.headers.get("location", "")
                finally:
                    response.close()
            except Problem as problem:
                raise _connection_error(url, problem) from None
            finally:
                await upstream.close()
            url = _redirect_target(url, location)
            check(url)
            trail.append(url)
            if len(trail) > _MAX_REDIRECTS + 1:
                raise FetchError("url_not_accessible", f"{trail[0].host} redirects more than {_MAX_REDIRECTS} times.")

    async def _addresses(self, url: Url) -> tuple[str, ...]:
        """The permitted IP addresses of a host. It is resolved once, and only these addresses are connected to."""
        if url.number is not None:
            resolved: Sequence[str] = (url.host,)
        else:
            try:
                resolved = await self._resolve(url.host, url.port)
            except (OSError, UnicodeError):
                raise FetchError("url_not_accessible", f"The host name {url.host} cannot be resolved.") from None
        unique = list(dict.fromkeys(text.partition("%")[0] for text in resolved))[:_MAX_ADDRESSES]
        reasons: dict[IPAddress, str] = {}
        for address in map(ipaddress.ip_address, unique):
            reason = self._policy.rejects_address(url, address)
            if not reason and not self._policy.lists(url, address):
                reason = _own_address(address)
            reasons[address] = reason
        permitted = tuple(str(address) for address, reason in reasons.items() if not reason)
        if not permitted:
            reason = next(iter(reasons.values()), f"{url.host} has no address")
            raise FetchError("url_not_allowed", f"This URL is not fetched: {reason}.")
        return permitted

    async def _page(self, response: Answer, trail: list[Url]) -> FetchedPage:
        url = trail[-1]
        if response.status == 429:
            raise FetchError("too_many_requests", f"{url.host} limits requests (HTTP 429). Fetch the page again later.")
        if not 200 <= response.status < 300:
            raise FetchError("url_not_accessible", f"{url.host} responded with HTTP {response.status}.")
        media, charset, kind = content_kind(response.headers.get("content-type", ""))
        if kind is None:
            raise _unsupported(media)
        data = await self._body(response, url)
        if not media:
            media, kind = sniff(data)
            if kind is None:
                raise _unsupported(media)
        title, text = await self._extract(kind, data, charset, str(url))
        text = text.replace("\0", "").strip()
        if not text:
            raise FetchError(
                "url_not_accessible",
                f"The page at {url.host} has no text. It may be built by JavaScript, which Byway does not run.",
            )
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return FetchedPage(str(url), title, text, media, now, tuple(trail))

    async def _extract(self, kind: ContentKind, data: bytes, charset: str, url: str) -> tuple[str, str]:
        """Title and text."""
        if kind == "text" or not data:
            return "", decode_text(data, charset)
        try:
            parsed = await self._parsers.parse(ParseJob(kind, charset, url), data)
        except ParseError as error:
            raise FetchError(_PARSE_CODES[error.reason], f"The document cannot be read: {error.message}.") from None
        return parsed.title, parsed.text

    async def _body(self, response: Answer, url: Url) -> bytes:
        """The decompressed body. A `content-length` over the limit is rejected before anything is read."""
        limit = self.settings.max_bytes
        length = response.headers.get("content-length", "")
        size = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else 0
        body = bytearray()
        if size <= limit:
            while len(body) <= limit and (data := await response.read()):
                body += data
        if max(size, len(body)) > limit:
            raise FetchError(
                "content_too_large", f"The page at {url.host} has more than {limit} bytes (`web_fetch.max_bytes`)."
            )
        return bytes(body)

    # ----------------------------------------------------------------------------------------------------------- cache

    def _cached(self, url: str) -> FetchedPage | None:
        entry = self._cache.get(url)
        if entry is None:
            return None
        expires, page = entry
        if expires <= self._clock():
            self._forget(url)
            return None
        self._cache.move_to_end(url)
        return page

    def _remember(self, url: str, page: FetchedPage) -> None:
        if not self.settings.cache_ttl:
            return
        self._forget(url)
        self._cache[url] = (self._clock() + self.settings.cache_ttl, page)
        self._cached_bytes += _memory(page)
        while len(self._cache) > _CACHE_PAGES or self._cached_bytes > _CACHE_BYTES:
            self._forget(next(iter(self._cache)))

    def _forget(self, url: str) -> None:
        entry = self._cache.pop(url, None)
        if entry is not None:
            self._cached_bytes -= _memory(entry[1])


async def _any(steps: Iterable[bool]) -> bool:
    """True when a step of a search has found something; other tasks run between the steps."""
    for success in steps:
        if success:
            return True
        await asyncio.sleep(0)
    return False


async def _system_resolve(host: str, port: int) -> Sequence[str]:
    infos = await asyncio.get_running_loop().run_in_executor(
        _RESOLVER_THREADS, socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM
    )
    return [str(info[4][0]) for info in infos]


def _own_address(address: IPAddress) -> str:
    """The reason to reject a public address of this machine: its services may be protected by the firewall only."""
    # Some systems let a socket bind to any address; there the test means nothing.
    own = _can_bind(str(address)) and not _can_bind("192.0.2.1")
    return f"{address} is an address of this machine" if own else ""


def _can_bind(address: str) -> bool:
    """True when a socket can bind to `address`. Nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _redirect_target(url: Url, location: str) -> Url:
    """The URL that a `location` header means."""
    try:
        # Headers are decoded as Latin-1; servers send other characters as UTF-8.
        location = location.encode("latin-1").decode("utf-8", "replace")
        if not location or len(location) > _MAX_REDIRECT_URL:
            raise ValueError("is empty or too long")
        return urls.join(url, location)
    except ValueError as error:
        raise FetchError("url_not_accessible", f"{url.host} redirects to a URL that {error}.") from None


def _connection_error(url: Url, problem: Problem) -> FetchError:
    """A failed connection. The problem's own message is about backends."""
    if problem.kind == "timeout":
        message = "did not respond in time"
    elif problem.kind == "broken":
        message = "sent an incomplete or invalid response"
    else:
        message = "is unreachable" + (", or its certificate is not trusted" if url.scheme == "https" else "")
    return FetchError("url_not_accessible", f"{url.host} {message}.")


def _unsupported(media: str) -> FetchError:
    return FetchError(
        "unsupported_content_type", f"{media or 'This content'} is not supported. Use text, HTML, JSON, XML or PDF."
    )


def _memory(page: FetchedPage) -> int:
    """The approximate size in memory: a character has up to four bytes."""
    return 4 * len(page.text) + 1000


def _cut(page: FetchedPage, limit: int) -> FetchedPage:
    """The page with about `limit` tokens of its text at most."""
    text = page.text[: limit * _CHARACTERS_PER_TOKEN]
    tokens = int(text_tokens(text.encode("utf-8", "replace")))
    total = tokens if len(text) == len(page.text) else int(tokens * len(page.text) / max(1, len(text)))
    if tokens <= limit:
        return page._replace(text=text, tokens=total, cut=len(text) < len(page.text))
    text = text[: int(len(text) * limit / tokens)]
    # To the end of a line if one is near.
    end = text.rfind("\n", len(text) * 9 // 10)
    return page._replace(text=text[:end] if end > 0 else text, tokens=total, cut=True)
