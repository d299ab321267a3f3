"""A log that is not read does not stop a running Byway."""

from __future__ import annotations

import os
import subprocess
import sys

from gateway import Gateway, config
from scripted import Say, Scripted


def test_requests_are_answered_while_the_log_pipe_is_full() -> None:
    with Scripted(lambda _: Say("hi")) as server, Gateway(config(server)) as gateway:
        gateway.reading.clear()
        path = "/nothing/" + "x" * 180
        statuses = {gateway.get(path).status for _ in range(600)}
        assert statuses == {404}, "600 log lines of 300 bytes are more than a pipe of 64 KiB holds"
        assert gateway.get("/livez").status == 200
        gateway.reading.set()
        gateway.wait(lambda: len(gateway.requests(path)) == 600, what="the lines that waited are written")


def test_a_reader_that_is_gone_does_not_change_the_exit_code() -> None:
    script = (
        "import sys\n"
        "from byway import logs\n"
        "logs.start('info', 'json', sys.stderr)\n"
        "sys.stdin.read()\n"
        "for number in range(200): logs.log('Request', text='x' * 500)\n"
    )
    read, write = os.pipe()
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stderr=write) as process:
        os.close(write)
        os.close(read)
        process.communicate()
    assert process.returncode == 0
