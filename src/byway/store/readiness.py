"""The results of tests of models."""

from __future__ import annotations

from byway.store.bounds import MAX_READINESS
from byway.store.database import Table
from byway.store.records import StoredReadiness


class ReadinessTable(Table):
    """The last result of each tested model. `StoreProtocol` describes the methods."""

    def readiness(self) -> list[StoredReadiness]:
        rows = self.database.rows(
            "SELECT backend, model, at, facts, result FROM readiness ORDER BY at DESC, rowid DESC"
        )
        return [StoredReadiness(*row) for row in rows]

    def save_readiness(self, record: StoredReadiness) -> None:
        with self.database.change():
            self.database.run("INSERT OR REPLACE INTO readiness VALUES (?, ?, ?, ?, ?)", record)
            self.database.run(
                "DELETE FROM readiness WHERE rowid NOT IN (SELECT rowid FROM readiness ORDER BY at DESC, rowid DESC LIMIT ?)",
                (MAX_READINESS,),
            )

    def remove_readiness(self, backend: str, model: str) -> bool:
        with self.database.change():
            return bool(self.database.run("DELETE FROM readiness WHERE backend = ? AND model = ?", (backend, model)))
