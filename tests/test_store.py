"""The store: keys, config versions and audit, old files, damaged files and time."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import re
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from byway import store as module
from byway.store import FILE_NAME, MAX_AUDIT_ENTRIES, MAX_VERSIONS, Store, StoreError, etag

SCOPES = ("read", "write")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path) as opened:
        yield opened


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def test_versions_come_newest_first_and_give_their_text_one_by_one(store: Store) -> None:
    assert store.add_version("one: 1\n", "ann", "by hand") == 1
    assert store.add_version("two: 2\n", "bob", "quick setup") == 2
    newest, oldest = store.versions()
    assert (newest.number, newest.who, newest.why, newest.text) == (2, "bob", "quick setup", "")
    assert newest.etag == etag("two: 2\n") == hashlib.sha256(b"two: 2\n").hexdigest()[:16]
    assert oldest.at <= newest.at <= datetime.datetime.now(datetime.UTC)
    assert store.version(1).text == "one: 1\n"
    with pytest.raises(LookupError, match="no version 3"):
        store.version(3)


def test_a_text_that_is_already_the_newest_is_kept_once(store: Store) -> None:
    assert [store.add_version(text, "ann", "") for text in ("a", "a", "b", "a")] == [1, 1, 2, 3]
    assert [version.number for version in store.versions()] == [3, 2, 1]


def test_so_many_versions_and_entries_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (MAX_VERSIONS, MAX_AUDIT_ENTRIES) == (100, 10_000)
    for at in range(MAX_VERSIONS + 5):
        store.add_version(f"n: {at}\n", "ann", "")
    kept = [version.number for version in store.versions()]
    assert kept == list(range(MAX_VERSIONS + 5, 5, -1))
    with pytest.raises(LookupError):
        store.version(5)
    monkeypatch.setattr(module, "MAX_AUDIT_ENTRIES", 10)
    for at in range(15):
        store.add_audit_entry("ann", "counted", str(at))
    assert [entry.detail for entry in store.audit_entries()] == [str(at) for at in range(14, 4, -1)]
    assert [value.detail for value in store.audit_entries(2)] == ["14", "13"]


def test_what_is_noted_is_bounded(store: Store) -> None:
    store.add_audit_entry("w" * 1000, "x" * 1000, "d" * 100_000)
    entry = store.audit_entries()[0]
    assert (len(entry.who), len(entry.what), len(entry.detail)) == (200, 200, 2000)


def test_a_key_is_given_once_and_only_its_hash_is_kept(store: Store, tmp_path: Path) -> None:
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


def test_rotating_keeps_everything_but_the_key(store: Store) -> None:
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    made, old = store.add_key("laptop", SCOPES, ends, "ann")
    rotated, new = store.rotate_key(made.id, "bob")
    assert new != old
    assert [record.digest for record in store.key_records()] == [digest(new)]
    assert (rotated.id, rotated.name, rotated.scopes, rotated.expires_at) == (
        made.id,
        "laptop",
        SCOPES,
        made.expires_at,
    )
    assert rotated.hint == new[-4:]


def test_a_revoked_key_stays_listed_and_is_not_revoked_twice(store: Store) -> None:
    made, _ = store.add_key("laptop", SCOPES, None, "ann")
    first = store.revoke_key(made.id, "ann")
    assert (first.live, first.revoked_at is None) == (False, False)
    assert store.revoke_key(made.id, "ann") == first
    assert [record.revoked for record in store.key_records()] == [True]
    with pytest.raises(ValueError, match="is revoked"):
        store.rotate_key(made.id, "ann")
    assert [entry.what for entry in store.audit_entries()] == ["key revoked", "key created"]


def test_an_expired_key_is_not_rotated(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = store.add_key("laptop", SCOPES, datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1), "ann")
    later = time.time() + 7200
    monkeypatch.setattr(time, "time", lambda: later)
    assert not store.keys()[0].live
    with pytest.raises(ValueError, match="has expired"):
        store.rotate_key(made.id, "ann")


def test_every_change_of_a_key_is_noted_with_who_did_it(store: Store) -> None:
    made, _ = store.add_key("laptop", ("read",), None, "ann")
    store.rotate_key(made.id, "bob")
    store.revoke_key(made.id, "cy")
    assert [(entry.who, entry.what) for entry in store.audit_entries()] == [
        ("cy", "key revoked"),
        ("bob", "key rotated"),
        ("ann", "key created"),
    ]
    assert all(made.id in value.detail and "laptop" in value.detail for value in store.audit_entries())


@pytest.mark.parametrize(
    ("name", "scopes", "ends", "words"),
    [
        ("", SCOPES, None, "needs a name"),
        ("a\nb", SCOPES, None, "needs a name"),
        ("\x1b[31mred", SCOPES, None, "needs a name"),
        ("x" * 101, SCOPES, None, "needs a name"),
        ("a", (), None, r"needs a scope\. The scopes are read, write, files, admin"),
        ("a", ("read", "root"), None, "'root' is not a scope"),
        ("a", SCOPES, datetime.datetime(2026, 1, 1), "must expire in the future"),
    ],
)
def test_invalid_names_scopes_and_expiry_times_are_rejected(
    store: Store, name: str, scopes: tuple[str, ...], ends: datetime.datetime | None, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        store.add_key(name, scopes, ends, "ann")
    assert (store.keys(), store.audit_entries()) == ([], [])


@pytest.mark.parametrize("change", ["rotate_key", "revoke_key"])
def test_an_unknown_key_cannot_be_changed(store: Store, change: str) -> None:
    with pytest.raises(LookupError, match=r"no key 'key_none'.*byway key list"):
        getattr(store, change)("key_none", "ann")


def test_versions_of_all_files_together_are_bounded_in_number_and_size(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ALL_VERSIONS", 6)
    for at in range(10):
        store.add_version(f"n: {at}\n", "ann", "", f"file {at % 5}")
    assert [len(store.versions(f"file {at}")) for at in range(5)] == [1, 1, 1, 1, 2]
    monkeypatch.setattr(module, "MAX_VERSION_CHARACTERS", 3000)
    for at in range(5):
        store.add_version(f"{at}" * 1000, "ann", "", "large")
    assert [version.number for version in store.versions("large")] == [15, 14, 13]
    number = store.add_version("x" * 5000, "ann", "", "large")
    assert [version.number for version in store.versions("large")] == [number], "the newest stays, whatever its size"


def test_the_number_of_keys_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEYS", 2)
    monkeypatch.setattr(module, "MAX_REVOKED_KEYS", 3)
    for at in range(5):
        store.revoke_key(store.add_key(f"old{at}", SCOPES, None, "ann")[0].id, "ann")
    assert [key.name for key in store.keys()] == ["old4", "old3", "old2"], "the newest of those revoked"
    for _ in range(2):
        store.add_key("new", SCOPES, None, "ann")
    with pytest.raises(ValueError, match="Revoke keys that"):
        store.add_key("new", SCOPES, None, "ann")


def test_last_used_is_told_in_batches_and_never_goes_back(store: Store) -> None:
    value, two = (store.add_key(name, SCOPES, None, "ann")[0].id for name in "ab")
    store.record_key_use({value: 2000.0, "key_nobody": 1.0})
    store.record_key_use({value: 1000.0, two: 3000.0})
    assert {key.id: key.used_at and key.used_at.timestamp() for key in store.keys()} == {value: 2000.0, two: 3000.0}


def test_the_stamp_changes_with_keys_that_change_here_or_elsewhere(store: Store, tmp_path: Path) -> None:
    before = store.keys_stamp()
    assert store.keys_stamp() == before
    store.record_key_use({"x": 1.0})
    assert store.keys_stamp() == before, "what this process tells of use is no change of keys"
    made, _ = store.add_key("a", SCOPES, None, "ann")
    after = store.keys_stamp()
    assert after != before
    with Store(tmp_path) as other:
        assert store.keys_stamp() == after
        other.revoke_key(made.id, "ann")
    assert store.keys_stamp() != after


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems with such permissions")
def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
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
def test_a_damaged_file_is_said_with_what_to_do_and_left_as_it_is(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(data)
    with pytest.raises(StoreError, match=r"byway\.db is damaged .*move it away"):
        Store(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == data


def test_damage_inside_is_said_when_it_is_met(tmp_path: Path) -> None:
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


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="symbolic link"):
        Store(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot be used: Not a directory\. .*--data-dir"):
        Store(tmp_path / "file")


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        # What the system's "read-only" is to a user, this is to any (root may write to read-only files).
        store._file.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreError, match=r"cannot be opened for writing .*--data-dir"):
            store.add_audit_entry("ann", "x")
        store._file.execute("PRAGMA query_only = OFF")
        store.add_audit_entry("ann", "y")


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.add_audit_entry("ann", "x")
    with pytest.raises(StoreError, match="closed"):
        store.keys()


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


def form(folder: Path) -> int:
    with contextlib.closing(sqlite3.connect(folder / FILE_NAME)) as file:
        return int(file.execute("PRAGMA user_version").fetchone()[0])


def test_an_older_file_is_brought_to_the_present_form_with_all_that_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path) as store:
        store.add_version("a: 1\n", "ann", "")
        store.add_key("laptop", SCOPES, None, "ann")
    assert form(tmp_path) == len(module.MIGRATIONS)
    more = (*module.MIGRATIONS, ("ALTER TABLE audit ADD COLUMN place TEXT",), ("CREATE TABLE other (x)",))
    monkeypatch.setattr(module, "MIGRATIONS", more)
    with Store(tmp_path) as store:
        assert (store.version(1).text, store.keys()[0].name, len(store.audit_entries())) == ("a: 1\n", "laptop", 1)
        store.add_audit_entry("ann", "x")
    assert form(tmp_path) == len(more)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(tmp_path).close()
    with monkeypatch.context() as patch:
        patch.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, ("CREATE TABLE other (x)", "NONSENSE")))
        with pytest.raises(StoreError, match="cannot be used"):
            Store(tmp_path)
    with Store(tmp_path) as store:
        assert store._rows("SELECT name FROM sqlite_master WHERE name = 'other'") == []
        store.add_audit_entry("ann", "x")


def test_a_newer_file_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, ("CREATE TABLE other (x)",)))
        Store(tmp_path).close()
    with pytest.raises(StoreError, match=r"newer version of Byway.*--data-dir"):
        Store(tmp_path)
    assert form(tmp_path) == len(module.MIGRATIONS) + 1


def test_threads_share_a_store(store: Store) -> None:
    def work(name: str) -> None:
        for at in range(20):
            store.add_audit_entry(name, "x", str(at))
            store.key_records()

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result = store.audit_entries()
    assert len(result) == 60
    for name in "abc":
        assert [item.detail for item in reversed(result) if item.who == name] == [str(at) for at in range(20)]


def test_another_process_that_does_not_end_its_change_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BUSY_TIMEOUT", 0.1)
    with Store(tmp_path) as store, contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="is in use"):
            store.add_audit_entry("ann", "x")
        assert store.audit_entries() == [], "reading goes on"
        other.execute("ROLLBACK")
        store.add_audit_entry("ann", "x")
