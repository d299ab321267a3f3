"""What refusals have taught: the repairs that calls to a model of a backend need. Bounded, and forgotten after 30 days."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from byway.bounded import BoundedDict

#: Seconds after which a repair is forgotten: the server may have been updated.
LIFETIME: Final = 30 * 86_400.0
_MODELS: Final = 256
_PER_MODEL: Final = 8


class LearnedRepair(Struct, frozen=True):
    """One repair, and the refusal that it was learned from."""

    backend: str
    url: str
    """The backend's address: another server behind the same name begins anew."""
    model: str
    repair: str
    refusal: str
    """The words that named what was wrong, without secrets."""
    learned_at: float
    """Seconds since the epoch."""


class LearnedRepairs:
    """The repairs of all backends."""

    def __init__(self, records: Iterable[LearnedRepair] = ()) -> None:
        self._records: BoundedDict[tuple[str, str, str], tuple[LearnedRepair, ...]] = BoundedDict(_MODELS)
        self.unsaved = False
        """Something has changed since `records` was stored last."""
        self.load(records)

    def load(self, records: Iterable[LearnedRepair]) -> None:
        """Replace everything by the stored `records`."""
        self._records.clear()
        for record in sorted(records, key=lambda record: record.learned_at):
            self.add(record)
        self.unsaved = False

    def is_empty(self) -> bool:
        """Nothing is remembered, for any model."""
        return not self._records

    def get(self, backend: str, url: str, model: str, now: float) -> tuple[LearnedRepair, ...]:
        """The repairs for a model, oldest first. `now`: seconds since the epoch."""
        kept = self._records.get((backend, url, model), ())
        if kept and now - kept[0].learned_at >= LIFETIME:
            kept = tuple(record for record in kept if now - record.learned_at < LIFETIME)
            self._put((backend, url, model), kept)
        return kept

    def add(self, record: LearnedRepair) -> None:
        """Remember a repair; the newest refusal replaces an older one."""
        key = (record.backend, record.url, record.model)
        others = tuple(other for other in self._records.get(key, ()) if other.repair != record.repair)
        self._put(key, (*others, record)[-_PER_MODEL:])

    def forget(self, backend: str, model: str | None = None) -> int:
        """Forget the repairs of a backend, or of one model of it. Returns how many there were."""
        keys = [key for key in self._records if key[0] == backend and model in (None, key[2])]
        count = sum(len(self._records[key]) for key in keys)
        for key in keys:
            self._put(key, ())
        return count

    def records(self) -> list[LearnedRepair]:
        """Everything that is remembered."""
        return [record for kept in self._records.values() for record in kept]

    def _put(self, key: tuple[str, str, str], kept: tuple[LearnedRepair, ...]) -> None:
        if kept:
            self._records[key] = kept
        else:
            self._records.pop(key, None)
        self.unsaved = True
