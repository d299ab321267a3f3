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


class NameSet:
    """The names that one header has had. A new name beyond `most` becomes `(other)`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._names: dict[bytes, str] = {}

    def name(self, header: bytes) -> str:
        """The name for the value of a header; an empty header has none."""
        name = self._names.get(header)
        if name is None:
            header = header[:_LONGEST_HEADER]
            name = self._names.get(header)
            if name is None:
                name = self._add(header)
        return name

    def _add(self, header: bytes) -> str:
        name = self._read(header)
        if len(self._names) >= self._most:
            return OTHER if name else ""
        self._names[header] = name
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
        if len(self._names) >= 4 * self._most:
            self._names.clear()
        self._names[header] = name
        return name

    def _read(self, header: bytes) -> str:
        return agent_name(header)


def agent_name(header: bytes) -> str:
    """The client program that `User-Agent` names: the product without its version; "" when it names none."""
    match = _AGENT.match(header[:_LONGEST_HEADER].decode("latin-1").strip())
    return match.group() if match else ""
