"""The text of a PDF, page by page, by pypdf. Bytes in, text out; what was read is remembered for the next turn.

Every limit counts bytes, pages, characters or operations and never seconds: the same file must give the same text each time, or
the prompt's beginning would not hold. Measured: the worst file within them takes about 20 s.
"""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from hashlib import blake2b
from io import BytesIO
from typing import Any, Final, NamedTuple

#: The Messages API takes no larger request, and no longer file:
#: https://docs.anthropic.com/en/docs/build-with-claude/pdf-support (seen 2026-11-21).
_LARGEST: Final = 32 << 20
_MOST_PAGES: Final = 600
#: About 200,000 tokens.
_MOST_TEXT: Final = 800_000
#: pypdf works off about 100,000 operations a second.
_MOST_WORK: Final = 1_000_000
_MOST_PAGE_WORK: Final = 300_000
#: One stream, unpacked. pypdf's own limit is 75 MB.
_MOST_UNPACKED: Final = 16 << 20
#: Without a compiled cipher, decrypting takes about a second per MB.
_MOST_ENCRYPTED: Final = 4 << 20
#: Characters of all that is remembered.
_REMEMBERED: Final = 8_000_000
_MOST_REMEMBERED: Final = 500


class Pages(NamedTuple):
    """What a PDF says."""

    total: int
    """How many pages it has."""
    text: str
    """Their text, each after a mark with its number; empty when there is none."""
    flaw: str = ""
    """Why it could not be read."""


_remembered: OrderedDict[bytes, Pages] = OrderedDict()


class Unread(Exception):
    """A PDF that nobody has read yet. `read` may take seconds, so it is for a thread; `remember` takes what it gives."""

    def __init__(self, digest: bytes, encoded: str) -> None:
        super().__init__("a PDF has to be read first")
        self.digest = digest
        self._encoded = encoded

    def read(self) -> Pages:
        """The pages; never an error: what is wrong with the file is its `flaw`."""
        if len(self._encoded) > _LARGEST * 4 // 3:
            return Pages(0, "", "it is too large to be read here")
        try:
            data = base64.b64decode("".join(self._encoded.split()), validate=True)
        except (binascii.Error, ValueError):
            return Pages(0, "", "its data is not base64")
        return read(data)


def pages(encoded: str) -> Pages:
    """The pages of a PDF in base64, which comes again with every turn. Raises Unread for one that was not read before."""
    digest = blake2b(encoded.encode("utf-8", "replace"), digest_size=16).digest()
    found = _remembered.get(digest)
    if found is None:
        raise Unread(digest, encoded)
    _remembered.move_to_end(digest)
    return found


def remember(unread: Unread, found: Pages) -> None:
    """Keep what `unread.read()` gave; what was not wanted for longest is forgotten."""
    _remembered[unread.digest] = found
    while sum([len(kept.text) for kept in _remembered.values()]) > _REMEMBERED or len(_remembered) > _MOST_REMEMBERED:
        _remembered.popitem(last=False)


def read(data: bytes) -> Pages:
    """The pages of a PDF; never an error: what is wrong with it is its `flaw`."""
    # Loaded only when a PDF comes: it takes 0.2 s and 20 MB.
    import pypdf
    from pypdf.errors import DependencyError, FileNotDecryptedError

    try:
        with pypdf.apply_configuration(
            zlib_maximum_output_length=_MOST_UNPACKED,
            lzw_maximum_output_length=_MOST_UNPACKED,
            run_length_maximum_output_length=_MOST_UNPACKED,
            brotli_maximum_output_length=_MOST_UNPACKED,
            array_based_stream_maximum_output_length=_MOST_UNPACKED,
            stream_decoding_work_maximum_length=4 * _MOST_UNPACKED,
            stream_parsing_work_maximum_count=_MOST_PAGE_WORK,
            zlib_maximum_recovery_input_length=1 << 20,
            xform_maximum_invocations_per_extraction=500,
            # No other program is started for a picture.
            jbig2dec_binary=None,
        ):
            reader = pypdf.PdfReader(BytesIO(data), root_object_recovery_limit=10_000)
            if reader.is_encrypted and len(data) > _MOST_ENCRYPTED:
                return Pages(0, "", "it is encrypted")
            return _pages(reader)
    except (DependencyError, FileNotDecryptedError):
        return Pages(0, "", "it is encrypted")
    except Exception:
        # A broken file breaks pypdf in many ways, down to KeyError and RecursionError; none of them is ours to mend.
        return Pages(0, "", "it is broken, or no PDF at all")


class _Enough(Exception):
    """The limit of work is reached."""


def _pages(reader: Any) -> Pages:
    """The text of each page, as far as the limits allow."""
    from pypdf.errors import LimitReachedError

    count = len(reader.pages)
    work = 0

    def worked(*_: object) -> None:
        nonlocal work
        work += 1
        if work > _MOST_WORK:
            raise _Enough

    texts: list[str] = []
    length, at, found = 0, 0, False
    while at < min(count, _MOST_PAGES) and length < _MOST_TEXT and work <= _MOST_WORK:
        try:
            text = _clean(reader.pages[at].extract_text(visitor_operand_before=worked))
        except _Enough:
            break
        except Exception as error:
            text = "(this page could not be read)"
            # What failed may have been read for long before.
            work += _MOST_PAGE_WORK if isinstance(error, LimitReachedError) else _MOST_PAGE_WORK // 10
        found = found or bool(text)
        text = f"[page {at + 1}]\n{text}".rstrip()[: _MOST_TEXT - length]
        length += len(text)
        texts.append(text)
        at += 1
    if at < count:
        texts.append(f"[the pages from {at + 1} to {count} are left out: the file is too long]")
    return Pages(count, "\n\n".join(texts) if found else "")


def _clean(text: str) -> str:
    """`text` with nothing in it that JSON or a model's tokenizer cannot take."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode().strip()
