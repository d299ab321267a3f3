"""Generates the tables of settings and of backend types in `docs/config.md`, of vendors in `docs/vendors.md`, and of
what APIs and backends carry in `docs/fronts.md`.

Run `python docs/generate.py` after a change of `byway.config.settings`, `byway.backends.vendors` or `tests/matrix.py`. A test
fails until then.
"""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from byway.backends.vendors import EFFORTS, VENDORS, ThinkingRule, Vendor, known_model, thinking_rule
from byway.config.notes import Note, notes
from byway.config.settings import Config

PAGES = tuple(Path(__file__).with_name(name) for name in ("config.md", "fronts.md", "vendors.md"))


def fill(page: str) -> str:
    """Return the page with each part between `<!-- name -->` and `<!-- end -->` generated again."""
    parts = {
        "settings": _settings(implemented=True),
        "planned": _settings(implemented=False),
        "types": _types(),
        "vendors": _vendors(),
        "fronts": _fronts(),
    }
    return re.sub(
        r"(<!-- (settings|planned|types|vendors|fronts) -->\n).*?(<!-- end -->)",
        lambda match: f"{match[1]}{parts[match[2]]}{match[3]}",
        page,
        flags=re.DOTALL,
    )


def _fronts() -> str:
    # Beside the tests, which show that it is true.
    matrix = runpy.run_path(str(Path(__file__).parent.parent / "tests/matrix.py"))
    return str(matrix["table"]())


def rows() -> Iterator[tuple[str, Note, Any, object]]:
    """Yield path, Note, type and default of every setting, in the order of the page."""
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


def _settings(*, implemented: bool) -> str:
    lines = ["| Setting | Value | Default | Meaning |", "|---|---|---|---|"]
    for path, note, kind, default in rows():
        if note.implemented == implemented:
            mark = " *Restart.*" if note.restart else ""
            lines.append(f"| `{path}` | {_value(kind, note)} | {_default(default, note)} | {note.description}{mark} |")
    return "\n".join(lines) + "\n"


def _value(kind: Any, note: Note) -> str:
    formats = {
        "duration": "duration",
        "octal": "octal",
        "size": "size",
        "moment": "date and time",
        "url": "URL",
        "origin": "URL",
        "proxy": "URL",
        "secret": "secret",
        "prefix": "path",
    }
    if get_origin(kind) in (Union, UnionType):
        kind = next(member for member in get_args(kind) if member is not type(None))
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return "list" if list(_structs(inner)) else f"{_value(inner, note)}, or list"
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if get_origin(kind) is dict or list(_structs(kind)):
        return "mapping"
    if note.format in formats:
        return f"{formats[note.format]}, or list" if note.many else formats[note.format]
    if kind in (int, float):
        high = f" to {note.maximum:.12g}" if note.maximum < 1_000_000_000 else " or more"
        return f"{note.minimum:.12g}{high}"
    return {bool: "true, false"}.get(kind, "text")


def _default(default: object, note: Note) -> str:
    if isinstance(default, msgspec.Struct) or default in (None, "", (), {}):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if note.format == "duration":
        return f"`{default:.12g}s`"
    if note.format == "size" and isinstance(default, int):
        return f"`{default >> 30}GiB`" if default >= 1 << 30 else f"`{default >> 20}MiB`"
    if isinstance(default, tuple):
        return ", ".join(f"`{getattr(member, 'name', member)}`" for member in default)
    if isinstance(default, str) and not default.isprintable():
        default = msgspec.json.encode(default).decode()
    return f"`{default}`"


def _types() -> str:
    lines = ["| `type` | Server | Protocol | Default `url` |", "|---|---|---|---|"]
    for vendor in VENDORS.values():
        protocol = {"openai": "chat completions", "anthropic": "Messages"}[vendor.protocol] + (
            ", Messages" if vendor.messages else ""
        )
        url = f"`{vendor.url}`" if vendor.url else ("none" if vendor.managed else "required")
        lines.append(f"| `{vendor.name}` | {vendor.title} | {protocol} | {url} |")
    return "\n".join(lines) + "\n"


def _vendors() -> str:
    """One row for each model that the tests play against a strict fake of its vendor."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from vendors.rows import FAKES

    efforts = ", ".join(f"`{effort}`" for effort in EFFORTS)
    lines = [
        f"| `type` | Model | {efforts} | Without thinking | Earlier reasoning | After another model | Forced tool | Image |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for fake in FAKES:
        vendor = VENDORS[fake.type]
        rule = thinking_rule(vendor.thinking, fake.model)
        cells = (
            f"`{fake.type}`",
            f"`{fake.model}`",
            _efforts(rule),
            _without_thinking(rule),
            _replay(vendor, fake.reasoning),
            _MISSING[rule.missing if rule else ""],
            _forced(vendor, rule),
            _image(vendor, fake.model),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


_MISSING = {
    "": "sent without",
    "blank": "a blank as reasoning",
    "off": "thinking is off",
    "sentinel": "Gemini's sentinel",
    "text": "its calls as text",
}


def _efforts(rule: ThinkingRule | None) -> str:
    if rule is not None and rule.words:
        return " ".join(rule.words)
    return "on" if rule is not None and rule.on else "none"


def _without_thinking(rule: ThinkingRule | None) -> str:
    if rule is None or not (rule.on or rule.off):
        return "unchanged"
    value = rule.off.get("reasoning_effort") or (rule.off.get("reasoning") or {}).get("effort")
    if value is not None and value != "none":
        return f"`{value}`, the least"
    return "the same: it always thinks" if rule.off == rule.on else "off"


def _replay(vendor: Vendor, form: str) -> str:
    if form in ("details", "split"):
        return "`reasoning_details`"
    if form == "signature":
        return "thought signature"
    return f"`{vendor.reasoning_field}`" if vendor.reasoning_field else "none"


def _forced(vendor: Vendor, rule: ThinkingRule | None) -> str:
    if rule is not None and rule.forced == "off":
        return "without thinking"
    if vendor.choices == "auto" or (rule is not None and rule.forced == "auto"):
        return "`auto`, and checked"
    return "yes" if vendor.forces_tools else "yes, and checked"


def _image(vendor: Vendor, model: str) -> str:
    known = known_model(vendor.known_models, model)
    return "as text" if known is not None and known.vision is False else "yes"


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(fill(page.read_text("utf-8")), "utf-8")
