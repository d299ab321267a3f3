"""What a running Byway keeps for its next start: learned repairs, and the secret that signs reasoning."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec

from byway.learned import LearnedRepair
from byway.store.database import Table


class RepairTable(Table):
    """The repairs of calls that refusals have taught, and the signing secret. `StoreProtocol` describes the methods."""

    def signing_secret(self) -> bytes:
        with self.database.change():
            self.database.run("INSERT OR IGNORE INTO secrets VALUES ('signing', ?)", (secrets.token_bytes(32),))
        row = self.database.row("SELECT value FROM secrets WHERE name = 'signing'")
        return bytes(row[0]) if row else b""

    def repairs(self) -> list[LearnedRepair]:
        rows = self.database.rows(
            "SELECT backend, url, model, repair, refusal, learned_at FROM repairs ORDER BY learned_at, rowid"
        )
        return [LearnedRepair(*row) for row in rows]

    def save_repairs(self, records: Sequence[LearnedRepair]) -> None:
        with self.database.change():
            self.database.run("DELETE FROM repairs")
            for record in records:
                self.database.run("INSERT INTO repairs VALUES (?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(record))
