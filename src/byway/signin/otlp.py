"""Removes what contains prompts from telemetry (OTLP logs, as protobuf and as JSON) before it is forwarded. Pure.

Fields by https://github.com/open-telemetry/opentelemetry-proto (logs/v1, common/v1, seen 2026-11-30); events by
Claude Code 2.1.329.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

#: Events whose attributes can be prompts, answers, or inputs and results of tools.
_PRIVATE: Final = frozenset(
    f"{prefix}{name}"
    for prefix in ("", "claude_code.")
    for name in (
        "user_prompt",
        "assistant_response",
        "tool_result",
        "tool_decision",
        "api_request_body",
        "api_response_body",
    )
)
_EVENT_NAME: Final = "event.name"
#: Attributes that hold such content, also of an event that has another name.
_PRIVATE_KEYS: Final = frozenset(("prompt", "response", "body", "tool_input", "tool_parameters"))
#: Protobuf: the fields of ExportLogsServiceRequest, ResourceLogs and ScopeLogs that lead to the records, and those that are
#: kept beside them. Others are removed: a collector may read records in them.
_TO_RECORDS: Final = ((1, ()), (2, (1, 3)), (2, (1, 3)))
_BODY, _ATTRIBUTES, _EVENT = 5, 6, 12
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class FilteredLogs(NamedTuple):
    """Logs without the events that can contain prompts, and how many were removed."""

    body: bytes
    removed: int


def without_prompts(body: bytes, *, is_json: bool) -> FilteredLogs:
    """Remove the events that can contain prompts. Raises ValueError for a body that cannot be read: it must not be forwarded."""
    return _from_json(body) if is_json else _from_protobuf(body)


def _from_json(body: bytes) -> FilteredLogs:
    removed = 0
    resources = []
    try:
        for resource in json.loads(body).get("resourceLogs") or ():
            scopes = []
            for scope in resource.get("scopeLogs") or ():
                records = scope.get("logRecords") or []
                kept = [record for record in records if not _is_private_record(record)]
                removed += len(records) - len(kept)
                scopes.append({**_kept_members(scope, "scope"), "logRecords": kept})
            resources.append({**_kept_members(resource, "resource"), "scopeLogs": scopes})
        return FilteredLogs(json.dumps({"resourceLogs": resources}, separators=(",", ":")).encode(), removed)
    except (AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"these are no logs of OTLP: {error}") from None


def _kept_members(value: dict[str, Any], name: str) -> dict[str, Any]:
    """The members beside the records. Others are removed: a collector may read records in them."""
    return {key: value[key] for key in (name, "schemaUrl") if key in value}


def _is_private_record(record: dict[str, Any]) -> bool:
    if _is_private(record.get("eventName")) or _is_private(_json_text(record.get("body"))):
        return True
    for attribute in record.get("attributes") or ():
        key = attribute.get("key")
        if key in _PRIVATE_KEYS or (key == _EVENT_NAME and _is_private(_json_text(attribute.get("value")))):
            return True
    return False


def _json_text(value: dict[str, Any] | None) -> Any:
    return (value or {}).get("stringValue")


def _is_private(name: Any) -> bool:
    return isinstance(name, str) and name in _PRIVATE


def _from_protobuf(body: bytes) -> FilteredLogs:
    kept, removed = _rebuilt(body, 0)
    return FilteredLogs(kept, removed)


def _rebuilt(message: bytes, depth: int) -> tuple[bytes, int]:
    """The message without the private records below it, and their number."""
    to_records, kept = _TO_RECORDS[depth]
    output, removed = bytearray(), 0
    for number, kind, start, first, end in _fields(message):
        if number == to_records and kind == _BYTES:
            inner = message[first:end]
            if depth == len(_TO_RECORDS) - 1:
                if _is_private_message(inner):
                    removed += 1
                    continue
            else:
                inner, below = _rebuilt(inner, depth + 1)
                removed += below
            output += _varint(number << 3 | _BYTES) + _varint(len(inner)) + inner
        elif number in kept:
            output += message[start:end]
    return bytes(output), removed


def _is_private_message(record: bytes) -> bool:
    private = False
    for number, kind, _, first, end in _fields(record):
        if kind != _BYTES or private:
            # The rest is still read: a record that is cut must not be forwarded.
            continue
        value = record[first:end]
        if number == _EVENT:
            private = _text(value) in _PRIVATE
        elif number == _BODY:
            private = not _PRIVATE.isdisjoint(_strings(value))
        elif number == _ATTRIBUTES:
            private = _is_private_attribute(value)
    return private


def _is_private_attribute(pair: bytes) -> bool:
    keys, names = set(), set()
    for number, kind, _, first, end in _fields(pair):
        if kind == _BYTES and number == 1:
            keys.add(_text(pair[first:end]))
        elif kind == _BYTES and number == 2:
            names |= _strings(pair[first:end])
    return not _PRIVATE_KEYS.isdisjoint(keys) or (_EVENT_NAME in keys and not _PRIVATE.isdisjoint(names))


def _strings(value: bytes) -> set[str]:
    """The texts of an AnyValue; none for another type."""
    return {_text(value[first:end]) for number, kind, _, first, end in _fields(value) if (number, kind) == (1, _BYTES)}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _fields(message: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield the number and wire type of each field, where it starts, and where its value starts and ends. Raises ValueError."""
    at = 0
    while at < len(message):
        start = at
        key, at = _read_varint(message, at)
        number, kind = key >> 3, key & 7
        first = at
        if kind == _VARINT:
            _, at = _read_varint(message, at)
        elif kind == _BYTES:
            size, first = _read_varint(message, at)
            at = first + size
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"these are no logs of OTLP: wire type {kind}")
        if at > len(message) or not number:
            raise ValueError("these are no logs of OTLP: a field is cut")
        yield number, kind, start, first, at


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("these are no logs of OTLP: a number is cut")


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)
