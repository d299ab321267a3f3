"""Maps with a bound, for everything that is keyed by input from clients or backends."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedDict(OrderedDict[K, V]):
    """A dict that keeps the `limit` entries that were set last. A new entry removes the oldest one."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        if len(self) > self._limit:
            self.popitem(last=False)


class RecentValues(Generic[K, V]):
    """The values of the `limit` keys that were added last. A key is found by comparing it with all of them.

    For long texts: each request has them in new objects, and hashing those takes longer than comparing them. Threads may
    share it.
    """

    __slots__ = ("_entries", "_limit")

    def __init__(self, limit: int) -> None:
        self._entries: tuple[tuple[K, V], ...] = ()
        self._limit = limit

    def get(self, key: K) -> V | None:
        """The value of `key`; None when it was not added, or others were added since."""
        for known, value in self._entries:
            if known == key:
                return value
        return None

    def add(self, key: K, value: V) -> None:
        """Keep `value` for `key`, and forget the entry that was added first when there are too many."""
        self._entries = ((key, value), *self._entries[: self._limit - 1])
