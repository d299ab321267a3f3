"""What a file contains, by its first bytes and its name, and whether that is what its client declared. Pure."""

from __future__ import annotations

import re
from typing import Final

from byway.problems import Problem

#: Bytes at the beginning of a file that are looked at.
HEAD: Final = 4096
#: The types that models take as an image.
IMAGES: Final = frozenset(("image/png", "image/jpeg", "image/gif", "image/webp"))
PDF: Final = "application/pdf"
BINARY: Final = "application/octet-stream"
TEXT: Final = "text/plain"
_ZIP: Final = "application/zip"

_MAGIC: Final = (
    (b"%PDF-", PDF),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"PK\x03\x04", _ZIP),
    (b"PK\x05\x06", _ZIP),
    (b"\x1f\x8b", "application/gzip"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"\x7fELF", "application/x-executable"),
    (b"MZ", "application/x-executable"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (b"SQLite format 3\0", "application/vnd.sqlite3"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
)
#: Containers of the form RIFF and ISO media, by the bytes from 8 on, and from 4 on.
_RIFF: Final = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_ISO: Final = {b"heic": "image/heic", b"heif": "image/heic", b"mif1": "image/heic", b"avif": "image/avif"}
_OFFICE: Final = "application/vnd.openxmlformats-officedocument."
#: Types of files by the end of their name, where the content alone does not tell.
_ENDINGS: Final = {
    "csv": "text/csv",
    "css": "text/css",
    "htm": "text/html",
    "html": "text/html",
    "js": "text/javascript",
    "json": "application/json",
    "jsonl": "application/jsonl",
    "md": "text/markdown",
    "markdown": "text/markdown",
    "svg": "image/svg+xml",
    "tsv": "text/tab-separated-values",
    "xml": "application/xml",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "py": "text/x-python",
}
_ZIP_ENDINGS: Final = {
    "docx": f"{_OFFICE}wordprocessingml.document",
    "xlsx": f"{_OFFICE}spreadsheetml.sheet",
    "pptx": f"{_OFFICE}presentationml.presentation",
    "epub": "application/epub+zip",
    "odt": "application/vnd.oasis.opendocument.text",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "jar": "application/java-archive",
}
_OLE_ENDINGS: Final = {
    "doc": "application/msword",
    "xls": "application/vnd.ms-excel",
    "ppt": "application/vnd.ms-powerpoint",
}
#: Other types that consist of text.
_TEXTUAL: Final = re.compile(
    r"text/.*|application/(json|jsonl|x-ndjson|xml|yaml|x-yaml|javascript|toml|sql)|.*\+(json|xml)"
)
#: Bytes that no text contains: the control characters but tabs, line ends, form feed, escape and end of file.
_CONTROL: Final = bytes(byte for byte in range(32) if byte not in (9, 10, 11, 12, 13, 26, 27))
_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")
_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")


def media_type(declared: str, filename: str, head: bytes) -> str:
    """The type of a file, whose content counts first.

    `declared` is what its client sent, `head` its first bytes, at most HEAD. Raises Problem `invalid_request` when the
    client declares an image, a PDF, text or an archive and the content is something else.
    """
    declared = declared.partition(";")[0].strip().lower()
    if not _TYPE.fullmatch(declared):
        declared = BINARY
    content = _sniffed(head)
    ending = filename.rpartition(".")[2].lower() if "." in filename else ""
    if _is_checked(declared) and not _agree(declared, content):
        raise Problem(
            "invalid_request",
            f"file: it was declared as {declared}, and its content is {_described(content)}. Send the file with its own "
            f"content type, or with {BINARY}: Byway then detects the type.",
        )
    match content:
        case "text/plain":
            return _ENDINGS.get(ending, TEXT) if declared == BINARY else declared
        case "application/zip":
            return _ZIP_ENDINGS.get(ending, declared if declared.startswith(_OFFICE) else content)
        case "application/x-ole-storage":
            return _OLE_ENDINGS.get(ending, content)
        case "application/octet-stream":
            return declared
    return content


def _agree(declared: str, content: str) -> bool:
    """Can a file of the declared type have this content?"""
    if content == TEXT:
        return is_text(declared)
    if content == _ZIP:
        return declared == _ZIP or declared.startswith(_OFFICE)
    # Which kind of image was declared comes from the file's name, and is wrong often enough.
    return declared == content or (declared in IMAGES and content in IMAGES)


def is_text(media: str) -> bool:
    """Does a file of this type consist of text?"""
    return bool(_TEXTUAL.fullmatch(media))


def _is_checked(declared: str) -> bool:
    """Does the content of a file of the declared type always show that type?"""
    return declared in IMAGES or declared in (PDF, _ZIP) or declared.startswith(_OFFICE) or is_text(declared)


def _described(content: str) -> str:
    return {TEXT: "text", BINARY: "of no known type"}.get(content, content)


def _sniffed(head: bytes) -> str:
    """The type of the content by its first bytes: one of _MAGIC and its like, TEXT or BINARY."""
    for magic, media in _MAGIC:
        if head.startswith(magic) and not (len(magic) == 2 and _looks_like_text(head)):
            return media
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], BINARY)
    if head[4:8] == b"ftyp":
        return _ISO.get(head[8:12], "video/mp4")
    # A PDF may have up to 1024 bytes before its header (ISO 32000-1, annex H, implementation note 13).
    if b"%PDF-" in head[:1024] and not _looks_like_text(head[: head.index(b"%PDF-")]):
        return PDF
    return TEXT if head[:2] in _BOMS or _looks_like_text(head) else BINARY


def _looks_like_text(head: bytes) -> bool:
    return len(head.translate(None, _CONTROL)) == len(head)


def text_of(data: bytes) -> str | None:
    """The text of a file: UTF-8, or UTF-16 with a byte order mark; None when it is neither."""
    try:
        return data.decode("utf-16" if data[:2] in _BOMS else "utf-8-sig")
    except UnicodeDecodeError:
        return None
