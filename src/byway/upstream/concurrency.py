"""A bound on the requests of one backend that run at once, with a bounded queue. No I/O."""

from __future__ import annotations

import asyncio
from collections import OrderedDict


class QueueFull(Exception):
    """All slots are in use and the queue is full."""


class ConcurrencyLimit:
    """Slots for requests. A request without one waits in a queue: first in, first out, of bounded length."""

    __slots__ = ("_free", "_queue", "_queue_limit")

    def __init__(self, slots: int, queue_limit: int) -> None:
        self._free = slots
        self._queue_limit = queue_limit
        self._queue: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    def try_acquire(self) -> bool:
        """Take a free slot; False when there is none. This is all that a request costs while slots are free."""
        if self._free:
            self._free -= 1
            return True
        return False

    async def acquire(self) -> None:
        """Take a slot, after waiting in the queue when none is free. Raises QueueFull.

        A cancelled request leaves the queue.
        """
        if self.try_acquire():
            return
        if len(self._queue) >= self._queue_limit:
            raise QueueFull
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue[slot] = None
        try:
            await slot
        except BaseException:
            self._queue.pop(slot, None)
            if not slot.cancelled():
                # The slot was handed over in the same moment as the request was cancelled.
                self.release()
            raise

    def release(self) -> None:
        """Give a slot back: to the first request of the queue, else to the free ones."""
        while self._queue:
            slot, _ = self._queue.popitem(last=False)
            if not slot.done():
                slot.set_result(None)
                return
        self._free += 1
