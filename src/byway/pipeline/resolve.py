"""Resolves what a request needs from outside itself before its translation, which does no I/O: the texts of its PDFs."""

from __future__ import annotations

from typing import Final

import msgspec

from byway.backend import protocol_of
from byway.backends.protocol import Target
from byway.messages.pdf import embedded_pdfs
from byway.messages.request import Request
from byway.parsing.cache import PdfCache
from byway.problems import Problem

_MAX_PDFS: Final = 500
#: Characters of all PDFs of a request: about two million tokens.
_MAX_CHARACTERS: Final = 8_000_000


def unread_pdfs(request: Request, target: Target) -> list[str]:
    """The PDFs of `request`, in base64, that the backend of `target` cannot read itself."""
    protocol = protocol_of(target)
    if protocol.NATIVE or protocol.passes(request, target):
        # The body is passed on as it is.
        return []
    return embedded_pdfs(request.turns, files=target.vendor.files and target.vision is not False)


async def resolve(files: list[str], target: Target, pdfs: PdfCache) -> Target:
    """The target with the texts of `files`, which `unread_pdfs` returns. Raises Problem `invalid_request`."""
    texts = await pdfs.texts(files, _MAX_CHARACTERS) if len(files) <= _MAX_PDFS else None
    if texts is None:
        raise Problem(
            "invalid_request", "The PDFs of this request contain more text than any model accepts. Send fewer of them."
        )
    return msgspec.structs.replace(target, pdfs=texts)
