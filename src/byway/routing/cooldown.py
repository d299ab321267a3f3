"""What each backend is doing: a cool-down after failures, which orders targets and never refuses the last one."""

from __future__ import annotations

from typing import Final, TypeVar

_FIRST: Final = 2.0
_LONGEST: Final = 60.0

T = TypeVar("T")


class Health:
    """Failures per backend. Times are seconds of one monotonic clock, given by the caller."""

    def __init__(self) -> None:
        self._rests: dict[str, tuple[float, float]] = {}

    def failed(self, backend: str, now: float) -> None:
        """Let `backend` rest: 2 s at first, twice as long each time, a minute at most."""
        _, rest = self._rests.get(backend, (0.0, _FIRST / 2))
        rest = min(rest * 2, _LONGEST)
        self._rests[backend] = (now + rest, rest)

    def worked(self, backend: str) -> None:
        if self._rests:
            self._rests.pop(backend, None)

    def resting(self, backend: str, now: float) -> float:
        """Seconds that `backend` still rests; 0 when it does not."""
        until, _ = self._rests.get(backend, (0.0, 0.0))
        return max(0.0, until - now)

    def order(self, places: tuple[T, ...], backends: tuple[str, ...], now: float) -> tuple[T, ...]:
        """`places` with those of resting backends last. Nothing is left out: the last one is tried all the same."""
        if not self._rests:
            return places
        marked = sorted(zip(places, backends, strict=True), key=lambda pair: self.resting(pair[1], now) > 0)
        return tuple(place for place, _ in marked)
