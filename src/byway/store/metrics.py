"""MetricsStore: the history of metrics, in a database file of its own. Bounded by age and number of points."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from byway.store.database import DURABLE, Database, Schema

METRICS_DATABASE: Final = "metrics.db"
#: Points that are kept: 15 days with one each minute for 46 models.
MOST_POINTS: Final = 1_000_000
#: Points that one transaction removes.
_STEP: Final = 10_000
_SCHEMA: Final = Schema(
    # "Bywm"
    0x4279776D,
    (
        (
            "CREATE TABLE points (at INTEGER NOT NULL, backend TEXT NOT NULL, model TEXT NOT NULL, requests INTEGER NOT NULL,"
            " errors INTEGER NOT NULL, input_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,"
            " output_tokens INTEGER NOT NULL, seconds REAL NOT NULL, first_count INTEGER NOT NULL,"
            " first_seconds REAL NOT NULL, PRIMARY KEY (at, backend, model)) WITHOUT ROWID",
        ),
    ),
    "history of metrics",
    DURABLE,
)
_SUMS: Final = "requests errors input_tokens cached_tokens output_tokens seconds first_count first_seconds".split()


class MetricsPoint(NamedTuple):
    """What was counted for one model until a moment, since the point before it."""

    at: int
    """Seconds since the epoch."""
    backend: str
    model: str
    totals: tuple[float, ...]
    """The columns of _SUMS, in their order."""


class MetricsStore:
    """The history of metrics. Any thread may use it; every method raises StoreError."""

    def __init__(self, folder: Path) -> None:
        """Open the database in the data folder. It is created when it is missing."""
        self._database = Database(folder / METRICS_DATABASE, _SCHEMA)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def add(self, points: Iterable[MetricsPoint]) -> None:
        """Store points. Points of the same moment and model are summed up."""
        names = ", ".join(("at", "backend", "model", *_SUMS))
        places = ", ".join("?" * (3 + len(_SUMS)))
        sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)
        with self._database.change():
            self._database.run_many(
                f"INSERT INTO points ({names}) VALUES ({places}) ON CONFLICT DO UPDATE SET {sums}",  # noqa: S608 - constants
                [(point.at, point.backend, point.model, *point.totals) for point in points],
            )

    def history(self, since: int, until: int, step: int, backend: str = "", model: str = "") -> list[MetricsPoint]:
        """The sums of each `step` seconds, the oldest first. `at` is the start of the step. Steps without requests are missing.

        An empty `backend` or `model` means all of them.
        """
        sums = ", ".join(f"sum({name})" for name in _SUMS)
        rows = self._database.rows(
            f"SELECT at - at % ? AS step, ?, ?, {sums} FROM points WHERE at >= ? AND at < ?"  # noqa: S608 - constants
            " AND (? = '' OR backend = ?) AND (? = '' OR model = ?) GROUP BY step ORDER BY step",
            (step, backend, model, since, until, backend, backend, model, model),
        )
        return [MetricsPoint(row[0], row[1], row[2], tuple(row[3:])) for row in rows]

    def remove_old(self, before: int) -> None:
        """Remove points before a moment, and the oldest ones beyond the most that are kept."""
        excess = self._database.count("SELECT count(*) FROM points") - MOST_POINTS
        if excess > 0:
            row = self._database.row("SELECT at FROM points ORDER BY at LIMIT 1 OFFSET ?", (excess,))
            before = max(before, row[0] if row else 0)
        removed = _STEP
        while removed == _STEP:
            with self._database.change():
                removed = self._database.run(
                    "DELETE FROM points WHERE (at, backend, model) IN"
                    " (SELECT at, backend, model FROM points WHERE at < ? ORDER BY at LIMIT ?)",
                    (before, _STEP),
                )
