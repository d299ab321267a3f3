"""Makes PDFs: small, valid, and as strange as a test wants them. No assertions."""

from __future__ import annotations

import asyncio
import base64
import zlib

import msgspec

from byway.backends.protocol import Target
from byway.messages.pdf import PdfText, embedded_pdfs
from byway.messages.request import Request
from byway.parsing.job import Parsed, ParseJob
from byway.parsing.pdf import parse_base64
from byway.parsing.pool import ParseError, ParserPool

#: Takes about 3 CPU seconds: pypdf stops at its limit of operations for a page.
HEAVY = b"q Q " * 400_000


def pdf(*pages: str | bytes) -> bytes:
    """A PDF with these pages: a text, or the bytes of a content stream."""
    streams = [
        page if isinstance(page, bytes) else b"BT /F1 24 Tf 20 100 Td (%b) Tj ET" % page.encode() for page in pages
    ]
    kids = b" ".join(b"%d 0 R" % (4 + 2 * at) for at in range(len(streams)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%b]/Count %d>>" % (kids, len(streams)),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for at, stream in enumerate(streams):
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents %d 0 R/Resources<</Font<</F1 3 0 R>>>>>>"
            % (5 + 2 * at)
        )
        packed = zlib.compress(stream)
        objects.append(b"<</Length %d/Filter/FlateDecode>>stream\n%b\nendstream" % (len(packed), packed))
    out, offsets = b"%PDF-1.4\n", []
    for number, value in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj%bendobj\n" % (number, value)
    rows = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    table = b"xref\n0 %d\n0000000000 65535 f \n%b" % (len(objects) + 1, rows)
    return b"%b%btrailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (out, table, len(objects) + 1, len(out))


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def with_pdfs(request: Request, target: Target) -> Target:
    """What `pipeline.resolve` does, in this process."""
    texts = {}
    for data in embedded_pdfs(request.turns):
        parsed = parse_base64(data.encode())
        texts[data] = PdfText(parsed.pages, parsed.text, parsed.problem)
    return msgspec.structs.replace(target, pdfs=texts or None)


class InProcess(ParserPool):
    """A pool that parses in this process and counts its runs."""

    async def run(self, job: ParseJob, data: bytes) -> Parsed:
        self.started += 1
        await asyncio.sleep(0)
        parsed = parse_base64(data)
        if parsed.problem:
            raise ParseError("unreadable", parsed.problem)
        return parsed
