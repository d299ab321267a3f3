"""The client for the servers of models: requests, redirects, and which addresses the settings allow."""

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
    """The download failed. The message names the reason and the next step."""


class Interrupted(Exception):
    """The transfer was interrupted. Another attempt may resume it."""


class HubClient:
    """Sends requests to the hub and to the servers that it redirects to, if the settings allow the address."""

    def __init__(self, hub: str, *, local_only: bool, environ: Mapping[str, str], resolve: Resolve | None) -> None:
        self._hub = urls.parse(hub)
        self._base = hub
        self._custom = hub != HUB
        """The config names this hub, so it may be in a private network."""
        self._local_only = local_only
        self._environ = environ
        self._token = environ.get("HF_TOKEN", "").strip()
        self._resolve = resolve or _resolved

    async def page(self, path: str, what: str) -> bytes:
        """Fetch a small page of the hub. Raises DownloadError."""
        url = urls.parse(self._base + path)
        upstream, answer = None, None
        try:
            async with asyncio.timeout(120):
                upstream, answer, *_ = await self.open(url, {})
                if answer.status != 200:
                    raise DownloadError(self.refusal(url, answer, what))
                return await answer.body(_LISTING)
        except TimeoutError:
            raise DownloadError(f"{url.host} sent no list of files within two minutes. Try again later.") from None
        except Interrupted as interrupted:
            raise DownloadError(f"{url.host} sent no list of files: {interrupted}.") from None
        except Problem as problem:
            raise DownloadError(f"{url.host} sent no list of files: {problem.message}") from None
        finally:
            if answer is not None:
                answer.close()
            if upstream is not None:
                await upstream.close()

    async def open(self, url: Url, headers: Mapping[str, str]) -> tuple[Upstream, Answer, str, int | None]:
        """Request `url` and follow redirects. Returns the connection, the answer, and what the hub reports of the file: its
        SHA-256 (or "") and its size. Raises DownloadError, Interrupted or Problem."""
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
                # own answer has the checksum and size of the file, before the redirect to its bytes.
                linked = _LINKED.fullmatch(answer.headers.get("x-linked-etag", ""))
                sha256 = linked[1] if linked else sha256
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
        """The message for a status other than success."""
        status = answer.status
        if status in (401, 403):
            token = "use an HF_TOKEN that may read it" if self._token else "set HF_TOKEN to a token that may read it"
            return f"{url.host} restricts access to {what} (HTTP {status}). Accept its terms there, and {token}."
        if status in (404, 410):
            return f"{url.host} has no {what} (HTTP {status}). Check the name. A private repository requires HF_TOKEN."
        if status == 429:
            wait = answer.headers.get("retry-after", "")
            later = f"in {wait} s" if wait.isdigit() else "later"
            return f"{url.host} limits the rate of requests (HTTP 429). Try again {later}; the downloaded part is kept."
        return f"{url.host} answered HTTP {status} for {what}."

    def _is_hub(self, url: Url) -> bool:
        return (url.scheme, url.host, url.port) == (self._hub.scheme, self._hub.host, self._hub.port)

    def _headers(self, url: Url, headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        own = {"user-agent": f"byway/{__version__}", "accept": "*/*", **headers}
        if self._token and self._is_hub(url):
            own["authorization"] = f"Bearer {self._token}"
        return tuple(own.items())

    async def _upstream(self, url: Url) -> Upstream:
        """The client for the server of `url`. Raises DownloadError when the settings do not allow its address."""
        is_hub = self._custom and url.host == self._hub.host
        loopback = url.host == "localhost" or (url.number is not None and url.number.is_loopback)
        if url.scheme != "https" and not loopback:
            raise DownloadError(
                f"{url.host} does not use https, so the file could be replaced on the way. Use an https:// URL."
            )
        if not self._local_only and self._proxied(url):
            # The proxy resolves the name and decides what it may reach. Private addresses are not passed to it.
            if not is_hub and AddressPolicy().rejects(url):
                raise DownloadError(_private(url.host))
            return Upstream(url.origin, timeouts=_TIMEOUTS, pool=0, environ=self._environ)
        return Upstream(url.origin, timeouts=_TIMEOUTS, pool=0, pinned=await self._addresses(url, is_hub=is_hub))

    def _proxied(self, url: Url) -> bool:
        try:
            return proxy_for(UpstreamAddress(url.origin), None, self._environ) is not None
        except ValueError as error:
            raise DownloadError(f"{url.host} cannot be reached: {error}.") from None

    async def _addresses(self, url: Url, *, is_hub: bool) -> tuple[str, ...]:
        """The addresses to connect to: public ones, and any address of a hub that the config names."""
        if self._local_only and not (is_hub and (url.number is not None or url.host == "localhost")):
            raise DownloadError(
                f"`local_only` is on and {url.host} is not provably on this machine or in a private network, so nothing is "
                "downloaded from it."
            )
        if url.number is not None:
            addresses: Sequence[str] = (url.host,)
        else:
            try:
                addresses = await self._resolve(url.host, url.port)
            except (OSError, UnicodeError):
                raise Interrupted(f"the host name {url.host} cannot be resolved, check the network") from None
        numbers = [ipaddress.ip_address(address.partition("%")[0]) for address in dict.fromkeys(addresses)]
        allowed = [number for number in numbers if not never(number) and (is_hub or public(number))]
        if self._local_only:
            allowed = [number for number in allowed if not public(number)]
        if not allowed:
            raise DownloadError(_private(url.host))
        return tuple(map(str, allowed))


def _private(host: str) -> str:
    return (
        f"{host} has no public address. Models are downloaded from a private network only when `local_models.hub` names the "
        "host."
    )


async def _resolved(host: str, port: int) -> Sequence[str]:
    entries = await asyncio.get_running_loop().getaddrinfo(host, port)
    return [str(entry[4][0]) for entry in entries]


def parse_number(text: str) -> int | None:
    """Parse a header with a number of bytes or seconds; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None
