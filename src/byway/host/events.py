"""What a hosted agent does in a turn, as values. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from byway.endpoints.advice import Advice


class AgentText(Struct, frozen=True):
    """A piece of the answer."""

    text: str


class AgentToolCall(Struct, frozen=True):
    """A tool call has started."""

    id: str
    name: str
    input: dict[str, Any] = {}


class AgentToolResult(Struct, frozen=True):
    """A tool call has ended."""

    id: str
    failed: bool = False


class AgentRetry(Struct, frozen=True):
    """The endpoint failed, and the agent sends the request again."""

    attempt: int
    most: int
    delay: float
    """Seconds until then."""
    status: int | None = None


class AgentRestart(Struct, frozen=True):
    """The agent had ended. It was started again before this turn."""

    attempt: int
    most: int
    """Restarts in a row without a finished turn."""
    resumed: bool
    """The conversation continues. False: the agent cannot resume it, and a new one begins."""
    reason: str = ""
    """What the agent printed at its end."""


class AgentFailure(Struct, frozen=True):
    """The turn has failed."""

    advice: Advice
    replaces: str = ""
    """The text of this turn that repeats the failure: show the advice instead."""


class TurnEnd(Struct, frozen=True):
    """The turn has ended."""

    reason: str
    """`end_turn`, `cancelled`, `failed`, or a reason of the agent's."""


AgentEvent = AgentText | AgentToolCall | AgentToolResult | AgentRetry | AgentRestart | AgentFailure | TurnEnd


class PermissionQuestion(Struct, frozen=True):
    """A tool call that needs the user's permission."""

    tool: str
    input: dict[str, Any] = {}
    title: str = ""


#: Returns whether a tool call is allowed.
Permit = Callable[[PermissionQuestion], Awaitable[bool]]


class AgentError(Exception):
    """A hosted agent cannot be started or does not answer: why, and the next step."""


class ConversationLost(AgentError):
    """The agent runs, and cannot resume the conversation."""
