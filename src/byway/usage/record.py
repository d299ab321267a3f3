"""UsageRecord: what one answered request has used, and its form in the journal."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from byway.decoding import DECODE_ERRORS

#: The most tokens and nano-dollars of one record: sums of millions of records stay within 63 bits.
MOST_TOKENS: Final = 10**9
MOST_COST: Final = 10**15
#: Times beyond this are damage. Tokens and costs are cut to their limits instead: a backend may report any number.
_Time = Annotated[float, Meta(ge=0, lt=1e11)]
#: What replaces a name when there are too many different ones.
OTHER: Final = "(other)"


class UsageRecord(msgspec.Struct, array_like=True, gc=False):
    """The usage of one request. New fields go to the end and have a default: a journal may be older than the program."""

    id: str
    """The request id: `req_` and 24 hex digits."""
    at: _Time
    """When the answer was complete: seconds since the epoch."""
    organization: str = ""
    account: str = ""
    group: str = ""
    key: str = ""
    """The id of the client's key."""
    session: str = ""
    agent: str = ""
    """The client program, without its version: `claude-cli`."""
    tag: str = ""
    """The value of the request header that `usage.tag_header` names."""
    requested: str = ""
    """The model name that the client sent."""
    alias: str = ""
    backend: str = ""
    model: str = ""
    status: Annotated[int, Meta(ge=0, lt=1000)] = 200
    """The HTTP status, or that of the error that ended a stream."""
    input_tokens: int = 0
    """Tokens of the prompt that were neither read from a cache nor written to it."""
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    """Includes the reasoning tokens."""
    reasoning_tokens: int = 0
    estimated: bool = False
    """The backend reported no usage: the tokens are Byway's estimate."""
    cost: int | None = None
    """In nano-dollars; None when the price is not known."""
    latency_ms: _Time = 0.0
    first_ms: _Time | None = None
    """Milliseconds to the first content; None without content."""


to_lines: Final = msgspec.json.Encoder().encode_lines
"""The records as lines of the journal."""
_decoder: Final = msgspec.json.Decoder(UsageRecord)


def from_line(line: bytes) -> UsageRecord | None:
    """The record of a line without its end; None when the line is damaged."""
    try:
        return _decoder.decode(line)
    except DECODE_ERRORS:
        return None


def from_lines(lines: bytes) -> tuple[list[UsageRecord], int]:
    """The records of lines of the journal, and how many lines are damaged."""
    try:
        return _decoder.decode_lines(lines), 0
    except DECODE_ERRORS:
        # One is damaged: each is decoded by itself.
        records = [from_line(line) for line in lines.split(b"\n") if line]
    whole = [record for record in records if record is not None]
    return whole, len(records) - len(whole)
