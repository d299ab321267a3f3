"""Large request bodies: a budget of memory for all of them at once, and a thread for work that would block the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from byway import platform
from byway.problems import Problem

P = ParamSpec("P")
R = TypeVar("R")

#: Bytes above which a body is large. Claude Code's requests are mostly below 300 KB.
LARGE: Final = 1 << 20
#: Bytes of large bodies that are held at once; each costs about three times its size while it is translated.
BUDGET: Final = 96 << 20
#: Seconds that a large request waits for its share of the budget.
WAIT_SECONDS: Final = 60.0
#: Seconds after the last large body until its memory is returned to the system.
_TRIM_AFTER: Final = 1.0
_thread: Final = ThreadPoolExecutor(1, thread_name_prefix="large")


class LargeBodies:
    """The budget. Requests that exceed it wait in order; their bodies are not read meanwhile."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = self._free = budget
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def reserve(self, size: int) -> None:
        """Take `size` bytes of the budget. Raises Problem `overloaded` when none become free in WAIT_SECONDS."""
        if not self._waiting and size <= self._free:
            self._free -= size
            return
        turn = asyncio.get_running_loop().create_future()
        entry = (size, turn)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._free += size
            else:
                self._waiting.remove(entry)
            self._admit()
            if isinstance(error, TimeoutError):
                raise Problem(
                    "overloaded",
                    f"Too many large requests at once: this one of {size >> 20} MiB waited {WAIT_SECONDS:.0f} s. Send it again.",
                    retry_after=10,
                ) from None
            raise

    def release(self, size: int) -> None:
        """Return `size` bytes to the budget."""
        self._free += size
        self._admit()
        if self._free == self._budget:
            # The last one is done. What it held is freed when its request ends, a moment from now.
            asyncio.get_running_loop().call_later(_TRIM_AFTER, _thread.submit, platform.trim_memory)

    def _admit(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= size
                turn.set_result(None)


async def off_loop(size: int, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`function(*args)` for a body of `size` bytes: directly when it is small, in a thread of its own when it is large.

    There is one such thread, so that large bodies are processed one after the other.
    """
    if size <= LARGE:
        return function(*args, **kwargs)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_thread, lambda: function(*args, **kwargs))
