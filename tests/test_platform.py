"""What depends on the operating system, tested on the one that runs the tests."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import signal
import socket
import stat
import sys
from pathlib import Path

import pytest

from byway import platform


def test_a_file_is_replaced_atomically_with_owner_permissions(tmp_path: Path) -> None:
    file = tmp_path / "kept"
    file.write_text("old, and longer than the new one")
    platform.write_private(file, b"new")
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["kept"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "kept"
    file.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        platform.write_private(file, b"new")
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["kept"]


def test_a_symbolic_link_is_not_followed_when_writing(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    (tmp_path / "ours").symlink_to(theirs)
    with pytest.raises(FileExistsError, match="symbolic link"):
        platform.write_private(tmp_path / "ours", b"ours")
    assert theirs.read_text() == "theirs"


def test_a_private_folder_has_owner_permissions(tmp_path: Path) -> None:
    made = platform.private_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    shared.chmod(0o755)
    platform.private_folder(shared)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755


def test_the_data_folder_is_option_then_variable_then_default(tmp_path: Path) -> None:
    there = {"BYWAY_HOME": str(tmp_path / "home")}
    assert platform.data_folder(str(tmp_path / "given"), there) == tmp_path / "given"
    assert platform.data_folder(None, there) == tmp_path / "home"
    assert platform.data_folder("relative", {}) == Path.cwd() / "relative"
    assert platform.data_folder(None, {}).name == "byway"
    assert platform.config_folder().name == "byway"


def test_a_port_is_never_shared_and_its_owner_is_found() -> None:
    with platform.listen_tcp(socket.AF_INET, "127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            platform.listen_tcp(socket.AF_INET, "127.0.0.1", port)
        held = platform.port_owner(port)
        if sys.platform == "linux":
            assert held is not None
            assert held.pid == os.getpid()
            assert f"(process {os.getpid()})" in str(held)
            assert not any(secret in held.name for secret in sys.argv[1:] if len(secret) > 3)
    assert platform.port_owner(port) is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_owner_of_a_port_is_found_while_it_closes_other_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may close a file between the list of open files and the look at one."""
    readlink = os.readlink

    def closed_meanwhile(path: Path) -> str:
        if path.name == "0":
            raise FileNotFoundError(path)
        return readlink(path)

    monkeypatch.setattr(os, "readlink", closed_meanwhile)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        held = platform.port_owner(server.getsockname()[1])
    assert held is not None and held.pid == os.getpid()


def test_a_port_can_be_reused_immediately() -> None:
    with platform.listen_tcp(socket.AF_INET, "127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            listener.setblocking(True)
            # The side that closes first leaves the connection behind in TIME_WAIT.
            listener.accept()[0].close()
    platform.listen_tcp(socket.AF_INET, "127.0.0.1", port).close()


@pytest.fixture
def unix(tmp_path: Path) -> str:
    if sys.platform == "win32":
        pytest.skip("only on systems with unix sockets")
    return str(tmp_path / "s")


def test_a_unix_socket_has_its_permissions_from_the_start(unix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = []

    def chmod(path: str, mode: int) -> None:
        before.append(stat.S_IMODE(os.stat(path).st_mode))

    umask = os.umask(0o022)
    os.umask(umask)
    platform.listen_unix(unix, 0o660).close()
    assert stat.S_IMODE(os.stat(unix).st_mode) == 0o660
    monkeypatch.setattr(os, "chmod", chmod)
    platform.listen_unix(unix, 0o660).close()
    assert before == [0o600]
    now = os.umask(umask)
    assert now == umask


def test_only_an_unused_unix_socket_is_replaced(unix: str) -> None:
    first = platform.listen_unix(unix, 0o600)
    with pytest.raises(FileExistsError, match="another process listens"):
        platform.listen_unix(unix, 0o600)
    first.close()
    platform.listen_unix(unix, 0o600).close()
    os.unlink(unix)
    Path(unix).write_text("a file of somebody")
    with pytest.raises(FileExistsError, match="not a socket"):
        platform.listen_unix(unix, 0o600)
    assert Path(unix).read_text() == "a file of somebody"


def test_the_environment_of_a_child_process_has_no_secrets() -> None:
    given = {"PATH": "/bin", "HOME": "/home/x", "OPENAI_API_KEY": "k", "PYTHONPATH": "src", "BYWAY_KEY": "k"}
    assert platform.safe_environment(given) == {"PATH": "/bin", "HOME": "/home/x", "PYTHONPATH": "src"}


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems with these signals")
def test_a_stop_signal_is_delivered_in_the_loop() -> None:
    async def run() -> list[int]:
        signals: list[int] = []
        stopped = asyncio.Event()

        def stop(number: int) -> None:
            signals.append(number)
            if len(signals) == 2:
                stopped.set()

        platform.on_stop_signal(asyncio.get_running_loop(), stop)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(stopped.wait(), 30)
        return signals

    with asyncio.Runner(loop_factory=platform.loop_factory()) as runner:
        assert sorted(runner.run(run())) == [signal.SIGINT, signal.SIGTERM]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_without_no_color_gets_colour() -> None:
    assert platform.supports_colour(Terminal(), {"TERM": "xterm"})
    assert not platform.supports_colour(Terminal(), {"TERM": "xterm", "NO_COLOR": "1"})
    assert platform.supports_colour(Terminal(), {"TERM": "xterm", "NO_COLOR": ""})
    assert not platform.supports_colour(Terminal(), {"TERM": "dumb"})
    assert not platform.supports_colour(io.StringIO(), {"TERM": "xterm"})
    closed = Terminal()
    closed.close()
    assert not platform.is_terminal(io.TextIOWrapper(io.BytesIO()))


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of files")
def test_a_data_folder_that_others_can_write_is_closed_to_them(tmp_path: Path) -> None:
    for mode, after in ((0o777, 0o755), (0o775, 0o755), (0o1777, 0o1755), (0o755, 0o755), (0o700, 0o700)):
        tmp_path.chmod(mode)
        remark = platform.close_to_others(tmp_path)
        assert stat.S_IMODE(tmp_path.stat().st_mode) == after
        assert bool(remark) == (mode != after), oct(mode)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of files")
@pytest.mark.parametrize(("mode", "refused"), [(0o777, True), (0o770, False)])
def test_a_folder_of_another_user_that_everybody_can_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, refused: bool
) -> None:
    def not_permitted(path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    tmp_path.chmod(mode)
    monkeypatch.setattr(Path, "chmod", not_permitted)
    if refused:
        with pytest.raises(platform.UnsafeFile, match="chmod go-w"):
            platform.close_to_others(tmp_path)
    else:
        assert "written by its group" in platform.close_to_others(tmp_path)


def test_a_folder_on_a_full_disk_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with platform.lock_folder(tmp_path), pytest.raises(platform.FolderLocked), platform.lock_folder(tmp_path):
        pass
