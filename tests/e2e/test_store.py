"""The store with several processes, kill -9 in the middle of writes, and a full disk."""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway import SOURCE

from byway.store import MAX_AUDIT_ENTRIES, AuditEntry, Store, etag
from byway.store.bounds import MAX_REVOKED_KEYS


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path) as opened:
        yield opened


def python(program: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that runs `program` with the folder in `sys.argv[1]`."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        text=True,
    )


TOGETHER = """
import sys
from pathlib import Path
from byway.store import Store
who = sys.argv[2]
for at in range(3):
    with Store(Path(sys.argv[1])) as store:
        for turn in range(8):
            made, _ = store.add_key(f"{who}{at}.{turn}", ["read"], None, who)
            store.add_version(f"{who}: {at}.{turn}", who, "test")
            if turn % 2:
                store.revoke_key(made.id, who)
            store.record_key_use({made.id: 1.0})
"""


def test_processes_open_a_new_file_and_write_at_the_same_time(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(python(TOGETHER, tmp_path, who)) for who in ("a", "b", "c")]
        assert [process.wait(60) for process in running] == [0, 0, 0]
    with Store(tmp_path) as store:
        for who in ("a", "b", "c"):
            keys = [key for key in store.keys() if key.name.startswith(who)]
            assert (len(keys), sum(value.live for value in keys)) == (24, 12)
        assert len(store.audit_entries(1000)) == 3 * (24 + 12)
        assert [version.number for version in store.versions()] == list(range(72, 0, -1))


KILLED = """
import sys
from pathlib import Path
from byway.store import Store
store = Store(Path(sys.argv[1]))
at = int(sys.argv[2])
print("ready", flush=True)
while True:
    at += 1
    number = store.add_version(f"turn: {at}\\n" * 500, "writer", str(at))
    print("kept", number, at, flush=True)
    store.add_account(f"a{at}", "writer")
    print("added", f"a{at}", at, flush=True)
    made, _ = store.add_key(f"k{at}", ["read"], None, "writer", account=f"a{at}", models=["m"])
    print("made", made.id, at, flush=True)
    store.rotate_key(made.id, "writer", 86_400)
    print("rotated", made.id, at, flush=True)
    store.disable_account(f"a{at}", "writer")
    print("disabled", f"a{at}", at, flush=True)
    store.revoke_key(made.id, "writer")
    print("gone", made.id, at, flush=True)
"""


@pytest.mark.parametrize("kills", [20, pytest.param(500, marks=pytest.mark.long)])
def test_kill_9_loses_no_acknowledged_change_and_leaves_whole_entries(tmp_path: Path, kills: int) -> None:
    chance = random.Random(5)
    done: list[list[str]] = []
    changes = 0
    for turn in range(kills):
        if turn % 100 == 0:
            # A store keeps a bounded number of revoked keys: it is new before it forgets one.
            folder = tmp_path / str(turn)
            folder.mkdir()
            changes, done = changes + len(done), []
        with python(KILLED, folder, turn * 10_000) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            done += [writer.stdout.readline().split() for _ in range(chance.randrange(14))]
            time.sleep(chance.uniform(0, 0.02))
            writer.kill()
            # The last line may be half of one: what it would have said may have happened or not.
            done += [line.split() for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        with Store(folder) as store:
            assert len(store.key_records()) < MAX_REVOKED_KEYS
            assert store.database.rows("PRAGMA integrity_check") == [("ok",)]
            kept = store.versions()
            for item in kept[:3]:
                text = store.version(item.number).text
                assert text == f"turn: {item.why}\n" * 500, "a version is whole"
                assert etag(text) == item.etag
            records = {record.id: record for record in store.key_records()}
            revoked = {id: record.revoked for id, record in records.items()}
            accounts = {account.id: account for account in store.accounts()}
            entries = store.audit_entries(MAX_AUDIT_ENTRIES)
            noted = {(entry.what, entry.detail[:12]) for entry in entries}
            details = {(entry.what, entry.detail) for entry in entries}
            names = {(kind, name) for kind, name, _ in done}
            # Of what was done all is there, and of what was begun all or nothing.
            assert all(name in revoked for kind, name in names if kind == "made")
            assert all(revoked[name] for kind, name in names if kind == "gone")
            assert all(records[name].old_digest for kind, name in names if kind == "rotated")
            assert all(name in accounts for kind, name in names if kind == "added")
            assert all(accounts[name].disabled_at for kind, name in names if kind == "disabled")
            assert all(record.account in accounts and record.models == ("m",) for record in records.values())
            assert {detail.split()[0] for what, detail in details if what == "account added"} == set(accounts)
            assert {name for what, name in noted if what == "key created"} == set(revoked)
            assert {name for what, name in noted if what == "key revoked"} == {id for id in revoked if revoked[id]}
            numbers = [int(name) for kind, name in names if kind == "kept"]
            assert not numbers or kept[0].number >= max(numbers)
    assert changes + len(done) > kills, "it was killed while it worked"


FULL = """
import resource, sys
from pathlib import Path
from byway.store import Store, StoreError
store = Store(Path(sys.argv[1]))
made, _ = store.add_key("before", ["read"], None, "ann")
size = 400_000
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
count = 0
try:
    while True:
        store.add_version(f"{count}: " + "x" * 5000, "ann", "")
        count += 1
except StoreError as error:
    print(error)
# What a change that did not fit leaves free may hold a small one.
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))
try:
    store.revoke_key(made.id, "ann")
except StoreError as error:
    print(error)
assert [one.name for one in store.keys()] == ["before"], "what is there can be read"
assert len(store.versions()) == count > 2, (len(store.versions()), count)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.revoke_key(made.id, "ann")
print(store.add_version("after", "ann", ""))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems with limits to files")
def test_a_full_disk_is_an_error_and_keeps_what_was_stored(tmp_path: Path) -> None:
    with python(FULL, tmp_path) as writer:
        value, _ = writer.communicate(timeout=120)
    assert writer.returncode == 0, value
    lines = value.splitlines()
    assert len(lines) == 3
    assert all(
        re.search(r"byway\.db cannot be written .*disk may be full: free some space", line) for line in lines[:2]
    ), value
    with Store(tmp_path) as store:
        assert not store.keys()[0].live
        assert store.versions()[0].number == int(lines[2])
        assert isinstance(store.audit_entries()[0], AuditEntry)
