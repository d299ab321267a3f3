"""The chunks of a chat-completions answer: their types, leniently decoded, and the text in their fields."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from msgspec import field

from byway.backends.openai.toolcalls import FunctionDelta, ToolCallDelta
from byway.backends.openai.usage import NotAnObject, PromptProgress, ReportedUsage, ServerTimings
from byway.messages.blocks import Wire


class ChatDelta(Wire):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    thinking: Any = None
    refusal: Any = None
    tool_calls: list[ToolCallDelta] | None = None
    # OpenAI's older field, for one call without an id.
    function_call: FunctionDelta | None = None


class ChatChoice(Wire):
    index: Any = None
    delta: ChatDelta | None = None
    message: ChatDelta | None = None
    finish_reason: Any = None
    # The stop sequence that ended the answer: vLLM's field, and SGLang's.
    stop_reason: Any = None
    matched_stop: Any = None
    # Moonshot reports it here.
    usage: ReportedUsage | NotAnObject = None


class VerboseFields(Wire):
    stop_type: Any = None
    stopping_word: Any = None


class GroqFields(Wire):
    usage: ReportedUsage | NotAnObject = None


class ChatChunk(Wire):
    choices: list[ChatChoice] | None = None
    usage: ReportedUsage | NotAnObject = None
    error: Any = None
    timings: ServerTimings | NotAnObject = None
    prompt_progress: PromptProgress | NotAnObject = None
    stop_type: Any = None
    stopping_word: Any = None
    verbose: VerboseFields | NotAnObject = field(default=None, name="__verbose")
    x_groq: GroqFields | NotAnObject = None


decode_chunk: Final = msgspec.json.Decoder(ChatChunk).decode
#: An escaped half of a character that takes two. Whole characters and other escapes are matched first.
_HALVES: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89abAB][0-9a-fA-F]{2}|\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\.",
    re.DOTALL,
)


def joined_halves(data: bytes, half: bytes) -> tuple[bytes, bytes]:
    """`data` without half characters, and the half that the next chunk may complete. `half`: that of the last chunk.

    Servers that cut between a character's two escapes send JSON that msgspec refuses, although RFC 8259 allows it. The
    first half waits for the second; one that stays alone becomes a replacement character.
    """
    waiting = b""

    def join(match: re.Match[bytes]) -> bytes:
        nonlocal half, waiting
        text = match[0]
        if text[1:2] != b"u" or len(text) == 12:
            return text
        if text[3:4] in b"89abAB":
            if match.string[match.end() : match.end() + 1] != b'"':
                return b"\\ufffd"
            waiting = text
            return b""
        first, half = half, b""
        return first + text if first else b"\\ufffd"

    return _HALVES.sub(join, data), waiting


def text_of(value: Any) -> str:
    """The text in what servers put where text belongs: a string, null, a part, or a list of parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join([text_of(part) for part in value])
    if isinstance(value, dict):
        return next((text for name in _TEXT_FIELDS if (text := text_of(value.get(name)))), "")
    return ""


_TEXT_FIELDS: Final = ("text", "summary", "thinking", "reasoning", "content")
