"""An event loop that serves many requests: one for each request, with its threads, takes longer than most requests."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class Loop:
    """An event loop that is closed when the object is no longer used."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        weakref.finalize(self, self._loop.close)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run `work` to its end and cancel the tasks that it leaves, as `asyncio.run` does."""
        try:
            return self._loop.run_until_complete(work)
        finally:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
