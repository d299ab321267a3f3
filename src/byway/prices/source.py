"""Gets the prices of vendors from the installed genai-prices, once for each version of it, and keeps them in the data folder.

Nothing is downloaded: a newer version of the package brings newer prices.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from byway import platform
from byway.backends.vendors import VENDORS
from byway.logs import log
from byway.prices.catalog import FORM, PriceData, ProviderPrices

FILE: Final = "prices.json"
#: Why there are no prices.
_NOT_INSTALLED: Final = (
    "genai-prices is not installed; install it: pip install --no-deps --require-hashes -r requirements/prices.txt"
)
_UNREADABLE: Final = "genai-prices cannot be read; the log of Byway has the reason"
_TIME_LIMIT: Final = 20.0
_SIZE_LIMIT: Final = 32 << 20


def installed_version() -> str:
    """The version of genai-prices; empty when it is not installed."""
    # It loads a dozen other modules, and only backends of vendors need it.
    import importlib.metadata

    try:
        return importlib.metadata.version("genai-prices")
    except importlib.metadata.PackageNotFoundError:
        return ""


class PriceSource:
    """The prices of vendors, by the provider ids of genai-prices. Empty until `load` has returned."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is the data folder; None keeps nothing."""
        self.version = ""
        """The version of genai-prices that the prices come from; empty: there are none."""
        self.problem = "the prices are not loaded"
        """Why there are no prices; empty when there are."""
        self._file = None if folder is None else folder / FILE
        self._encoded: dict[str, msgspec.Raw] = {}
        self._decoded: dict[str, ProviderPrices] = {}
        self._loading = asyncio.Lock()
        self._loaded = False

    async def load(self) -> None:
        """Read the prices. It takes a second after the package was installed or updated, else milliseconds. A failure is
        logged: prices stay unknown then."""
        async with self._loading:
            if self._loaded:
                return
            data = await asyncio.to_thread(self._read)
            if data is None:
                data = await self._extract()
            if data is None:
                self.problem = _UNREADABLE
            else:
                self._encoded, self.version = data.providers, data.version
                self.problem = "" if data.version else _NOT_INSTALLED
            self._loaded = True

    def providers(self, ids: Iterable[str]) -> list[ProviderPrices]:
        """The prices of these providers and, after them, of those whose models they sell too."""
        own = [prices for id in ids if (prices := self._provider(id)) is not None]
        others = [prices for each in own for id in each.fallbacks if (prices := self._provider(id)) is not None]
        return own + others

    def _provider(self, id: str) -> ProviderPrices | None:
        if id not in self._decoded and id in self._encoded:
            self._decoded[id] = msgspec.json.decode(self._encoded[id], type=ProviderPrices)
        return self._decoded.get(id)

    def _read(self) -> PriceData | None:
        """What the data folder has; empty when the package is not installed; None when it has to be extracted. It blocks."""
        version = installed_version()
        if not version:
            return PriceData("", FORM, {})
        if self._file is None:
            return None
        try:
            data = _decode(platform.read_private(self._file))
        except (OSError, platform.UnsafeFile, ValueError):
            return None
        return data if (data.version, data.form) == (version, FORM) else None

    async def _extract(self) -> PriceData | None:
        """Read the package in a process of its own, and keep the result."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "byway.prices.extract", *wanted_providers()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=platform.safe_environment(os.environ),
            **platform.detached(),
        )
        try:
            async with asyncio.timeout(_TIME_LIMIT):
                output, _ = await process.communicate()
            if process.returncode:
                raise ValueError(f"exit code {process.returncode}")
            if len(output) > _SIZE_LIMIT:
                raise ValueError("it has too many prices")
            data = _decode(output)
        except (TimeoutError, ValueError) as error:
            reason = str(error) or f"no result within {_TIME_LIMIT:g} s"
            log("Cannot read the prices of genai-prices; prices of vendors are unknown", logging.WARNING, reason=reason)
            return None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if self._file is not None:
            try:
                await asyncio.to_thread(platform.write_private, self._file, output)
            except OSError as error:
                # They are extracted again at the next start.
                log("Cannot keep the prices of vendors", logging.WARNING, file=str(self._file), reason=str(error))
        return data


def _decode(data: bytes) -> PriceData:
    """Decode all of it, so that a damaged file is noticed here. Raises ValueError."""
    read = msgspec.json.decode(data, type=PriceData)
    for provider in read.providers.values():
        msgspec.json.decode(provider, type=ProviderPrices)
    return read


def wanted_providers() -> list[str]:
    """The provider ids that the vendors name."""
    return sorted({id for vendor in VENDORS.values() for id in (vendor.prices, vendor.twin_prices) if id})
