"""The addresses that Byway listens on: loopback, wide addresses, ports in use, unix sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from byway.server.listeners import Listener, ListenError, close, listen


@contextlib.contextmanager
def listening(
    *addresses: str, closed: bool = False, insecure: bool = False, mode: int | None = None
) -> Iterator[tuple[list[Listener], list[str]]]:
    listeners, notes = listen(addresses, mode=mode, closed=closed, insecure=insecure)
    try:
        yield listeners, notes
    finally:
        close(listeners)


def test_loopback_is_listened_at_as_it_is() -> None:
    with listening("127.0.0.1:0") as (listeners, notes):
        assert [(listener.host, listener.wide) for listener in listeners] == [("127.0.0.1", False)]
        assert listeners[0].port == listeners[0].socket.getsockname()[1]
        assert notes == []


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", ":0"])
def test_a_wide_address_without_keys_becomes_loopback_and_says_the_two_ways_out(address: str) -> None:
    with listening(address) as (listeners, notes):
        assert [(listener.host, listener.wide) for listener in listeners] == [("127.0.0.1", False)]
        assert len(notes) == 1
        assert "api_keys" in notes[0]
        assert "--insecure" in notes[0]


@pytest.mark.parametrize("why", ["closed", "insecure"])
def test_a_wide_address_is_kept_when_keys_are_asked_for_or_somebody_says_so(why: str) -> None:
    with listening("0.0.0.0:0", closed=why == "closed", insecure=why == "insecure") as (listeners, notes):
        assert [(listener.host, listener.wide) for listener in listeners] == [("0.0.0.0", True)]
        assert notes == []


def test_a_name_with_two_addresses_has_one_port() -> None:
    with listening("localhost:0") as (listeners, _):
        assert {listener.port for listener in listeners} == {listeners[0].port}
        assert not any(value.wide for value in listeners)


def test_narrowed_addresses_are_listened_at_once() -> None:
    with listening("127.0.0.1:0") as ((first,), _):
        port = first.port
    with listening(f"127.0.0.1:{port}", f"0.0.0.0:{port}") as (listeners, _):
        assert [listener.port for listener in listeners] == [port]


def test_a_port_in_use_names_who_holds_it_and_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port} is in use.*--port {port + 1}") as error:
            listen(["127.0.0.1:0", f"127.0.0.1:{port}"], closed=False, insecure=False)
        if sys.platform == "linux":
            assert f"(process {os.getpid()})" in str(error.value)


def test_an_address_of_another_machine_is_said_so() -> None:
    # 192.0.2.0/24 is kept for documentation: no machine has it.
    with pytest.raises(ListenError, match="not an address of this machine"):
        listen(["192.0.2.1:0"], closed=True, insecure=False)


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems with unix sockets")
def test_a_unix_socket_is_private_unless_told_otherwise_and_removed_at_the_end(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with listening(f"unix:{path}") as ((resource,), notes):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert (resource.port, resource.wide, str(resource), notes) == (None, False, f"unix:{path}", [])
    assert not os.path.exists(path)
    with listening(f"unix:{path}", mode=0o666):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o666
