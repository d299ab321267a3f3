"""The only module that depends on the operating system: folders, private files, locks, sockets, signals, processes, memory.

Each function is named for its purpose; how each system does it stays inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import getpass
import glob
import os
import secrets
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, NamedTuple, TextIO

import platformdirs

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl
    import resource

CONFIG_NAME: Final = "byway.yaml"
#: Connections that wait to be accepted.
BACKLOG: Final = 2048
#: Bytes that the kernel buffers of a response that its client does not read; Linux takes twice as much for its bookkeeping.
SEND_BUFFER: Final = 256 << 10
#: Client connections at most.
_CONNECTIONS: Final = 4096
#: File descriptors that are not for requests: listeners, the store, the log, child processes, and a reserve.
_RESERVED_FILES: Final = 128
_FILES: Final = 65536
#: Seconds after which a temporary file was left by a killed process: writing takes less.
_ABANDONED: Final = 60.0
#: Bytes that are read of a private file.
PRIVATE_LIMIT: Final = 1 << 20


# ---------------------------------------------------------------------------------------------------- folders and files


def config_folder() -> Path:
    """The user's config folder: `~/.config/byway` on Linux."""
    return Path(platformdirs.user_config_dir("byway", appauthor=False))


def system() -> Literal["linux", "macos", "windows"]:
    """The kind of operating system. Programs store their settings in different folders on each."""
    return "windows" if sys.platform == "win32" else "macos" if sys.platform == "darwin" else "linux"


def data_folder(chosen: str | None, environ: Mapping[str, str]) -> Path:
    """The folder of Byway's state: `chosen`, else `$BYWAY_HOME`, else the user's data folder."""
    named = chosen or environ.get("BYWAY_HOME")
    return expand_user(named).absolute() if named else Path(platformdirs.user_data_dir("byway", appauthor=False))


def expand_user(path: str | Path) -> Path:
    """Expand a leading `~` or `~user`. An unknown user stays as it is, like in a shell, and the path is missing.

    `Path.expanduser` raises RuntimeError there.
    """
    return Path(os.path.expanduser(path))


def private_folder(path: Path) -> Path:
    """Create a folder that only its owner may open. An existing one keeps its permissions, because others may use it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def readable_by_others(path: Path) -> bool:
    """Can every user of this machine read the file? Raises OSError."""
    return sys.platform != "win32" and bool(path.stat().st_mode & 0o004)


def is_own(status: os.stat_result) -> bool:
    """Does a file belong to the user of this process?"""
    return sys.platform == "win32" or status.st_uid == os.geteuid()


def close_to_others(folder: Path) -> str:
    """Remove the right of other users to write in `folder`, who could replace the files in it.

    Returns a remark for the user, or "". Raises UnsafeFile when every user can write there and this process cannot change
    that. On Windows the access list of the user's profile excludes other users.
    """
    mode = 0 if sys.platform == "win32" else folder.stat().st_mode
    if not mode & 0o022:
        return ""
    try:
        folder.chmod(stat.S_IMODE(mode) & ~0o022)
    except OSError:
        how = f"permissions {stat.S_IMODE(mode):04o}"
        if mode & 0o002:
            raise UnsafeFile(
                f"{folder} can be written by every user of this machine ({how}), and belongs to another user. "
                f"Close it: chmod go-w {folder}. Or name another folder: --data-dir DIR"
            ) from None
        return f"{folder} can be written by its group ({how})"
    return f"{folder} could be written by other users; its permissions are {stat.S_IMODE(mode) & ~0o022:04o} now"


def write_private(path: Path, data: bytes, *, like: os.stat_result | None = None, mode: int = 0o600) -> None:
    """Replace a file atomically, readable by its owner only. It is on the disk when this returns.

    `like`: use the owner and group of that file and the permissions `mode`, where the system allows it. Raises OSError;
    FileExistsError when `path` is a symbolic link, whose target may belong to another user.
    """
    if path.is_symlink():
        raise FileExistsError(
            errno.EEXIST,
            "it is a symbolic link, and Byway writes to regular files only. Replace the link by the file",
            str(path),
        )
    _remove_drafts(path)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            if like is not None:
                _belong(file.fileno(), like, mode)
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Write the names of a folder's files to the disk, where the system has such a call. Raises OSError."""
    if sys.platform != "win32":
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _remove_drafts(path: Path) -> None:
    """Remove temporary files of killed processes. A running process needs less than a minute."""
    for draft in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 16}"):
        with contextlib.suppress(OSError):
            if time.time() - draft.lstat().st_mtime > _ABANDONED:
                draft.unlink()


def _belong(file: int, like: os.stat_result, mode: int) -> None:
    if sys.platform != "win32":
        own = os.fstat(file)
        if (own.st_uid, own.st_gid) != (like.st_uid, like.st_gid):
            try:
                os.fchown(file, like.st_uid, like.st_gid)
            except OSError:
                # The file stays private: its group would be another one.
                return
        os.fchmod(file, mode)


def create_private(path: Path) -> None:
    """Create an empty file that only its owner may read. Raises OSError; FileExistsError when it exists."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600))


def open_log(path: Path) -> int:
    """Create a file to which lines are appended, readable by its owner only. Returns its descriptor. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0), 0o600)


class UnsafeFile(Exception):
    """A private file is open to others or not a regular file. The message names the next step."""


def read_private(path: Path) -> bytes:
    """Read a file that `write_private` wrote. Raises UnsafeFile when others may open it or it is not a file; OSError."""
    if path.is_symlink():
        raise UnsafeFile(
            f"{path} is a symbolic link; Byway reads secrets from regular files only. Replace the link by the file"
        )
    # Non-blocking: a pipe would wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    opened = os.open(path, flags)
    try:
        mode = os.fstat(opened).st_mode
        if not stat.S_ISREG(mode):
            raise UnsafeFile(f"{path} is not a regular file. Move it away")
        if sys.platform != "win32" and mode & 0o077:
            raise UnsafeFile(
                f"Other users can open {path} (permissions {stat.S_IMODE(mode):04o}). Run: chmod 600 {path}. "
                "If another user may have read it, create new keys"
            )
        return os.read(opened, PRIVATE_LIMIT)
    finally:
        os.close(opened)


class FolderLocked(Exception):
    """Another Byway process uses the folder. `pid` is None when it cannot be read."""

    def __init__(self, folder: Path, pid: int | None) -> None:
        process = f"process {pid}" if pid else "another process"
        super().__init__(f"Another Byway ({process}) uses {folder}. Stop it, or use another folder: --data-dir DIR.")
        self.pid = pid


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock `folder` for this process. Raises FolderLocked. The system releases the lock when the process ends in any way."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(folder / "lock", flags, 0o600)
    try:
        try:
            _grab(descriptor)
        except OSError:
            text = os.read(descriptor, 20)
            raise FolderLocked(folder, int(text) if text.strip().isdigit() else None) from None
        # The process id is for messages only. A full disk is reported by the files that need the space.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def try_lock(file: int) -> bool:
    """Lock an open file (its descriptor) until it is closed. Returns False when another process has the lock."""
    try:
        _grab(file)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock on `path` that excludes other processes. Entering blocks, so it is not for the event loop."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        _wait(descriptor)
        yield
    finally:
        os.close(descriptor)


if sys.platform == "win32":

    def _wait(descriptor: int) -> None:
        # Tries for ten seconds, then raises OSError.
        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)

    def _grab(descriptor: int) -> None:
        # A byte far behind the pid, so that the pid stays readable.
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)

else:

    def _wait(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def _grab(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


# -------------------------------------------------------------------------------------------------------------- sockets


def listen_tcp(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    """A listening TCP socket. It can be reused right after a stop and is never shared with another process. Raises OSError."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform == "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Accepted sockets inherit it. Left to itself the kernel buffers up to 2.5 MiB for a client that does not read.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def listen_failure(error: OSError, host: str, port: int) -> str:
    """Why `listen_tcp` failed, without a full stop. It names the program that uses the port where that is known."""
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        owner = port_owner(port)
        return f"{shown} is in use{f' by {owner}' if owner else ''}"
    if error.errno == errno.EACCES:
        return f"{shown} needs permissions that this user does not have"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{shown} is not an address of this machine"
    return f"Cannot listen at {shown}: {error.strerror or error}"


def listen_unix(path: str, mode: int) -> socket.socket:
    """A listening unix socket with the permissions `mode`. An unused one is replaced.

    Raises OSError: FileExistsError when it is another kind of file, or another process listens.
    """
    if sys.platform == "win32":
        raise OSError("Python does not support unix sockets on this system. Use host:port")
    else:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise FileExistsError(f"{path} exists and is not a socket")
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1)
                try:
                    probe.connect(path)
                except ConnectionRefusedError:
                    os.unlink(path)
                else:
                    raise FileExistsError(f"another process listens at {path}")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(path)
            os.chmod(path, mode)
            listener.listen(BACKLOG)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        finally:
            os.umask(before)
        return listener


class PortOwner(NamedTuple):
    """The process that listens at a port."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid})"


def port_owner(port: int) -> PortOwner | None:
    """The process that listens at a local TCP port. Known on Linux only, for processes of the same user."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for process in Path("/proc").glob("[0-9]*") if sockets else ():
        with contextlib.suppress(OSError):
            for entry in (process / "fd").iterdir():
                # A process may close a file meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    if os.readlink(entry) in sockets:
                        return PortOwner(int(process.name), _process_name(process))
    return None


def _listening(port: int) -> Iterator[str]:
    # Columns of /proc/net/tcp: 1 is the local address, 3 the state (0A: listening), 9 the inode (proc_pid_net(5)).
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == "0A" and int(columns[1].rpartition(":")[2], 16) == port:
                    yield columns[9]


def _process_name(process: Path) -> str:
    """The program, and for an interpreter its script. Other arguments may contain secrets."""
    words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    program = os.path.basename(words[0]) or (process / "comm").read_text().strip()
    if program.startswith(("python", "node", "ruby", "java")):
        script = next((word for word in words[1:] if word and not word.startswith("-")), "")
        return f"{program} {os.path.basename(script)}".strip()
    return program


# ------------------------------------------------------------------------------------------------ processes and signals


def on_stop_signal(loop: asyncio.AbstractEventLoop, stop: Callable[[int], None]) -> None:
    """Call `stop(number)` in the loop for each signal that requests the end of this process."""
    if sys.platform == "win32":
        for number in (signal.SIGINT, signal.SIGBREAK):
            signal.signal(number, lambda received, _: [loop.call_soon_threadsafe(stop, received)])
    else:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, int(number))


def on_hangup(loop: asyncio.AbstractEventLoop, reload: Callable[[], None]) -> None:
    """Call `reload()` in the loop for each SIGHUP, where the system has that signal. It never ends the process."""
    if sys.platform != "win32":
        loop.add_signal_handler(signal.SIGHUP, reload)


def ignore_hangup() -> None:
    """Ignore SIGHUP, whose default is to end the process, until `on_hangup` handles it."""
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


#: Where the process before this one listened, separated by commas.
_PREVIOUS_ADDRESSES: Final = "BYWAY_PREVIOUS_ADDRESSES"


def restart_process(arguments: list[str], addresses: Sequence[str]) -> None:
    """Replace this process, which listened at `addresses`, by a new Byway with these arguments. Does not return."""
    os.environ[_PREVIOUS_ADDRESSES] = ",".join(addresses)
    command = [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", "byway", *arguments]
    os.execv(command[0], command)  # noqa: S606 - this very program


def previous_addresses() -> tuple[str, ...]:
    """Where the process that this one replaces listened; empty when it was not started by `restart_process`."""
    addresses = os.environ.pop(_PREVIOUS_ADDRESSES, "")
    return tuple(addresses.split(",")) if addresses else ()


def steady_clock() -> float:
    """Seconds of a clock that cannot be set. On Linux it also runs while the machine sleeps."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    else:
        return time.monotonic()


def exit_now(code: int) -> None:
    """Exit at once, without any cleanup."""
    os._exit(code)


def detached() -> dict[str, Any]:
    """Arguments of `subprocess` that start a child outside the terminal's process group, so that Ctrl-C reaches only us."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    else:
        return {"start_new_session": True}


def end_with_parent() -> None:
    """In a child: ignore signals, and end with the parent (on Linux also when that is killed)."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)


def kill_first_when_out_of_memory() -> None:
    """In a child: when memory runs out, Linux kills this process before Byway."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500")


def lower_priority() -> None:
    """In a child: give way to the other processes, the parent among them."""
    if sys.platform == "win32":
        import ctypes

        below_normal = 0x4000
        ctypes.windll.kernel32.SetPriorityClass(ctypes.windll.kernel32.GetCurrentProcess(), below_normal)
    else:
        with contextlib.suppress(OSError):
            os.nice(10)


def limit_resources(memory: int, seconds: int) -> None:
    """In a child: end it when it takes more than `memory` bytes or `seconds` of a processor, where the system can."""
    if sys.platform != "win32":
        for limit, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds)):
            # macOS has the memory limit and does not always accept it.
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(limit, (most, most))


#: The variables that a child process needs. Others may contain secrets and are not passed on.
_SAFE_VARIABLES: Final = (
    "APPDATA COMSPEC HOME LANG LC_ALL LD_LIBRARY_PATH LOCALAPPDATA OMP_NUM_THREADS PATH PYTHONHOME PYTHONPATH "
    "SYSTEMROOT TEMP TMP TMPDIR USERPROFILE VIRTUAL_ENV WINDIR"
).split()


def safe_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child process: without variables that may contain secrets."""
    return {name: environ[name] for name in _SAFE_VARIABLES if name in environ}


def is_same_process(pid: int, start: str) -> bool:
    """Does the process still run, and is it the one that started at `start`? That is known on Linux only, in clock ticks."""
    if pid <= 0:
        return False
    if sys.platform == "linux":
        try:
            # The command in brackets may contain spaces; field 22 of the line is the start (proc_pid_stat(5)).
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return False
        return fields[0] not in ("Z", "X") and (not start or fields[19] == start)
    elif sys.platform == "win32":
        import ctypes

        query_limited_information = 0x1000
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        handle = kernel.OpenProcess(query_limited_information, False, pid)
        if handle:
            kernel.CloseHandle(handle)
        return bool(handle)
    else:
        try:
            os.kill(pid, 0)
        except PermissionError:
            return True
        except OSError:
            return False
        return True


def resident_memory(pid: int) -> int | None:
    """Bytes of memory of a process, with the files that it has mapped. None when unknown."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        if sys.platform == "linux":
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
        elif sys.platform == "win32":
            return _working_set(pid)
        else:
            listing = subprocess.run(
                ["/bin/ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, timeout=5
            )
            return int(listing.stdout) * 1024
    return None


if sys.platform == "win32":

    def _working_set(pid: int) -> int | None:
        # https://learn.microsoft.com/windows/win32/api/psapi/nf-psapi-getprocessmemoryinfo (seen 2026-11-21).
        import ctypes
        from ctypes import wintypes

        class Counters(ctypes.Structure):
            _fields_: ClassVar = [
                ("cb", wintypes.DWORD),
                ("PageFaultCount", wintypes.DWORD),
                *((f"size{at}", ctypes.c_size_t) for at in range(8)),
            ]

        query_limited_information = 0x1000
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = wintypes.HANDLE
        process = wintypes.HANDLE(kernel.OpenProcess(query_limited_information, False, pid))
        if process.value is None:
            return None
        counters = Counters(ctypes.sizeof(Counters))
        try:
            success = kernel.K32GetProcessMemoryInfo(process, ctypes.byref(counters), counters.cb)
        finally:
            kernel.CloseHandle(process)
        # The second size is WorkingSetSize.
        return int(counters.size1) if success else None


def available_memory() -> int | None:
    """Bytes of memory that are available without swapping. None when unknown."""
    with contextlib.suppress(OSError, ValueError):
        if sys.platform == "linux":
            for line in Path("/proc/meminfo").read_text().splitlines():
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    return None


def user_name() -> str:
    """The name of the user of this process, "unknown" when the system has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def cpu_count() -> int:
    """The number of processors that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    else:
        return os.cpu_count() or 1


def connection_limit() -> int:
    """How many client connections the limit of open files allows, when each may need a second file for its backend."""
    if sys.platform != "win32":
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY:
            return max(16, min(_CONNECTIONS, (soft - _RESERVED_FILES) // 2))
    return _CONNECTIONS


def prepare_server() -> None:
    """Ask the system for what a server needs: as many open files as it gives, and memory that stays where it is."""
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
        if soft != resource.RLIM_INFINITY and soft < most:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if sys.platform == "linux":
        import ctypes

        # By default glibc chooses differently at each start for bodies of some 100 KB (measured: 30 % of the time).
        # Bodies of megabytes still go back to the system when they are done.
        trim_threshold, mmap_threshold = -1, -3
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(None)
            library.mallopt(mmap_threshold, 4 << 20)
            library.mallopt(trim_threshold, 16 << 20)


def trim_memory() -> None:
    """Return freed memory to the system. The C library keeps it otherwise, in an arena for each thread."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The event loop of servers: uvloop where it is installed; None for Python's own."""
    if sys.platform == "win32":
        return None
    else:
        try:
            import uvloop
        except ImportError:
            return None
        factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
        return factory


# ------------------------------------------------------------------------------------------------------------- terminal


def is_terminal(stream: TextIO) -> bool:
    """Whether `stream` is a terminal."""
    try:
        return stream.isatty()
    except ValueError:
        return False


def screen_size(stream: TextIO, usual: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the terminal; never fewer rows than usual, because older lines can be scrolled."""
    if not is_terminal(stream):
        return usual
    size = shutil.get_terminal_size((usual[1], usual[0]))
    return max(size.lines, usual[0]), max(size.columns, 40)


def supports_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether output to `stream` may have colours. https://no-color.org (seen 2026-11-20): any value but "" disables them."""
    return is_terminal(stream) and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def command_name() -> str:
    """How the command of this installation is called from a shell: `byway`, or its path when another or none is on the PATH."""
    own = Path(sys.executable).with_name("byway.exe" if sys.platform == "win32" else "byway")
    called = shutil.which("byway")
    if called and os.path.realpath(called) == os.path.realpath(own):
        return "byway"
    if not own.is_file():
        return f"{shlex.quote(sys.executable)} -m byway"
    with contextlib.suppress(ValueError):
        return shlex.quote(str(own.relative_to(Path.cwd())))
    return shlex.quote(str(own))
