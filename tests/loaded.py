"""Configs that many tests load: the same text is read once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from byway import config
from byway.config import Config


def loaded(settings: Mapping[str, Any]) -> Config:
    """The config of these settings, with no environment. It is frozen, so tests may share it."""
    return _loaded(json.dumps(settings))


@lru_cache(maxsize=1000)
def _loaded(text: str) -> Config:
    return config.load(text, {})
