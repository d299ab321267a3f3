"""The errors of decoding: what msgspec raises for data that another program has sent or written."""

from __future__ import annotations

from typing import Final

from msgspec import MsgspecError

#: The data is not JSON, or not of the expected types; it is not UTF-8; it is nested too deeply.
DECODE_ERRORS: Final = (MsgspecError, UnicodeDecodeError, RecursionError)
