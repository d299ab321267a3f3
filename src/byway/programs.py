"""Programs of the user, such as Claude Code: where they are installed, and how they are started in this terminal.

Beside `platform` the only module that depends on the operating system.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from byway import platform

if sys.platform != "win32":
    import termios


def start_background(command: Sequence[str], environ: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one and its terminal. Its errors go to the file `log`. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(log, flags, 0o600), "wb") as errors:
        return subprocess.Popen(
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            **platform.detached(),
        )


def run_in_terminal(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a program in this terminal as if the user had started it directly, and return its exit code.

    Signals to this process reach the program, stopping and resuming included. After a signal that ended it the code is
    128 + its number, as in a shell. The terminal gets its settings back. Raises OSError when it cannot be started.
    """
    if sys.platform == "win32":
        # The console sends Ctrl-C to both processes; the program decides.
        before = signal.signal(signal.SIGINT, lambda number, frame: None)
        try:
            return subprocess.Popen(command, env=dict(environ)).wait()
        finally:
            signal.signal(signal.SIGINT, before)
    else:
        with _terminal_kept():
            return _run_in_terminal(command, environ)


if sys.platform != "win32":

    def _run_in_terminal(command: Sequence[str], environ: Mapping[str, str]) -> int:
        process: subprocess.Popen[bytes] | None = None
        early: list[int] = []

        def forward(number: int, frame: object) -> None:
            if process is None:
                early.append(number)
            elif not (number in (signal.SIGINT, signal.SIGQUIT) and _in_foreground()):
                # The terminal sends its own signals to both processes.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)

        passed = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
        before = {number: signal.signal(number, forward) for number in passed}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        try:
            with _signal_pipe() as signals:
                process = subprocess.Popen(command, env=dict(environ))
                for number in early:
                    os.kill(process.pid, number)
                return _wait_for(process, signals)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def _signal_pipe() -> Iterator[int]:
        """A descriptor that becomes readable with each signal of this process, whichever thread it reaches."""
        readable, writable = os.pipe()
        os.set_blocking(writable, False)
        before = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
        try:
            yield readable
        finally:
            signal.set_wakeup_fd(before)
            os.close(readable)
            os.close(writable)

    def _wait_for(process: subprocess.Popen[bytes], signals: int) -> int:
        """Wait for the end of the program; while it is stopped, this process is stopped too."""
        while True:
            pid, status = os.waitpid(process.pid, os.WNOHANG | os.WUNTRACED)
            if not pid:
                # Not in waitpid: it continues when a signal reaches another thread, and its handler would run only at the end.
                os.read(signals, 4096)
                continue
            if not os.WIFSTOPPED(status):
                code = os.waitstatus_to_exitcode(status)
                process.returncode = code
                return 128 - code if code < 0 else code
            # The shell gets the terminal until it resumes the job.
            os.kill(os.getpid(), signal.SIGSTOP)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)

    def _in_foreground() -> bool:
        """Whether the terminal sends its signals to this process."""
        try:
            terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
        except OSError:
            return False
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        except OSError:
            return False
        finally:
            os.close(terminal)

    @contextlib.contextmanager
    def _terminal_kept() -> Iterator[None]:
        """Restore the terminal's settings afterwards: a killed program leaves it without echo."""
        try:
            before = termios.tcgetattr(0)
        except (termios.error, OSError):
            yield
            return
        try:
            yield
        finally:
            if _in_foreground():
                with contextlib.suppress(termios.error, OSError):
                    termios.tcsetattr(0, termios.TCSADRAIN, before)


def user_number() -> int:
    """The number of the user of this process; 0 where users have none."""
    if sys.platform == "win32":
        return 0
    else:
        return os.getuid()


def forwarding_script(program: Path, arguments: Sequence[str]) -> tuple[str, str]:
    """A script that runs a program with the arguments it was given and `arguments` after them.

    Returns the end of its file name and its text. On Windows it is a module for Node.js: that starts no batch file without a
    shell, and without one an argument cannot become a command.
    """
    if sys.platform == "win32":
        return ".mjs", forwarding_module(program, arguments)
    else:
        return "", f'#!/bin/sh\nexec {shlex.quote(str(program))} "$@" {shlex.join(arguments)}\n'


def forwarding_module(program: Path, arguments: Sequence[str]) -> str:
    """`forwarding_script` as a module for Node.js."""
    return (
        'import { spawn } from "node:child_process";\n'
        f"const given = [...process.argv.slice(2), ...{json.dumps(list(arguments))}];\n"
        f'const child = spawn({json.dumps(str(program))}, given, {{ stdio: "inherit", windowsHide: true }});\n'
        'for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(name, () => child.kill(name));\n'
        'child.on("error", (error) => { console.error(error.message); process.exit(127); });\n'
        'child.on("exit", (code) => process.exit(code ?? 1));\n'
    )


def program_file(name: str) -> str:
    """The file name of an installed program that starts without a shell: `claude.exe` on Windows."""
    return f"{name}.exe" if sys.platform == "win32" else name


def npm_folders(environ: Mapping[str, str]) -> Iterator[Path]:
    """Folders outside PATH in which npm, its relatives and Claude Code's installer put programs."""
    home = Path(os.path.expanduser("~"))
    if prefix := environ.get("npm_config_prefix") or environ.get("NPM_CONFIG_PREFIX"):
        yield Path(prefix) if sys.platform == "win32" else Path(prefix) / "bin"
    if sys.platform == "win32":
        if roaming := environ.get("APPDATA"):
            yield Path(roaming) / "npm/node_modules/@anthropic-ai/claude-code/bin"
        yield home / ".local/bin"
    else:
        own = (
            ".local/bin",
            ".claude/local",
            ".npm-global/bin",
            ".npm-packages/bin",
            ".npm/bin",
            ".volta/bin",
            ".bun/bin",
        )
        yield from (home / name for name in (*own, ".local/share/pnpm", "Library/pnpm", ".yarn/bin"))
        # The newest version of Node.js first.
        yield from sorted(home.glob(".nvm/versions/node/*/bin"), reverse=True)
        yield from sorted(home.glob(".local/share/fnm/node-versions/*/installation/bin"), reverse=True)
        yield from map(Path, ("/usr/local/bin", "/opt/homebrew/bin", "/usr/bin"))


def parent_of(pid: int) -> int:
    """The parent of a process; 0 where the system does not show it."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    return 0


def process_tree(roots: Iterable[int]) -> list[int]:
    """The processes `roots` and all that they have started, children last. Without /proc: the roots alone."""
    children: dict[int, list[int]] = {}
    for pid in _processes():
        children.setdefault(parent_of(pid), []).append(pid)
    tree = list(dict.fromkeys(roots))
    for pid in tree:
        tree += (child for child in children.get(pid, ()) if child not in tree)
    return tree


def processes_with_argument(text: str) -> list[int]:
    """The processes of this machine with `text` in one of their arguments. None without /proc."""
    matching = []
    for pid in _processes():
        with contextlib.suppress(OSError):
            if text.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                matching.append(pid)
    return matching


def end_process(pid: int, *, force: bool = False) -> None:
    """Send a process the signal to end; with `force` it cannot refuse."""
    if sys.platform == "win32":
        number = signal.SIGTERM
    else:
        number = signal.SIGKILL if force else signal.SIGTERM
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def is_running(pid: int) -> bool:
    """Whether a process runs. One that has ended and was not waited for does not."""
    # On Windows the signal has ended it, and a process that has ended can be opened while there is a handle.
    return sys.platform != "win32" and platform.is_same_process(pid, "")


def _processes() -> list[int]:
    with contextlib.suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return []


def process_environment(pid: int) -> dict[str, str] | None:
    """The variables with which a process of this user was started. None where the system does not show them."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    pairs = (entry.partition("=") for entry in content.decode(errors="replace").split("\0") if entry)
    return {name: value for name, _, value in pairs}
