"""Query -> results: asks the configured providers in order, once more where one asks for patience, and remembers."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from byway.config import SearchProviderSettings, TimeoutSettings, WebSearchSettings
from byway.logs import log
from byway.problems import Problem
from byway.search import brave, exa, searxng, serper, tavily
from byway.search.provider import Freshness, SearchError, SearchProvider, SearchQuery, WebResult, matching, normalize
from byway.secrets.names import Scrubber
from byway.upstream.client import Upstream

PROVIDERS: Final[Mapping[str, SearchProvider]] = {
    "serper": serper, "brave": brave, "exa": exa, "tavily": tavily, "searxng": searxng,
}  # fmt: skip
#: What the reference router's log says of a search.
_SAID: Final = "web_search loop round complete"
#: Bytes of an answer.
_MOST: Final = 4 << 20
#: Seconds between two searches, once a provider has said that they come too fast: Brave's smallest plan lets one in each second.
_PATIENCE: Final = 1.1
#: Seconds for which that is kept to, and the longest time to wait that a provider may ask for.
_PACED: Final = 60.0
_LONGEST_WAIT: Final = 5.0
_REMEMBERED: Final = 256
_DAYS: Final[Mapping[Freshness, int]] = {"day": 1, "week": 7, "month": 31, "year": 365}

SearchObserver = Callable[[str, SearchError | None], None]
"""Told of each provider: when it is asked, and when it has failed."""


class SearchAnswer(NamedTuple):
    """What a search gave, and who gave it."""

    results: list[WebResult]
    provider: str


class Searcher:
    """The providers of one config. The first that answers is believed, even when it found nothing."""

    def __init__(self, settings: WebSearchSettings, patience: float = _PATIENCE) -> None:
        self.settings = settings
        self._asked = [ProviderClient(one, settings.timeout, patience) for one in settings.providers]
        self._remembered: OrderedDict[SearchQuery, tuple[float, SearchAnswer]] = OrderedDict()

    @property
    def ready(self) -> bool:
        """Is there anybody to ask?"""
        return self.settings.enabled and bool(self._asked)

    async def search(self, query: SearchQuery, watch: SearchObserver = lambda name, failed: None) -> SearchAnswer:
        """Raises Failed with the last provider's failure when none has answered."""
        query = _dated(normalize(query), self.settings.freshness)
        known = self._remembered.get(query)
        if known is not None and known[0] > time.monotonic():
            log(_SAID, provider=known[1].provider, results=len(known[1].results), remembered=True)
            return known[1]
        failed = SearchError(
            "unavailable", "No search provider is configured: set `web_search.provider` in byway.yaml."
        )
        for one in self._asked:
            watch(one.name, None)
            try:
                found = SearchAnswer(await one.search(query), one.name)
            except SearchError as failure:
                failed = failure
                watch(one.name, failure)
                continue
            self._remember(query, found)
            return found
        raise failed

    def _remember(self, query: SearchQuery, found: SearchAnswer) -> None:
        if not self.settings.cache_ttl:
            return
        self._remembered[query] = (time.monotonic() + self.settings.cache_ttl, found)
        self._remembered.move_to_end(query)
        while len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)

    async def close(self) -> None:
        for one in self._asked:
            await one.close()


class ProviderClient:
    """One provider as the config has it. Its key goes to its own host and nowhere else: redirects are not followed."""

    def __init__(self, settings: SearchProviderSettings, timeout: float, patience: float) -> None:
        self.name = settings.provider
        self._provider = PROVIDERS[settings.provider]
        self._key = settings.api_key or ""
        self._scrub = Scrubber([self._key] if self._key else []).scrub
        self._timeout = timeout
        self._patience = patience
        self._next = self._paced = 0.0
        """When the next search may begin, and until when they are kept apart; by the clock."""
        url = settings.base_url or self._provider.URL
        self._upstream: Upstream | None = None
        if url:
            timeouts = TimeoutSettings(first_byte=timeout, between_chunks=timeout)
            self._upstream = Upstream(url, name=settings.provider, timeouts=timeouts, pool=4)
            self._upstream.shown = f"{settings.provider} at {self._upstream.address.shown}"

    async def search(self, query: SearchQuery) -> list[WebResult]:
        """The results that fit the query, once more when it was asked too fast. Raises Failed, without the key in it."""
        try:
            try:
                return await self._search(query)
            except SearchError as failed:
                if not failed.again:
                    raise
            return await self._search(query)
        except SearchError as failed:
            raise SearchError(failed.code, self._scrub(failed.message), failed.status) from None

    async def _search(self, query: SearchQuery) -> list[WebResult]:
        """One attempt. Logs a line however it ends, without the query; the time is that of waiting for its turn too."""
        began = time.monotonic()
        results: list[WebResult] = []
        status, code = 0, ""
        try:
            status, headers, body = await self._ask(query)
            try:
                results = matching(query, self._provider.read(status, _json(body)))
            except SearchError as failed:
                failed.again = failed.again and self._slow_down(headers)
                raise
            return results
        except SearchError as failed:
            code = failed.code
            raise
        except asyncio.CancelledError:
            code = "cancelled"
            raise
        finally:
            log(
                _SAID,
                logging.WARNING if code else logging.INFO,
                provider=self.name,
                status=status,
                results=len(results),
                error=code,
                ms=round((time.monotonic() - began) * 1000),
            )

    async def _ask(self, query: SearchQuery) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer; raises Failed when there is no whole one."""
        if self._upstream is None:
            raise SearchError("unavailable", f"{self.name} has no address: set its `base_url` in `web_search`.")
        if self._provider.URL and not self._key:
            raise SearchError("unavailable", f"{self.name} has no key: set its `api_key` in `web_search`.")
        call = self._provider.request(query, self._key)
        await self._turn()
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._upstream.open(call)
                try:
                    return answer.status, answer.headers, await answer.body(_MOST)
                finally:
                    answer.close()
        except TimeoutError:
            words = f"{self.name} did not answer in {self._timeout:g} s (`web_search.timeout`)."
        except Problem as problem:
            # What follows is advice for backends.
            what = problem.message.partition(". ")[0].removesuffix(".")
            words = f"{what}. Look at its `base_url` in `web_search`, and whether this machine reaches the network."
        raise SearchError("unavailable", words)

    async def _turn(self) -> None:
        """Wait until a search may begin: searches that came too fast together come one after the other."""
        now = time.monotonic()
        at = max(now, self._next)
        if at - now > self._timeout:
            raise SearchError("too_many_requests", f"More searches wait than {self.name} takes.", 429)
        if now < self._paced:
            self._next = at + self._patience
        await asyncio.sleep(at - now)

    def _slow_down(self, headers: Mapping[str, str]) -> bool:
        """It says that searches come too fast: may one be tried again soon?"""
        # Brave names the seconds until its second is over, and those until its month is.
        said = (headers.get("retry-after") or headers.get("x-ratelimit-reset") or "").partition(",")[0].strip()
        seconds = int(said[:9]) if said.isascii() and said.isdigit() else 0
        if seconds > _LONGEST_WAIT:
            return False
        now = time.monotonic()
        self._paced = now + _PACED
        self._next = max(self._next, now + max(1, seconds) * self._patience)
        return True

    async def close(self) -> None:
        if self._upstream is not None:
            await self._upstream.close()


def _dated(query: SearchQuery, freshness: Freshness | None) -> SearchQuery:
    """`query` with the day on which its freshness begins."""
    fresh = query.freshness or freshness
    if fresh is None:
        return query
    since = datetime.now(UTC) - timedelta(days=_DAYS[fresh])
    return replace(query, freshness=fresh, since=since.date().isoformat())


def _json(body: bytes) -> Any:
    """Decoded JSON; None for anything else."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        # This one takes halves of surrogates too: services that cut text by UTF-16 send them.
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
