"""Everything that is specific to Claude Code as a client, as recorded with 2.1.329 and 2.1.197. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from byway.bounded import RecentValues
from byway.decoding import DECODE_ERRORS
from byway.messages.blocks import Block, Text, ToolReference, ToolResult, Unknown
from byway.messages.request import Request, Turn
from byway.messages.tools import Tool
from byway.problems import Problem

#: A text block, not a header. Its digits differ in each conversation (with 2.1.197 in each request), so at the beginning of a
#: prompt it makes a local server's cache useless.
_ATTRIBUTION: Final = "x-anthropic-billing-header:"
#: The beginning of one of the client's system texts, also with a system prompt of the user.
_IDENTITY: Final = (_ATTRIBUTION, "You are Claude Code", "You are a Claude agent")
#: A placeholder for tools that are not loaded yet; no model may call it.
_PLACEHOLDER: Final = "DeferredToolPlaceholder"

#: Bytes of the longest body that can be the request for the quota.
_PROBE_SIZE: Final = 2_000

_REMINDER: Final = "<system-reminder>"
#: The client's first system message contains at least one of these.
_BRIEFING: Final = (
    "Primary working directory:",
    "Available agent types for",
    "The following deferred tools",
    "The following skills are",
    "Today's date is ",
)
#: For some models the client puts its first system message into reminders before the first question. Reminders that are the
#: same in every conversation contain one of these near their start.
_SHARED: Final = (
    "Primary working directory:",
    "Available agent types for",
    "The following skills are",
    "You are powered by the model",
    "Attribution for git commits",
    "context:\n# currentDate\n",
)
_HEAD: Final = 300
#: No text of the client is longer; a longer one is not changed.
_LONGEST: Final = 100_000
#: Bytes of a request whose system texts are remembered.
_CACHED: Final = 512 << 10
#: Passages that differ between conversations, in texts that are otherwise the same: their beginnings and ends ("" is the end of
#: the text).
_PASSAGES: Final = (
    ("The following deferred tools ", "\n\n"),
    ("Today's date is ", "\n"),
    ("gitStatus: This is the git status", ""),
)
#: The first lines of lists that describe the client's environment, and the lines in them that differ.
_ENVIRONMENTS: Final = (" - Primary working directory: ", "Working directory: ", "CWD: ")
_DIFFERING: Final = re.compile(
    r"^(?: - )?(?:(?:Primary w|W|Additional w)orking director|Is a git repository|Is directory a git repo"
    r"|This is a git worktree|Scratchpad directory|CWD:|Date:).*\n?(?:  +- .*\n?)*",
    re.MULTILINE,
)
#: The path of the memory folder contains that of the working folder, in the middle of the longest text.
_MEMORY: Final = "file-based memory"
_QUOTED: Final = re.compile(r"`([^`\n]*)`")
#: Folders that the passage names.
_FOLDERS_MOST: Final = 4


def opening(request: Request) -> tuple[list[str], list[Turn]]:
    """The system texts and the turns in an order that a server's prompt cache can use: what all conversations share comes first.

    The attribution block is removed. The client's first system message, and reminders with the same content, join the
    system texts. What differs (folder, date, state of the repository, names of tools that can be loaded) moves to their
    end. All of this depends only on the turns before the first answer, which later requests repeat. Unknown texts stay in
    place.
    """
    texts, turns = request.system, request.turns
    prompt = _system_prompt(texts, request.size) if texts else None
    if prompt is None:
        return texts, turns
    questions = 0
    for turn in turns:
        if turn.role != "user":
            break
        questions += 1
    if not questions:
        return [*prompt.texts], turns
    briefed = questions
    added: list[_Part] = []
    while briefed < len(turns) and turns[briefed].role == "system" and (briefing := _briefing(turns[briefed])):
        added += briefing
        briefed += 1
    question = turns[0]
    if type(question.content) is list:
        shared, question = _shared_reminders(question)
        added += shared
    texts, own = [*prompt.shared], prompt.own
    if added:
        turns = [question, *turns[1:questions], *turns[briefed:]]
        own = [*own]
        for part in added:
            texts.append(part.shared)
            own += part.own
    if own:
        texts.append("\n".join(["# This conversation", *own]))
    return texts, turns


class _SystemPrompt(NamedTuple):
    """The client's system texts, without its attribution."""

    texts: Sequence[str]
    shared: Sequence[str]
    """What all conversations share of them."""
    own: Sequence[str]
    """The lines of this conversation."""


class _Part(NamedTuple):
    """A text of the client."""

    shared: str
    """What all conversations share of it."""
    own: Sequence[str]
    """The lines of this conversation."""
    is_briefing: bool
    """It may be the client's first system message."""


#: Each request repeats the texts of the one before it.
_prompts: Final[RecentValues[list[str], _SystemPrompt]] = RecentValues(16)
_parts: Final[RecentValues[str, _Part]] = RecentValues(32)


def _system_prompt(texts: list[str], size: int) -> _SystemPrompt | None:
    """The system texts of a request of `size` bytes; None when another client has made them."""
    # Version 2.1.197 changes the attribution with each request.
    key = [_ATTRIBUTION, *texts[1:]] if texts[0].startswith(_ATTRIBUTION) else texts
    prompt = _prompts.get(key)
    if prompt is None and any(text.startswith(_IDENTITY) for text in texts):
        kept = [text for text in texts if not text.startswith(_ATTRIBUTION)]
        parts = [_part(text) for text in kept]
        prompt = _SystemPrompt(kept, [part.shared for part in parts], [line for part in parts for line in part.own])
        if size < _CACHED:
            _prompts.add(key, prompt)
    return prompt


def _briefing(turn: Turn) -> list[_Part]:
    """The texts of the client's first system message; empty for any other message."""
    parts = [_part(block.text) for block in turn.blocks if type(block) is Text]
    return parts if len(parts) == len(turn.blocks) and any(part.is_briefing for part in parts) else []


def _shared_reminders(turn: Turn) -> tuple[list[_Part], Turn]:
    """The reminders before the question that all conversations share, and the turn without them."""
    shared: list[_Part] = []
    left: list[Block] = []
    blocks = turn.blocks
    for at, block in enumerate(blocks):
        if type(block) is not Text or not block.text.startswith(_REMINDER):
            left += blocks[at:]
            break
        if any(mark in block.text[:_HEAD] for mark in _SHARED):
            shared.append(_part(block.text))
        else:
            left.append(block)
    return (shared, Turn("user", left, turn.output_config)) if shared and left else ([], turn)


def _part(text: str) -> _Part:
    """What all conversations share of `text`, and the rest. A text that is too long is all shared."""
    is_long = len(text) >= _LONGEST
    part = None if is_long else _parts.get(text)
    if part is None:
        shared, own = (text, ()) if is_long else _split(text)
        part = _Part(shared, own, any(mark in text for mark in _BRIEFING))
        if not is_long:
            _parts.add(text, part)
    return part


def _split(text: str) -> tuple[str, tuple[str, ...]]:
    """The part of `text` that all conversations share, and the lines of this one."""
    own: list[str] = []
    whole = text
    for mark in _ENVIRONMENTS:
        at = _line(text, mark)
        if at >= 0:
            end = text.find("\n\n", at)
            end = len(text) if end < 0 else end + 1
            lines = text[at:end]
            own += [line.rstrip() for line in _DIFFERING.findall(lines)]
            text = text[:at] + _DIFFERING.sub("", lines) + text[end:]
    at = text.find(_MEMORY)
    if at >= 0:
        quoted = _QUOTED.finditer(text, at, text.find("\n", at) + 1)
        paths = (match[1] for match in quoted if "/" in match[1] or "\\" in match[1])
        for number, path in enumerate(list(islice(paths, _FOLDERS_MOST)), 1):
            name = "<memory folder>" if number == 1 else f"<memory folder {number}>"
            own.append(f" - {name} stands for {path}")
            text = text.replace(f"`{path}`", f"`{name}`")
    for mark, closer in _PASSAGES:
        at = _line(text, mark)
        if at >= 0:
            end = text.find(closer, at) if closer else len(text)
            end = len(text) if end < 0 else end
            own.append(text[at:end].rstrip())
            text = text[:at] + text[end:].lstrip("\n")
    return (text if text is whole else text.rstrip()), tuple(own)


def _line(text: str, mark: str) -> int:
    """The index of the line of `text` that begins with `mark`; -1 when there is none."""
    return 0 if text.startswith(mark) else text.find(f"\n{mark}") + 1 or -1


#: The beginning of the only message of a WebSearch request (2.1.197 and 2.1.329).
SEARCHES: Final = "Perform a web search for the query:"
#: Tools that change nothing. In auto mode the client runs them without a verdict (measured, 2.1.329).
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


def is_quota_probe(request: Request) -> bool:
    """Whether it is the request with which a signed-in Claude Code reads its quota at the start: one token for `quota`.

    Measured with 2.1.329, 2026-11-29.
    """
    if request.stream or request.size > _PROBE_SIZE or request.params.max_tokens != 1 or len(request.turns) != 1:
        return False
    blocks = request.turns[0].blocks
    return len(blocks) == 1 and isinstance(blocks[0], Text) and blocks[0].text == "quota"


def remark(text: str) -> bool:
    """Return whether the client, and not the user, wrote this text of a user's turn."""
    return text.lstrip().startswith(_REMINDER)


def reminder(text: str) -> str:
    """A system message within the conversation as user text: many templates allow a system message only at the beginning.

    The tag is the one that the client uses for its own additions to a user's turn.
    """
    return text if remark(text) else f"{_REMINDER}\n{text}\n</system-reminder>"


class _Named(Struct):
    """The tool of a change, by name or by definition."""

    name: str = ""
    definition: Tool | None = None


class _Change(Struct):
    type: str
    tool: _Named


class _Summary(Struct):
    """A `compaction` block, with the tool changes of the turns that it replaces."""

    tool_changes: list[_Change] | None = None


class _Reference(Struct):
    tool_name: str


class _FoundTools(Struct):
    tool_references: list[_Reference] = []


class _ToolSearchResult(Struct):
    content: _FoundTools


_search: Final = msgspec.json.Decoder(_ToolSearchResult)
_change: Final = msgspec.json.Decoder(_Change)
_summary: Final = msgspec.json.Decoder(_Summary)
_CHANGES: Final = frozenset(("tool_addition", "tool_removal", "compaction"))


def tools(request: Request) -> list[Tool]:
    """The tools that the model may call now. Tools loaded during the conversation come last, to keep the prompt's beginning.

    A tool with `defer_loading` is loaded once a result, a search or a `tool_addition` in the conversation refers to it.
    """
    offered = request.params.tools or []
    if not request.loose and not any([tool.defer_loading or tool.name == _PLACEHOLDER for tool in offered]):
        return offered
    content = request.content
    if content.offered is None:
        content.offered = _offered(request, offered)
    return content.offered


def _offered(request: Request, offered: list[Tool]) -> list[Tool]:
    """The tools of `offered` that the conversation has loaded and not removed, and those that it brings."""
    late = {tool.name: tool for tool in offered if tool.defer_loading}
    loaded: dict[str, Tool] = {}
    gone = {_PLACEHOLDER}
    for turn in request.turns:
        for block in turn.blocks:
            inner = block.content if isinstance(block, ToolResult) and isinstance(block.content, list) else [block]
            for part in inner:
                if type(part) is ToolReference and part.tool_name in late:
                    loaded.setdefault(part.tool_name, late[part.tool_name])
                elif type(part) is not Unknown:
                    continue
                elif part.kind == "tool_search_tool_result":
                    for name in _found_tools(part):
                        if name in late:
                            loaded.setdefault(name, late[name])
                elif part.kind in _CHANGES:
                    for change in _changes(part):
                        _follow(change, late, loaded, gone)
    now = [tool for tool in offered if not tool.defer_loading]
    return [tool for tool in [*now, *loaded.values()] if tool.name not in gone]


def _found_tools(block: Unknown) -> list[str]:
    """The tools that an official tool search has found; none when it failed."""
    try:
        return [reference.tool_name for reference in _search.decode(block.raw).content.tool_references]
    except DECODE_ERRORS:
        return []


def _changes(block: Unknown) -> list[_Change]:
    """The tool changes in a block; none when it has another shape, and then it is treated as text.

    The shape is that of the anthropic SDK 2.11.0, `BetaRequestToolAdditionBlockParam` and its like (seen 2026-11-21).
    """
    try:
        if block.kind == "compaction":
            return _summary.decode(block.raw).tool_changes or []
        return [_change.decode(block.raw)]
    except DECODE_ERRORS:
        return []


def _follow(change: _Change, late: dict[str, Tool], loaded: dict[str, Tool], gone: set[str]) -> None:
    """Apply a change: a removed tool is not offered again until it is added again."""
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
