"""The search providers by name. A new one is a module of this package and its name here, in both places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from byway.providers import brave, exa, searxng, serper, tavily
from byway.providers.protocol import SearchProvider

ProviderName = Literal["serper", "brave", "exa", "tavily", "searxng"]

PROVIDERS: Final[Mapping[ProviderName, SearchProvider]] = {
    "serper": serper,
    "brave": brave,
    "exa": exa,
    "tavily": tavily,
    "searxng": searxng,
}
