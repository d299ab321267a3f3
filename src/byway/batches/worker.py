"""BatchWorker: answers the requests of batches, a bounded number at once, and ends batches that are complete.

The database decides what is left to do, so that a restart continues where the last process has ended, however it ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from byway.batches.batch import BatchOutcome, BatchRequest, Rest, StoredBatch
from byway.batches.store import BatchStore
from byway.logs import log, log_exception
from byway.problems import Problem
from byway.store.database import StoreError

#: Attempts at a request whose failures may be temporary, and seconds before the next one: the first, and the most.
MOST_ATTEMPTS: Final = 8
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
#: Seconds of a `retry-after` that are waited for.
_LONGEST_RETRY_AFTER: Final = 3_600.0
#: Seconds between two looks for batches that are too old, and between two steps of a removal.
_CLEAN_EVERY: Final = 60.0
_CLEAN_PAUSE: Final = 0.05
#: Seconds between two attempts while the database cannot be used: the first, and the most.
_FIRST_STORE_PAUSE: Final = 0.5
_LONGEST_STORE_PAUSE: Final = 30.0

#: Answers a request; None when it was interrupted, so that it has to be answered again.
Answer = Callable[[StoredBatch, BatchRequest], Awaitable[BatchOutcome | None]]
#: Does what the API of a batch requires when all its requests have results, and returns its new detail (None: unchanged).
Complete = Callable[[StoredBatch, Rest], Awaitable[str | None]]


class BatchLimits(NamedTuple):
    """What the config sets: requests that are answered at once, and days for which results are kept."""

    concurrency: int
    keep_days: int


class _Retry(NamedTuple):
    id: int
    """The id of the request."""
    attempts: int


class _ActiveBatch:
    """A batch in progress."""

    def __init__(self, batch: StoredBatch) -> None:
        self.batch = batch
        self.position = 0
        """The id of the last request that was taken."""
        self.taken_all = False
        self.retries: deque[_Retry] = deque()
        """Requests that wait for another attempt: at most as many as are answered at once."""
        self.rests_until = 0.0
        """No request is taken before, by the monotonic clock: the backend needs a pause."""
        self.busy = 0
        """Requests that are answered, or whose results are being stored."""
        self.closed = False
        """It was seen canceled or expired: no further time is of interest."""
        self.ending = False
        """Its last step runs."""
        self.problem = ""
        """Why it could not end the last time."""
        self.running: set[asyncio.Task[None]] = set()
        """The tasks of requests without an answer yet: a cancellation ends them."""

    @property
    def rest(self) -> Rest:
        """What becomes of the requests that have no result now; "" while they are answered."""
        if self.batch.canceled:
            return "canceled"
        return "expired" if time.time() >= self.batch.expires else ""

    @property
    def has_work(self) -> bool:
        """A request can be taken."""
        return bool(self.retries) or not self.taken_all


class BatchWorker:
    """Create it in the running event loop, `start` it once, and call `notify` after a batch was added, canceled or deleted."""

    def __init__(
        self, store: BatchStore, answer: Answer, complete: Complete, limits: Callable[[], BatchLimits]
    ) -> None:
        self.store = store
        self.problem = ""
        """Why the database cannot be used; empty while it can."""
        self._answer = answer
        self._complete = complete
        self._limits = limits
        self._active: dict[int, _ActiveBatch] = {}
        self._busy = 0
        self._last_owner = ""
        """The owner whose request was taken last: owners take turns."""
        self._wake = asyncio.Event()
        self._changed = True
        self._halting = asyncio.Event()
        """No further request is taken: Byway stops."""
        self._cleaned = -_CLEAN_EVERY
        self._results: list[tuple[BatchRequest, BatchOutcome, asyncio.Future[None]]] = []
        self._storing: asyncio.Task[None] | None = None
        self._loop: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> int:
        """Requests that are being answered."""
        return self._busy

    @property
    def in_progress(self) -> int:
        """Batches in progress."""
        return len(self._active)

    def start(self) -> None:
        """Start to answer requests, beginning with those that an earlier process has left."""
        self._loop = asyncio.get_running_loop().create_task(self._run())

    def notify(self) -> None:
        """Look at the batches again."""
        self._changed = True
        self._wake.set()

    def drain(self) -> None:
        """Take no further request. Those that run may end."""
        self._halting.set()
        self._wake.set()

    async def stop(self) -> None:
        """Interrupt the running requests, which are answered again after a restart, and store the last results."""
        self.drain()
        if self._loop is not None:
            self._loop.cancel()
        for active in self._active.values():
            _interrupt(active)
        await asyncio.gather(*self._tasks, *((self._loop,) if self._loop else ()), return_exceptions=True)
        if self._storing is not None:
            await asyncio.gather(self._storing, return_exceptions=True)
        self.store.close()

    # ----------------------------------------------------------------------------------------------------------- loop

    async def _run(self) -> None:
        pause = _FIRST_STORE_PAUSE
        is_new = True
        while not self._halting.is_set():
            self._wake.clear()
            try:
                if is_new:
                    await asyncio.to_thread(self.store.discard_incomplete)
                    is_new = False
                wait = await self._step()
                pause = _FIRST_STORE_PAUSE
                self._works()
            except StoreError as error:
                self._fails(str(error))
                self._changed = True
                wait, pause = pause, min(2 * pause, _LONGEST_STORE_PAUSE)
            except Exception:
                # The worker must continue: other batches do not depend on this one.
                log_exception("The worker of batches failed unexpectedly. Please report this bug.")
                self._changed = True
                wait = _LONGEST_STORE_PAUSE
            await _wait(self._wake, wait)

    async def _step(self) -> float:
        """Do what can be done now. Returns the seconds until there may be more to do."""
        if self._changed:
            self._changed = False
            self._cleaned = -_CLEAN_EVERY
            await self._read_batches()
        for active in list(self._active.values()):
            await self._end_if_complete(active)
        limits = self._limits()
        while self._busy < limits.concurrency and not self._halting.is_set():
            following = self._next_batch()
            if following is None:
                break
            await self._take(following)
        return await self._clean_up(limits.keep_days, self._next_time())

    async def _read_batches(self) -> None:
        batches = await asyncio.to_thread(self.store.in_progress)
        numbers = set()
        for batch in batches:
            numbers.add(batch.number)
            active = self._active.get(batch.number)
            if active is None:
                active = self._active[batch.number] = _ActiveBatch(batch)
            active.batch = batch
        for number in self._active.keys() - numbers:
            _interrupt(self._active.pop(number))

    async def _end_if_complete(self, active: _ActiveBatch) -> None:
        rest = active.rest
        active.closed = bool(rest)
        if active.ending or (not active.has_work and active.rests_until > time.monotonic()):
            return
        if rest:
            _interrupt(active)
            active.retries.clear()
            active.taken_all = True
        if active.busy or active.has_work:
            return
        if not rest and await asyncio.to_thread(self.store.next_request, active.batch) is not None:
            # A request was interrupted without a reason that lasts.
            active.position, active.taken_all = 0, False
            return
        active.ending = True
        task = asyncio.get_running_loop().create_task(self._end(active, rest))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end(self, active: _ActiveBatch, rest: Rest) -> None:
        """End a batch. When that fails it is tried again: its results stay."""
        try:
            # The counts are those of the database.
            batch = await asyncio.to_thread(self.store.get, active.batch.id, None)
            detail = await self._complete(batch, rest)
            await asyncio.to_thread(self.store.end, batch, rest, time.time(), detail)
        except (Problem, StoreError) as error:
            self._ends_later(active, error.message if isinstance(error, Problem) else str(error))
        except Exception:
            log_exception("A batch could not end. Please report this bug.", batch=active.batch.id)
            self._ends_later(active, "internal error")
        else:
            self._ended(batch, rest)
        self._wake.set()

    def _ends_later(self, active: _ActiveBatch, problem: str) -> None:
        if active.problem != problem:
            log("A batch cannot end yet", logging.ERROR, batch=active.batch.id, problem=problem)
        active.problem = problem
        active.ending = False
        active.rests_until = time.monotonic() + _LONGEST_STORE_PAUSE

    def _ended(self, batch: StoredBatch, rest: Rest) -> None:
        self._active.pop(batch.number, None)
        self._cleaned = -_CLEAN_EVERY
        log(
            "Batch ended",
            batch=batch.id,
            requests=batch.total,
            succeeded=batch.succeeded,
            errored=batch.errored,
            **({rest: batch.left} if rest and batch.left else {}),
        )

    def _next_batch(self) -> _ActiveBatch | None:
        """The batch whose request is taken next: the oldest one of the next owner that has any."""
        now = time.monotonic()
        ready: dict[str, _ActiveBatch] = {}
        for active in self._active.values():
            if active.has_work and not active.rest and active.rests_until <= now:
                ready.setdefault(active.batch.owner, active)
        if not ready:
            return None
        owners = sorted(ready)
        owner = next((owner for owner in owners if owner > self._last_owner), owners[0])
        self._last_owner = owner
        return ready[owner]

    async def _take(self, active: _ActiveBatch) -> None:
        retry = active.retries.popleft() if active.retries else None
        after = active.position if retry is None else retry.id - 1
        request = await asyncio.to_thread(self.store.next_request, active.batch, after)
        if request is None:
            active.taken_all = True
            self._wake.set()
            return
        if retry is None:
            active.position = request.id
        active.busy += 1
        self._busy += 1
        task = asyncio.get_running_loop().create_task(self._process(active, request, retry.attempts if retry else 0))
        active.running.add(task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _next_time(self) -> float:
        """Seconds until a batch expires, or has rested."""
        now, clock = time.monotonic(), time.time()
        times = [_CLEAN_EVERY]
        for active in self._active.values():
            if not active.closed:
                times.append(active.batch.expires - clock)
            if active.rests_until > now:
                times.append(active.rests_until - now)
        return max(0.01, min(times))

    async def _clean_up(self, keep_days: int, wait: float) -> float:
        if time.monotonic() - self._cleaned < _CLEAN_EVERY:
            return wait
        if await asyncio.to_thread(self.store.clean_up, time.time(), keep_days):
            return min(wait, _CLEAN_PAUSE)
        self._cleaned = time.monotonic()
        return wait

    # -------------------------------------------------------------------------------------------------------- requests

    async def _process(self, active: _ActiveBatch, request: BatchRequest, attempts: int) -> None:
        task = asyncio.current_task()
        outcome = None
        try:
            outcome = await self._answer(active.batch, request)
            active.running.discard(task)
            if outcome is None:
                active.rests_until = time.monotonic() + _FIRST_PAUSE
                return
            if outcome.again and attempts + 1 < MOST_ATTEMPTS and not active.rest:
                self._retry(active, request, outcome, attempts + 1)
            else:
                await self._keep(request, outcome)
        except asyncio.CancelledError:
            # It is answered again, unless its batch was canceled or has expired.
            pass
        except Exception:
            log_exception("A request of a batch failed unexpectedly. Please report this bug.", batch=active.batch.id)
            active.rests_until = time.monotonic() + _LONGEST_PAUSE
        finally:
            active.running.discard(task)
            active.busy -= 1
            self._busy -= 1
            self._wake.set()

    def _retry(self, active: _ActiveBatch, request: BatchRequest, outcome: BatchOutcome, attempts: int) -> None:
        pause = min(_FIRST_PAUSE * 2 ** (attempts - 1), _LONGEST_PAUSE)
        if outcome.retry_after is not None:
            pause = min(max(pause, outcome.retry_after), _LONGEST_RETRY_AFTER)
        active.retries.append(_Retry(request.id, attempts))
        active.rests_until = max(active.rests_until, time.monotonic() + pause)

    async def _keep(self, request: BatchRequest, outcome: BatchOutcome) -> None:
        """Store a result, together with those that arrive meanwhile."""
        loop = asyncio.get_running_loop()
        is_stored = loop.create_future()
        self._results.append((request, outcome, is_stored))
        if self._storing is None:
            self._storing = loop.create_task(self._store_results())
        await is_stored

    async def _store_results(self) -> None:
        pause = _FIRST_STORE_PAUSE
        try:
            while self._results:
                results = self._results[:]
                try:
                    await asyncio.to_thread(self.store.finish, [(request, outcome) for request, outcome, _ in results])
                except StoreError as error:
                    self._fails(str(error))
                    if self._halting.is_set():
                        return
                    await _wait(self._halting, pause)
                    pause = min(2 * pause, _LONGEST_STORE_PAUSE)
                    continue
                self._works()
                pause = _FIRST_STORE_PAUSE
                del self._results[: len(results)]
                for _, _, is_stored in results:
                    if not is_stored.done():
                        is_stored.set_result(None)
        finally:
            self._storing = None
            if self._halting.is_set():
                for _, _, is_stored in self._results:
                    is_stored.cancel()

    def _fails(self, problem: str) -> None:
        if not self.problem:
            log("Batches wait: their database cannot be used", logging.ERROR, problem=problem)
        self.problem = problem

    def _works(self) -> None:
        if self.problem:
            log("Batches continue: their database can be used again")
        self.problem = ""


def _interrupt(active: _ActiveBatch) -> None:
    """End the requests of a batch that have no answer yet."""
    for task in active.running:
        task.cancel()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, at most so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
