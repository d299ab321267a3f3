"""Requests with `max_tokens: 0`: they want the prompt in the backend's cache, or verdicts on a call, and no text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from byway.messages.blocks import ToolUse
from byway.messages.events import MessageDelta, MessageStart, MessageStop, Part, Ping, Stop, Usage
from byway.messages.request import Request
from byway.messages.safeguards import ToolCall
from byway.pipeline.reply import Reply, opening

_PASSED: Final = (MessageStart, MessageStop, Ping)


class EmptyReply:
    """The reply to a request that wants no tokens: a backend makes at least one, which is left out."""

    sent = False

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def aim(self, backend: str, model: str) -> None:
        self._reply.aim(backend, model)

    async def send(self, parts: Sequence[Part]) -> None:
        """Pass on the beginning and the end of the answer."""
        passed: list[Part] = []
        for part in parts:
            if isinstance(part, _PASSED):
                passed.append(part)
            elif isinstance(part, MessageDelta):
                usage = msgspec.structs.replace(part.usage, output_tokens=0)
                passed.append(MessageDelta(Stop("max_tokens"), usage))
        if passed:
            await self._reply.send(passed)


def last_calls(request: Request) -> list[ToolCall]:
    """The tool calls in the assistant turn at the end of a conversation.

    Claude Code 2.1.332 has such a call reviewed with the beta `subagent-review-2026-11-17`: the request has
    `max_tokens: 0` and `safeguards` (measured 2026-11-29).
    """
    turn = request.turns[-1]
    if turn.role != "assistant" or isinstance(turn.content, str):
        return []
    return [
        ToolCall(block.id, block.name, [bytes(block.input).decode(errors="replace")])
        for block in turn.content
        if type(block) is ToolUse
    ]


def empty(request: Request) -> list[Part]:
    """An answer without content, for which no model was called."""
    return [opening(request), MessageDelta(Stop("max_tokens"), Usage(request.estimate)), MessageStop()]
