"""Short names from request headers, with a limit on how many different ones are kept."""

from __future__ import annotations

import re
from typing import Final

from byway.usage.record import OTHER

#: Characters of a name.
LONGEST: Final = 64
#: Bytes of a header that are read and remembered.
_LONGEST_HEADER: Final = 1024
_AGENT: Final = re.compile(r"[A-Za-z0-9._-]{1,32}")


class NameSet(dict[bytes, str]):
    """The names that the values of one header stand for. A new name beyond `most` becomes `(other)`."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __missing__(self, header: bytes) -> str:
        """The name of a header that is not remembered; an empty header has none."""
        header = header[:_LONGEST_HEADER]
        name = self.get(header)
        return self._add(header) if name is None else name

    def _add(self, header: bytes) -> str:
        name = self._read(header)
        if len(self) >= self._most:
            return OTHER if name else ""
        self[header] = name
        return name

    def _read(self, header: bytes) -> str:
        text = header.decode("utf-8", "replace").strip()
        return "".join(character for character in text if character.isprintable())[:LONGEST]


class AgentSet(NameSet):
    """The client programs, as `User-Agent` names them: the product without its version."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._agents: set[str] = set()

    def _add(self, header: bytes) -> str:
        name = self._read(header)
        if name not in self._agents and len(self._agents) >= self._most:
            return OTHER if name else ""
        self._agents.add(name)
        # Each version of a client has a header of its own: the cache starts again when it is full.
        if len(self) >= 4 * self._most:
            self.clear()
        self[header] = name
        return name

    def _read(self, header: bytes) -> str:
        return agent_name(header)


def agent_name(header: bytes) -> str:
    """The client program that `User-Agent` names: the product without its version; "" when it names none."""
    match = _AGENT.match(header[:_LONGEST_HEADER].decode("latin-1").strip())
    return match.group() if match else ""
