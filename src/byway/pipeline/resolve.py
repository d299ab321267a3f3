"""Resolves what a request needs from outside itself before its translation, which does no I/O: the texts of its PDFs."""

from __future__ import annotations

from typing import Final

import msgspec

from byway.backend import PROTOCOLS
from byway.backends.protocol import Target
from byway.messages.pdf import embedded_pdfs
from byway.messages.request import Request
from byway.parsing.cache import PdfCache
from byway.problems import Problem

_MAX_PDFS: Final = 500
#: Characters of all PDFs of a request: about two million tokens.
_MAX_CHARACTERS: Final = 8_000_000


async def resolve(request: Request, target: Target, pdfs: PdfCache) -> Target:
    """The target with the texts of the PDFs that its backend cannot read itself. Raises Problem `invalid_request`."""
    if PROTOCOLS[target.vendor.protocol].NATIVE or request.chat:
        # The body is passed on as it is.
        return target
    files = embedded_pdfs(request.turns, files=target.vendor.files and target.vision is not False)
    if not files:
        return target
    texts = await pdfs.texts(files, _MAX_CHARACTERS) if len(files) <= _MAX_PDFS else None
    if texts is None:
        raise Problem(
            "invalid_request", "The PDFs of this request contain more text than any model accepts. Send fewer of them."
        )
    return msgspec.structs.replace(target, pdfs=texts)
