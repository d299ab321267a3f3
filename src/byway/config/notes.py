"""Notes on settings, and the masking of their secrets: the vocabulary in which `settings` and `planned` are written."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from byway.secrets.names import mask

Format = Literal[
    "",
    "address",
    "cidr",
    "domain",
    "duration",
    "header",
    "host",
    "models",
    "moment",
    "name",
    "octal",
    "prefix",
    "proxy",
    "secret",
    "strategy",
    "url",
]


class Note(msgspec.Struct, frozen=True):
    """What `load` and the documentation need to know about a setting, besides its type and default."""

    description: str
    format: Format = ""
    """How its text is parsed and checked."""
    variables: bool = False
    """`${NAME}` in its text is replaced by an environment variable. Only for settings that hold secrets or URLs."""
    file: bool = False
    """It names a file whose content Byway reads. Through the page and the API only files in Byway's folders are allowed."""
    minimum: float = 0
    maximum: float = 1_000_000_000
    implemented: bool = True
    """False: the reference router has it; Byway accepts it and warns that it has no effect."""
    restart: bool = False
    """It takes effect after a restart."""
    internal: bool = False
    """Not a setting of the file: `load` computes it."""


def notes(struct: type[msgspec.Struct]) -> dict[str, Note]:
    """The Note of each field of a settings struct, by field name, in order."""
    known = _NOTES.get(struct)
    if known is None:
        known = {}
        for field in msgspec.structs.fields(struct):
            for extra in getattr(field.type, "__metadata__", ()):
                if isinstance(extra, Note):
                    known[field.name] = extra
        _NOTES[struct] = known
    return known


_NOTES: Final[dict[Any, dict[str, Note]]] = {}


class MaskedStruct(msgspec.Struct, frozen=True, kw_only=True):
    """A struct whose `repr` masks its secrets, so that no log line or traceback contains one."""

    def __repr__(self) -> str:
        def show(field: str, value: object) -> str:
            note = notes(type(self)).get(field)
            if value and note and note.format in ("secret", "proxy"):
                return repr(mask(value)) if isinstance(value, str) else "'***'"
            if value and note and note.format == "header" and isinstance(value, dict):
                return repr(dict.fromkeys(value, "***"))
            return repr(value)

        fields = ", ".join(f"{name}={show(name, getattr(self, name))}" for name in self.__struct_fields__)
        return f"{type(self).__name__}({fields})"


def masked(value: Any, note: Note | None = None) -> Any:
    """Return settings as plain values that may be displayed: lists, mappings and texts, with secrets masked."""
    if isinstance(value, msgspec.Struct):
        kinds = notes(type(value))
        return {
            field.encode_name: masked(getattr(value, field.name), kinds.get(field.name))
            for field in msgspec.structs.fields(value)
            if not (field.name in kinds and kinds[field.name].internal)
        }
    if note is not None and value and note.format in ("secret", "proxy"):
        return mask(value) if isinstance(value, str) else "***"
    if isinstance(value, Mapping):
        hidden = note is not None and note.format == "header"
        return {str(key): "***" if hidden else masked(internal) for key, internal in value.items()}
    if isinstance(value, list | tuple):
        return [masked(internal) for internal in value]
    return str(value) if isinstance(value, datetime.datetime) else value


#: Names of headers whose value is a secret.
SECRET_NAME: Final = re.compile("auth|cookie|key|pass|secret|token", re.IGNORECASE)
