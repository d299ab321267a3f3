"""The store in SQLite: the file, its permissions, damage, older and newer schemas, other processes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from byway.store import FILE_NAME, Store, StoreError, database, schema

SCOPES = ("read", "write")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path) as opened:
        yield opened


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def test_only_the_hash_of_a_key_is_stored(store: Store, tmp_path: Path) -> None:
    made, key = store.add_key(" laptop ", ("write", "read"), None, "ann")
    assert re.fullmatch(r"sk-byway-[A-Za-z0-9]{32}", key), "32 letters of 62: 190 bits"
    assert re.fullmatch(r"key_[a-z2-9]{8}", made.id)
    assert (made.name, made.hint, made.scopes, made.live) == ("laptop", key[-4:], SCOPES, True)
    assert store.keys() == [made]
    [stored] = store.key_records()
    assert (stored.id, stored.digest, stored.scopes, stored.expires, stored.revoked) == (
        made.id,
        digest(key),
        SCOPES,
        None,
        False,
    )
    for file in tmp_path.iterdir():
        data = file.read_bytes()
        assert key.encode() not in data
        assert key.removeprefix("sk-byway-").encode() not in data
    assert key not in repr((store.keys(), store.key_records(), store.audit_entries()))
    assert store.add_key("laptop", SCOPES, None, "ann")[1] != key


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems with such permissions")
def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Store(tmp_path) as store:
            store.add_audit_entry("ann", "x")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert set(modes) == {FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"}
    assert set(modes.values()) == {0o600}
    (tmp_path / FILE_NAME).chmod(0o644)
    Store(tmp_path).close()
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize("data", [b"not a database, and long enough to be looked at " * 30, os.urandom(5000)])
def test_a_damaged_file_is_an_error_with_advice_and_is_not_changed(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(data)
    with pytest.raises(StoreError, match=r"byway\.db is damaged .*move it away"):
        Store(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == data


def test_damage_inside_the_file_is_an_error_when_it_is_read(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for at in range(50):
            store.add_version(f"{at}: {'x' * 3000}\n", "ann", "")
    data = bytearray((tmp_path / FILE_NAME).read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    (tmp_path / FILE_NAME).write_bytes(data)
    with Store(tmp_path) as store, pytest.raises(StoreError, match="damaged"):
        store.versions()


def test_another_programs_database_is_not_touched(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as other, other:
        other.execute("CREATE TABLE keys (theirs)")
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(StoreError, match=r"of another program.*--data-dir"):
        Store(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFO files")
def test_a_path_that_is_no_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(StoreError, match="cannot be used: it is not a regular file"):
        Store(tmp_path)
    (tmp_path / FILE_NAME).rmdir()
    os.mkfifo(tmp_path / FILE_NAME)
    with pytest.raises(StoreError, match="cannot be used: it is not a regular file"):
        Store(tmp_path)


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="symbolic link"):
        Store(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot be used: Not a directory\. .*--data-dir"):
        Store(tmp_path / "file")


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        # What the system's "read-only" is to a user, this is to any (root may write to read-only files).
        store.database._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreError, match=r"cannot be opened for writing .*--data-dir"):
            store.add_audit_entry("ann", "x")
        store.database._connection.execute("PRAGMA query_only = OFF")
        store.add_audit_entry("ann", "y")


def schema_version(folder: Path) -> int:
    with contextlib.closing(sqlite3.connect(folder / FILE_NAME)) as file:
        return int(file.execute("PRAGMA user_version").fetchone()[0])


def test_an_older_file_is_migrated_and_keeps_its_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path) as store:
        store.add_version("a: 1\n", "ann", "")
        store.add_key("laptop", SCOPES, None, "ann")
    assert schema_version(tmp_path) == len(schema.MIGRATIONS)
    more = (*schema.MIGRATIONS, ("ALTER TABLE audit ADD COLUMN place TEXT",), ("CREATE TABLE other (x)",))
    monkeypatch.setattr(schema, "MIGRATIONS", more)
    with Store(tmp_path) as store:
        assert (store.version(1).text, store.keys()[0].name, len(store.audit_entries())) == ("a: 1\n", "laptop", 1)
        store.add_audit_entry("ann", "x")
    assert schema_version(tmp_path) == len(more)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(tmp_path).close()
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE other (x)", "NONSENSE")))
        with pytest.raises(StoreError, match="does not have the tables"):
            Store(tmp_path)
    with Store(tmp_path) as store:
        assert store.database.rows("SELECT name FROM sqlite_master WHERE name = 'other'") == []
        store.add_audit_entry("ann", "x")


def test_a_newer_file_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE other (x)",)))
        Store(tmp_path).close()
    with pytest.raises(StoreError, match=r"newer version of Byway.*--data-dir"):
        Store(tmp_path)
    assert schema_version(tmp_path) == len(schema.MIGRATIONS) + 1


def test_a_locked_file_is_an_error_for_changes_and_can_still_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_TIMEOUT", 0.1)
    with Store(tmp_path) as store, contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="is in use"):
            store.add_audit_entry("ann", "x")
        assert store.audit_entries() == [], "reading goes on"
        other.execute("ROLLBACK")
        store.add_audit_entry("ann", "x")


def test_a_change_that_fails_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made, key = store.add_key("a", SCOPES, None, "ann")

    def fails(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(store, "_audit", fails)
    with pytest.raises(RuntimeError):
        store.rotate_key(made.id, "ann")
    assert [record.digest for record in store.key_records()] == [digest(key)]
    monkeypatch.undo()
    store.revoke_key(made.id, "ann")


def test_a_file_of_the_version_before_accounts_keeps_its_keys_and_logins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:5])
        Store(tmp_path).close()
    now = time.time()
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as old, old:
        old.execute(
            "INSERT INTO keys VALUES ('key_old', 'laptop', 'abcd', ?, 'read write', ?, NULL, NULL, NULL)",
            (digest("sk-byway-old"), now),
        )
        old.execute("INSERT INTO logins VALUES ('login_old', x'01', ?, ?, 'Firefox')", (now, now + 600))
    with Store(tmp_path) as store:
        [record] = store.key_records()
        assert (record.id, record.digest, record.usable) == ("key_old", digest("sk-byway-old"), True)
        assert (record.account, record.organization, record.models) == ("", "default", ())
        assert [(login.id, login.account) for login in store.logins()] == [("login_old", "")]
        assert store.rotate_key("key_old", "ann")[0].name == "laptop"


@pytest.mark.parametrize("version", [len(schema.MIGRATIONS) - 1, len(schema.MIGRATIONS)])
def test_a_file_whose_version_does_not_fit_its_tables_is_an_error_that_changes_nothing(
    tmp_path: Path, version: int
) -> None:
    Store(tmp_path).close()
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as file, file:
        file.execute("DROP TABLE accounts")
        file.execute(f"PRAGMA user_version = {version}")
    words = r"does not have the tables that its version number promises.*restore a copy"
    with pytest.raises(StoreError, match=words), Store(tmp_path) as store:
        store.key_records()
    assert schema_version(tmp_path) == version


def test_a_key_whose_list_of_models_cannot_be_read_may_use_no_model(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.add_key("laptop", SCOPES, None, "ann", models=("haiku",))
        with store.database.change():
            store.database.run("UPDATE keys SET models = 'not json'")
        assert store.key_records()[0].models == ("",)


def test_a_key_of_an_account_that_does_not_exist_is_not_usable(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.add_account("ada", "ann")
        store.add_key("laptop", SCOPES, None, "ann", account="ada")
        with store.database.change():
            store.database.run("DELETE FROM accounts")
        assert (store.key_records()[0].usable, store.keys()[0].live) == (False, False)


def test_a_full_disk_is_an_error_and_the_account_is_not_half_there(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.add_account("ada", "ann")
        made, _ = store.add_key("laptop", SCOPES, None, "ann", account="ada")
        # What a full disk is to the system, this is to SQLite.
        pages = store.database.count("PRAGMA page_count")
        store.database.rows(f"PRAGMA max_page_count = {pages}")
        added = []
        with pytest.raises(StoreError, match=r"byway\.db cannot be written .*free some space"):
            for at in range(10_000):
                added.append(store.add_account(f"a{at}", "ann", name="x" * 100).id)
        assert {account.id for account in store.accounts()} == {"ada", *added}
        # Nothing was revoked or disabled by the failure, and a change that needs no space is possible.
        assert store.key_records()[0].usable
        store.database.rows("PRAGMA max_page_count = 1000000")
        store.disable_account("ada", "ann")
        assert [record.id for record in store.key_records() if record.usable] == []
        assert made.id in {record.id for record in store.key_records()}


@pytest.mark.parametrize("count", [0, 1, 5, 127, 128, 129, 300])
def test_any_number_of_rows_is_inserted_by_few_statements(
    store: Store, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, statements = store.database, []
    run = file.run

    def counted_run(statement: str, values: Sequence[object] = ()) -> int:
        statements.append(statement)
        return run(statement, values)

    monkeypatch.setattr(file, "run", counted_run)
    rows = [(number, f"n{number}") for number in range(count)]
    with file.change():
        run("CREATE TABLE numbers (number INTEGER PRIMARY KEY, name TEXT)")
        assert file.insert_rows("INSERT OR IGNORE INTO numbers", rows) == count
        # One per 128 rows, and one for each power of two of the rest.
        assert len(statements) <= count // 128 + 7
        assert file.insert_rows("INSERT OR IGNORE INTO numbers", [*rows, (count, "new")]) == 1
    assert file.rows("SELECT * FROM numbers ORDER BY number") == [*rows, (count, "new")]
