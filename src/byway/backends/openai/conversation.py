"""The conversation in chat form: which message says what, in which order. What one block says is `content`'s."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET, Struct, UnsetType

from byway import claudecode
from byway.backends import Target
from byway.backends.openai.content import Part, parts
from byway.messages import Request, Text, ToolResult, ToolUse, Turn, Unknown, unopened


class _Function(Struct):
    name: str
    arguments: str


class _CallOut(Struct):
    id: str
    function: _Function
    type: str = "function"


class Out(Struct):
    """One message."""

    role: str
    content: str | list[Part] | UnsetType | None = UNSET
    tool_calls: list[_CallOut] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET


def conversation(request: Request, target: Target) -> list[Out]:
    """The conversation in chat form. A turn's messages depend on that turn and those before it, never on
    later ones; what stands before the first answer is one unit."""
    out: list[Out] = []
    system, turns = claudecode.opening(request)
    for turn in turns:
        if turn.role == "system":
            texts = [said for block in turn.blocks for said in parts(block) if isinstance(said, str)]
            if out:
                _say(out, [claudecode.reminder(text) for text in texts])
            else:
                system.extend(texts)
        elif turn.role == "assistant":
            out.append(_assistant(turn))
        else:
            _user(out, turn)
    text = "\n\n".join([text for text in system if text])
    return [Out("system", text), *out] if text else out


def _user(out: list[Out], turn: Turn) -> None:
    """A user turn: its tool results first (they must follow their assistant turn), then all that it says."""
    if isinstance(turn.content, str):
        _say(out, [turn.content] if turn.content else [])
        return
    said: list[str | Part] = []
    for block in turn.content:
        if type(block) is ToolResult:
            text, pictures = _result(block)
            out.append(Out("tool", text, tool_call_id=block.tool_use_id))
            if pictures:
                said.append(f"Images in the result of {block.tool_use_id}:")
                said.extend(pictures)
        else:
            said.extend(parts(block))
    _say(out, said)


def _say(out: list[Out], said: Sequence[str | Part]) -> None:
    """Add what is said as the user's, to the last message when that is the user's too: many templates want turns to
    alternate."""
    if not said:
        return
    if out and out[-1].role == "user":
        before = out.pop().content
        said = [before, *said] if isinstance(before, str) else [*(before or ()), *said]
    texts = [one for one in said if isinstance(one, str)]
    if len(texts) == len(said):
        out.append(Out("user", "\n\n".join(texts)))
    else:
        out.append(Out("user", [Part("text", one) if isinstance(one, str) else one for one in said]))


def _result(block: ToolResult) -> tuple[str, list[Part]]:
    """A tool result's text and its images: the `tool` role takes text alone."""
    pictures: list[Part] = []
    if isinstance(block.content, str):
        text = block.content
    else:
        said = [one for inner in block.content or () for one in parts(inner)]
        text = "\n\n".join([one for one in said if isinstance(one, str)])
        pictures = [one for one in said if not isinstance(one, str)]
    if block.is_error and not text.startswith(("Error", "<tool_use_error>")):
        text = f"Error: {text}" if text else "Error"
    if not text:
        text = "(see the images below)" if pictures else "(no output)"
    return text, pictures


def _assistant(turn: Turn) -> Out:
    texts: list[str] = []
    calls: list[_CallOut] = []
    for block in turn.blocks:
        # What is left out is thinking: it is the model's own and over, and these servers have no place for it.
        if type(block) is Text:
            texts.append(block.text)
        elif type(block) is ToolUse:
            input = unopened(block.input, "tool_use.input").decode()
            calls.append(_CallOut(block.id, _Function(block.name, input or "{}")))
        elif type(block) is Unknown:
            texts.append(unopened(block.raw, "content").decode())
    text = "".join(texts)
    return Out("assistant", text or (None if calls else ""), calls or UNSET)
