"""The whole app in this process, with a scripted network, whose requests are recorded as usage."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

from casefile import Reply
from loaded import loaded
from papers import InProcess
from test_line import Network

from byway.gateway import Gateway
from byway.parsing.cache import PdfCache
from byway.runtime import Runtime
from byway.server.app import App
from byway.store import StoreError, UsageStore
from byway.usage.record import UsageRecord
from byway.usage.recorder import UsageRecorder

#: A price for every model: dollars per million tokens.
PRICE = {"input": 1.0, "output": 10.0, "cached": 0.1, "cache_write": 2.0}
MESSAGES = "/v1/messages"
CHAT = "/v1/chat/completions"


class MeteredApp:
    """One backend `box` with the model `local`, behind the app. Use it within one event loop."""

    def __init__(self, folder: Path, *, type: str = "generic", **sections: Any) -> None:
        backend = {"name": "box", "type": type, "url": "http://127.0.0.1:9", "models": ["local"]}
        settings = {
            "backends": [backend],
            "model_aliases": {"default": ["box/local"]},
            "prices": {"*": PRICE},
            **sections,
        }
        runtime = Runtime(loaded(settings))
        runtime.pdfs = PdfCache(InProcess())
        self.gateway = Gateway(runtime)
        self.store = UsageStore(folder)
        self.recorder = self.gateway.recorder = UsageRecorder(folder, self.store, StoreError)
        self.store.before_query = self.recorder.flush
        self.gateway.set_usage(runtime.config.usage)
        self.app = App(self.gateway)
        self.events: list[Any] = []
        """What the app has sent for the last request."""
        self._keeps = False
        self.on_send: Callable[[Any], None] = lambda message: None

    def answers(self, *replies: Reply, backend: str = "box") -> Network:
        """Let the backend give these answers in order, the last one again and again."""
        network = Network(list(replies))
        self.gateway.runtime.backends[backend].upstream = cast(Any, network)
        return network

    async def request(
        self,
        body: bytes | dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        path: str = MESSAGES,
        *,
        method: str = "POST",
        gone: asyncio.Event | None = None,
    ) -> tuple[int, bytes]:
        """Status and body of the answer. `gone`: the client disconnects when it is set."""
        if body is None:
            body = {"model": "claude-opus-4", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        received = [{"type": "http.request", "body": data, "more_body": False}]
        self.events = []

        async def receive() -> Any:
            if received:
                return received.pop()
            await (gone or asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            self.on_send(message)
            self.events.append(message)

        fields = {"host": "127.0.0.1", "content-length": str(len(data)), **(headers or {})}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": {name.encode(): value.encode() for name, value in fields.items()},
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 38080),
        }
        await self.app(scope, receive, send)
        status = self.events[0]["status"] if self.events else 0
        return status, b"".join(message.get("body", b"") for message in self.events[1:])

    def kept(self) -> list[UsageRecord]:
        """A list of the records that are made from now on. They do not go to the disk."""
        made: list[UsageRecord] = []
        self.recorder.add = made.append
        self._keeps = True
        return made

    def records(self) -> list[UsageRecord]:
        """The records so far, the oldest first."""
        self.recorder.flush()
        assert self.recorder.status == ("", 0, 0)
        return list(self.store.records())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._keeps:
            self.recorder.stop()
        await self.gateway.runtime.close()


def chat_answer(usage: Mapping[str, Any] | None = None, *, text: str = "Hello.", reason: str = "stop") -> Reply:
    """A whole chat completion."""
    body = {
        "id": "1",
        "object": "chat.completion",
        "model": "local",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}],
        "usage": usage or {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }
    return _reply(200, json.dumps(body).encode())


def chat_stream(usage: Mapping[str, Any], pieces: Sequence[str] = ("Hel", "lo."), *, ended: bool = True) -> Reply:
    """A streamed chat completion."""
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    if ended:
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        chunks.append({"choices": [], "usage": usage})
    frames = [b"data: %b\n\n" % json.dumps({"id": "1", "model": "local", **chunk}).encode() for chunk in chunks]
    return _reply(200, b"".join(frames) + (b"data: [DONE]\n\n" if ended else b""))


def message_answer(usage: Mapping[str, Any]) -> Reply:
    """A whole answer of the Messages API."""
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "local",
        "content": [{"type": "text", "text": "Hello."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }
    return _reply(200, json.dumps(body).encode())


def failure(status: int) -> Reply:
    """An error of the backend."""
    return _reply(status, json.dumps({"error": {"message": "It failed.", "type": "server_error"}}).encode())


def _reply(status: int, body: bytes) -> Reply:
    return Reply(status, {}, body)
