"""What is particular to Claude Code as a client, seen on the wire with 2.1.329 and 2.1.197. Pure; no other file knows it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Struct

from byway.messages.blocks import Block, Text, ToolReference, ToolResult, Unknown
from byway.messages.request import Request, Tool, Turn
from byway.problems import Problem

#: A text block, not a header: its digits differ from conversation to conversation (with 2.1.197 from request to
#: request), so in front of a prompt it makes a local model read everything again.
_ATTRIBUTION: Final = "x-anthropic-billing-header:"
#: How one of the client's system texts begins, whatever else it was told.
_IDENTITY: Final = (_ATTRIBUTION, "You are Claude Code", "You are a Claude agent")
#: A tool that stands for those which are not loaded yet; no model may call it.
_PLACEHOLDER: Final = "DeferredToolPlaceholder"

_REMINDER: Final = "<system-reminder>"
#: The client's first system message holds at least one of these.
_BRIEFING: Final = (
    "Primary working directory:",
    "Available agent types for",
    "The following deferred tools",
    "The following skills are",
    "Today's date is ",
)
#: What the client says in its first system message to one model it says to another in reminders, in front of the first
#: question. Those that are the same in every conversation hold one of these, near their start.
_TOLD: Final = (
    "Primary working directory:",
    "Available agent types for",
    "The following skills are",
    "You are powered by the model",
    "Attribution for git commits",
    "context:\n# currentDate\n",
)
_HEAD: Final = 300
#: No text of the client is longer; another's is left alone.
_LONGEST: Final = 100_000
#: What one conversation has for itself in a text that is otherwise the same for all: where such a stretch begins, and
#: where it ends ("" is the end of the text).
_STRETCHES: Final = (
    ("The following deferred tools ", "\n\n"),
    ("Today's date is ", "\n"),
    ("gitStatus: This is the git status", ""),
)
#: The lists of lines that tell where the client runs, by their first line, and the lines of them that differ.
_PLACES: Final = (" - Primary working directory: ", "Working directory: ", "CWD: ")
_PLACE: Final = re.compile(
    r"^(?: - )?(?:(?:Primary w|W|Additional w)orking director|Is a git repository|Is directory a git repo"
    r"|This is a git worktree|Scratchpad directory|CWD:|Date:).*\n?(?:  +- .*\n?)*",
    re.MULTILINE,
)
#: The memory's folder is named after the working folder, in the middle of the longest text.
_MEMORY: Final = "file-based memory"
_PATH: Final = re.compile(r"`([^`\n]*[/\\][^`\n]*)`")


def opening(request: Request) -> tuple[list[str], list[Turn]]:
    """The system texts and the turns as a model should read them: what is the same in every conversation comes first.

    A server keeps what it has computed for the beginning of a prompt. So the attribution block is left out; the client's
    first system message, and reminders that could stand in it, join the system texts; and what only this conversation
    has (folder, day, state of the repository, names of tools that can be loaded) goes to their end. All of it is decided
    by what stands before the first answer, which no later turn changes. Texts in other words stay as they are.
    """
    texts, turns = request.system, request.turns
    for text in texts:
        if text.startswith(_IDENTITY):
            break
    else:
        return texts, turns
    texts = [text for text in texts if not text.startswith(_ATTRIBUTION)]
    asked = 0
    for turn in turns:
        if turn.role != "user":
            break
        asked += 1
    if not asked:
        return texts, turns
    briefed = asked
    while briefed < len(turns) and turns[briefed].role == "system" and (briefing := _briefing(turns[briefed])):
        texts += briefing
        briefed += 1
    told, question = _told(turns[0])
    own: list[str] = []
    for at, text in enumerate(texts := [*texts, *told]):
        if len(text) < _LONGEST:
            texts[at], lines = _parted(text)
            own += lines
    if own:
        texts.append("\n".join(["# This conversation", *own]))
    return texts, [question, *turns[1:asked], *turns[briefed:]]


def _briefing(turn: Turn) -> list[str]:
    """The texts of the client's first system message; none when it is another one."""
    texts = [block.text for block in turn.blocks if type(block) is Text]
    known = any(mark in text for text in texts for mark in _BRIEFING)
    return texts if known and len(texts) == len(turn.blocks) else []


def _told(turn: Turn) -> tuple[list[str], Turn]:
    """(the reminders in front of the question that are for every conversation, the turn without them)."""
    if isinstance(turn.content, str):
        return [], turn
    told: list[str] = []
    left: list[Block] = []
    blocks = turn.blocks
    for at, block in enumerate(blocks):
        if type(block) is not Text or not block.text.startswith(_REMINDER):
            left += blocks[at:]
            break
        if any(mark in block.text[:_HEAD] for mark in _TOLD):
            told.append(block.text)
        else:
            left.append(block)
    return (told, Turn("user", left, turn.output_config)) if told and left else ([], turn)


@lru_cache(32)
def _parted(text: str) -> tuple[str, tuple[str, ...]]:
    """(what every conversation has of `text`, what this one has). A client repeats its texts with every request."""
    own: list[str] = []
    whole = text
    for mark in _PLACES:
        at = _line(text, mark)
        if at >= 0:
            end = text.find("\n\n", at)
            end = len(text) if end < 0 else end + 1
            lines = text[at:end]
            own += [line.rstrip() for line in _PLACE.findall(lines)]
            text = text[:at] + _PLACE.sub("", lines) + text[end:]
    at = text.find(_MEMORY)
    if at >= 0:
        for number, path in enumerate(_PATH.findall(text, at, text.find("\n", at) + 1), 1):
            name = "<memory folder>" if number == 1 else f"<memory folder {number}>"
            own.append(f" - {name} stands for {path}")
            text = text.replace(f"`{path}`", f"`{name}`")
    for mark, closer in _STRETCHES:
        at = _line(text, mark)
        if at >= 0:
            end = text.find(closer, at) if closer else len(text)
            end = len(text) if end < 0 else end
            own.append(text[at:end].rstrip())
            text = text[:at] + text[end:].lstrip("\n")
    return (text if text is whole else text.rstrip()), tuple(own)


def _line(text: str, mark: str) -> int:
    """Where in `text` a line begins with `mark`; -1: nowhere."""
    return 0 if text.startswith(mark) else text.find(f"\n{mark}") + 1 or -1


#: How the one message of a WebSearch begins (2.1.197 and 2.1.329).
SEARCHES: Final = "Perform a web search for the query:"
#: Tools that look and change nothing. The client runs them without a verdict in auto mode (measured, 2.1.329).
HARMLESS: Final = frozenset(("Read", "Glob", "Grep", "ToolSearch", "ListAgents"))


#: Kinds of problems whose message Claude Code hides in the terminal: for 404 it shows a sentence of its own, for 403 that the
#: login failed, and to that of a 502 it adds that the failure is temporary. It shows the message of a 424 after one request
#: (measured, 2.1.329 and 2.1.332).
_HIDDEN: Final = frozenset(("not_found", "model_not_found", "refused", "forbidden"))
_SHOWN_STATUS: Final = 424


def show_message(problem: Problem, user_agent: str) -> None:
    """Change the status of `problem` to one whose message interactive Claude Code shows. For failed streams of Messages.

    Other requests keep their status: after a 404 the client's own classifier, which does not stream, tries the main model,
    and a failed token count is estimated. `claude -p` (`sdk-cli`) and other clients keep it too.
    """
    if problem.kind in _HIDDEN and "(external, cli)" in user_agent:
        problem.status = _SHOWN_STATUS
        problem.retry = False


def remark(text: str) -> bool:
    """Is this text of a user's turn the client's own word, and not the user's?"""
    return text.lstrip().startswith(_REMINDER)


def reminder(text: str) -> str:
    """A system message in mid-conversation, as user text: many templates allow one system message, and only first.

    The tag is the one that the client itself uses for what it adds to a user's turn.
    """
    return text if remark(text) else f"{_REMINDER}\n{text}\n</system-reminder>"


class _Named(Struct):
    """The tool of a change: by its name, or defined on the spot."""

    name: str = ""
    definition: Tool | None = None


class _Change(Struct):
    type: str
    tool: _Named


class _Summary(Struct):
    """A `compaction` block: the changes in what it stands for."""

    tool_changes: list[_Change] | None = None


_change: Final = msgspec.json.Decoder(_Change)
_summary: Final = msgspec.json.Decoder(_Summary)
_CHANGES: Final = frozenset(("tool_addition", "tool_removal", "compaction"))


def tools(request: Request) -> list[Tool]:
    """The tools that the model may call now, those loaded in mid-conversation last, so that the prompt's beginning holds.

    A tool with `defer_loading` counts as loaded once a result in the conversation refers to it, or a `tool_addition` does.
    """
    offered = request.params.tools or []
    if not request.loose and not any([tool.defer_loading or tool.name == _PLACEHOLDER for tool in offered]):
        return offered
    late = {tool.name: tool for tool in offered if tool.defer_loading}
    loaded: dict[str, Tool] = {}
    gone = {_PLACEHOLDER}
    for turn in request.turns:
        for block in turn.blocks:
            inner = block.content if isinstance(block, ToolResult) and isinstance(block.content, list) else [block]
            for part in inner:
                if type(part) is ToolReference and part.tool_name in late:
                    loaded.setdefault(part.tool_name, late[part.tool_name])
                elif type(part) is Unknown and part.kind in _CHANGES:
                    for change in _changes(part):
                        _follow(change, late, loaded, gone)
    now = [tool for tool in offered if not tool.defer_loading]
    return [tool for tool in [*now, *loaded.values()] if tool.name not in gone]


def _changes(block: Unknown) -> list[_Change]:
    """The changes of the tools that a block tells: none when it is of another form, and then it is a text like others.

    The form is that of the anthropic SDK 2.11.0, `BetaRequestToolAdditionBlockParam` and its like (seen 2026-11-21).
    """
    try:
        if block.kind == "compaction":
            return _summary.decode(block.raw).tool_changes or []
        return [_change.decode(block.raw)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []


def _follow(change: _Change, late: dict[str, Tool], loaded: dict[str, Tool], gone: set[str]) -> None:
    """A tool that is taken away is offered no more, until it is added again."""
    definition = change.tool.definition
    name = definition.name if definition else change.tool.name
    if change.type == "tool_removal":
        gone.add(name)
        return
    if name != _PLACEHOLDER:
        gone.discard(name)
    if definition:
        late[name] = definition
    if name in late:
        loaded.setdefault(name, late[name])
