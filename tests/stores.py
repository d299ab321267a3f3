"""The implementations of `StoreProtocol` that tests/test_store.py runs with, and a quick way to a new store."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from byway import platform
from byway.store import Store, StoreProtocol
from byway.store.store import FILE_NAME

#: Opens the store of a folder. Two stores that are open for one folder share its contents, like two processes.
OpenStore = Callable[[Path], StoreProtocol]
IMPLEMENTATIONS: dict[str, OpenStore] = {"sqlite": Store}


def new_store(folder: Path) -> Store:
    """The store of a new folder. Its tables are copied: to make them by all migrations takes longer than most tests."""
    file = folder / FILE_NAME
    if not file.exists():
        platform.create_private(file)
        file.write_bytes(_tables())
    return Store(folder)


@cache
def _tables() -> bytes:
    """The file of a store in which nothing is stored."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Store(folder).close()
        return (folder / FILE_NAME).read_bytes()
