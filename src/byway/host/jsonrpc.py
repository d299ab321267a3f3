"""JSON-RPC 2.0 with one message per line, as the Agent Client Protocol uses it over stdio.

https://agentclientprotocol.com/protocol/overview (seen 2026-11-30).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

#: Bytes of one message: a prompt may contain files and images.
LINE_LIMIT: Final = 64 << 20
#: Requests without an answer at once, in each direction.
_MOST_REQUESTS: Final = 1_000

INTERNAL_ERROR: Final = -32603
INVALID_PARAMS: Final = -32602
METHOD_NOT_FOUND: Final = -32601


class RpcFailure(Exception):
    """The error of a request."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


#: Answers a request: it runs at once up to its first wait, so that messages keep their order. Raises RpcFailure.
OnRequest = Callable[[str, Any], Awaitable[Any]]
OnNotification = Callable[[str, Any], None]


class RpcPeer:
    """One side of a connection: sends requests and notifications, and answers those of the other side."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        write: Callable[[bytes], None],
        drain: Callable[[], Awaitable[None]],
        on_request: OnRequest,
        on_notification: OnNotification,
    ) -> None:
        self._reader = reader
        self._write = write
        self._drain = drain
        self._on_request = on_request
        self._on_notification = on_notification
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._last_id = 0
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    async def run(self) -> None:
        """Read messages until the other side closes. Open requests fail then."""
        try:
            while line := await self._reader.readline():
                self._read(line)
                await self._drain()
        except (ValueError, ConnectionError):
            # A line over the limit, or a lost connection: nothing after it can be read.
            pass
        finally:
            self._closed = True
            for future in self._pending.values():
                if not future.done():
                    future.set_exception(RpcFailure(INTERNAL_ERROR, "The connection was closed."))
            self._pending.clear()
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    @property
    def closed(self) -> bool:
        """The other side has closed the connection."""
        return self._closed

    def send(self, method: str, params: Any) -> asyncio.Future[Any]:
        """Send a request now; the future has its result, or raises RpcFailure."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._closed or len(self._pending) >= _MOST_REQUESTS:
            reason = "The connection was closed." if self._closed else "Too many requests are open."
            future.set_exception(RpcFailure(INTERNAL_ERROR, reason))
            return future
        self._last_id += 1
        id = self._last_id
        self._pending[id] = future
        future.add_done_callback(lambda _: self._pending.pop(id, None))
        self._put({"id": id, "method": method, "params": params})
        return future

    def notify(self, method: str, params: Any) -> None:
        """Send a notification."""
        if not self._closed:
            self._put({"method": method, "params": params})

    def _put(self, message: dict[str, Any]) -> None:
        self._write(json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode() + b"\n")

    def _read(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(message, dict):
            return
        method, id = message.get("method"), message.get("id")
        if isinstance(method, str):
            if id is None:
                self._on_notification(method, message.get("params"))
            elif len(self._running) < _MOST_REQUESTS:
                self._answer(id, method, message.get("params"))
            else:
                self._fail(id, RpcFailure(INTERNAL_ERROR, "Too many requests are open."))
            return
        future = self._pending.get(id) if isinstance(id, int) else None
        if future is None or future.done():
            return
        error = message.get("error")
        if isinstance(error, dict):
            code = error.get("code")
            text = str(error.get("message") or "")
            future.set_exception(RpcFailure(code if isinstance(code, int) else INTERNAL_ERROR, text, error.get("data")))
        else:
            future.set_result(message.get("result"))

    def _answer(self, id: Any, method: str, params: Any) -> None:
        try:
            answer = self._on_request(method, params)
        except RpcFailure as failure:
            self._fail(id, failure)
            return
        task = asyncio.create_task(self._finish(id, answer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _finish(self, id: Any, answer: Awaitable[Any]) -> None:
        try:
            result = await answer
        except RpcFailure as failure:
            self._fail(id, failure)
        else:
            self._put({"id": id, "result": result})

    def _fail(self, id: Any, failure: RpcFailure) -> None:
        error: dict[str, Any] = {"code": failure.code, "message": failure.message}
        if failure.data is not None:
            error["data"] = failure.data
        self._put({"id": id, "error": error})
