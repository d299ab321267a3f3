"""Versions of the config files: each file has versions of its own, without secrets."""

from __future__ import annotations

import time

from byway.store import bounds
from byway.store.bounds import shortened
from byway.store.database import Table
from byway.store.records import ConfigVersion, moment
from byway.store.records import etag as etag_of


class VersionTable(Table):
    """The versions of the config. `file` is the path of the config file. `StoreProtocol` describes the methods."""

    def add_version(
        self, text: str, who: str, why: str, file: str = "", *, etag: str | None = None, secrets: int = 0
    ) -> int:
        etag = etag or etag_of(text)
        database = self.database
        with database.change():
            newest = database.row(
                "SELECT number, etag FROM versions WHERE file = ? ORDER BY number DESC LIMIT 1", (file,)
            )
            if newest is not None and newest[1] == etag:
                return int(newest[0])
            number = database.insert(
                "INSERT INTO versions (at, who, why, etag, text, file, secrets) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (time.time(), shortened(who), shortened(why), etag, text, file, secrets),
            )
            self._keep_newest("versions", "number", bounds.MAX_VERSIONS, "file = ?", file)
            database.run(
                "DELETE FROM versions WHERE number < ? AND number IN (SELECT number FROM (SELECT number,"
                " count(*) OVER newer AS place, sum(length(text)) OVER newer AS characters FROM versions"
                " WINDOW newer AS (ORDER BY number DESC)) WHERE place > ? OR characters > ?)",
                (number, bounds.MAX_ALL_VERSIONS, bounds.MAX_VERSION_CHARACTERS),
            )
            return number

    def newest_etag(self, file: str = "") -> str | None:
        row = self.database.row("SELECT etag FROM versions WHERE file = ? ORDER BY number DESC LIMIT 1", (file,))
        return None if row is None else str(row[0])

    def versions(self, file: str = "") -> list[ConfigVersion]:
        rows = self.database.rows(
            "SELECT number, at, who, why, etag, '', ifnull(secrets, 0) FROM versions WHERE file = ? ORDER BY number DESC",
            (file,),
        )
        return [_version(*row) for row in rows]

    def version(self, number: int, file: str = "") -> ConfigVersion:
        row = self.database.row(
            "SELECT number, at, who, why, etag, text, ifnull(secrets, 0) FROM versions WHERE number = ? AND file = ?",
            (number, file),
        )
        if row is None:
            raise LookupError(f"There is no version {number} of the config. The newest {bounds.MAX_VERSIONS} are kept.")
        return _version(*row)

    def unmasked_versions(self, file: str = "") -> list[ConfigVersion]:
        rows = self.database.rows(
            "SELECT number, at, who, why, etag, text, 0 FROM versions WHERE file = ? AND secrets IS NULL", (file,)
        )
        return [_version(*row) for row in rows]

    def mask_version(self, number: int, text: str, secrets: int) -> None:
        with self.database.change():
            self.database.run("UPDATE versions SET text = ?, secrets = ? WHERE number = ?", (text, secrets, number))


def _version(number: int, at: float, who: str, why: str, etag: str, text: str, secrets: int) -> ConfigVersion:
    return ConfigVersion(number, moment(at), who, why, etag, text, secrets)
