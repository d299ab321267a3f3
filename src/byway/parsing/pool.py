"""Runs parsers in child processes: a few at a time, with limits, and killed when the caller is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from typing import Final, Literal

import msgspec

from byway import platform
from byway.logs import log
from byway.parsing.job import Parsed, ParseJob

#: Processes at a time. They run at low priority, so that they do not slow down the event loop.
_PROCESSES: Final = 2
#: Seconds of wall-clock time; the worker's own limit counts CPU seconds.
_TIME_LIMIT: Final = 120.0
_OUTPUT_LIMIT: Final = 32 << 20
ParseReason = Literal["unreadable", "limit", "missing"]


class ParseError(Exception):
    """A document that gives no text. `reason`: it cannot be parsed, it exceeds a limit, or a package is missing."""

    def __init__(self, reason: ParseReason, message: str) -> None:
        super().__init__(message)
        self.reason: ParseReason = reason
        self.message = message


class ParserPool:
    """Parses documents in child processes, one process for each document.

    `slot` bounds the number of processes: hold it while calling `run`, or call `parse`, which does both.
    """

    def __init__(self, processes: int = _PROCESSES, *, time_limit: float = _TIME_LIMIT) -> None:
        self.slot = asyncio.Semaphore(processes)
        self.started = 0
        """The number of processes since the start of Byway."""
        self._time_limit = time_limit

    async def parse(self, job: ParseJob, data: bytes) -> Parsed:
        """The text of a document. Raises ParseError. Cancelling kills the process."""
        async with self.slot:
            return await self.run(job, data)

    async def run(self, job: ParseJob, data: bytes) -> Parsed:
        """Like `parse`, for a caller that holds `slot`."""
        self.started += 1
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "byway.parsing.worker"),
            stdin=pipe,
            stdout=pipe,
            stderr=asyncio.subprocess.DEVNULL,
            env=platform.safe_environment(os.environ),
            **platform.detached(),
        )
        try:
            async with asyncio.timeout(self._time_limit):
                await _send(process.stdin, msgspec.json.encode(job) + b"\n", data)
                output = await _receive(process.stdout)
                status = await process.wait()
        except TimeoutError:
            raise _limit() from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if status != 0:
            if status > 0:
                # A limit ends the process by a signal; anything else is a fault of Byway or of its installation.
                log("A parser process failed", logging.WARNING, kind=job.kind, exit_code=status)
            raise _limit()
        parsed = msgspec.json.decode(output, type=Parsed)
        if parsed.missing:
            raise ParseError(
                "missing",
                f"The Python package {parsed.missing} is not installed. Install it with: "
                "pip install --no-deps --require-hashes -r requirements/web.txt",
            )
        if parsed.problem:
            raise ParseError("unreadable", parsed.problem)
        return parsed


async def _send(stdin: asyncio.StreamWriter | None, *data: bytes) -> None:
    """Write all of it; the worker answers when it has read everything."""
    if stdin is not None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stdin.writelines(data)
            await stdin.drain()
        stdin.close()


async def _receive(stdout: asyncio.StreamReader | None) -> bytes:
    """The worker's output. Raises ParseError when it is too long."""
    output = bytearray()
    while stdout is not None and (chunk := await stdout.read(1 << 20)):
        output += chunk
        if len(output) > _OUTPUT_LIMIT:
            raise _limit()
    return bytes(output)


def _limit() -> ParseError:
    return ParseError("limit", "it takes too much time or memory to parse")
