"""Decides when a changed config file has been written completely, so that half of it is never loaded. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final, NamedTuple

#: Seconds for which a file that looks incomplete must stay unchanged before it is loaded all the same.
SETTLE_SECONDS: Final = 2.0


class FileStamp(NamedTuple):
    """What identifies one state of a file: modification time in nanoseconds, size in bytes, inode."""

    modified: int
    size: int
    inode: int


def looks_complete(stamp: FileStamp, last_byte: bytes, loaded: FileStamp | None) -> bool:
    """Return False for a file that may be in the middle of a save.

    `loaded` is the state that was loaded last. A save in place truncates the file first and then writes it: the file
    is then empty, ends in the middle of a line, or is shorter than before. A file that was moved into place has
    another inode and may be shorter.
    """
    shortened = loaded is not None and loaded.inode == stamp.inode and stamp.size < loaded.size
    return last_byte == b"\n" and not shortened


class ChangeTracker:
    """Tells when to load a config again, from repeated observations of its files."""

    def __init__(self, stamp: Hashable) -> None:
        """`stamp` identifies the state that is loaded now."""
        self._loaded = stamp
        self._observed = stamp
        self._since = 0.0

    def is_due(self, stamp: Hashable, complete: Callable[[], bool], now: float) -> bool:
        """Return True once for each new state, when it has stayed the same from one observation to the next.

        A state that is not `complete` has to stay the same for SETTLE_SECONDS. `now` is in seconds of a monotonic clock.
        """
        if stamp != self._observed:
            self._observed, self._since = stamp, now
            return False
        if stamp == self._loaded or (now - self._since < SETTLE_SECONDS and not complete()):
            return False
        self._loaded = stamp
        return True
