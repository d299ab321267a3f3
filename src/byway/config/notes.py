"""Notes on settings, and the masking of their secrets: the vocabulary in which `settings` and `planned` are written."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import FieldInfo

from byway.secrets.names import mask

Format = Literal[
    "",
    "address",
    "cidr",
    "domain",
    "duration",
    "email_domain",
    "header",
    "host",
    "models",
    "moment",
    "name",
    "octal",
    "origin",
    "prefix",
    "proxy",
    "secret",
    "size",
    "strategy",
    "tag_header",
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
    many: str = ""
    """It may be a list: the internal setting that has all values when there are several."""
    internal: bool = False
    """Not a setting of the file: `load` computes it."""


@cache
def fields_of(struct: type[msgspec.Struct]) -> dict[str, FieldInfo]:
    """The fields of a settings struct by their names in the file, in order. Resolving their types is slow: kept."""
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


@cache
def notes(struct: type[msgspec.Struct]) -> dict[str, Note]:
    """The Note of each field of a settings struct, by field name, in order."""
    return {
        field.name: extra
        for field in fields_of(struct).values()
        for extra in getattr(field.type, "__metadata__", ())
        if isinstance(extra, Note)
    }


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
            name: masked(_all_values(value, field.name, kinds.get(field.name)), kinds.get(field.name))
            for name, field in fields_of(type(value)).items()
            if not (field.name in kinds and kinds[field.name].internal)
        }
    if note is not None and value and note.format in ("secret", "proxy"):
        if note.many and isinstance(value, tuple):
            return [mask(text) for text in value]
        return mask(value) if isinstance(value, str) else "***"
    if isinstance(value, Mapping):
        hidden = note is not None and note.format == "header"
        return {str(key): "***" if hidden else masked(internal) for key, internal in value.items()}
    if isinstance(value, list | tuple):
        return [masked(internal) for internal in value]
    return str(value) if isinstance(value, datetime.datetime) else value


def _all_values(struct: msgspec.Struct, name: str, note: Note | None) -> Any:
    """The value of a setting; all of them when it is a list."""
    return (note is not None and note.many and getattr(struct, note.many)) or getattr(struct, name)


#: Names of headers whose value is a secret.
SECRET_NAME: Final = re.compile("auth|cookie|key|pass|secret|token", re.IGNORECASE)
