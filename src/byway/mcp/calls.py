"""The tool calls in progress: limits their number, counts them, and cancels one when its client requests it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, NamedTuple

from msgspec import Struct

from byway.mcp.protocol import RequestId
from byway.mcp.tools import FETCH, SEARCH, ToolOutcome, failure

#: Calls in progress: of one caller, and of all callers.
MOST_OF_CALLER: Final = 8
MOST_CALLS: Final = 64


class CallName(NamedTuple):
    """What identifies a call: its caller, the session of the client, and the id of the request."""

    caller: str
    session: str
    id: RequestId


class ToolCounts(Struct):
    """How often a tool was called since the start."""

    calls: int = 0
    failed: int = 0


class ToolCallCancelled(Exception):
    """The client has cancelled the call."""


class McpCalls:
    """The calls in progress, and the counts of all."""

    def __init__(self) -> None:
        self._running: dict[CallName, asyncio.Task[ToolOutcome]] = {}
        self._counts = {SEARCH: ToolCounts(), FETCH: ToolCounts()}

    def __len__(self) -> int:
        return len(self._running)

    def counts(self) -> dict[str, ToolCounts]:
        """The counts of each tool as they are now."""
        return {name: ToolCounts(count.calls, count.failed) for name, count in self._counts.items()}

    async def run(self, name: CallName, tool: str, call: Coroutine[Any, Any, ToolOutcome]) -> ToolOutcome:
        """The outcome of a call. Raises ToolCallCancelled when `cancel` ends it."""
        refusal = self._refusal(name)
        if refusal:
            call.close()
            return failure(refusal)
        task = self._running[name] = asyncio.get_running_loop().create_task(call)
        counts = self._counts[tool]
        counts.calls += 1
        failed = True
        try:
            outcome = await task
            failed = outcome.failed
            return outcome
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                # The client has disconnected, or Byway stops. Waiting for the task has cancelled it too.
                raise
            raise ToolCallCancelled from None
        finally:
            counts.failed += failed
            del self._running[name]

    def _refusal(self, name: CallName) -> str:
        if name in self._running:
            return f"A call with the id {name.id!r} is still running. Use another id."
        own = sum(running.caller == name.caller for running in self._running)
        if own >= MOST_OF_CALLER or len(self._running) >= MOST_CALLS:
            return f"Too many calls are running: {MOST_OF_CALLER} of one client at most. Wait for one to end, then call again."
        return ""

    def cancel(self, name: CallName) -> None:
        """Cancel a call, if it is in progress."""
        if task := self._running.get(name):
            task.cancel()
