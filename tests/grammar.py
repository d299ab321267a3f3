"""The grammar of a Messages stream: checks it and tells it back, one line per block. Tests of events lean on it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from byway.messages import sse
from byway.messages.events import Part, WholeAnswer

Line = tuple[Any, ...]
"""("text", joined), ("thinking", joined), ("tool", id, name, input), ("block", type), ("end", reason, stop, counts)"""


def plain(events: Sequence[Part]) -> list[dict[str, Any]]:
    """What the client's own parser makes of the bytes that go out."""
    if len(events) == 1 and isinstance(events[0], WholeAnswer):
        body = json.loads(events[0].data)
        assert isinstance(body, dict)
        return [body]
    return parsed(sse.encode(events))


def parsed(stream: bytes) -> list[dict[str, Any]]:
    """The events of an encoded stream."""
    out = []
    for frame in stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n"):
        fields = dict(line.split(b": ", 1) for line in frame.split(b"\n") if b": " in line[1:])
        if b"data" in fields:
            event = json.loads(fields[b"data"])
            assert event["type"] == fields[b"event"].decode(), "Claude Code reads the `event:` line"
            out.append(event)
    return out


def summary(items: list[dict[str, Any]], *, ended: bool = True) -> list[Line]:
    """The blocks and the end of an answer, in order; fails where the events are no grammatical stream."""
    if len(items) == 1 and items[0]["type"] == "message":
        return _whole(items[0])
    lines: list[Line] = []
    opened: dict[str, Any] | None = None
    pieces: list[str] = []
    usage: dict[str, Any] = {}
    index = -1
    events = [event for event in items if event["type"] != "ping"]
    for at, event in enumerate(events):
        match event["type"]:
            case "message_start":
                assert at == 0, "message_start comes first and once"
                assert event["message"]["content"] == [] and event["message"]["role"] == "assistant"
                usage = dict(event["message"]["usage"])
            case "content_block_start":
                assert opened is None, "one block is open at a time"
                index += 1
                assert event["index"] == index, "indices are 0, 1, 2, ..."
                opened, pieces = event["content_block"], []
                assert opened is not None
                assert not opened.get("text") and not opened.get("thinking") and not opened.get("input")
            case "content_block_delta":
                assert opened is not None and event["index"] == index
                kind, delta = opened["type"], event["delta"]
                match delta["type"]:
                    case "text_delta":
                        assert kind == "text"
                        assert delta["text"], "nothing is written for empty text"
                        pieces.append(delta["text"])
                    case "thinking_delta":
                        assert kind == "thinking"
                        pieces.append(delta["thinking"])
                    case "input_json_delta":
                        assert kind in ("tool_use", "server_tool_use")
                        pieces.append(delta["partial_json"])
                    case "signature_delta":
                        assert kind == "thinking"
            case "content_block_stop":
                assert opened is not None and event["index"] == index
                lines.append(_block(opened, "".join(pieces)))
                opened = None
            case "message_delta":
                assert opened is None and at == len(events) - 2, "message_delta comes once, before the stop"
                usage.update({name: count for name, count in event["usage"].items() if count is not None})
                lines.append(_end(event["delta"], usage))
            case "message_stop":
                assert at == len(events) - 1 and lines and lines[-1][0] == "end", "message_stop comes last"
            case other:
                raise AssertionError(f"{other} is no event of a message")
    if ended:
        assert events and events[0]["type"] == "message_start" and events[-1]["type"] == "message_stop"
    else:
        assert all(event["type"] != "message_stop" for event in events), "a cut answer ends without a polite stop"
        if opened is not None:
            lines.append(_block(opened, "".join(pieces)))
    ids = [line[1] for line in lines if line[0] == "tool"]
    assert len(set(ids)) == len(ids), "tool ids are unique"
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", id) for id in ids)
    return lines


def _whole(message: dict[str, Any]) -> list[Line]:
    lines = []
    for block in message["content"]:
        text = block.get("text") or block.get("thinking") or ""
        lines.append(_block(block, json.dumps(block["input"]) if block["type"] == "tool_use" else text))
    return [*lines, _end(message, message["usage"])]


def _block(block: dict[str, Any], joined: str) -> Line:
    match block["type"]:
        case "text" | "thinking" as kind:
            return (kind, joined)
        case "tool_use":
            return ("tool", block["id"], block["name"], input_of(joined))
        case kind:
            return ("block", kind)


def input_of(text: str) -> Any:
    """A tool's input as the client reads it: broken JSON in the form that Claude Code itself echoes."""
    try:
        body = json.loads(text or "{}")
    except ValueError:
        return {"__unparsedToolInput": {"raw": text, "len": len(text)}}
    return body if isinstance(body, dict) else {"__unparsedToolInput": {"raw": text, "len": len(text)}}


def _end(text: dict[str, Any], usage: dict[str, Any]) -> Line:
    numbers = {
        "in": usage.get("input_tokens"),
        "out": usage.get("output_tokens"),
        "cached": usage.get("cache_read_input_tokens"),
        "created": usage.get("cache_creation_input_tokens"),
    }
    assert all(count is None or count >= 0 for count in numbers.values())
    return ("end", text["stop_reason"], text.get("stop_sequence"), numbers)
