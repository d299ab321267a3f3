"""Usage records between an answered request and the database: journal and writer, and failures of both."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from byway.store import StoreError, UsageStore
from byway.usage import journal as journals
from byway.usage import writer as writers
from byway.usage.journal import FOLDER_NAME, UsageJournal
from byway.usage.names import AgentSet, NameSet
from byway.usage.record import UsageRecord, from_line, to_lines
from byway.usage.writer import Retention, UsageWriter


class Parts:
    """A journal, a database and a writer whose thread was not started."""

    def __init__(self, folder: Path, **limits: int) -> None:
        self.journal = UsageJournal(folder, **limits)
        self.store = UsageStore(folder)
        self.store.before_query = lambda: None
        self.writer = UsageWriter(self.journal, self.store, StoreError, lambda: Retention(90, 700))
        self.count = 0

    def append(self, count: int = 1) -> list[str]:
        records = [record(self.count + number) for number in range(count)]
        self.count += count
        for each in records:
            self.journal.append(each)
        return [each.id for each in records]

    def ids(self) -> list[str]:
        return sorted(each.id for each in self.store.records())


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = Parts(tmp_path)
    yield made
    made.writer.stop()


def record(number: int, **fields: Any) -> UsageRecord:
    return UsageRecord(f"req_{number:024x}", time.time(), key="key_a", input_tokens=1, **fields)


def files(folder: Path) -> list[Path]:
    return sorted((folder / FOLDER_NAME).iterdir())


def test_a_line_holds_every_field() -> None:
    full = UsageRecord(
        "req_1", 1.5, "o", "a", "g", "k", "s", "c", "t", "r", "al", "b", "m", 529, 1, 2, 3, 4, 5, True, 6, 7.5, 8.5
    )
    assert from_line(to_lines([full]).rstrip()) == full
    assert to_lines([full]).count(b"\n") == 1
    text = UsageRecord("req_1", 1.5, tag="a\nb\u2028\x00")
    assert to_lines([text]).count(b"\n") == 1
    assert from_line(to_lines([text])) == text


def test_a_line_of_an_older_or_newer_version_is_read() -> None:
    assert from_line(b'["req_1",5.0,"o","a"]') == UsageRecord("req_1", 5.0, "o", "a")
    line = to_lines([UsageRecord("req_1", 5.0)]).rstrip(b"]\n") + b',"new field"]\n'
    assert from_line(line) == UsageRecord("req_1", 5.0)


@pytest.mark.parametrize(
    "line",
    [
        b"", b"[", b"{}", b'["req_1"', b"\xff\xfe", b'["req_1","no time"]',
        b'["req_1",1e300]', b'["req_1",-1.0]', b'["req_1",1.0%b,1000000000000000000000]' % (b',""' * 11),
        b'["req_1",1.0%b,200,0,0,0,0,0,false,0,1e300]' % (b',""' * 11),
        b'["req_1",1.0%b,200,0,0,0,0,0,false,0,1.0,1e300]' % (b',""' * 11),
    ],
)  # fmt: skip
def test_a_damaged_line_is_none(line: bytes) -> None:
    assert from_line(line) is None


def test_a_flush_moves_every_record_to_the_database(parts: Parts) -> None:
    ids = parts.append(500)
    parts.writer.flush()
    ids += parts.append(3)
    parts.writer.flush()
    assert parts.ids() == ids
    assert parts.writer.status == ("", 0, 0)


def test_a_flush_without_new_records_does_not_use_the_database(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    parts.append()
    parts.writer.flush()
    monkeypatch.setattr(parts.store, "add", None)
    monkeypatch.setattr(parts.store, "position", None)
    parts.writer.flush()
    assert parts.writer.status.problem == ""


def test_records_of_a_process_that_was_killed_are_moved_at_the_next_start(tmp_path: Path) -> None:
    killed = Parts(tmp_path)
    ids = killed.append(10)
    killed.writer.flush()
    ids += killed.append(10)
    # Nothing is closed: as after kill -9.
    after = Parts(tmp_path)
    after.writer.flush()
    assert after.ids() == ids
    after.writer.stop()
    assert len(files(tmp_path)) <= 1


def test_a_torn_last_line_is_skipped_and_the_lines_before_it_count(tmp_path: Path) -> None:
    (tmp_path / FOLDER_NAME).mkdir()
    line = to_lines([record(1)])
    (tmp_path / FOLDER_NAME / "1.jsonl").write_bytes(line + to_lines([record(2)])[:40])
    (tmp_path / FOLDER_NAME / "2.jsonl").write_bytes(to_lines([record(3)]) + b"damaged\n" + to_lines([record(4)]))
    parts = Parts(tmp_path)
    parts.writer.flush()
    assert parts.ids() == [record(number).id for number in (1, 3, 4)]
    parts.writer.stop()
    assert files(tmp_path) == []


def test_a_file_without_any_line_end_does_not_stop_the_writer(tmp_path: Path) -> None:
    (tmp_path / FOLDER_NAME).mkdir()
    (tmp_path / FOLDER_NAME / "1.jsonl").write_bytes(b"x" * 200_000)
    (tmp_path / FOLDER_NAME / "2.jsonl").write_bytes(to_lines([record(3)]))
    parts = Parts(tmp_path)
    parts.writer.flush()
    assert parts.ids() == [record(3).id]
    parts.writer.stop()


def test_a_failure_between_commit_and_removal_of_a_file_adds_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(tmp_path)
    ids = parts.append(5)
    monkeypatch.setattr(UsageJournal, "remove", lambda *_: None)
    monkeypatch.setattr(UsageStore, "keep_journals", lambda *_: None)
    parts.writer.stop()
    monkeypatch.undo()
    assert len(files(tmp_path)) == 1
    again = Parts(tmp_path)
    again.writer.flush()
    assert again.ids() == ids
    again.writer.stop()
    assert files(tmp_path) == []


def test_a_query_of_another_process_contains_the_records_of_a_running_byway(parts: Parts, tmp_path: Path) -> None:
    """The other process moves the lines itself; the writer continues where the database is."""
    ids = parts.append(5)
    parts.writer.flush()
    ids += parts.append(300)
    other = UsageStore(tmp_path)
    assert other.sums()[0].requests == len(list(other.records())) == 305
    ids += parts.append(5)
    parts.writer.flush()
    ids += parts.append(5)
    assert other.sums()[0].requests == 315
    other.close()
    parts.writer.flush()
    assert parts.ids() == ids


def test_a_query_of_another_process_leaves_a_line_that_is_being_written(parts: Parts, tmp_path: Path) -> None:
    line = to_lines([record(1)])
    os.write(parts.journal._file or 0, line[:30])
    other = UsageStore(tmp_path)
    assert other.sums()[0].requests == 0
    os.write(parts.journal._file or 0, line[30:])
    assert other.sums()[0].requests == 1
    other.close()


def test_a_query_works_while_the_journal_cannot_be_read(parts: Parts, tmp_path: Path) -> None:
    parts.append(2)
    parts.writer.flush()
    file = files(tmp_path)[0]
    file.rename(file.with_suffix(".moved"))
    file.mkdir()
    (tmp_path / FOLDER_NAME / "0.jsonl").symlink_to("missing")
    other = UsageStore(tmp_path)
    assert other.sums()[0].requests == 2
    other.close()


def test_a_record_that_is_written_during_a_move_is_moved_by_the_next(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def write(file: int, data: bytes) -> int:
        if data.startswith(b'["req_'):
            parts.writer._move()
        return real(file, data)

    monkeypatch.setattr(os, "write", write)
    ids = parts.append(1)
    parts.writer.flush()
    assert parts.ids() == ids


def test_a_move_does_not_follow_a_journal_that_grows(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    add, moved = parts.store.add, []

    def busy_add(journal: str, start: int, end: int, records: Sequence[UsageRecord]) -> int:
        moved.append(len(records))
        if len(moved) < 10:
            parts.append()
        return add(journal, start, end, records)

    monkeypatch.setattr(parts.store, "add", busy_add)
    parts.append(40)
    parts.writer.flush()
    assert moved == [40]
    parts.writer.flush()
    assert moved == [40, 1]


def test_records_wait_while_the_database_is_full(parts: Parts) -> None:
    ids = parts.append(1)
    parts.writer.flush()
    assert parts.store._writing is not None
    parts.store._writing[0].run("PRAGMA max_page_count = 1")
    ids += parts.append(2_000)
    parts.writer.flush()
    assert "The disk may be full" in parts.writer.status.problem
    # The next attempt opens the file again, as if there were space now.
    parts.writer.flush()
    assert parts.writer.status == ("", 0, 0)
    assert parts.ids() == ids


def test_what_killed_processes_have_left_is_removed(tmp_path: Path) -> None:
    """An empty file, and the position of a file that was removed just before the process was killed."""
    killed = Parts(tmp_path)
    killed.append(3)
    killed.writer.flush()
    killed.store.add("removed", 0, 10, [])
    killed.store.close()
    Parts(tmp_path)
    assert len(files(tmp_path)) == 2
    after = Parts(tmp_path)
    after.append(1)
    after.writer.flush()
    assert len(files(tmp_path)) == 1
    assert after.store.position("removed") == 0
    assert len(after.ids()) == 4
    after.writer.stop()
    assert files(tmp_path) == []


def test_a_large_file_is_replaced_and_removed(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "FILE_BYTES", 2_000)
    ids = []
    for _ in range(5):
        ids += parts.append(30)
        parts.writer.flush()
        assert len(files(tmp_path)) <= 2
    assert parts.ids() == ids


# Failures. Requests go on, the failure is reported, and the records arrive when it is over.


def test_records_wait_while_the_database_is_damaged(parts: Parts, tmp_path: Path) -> None:
    parts.store.path.write_bytes(b"no database" * 100)
    ids = parts.append(20)
    parts.writer.flush()
    assert "usage.db is damaged" in parts.writer.status.problem
    assert len(files(tmp_path)) == 1
    parts.store.path.unlink()
    ids += parts.append()
    parts.writer.flush()
    assert parts.writer.status == ("", 0, 0)
    assert parts.ids() == ids


def test_a_restored_backup_of_the_database_gets_the_records_that_the_journal_still_has(parts: Parts) -> None:
    ids = parts.append(5)
    parts.writer.flush()
    parts.store.close()
    backup = parts.store.path.read_bytes()
    ids += parts.append(5)
    parts.writer.flush()
    parts.store.close()
    parts.store.path.unlink()
    parts.store.path.write_bytes(backup)
    ids += parts.append(5)
    parts.writer.flush()
    assert parts.ids() == ids


def test_the_journal_is_bounded_while_the_database_cannot_be_used(tmp_path: Path) -> None:
    parts = Parts(tmp_path, most_bytes=5_000)
    parts.store.path.write_bytes(b"no database" * 100)
    parts.append(500)
    parts.writer.flush()
    assert sum(file.stat().st_size for file in files(tmp_path)) < 6_000
    lost = parts.writer.status.lost
    assert 400 < lost < 500
    parts.store.path.unlink()
    parts.append()
    parts.writer.flush()
    assert len(parts.ids()) + parts.writer.status.lost == 501
    parts.writer.stop()


def failing_write(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Make `os.write` of the journal fail: None for no failure, 0 for a full disk, n for n bytes and then a full disk."""
    real = os.write
    state: list[int | None] = [None]

    def write(file: int, data: bytes) -> int:
        if state[0] is None or not data.startswith(b'["req_'):
            return real(file, data)
        if state[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part, state[0] = data[: state[0]], 0
        return real(file, part)

    monkeypatch.setattr(os, "write", write)
    return lambda value: state.__setitem__(0, value)


@pytest.mark.parametrize("written", [0, 7])
def test_records_wait_in_memory_while_the_disk_is_full(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    ids = parts.append(3)
    fail = failing_write(monkeypatch)
    fail(written)
    ids += parts.append(4)
    parts.writer.flush()
    status = parts.writer.status
    assert status.waiting == 4
    assert "full" in status.problem or "No space left" in status.problem
    fail(None)
    ids += parts.append(2)
    parts.writer.flush()
    assert parts.writer.status == ("", 0, 0)
    assert parts.ids() == ids


def test_the_records_in_memory_are_bounded(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "MOST_WAITING", 5)
    fail = failing_write(monkeypatch)
    fail(0)
    ids = parts.append(8)
    assert parts.writer.status[1:] == (5, 3)
    fail(None)
    parts.writer.flush()
    assert parts.ids() == ids[3:]


def test_a_folder_that_cannot_be_written_does_not_raise(tmp_path: Path) -> None:
    (tmp_path / FOLDER_NAME).write_text("a file is in its place")
    parts = Parts(tmp_path)
    ids = parts.append(2)
    parts.writer.flush()
    assert parts.writer.status.waiting == 2
    assert FOLDER_NAME in parts.writer.status.problem
    (tmp_path / FOLDER_NAME).unlink()
    parts.writer.flush()
    assert parts.writer.status == ("", 0, 0)
    assert parts.ids() == ids
    parts.writer.stop()


def test_a_journal_that_is_removed_while_it_is_open_is_started_again(parts: Parts, tmp_path: Path) -> None:
    ids = parts.append(2)
    parts.writer.flush()
    for file in files(tmp_path):
        file.unlink()
    parts.writer._move()
    ids += parts.append(2)
    parts.writer.flush()
    ids += parts.append(2)
    parts.writer.flush()
    assert parts.ids() == ids


def test_a_failure_and_its_end_are_logged_once(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(writers, "log", lambda message, *_, **__: logged.append(message))
    parts.store.path.write_bytes(b"no database" * 100)
    for _ in range(3):
        parts.append()
        parts.writer._step()
    assert logged == ["Usage records wait in the journal: requests are not affected"]
    parts.store.path.unlink()
    for _ in range(3):
        parts.append()
        parts.writer._step()
    assert logged[1:] == ["Usage records are written again"]


def test_a_clock_that_jumps_ahead_removes_no_records(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    parts.append(3)
    parts.writer.flush()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 10_000 * 86_400)
    parts.writer._remove_old(time.monotonic())
    assert len(parts.ids()) == 3


def test_the_thread_moves_records_without_a_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "INTERVAL", 0.01)
    parts = Parts(tmp_path)
    moved = threading.Event()
    add = parts.store.add

    def adding(*arguments: Any) -> int:
        position = add(*arguments)
        moved.set()
        return position

    monkeypatch.setattr(parts.store, "add", adding)
    parts.writer.start()
    parts.append()
    assert moved.wait(30)
    parts.writer.stop()
    assert len(parts.ids()) == 1


def test_threads_that_append_during_flushes_lose_nothing(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "FILE_BYTES", 1_000)
    done = threading.Event()

    def flush() -> None:
        while not done.is_set():
            parts.writer.flush()

    flushing = threading.Thread(target=flush)
    flushing.start()
    ids = parts.append(2_000)
    done.set()
    flushing.join()
    parts.writer.flush()
    assert parts.ids() == ids


# Names from headers.


def test_a_tag_is_short_printable_and_one_of_a_limited_number() -> None:
    tags = NameSet(3)
    assert tags[b""] == ""
    assert tags[" team-ä\x00 ".encode()] == "team-ä"
    assert tags[b"x" * 1_000] == "x" * 64
    assert [tags[b"late"], tags[b"x" * 1_000], tags[b""]] == ["(other)", "x" * 64, ""]


@pytest.mark.parametrize("kind", [NameSet, AgentSet])
def test_a_long_header_is_remembered_in_part(kind: type[NameSet]) -> None:
    names = kind(3)
    for number in range(3):
        names[b"%d" % number + b"x" * 60_000]
    assert sum(map(len, names)) <= 3 * 1024


def test_an_agent_is_the_client_without_its_version() -> None:
    agents = AgentSet(3)
    assert agents[b"claude-cli/2.1.329 (external, cli)"] == "claude-cli"
    assert agents[b"claude-cli/2.1.330 (external, sdk-cli)"] == "claude-cli"
    assert agents[b""] == agents[b"(odd)"] == ""
    assert [agents[b"%d/1" % number] for number in range(4)] == ["0", "(other)", "(other)", "(other)"]
    for number in range(1_000):
        assert agents[b"claude-cli/%d" % number] == "claude-cli"
    assert len(agents) <= 12
