"""The audit log: who changed what, and when."""

from __future__ import annotations

import time

from byway.store import bounds
from byway.store.bounds import DETAIL_LIMIT, shortened
from byway.store.database import Table
from byway.store.records import AuditEntry, moment


class AuditTable(Table):
    """The entries of the audit log. The oldest go when there are more than MAX_AUDIT_ENTRIES.

    `StoreProtocol` describes the methods.
    """

    def add_audit_entry(self, who: str, what: str, detail: str = "") -> None:
        with self.database.change():
            self._audit(who, what, detail)

    def audit_entries(self, limit: int = 200) -> list[AuditEntry]:
        rows = self.database.rows(
            "SELECT at, who, what, detail FROM audit ORDER BY number DESC LIMIT ?", (max(0, limit),)
        )
        return [AuditEntry(moment(at), who, what, detail) for at, who, what, detail in rows]

    def _audit(self, who: str, what: str, detail: str) -> None:
        """Add an entry in the transaction of the change that it records."""
        number = self.database.insert(
            "INSERT INTO audit (at, who, what, detail) VALUES (?, ?, ?, ?)",
            (time.time(), shortened(who), shortened(what), shortened(detail, DETAIL_LIMIT)),
        )
        self.database.run("DELETE FROM audit WHERE number <= ?", (number - bounds.MAX_AUDIT_ENTRIES,))
