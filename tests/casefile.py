r"""Reads `.case` files: client request, expected call, backend reply, expected events. No assertions.

The first line is the title: the behaviour that the case proves. The file name is the title with underscores. Lines up to
the first section are notes. A section starts with `--- ` and its name, ends at the next one, and loses its trailing
blank lines:

    --- client                      the Messages request as JSON; `name: value` lines before it are its headers.
                                    Left out: a short streamed request. Twice: two turns of one conversation.
    --- target vendor=llamacpp model=m window=8192         the target; each part may be left out
    --- call                        the expected call: `POST /path`, `name: value` lines, then the JSON (order is free
                                    at the top, exact below). With the one word `unchanged`: the client's own bytes.
    --- reply 200 retry-after=5     the raw answer, with its status and headers. An answer of server-sent events gets
                                    its last blank line back.
    --- or                          the same answer in another form (streamed and not): it must give the same events
    --- events                      the expected answer, one block per line, deltas joined:
                                        text "Hello"            (`text "ab" *1000`: a thousand times)
                                        thinking "Hm"
                                        tool call_1 Read {"file_path":"a"}      (id `*`: any that is valid)
                                        end tool_use in=12 out=3 cached=5 stop="X"
    --- whole                       fields of the folded answer, as JSON
    --- problem KIND status=400 retry_after=5 retry=false
        = the exact message     ~ text it contains     ! text it must not contain

A turn may have several `--- call` / `--- reply` pairs: all but the last reply must be problems after which another try
is allowed. In a reply a line that begins with `\ ` is escaped: `\r \n \t \\ \xNN` are read, and it has no line end of
its own; `\*1000 text` repeats the rest of its line 1000 times.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

#: Another folder for a run of some other cases, such as saved ones.
CASES = Path(os.environ.get("BYWAY_TEST_CASES") or Path(__file__).with_name("cases"))
SHORT = b'{"model":"sonnet","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"Hi"}]}'

_SECTION = re.compile(rb"^--- (\w+)[ \t]*(.*)$", re.MULTILINE)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)")
_NAMED = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}


@dataclass
class Sent:
    """The expected call. `body` None: the client's bytes with only the model changed."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def streamed(self) -> bool:
        """Is it server-sent events?"""
        return re.match(rb"(\xef\xbb\xbf)?\s*(data|event|:|id|retry)", self.body) is not None


@dataclass
class Expected:
    """The Problem that must come: kind, checked attributes, and rules (`=`, `~` or `!`, text) for its message."""

    kind: str
    facts: dict[str, str]
    rules: list[tuple[str, str]]


@dataclass(eq=False)
class Turn:
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    calls: list[Sent] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    others: list[Reply] = field(default_factory=list)
    events: list[str] | None = None
    whole: dict[str, Any] | None = None
    problem: Expected | None = None


@dataclass(eq=False)
class Case:
    path: Path
    sentence: str
    target: dict[str, str]
    turns: list[Turn]

    @cached_property
    def protocol(self) -> str:
        return self.path.parent.name

    @property
    def id(self) -> str:
        return f"{self.protocol}/{self.path.stem}"


def load(path: Path) -> Case:
    """One case file; raises ValueError with the file's name for what is not of the form above."""
    raw = path.read_bytes()
    sections = list(_SECTION.finditer(raw))
    case = Case(path, raw.split(b"\n", 1)[0].decode(), {}, [])
    try:
        for at, section in enumerate(sections):
            end = sections[at + 1].start() if at + 1 < len(sections) else len(raw)
            _add(case, section[1].decode(), section[2].decode().strip(), raw[section.end() + 1 : end].rstrip(b"\n"))
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(f"{path.name}: {error}") from error
    return case


def _add(case: Case, name: str, words: str, text: bytes) -> None:
    if name == "target":
        case.target = _pairs(words)
        return
    if name == "client":
        head, body = _headed(text)
        case.turns.append(Turn(body, dict(_header(line) for line in head)))
        return
    if not case.turns:
        case.turns.append(Turn(SHORT))
    turn = case.turns[-1]
    match name:
        case "call":
            head, body = _headed(text)
            method, _, where = head[0].partition(" ")
            headers = dict(_header(line) for line in head[1:])
            turn.calls.append(Sent(method, where, headers, None if words == "unchanged" else json.loads(body)))
        case "reply":
            status, _, rest = words.partition(" ")
            turn.replies.append(_reply(int(status), _pairs(rest), text))
        case "or":
            turn.others.append(_reply(200, {}, text))
        case "events":
            turn.events = [line for line in text.decode().split("\n") if line]
        case "whole":
            turn.whole = json.loads(text)
        case "problem":
            kind, _, rest = words.partition(" ")
            rules = [(line[0], line[2:]) for line in text.decode().split("\n") if line]
            if any(mark not in "=~!" for mark, _ in rules):
                raise ValueError("a line under `--- problem` begins with =, ~ or !")
            turn.problem = Expected(kind, _pairs(rest), rules)
        case _:
            raise ValueError(f"no such section: {name}")


def _reply(status: int, headers: dict[str, str], text: bytes) -> Reply:
    body = b""
    for line in text.splitlines(keepends=True):
        repeat = re.match(rb"\\\*(\d+) ", line)
        if repeat:
            body += _unescape(line[repeat.end() :].rstrip(b"\n")) * int(repeat[1])
        elif line.startswith(b"\\ "):
            body += _unescape(line[2:].rstrip(b"\n"))
        else:
            body += line
    reply = Reply(status, headers, body)
    if reply.streamed and not text.rsplit(b"\n", 1)[-1].startswith(b"\\"):
        reply.body += b"\n\n"
    return reply


def _unescape(text: bytes) -> bytes:
    def unescaped(match: re.Match[bytes]) -> bytes:
        mark = match[1]
        return bytes([int(mark[1:], 16)]) if len(mark) == 3 else _NAMED[mark]

    return _ESCAPE.sub(unescaped, text)


def _headed(text: bytes) -> tuple[list[str], bytes]:
    """Lines before the JSON, and the JSON."""
    lines = text.split(b"\n")
    for at, line in enumerate(lines):
        if line.startswith((b"{", b"[")):
            return [line.decode() for line in lines[:at] if line], b"\n".join(lines[at:])
    return [line.decode() for line in lines if line], b""


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise ValueError(f"not a header: {line}")
    return name.strip().lower(), value.strip()


def _pairs(words: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(words))


def cases(protocol: str) -> list[Case]:
    return [load(path) for path in sorted((CASES / protocol).glob("*.case"))]
