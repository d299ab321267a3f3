"""The API keys of one backend: which of them the next call gets, and how long a refused one rests. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from byway.problems import Kind, Problem
from byway.upstream.credentials import StaticCredential

#: Seconds that a key rests after each kind of refusal, unless the backend names a time.
_RESTS: Final[Mapping[Kind, float]] = {"rate_limit": 10.0, "quota": 900.0, "billing": 900.0, "refused": 900.0}
#: The refusals of a key, from the one that passes soonest to the one that needs an operator.
_USEFUL: Final[tuple[Kind, ...]] = ("rate_limit", "quota", "billing", "refused")
_WORDS: Final[Mapping[Kind, str]] = {
    "rate_limit": "rate limited",
    "quota": "limit of the plan used up",
    "billing": "no credit",
    "refused": "rejected",
}
_SHORTEST: Final = 1.0
_LONGEST: Final = 86_400.0


class _Rest(NamedTuple):
    """Why a key is not used, and until when, in seconds of the monotonic clock."""

    kind: Kind
    message: str
    until: float


class RestingKey(NamedTuple):
    """A key that is not used now. Its text is not contained."""

    position: int
    """From 1."""
    reason: str
    seconds: float
    """For how much longer."""


class KeyPool:
    """The keys of one backend. One key is used until it is refused, so that the provider's cache stays warm."""

    __slots__ = ("_credentials", "_current", "_rests")

    def __init__(self, credentials: Sequence[StaticCredential]) -> None:
        self._credentials = tuple(credentials)
        self._current = 0
        self._rests: dict[int, _Rest] = {}

    def __len__(self) -> int:
        return len(self._credentials)

    def credential(self, index: int) -> StaticCredential:
        """The credential of a key."""
        return self._credentials[index]

    def pick(self, now: float) -> int:
        """Return the key for the next call. When all rest, it is the one whose rest ends first."""
        if self._rests and not self._is_usable(self._current, now):
            following = [(self._current + step) % len(self) for step in range(len(self))]
            usable = next((index for index in following if self._is_usable(index, now)), None)
            if usable is None:
                usable = min(following, key=lambda index: self._rests[index].until)
            self._current = usable
        return self._current

    def _is_usable(self, index: int, now: float) -> bool:
        rest = self._rests.get(index)
        if rest is not None and rest.until <= now:
            del self._rests[index]
            return True
        return rest is None

    def rest(self, index: int, problem: Problem, now: float) -> bool:
        """Let a key rest that was refused. Returns whether another one can be used; False for any other kind of problem."""
        default = _RESTS.get(problem.kind)
        if default is None:
            return False
        wait = default if problem.retry_after is None else problem.retry_after
        self._rests[index] = _Rest(problem.kind, problem.message, now + min(max(wait, _SHORTEST), _LONGEST))
        return any(self._is_usable(other, now) for other in range(len(self)))

    def most_useful(self, problem: Problem, now: float) -> Problem:
        """The problem for a request when all keys rest: the one that passes soonest, so that the client can wait for it."""
        if problem.kind not in _RESTS or not self._rests:
            return problem
        best = min(self._rests.values(), key=lambda rest: (_USEFUL.index(rest.kind), rest.until))
        if best.kind == problem.kind:
            return problem
        wait = max(0.0, best.until - now) if best.kind == "rate_limit" else None
        return Problem(best.kind, best.message, retry_after=wait, facts=problem.facts)

    def resting(self, now: float) -> list[RestingKey]:
        """The keys that are not used now."""
        return [
            RestingKey(index + 1, _WORDS[rest.kind], rest.until - now)
            for index, rest in sorted(self._rests.items())
            if rest.until > now
        ]
