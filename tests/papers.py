"""Makes PDFs: small, valid, and as strange as a test wants them. No assertions."""

from __future__ import annotations

import base64
import zlib


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
    for number, one in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj%bendobj\n" % (number, one)
    rows = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    table = b"xref\n0 %d\n0000000000 65535 f \n%b" % (len(objects) + 1, rows)
    return b"%b%btrailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (out, table, len(objects) + 1, len(out))


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
