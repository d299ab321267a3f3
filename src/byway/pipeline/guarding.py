"""Applies the guardrails: checks a request before anything is forwarded, and its answer before it is sent."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from byway.bounded import BoundedDict
from byway.decoding import DECODE_ERRORS
from byway.guardrails.escapes import JsonEscapes
from byway.guardrails.output import OutputScanner
from byway.guardrails.patterns import LONGEST_MATCH
from byway.guardrails.rules import GuardrailMatch, Guardrails, Stage
from byway.largebodies import off_loop
from byway.logs import log
from byway.messages.events import (
    BlockDelta,
    BlockStop,
    InputDelta,
    Part,
    Passthrough,
    TextDelta,
    ThinkingDelta,
    WholeAnswer,
    ends,
)
from byway.messages.request import Request
from byway.messages.sse import Decoder
from byway.pipeline.reply import Record, Reply
from byway.problems import Problem

#: The header of an answer whose request, or whose text, a rule has flagged.
FLAG_HEADER: Final = b"x-byway-guardrail"
#: Seconds for which a blocked answer is remembered. Claude Code repeats a request whose stream has failed, without streaming.
_REMEMBERED: Final = 600.0
#: Fields of a block that contain no text.
_NO_TEXT: Final = frozenset(("signature", "encrypted_content", "encrypted_index", "id", "tool_use_id", "type"))
#: Fields that have a file in base64 where their value begins with `data:`.
_URLS: Final = frozenset(("url", "image_url", "file_data"))
#: What the client of a conversation can do about a match.
_REMOVE: Final = "Remove it from the conversation (/rewind or /clear in Claude Code)"
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class BlockedAnswers:
    """The conversations whose answers were blocked, so that their repetition is blocked without a model.

    They count only for the rules that blocked them: a change of the rules applies to the next request.
    """

    def __init__(self) -> None:
        self._blocked: BoundedDict[bytes, tuple[float, str, Guardrails]] = BoundedDict(256)

    def add(self, digest: bytes, message: str, guardrails: Guardrails) -> None:
        """Remember a conversation."""
        self._blocked[digest] = time.monotonic(), message, guardrails

    def message(self, digest: bytes, guardrails: Guardrails) -> str:
        """Why the conversation was blocked; "" when it was not, by other rules, or too long ago."""
        at, message, rules = self._blocked.get(digest, (0.0, "", None))
        return message if rules is guardrails and time.monotonic() - at < _REMEMBERED else ""


async def guard(
    guardrails: Guardrails, blocked: BlockedAnswers, request: Request, reply: Reply, record: Record, key: str
) -> Reply:
    """Check a request. Returns the reply that checks its answer. Raises Problem `policy_blocked`."""
    if not guardrails.checks("output"):
        # No answer is blocked, so that no conversation has to be recognized.
        await check(guardrails, request, record)
        return reply
    body = request.chat or request.content.responses or request.body
    digest = await off_loop(len(body), _digest, body, key, request.model)
    if message := blocked.message(digest, guardrails):
        record.requested = request.model
        raise _blocked(message)
    await check(guardrails, request, record)
    return GuardedReply(guardrails, reply, record, lambda message: blocked.add(digest, message, guardrails))


async def check(guardrails: Guardrails, request: Request, record: Record) -> None:
    """Check a request before anything is forwarded. Raises Problem `policy_blocked`."""
    body = request.chat or request.body
    if request.content.responses:
        # The items that only servers of OpenAI know, and the texts that Byway makes of opaque ones.
        body = b"[%b,%b]" % (body, request.content.responses)
    await _check(guardrails, body, _messages, request.model, record, _REMOVE)


async def check_fields(guardrails: Guardrails, body: bytes, model: str, record: Record) -> None:
    """Check all texts of a body of JSON that is no conversation. Raises Problem `policy_blocked`."""
    await _check(guardrails, body, _decoded, model, record, "Remove it from the request")


async def _check(
    guardrails: Guardrails, body: bytes, read: Callable[[bytes], Any], model: str, record: Record, advice: str
) -> None:
    if not guardrails.checks("input"):
        return
    findings = await off_loop(guardrails.cost("input") * len(body), _find, guardrails, body, read)
    _report(guardrails, findings, "input", record)
    if findings and findings[0].action == "block":
        record.requested = model
        raise _blocked(
            f'The guardrail "{findings[0].rule}" of this Byway blocked the request: it contains {findings[0].what}. Nothing was '
            f"sent to a model. {advice}, or ask the operator."
        )


def _messages(body: bytes) -> Any:
    """The conversation of a request; None for a body that is rejected later."""
    value = _decoded(body)
    if isinstance(value, list):
        translated, own = value
        return [translated.get("messages"), _without_system(own.get("input"))]
    return value.get("messages", value.get("input")) if isinstance(value, dict) else None


def _without_system(items: Any) -> Any:
    """The input of a Responses request without the client's own prompt."""
    if not isinstance(items, list):
        return items
    return [item for item in items if not isinstance(item, dict) or item.get("role") not in ("system", "developer")]


def _digest(body: bytes, key: str, model: str) -> bytes:
    """What identifies a conversation of a client with a model."""
    return hashlib.sha256(_encode((key, model, _messages(body)))).digest()


def _find(guardrails: Guardrails, body: bytes, read: Callable[[bytes], Any]) -> list[GuardrailMatch]:
    """The rules that a conversation matches, those that block first."""
    findings: dict[str, GuardrailMatch] = {}
    for text in texts(read(body)):
        for finding in guardrails.find(text, "input", findings):
            findings[finding.rule] = finding
    return sorted(findings.values(), key=lambda finding: finding.action != "block")


def texts(value: Any, escapes: JsonEscapes | None = None) -> Iterator[str]:
    """All texts in a JSON value, without the contents of files. In the input of a tool every field and name is text.

    OpenAI's API has that input as JSON in a text, `arguments`; in a stream it is a piece of that JSON, for `escapes`.
    """
    waiting = deque([(value, False)])
    while waiting:
        value, is_input = waiting.popleft()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            waiting += [(part, is_input) for part in value]
        elif isinstance(value, dict) and is_input:
            yield from value
            waiting += [(part, True) for part in value.values()]
        elif isinstance(value, dict):
            for name, part in value.items():
                if name == "arguments" and isinstance(part, str):
                    waiting += (
                        [(part, False), (_decoded(part), True)] if escapes is None else [(escapes.feed(part), False)]
                    )
                elif _has_text(name, part, value):
                    waiting.append((part, name == "input"))


def _has_text(name: str, part: Any, block: dict[str, Any]) -> bool:
    """Does a field of a block contain text, itself or in its parts?"""
    if not isinstance(part, str):
        return True
    if name == "data":
        # A document of type text has its text there. Audio has a `format` instead of a type.
        return block.get("type") != "base64" and "format" not in block
    return name not in _NO_TEXT and not (name in _URLS and part.startswith("data:"))


class GuardedReply:
    """Checks the text of an answer and passes its parts on, as soon as no later text can make them a part of a match."""

    def __init__(self, guardrails: Guardrails, reply: Reply, record: Record, remember: Any) -> None:
        self._guardrails = guardrails
        self._reply = reply
        self._record = record
        self._remember = remember
        self._restart()

    def _restart(self) -> None:
        self._scanner = OutputScanner(self._guardrails)
        self._held: deque[tuple[Part, int]] = deque()
        """The parts that wait, each with the number of characters of its text."""
        self._characters = 0
        """Characters of their texts."""
        self._decoder = Decoder()
        self._escapes = JsonEscapes()
        self._item_pieces = False
        """The text of the current item of the Responses API came in pieces."""

    @property
    def sent(self) -> bool:
        return self._reply.sent

    def aim(self, backend: str, model: str) -> None:
        self._restart()
        self._reply.aim(backend, model)

    async def send(self, parts: Sequence[Part]) -> None:
        """Check `parts`. Raises Problem `policy_blocked`."""
        pieces = []
        complete = False
        for part in parts:
            text = self._text(part)
            pieces.append(text)
            self._held.append((part, len(text)))
            self._characters += len(text)
            complete = complete or ends(part) or type(part) is BlockStop
        text = "".join(pieces)
        findings = await off_loop(
            self._guardrails.cost("output") * len(text), self._scanner.feed, text, complete=complete
        )
        if findings:
            _report(self._guardrails, findings, "output", self._record)
            if findings[0].action == "block":
                message = (
                    f'The guardrail "{findings[0].rule}" of this Byway blocked the answer: it contains {findings[0].what}. '
                    "Ask for something else, or ask the operator."
                )
                self._remember(message)
                raise _blocked(message)
        ready: list[Part] = []
        while self._held and (complete or self._characters - self._held[0][1] > LONGEST_MATCH):
            part, length = self._held.popleft()
            self._characters -= length
            ready.append(part)
        if ready:
            await self._reply.send(ready)

    def _text(self, part: Part) -> str:
        """The text of a part: of the answer, of thinking, and of the inputs of tools."""
        if type(part) is BlockDelta:
            delta = part.delta
            if type(delta) is TextDelta:
                return delta.text
            if type(delta) is InputDelta:
                return self._escapes.feed(delta.partial_json)
            return delta.thinking if type(delta) is ThinkingDelta else ""
        if type(part) is Passthrough:
            if part.responses:
                return "".join(map(self._item_text, self._decoder.feed(part.data)))
            return "".join(_event_text(event, self._escapes) for event in self._decoder.feed(part.data))
        if type(part) is WholeAnswer:
            value = _decoded(part.data)
            # A transcription may be plain text.
            return part.data.decode("utf-8", "replace") if value is None else "\n".join(texts(value))
        if type(part) is BlockStop:
            self._escapes = JsonEscapes()
        return ""

    def _item_text(self, event: tuple[str, bytes | str]) -> str:
        """The text of an event of the Responses API: of its pieces, or of an item that came without any."""
        value = _decoded(event[1])
        if not isinstance(value, dict):
            return ""
        delta, kind = value.get("delta"), str(value.get("type"))
        if isinstance(delta, str):
            self._item_pieces = True
            return self._escapes.feed(delta) if "arguments" in kind else delta
        if not kind.endswith("output_item.done"):
            return ""
        came, self._item_pieces, self._escapes = self._item_pieces, False, JsonEscapes()
        return "" if came else "\n".join(texts(value.get("item")))


def _event_text(event: tuple[str, bytes | str], escapes: JsonEscapes) -> str:
    """The text of an event of either API. The inputs of tools are pieces of JSON."""
    value = _decoded(event[1])
    if not isinstance(value, dict):
        return ""
    pieces: list[str] = []
    if isinstance(delta := value.get("delta"), dict):
        pieces += [delta[name] for name in ("text", "thinking") if isinstance(delta.get(name), str)]
        if isinstance(input := delta.get("partial_json"), str):
            pieces.append(escapes.feed(input))
    for choice in value.get("choices") or ():
        if isinstance(choice, dict):
            # The older completions have their text in the choice itself.
            pieces += texts(choice.get("delta") or choice.get("message") or choice.get("text") or {}, escapes)
    return "".join(pieces)


def _decoded(data: bytes | str) -> Any:
    try:
        return _decode(data)
    except DECODE_ERRORS:
        return None


def _report(guardrails: Guardrails, findings: Sequence[GuardrailMatch], stage: Stage, record: Record) -> None:
    """Log and count matches, and name the rules in the head of the answer if it is not sent yet."""
    if not findings:
        return
    guardrails.count(findings, stage)
    for finding in findings:
        log("A guardrail has matched", logging.WARNING, rule=finding.rule, stage=stage, action=finding.action)
    names = ", ".join(finding.rule for finding in findings)
    record.quota += b"%b: %b\r\n" % (FLAG_HEADER, f"{stage}: {names}".encode("ascii", "replace"))


def _blocked(message: str) -> Problem:
    return Problem("policy_blocked", message)
