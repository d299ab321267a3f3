"""A server with the Messages API on loopback that records every request: an endpoint of clients. No assertions."""

from __future__ import annotations

import http.server
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpservers

CREDENTIALS = ("authorization", "x-api-key", "proxy-authorization", "cookie")


@dataclass
class Seen:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: Any

    @property
    def credentials(self) -> dict[str, str]:
        return {name: value for name, value in self.headers.items() if name in CREDENTIALS}


@dataclass
class EndpointServer:
    """What the server answers, and what it has received."""

    name: str = "A"
    models: list[dict[str, Any]] = field(default_factory=list)
    """The list of models; an empty one is a 404."""
    list_status: int = 0
    """The status of the list instead."""
    answer: tuple[int, str, str] | None = None
    """Status, content type and body of each message, instead of a stream."""
    silent: bool = False
    """Accept messages and answer nothing."""
    seen: list[Seen] = field(default_factory=list)
    url: str = ""

    @property
    def messages(self) -> list[Seen]:
        """The messages of clients, without those of preflights."""
        return [
            request
            for request in self.seen
            if request.path.split("?")[0].endswith("/messages") and "x-byway-probe" not in request.headers
        ]


def stream(text: str, model: str) -> bytes:
    """A short answer as events."""
    usage = {"input_tokens": 5, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [], "usage": usage}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that discards an answer resets the connection.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving(**settings: Any) -> Iterator[EndpointServer]:
    """A running server."""
    state = EndpointServer(**settings)
    stopped = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *arguments: Any) -> None:
            return

        def _respond(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _note(self, body: Any = None) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.seen.append(Seen(self.command, self.path, headers, body))

        def do_HEAD(self) -> None:
            self._respond(200, "text/plain", b"")

        def do_GET(self) -> None:
            self._note()
            body = {"data": state.models, "has_more": False}
            self._respond(
                state.list_status or (200 if state.models else 404), "application/json", json.dumps(body).encode()
            )

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self._note(body)
            if self.path.split("?")[0].endswith("/count_tokens"):
                self._respond(200, "application/json", b'{"input_tokens": 5}')
            elif state.silent:
                stopped.wait(30)
            elif state.answer is not None:
                status, kind, text = state.answer
                self._respond(status, kind, text.encode())
            else:
                self._respond(200, "text/event-stream", stream(f"Hello from {state.name}", body["model"]))

    server = _Server(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        stopped.set()
        httpservers.stop(server)
