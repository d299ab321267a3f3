"""The cool-down of backends after failures. It orders the targets of a route and never removes one."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from byway.routing.route import TargetName

_SHORTEST: Final = 2.0
_LONGEST: Final = 60.0


class CoolDown:
    """Cool-downs by backend. Times are seconds of one monotonic clock, passed in by the caller."""

    def __init__(self) -> None:
        self._active: dict[str, tuple[float, float]] = {}
        """Until when, and for how long: by backend."""

    def failed(self, backend: str, now: float) -> None:
        """Start a cool-down: 2 s after the first failure, twice as long after each further one, at most a minute."""
        _, length = self._active.get(backend, (0.0, _SHORTEST / 2))
        length = min(length * 2, _LONGEST)
        self._active[backend] = (now + length, length)

    def succeeded(self, backend: str) -> None:
        """End the cool-down of `backend`."""
        if self._active:
            self._active.pop(backend, None)

    def remaining(self, backend: str, now: float) -> float:
        """Seconds until the cool-down of `backend` ends; 0 when it has none."""
        until, _ = self._active.get(backend, (0.0, 0.0))
        return max(0.0, until - now)

    def order(self, targets: tuple[TargetName, ...], now: float) -> tuple[TargetName, ...]:
        """`targets` with those of cooling backends last. None is removed: the only target is tried in any case."""
        if not self._active:
            return targets
        return tuple(sorted(targets, key=lambda target: self.remaining(target.backend, now) > 0))

    def keep(self, backends: Container[str]) -> None:
        """Forget backends that the config has no longer."""
        self._active = {name: state for name, state in self._active.items() if name in backends}
