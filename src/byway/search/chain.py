"""Runs a search: calls the configured providers in order until one succeeds, paces and retries, and caches results."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from byway import urls
from byway.config import SearchProviderSettings, TimeoutSettings, WebSearchSettings
from byway.decoding import DECODE_ERRORS
from byway.domains import DomainFilter
from byway.logs import log
from byway.problems import Problem
from byway.providers.protocol import Freshness, SearchError, SearchQuery, WebResult, normalize
from byway.providers.registry import PROVIDERS
from byway.scrub import Scrubber
from byway.upstream.client import Upstream

#: The log line of the reference router for a search.
_LOG_MESSAGE: Final = "web_search loop round complete"
_MAX_RESPONSE: Final = 4 << 20
#: Seconds between two searches after the provider has returned 429. Brave's smallest plan allows one search per second.
_INTERVAL: Final = 1.1
#: Seconds for which searches keep that interval after a 429.
_PACED_FOR: Final = 60.0
#: The longest `retry-after` that Byway waits for, in seconds.
_MAX_RETRY_AFTER: Final = 5.0
_CACHE_ENTRIES: Final = 256
_DAYS: Final[Mapping[Freshness, int]] = {"day": 1, "week": 7, "month": 31, "year": 365}

SearchObserver = Callable[[str, SearchError | None], None]
"""Called with a provider's name and None before it is called, and with its error when it has failed."""


class SearchAnswer(NamedTuple):
    """The results of a search and the provider that returned them."""

    results: list[WebResult]
    provider: str


class Clock(NamedTuple):
    """Time as the searcher uses it. Tests replace it."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Searcher:
    """The search providers of one config. The first response wins, even one without results."""

    def __init__(self, settings: WebSearchSettings, clock: Clock = Clock()) -> None:  # noqa: B008 - a constant
        self.settings = settings
        self._clock = clock
        self._clients = [ProviderClient(provider, settings.timeout, clock) for provider in settings.providers]
        self._cache: OrderedDict[SearchQuery, tuple[float, SearchAnswer]] = OrderedDict()

    @property
    def ready(self) -> bool:
        """True when web search is on and a provider is configured."""
        return self.settings.enabled and bool(self._clients)

    async def search(self, query: SearchQuery, observe: SearchObserver = lambda name, error: None) -> SearchAnswer:
        """Search with the first provider that succeeds. Raises the last provider's SearchError when all fail."""
        query = _with_first_day(normalize(query), self.settings.freshness)
        cached = self._cache.get(query)
        if cached is not None and cached[0] > self._clock.now():
            answer = cached[1]
            log(_LOG_MESSAGE, provider=answer.provider, results=len(answer.results), remembered=True)
            return answer
        error = SearchError("unavailable", "No search provider is configured: set `web_search.provider` in byway.yaml.")
        for client in self._clients:
            observe(client.name, None)
            try:
                answer = SearchAnswer(await client.search(query), client.name)
            except SearchError as failure:
                error = failure
                observe(client.name, failure)
                continue
            self._remember(query, answer)
            return answer
        raise error

    def _remember(self, query: SearchQuery, answer: SearchAnswer) -> None:
        if not self.settings.cache_ttl:
            return
        self._cache[query] = (self._clock.now() + self.settings.cache_ttl, answer)
        self._cache.move_to_end(query)
        if len(self._cache) > _CACHE_ENTRIES:
            self._cache.popitem(last=False)

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


class ProviderClient:
    """Calls one provider. Its API key is sent to its own host only: redirects are not followed."""

    def __init__(self, settings: SearchProviderSettings, timeout: float, clock: Clock) -> None:
        self.name = settings.provider
        self._provider = PROVIDERS[settings.provider]
        self._key = settings.api_key or ""
        self._scrub = Scrubber([self._key] if self._key else []).scrub
        self._timeout = timeout
        self._clock = clock
        self._next = 0.0
        """The time at which the next search may start."""
        self._paced_until = 0.0
        url = settings.base_url or self._provider.INFO.url
        self._upstream: Upstream | None = None
        if url:
            timeouts = TimeoutSettings(first_byte=timeout, between_chunks=timeout)
            self._upstream = Upstream(url, name=settings.provider, timeouts=timeouts, pool=4)
            self._upstream.shown = f"{settings.provider} at {self._upstream.address.shown}"

    async def search(self, query: SearchQuery) -> list[WebResult]:
        """The results that match the query; one retry after a 429. Raises SearchError, without the key in it."""
        try:
            try:
                return await self._attempt(query)
            except SearchError as error:
                if not error.rate_limited:
                    raise
            return await self._attempt(query)
        except SearchError as error:
            raise SearchError(error.code, self._scrub(error.message), error.status) from None

    async def _attempt(self, query: SearchQuery) -> list[WebResult]:
        """Search once. Logs one line without the query; its time includes the wait for the interval."""
        started = self._clock.now()
        results: list[WebResult] = []
        status, code = 0, ""
        try:
            status, headers, body = await self._send(query)
            try:
                results = matching(query, self._provider.read(status, _json(body)))
            except SearchError as error:
                error.rate_limited = error.rate_limited and self._slow_down(headers)
                raise
            return results
        except SearchError as error:
            code = error.code
            raise
        except asyncio.CancelledError:
            code = "cancelled"
            raise
        finally:
            log(
                _LOG_MESSAGE,
                logging.WARNING if code else logging.INFO,
                provider=self.name,
                status=status,
                results=len(results),
                error=code,
                ms=round((self._clock.now() - started) * 1000),
            )

    async def _send(self, query: SearchQuery) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of the response. Raises SearchError when there is none."""
        if self._upstream is None:
            raise SearchError("unavailable", f"{self.name} has no address: set its `base_url` in `web_search`.")
        if self._provider.INFO.keyed and not self._key:
            raise SearchError("unavailable", f"{self.name} has no API key: set its `api_key` in `web_search`.")
        call = self._provider.request(query, self._key)
        await self._wait_for_interval()
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._upstream.open(call)
                try:
                    return response.status, response.headers, await response.body(_MAX_RESPONSE)
                finally:
                    response.close()
        except TimeoutError:
            message = f"{self.name} did not respond within {self._timeout:g} s (`web_search.timeout`)."
        except Problem as problem:
            # The rest of the message is advice for backends.
            cause = problem.message.partition(". ")[0].removesuffix(".")
            message = f"{cause}. Check its `base_url` in `web_search`, and the network of this machine."
        raise SearchError("unavailable", message)

    async def _wait_for_interval(self) -> None:
        """Wait until the next search may start: after a 429, searches start one interval apart."""
        now = self._clock.now()
        start = max(now, self._next)
        if start - now > self._timeout:
            raise SearchError("too_many_requests", f"Too many searches wait for {self.name}. Search again later.", 429)
        if now < self._paced_until:
            self._next = start + _INTERVAL
        await self._clock.sleep(start - now)

    def _slow_down(self, headers: Mapping[str, str]) -> bool:
        """Start to keep the interval after a 429. False when the provider requires a wait that is too long to retry."""
        # `x-ratelimit-reset` of Brave: the seconds until its limit per second ends, then those until the month ends.
        value = (headers.get("retry-after") or headers.get("x-ratelimit-reset") or "").partition(",")[0].strip()
        seconds = int(value[:9]) if value.isascii() and value.isdigit() else 0
        if seconds > _MAX_RETRY_AFTER:
            return False
        now = self._clock.now()
        self._paced_until = now + _PACED_FOR
        self._next = max(self._next, now + max(1, seconds) * _INTERVAL)
        return True

    async def close(self) -> None:
        if self._upstream is not None:
            await self._upstream.close()


def matching(query: SearchQuery, results: list[WebResult]) -> list[WebResult]:
    """The results that the query's domain lists allow, each URL once, at most `query.count`."""
    permitted = DomainFilter(query.allowed, query.blocked).permits
    kept: dict[str, WebResult] = {}
    for result in results:
        if result.url not in kept and permitted(urls.parse(result.url)):
            kept[result.url] = result
            if len(kept) >= query.count:
                break
    return list(kept.values())


def _with_first_day(query: SearchQuery, default: Freshness | None) -> SearchQuery:
    """`query` with the first day that its freshness includes."""
    freshness = query.freshness or default
    if freshness is None:
        return query
    since = datetime.now(UTC) - timedelta(days=_DAYS[freshness])
    return replace(query, freshness=freshness, since=since.date().isoformat())


def _json(body: bytes) -> Any:
    """Decoded JSON; None for anything else."""
    try:
        return msgspec.json.decode(body)
    except DECODE_ERRORS:
        pass
    try:
        # Python's decoder accepts half surrogates: services that cut text by UTF-16 send them.
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
