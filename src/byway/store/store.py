"""The store in the data folder: `byway.db`, with accounts, clients' keys, logins, versions of the config, and the audit log.

Several processes use it at once: a running Byway and the commands. Secrets for backends are kept elsewhere
(`byway.secrets.vault`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Self

from byway.store import schema
from byway.store.database import Database, Schema
from byway.store.keys import KeyTable
from byway.store.logins import LoginTable
from byway.store.readiness import ReadinessTable
from byway.store.repairs import RepairTable
from byway.store.usage import UsageStore
from byway.store.versions import VersionTable

FILE_NAME: Final = "byway.db"


class Store(KeyTable, LoginTable, VersionTable, RepairTable, ReadinessTable):
    """The open database: `StoreProtocol` in an SQLite file. Any thread may use it. Each call is a transaction of its own.

    Every method raises StoreError when the database cannot be used. `who` is the author of a change, for the audit log.
    """

    def __init__(self, folder: Path) -> None:
        """Open `byway.db` in the existing `folder`. Create it when it is missing, and migrate an older schema."""
        self.path = folder / FILE_NAME
        super().__init__(
            Database(
                self.path, Schema(schema.APPLICATION_ID, schema.MIGRATIONS, contents="accounts, keys and versions")
            )
        )
        self.usage = UsageStore(folder)
        """The usage records, in a file of their own. It is opened when it is used."""

    def close(self) -> None:
        """Close the database. Later calls raise StoreError."""
        self.usage.close()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
