"""Writes the parts of the documentation that repeat code: the settings and types of backends in `docs/config.md`.

Run `python docs/generate.py` after a change of `byway.config.settings` or `byway.backends.vendors`; a test fails until then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from byway.backends.vendors import VENDORS
from byway.config.notes import Note, notes
from byway.config.settings import Config

PAGE = Path(__file__).with_name("config.md")


def fill(page: str) -> str:
    """The page with each part between `<!-- name -->` and `<!-- end -->` written anew."""
    parts = {"settings": _settings(built=True), "planned": _settings(built=False), "types": _types()}
    return re.sub(
        r"(<!-- (settings|planned|types) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}{parts[found[2]]}{found[3]}",
        page,
        flags=re.DOTALL,
    )


def rows() -> Iterator[tuple[str, Note, Any, object]]:
    """Path, Note, type and default of every setting, in the order of the page."""
    yield from _rows(Config, "", Note("", minimum=0))


def _rows(struct: type[msgspec.Struct], path: str, above: Note) -> Iterator[tuple[str, Note, Any, object]]:
    for field in msgspec.structs.fields(struct):
        note = notes(struct)[field.name]
        if note.internal:
            continue
        if not above.implemented:
            note = msgspec.structs.replace(note, implemented=False)
        kind = get_args(field.type)[0] if get_origin(field.type) is Annotated else field.type
        default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
        inside = f"{path}{field.encode_name}"
        yield inside, note, kind, default
        for part in _structs(kind):
            between = {tuple: "[]", dict: ".NAME"}.get(get_origin(kind), "")
            yield from _rows(part, f"{inside}{between}.", note)


def _structs(kind: Any) -> Iterator[type[msgspec.Struct]]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    elif get_origin(kind) in (tuple, dict, Union, UnionType):
        for part in get_args(kind):
            yield from _structs(part)


def _settings(*, built: bool) -> str:
    lines = ["| Setting | Value | Default | Meaning |", "|---|---|---|---|"]
    for path, note, kind, default in rows():
        if note.implemented == built:
            mark = " *Restart.*" if note.restart else ""
            lines.append(f"| `{path}` | {_value(kind, note)} | {_default(default, note)} | {note.description}{mark} |")
    return "\n".join(lines) + "\n"


def _value(kind: Any, note: Note) -> str:
    forms = {
        "duration": "duration",
        "octal": "octal",
        "moment": "date and time",
        "url": "URL",
        "proxy": "URL",
        "secret": "secret",
        "prefix": "path",
    }
    if get_origin(kind) in (Union, UnionType):
        kind = next(one for one in get_args(kind) if one is not type(None))
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return "list" if list(_structs(inner)) else f"{_value(inner, note)}, or list"
    if get_origin(kind) is Literal:
        return ", ".join(f"`{one}`" for one in get_args(kind))
    if get_origin(kind) is dict or list(_structs(kind)):
        return "mapping"
    if note.format in forms:
        return forms[note.format]
    if kind in (int, float):
        high = f" to {note.maximum:g}" if note.maximum < 1_000_000_000 else " or more"
        return f"{note.minimum:g}{high}"
    return {bool: "true, false"}.get(kind, "text")


def _default(default: object, note: Note) -> str:
    if isinstance(default, msgspec.Struct) or default in (None, "", (), {}):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if note.format == "duration":
        return f"`{default:g}s`"
    if isinstance(default, tuple):
        return ", ".join(f"`{getattr(one, 'name', one)}`" for one in default)
    if isinstance(default, str) and not default.isprintable():
        default = msgspec.json.encode(default).decode()
    return f"`{default}`"


def _types() -> str:
    lines = ["| `type` | Server | Speaks | `url` when not given |", "|---|---|---|---|"]
    for vendor in VENDORS.values():
        speaks = {"openai": "chat completions", "anthropic": "Messages"}[vendor.protocol]
        url = f"`{vendor.url}`" if vendor.url else ("none is needed" if vendor.name == "builtin" else "must be given")
        lines.append(f"| `{vendor.name}` | {vendor.title} | {speaks} | {url} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text("utf-8")), "utf-8")
