"""The implementations of `StoreProtocol` that tests/test_store.py runs with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from byway.store import Store, StoreProtocol

#: Opens the store of a folder. Two stores that are open for one folder share its contents, like two processes.
OpenStore = Callable[[Path], StoreProtocol]
IMPLEMENTATIONS: dict[str, OpenStore] = {"sqlite": Store}
