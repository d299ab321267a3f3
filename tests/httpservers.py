"""Stopping a server of the standard library."""

from __future__ import annotations

import contextlib
import socket
import socketserver


def stop(server: socketserver.TCPServer) -> None:
    """Stop `serve_forever` and close `server`, without waiting for the interval in which `serve_forever` looks for an end."""
    with contextlib.suppress(OSError):  # not every system can wake a thread that listens
        server.socket.shutdown(socket.SHUT_RDWR)
    server.shutdown()
    server.server_close()
