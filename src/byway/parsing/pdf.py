"""PDF bytes -> text, page by page, by pypdf.

Limits count bytes, pages, characters and operations, and never seconds: the same file must give the same text each time, so
that the beginning of a prompt stays the same. Measured: the worst file within the limits takes about 20 s.
"""

from __future__ import annotations

import base64
import binascii
from io import BytesIO
from typing import Any, Final

from byway.parsing.job import Parsed

#: Limits of the Messages API: https://docs.anthropic.com/en/docs/build-with-claude/pdf-support (seen 2026-11-21).
_MAX_PAGES: Final = 600
#: About 200,000 tokens.
_MAX_CHARACTERS: Final = 800_000
#: Operations of content streams; pypdf processes about 100,000 a second.
_MAX_OPERATIONS: Final = 1_000_000
_MAX_PAGE_OPERATIONS: Final = 300_000
#: Bytes of one decompressed stream. pypdf's own limit is 75 MB.
_MAX_STREAM: Final = 16 << 20
#: Bytes of an encrypted file: without a compiled cipher, decryption takes about a second per MB.
_MAX_ENCRYPTED: Final = 4 << 20


def parse_base64(data: bytes) -> Parsed:
    """The text of a PDF in base64."""
    try:
        return parse_pdf(base64.b64decode(b"".join(data.split()), validate=True))
    except (binascii.Error, ValueError):
        return Parsed(problem="its data is not base64")


def parse_pdf(data: bytes) -> Parsed:
    """The text of a PDF. Never raises for a broken file: the result has the problem."""
    import pypdf
    from pypdf.errors import DependencyError, FileNotDecryptedError

    try:
        with pypdf.apply_configuration(
            zlib_maximum_output_length=_MAX_STREAM,
            lzw_maximum_output_length=_MAX_STREAM,
            run_length_maximum_output_length=_MAX_STREAM,
            brotli_maximum_output_length=_MAX_STREAM,
            array_based_stream_maximum_output_length=_MAX_STREAM,
            stream_decoding_work_maximum_length=4 * _MAX_STREAM,
            stream_parsing_work_maximum_count=_MAX_PAGE_OPERATIONS,
            zlib_maximum_recovery_input_length=1 << 20,
            xform_maximum_invocations_per_extraction=500,
            # No other program is started for an image.
            jbig2dec_binary=None,
        ):
            reader = pypdf.PdfReader(BytesIO(data), root_object_recovery_limit=10_000)
            if reader.is_encrypted and len(data) > _MAX_ENCRYPTED:
                return Parsed(problem="it is encrypted")
            return _all_pages(reader)
    except (DependencyError, FileNotDecryptedError):
        return Parsed(problem="it is encrypted")
    except Exception:
        # pypdf raises many types for broken files, KeyError and RecursionError among them.
        return Parsed(problem="it is broken, or no PDF at all")


class OperationLimit(Exception):
    """The file has more operations than are processed."""


def _all_pages(reader: Any) -> Parsed:
    """The text of each page, within the limits."""
    from pypdf.errors import LimitReachedError

    count = len(reader.pages)
    operations = 0

    def count_operation(*_: object) -> None:
        nonlocal operations
        operations += 1
        if operations > _MAX_OPERATIONS:
            raise OperationLimit

    texts: list[str] = []
    length, number, has_text = 0, 0, False
    while number < min(count, _MAX_PAGES) and length < _MAX_CHARACTERS and operations <= _MAX_OPERATIONS:
        try:
            text = _clean(reader.pages[number].extract_text(visitor_operand_before=count_operation))
        except OperationLimit:
            break
        except Exception as error:
            text = "(this page could not be read)"
            # The work before the failure was not counted.
            operations += _MAX_PAGE_OPERATIONS if isinstance(error, LimitReachedError) else _MAX_PAGE_OPERATIONS // 10
        has_text = has_text or bool(text)
        text = f"[page {number + 1}]\n{text}".rstrip()[: _MAX_CHARACTERS - length]
        length += len(text)
        texts.append(text)
        number += 1
    if number < count:
        texts.append(f"[the pages from {number + 1} to {count} are left out: the file is too long]")
    return Parsed("\n\n".join(texts) if has_text else "", pages=count)


def _clean(text: str) -> str:
    """`text` without what JSON or a tokenizer cannot take."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode().strip()
