"""The parameter `compaction`: the model summarizes the conversation, and the answer is one `compaction` block.

Shapes: `BetaCompactionConfigParam` and `BetaCompactionBlock` of the `anthropic` SDK 2.11.0 (seen 2026-11-29).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw

from byway.messages.blocks import Wire
from byway.messages.events import BlockDelta, MessageDelta, Part, TextDelta, Usage, message_usage
from byway.messages.request import Request, ToolChoice, Turn
from byway.messages.stream import unfold
from byway.problems import Problem

_INSTRUCTIONS: Final = (
    "Summarize the conversation so far. The summary replaces it: include the task, decisions and their reasons, facts and file "
    "names that are needed later, what is done, and the next step. Write only the summary, and call no tool."
)


class _Compaction(Wire):
    type: str = ""
    instructions: str | None = None


def compaction_request(request: Request) -> Request | None:
    """The request for the summary; None when the client wants none. Raises Problem for a parameter of another shape."""
    params = request.params
    try:
        wanted = msgspec.json.decode(params.compaction, type=_Compaction | None)
    except msgspec.MsgspecError as error:
        raise Problem("invalid_request", f"compaction: {error}") from None
    if wanted is None:
        return None
    if wanted.type != "summarize":
        raise Problem("invalid_request", f"compaction.type: Input should be 'summarize', not {wanted.type[:60]!r}")
    instructions = (wanted.instructions or "").strip() or _INSTRUCTIONS
    params = msgspec.structs.replace(
        params,
        # The tools stay, so that the prompt begins as before.
        tool_choice=ToolChoice("none") if params.tools else None,
        output_config=None,
        output_format=None,
        compaction=Raw(),
    )
    return request.followed([*request.turns, Turn("user", instructions)], params)


def compacted(request: Request, parts: Sequence[Part]) -> list[Part]:
    """The answer with the summary in `parts`; its content is null when the model has written none."""
    text = "".join([part.delta.text for part in parts if type(part) is BlockDelta and type(part.delta) is TextDelta])
    usage = next((part.usage for part in reversed(parts) if type(part) is MessageDelta), Usage())
    message = {
        "id": request.id,
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [{"type": "compaction", "content": text.strip() or None}],
        "container": None,
        "stop_details": None,
        "stop_reason": "compaction",
        "stop_sequence": None,
        "usage": message_usage(usage),
    }
    return unfold(msgspec.json.encode(message))
