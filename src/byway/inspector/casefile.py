"""Writes a recorded request as a case file of `tests/cases`: request, call, answer, and what the client gets. Pure.

Call and events are made again from the recorded request and answer, so that the case describes what this version does.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from byway.backends.protocol import BackendProtocol, Target
from byway.backends.vendors import VENDORS, ProtocolName
from byway.decoding import DECODE_ERRORS
from byway.inspector.recording import RecordedCall, RecordedExchange
from byway.messages import request as messages
from byway.messages import sse
from byway.messages.events import Part, WholeAnswer
from byway.messages.pdf import embedded_pdfs
from byway.messages.request import Request
from byway.problems import Problem

#: The id of the answer in cases.
_ID: Final = "msg_case"
#: The longest title, and the file name made of it.
TITLE_LIMIT: Final = 120
#: Headers that belong to a request, and those of a failed answer that decide what becomes of it.
_CLIENT_HEADERS: Final = ("anthropic-version", "anthropic-beta", "user-agent")
_ANSWER_HEADERS: Final = ("retry-after", "x-should-retry", "x-ratelimit-", "anthropic-ratelimit-")
#: What the client of a case is called in `metadata`, which names a person's account.
_ANONYMOUS: Final = "user_case"
_decode: Final = msgspec.json.Decoder().decode
_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class CaseFile(NamedTuple):
    """A case file."""

    name: str
    folder: str
    """Its folder below `tests/cases`."""
    content: bytes
    notes: tuple[str, ...]
    """How the case differs from what was recorded."""


def case_name(title: str) -> str:
    """The file name of a title, without its end; "" when the title has no letter and no digit."""
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")


def default_title(exchange: RecordedExchange) -> str:
    """A title for the case of a request."""
    call = exchange.calls[-1]
    outcome = "is answered" if call.status == 200 else f"gets {call.status}"
    return f"A request to {call.model} of {call.vendor} {outcome}"[:TITLE_LIMIT]


def case_file(
    exchange: RecordedExchange,
    title: str,
    version: str,
    protocols: Mapping[ProtocolName, Callable[[], BackendProtocol]],
) -> CaseFile:
    """The case of a recorded request. Raises Problem `invalid_request` when it cannot be written as a case."""
    title = " ".join(title.split())[:TITLE_LIMIT]
    name = case_name(title)
    if not name or title.startswith("---"):
        raise Problem(
            "invalid_request", "title: use a sentence that states what the case shows", facts={"field": "title"}
        )
    call = _answered_call(exchange)
    protocol = protocols[call.protocol]()
    body = _anonymous(exchange.request.data)
    headers = {name: value for name, value in exchange.headers if name in _CLIENT_HEADERS}
    target = _target(call)
    request = messages.parse(body, headers, _ID)
    if not protocol.NATIVE and embedded_pdfs(request.turns, files=target.vendor.files):
        raise _no_case("its PDFs were read by another process")
    made = protocol.request(request, target)
    notes = _notes(call, made.body)
    sections = [
        title.encode(),
        f"Saved by Byway {version}. Secrets are replaced.".encode(),
        *(note.encode() for note in notes),
        b"",
        b"--- client",
        *(f"{name}: {value}".encode() for name, value in headers.items()),
        body,
        b"",
        b"--- target " + _words({"vendor": call.vendor, "model": call.model}),
        b"",
        *_call_section(body, made.method, made.path, made.body, call.model),
        b"",
        *_reply_section(call),
        b"",
        *_outcome(protocol, request, target, call),
        b"",
    ]
    return CaseFile(f"{name}.case", call.protocol, b"\n".join(sections), tuple(notes))


def _no_case(why: str) -> Problem:
    return Problem("invalid_request", f"This request cannot be saved as a case: {why}.")


def _answered_call(exchange: RecordedExchange) -> RecordedCall:
    """The call whose answer is that of the request. Raises Problem when a case cannot have it."""
    if not exchange.path.endswith("/messages"):
        raise _no_case("cases contain requests of the Messages API, and it is one of another API")
    if exchange.request.note or not exchange.request.data:
        raise _no_case(exchange.request.note.rstrip(".") or "its body was not recorded")
    if not exchange.calls or exchange.left_out:
        raise _no_case("no call to a backend was recorded")
    call = exchange.calls[-1]
    if sum(made.status == 200 for made in exchange.calls) > 1:
        raise _no_case("the answer took several turns of the model")
    if not call.status:
        raise _no_case("the backend did not answer")
    if call.answer.note:
        raise _no_case(call.answer.note.rstrip("."))
    return call


def _anonymous(body: bytes) -> bytes:
    """The body of the client in one line, without the person's id."""
    try:
        if b"\n" in body or b"\r" in body:
            body = msgspec.json.encode(_decode(body))
        # The other fields keep their bytes: the call has some of them as they came.
        fields = _fields(body)
        metadata = _decode(fields["metadata"]) if "metadata" in fields else None
    except DECODE_ERRORS:
        raise _no_case("its body is not a valid JSON object") from None
    if isinstance(metadata, dict) and "user_id" in metadata:
        fields["metadata"] = msgspec.Raw(msgspec.json.encode({**metadata, "user_id": _ANONYMOUS}))
    elif body.startswith(b"{"):
        return body
    return msgspec.json.encode(fields)


def _target(call: RecordedCall) -> Target:
    """The target as cases have it: without what was learned of the model."""
    row = VENDORS[call.vendor]
    return Target("box", call.model, row.by("responses") if call.protocol in _BY_API else row)


#: Protocols whose cases use the row of the vendor for that API.
_BY_API: Final = frozenset(("responses",))


def _notes(call: RecordedCall, made: bytes) -> list[str]:
    """What the recorded call had that the case does not show."""
    notes = []
    if call.repairs:
        notes.append(f"The call was sent with repairs: {'; '.join(call.repairs)[:300]}.")
    if call.body.note or call.body.data == made:
        return notes
    try:
        sent, again = _decode(call.body.data), _decode(made)
    except DECODE_ERRORS:
        return notes
    if isinstance(sent, dict) and isinstance(again, dict) and sent != again:
        names = [name for name in {**sent, **again} if sent.get(name) != again.get(name) and name != "metadata"]
        if names:
            notes.append(
                f"Learned facts, settings or secrets made the recorded call differ in: {', '.join(names)[:300]}."
            )
    return notes


def _words(values: Mapping[str, str]) -> bytes:
    return " ".join(shlex.quote(f"{name}={value}") for name, value in values.items()).encode()


def _call_section(body: bytes, method: str, path: str, made: bytes, model: str) -> list[bytes]:
    line = f"{method} {path}".encode()
    if _is_unchanged(body, made):
        return [b"--- call unchanged", line]
    return [b"--- call", line, msgspec.json.encode(_decode(made))]


def _is_unchanged(body: bytes, made: bytes) -> bool:
    """Are two bodies the same but for the model's name?"""
    own, sent = _fields(body), _fields(made)
    if list(own) != list(sent):
        return False
    return all(bytes(own[name]) == bytes(sent[name]) for name in own if name != "model")


def _reply_section(call: RecordedCall) -> list[bytes]:
    kept = {
        name: value for name, value in call.answer_headers if call.status != 200 and name.startswith(_ANSWER_HEADERS)
    }
    data = call.answer.data
    head = f"--- reply {call.status}".encode() + (b" " + _words(kept) if kept else b"")
    is_stream = re.match(rb"\s*(data|event|:|id|retry)", data) is not None
    plain = data.removesuffix(b"\n\n") if is_stream else data.rstrip()
    is_plain = (
        b"\r" not in plain
        and not plain.endswith(b"\n")
        and not re.search(rb"^(?:\\|--- )", plain, re.MULTILINE)
        and (not is_stream or data.endswith(b"\n\n"))
        and not data.startswith(b"\xef\xbb\xbf")
    )
    if is_plain:
        return [head, plain]
    return [head, *(b"\\ " + _escaped(line) for line in data.splitlines(keepends=True))]


def _escaped(line: bytes) -> bytes:
    """A line of an answer in the escaped form of case files."""
    named = {0x5C: b"\\\\", 0x0A: b"\\n", 0x0D: b"\\r", 0x09: b"\\t"}
    return b"".join(
        named[byte] if byte in named else bytes((byte,)) if byte >= 0x20 else b"\\x%02x" % byte for byte in line
    )


def _outcome(protocol: BackendProtocol, request: Request, target: Target, call: RecordedCall) -> list[bytes]:
    """The section for what the client gets."""
    if call.status != 200:
        problem = protocol.problem(call.status, dict(call.answer_headers), call.answer.data, target)
        return _problem_section(problem)
    reader = protocol.reader(request, target)
    events: list[Part] = []
    failure: Problem | None = None
    try:
        events += reader.feed(call.answer.data)
        events += reader.close()
    except Problem as problem:
        failure = problem
    lines = [line.encode() for line in event_lines(events)]
    section = [b"--- events", *lines] if lines or failure is None else []
    return section if failure is None else [*section, b"", *_problem_section(failure)]


def _problem_section(problem: Problem) -> list[bytes]:
    head = f"--- problem {problem.kind} status={problem.row.status}".encode()
    return [head] if "\n" in problem.message else [head, f"= {problem.message}".encode()]


def event_lines(events: Sequence[Part]) -> list[str]:
    """The lines of `--- events`: one for each block of an answer, with its pieces joined, and one for its end."""
    if len(events) == 1 and isinstance(events[0], WholeAnswer):
        return _whole_lines(_decode(events[0].data))
    decoder = sse.Decoder()
    data = sse.encode(events)
    lines: list[str] = []
    opened: dict[str, Any] | None = None
    pieces: list[str] = []
    usage: dict[str, Any] = {}
    for _, content in [*decoder.feed(data), *decoder.close()]:
        event = _decode(content)
        match event["type"]:
            case "message_start":
                usage = dict(event["message"]["usage"])
            case "content_block_start":
                opened, pieces = event["content_block"], []
            case "content_block_delta":
                delta = event["delta"]
                pieces.append(delta.get("text") or delta.get("thinking") or delta.get("partial_json") or "")
            case "content_block_stop" if opened is not None:
                lines.append(_block_line(opened, "".join(pieces)))
                opened = None
            case "message_delta":
                usage |= {name: count for name, count in event["usage"].items() if count is not None}
                lines.append(_end_line(event["delta"], usage))
            case _:
                pass
    return lines if opened is None else [*lines, _block_line(opened, "".join(pieces))]


def _whole_lines(message: dict[str, Any]) -> list[str]:
    lines = []
    for block in message["content"]:
        content = block.get("text") or block.get("thinking") or ""
        lines.append(_block_line(block, json.dumps(block["input"]) if block["type"] == "tool_use" else content))
    return [*lines, _end_line(message, message["usage"])]


def _block_line(block: dict[str, Any], joined: str) -> str:
    match block["type"]:
        case "text" | "thinking" as kind:
            # `" *` would be the beginning of a repetition.
            return f"{kind} {json.dumps(joined, ensure_ascii=False)}".replace('" *', '" \\u002a')
        case "tool_use":
            if "\n" in joined or not joined:
                try:
                    joined = json.dumps(json.loads(joined or "{}"), ensure_ascii=False)
                except ValueError:
                    raise _no_case("the input of a tool call is no valid JSON") from None
            return f"tool {block['id']} {block['name']} {joined}"
        case kind:
            return f"block {kind}"


def _end_line(end: dict[str, Any], usage: dict[str, Any]) -> str:
    names = {
        "in": "input_tokens",
        "out": "output_tokens",
        "cached": "cache_read_input_tokens",
        "created": "cache_creation_input_tokens",
    }
    counts = "".join(
        f" {name}={usage[field]}"
        for name, field in names.items()
        if usage.get(field) or (name in ("in", "out") and usage.get(field) is not None)
    )
    stop = end.get("stop_sequence")
    shown = "" if stop is None else " stop=" + json.dumps(stop).replace(" ", "\\u0020")
    return f"end {end['stop_reason']}{counts}{shown}"
