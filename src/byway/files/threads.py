"""Threads for the calls of a storage. They do not keep the process alive, so a call that hangs does not delay its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class StorageThreads(Executor):
    """An executor whose threads are daemons. Those of `ThreadPoolExecutor` are waited for when the interpreter ends."""

    def __init__(self, count: int, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(count)
        ]
        self._lock = threading.Lock()
        self._started = self._closed = False

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Call the function in a thread. Raises RuntimeError after `close`."""
        future: Future[R] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the file storage is closed")
            if not self._started:
                self._started = True
                for thread in self._threads:
                    thread.start()
            self._calls.put(lambda: _run(future, lambda: function(*args, **kwargs)))
        return future

    def close(self, seconds: float) -> bool:
        """Accept no calls any more, and wait for the present ones. Returns whether they have ended within `seconds`."""
        with self._lock:
            self._closed = True
        if not self._started:
            return True
        for _ in self._threads:
            self._calls.put(None)
        latest = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, latest - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
