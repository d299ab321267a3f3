"""Query -> results: asks the configured providers in order, once more where one asks for patience, and remembers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from byway.config import Searched, Timeouts, WebSearch
from byway.logs import say
from byway.problems import Problem
from byway.search import Failed, Provider, Query, Result, brave, exa, fitting, searxng, serper
from byway.upstream import Upstream

PROVIDERS: Final[Mapping[str, Provider]] = {"serper": serper, "brave": brave, "exa": exa, "searxng": searxng}
#: Bytes of an answer.
_MOST: Final = 4 << 20
#: Brave's free plan lets one request in each second.
_PATIENCE: Final = 1.1
_REMEMBERED: Final = 256


class Found(NamedTuple):
    """What a search gave, and who gave it."""

    results: list[Result]
    provider: str


class Searcher:
    """The providers of one config. The first that answers is believed, even when it found nothing."""

    def __init__(self, settings: WebSearch, patience: float = _PATIENCE) -> None:
        self.settings = settings
        self._patience = patience
        self._asked = [_Asked(one, settings.timeout) for one in settings.providers]
        self._remembered: OrderedDict[Query, tuple[float, Found]] = OrderedDict()

    @property
    def ready(self) -> bool:
        """Is there anybody to ask?"""
        return self.settings.enabled and bool(self._asked)

    async def search(self, query: Query) -> Found:
        """Raises Failed with the last provider's failure when none has answered."""
        known = self._remembered.get(query)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        failed = Failed("unavailable", "No search provider is configured: set `web_search.provider` in byway.yaml.")
        for one in self._asked:
            try:
                found = Found(await self._search(one, query), one.name)
            except Failed as failure:
                failed = failure
                continue
            self._remembered[query] = (time.monotonic() + self.settings.cache_ttl, found)
            self._remembered.move_to_end(query)
            while len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
            return found
        raise failed

    async def _search(self, one: _Asked, query: Query) -> list[Result]:
        try:
            return await one.search(query)
        except Failed as failed:
            if failed.status != 429:
                raise
        await asyncio.sleep(self._patience)
        return await one.search(query)

    async def close(self) -> None:
        for one in self._asked:
            await one.upstream.close()


class _Asked:
    """One provider as the config has it. Its key goes to its own host and nowhere else: redirects are not followed."""

    def __init__(self, settings: Searched, timeout: float) -> None:
        self.name = settings.provider
        self._provider = PROVIDERS[settings.provider]
        self._key = settings.api_key or ""
        self._timeout = timeout
        self.upstream = Upstream(
            settings.base_url or self._provider.URL,
            name=settings.provider,
            timeouts=Timeouts(first_byte=timeout, between_chunks=timeout),
            pool=4,
        )

    async def search(self, query: Query) -> list[Result]:
        """The results that fit the query; raises Failed. Logs a line either way, without the query."""
        began = time.monotonic()
        status, count, code = 0, 0, ""
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self.upstream.open(self._provider.request(query, self._key))
                try:
                    status, body = answer.status, await answer.body(_MOST)
                finally:
                    answer.close()
            results = fitting(query, self._provider.read(status, _json(body)))
            count = len(results)
            return results
        except TimeoutError:
            code = "unavailable"
            raise Failed(
                "unavailable", f"{self.name} did not answer in {self._timeout:g} s (`web_search.timeout`)."
            ) from None
        except Problem as problem:
            code = "unavailable"
            raise Failed("unavailable", problem.message, status) from None
        except Failed as failed:
            code = failed.code
            raise
        finally:
            say(
                "web_search loop round complete",
                logging.WARNING if code else logging.INFO,
                provider=self.name,
                status=status,
                results=count,
                error=code,
                ms=round((time.monotonic() - began) * 1000),
            )


def _json(body: bytes) -> Any:
    """Decoded JSON; None for anything else."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
