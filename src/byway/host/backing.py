"""What an AgentHost needs of the program that it hosts."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from byway.host.events import AgentEvent, Permit
from byway.host.route import HostRoute


class AgentBacking(Protocol):
    """A way to run Claude Code. Its calls are made one after the other, `cancel` and `kill` at any time."""

    session: str
    """The id of the conversation; empty before the first one."""

    @property
    def ended(self) -> str | None:
        """What the process printed before it ended; None while it runs."""

    async def start(self, route: HostRoute, session: str, permit: Permit) -> None:
        """Start the process, and resume the conversation `session` if it is not empty.

        Raises AgentError, and ConversationLost when the agent cannot resume it.
        """

    def prompt(self, text: str) -> AsyncGenerator[AgentEvent]:
        """Run one turn. The last event is a TurnEnd. Raises AgentError when the process has ended."""

    async def cancel(self) -> None:
        """End the running turn. `prompt` ends with a TurnEnd."""

    async def switch(self, route: HostRoute) -> bool:
        """Use another endpoint in the running process, and keep its conversation. False: it has to be restarted."""

    async def close(self) -> None:
        """End the process and all its children. Raises nothing."""
