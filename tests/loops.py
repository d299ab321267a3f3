"""Event loops for tests: one that serves many requests, and one that does not wait for its timers."""

from __future__ import annotations

import asyncio
import selectors
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, Final, TypeVar, TypeVarTuple

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Loop:
    """An event loop that is closed when the object is no longer used. A new loop for each request, with its threads, would
    take longer than most requests."""

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


#: Seconds for which sockets are watched before a timer is skipped to, and for each second of the timer. The system delivers
#: what was sent to a socket of the same process at once; a busy machine may take a moment.
_MOMENT: Final = 0.004
_MOMENT_PER_SECOND: Final = 0.001


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock skips to the next timer when no socket is ready and no thread of an executor works.

    A test of timeouts takes no longer than its work, and a busy machine cannot make a timer of it too early. Both ends of each
    connection belong to this loop, and the code uses the clock of the loop. Other threads and processes would be too late.
    """

    def __init__(self) -> None:
        self._clock = _Clock()
        super().__init__(self._clock)

    def time(self) -> float:
        return super().time() + self._clock.skipped

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Arguments], Result], *args: *Arguments
    ) -> asyncio.Future[Result]:
        future = super().run_in_executor(executor, func, *args)
        self._clock.threads += 1
        future.add_done_callback(self._thread_ended)
        return future

    def _thread_ended(self, _: object) -> None:
        self._clock.threads -= 1


class _Clock(selectors.DefaultSelector):
    """Watches the sockets of a loop and adds up the seconds that it has skipped."""

    skipped = 0.0
    threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or self.threads:
            return super().select(timeout)
        moment = min(timeout, _MOMENT + _MOMENT_PER_SECOND * timeout)
        ready = super().select(moment)
        if not ready:
            self.skipped += timeout - moment
        return ready


def run_skipping(work: Coroutine[Any, Any, Result]) -> Result:
    """Run `work` as `asyncio.run` does, in a `SkippingLoop`."""
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        return runner.run(work)
