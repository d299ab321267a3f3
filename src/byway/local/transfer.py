"""The servers that models come from: asks them, follows where they point, and no further than the settings let.

What is asked for is `hub.py`'s, what becomes of the bytes `download.py`'s.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from byway import __version__, urls
from byway.call import Call
from byway.config import TimeoutSettings
from byway.config.settings import HUB
from byway.problems import Problem
from byway.upstream.address import UpstreamAddress, proxy_for
from byway.upstream.client import Answer, Upstream
from byway.urls import Url
from byway.web.guard import AddressPolicy, never, public

_TIMEOUTS: Final = TimeoutSettings(connect=15.0, first_byte=60.0, between_chunks=60.0)
_REDIRECTS: Final = 8
_MOVED: Final = frozenset((301, 302, 303, 307, 308))
_LISTING: Final = 16 << 20
_LINKED: Final = re.compile(r'(?:W/)?"?([0-9a-f]{64})"?')

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class DownloadError(Exception):
    """Nothing was downloaded, or not all of it: why, and what to do."""


class Interrupted(Exception):
    """It broke off, and may go on from there at another try."""


class HubClient:
    """Asks servers, each only as far as the settings let."""

    def __init__(self, hub: str, *, local_only: bool, environ: Mapping[str, str], resolve: Resolve | None) -> None:
        self._hub = urls.parse(hub)
        self._base = hub
        self._own = hub != HUB
        """Somebody has named this hub, so it may stand in a private network."""
        self._local_only = local_only
        self._environ = environ
        self._token = environ.get("HF_TOKEN", "").strip()
        self._resolve = resolve or _resolved

    async def page(self, path: str, what: str) -> bytes:
        """A small page of the hub; raises Failed."""
        url = urls.parse(self._base + path)
        upstream, answer = None, None
        try:
            async with asyncio.timeout(120):
                upstream, answer, *_ = await self.open(url, {})
                if answer.status != 200:
                    raise DownloadError(self.refusal(url, answer, what))
                return await answer.body(_LISTING)
        except TimeoutError:
            raise DownloadError(f"{url.host} gave no list of files within two minutes. Try again later.") from None
        except (Problem, Interrupted) as problem:
            raise DownloadError(f"{url.host} gave no list of files: {problem}") from None
        finally:
            if answer is not None:
                answer.close()
            if upstream is not None:
                await upstream.close()

    async def open(self, url: Url, headers: Mapping[str, str]) -> tuple[Upstream, Answer, str, int | None]:
        """Ask for `url` and follow where the answers point. Gives the connection, the answer, and what the hub says of the
        file: its SHA-256 ("" when it does not) and its size. Raises Failed, Again or Problem."""
        sha256, size = "", None
        for _ in range(_REDIRECTS + 1):
            upstream = await self._upstream(url)
            try:
                answer = await upstream.open(Call("GET", url.target, self._headers(url, headers)))
            except BaseException:
                await upstream.close()
                raise
            if self._is_hub(url):
                # https://huggingface.co/docs/huggingface_hub/package_reference/file_download (seen 2026-11-21): the hub's
                # own answer carries the facts of the file, before it points to where the bytes are.
                found = _LINKED.fullmatch(answer.headers.get("x-linked-etag", ""))
                sha256 = found[1] if found else sha256
                size = parse_number(answer.headers.get("x-linked-size", "")) if size is None else size
            if answer.status not in _MOVED:
                return upstream, answer, sha256, size
            location = answer.headers.get("location", "")
            answer.close()
            await upstream.close()
            try:
                url = urls.join(url, location)
            except ValueError as error:
                raise DownloadError(f"{url.host} redirects to a URL that {error}.") from None
        raise DownloadError(f"{url.host} redirects more than {_REDIRECTS} times.")

    def refusal(self, url: Url, answer: Answer, what: str) -> str:
        """What a status other than success means."""
        status = answer.status
        if status in (401, 403):
            token = (
                "HF_TOKEN is set and does not open it" if self._token else "set HF_TOKEN to a token that may read it"
            )
            return f"{url.host} does not give {what} to everybody (HTTP {status}): accept its terms there, and {token}."
        if status in (404, 410):
            return f"{url.host} has no {what} (HTTP {status}). Check the name; a private repository needs HF_TOKEN."
        if status == 429:
            wait = answer.headers.get("retry-after", "")
            later = f"in {wait} s" if wait.isdigit() else "later"
            return f"{url.host} asks for fewer requests (HTTP 429). Try again {later}; what is there is kept."
        return f"{url.host} answers with HTTP {status} for {what}."

    def _is_hub(self, url: Url) -> bool:
        return (url.scheme, url.host, url.port) == (self._hub.scheme, self._hub.host, self._hub.port)

    def _headers(self, url: Url, headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        own = {"user-agent": f"byway/{__version__}", "accept": "*/*", **headers}
        if self._token and self._is_hub(url):
            own["authorization"] = f"Bearer {self._token}"
        return tuple(own.items())

    async def _upstream(self, url: Url) -> Upstream:
        """The way to a server; raises Failed when the settings do not let."""
        named = self._own and url.host == self._hub.host
        loopback = url.host == "localhost" or (url.number is not None and url.number.is_loopback)
        if url.scheme != "https" and not loopback:
            raise DownloadError(
                f"{url.host} would be asked without https, where anybody on the way could put in another file."
            )
        if not self._local_only and self._proxied(url):
            # The proxy looks the name up; what it may reach is its own affair, but nothing of a private network is named.
            if not named and AddressPolicy().rejects(url):
                raise DownloadError(_private(url.host))
            return Upstream(url.origin, timeouts=_TIMEOUTS, pool=0, environ=self._environ)
        return Upstream(url.origin, timeouts=_TIMEOUTS, pool=0, pinned=await self._addresses(url, named=named))

    def _proxied(self, url: Url) -> bool:
        try:
            return proxy_for(UpstreamAddress(url.origin), None, self._environ) is not None
        except ValueError as error:
            raise DownloadError(f"{url.host} cannot be reached: {error}.") from None

    async def _addresses(self, url: Url, *, named: bool) -> tuple[str, ...]:
        """The addresses that may be connected to: public ones, and any of a hub that the settings name."""
        if self._local_only and not (named and (url.number is not None or url.host == "localhost")):
            raise DownloadError(
                f"`local_only` is on, and {url.host} is not provably on this machine or a private network: nothing is "
                "downloaded from it."
            )
        if url.number is not None:
            found: Sequence[str] = (url.host,)
        else:
            try:
                found = await self._resolve(url.host, url.port)
            except (OSError, UnicodeError):
                raise Interrupted(f"the name {url.host} cannot be looked up; is there a network?") from None
        numbers = [ipaddress.ip_address(one.partition("%")[0]) for one in dict.fromkeys(found)]
        good = [one for one in numbers if not never(one) and (named or public(one))]
        if self._local_only:
            good = [one for one in good if not public(one)]
        if not good:
            raise DownloadError(_private(url.host))
        return tuple(map(str, good))


def _private(host: str) -> str:
    return (
        f"{host} is not on the open internet. Models are downloaded from a private network only when `local_models.hub` "
        "names the host."
    )


async def _resolved(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port)
    return [str(address[4][0]) for address in found]


def parse_number(text: str) -> int | None:
    """A header that is a number of bytes or seconds; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None
