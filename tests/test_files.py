"""Uploaded files without HTTP: forms, types, records, storages, quotas, expiry and what a crash leaves behind."""

from __future__ import annotations

import asyncio
import base64
import errno
import io
import json
import os
import sys
import threading
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest
from growth import assert_linear
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples
from waiting import until

from byway.config import ConfigError, FileSettings, S3Settings, load
from byway.files import disk, service
from byway.files import resolve as resolving
from byway.files.disk import DiskStorage
from byway.files.multipart import FormField, FormFile, FormParser
from byway.files.protocol import FileStorage, StorageError
from byway.files.resolve import MESSAGES, resolve_files
from byway.files.service import FileService, clean_filename, size_text
from byway.files.storage import file_storage
from byway.files.types import media_type
from byway.problems import Problem
from byway.store.database import StoreError
from byway.store.files import FileRecord, FileStore, new_file_id

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"


@asynccontextmanager
async def opened(folder: Path, **changes: Any) -> AsyncIterator[FileService]:
    """The file service of a data folder, closed at the end."""
    values = FileSettings(**changes)
    files = FileService(FileStore(folder), partial(file_storage, values, folder), values)
    try:
        yield files
    finally:
        await files.close()


def in_loop(test: Callable[..., Any]) -> Callable[..., None]:
    """Run an async test in an event loop of its own."""

    @wraps(test)
    def run(*args: Any, **fixtures: Any) -> None:
        asyncio.run(test(*args, **fixtures))

    return run


def stored_bytes(folder: Path) -> list[bytes]:
    """The content of every file in the storage, incomplete ones too."""
    return sorted(path.read_bytes() for path in (folder / "files").rglob("*") if path.is_file())


# ---------------------------------------------------------------------------------------------------------------- the form


def form(*parts: bytes, boundary: bytes = b"XyZ") -> bytes:
    return b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--\r\n" % boundary


def field(name: str, value: str) -> bytes:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()


def file_part(data: bytes, filename: str = "a.txt", kind: str = "text/plain") -> bytes:
    head = f'Content-Disposition: form-data; name="file"; filename="{filename}"\r\nContent-Type: {kind}\r\n\r\n'
    return head.encode() + data


def parsed(body: bytes, step: int, boundary: str = "XyZ") -> list[object]:
    """What a form contains, the data of its files in one piece."""
    parser = FormParser(f"multipart/form-data; boundary={boundary}")
    events: list[object] = []
    for at in range(0, len(body), step):
        for event in parser.feed(body[at : at + step]):
            last = events[-1] if events else None
            if isinstance(event, bytes) and isinstance(last, bytes):
                events[-1] = last + event
            else:
                events.append(event)
    assert parser.complete
    return events


@pytest.mark.parametrize("step", [1, 2, 3, 7, 10_000])
def test_a_form_is_parsed_the_same_however_it_is_cut(step: int) -> None:
    data = b"line\r\n--Xy\r\n--XyZ is not a boundary here: \r\r\n--X\r\n" + bytes(range(256))
    data = data.replace(b"\r\n--XyZ", b"\r\n-XyZ")
    body = form(field("purpose", "user_data"), file_part(data, "b c.bin", "image/png"), field("after", "é"))
    assert parsed(b"preamble\r\n" + body + b"epilogue", step) == [
        FormField("purpose", "user_data"),
        FormFile("file", "b c.bin", "image/png"),
        data,
        None,
        FormField("after", "é"),
    ]


def test_a_file_without_bytes_has_no_data() -> None:
    assert parsed(form(file_part(b"")), 5) == [FormFile("file", "a.txt", "text/plain"), None]


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        ('form-data; name="file"; filename="a\\"b.txt"', 'a"b.txt'),
        ('form-data; name="file"; filename="a%22b.txt"', 'a"b.txt'),
        ("form-data; name=file; filename=plain.txt", "plain.txt"),
        ('form-data; name="file"; filename="x"; filename*=UTF-8\'\'na%C3%AFve%20%E2%82%AC.txt', "naïve €.txt"),
        ('form-data; name="file"; filename="naïve.txt"', "naïve.txt"),
    ],
)
def test_filenames_of_forms_are_decoded(disposition: str, filename: str) -> None:
    part = f"Content-Disposition: {disposition}\r\n\r\nx".encode()
    assert parsed(form(part), 1000)[0] == FormFile("file", filename, "")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"h: v\r\n" * 3000),
        ("multipart/form-data; boundary=b", b"--bad\r\n\r\n\r\n--b--"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\n' + b"x" * 9000),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n\r\n" * 40),
    ],
)
def test_bodies_that_are_no_form_are_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(Problem) as caught:
        for _ in FormParser(content_type).feed(body):
            pass
    assert caught.value.kind == "invalid_request"


def test_a_form_is_parsed_in_linear_time() -> None:
    """A file of beginnings of the boundary, in small pieces."""

    def run(body: bytes) -> None:
        parser = FormParser("multipart/form-data; boundary=XyZ")
        for at in range(0, len(body), 4096):
            for _ in parser.feed(body[at : at + 4096]):
                pass

    assert_linear(lambda size: form(file_part(b"\r\n--Xy" * size)), run)


# --------------------------------------------------------------------------------------------------------------- the types


def archive() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb", b"\0" * 100_000)
    return data.getvalue()


@pytest.mark.parametrize(
    ("declared", "filename", "content", "media"),
    [
        ("application/octet-stream", "a.pdf", PDF, "application/pdf"),
        ("application/octet-stream", "a", PNG, "image/png"),
        ("image/jpeg", "photo.jpg", PNG, "image/png"),
        ("application/octet-stream", "a.csv", b"a,b\n1,2\n", "text/csv"),
        ("application/octet-stream", "a.unknown", "naïve".encode(), "text/plain"),
        ("text/csv; charset=utf-16", "a.csv", "a,b".encode("utf-16"), "text/csv"),
        ("application/jsonl", "batch.jsonl", b'{"a":1}\n', "application/jsonl"),
        ("", "a.docx", archive(), "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("application/zip", "a.zip", archive(), "application/zip"),
        ("application/x-custom", "a.bin", bytes(range(32)), "application/x-custom"),
        ("not a type", "a.bin", bytes(range(32)), "application/octet-stream"),
        ("text/plain", "BM.txt", b"BMW and other cars", "text/plain"),
    ],
)
def test_the_content_of_a_file_decides_its_type(declared: str, filename: str, content: bytes, media: str) -> None:
    assert media_type(declared, filename, content) == media


@pytest.mark.parametrize(
    ("declared", "content"),
    [
        ("image/png", b"<html><script>alert(1)</script>"),
        ("image/png", archive()),
        ("application/pdf", PNG),
        ("text/plain", PDF),
        ("text/csv", b"MZ\x90\0\3\0\0\0"),
        ("application/zip", b"plain text"),
        ("image/gif", b"\x7fELF\2\1\1\0"),
    ],
)
def test_a_file_that_is_not_what_it_was_declared_as_is_refused(declared: str, content: bytes) -> None:
    with pytest.raises(Problem, match=f"declared as {declared}"):
        media_type(declared, "x", content)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\report.pdf", "report.pdf"),
        ("a\r\nSet-Cookie: x\0.txt", "aSet-Cookie: x.txt"),
        ("x" * 300 + ".pdf", "x" * 251 + ".pdf"),
        ("", ""),
    ],
)
def test_only_the_last_part_of_a_filename_is_kept(given: str, kept: str) -> None:
    assert clean_filename(given) == kept


@settings(max_examples=examples(300), deadline=None)
@given(st.text(max_size=400) | st.binary(max_size=400).map(lambda data: data.decode("latin-1")))
def test_no_filename_is_a_path_or_a_control_character(text: str) -> None:
    name = clean_filename(text)
    assert len(name) <= 255 and name.isprintable() and not {"/", "\\"} & set(name)
    assert clean_filename(name) == name


def test_sizes_are_shown_in_units() -> None:
    assert [size_text(size) for size in (5, 2048, 500 << 20, 3 << 29)] == ["5 bytes", "2 KiB", "500 MiB", "1.5 GiB"]


# ------------------------------------------------------------------------------------------------------------- the service


async def put(files: FileService, owner: str, data: bytes, name: str = "a.txt", **options: Any) -> FileRecord:
    return await files.store(owner, name, data, **options)


@in_loop
async def test_a_file_is_stored_listed_read_and_deleted(tmp_path: Path) -> None:
    async with opened(tmp_path) as files:
        first = await put(files, "key:a", b"one")
        second = await put(files, "key:a", b"two" * 200_000, purpose="batch", prefix="file-")
        await put(files, "key:b", b"other")
        assert first.id.startswith("file_") and second.id.startswith("file-")
        assert await files.read(await files.record("key:a", second.id)) == b"two" * 200_000
        page, more = await files.page("key:a", 1)
        assert [record.id for record in page] == [second.id] and more
        page, more = await files.page("key:a", 5, after=page[0].number)
        assert [record.id for record in page] == [first.id] and not more
        await files.delete("key:a", second.id)
        assert stored_bytes(tmp_path) == [b"one", b"other"]
        with pytest.raises(Problem, match="does not exist") as caught:
            await files.record("key:a", second.id)
        assert caught.value.kind == "not_found"
        assert files.records.used("key:a").bytes == 3 and files.records.used().files == 2


@in_loop
async def test_a_file_of_another_owner_is_refused_like_one_that_does_not_exist(tmp_path: Path) -> None:
    async with opened(tmp_path) as files:
        record = await put(files, "key:a", b"secret")
        messages = []
        for id in (record.id, new_file_id("file_")):
            with pytest.raises(Problem) as caught:
                await files.delete("key:b", id)
            messages.append(caught.value.message.replace(id, "ID"))
        assert messages[0] == messages[1]
        assert await files.read(await files.record("key:a", record.id)) == b"secret"


@in_loop
async def test_an_upload_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as files:
        async with aclosing(await files.begin("key:a")) as upload:
            upload.name("a.txt", "text/plain")
            await upload.write(b"x" * 600_000)
            assert stored_bytes(tmp_path)
        await until(lambda: not files._uploads)
        assert stored_bytes(tmp_path) == [] and not files._arriving
        assert await files.page("key:a", 10) == ([], False)


@in_loop
async def test_an_upload_that_is_cancelled_while_it_is_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task ends at once, and its thread goes on for a while."""
    creating, go_on = threading.Event(), threading.Event()

    class SlowWriter(disk.DiskWriter):
        def __init__(self, path: Path) -> None:
            creating.set()
            go_on.wait(60)
            super().__init__(path)

    monkeypatch.setattr(disk, "DiskWriter", SlowWriter)
    async with opened(tmp_path) as files:
        for step in ("write", "finish"):

            async def upload_one(step: str = step) -> None:
                async with aclosing(await files.begin("a")) as upload:
                    await upload.write(b"x" * (300_000 if step == "write" else 3))
                    await upload.finish()

            creating.clear()
            go_on.clear()
            task = asyncio.create_task(upload_one())
            await until(creating.is_set)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            go_on.set()
            await until(lambda: not files._uploads)
            # What was not acknowledged may be stored, but then all of it.
            records, _ = await files.page("a", 10)
            assert stored_bytes(tmp_path) == [b"xxx" for _ in records]
            for record in records:
                await files.delete("a", record.id)


@in_loop
async def test_the_database_is_created_by_the_first_upload(tmp_path: Path) -> None:
    async with opened(tmp_path) as files:
        await run_once(files)
        assert not list(os.scandir(tmp_path))
        await put(files, "", b"x")
        assert files.records.exists()


@in_loop
async def test_the_quota_ends_an_upload_in_the_middle(tmp_path: Path) -> None:
    async with opened(tmp_path, quota=1 << 20, max_file_size=10 << 20) as files:
        await put(files, "key:a", b"x" * 300_000)
        async with aclosing(await files.begin("key:a")) as first, aclosing(await files.begin("key:a")) as second:
            # Two uploads at once share what is left.
            for _ in range(6):
                await first.write(b"y" * 50_000)
                await second.write(b"y" * 50_000)
            with pytest.raises(Problem, match="1 MiB together") as caught:
                for _ in range(6):
                    await second.write(b"y" * 50_000)
            assert caught.value.status == 403
        await until(lambda: not files._uploads)
        assert stored_bytes(tmp_path) == [b"x" * 300_000]
        assert (await put(files, "key:b", b"z" * 1_000_000)).size == 1_000_000


@in_loop
async def test_the_quota_of_all_owners_and_the_size_of_a_file_are_limited(tmp_path: Path) -> None:
    async with opened(tmp_path, quota=1 << 20, total_quota=1_500_000, max_file_size=900_000) as files:
        with pytest.raises(Problem) as caught:
            await put(files, "key:a", b"x" * 900_001)
        assert caught.value.kind == "too_large"
        await put(files, "key:a", b"x" * 800_000)
        with pytest.raises(Problem, match="all clients"):
            await put(files, "key:b", b"x" * 800_000)
        assert stored_bytes(tmp_path) == [b"x" * 800_000]


@in_loop
async def test_the_number_of_files_and_of_uploads_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST_FILES", 2)
    monkeypatch.setattr(service, "MOST_UPLOADS", 1)
    async with opened(tmp_path) as files:
        for _ in range(2):
            await put(files, "", b"x")
            await until(lambda: not files._uploads)
        with pytest.raises(Problem, match="2 files"):
            await put(files, "", b"x")
        async with aclosing(await files.begin("key:b")):
            with pytest.raises(Problem, match="uploaded already") as caught:
                await files.begin("key:a")
        assert caught.value.kind == "busy"


@in_loop
async def test_an_owner_with_many_uploads_leaves_some_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_OF_OWNER", 2)
    async with opened(tmp_path) as files:
        first, second = await files.begin("key:a"), await files.begin("key:a")
        with pytest.raises(Problem, match="You are uploading 2 files") as caught:
            await files.begin("key:a")
        assert caught.value.kind == "busy"
        await (await files.begin("key:b")).aclose()
        await first.aclose()
        await (await files.begin("key:a")).aclose()
        await second.aclose()
        assert not files._uploading and not files._uploads


@in_loop
async def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullWriter(disk.DiskWriter):
        def write(self, data: bytes) -> None:
            raise disk.storage_error(self._part, OSError(errno.ENOSPC, "No space left on device"))

    async with opened(tmp_path) as files:
        await put(files, "", b"kept")
        with monkeypatch.context() as patch:
            patch.setattr(disk, "DiskWriter", FullWriter)
            with pytest.raises(Problem, match="full") as caught:
                await put(files, "", b"x" * 600_000)
            assert (caught.value.status, caught.value.retry) == (507, False)
            assert str(tmp_path) not in caught.value.message and str(tmp_path) in files.problem
        await until(lambda: not files._uploads)
        assert stored_bytes(tmp_path) == [b"kept"]
        await put(files, "", b"again")
        assert files.problem == ""


@in_loop
async def test_a_damaged_database_of_files_is_reported_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "files.db").write_bytes(b"not a database" * 100)
    async with opened(tmp_path) as files:
        with pytest.raises(Problem, match="log") as caught:
            await put(files, "", b"x")
        assert caught.value.status == 500 and "files.db" not in caught.value.message and "files.db" in files.problem


async def run_once(files: FileService) -> None:
    """One round of the removal of orphans and expired files."""
    await files._tidy(files._remove_orphans)
    await files._tidy(files._remove_expired)


@in_loop
async def test_what_a_crash_leaves_behind_is_removed_at_the_next_start(tmp_path: Path) -> None:
    async with opened(tmp_path) as files:
        kept = await put(files, "", b"kept")
        deleted = await put(files, "", b"deleted")
        folder = tmp_path / "files" / files.records.folder()
        # Killed between the removal of the record and that of the bytes; in the middle of an upload; before its record.
        files.records.remove(deleted.id)
    (folder / f"{new_file_id('file_')}.part").write_bytes(b"half")
    (folder / new_file_id("file-")).write_bytes(b"never acknowledged")
    (folder / "other program.txt").write_bytes(b"foreign")
    async with opened(tmp_path) as files:
        async with aclosing(await files.begin("")) as upload:
            await upload.write(b"arriving" * 50_000)
            await run_once(files)
            record = await upload.finish()
        assert await files.read(record) == b"arriving" * 50_000
        assert await files.read(await files.record("", kept.id)) == b"kept"
    assert stored_bytes(tmp_path) == sorted([b"kept", b"foreign", b"arriving" * 50_000])


def move_away(folder: Path) -> None:
    for path in folder.glob("files.db*"):
        path.rename(path.with_name(f"moved-{path.name}"))


@in_loop
async def test_files_of_a_lost_database_are_not_removed(tmp_path: Path) -> None:
    async with opened(tmp_path) as files:
        await put(files, "", b"precious")
    move_away(tmp_path)
    async with opened(tmp_path) as files:
        await run_once(files)
        await put(files, "", b"new")
    assert stored_bytes(tmp_path) == [b"new", b"precious"]


@in_loop
async def test_expired_files_are_gone_and_say_so(tmp_path: Path) -> None:
    async with opened(tmp_path, expires_after=7200.0) as files:
        async with aclosing(await files.begin("a")) as upload:
            await upload.write(b"short")
            short = await upload.finish(expires_in=3600)
        long = await put(files, "a", b"long")
        assert short.expires == pytest.approx(short.created + 3600) and long.expires == pytest.approx(
            long.created + 7200
        )
        reader = await files.open(short)
        with files.records._database.change():
            files.records._database.run("UPDATE files SET expires = ? WHERE id = ?", (time.time() - 1, short.id))
        for _ in range(2):
            # Before and after its bytes are removed.
            with pytest.raises(Problem, match="expired") as caught:
                await files.record("a", short.id)
            assert caught.value.facts["details"] == '{"error_code":"file_expired"}'
            with pytest.raises(Problem, match="does not exist"):
                await files.record("b", short.id)
            assert [record.id for record in (await files.page("a", 10))[0]] == [long.id]
            await run_once(files)
        assert stored_bytes(tmp_path) == [b"long"]
        assert files.records.used("a").bytes == 4
        # A download that had begun ends as it began.
        assert await files.call(reader.read) == b"short"
        reader.close()
        with pytest.raises(Problem, match="was deleted"):
            await files.open(short)
        assert files.records.expire(time.time() + 9e5, time.time() + 9e5)
        assert files.records.get(short.id) is None
        assert files.remove("../config{") is None, "a name that no file has"


@in_loop
async def test_bytes_that_could_not_be_removed_are_removed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: DiskStorage, name: str) -> None:
        raise StorageError("the bucket is out of reach")

    async with opened(tmp_path) as files:
        deleted, expired = await put(files, "a", b"deleted"), await put(files, "a", b"expired")
        with files.records._database.change():
            files.records._database.run("UPDATE files SET expires = 1.0 WHERE id = ?", (expired.id,))
        with monkeypatch.context() as patch:
            patch.setattr(DiskStorage, "remove", refuse)
            with pytest.raises(Problem):
                await files.delete("a", deleted.id)
            await files._tidy(files._remove_expired)
            with pytest.raises(Problem, match="does not exist"):
                await files.record("a", deleted.id)
            assert stored_bytes(tmp_path) == [b"deleted", b"expired"]
        await files._tidy(files._remove_leftovers)
        assert stored_bytes(tmp_path) == [] and not files._leftovers


def test_ids_are_never_used_twice(tmp_path: Path) -> None:
    records = FileStore(tmp_path)
    record = FileRecord("file_1", "a", "x", "text/plain", 5)
    assert records.add(record, 100, 100, 10) is None
    with pytest.raises(ValueError, match="file_1"):
        records.add(record, 100, 100, 10)
    assert records.used("a").bytes == 5
    records.close()
    assert records.get("file_1") is not None
    records.close()


def test_a_newer_database_is_not_opened(tmp_path: Path) -> None:
    records = FileStore(tmp_path)
    records._database.run("PRAGMA user_version = 99")
    records.close()
    with pytest.raises(StoreError, match="newer version"):
        records.used()


# ------------------------------------------------------------------------------------------------------------- the storages


def disk_storage(folder: Path) -> FileStorage:
    return DiskStorage(folder / "files")


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    """The settings of a bucket in a local S3 server."""
    moto_server = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        settings = {
            "bucket": "byway-files",
            "region": "us-east-1",
            "url": f"http://{host}:{port}",
            "access_key_id": "test",
            "secret_access_key": "test-secret",
        }
        client = boto3.client(
            "s3",
            region_name="us-east-1",
            endpoint_url=settings["url"],
            aws_access_key_id="test",
            aws_secret_access_key="test-secret",
        )
        client.create_bucket(Bucket="byway-files")
        yield settings
    finally:
        server.stop()


@pytest.fixture(params=["disk", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> FileStorage:
    if request.param == "disk":
        return disk_storage(tmp_path)
    return file_storage(
        FileSettings(storage="s3", s3=S3Settings(**request.getfixturevalue("s3"))), tmp_path, tmp_path.name
    )


def test_a_storage_keeps_what_was_committed(storage: FileStorage) -> None:
    data = bytes(range(256)) * 3000
    writer = storage.create("file_1")
    writer.write(data[:500_000])
    writer.write(data[500_000:])
    assert storage.open("file_1") is None
    writer.commit()
    writer.abort()
    reader = storage.open("file_1")
    assert reader is not None
    parts = []
    while part := reader.read(100_000):
        assert len(part) <= 100_000
        parts.append(part)
    assert b"".join(parts) == data
    reader.close()
    aborted = storage.create("file_2")
    aborted.write(b"x")
    aborted.abort()
    aborted.abort()
    assert list(storage.names()) == ["file_1"]
    storage.remove("file_1")
    storage.remove("file_1")
    assert list(storage.names()) == [] and storage.open("file_1") is None


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a.part", "x" * 101, "a\0b"])
def test_a_disk_storage_takes_no_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name of a stored file"):
        DiskStorage(tmp_path).create(name)


def test_an_unreadable_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("a file, not a folder")
    with pytest.raises(StorageError, match="Give this user"):
        disk_storage(tmp_path).create("file_1")


@in_loop
async def test_memory_of_an_upload_is_bounded(tmp_path: Path) -> None:
    """Counted, not measured: the bytes that wait for the disk never exceed a piece and a chunk."""
    async with opened(tmp_path) as files:
        async with aclosing(await files.begin("")) as upload:
            most = 0
            for _ in range(400):
                await upload.write(b"x" * 65_536)
                most = max(most, upload._buffered)
                await asyncio.sleep(0)
            record = await upload.finish()
        assert record.size == 400 * 65_536 and most < 256 << 10


@in_loop
async def test_files_in_a_bucket_are_stored_swept_and_deleted(tmp_path: Path, s3: dict[str, Any]) -> None:
    values: dict[str, Any] = {"storage": "s3", "s3": S3Settings(**s3)}
    data = bytes(range(256)) * 80_000
    async with opened(tmp_path, **values) as files:
        # 20 MB: an upload in several parts.
        record = await put(files, "a", data)
        assert await files.read(record) == data
        orphan = new_file_id("file_")
        writer = files.storage.create(orphan)
        writer.write(b"never acknowledged")
        writer.commit()
        (tmp_path / "files" / "outgoing" / "file_incomplete.part").write_bytes(b"half")
    assert stored_bytes(tmp_path) == [b"half"]
    async with opened(tmp_path, **values) as files:
        await run_once(files)
        assert list(files.storage.names()) == [record.id] and stored_bytes(tmp_path) == []
        await files.delete("a", record.id)
        assert list(files.storage.names()) == []


@in_loop
async def test_a_bucket_that_cannot_be_used_is_reported_without_its_secret(tmp_path: Path, s3: dict[str, Any]) -> None:
    bucket = S3Settings(**{**s3, "bucket": "does-not-exist"})
    async with opened(tmp_path, storage="s3", s3=bucket) as files:
        with pytest.raises(Problem, match="log") as caught:
            await put(files, "a", b"x")
        assert "test-secret" not in files.problem and "does-not-exist" in files.problem
        assert caught.value.status == 500
        await until(lambda: not files._uploads)
    assert stored_bytes(tmp_path) == []


def test_a_bucket_whose_variable_is_not_set_is_reported(tmp_path: Path) -> None:
    values = FileSettings(storage="s3", s3=S3Settings(bucket="b", missing=("S3_SECRET",)))
    with pytest.raises(StorageError, match="S3_SECRET"):
        file_storage(values, tmp_path, "x")


def test_a_missing_extra_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(StorageError, match=r"requirements/s3\.txt"):
        file_storage(FileSettings(storage="s3", s3=S3Settings(bucket="b")), tmp_path, "x")


# --------------------------------------------------------------------------------------------------------- files in requests


def body_with(count: int) -> bytes:
    """A request with `count` messages, each with a tool call that has a `file_id`, which is no reference."""
    call = {"type": "tool_use", "id": "t", "name": "x", "input": {"type": "document", "file_id": "file_1"}}
    return json.dumps({"model": "m", "messages": [{"role": "assistant", "content": [call] * 20}] * count}).encode()


async def resolve(files: FileService, body: bytes, limit: int = 1 << 20, reserved: list[int] | None = None) -> bytes:
    async def reserve(size: int) -> None:
        if reserved is not None:
            reserved.append(size)

    return await resolve_files(body, MESSAGES, files, "a", limit, reserve)


def test_looking_for_references_takes_linear_time(tmp_path: Path) -> None:
    files = FileService(FileStore(tmp_path), partial(file_storage, FileSettings(), tmp_path), FileSettings())
    assert_linear(body_with, lambda body: asyncio.run(resolve(files, body)))


@in_loop
async def test_a_body_without_references_stays_as_it_came(tmp_path: Path) -> None:
    async with opened(tmp_path) as files:
        for body in (
            body_with(2),
            b'{"file_id": 1}',
            b'{"messages": [{"file_id"',
            b'{"messages": {"file_id": 1}}',
            b'["file_id"]',
        ):
            assert await resolve(files, body) is body
        nested = b'{"messages": [{"content": ' + b'[{"type":"tool_result","content":' * 5000 + b'"file_id"'
        assert await resolve(files, nested) is nested


@in_loop
async def test_only_messages_with_references_are_changed(tmp_path: Path) -> None:
    async with opened(tmp_path) as files:
        record = await put(files, "a", PNG, "a.png")
        first = b'{"role" : "user",  "content": "1.0e1 \\u00e9"}'
        block = {
            "type": "image",
            "source": {"type": "file", "file_id": record.id},
            "cache_control": {"type": "ephemeral"},
        }
        second = json.dumps({"role": "user", "content": [block, block]}).encode()
        reserved: list[int] = []
        changed = await resolve(
            files, b'{"max_tokens": 1, "x" : 1.50, "messages": [%b, %b]}' % (first, second), reserved=reserved
        )
        assert b'"messages":[' + first + b"," in changed and b'"x":1.50' in changed
        image = json.loads(changed)["messages"][1]["content"]
        source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
        assert image == [{"type": "image", "source": source, "cache_control": {"type": "ephemeral"}}] * 2
        assert reserved and reserved[0] >= len(changed) - 200


@in_loop
async def test_the_content_of_files_is_limited_before_it_is_read(tmp_path: Path) -> None:
    async with opened(tmp_path) as files:
        record = await put(files, "a", b"a" * 100_000)
        block = {"type": "document", "source": {"type": "file", "file_id": record.id}}

        def body(times: int) -> bytes:
            return json.dumps({"messages": [{"role": "user", "content": [block] * times}]}).encode()

        reserved: list[int] = []
        with pytest.raises(Problem, match="1 MiB") as caught:
            await resolve(files, body(9), reserved=reserved)
        assert caught.value.kind == "too_large" and not reserved
        assert len(await resolve(files, body(7))) > 700_000
        with pytest.raises(Problem, match="500 times"):
            await resolve(files, body(501))


def test_references_are_counted_while_they_are_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    collected = 0

    def references(blocks: list[Any], path: str) -> Iterator[resolving.Reference]:
        nonlocal collected
        for reference in MESSAGES.references(blocks, path):
            collected += 1
            yield reference

    content = [{"type": "container_upload", "file_id": "file_1"}] * 300
    body = json.dumps({"messages": [{"role": "user", "content": content}] * 40}).encode()
    with pytest.raises(Problem, match="500 times"):
        resolving._take_apart(body, MESSAGES._replace(references=references))
    assert collected == 501


def test_blocks_that_are_nested_deeply_are_refused() -> None:
    def body(depth: int) -> bytes:
        blocks: list[Any] = [{"type": "container_upload", "file_id": "file_1"}]
        for _ in range(depth - 1):
            blocks = [{"type": "tool_result", "content": blocks}]
        return json.dumps({"messages": [{"role": "user", "content": blocks}]}).encode()

    opened = resolving._take_apart(body(16), MESSAGES)
    assert opened is not None and len(opened.references) == 1
    with pytest.raises(Problem, match="16 blocks"):
        resolving._take_apart(body(17), MESSAGES)


@in_loop
async def test_a_file_that_expires_while_a_request_is_resolved_gets_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as files:
        record = await put(files, "a", b"text")
        block = {"type": "document", "source": {"type": "file", "file_id": record.id}}
        body = json.dumps({"messages": [{"role": "user", "content": [block]}]}).encode()

        async def reserve(size: int) -> None:
            # Between the look at its record and the read of its bytes.
            await files.delete("a", record.id)

        with pytest.raises(Problem, match=r"was deleted\. Upload it again") as caught:
            await resolve_files(body, MESSAGES, files, "a", 1 << 20, reserve)
        assert caught.value.kind == "not_found"


# --------------------------------------------------------------------------------------------------------------- the config


def read_files(text: str, **environ: str) -> FileSettings:
    return load(text, environ).files


def test_sizes_are_read_in_units() -> None:
    values = read_files("files: {max_file_size: 1.5MiB, quota: 2 GB, total_quota: 3000000000, expires_after: 30d}")
    assert (values.max_file_size, values.quota, values.total_quota) == (3 << 19, 2_000_000_000, 3_000_000_000)
    assert values.expires_after == 30 * 86400
    for text in ("5 parsecs", "-1", "1iB", "MiB", "1e99", "9" * 30):
        with pytest.raises(ConfigError, match="size such as 500MiB"):
            read_files(f"files: {{quota: {text!r}}}")
    with pytest.raises(ConfigError, match="max_file_size"):
        read_files("files: {max_file_size: 6GiB}")


def test_a_bucket_is_checked_with_the_config() -> None:
    with pytest.raises(ConfigError, match=r"files\.s3\.bucket"):
        read_files("files: {storage: s3}")
    with pytest.raises(ConfigError, match="belong together"):
        read_files("files: {storage: s3, s3: {bucket: b, access_key_id: x}}")
    with pytest.raises(ConfigError, match="local_only"):
        read_files("local_only: true\nfiles: {storage: s3, s3: {bucket: b}}")
    bucket = "{bucket: b, url: 'http://127.0.0.1:9000', access_key_id: a, secret_access_key: '${S3_SECRET}'}"
    text = f"local_only: true\nfiles: {{storage: s3, s3: {bucket}}}"
    assert read_files(text, S3_SECRET="hidden").s3.secret_access_key == "hidden"
    # A variable that is not set disables the storage and nothing else.
    config = load(text, {})
    assert config.files.s3.missing == ("S3_SECRET",) and "S3_SECRET" in str(config.warnings[0])
    assert "hidden" not in repr(read_files(text, S3_SECRET="hidden"))
    assert load(text, {"S3_SECRET": "hidden"}).secrets == ("hidden",)


def test_a_quota_that_no_file_fits_in_is_warned_about() -> None:
    config = load("files: {quota: 1MiB}", {})
    assert [(warning.path, "max_file_size" in warning.message) for warning in config.warnings] == [
        ("files.quota", True)
    ]


@in_loop
async def test_a_storage_that_does_not_answer_delays_a_stop_for_some_seconds_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CLOSE_SECONDS", 0.05)
    answered, called = threading.Event(), threading.Event()

    def hang() -> str:
        called.set()
        answered.wait(60)
        return "late"

    async with opened(tmp_path) as files:
        assert await files.call(lambda: "at once") == "at once"
        calls = [asyncio.create_task(files.call(hang)) for _ in range(6)]
        await asyncio.to_thread(called.wait, 60)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("files-")]
    assert any(thread.is_alive() for thread in threads) and all(thread.daemon for thread in threads)
    with pytest.raises(RuntimeError, match="closed"):
        await files.call(hang)
    answered.set()
    assert await asyncio.gather(*calls) == ["late"] * 6, "calls that still run keep their result"
    for thread in threads:
        thread.join(60)
