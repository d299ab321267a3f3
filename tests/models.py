"""GGUF files made for tests: a header with what a test wants in it, and a hub that has them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpservers


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(given: Any) -> bytes:
    """A typed value: str, bool, int (as u32), float, or a list of texts or numbers."""
    if isinstance(given, str):
        return struct.pack("<I", 8) + text(given)
    if isinstance(given, bool):
        return struct.pack("<IB", 7, given)
    if isinstance(given, int):
        return struct.pack("<II", 4, given)
    if isinstance(given, float):
        return struct.pack("<If", 6, given)
    head = struct.pack("<I", 9)
    if given and isinstance(given[0], str):
        return head + struct.pack("<IQ", 8, len(given)) + b"".join(map(text, given))
    return head + struct.pack("<IQ", 4, len(given)) + b"".join(struct.pack("<I", item) for item in given)


PAIRS: dict[str, Any] = {
    "general.architecture": "llama",
    "general.type": "model",
    "general.name": "Tiny Test",
    "general.size_label": "1M",
    "llama.block_count": 2,
    "llama.context_length": 4096,
    "general.file_type": 15,
    "tokenizer.ggml.tokens": ["a", "b", "c"] * 50,
    "tokenizer.ggml.token_type": [1, 2, 3],
    "tokenizer.chat_template": "{{ messages }}",
}


def gguf(pairs: Mapping[str, Any] = PAIRS, *, version: int = 3, tail: bytes = b"") -> bytes:
    """A file with this header; `tail` stands for its tensors."""
    body = b"".join(text(key) + value(given) for key, given in pairs.items())
    return b"GGUF" + struct.pack("<IQQ", version, 0, len(pairs)) + body + tail


@dataclass
class Asked:
    """A request as the hub has seen it."""

    path: str
    headers: Mapping[str, str]


@dataclass
class Hub:
    """What a hub has, how it behaves, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    """By path in the repository `owner/repo`."""
    received: list[Asked] = field(default_factory=list)
    answer: Callable[[BaseHTTPRequestHandler, str, bytes], bool] | None = None
    """Answers a request for a file itself, and then says True."""
    etag: str = '"one"'
    lfs: bool = True

    def listing(self) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": path, "size": len(data), "oid": "0" * 40}
            | ({"lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}} if self.lfs else {})
            for path, data in self.files.items()
        ]


def send(handler: BaseHTTPRequestHandler, status: int, data: bytes = b"", /, **headers: str) -> bool:
    """A whole answer; names of headers with _ for -."""
    handler.send_response(status)
    for name, given in {"content_length": str(len(data)), **headers}.items():
        handler.send_header(name.replace("_", "-"), given)
    handler.end_headers()
    handler.wfile.write(data)
    return True


def serve(handler: BaseHTTPRequestHandler, data: bytes, etag: str) -> None:
    """A file as a good server gives it: whole, or the part that was asked for."""
    wanted = handler.headers.get("range")
    if wanted and handler.headers.get("if-range", etag) == etag:
        first = int(wanted.removeprefix("bytes=").rstrip("-"))
        if first >= len(data):
            send(handler, 416, content_range=f"bytes */{len(data)}")
            return
        span = f"bytes {first}-{len(data) - 1}/{len(data)}"
        send(handler, 206, data[first:], etag=etag, content_range=span)
        return
    send(handler, 200, data, etag=etag)


@contextlib.contextmanager
def hub(files: Mapping[str, bytes] | None = None, host: str = "127.0.0.1", repo: str = "owner/repo") -> Iterator[Hub]:
    """A hub on loopback with one repository."""
    about = Hub(files=dict(files or {}))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            about.received.append(Asked(self.path, {name.lower(): given for name, given in self.headers.items()}))
            with contextlib.suppress(ConnectionError):
                self._answer()

        def _answer(self) -> None:
            if self.path == f"/api/models/{repo}/tree/main?recursive=true":
                send(self, 200, json.dumps(about.listing()).encode(), content_type="application/json")
                return
            path = self.path.removeprefix(f"/{repo}/resolve/main/").partition("?")[0]
            data = about.files.get(path)
            if about.answer is not None and about.answer(self, path, data or b""):
                return
            if data is None:
                send(self, 404, b"Entry not found")
            else:
                serve(self, data, about.etag)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((host, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        about.url = f"http://{host}:{server.server_port}"
        try:
            yield about
        finally:
            httpservers.stop(server)
