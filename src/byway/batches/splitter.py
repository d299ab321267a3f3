"""BatchBodySplitter: takes the body of a new message batch apart while it arrives, without holding all of it. Pure."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from byway.batches.batch import CUSTOM_ID, MOST_REQUESTS, REQUEST_LIMIT, NewRequest
from byway.decoding import DECODE_ERRORS

#: Bytes that are scanned at once: a search in them never holds other threads up for long.
_STEP: Final = 64 << 10
#: Bytes of a top-level value other than `requests`, and of a name.
_OTHER_LIMIT: Final = 1 << 20
_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
#: The rest of a string, up to its closing quote or to the end of the bytes.
_STRING: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
#: The next byte that matters outside of a string.
_STRUCTURE: Final = re.compile(rb'["{}\[\]]')
#: The end of a number, true, false or null.
_SCALAR_END: Final = re.compile(rb"[,\]}\s]")
_QUOTE, _BACKSLASH = b'"\\'
_OPENING: Final = frozenset(b"{[")


class InvalidBatch(ValueError):
    """The body is no batch: which part of it is wrong, and why."""


class _BatchItem(msgspec.Struct):
    """An element of `requests`."""

    custom_id: str
    params: msgspec.Raw


_decode_item: Final = msgspec.json.Decoder(_BatchItem).decode
_decode_text: Final = msgspec.json.Decoder(str).decode


class BatchBodySplitter:
    """Feed it the body `{"requests": [{"custom_id": ..., "params": {...}}, ...]}` in parts of any size.

    The content of `params` is not looked at: a request that is invalid becomes an error among the results.
    """

    def __init__(self) -> None:
        self.count = 0
        """Requests so far."""
        self._expects = self._start
        self._value: list[bytes] = []
        """The parts of the value that is being read."""
        self._size = 0
        self._reading = self._scalar = False
        """Its first byte was read, and it is a number, true, false or null."""
        self._depth = 0
        """Its open brackets."""
        self._in_string = self._escaped = False
        self._name = ""
        self._has_requests = False
        self._data, self._at = b"", 0
        self._requests: list[NewRequest] = []

    def feed(self, data: bytes) -> list[NewRequest]:
        """Return the requests that `data` completes. Raises InvalidBatch."""
        self._requests = []
        for start in range(0, len(data), _STEP):
            self._data, self._at = data[start : start + _STEP], 0
            while True:
                if not self._reading:
                    self._at = _SPACE.match(self._data, self._at).end()  # type: ignore[union-attr]
                if self._at >= len(self._data):
                    break
                self._expects()
        return self._requests

    def close(self) -> None:
        """End the body. Raises InvalidBatch when it is incomplete or has no requests."""
        if self._expects != self._nothing:
            raise InvalidBatch("The body is not valid JSON: it ends too early.")
        if not self._has_requests:
            raise InvalidBatch("requests: field required. Send a list of at least one request.")
        if not self.count:
            raise InvalidBatch("requests: the list is empty. Send at least one request.")

    # ------------------------------------------------------------------------------- what may come next, by position

    def _start(self) -> None:
        self._take(b"{", "The body is not a JSON object.")
        self._expects = self._first_name

    def _first_name(self) -> None:
        if self._data[self._at : self._at + 1] == b"}":
            self._end()
        else:
            self._expects = self._name_of_value

    def _name_of_value(self) -> None:
        if not self._reading and self._data[self._at : self._at + 1] != b'"':
            raise self._malformed()
        text = self._read_value(_OTHER_LIMIT)
        if text is not None:
            try:
                self._name = _decode_text(text)
            except DECODE_ERRORS as error:
                raise InvalidBatch(f"The body is not valid JSON: {error}") from None
            self._expects = self._colon

    def _colon(self) -> None:
        self._take(b":")
        self._expects = self._requests_start if self._name == "requests" else self._other_value

    def _other_value(self) -> None:
        if self._read_value(_OTHER_LIMIT) is not None:
            raise InvalidBatch(f"{self._name[:100]}: unknown field. A batch has the field `requests` only.")

    def _requests_start(self) -> None:
        if self._has_requests:
            raise InvalidBatch("requests: the field occurs twice.")
        self._take(b"[", "requests: expected a list.")
        self._has_requests = True
        self._expects = self._first_request

    def _first_request(self) -> None:
        if self._data[self._at : self._at + 1] == b"]":
            self._at += 1
            self._expects = self._after_value
        else:
            self._expects = self._request

    def _request(self) -> None:
        if not self._reading and self.count >= MOST_REQUESTS:
            raise InvalidBatch(f"requests: a batch has at most {MOST_REQUESTS:,} requests. Send several batches.")
        text = self._read_value(REQUEST_LIMIT)
        if text is not None:
            self._requests.append(_item(text, self.count))
            self.count += 1
            self._expects = self._after_request

    def _after_request(self) -> None:
        if self._data[self._at : self._at + 1] == b",":
            self._at += 1
            self._expects = self._request
        else:
            self._take(b"]")
            self._expects = self._after_value

    def _after_value(self) -> None:
        if self._data[self._at : self._at + 1] == b",":
            self._at += 1
            self._expects = self._name_of_value
        else:
            self._end()

    def _end(self) -> None:
        self._take(b"}")
        self._expects = self._nothing

    def _nothing(self) -> None:
        raise InvalidBatch("The body is not valid JSON: there is more after its end.")

    # --------------------------------------------------------------------------------------------------------- values

    def _take(self, wanted: bytes, otherwise: str = "") -> None:
        if self._data[self._at : self._at + 1] != wanted:
            raise InvalidBatch(otherwise) if otherwise else self._malformed()
        self._at += 1

    def _malformed(self) -> InvalidBatch:
        where = f" after request {self.count}" if self.count else ""
        return InvalidBatch(f"The body is not valid JSON{where}.")

    def _read_value(self, limit: int) -> bytes | None:
        """Read on in a value. Returns it when it is complete, else None. Raises InvalidBatch above `limit` bytes."""
        start = self._at
        is_complete = self._scan()
        self._value.append(self._data[start : self._at])
        self._size += self._at - start
        if self._size > limit:
            what = f"requests.{self.count}" if limit == REQUEST_LIMIT else "A field of the body"
            raise InvalidBatch(f"{what} is over {limit >> 20} MiB.")
        if not is_complete:
            return None
        value = b"".join(self._value)
        self._value.clear()
        self._size, self._reading = 0, False
        return value

    def _scan(self) -> bool:
        """Move to the end of the value; False when it is not in these bytes."""
        data = self._data
        if not self._reading:
            self._reading, self._depth = True, 0
            self._scalar = data[self._at] not in b'{["'
        if self._scalar:
            match = _SCALAR_END.search(data, self._at)
            self._at = match.start() if match else len(data)
            return match is not None
        while self._at < len(data):
            if self._in_string:
                if not self._end_string():
                    return False
            else:
                match = _STRUCTURE.search(data, self._at)
                if match is None:
                    self._at = len(data)
                    return False
                byte = data[match.start()]
                self._at = match.end()
                if byte == _QUOTE:
                    self._in_string = True
                    continue
                self._depth += 1 if byte in _OPENING else -1
            if self._depth == 0:
                return True
        return False

    def _end_string(self) -> bool:
        """Move behind the closing quote of a string; False when it is not in these bytes."""
        data = self._data
        if self._escaped:
            self._escaped = False
            self._at += 1
        self._at = _STRING.match(data, self._at).end()  # type: ignore[union-attr]
        if self._at >= len(data):
            return False
        if data[self._at] == _BACKSLASH:
            # The escaped byte is in the next part.
            self._escaped = True
            self._at += 1
            return False
        self._in_string = False
        self._at += 1
        return True


def _item(text: bytes, number: int) -> NewRequest:
    """One element of `requests`. Raises InvalidBatch that names the wrong field."""
    try:
        item = _decode_item(text)
    except DECODE_ERRORS as error:
        raise InvalidBatch(f"requests.{number}: {error}") from None
    if not CUSTOM_ID.fullmatch(item.custom_id):
        raise InvalidBatch(
            f"requests.{number}.custom_id: expected 1 to 64 of the characters a-z, A-Z, 0-9, - and _, got "
            f"{item.custom_id[:80]!r}"
        )
    params = bytes(item.params)
    if params[:1] != b"{":
        raise InvalidBatch(f"requests.{number}.params: expected an object with the fields of a Messages request")
    return NewRequest(item.custom_id, params)
