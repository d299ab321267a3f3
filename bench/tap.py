"""A proxy on loopback that records the prompt counts of a model server, and can answer in its place.

`prefix` sends the requests and explains the figures.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

ANSWER = 16
"""Tokens of an answer: what is measured is the reading of a prompt, and a small model would talk until its window is full."""
_ENDS = ((b'"finish_reason":"length"', b'"finish_reason":"stop"'), (b'"max_tokens"', b'"end_turn"'))
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "accept-encoding"}
_MODEL = ("/chat/completions", "/v1/messages")

Script = Callable[[dict[str, str], dict[str, Any]], bytes | None]
"""(headers with names in lower case, body) -> the stream to answer with; None: call the server."""


@dataclass
class Seen:
    """One request to a model, as the server counted it."""

    prompt: int
    cached: int
    seconds: float
    """From the moment when the server was free for it to the answer's last byte."""


def counted(answer: bytes) -> tuple[int, int]:
    """(tokens of the prompt, those of them that were cached) by the usage in an answer, streamed or not."""
    prompt = cached = 0
    for item in _objects(answer):
        usage = item.get("usage") or item.get("message", {}).get("usage") or {}
        if "prompt_tokens" in usage:
            prompt = usage["prompt_tokens"]
            cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        elif "input_tokens" in usage:
            cached = usage.get("cache_read_input_tokens", 0)
            prompt = usage["input_tokens"] + cached
    return prompt, cached


def _objects(answer: bytes) -> Iterator[dict[str, Any]]:
    for line in answer.split(b"\n"):
        text = line.removeprefix(b"data:").strip()
        if text.startswith(b"{"):
            with contextlib.suppress(ValueError):
                yield json.loads(text)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is ended in mid-connection is none."""


class Tap:
    """`with Tap(url) as tap:` passes on to `url` what comes to `tap.url`."""

    def __init__(self, url: str = "", *, key: str = "", short: bool = False, script: Script | None = None) -> None:
        """`key` goes to the server instead of the client's; `short` cuts answers; `script` may answer first."""
        self.target, self.key = url, key
        self.requests: list[dict[str, Any]] = []
        """The requests to a model that were passed on."""
        self.seen: list[Seen] = []
        """The counts of each answer, in the order in which the answers ended."""
        self.short = short
        self.script = script
        self._turn = threading.Lock()
        tap = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                tap._pass(self)

            do_GET = do_HEAD = do_POST

            def log_message(self, format: str, *arguments: Any) -> None:
                """Nothing is printed."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _pass(self, client: BaseHTTPRequestHandler) -> None:
        body = client.rfile.read(int(client.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in client.headers.items() if name.lower() not in _HOP}
        is_model = client.command == "POST" and client.path.partition("?")[0].endswith(_MODEL)
        if is_model and self.script is not None:
            reply = self.script(headers, json.loads(body))
            if reply is not None:
                self._head(client, 200, "text/event-stream")
                _chunk(client, reply)
                _chunk(client, b"")
                return
        if is_model:
            fields = json.loads(body)
            self.requests.append(fields)
            if self.short:
                body = json.dumps({**fields, "max_tokens": ANSWER}, ensure_ascii=False).encode()
        if self.key:
            headers.pop("x-api-key", None)
            headers["authorization"] = f"Bearer {self.key}"
        # The model has one slot: other requests wait here, so that no request's time contains another's.
        with self._turn if is_model and self.short else contextlib.nullcontext():
            began = time.monotonic()
            answer = self._ask(client, body, headers)
            if is_model and self.short:
                self.seen.append(Seen(*counted(answer), time.monotonic() - began))

    def _ask(self, client: BaseHTTPRequestHandler, body: bytes, headers: dict[str, str]) -> bytes:
        """Pass one request to the server and its answer to the client; returns what has arrived of the answer."""
        target = urlsplit(self.target)
        server = http.client.HTTPConnection(target.hostname or "127.0.0.1", target.port, timeout=600)
        parts: list[bytes] = []
        try:
            server.request(client.command, target.path + client.path, body or None, headers)
            answer = server.getresponse()
            self._head(client, answer.status, answer.getheader("content-type") or "application/json")
            # A line at a time: what is looked for is never cut in two.
            while line := answer.readline():
                if self.short:
                    for cut, end in _ENDS:
                        line = line.replace(cut, end)
                parts.append(line)
                _chunk(client, line)
            _chunk(client, b"")
        except (OSError, http.client.HTTPException):
            client.close_connection = True
        finally:
            server.close()
        return b"".join(parts)

    @staticmethod
    def _head(client: BaseHTTPRequestHandler, status: int, kind: str) -> None:
        client.send_response(status)
        client.send_header("content-type", kind)
        client.send_header("transfer-encoding", "chunked")
        client.end_headers()


def _chunk(client: BaseHTTPRequestHandler, data: bytes) -> None:
    if client.command != "HEAD":
        client.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        client.wfile.flush()


def message(id: str, text: str, *calls: dict[str, Any]) -> bytes:
    """A streamed Messages answer: a text, then calls of the tool `Agent` with these inputs."""
    blocks: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"type": "text", "text": ""}, {"type": "text_delta", "text": text})
    ]
    for at, call in enumerate(calls):
        block = {"type": "tool_use", "id": f"toolu_{id}_{at}", "name": "Agent", "input": {}}
        blocks.append((block, {"type": "input_json_delta", "partial_json": json.dumps(call)}))
    begun: dict[str, Any] = {
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": "scripted",
        "content": [],
        "stop_reason": None,
    }
    usage = {"input_tokens": 1, "output_tokens": 1}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {**begun, "usage": usage}}]
    for index, (block, delta) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
    events += [{"type": "message_delta", "delta": end, "usage": usage}, {"type": "message_stop"}]
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)
