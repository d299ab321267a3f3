"""Uploads of real processes that are killed: nothing acknowledged is lost, nothing else stays, nothing deleted comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from gateway import Gateway, config
from scripted import Scripted

from byway.config import FileSettings
from byway.files.service import FileService
from byway.files.storage import file_storage
from byway.store.files import FileStore

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it forks")
#: For each line of input it forks a child. The child uploads and deletes files, and prints what is complete.
PARENT = """
import asyncio, itertools, os, sys
from contextlib import aclosing
from functools import partial
from pathlib import Path
from byway.config import FileSettings
from byway.files import protocol, service
from byway.files.service import FileService
from byway.files.storage import file_storage
from byway.store.files import FileStore
service.PIECE = 20_000

async def run(folder):
    settings = FileSettings()
    files = FileService(FileStore(folder), partial(file_storage, settings, folder), settings)
    await files._tidy(files._remove_orphans)
    for number in itertools.count():
        async with aclosing(await files.begin("owner")) as upload:
            for _ in range(5):
                await upload.write(b"%06d" % number * 3_000)
            record = await upload.finish()
        os.write(1, b"uploaded %b %d\\n" % (record.id.encode(), number))
        if number % 2:
            os.write(1, b"deleting %b\\n" % record.id.encode())
            await files.delete("owner", record.id)
            os.write(1, b"deleted %b\\n" % record.id.encode())

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        asyncio.run(run(Path(sys.argv[1])))
    os.write(1, b"pid %d\\n" % pid)
    os.waitpid(pid, 0)
    os.write(1, b"killed\\n")
"""


def kill_uploads(folder: Path, rounds: int) -> None:
    uploaded: dict[str, int] = {}
    deleting: set[str] = set()
    deleted: set[str] = set()

    def note(line: str) -> None:
        word, *values = line.split()
        match word:
            case "uploaded":
                uploaded[values[0]] = int(values[1])
            case "deleting":
                deleting.add(values[0])
            case "deleted":
                deleted.add(values[0])

    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        for number in range(rounds):
            parent.stdin.write(b"x\n")
            parent.stdin.flush()
            pid = lines = 0
            while not pid or lines <= number * 7 % 23:
                line = parent.stdout.readline().decode().strip()
                if line.startswith("pid"):
                    pid = int(line.split()[1])
                else:
                    note(line)
                    lines += 1
            os.kill(pid, signal.SIGKILL)
            while (line := parent.stdout.readline().decode().strip()) != "killed":
                note(line)
        parent.stdin.close()
    kept = asyncio.run(contents(folder))
    assert len(uploaded) > rounds
    assert not deleted & kept.keys(), "a deleted file has come back"
    assert uploaded.keys() - deleting <= kept.keys(), "an acknowledged upload is lost"
    assert len(kept.keys() - uploaded.keys()) <= rounds
    for id, data in kept.items():
        assert len(data) == 90_000 and data == data[:6] * 15_000
        assert id not in uploaded or int(data[:6]) == uploaded[id]


async def contents(folder: Path) -> dict[str, bytes]:
    """The files after the next start, by id. The storage has no others."""
    settings = FileSettings()
    files = FileService(FileStore(folder), partial(file_storage, settings, folder), settings)
    try:
        await files._tidy(files._remove_orphans)
        records, more = await files.page("owner", 10_000)
        assert not more
        assert sorted(files.storage.names()) == sorted(record.id for record in records)
        assert not list((folder / "files").rglob("*.part"))
        assert files.records.used("owner").bytes == sum(record.size for record in records)
        return {record.id: await files.read(record) for record in records}
    finally:
        await files.close()


def test_uploads_survive_ten_kills(tmp_path: Path) -> None:
    kill_uploads(tmp_path, 10)


@pytest.mark.long
def test_uploads_survive_two_hundred_kills(tmp_path: Path) -> None:
    kill_uploads(tmp_path, 200)


def test_the_next_start_removes_an_upload_that_was_killed() -> None:
    """A real Byway, killed while a client sends a file."""
    with Scripted() as server:
        gateway = Gateway(config(server))
        try:
            gateway.start()
            folder = gateway.home / "data" / "files"
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as client:
                head = (
                    "POST /v1/files HTTP/1.1\r\nHost: localhost\r\nanthropic-version: 2026-10-21\r\n"
                    "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 3000000\r\n\r\n"
                    '--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
                )
                client.sendall(head.encode() + b"x" * 1_000_000)
                gateway.wait(lambda: list(folder.rglob("*.part")), what="the upload has begun")
                gateway.kill()
            assert list(folder.rglob("*.part"))
            gateway.lines.clear()
            gateway.start()
            gateway.wait(lambda: not list(folder.rglob("*.part")), what="the incomplete file is removed")
            headers = {"anthropic-version": "2026-10-21"}
            assert gateway.get("/v1/files", headers).json["data"] == []
            assert gateway.get("/readyz").json["files"] == "good"
            gateway.stop()
        finally:
            gateway.discard()
