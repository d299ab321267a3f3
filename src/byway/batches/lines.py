"""The input of OpenAI's batches and the results of both APIs: one JSON object in each line. Pure.

The shapes are those of https://platform.openai.com/docs/guides/batch and of the `openai` SDK 3.52.0 (both seen 2026-11-30).
"""

from __future__ import annotations

import codecs
from typing import Any, Final

import msgspec

from byway.batches.batch import REQUEST_LIMIT, BatchResult, NewRequest, Rest, StoredBatch
from byway.decoding import DECODE_ERRORS

#: Requests of a batch, and bytes of its input file.
MOST_LINES: Final = 50_000
INPUT_LIMIT: Final = 200 << 20
#: The paths that the requests of a batch may have.
ENDPOINTS: Final = ("/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions", "/v1/moderations")
_MOST_ERRORS: Final = 50
_ID_LIMIT: Final = 512
_REASONS: Final = {
    "expired": {
        "code": "batch_expired",
        "message": "This request could not be executed before the completion window expired.",
    },
    "canceled": {"code": "batch_cancelled", "message": "The batch was cancelled before this request was executed."},
}
_encode: Final = msgspec.json.Encoder().encode


class LineError(msgspec.Struct, frozen=True):
    """What is wrong with a line of the input. A batch with such a line fails."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class OpenAIDetail(msgspec.Struct, frozen=True):
    """What only OpenAI's API knows of a batch."""

    input_file: str
    metadata: dict[str, str] | None = None
    output_expires: float | None = None
    """Seconds until the output files expire."""
    output_file: str = ""
    error_file: str = ""
    errors: tuple[LineError, ...] = ()


class _InputLine(msgspec.Struct):
    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


_decode_line: Final = msgspec.json.Decoder(_InputLine).decode


class BatchLines:
    """Feed it the input file in parts of any size. `errors` has what is wrong with it."""

    def __init__(self, endpoint: str) -> None:
        self.count = 0
        """Requests so far."""
        self.errors: list[LineError] = []
        self._endpoint = endpoint
        self._line = 0
        self._rest: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[NewRequest]:
        """Return the requests that `data` completes."""
        requests: list[NewRequest] = []
        *complete, rest = data.split(b"\n")
        for line in complete:
            self._rest.append(line)
            self._read(b"".join(self._rest), requests)
            self._rest.clear()
            self._size = 0
        if self._size <= REQUEST_LIMIT:
            self._rest.append(rest)
            self._size += len(rest)
        return requests

    def close(self) -> list[NewRequest]:
        """End the file. Returns the request of a last line without a line end."""
        requests: list[NewRequest] = []
        self._read(b"".join(self._rest), requests)
        if not self.count and not self.errors:
            self._error("empty_file", "The input file has no requests.", at_line=False)
        return requests

    def _read(self, line: bytes, requests: list[NewRequest]) -> None:
        self._line += 1
        if self._line == 1:
            # Editors and PowerShell on Windows begin files in UTF-8 with it.
            line = line.removeprefix(codecs.BOM_UTF8)
        line = line.strip()
        if not line or len(self.errors) >= _MOST_ERRORS:
            return
        if len(line) > REQUEST_LIMIT:
            self._error("request_too_large", f"The line is over {REQUEST_LIMIT >> 20} MiB.")
            return
        try:
            item = _decode_line(line)
        except msgspec.ValidationError as error:
            self._error("missing_required_parameter", f"The line is no request: {error}")
            return
        except DECODE_ERRORS as error:
            self._error("invalid_json_line", f"The line is not valid JSON: {error}")
            return
        body = bytes(item.body)
        if item.method != "POST":
            self._error("invalid_method", f"The method is {item.method[:80]!r}, and only POST is supported.", "method")
        elif item.url != self._endpoint:
            self._error(
                "mismatched_url", f"The URL is {item.url[:80]!r}, and that of the batch is {self._endpoint!r}.", "url"
            )
        elif not 0 < len(item.custom_id) <= _ID_LIMIT:
            self._error("invalid_custom_id", f"The custom_id needs 1 to {_ID_LIMIT} characters.", "custom_id")
        elif body[:1] != b"{":
            self._error("invalid_request_body", "The body is not a JSON object.", "body")
        elif self.count >= MOST_LINES:
            self._error("too_many_requests", f"The file has more than {MOST_LINES:,} requests.")
        else:
            self.count += 1
            requests.append(NewRequest(item.custom_id, body))

    def _error(self, code: str, message: str, param: str | None = None, *, at_line: bool = True) -> None:
        self.errors.append(LineError(code, message, self._line if at_line else None, param))


def output_line(batch: StoredBatch, result: BatchResult, rest: Rest) -> bytes:
    """The line of a request in the output file, or in the error file when it has not succeeded."""
    place = result.id % 1_000_000
    response: dict[str, Any] | None = None
    if result.kind:
        response = {"status_code": result.status, "request_id": result.request_id, "body": _json_value(result.body)}
    line = {
        "id": f"batch_req_{batch.id.removeprefix('batch_')}_{place}",
        "custom_id": result.custom_id,
        "response": response,
        "error": None if response else _REASONS.get(rest, _REASONS["canceled"]),
    }
    return _encode(line) + b"\n"


def result_line(result: BatchResult, rest: Rest) -> bytes:
    """The line of a request among the results of the Message Batches API."""
    outcome: dict[str, Any]
    if result.kind == "succeeded":
        outcome = {"type": "succeeded", "message": _json_value(result.body)}
    elif result.kind == "errored":
        outcome = {"type": "errored", "error": _json_value(result.body)}
    else:
        outcome = {"type": rest or "canceled"}
    return _encode({"custom_id": result.custom_id, "result": outcome}) + b"\n"


def _json_value(body: bytes) -> msgspec.Raw:
    """A JSON text as a part of a line."""
    if b"\n" in body or b"\r" in body:
        # A backend's answer may be formatted.
        body = msgspec.json.format(body, indent=-1)
    return msgspec.Raw(body)
