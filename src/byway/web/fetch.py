"""Address -> page: `Fetcher` checks, looks up, connects to what it checked, follows redirects, reads, remembers.

No cookies, no credentials, no proxy of the environment: a proxy would look the name up again, and what was checked would not be
what is connected to.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
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

#: The official codes, of the `anthropic` SDK 2.11.0 (`web_fetch_tool_result_error_code.py`, seen 2026-11-21).
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
LONGEST: Final = 250
#: A server may redirect to something longer, such as a signed address.
_LONGEST_REDIRECT: Final = 2048
_REDIRECTS: Final = 5
_MOVED: Final = frozenset((301, 302, 303, 307, 308))
_ACCEPT: Final = (
    "text/markdown, text/html;q=0.9, application/xhtml+xml;q=0.9, text/plain;q=0.8, application/pdf;q=0.8, */*;q=0.1"
)
_PARSE_CODES: Final[Mapping[ParseReason, FetchErrorCode]] = {
    "unreadable": "unsupported_content_type",
    "limit": "content_too_large",
    "missing": "unavailable",
}
_AT_ONCE: Final = 16
_REMEMBERED: Final = 256
_REMEMBERED_BYTES: Final = 32 << 20
#: No text has fewer tokens than a letter in twelve.
_LETTERS_PER_TOKEN: Final = 12

#: Threads of their own: names that are slow to look up must not keep the backends' waiting.
_LOOKING_UP: Final = ThreadPoolExecutor(4, "byway-look-up")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class FetchError(Exception):
    """Why there is no page: the official code, and words for a person."""

    def __init__(self, code: FetchErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: FetchErrorCode = code
        self.message = message


class FetchedPage(NamedTuple):
    """What was fetched."""

    url: str
    """Where it was found in the end, in its one form."""
    title: str
    text: str
    """Markdown for HTML, else as it came; PDF as text with marks of its pages."""
    media_type: str
    retrieved_at: str
    """ISO 8601, UTC."""
    trail: tuple[Url, ...]
    """Every address that was asked, `url` last."""
    tokens: int = 0
    """About how many `text` has, before it was cut."""
    cut: bool = False


class Fetcher:
    """Fetches pages for all of Byway, and remembers them for a while."""

    def __init__(
        self,
        settings: WebFetchSettings,
        *,
        local_only: bool = False,
        resolve: Resolve | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`resolve(host, port)` gives a name's IP addresses; None asks the system. `clock` counts seconds."""
        self.settings = settings
        self._reach = AddressPolicy(settings.allow_private, local_only=local_only)
        self._domains = DomainFilter(settings.allowed_domains, settings.blocked_domains)
        self._resolve = resolve or _resolved
        self._clock = clock
        self._parsers = ParserPool()
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._kept: OrderedDict[str, tuple[float, FetchedPage]] = OrderedDict()
        limit = settings.timeout
        self._timeouts = TimeoutSettings(connect=min(10.0, limit), first_byte=limit, between_chunks=limit)
        self._headers = (("accept", _ACCEPT), ("user-agent", settings.user_agent or f"byway/{__version__} (web fetch)"))

    async def fetch(
        self,
        url: str,
        *,
        allowed: Sequence[str] | None = None,
        blocked: Sequence[str] | None = None,
        known: Callable[[Url], bool] | None = None,
        max_content_tokens: int | None = None,
        fresh: bool = False,
    ) -> FetchedPage:
        """The page at `url`; raises Unfetched.

        `allowed` and `blocked` are the tool's domain lists (checked by `domains.complaint` before), beside those of the
        settings. `known` says whether the conversation has named the address (`prior.appeared`). `fresh` asks the
        server even when the page is remembered. The text is cut at `max_content_tokens`, or at the setting's number
        when that is less.
        """
        if len(url) > LONGEST:
            raise FetchError("url_too_long", f"The URL has {len(url)} characters, and {LONGEST} are the most.")
        try:
            start = urls.parse(url.strip())
        except ValueError as error:
            raise FetchError("invalid_tool_input", f"The URL {error}.") from None
        if known is not None and not known(start):
            raise FetchError(
                "url_not_in_prior_context",
                "The conversation has not named this URL before: only what the user, a tool or a search gave is fetched.",
            )
        filters = (self._domains, DomainFilter(allowed, blocked))

        def check(url: Url) -> None:
            reason = self._reach.refuses(url)
            if reason:
                raise FetchError("url_not_allowed", f"This is not fetched: {reason}.")
            if not all(domains.permits(url) for domains in filters):
                raise FetchError("url_not_allowed", f"The domain lists do not permit {url.host}.")

        check(start)
        page = None if fresh else self._remembered(str(start))
        if page is None:
            try:
                async with asyncio.timeout(self.settings.timeout), self._free:
                    page = await self._walk(start, check)
            except TimeoutError:
                raise FetchError(
                    "url_not_accessible",
                    f"{start.host} gave no whole page within {self.settings.timeout:g} s (`web_fetch.timeout`).",
                ) from None
            self._remember(str(start), page)
        else:
            for asked in page.trail:
                check(asked)
        most = self.settings.max_content_tokens
        return _cut(page, most if max_content_tokens is None else max(1, min(most, max_content_tokens)))

    # --------------------------------------------------------------------------------------------------------- the way

    async def _walk(self, url: Url, check: Callable[[Url], None]) -> FetchedPage:
        """Ask, and follow where the answers point, each address checked like the first."""
        trail = [url]
        while True:
            addresses = await self._addresses(url)
            upstream = Upstream(url.origin, timeouts=self._timeouts, pool=0, pinned=addresses)
            try:
                answer = await upstream.open(Call("GET", url.target, self._headers))
                try:
                    if answer.status not in _MOVED:
                        return await self._page(answer, trail)
                    location = answer.headers.get("location", "")
                finally:
                    answer.close()
            except Problem as problem:
                raise _inaccessible(url, problem) from None
            finally:
                await upstream.close()
            url = _onward(url, location)
            check(url)
            trail.append(url)
            if len(trail) > _REDIRECTS + 1:
                raise FetchError("url_not_accessible", f"{trail[0].host} redirects more than {_REDIRECTS} times.")

    async def _addresses(self, url: Url) -> tuple[str, ...]:
        """The IP addresses that may be connected to for `url`; they are looked up once and nothing else is used."""
        if url.number is not None:
            found: Sequence[str] = (url.host,)
        else:
            try:
                found = await self._resolve(url.host, url.port)
            except (OSError, UnicodeError):
                raise FetchError("url_not_accessible", f"The name {url.host} cannot be looked up.") from None
        numbers = [ipaddress.ip_address(one.partition("%")[0]) for one in dict.fromkeys(found)]
        reasons = {number: self._reach.bars(url, number) for number in numbers}
        for number in [one for one, reason in reasons.items() if not reason and not self._reach.lists(url, one)]:
            reasons[number] = _own(number)
        good = tuple(str(number) for number, reason in reasons.items() if not reason)
        if not good:
            reason = next(iter(reasons.values()), f"{url.host} has no address")
            raise FetchError("url_not_allowed", f"This is not fetched: {reason}.")
        return good

    async def _page(self, answer: Answer, trail: list[Url]) -> FetchedPage:
        url = trail[-1]
        if answer.status == 429:
            raise FetchError("too_many_requests", f"{url.host} asks for fewer requests (HTTP 429). Try again later.")
        if not 200 <= answer.status < 300:
            raise FetchError("url_not_accessible", f"{url.host} answers with HTTP {answer.status}.")
        media, charset, kind = content_kind(answer.headers.get("content-type", ""))
        if kind is None:
            raise _unsupported(media)
        data = await self._body(answer, url)
        if not media:
            media, kind = sniff(data)
            if kind is None:
                raise _unsupported(media)
        return await self._read(kind, data, charset, media, trail)

    async def _read(self, kind: ContentKind, data: bytes, charset: str, media: str, trail: list[Url]) -> FetchedPage:
        url = str(trail[-1])
        try:
            if kind == "text" or not data:
                title, text = "", decode_text(data, charset)
            else:
                parsed = await self._parsers.parse(ParseJob(kind, charset, url), data)
                title, text = parsed.title, parsed.text
        except ParseError as error:
            raise FetchError(_PARSE_CODES[error.reason], f"The document cannot be read: {error.message}") from None
        text = text.replace("\0", "").strip()
        if not text:
            raise FetchError(
                "url_not_accessible",
                f"The page at {trail[-1].host} has no text. Perhaps it is made by JavaScript, which Byway does not run.",
            )
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return FetchedPage(url, title, text, media, now, tuple(trail))

    async def _body(self, answer: Answer, url: Url) -> bytes:
        """All of it, unpacked; a length that is told is believed before anything is read."""
        most = self.settings.max_bytes
        told = answer.headers.get("content-length", "")
        parts: list[bytes] = []
        size = int(told) if told.isascii() and told.isdigit() and len(told) < 16 else 0
        if size <= most:
            size = 0
            while size <= most and (data := await answer.read()):
                parts.append(data)
                size += len(data)
        if size > most:
            raise FetchError(
                "content_too_large", f"The page at {url.host} has more than {most} bytes (`web_fetch.max_bytes`)."
            )
        return b"".join(parts)

    # ---------------------------------------------------------------------------------------------------------- memory

    def _remembered(self, url: str) -> FetchedPage | None:
        found = self._kept.get(url)
        if found is None:
            return None
        until, page = found
        if until <= self._clock():
            del self._kept[url]
            return None
        self._kept.move_to_end(url)
        return page

    def _remember(self, url: str, page: FetchedPage) -> None:
        if not self.settings.cache_ttl:
            return
        self._kept[url] = (self._clock() + self.settings.cache_ttl, page)
        self._kept.move_to_end(url)
        while len(self._kept) > _REMEMBERED or sum(_size(kept) for _, kept in self._kept.values()) > _REMEMBERED_BYTES:
            self._kept.popitem(last=False)


async def _resolved(host: str, port: int) -> Sequence[str]:
    asked = asyncio.get_running_loop().run_in_executor(
        _LOOKING_UP, socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM
    )
    found = await asked
    return [str(address[4][0]) for address in found]


def _own(number: IPAddress) -> str:
    """Why not, when a public address is this machine's own, with services behind it that only its firewall hides."""
    # Some systems let anybody have any address; there nothing can be told.
    return f"{number} is an address of this machine" if _bound(str(number)) and not _bound("192.0.2.1") else ""


def _bound(address: str) -> bool:
    """Can a socket have `address`? Nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _onward(url: Url, location: str) -> Url:
    """Where a redirect points."""
    try:
        # Headers are read as Latin-1; what is more than ASCII there is UTF-8 by use.
        location = location.encode("latin-1").decode("utf-8", "replace")
        if not location or len(location) > _LONGEST_REDIRECT:
            raise ValueError("is empty or too long")
        return urls.join(url, location)
    except ValueError as error:
        raise FetchError("url_not_accessible", f"{url.host} redirects to a URL that {error}.") from None


def _inaccessible(url: Url, problem: Problem) -> FetchError:
    """The client's words are about backends; what they come to here is the kind."""
    if problem.kind == "timeout":
        what = "does not answer in time"
    elif problem.kind == "broken":
        what = "sends what is not a whole answer"
    else:
        what = "cannot be reached" + (", or its certificate is not trusted" if url.scheme == "https" else "")
    return FetchError("url_not_accessible", f"{url.host} {what}.")


def _unsupported(media: str) -> FetchError:
    return FetchError(
        "unsupported_content_type", f"{media or 'This'} is not read: only text, HTML, JSON, XML and PDF are."
    )


def _size(page: FetchedPage) -> int:
    """Bytes in memory, about: a letter takes up to four."""
    return 4 * len(page.text) + 1000


def _cut(page: FetchedPage, most: int) -> FetchedPage:
    """The page with at most about `most` tokens of its text."""
    text = page.text[: most * _LETTERS_PER_TOKEN]
    tokens = int(text_tokens(text.encode("utf-8", "replace")))
    whole = tokens if len(text) == len(page.text) else int(tokens * len(page.text) / max(1, len(text)))
    if tokens <= most:
        return page._replace(text=text, tokens=whole, cut=len(text) < len(page.text))
    text = text[: int(len(text) * most / tokens)]
    # To the end of a line, when one is near.
    end = text.rfind("\n", len(text) * 9 // 10)
    return page._replace(text=text[:end] if end > 0 else text, tokens=whole, cut=True)
