"""Finds settings by their paths, as people type them: `backends.0.url`, `backends.work.url`, `model_aliases.gpt-4.1`.

Also parses typed values, tells which of them are secrets, and displays settings with their defaults. Pure.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Final, NamedTuple, Union, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from byway.config import document
from byway.config.editing import Path, Value, flow, scalar
from byway.config.expected import nearest
from byway.config.notes import SECRET_NAME, Note, fields_of, masked, notes
from byway.config.settings import BUILTIN_ONLY, BackendSettings, Config, ConfigProblem
from byway.config.validators import size_text
from byway.secrets.names import variables_in

_PLAIN: Final = Note("")
_INTEGER: Final = re.compile(r"[-+]?(0|[1-9]\d{0,14})")
_DECIMAL: Final = re.compile(r"[-+]?(0|[1-9]\d{0,14})\.\d{1,15}")
_REFERENCE: Final = re.compile(r"\$\{[^{}:]+\}")


class PathError(ValueError):
    """There is no setting at a path: the reason, and what there is."""


class SettingLocation(NamedTuple):
    """A setting: its path in the file, its type, and its value now, or None."""

    path: Path
    kind: Any
    note: Note
    value: Any

    @property
    def there(self) -> bool:
        """Does it have a value, its own or a default?"""
        return self.value is not None


def find(config: Config, text: str) -> SettingLocation:
    """Return the setting at a typed path. Members of lists are found by number or by name. Raises PathError."""
    return _resolve(SettingLocation((), Config, _PLAIN, config), text.strip())


def completions(config: Config, text: str) -> list[str]:
    """Return the paths that start with `text`, up to the next dot: for completion."""
    before = text.rpartition(".")[0]
    try:
        place = find(config, before)
    except PathError:
        return []
    keys: list[str] = []
    if (struct := _struct(place.kind)) is not None:
        keys = [name for name, (_, note) in _fields(struct).items() if note.implemented]
    elif get_origin(place.kind) is dict:
        keys = list(place.value or ())
    elif get_origin(place.kind) is tuple:
        keys = [str(number) for number in range(len(place.value or ()))]
    paths = [f"{before}.{key}".lstrip(".") for key in keys]
    return [path for path in paths if path.startswith(text)]


def locate(config: Config, path: Path) -> SettingLocation:
    """Return the setting at a path of the file. Raises PathError."""
    place = SettingLocation((), Config, _PLAIN, config)
    for key in path:
        # Step by step, because a key of a mapping can contain dots.
        place = _entry(place, str(key)) if get_origin(place.kind) is dict else _resolve(place, str(key))
    return place


def _resolve(at: SettingLocation, rest: str) -> SettingLocation:
    if not rest:
        return at
    if _struct(at.kind) is not None:
        return _field(at, *_cut(rest))
    if get_origin(at.kind) is tuple:
        return _member(at, rest)
    if get_origin(at.kind) is dict:
        return _entry(at, rest)
    if at.note.format == "models":
        # A model can be `{id: name, window: tokens}`.
        key, rest = _cut(rest)
        return _resolve(SettingLocation((*at.path, key), str, _PLAIN, None), rest)
    raise PathError(f"{dotted(at.path)} is a single value and has no {rest}.")


def _field(at: SettingLocation, name: str, rest: str) -> SettingLocation:
    fields = _fields(_struct(at.kind))
    if name not in fields:
        near = nearest(name[:60], fields)
        hint = f"Did you mean {dotted((*at.path, near))}?" if near else f"The settings are {', '.join(fields)}."
        raise PathError(f"There is no setting {dotted((*at.path, name))}. {hint}")
    field, note = fields[name]
    value = getattr(at.value, field.name) if isinstance(at.value, msgspec.Struct) else None
    return _resolve(SettingLocation((*at.path, name), _bare(field.type), note, value), rest)


def _member(at: SettingLocation, rest: str) -> SettingLocation:
    values = at.value or ()
    kind = _bare(get_args(at.kind)[0])
    names = {
        str(getattr(member, "name", None) or getattr(member, "id", "") or ""): index
        for index, member in enumerate(values)
    }
    first, tail = _cut(rest)
    if first.isdecimal() and len(first) < 6:
        number = int(first)
    else:
        fitting = [name for name in names if name and (rest == name or rest.startswith(f"{name}."))]
        if not fitting:
            there = ", ".join(name for name in names if name) or f"{len(values)} without a name"
            raise PathError(f"There is no {first} in {dotted(at.path)}. Its members are: {there}. Numbers start at 0.")
        name = max(fitting, key=len)
        number, tail = names[name], rest[len(name) + 1 :]
    value = values[number] if number < len(values) else None
    return _resolve(SettingLocation((*at.path, number), kind, at.note, value), tail)


def _entry(at: SettingLocation, rest: str) -> SettingLocation:
    kind = _bare(get_args(at.kind)[1])
    key, tail = rest, ""
    if (struct := _struct(kind)) is not None:
        # Names of models contain dots, so the field is looked for at the end.
        name, _, last = rest.rpartition(".")
        key, tail = (name, last) if name and last in _fields(struct) else (rest, "")
    value = at.value.get(key) if isinstance(at.value, Mapping) else None
    return _resolve(SettingLocation((*at.path, key), kind, at.note, value), tail)


def _cut(rest: str) -> tuple[str, str]:
    name, _, tail = rest.partition(".")
    return name, tail


def _fields(struct: Any) -> dict[str, tuple[Any, Note]]:
    """The settings of a struct by their names in the file."""
    kinds = notes(struct)
    return {
        name: (field, kinds[field.name]) for name, field in fields_of(struct).items() if not kinds[field.name].internal
    }


def _bare(kind: Any) -> Any:
    """A type without its Note and without None; of several types the one with fields, else the first."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, UnionType):
        kinds = [member for member in get_args(kind) if member is not type(None)]
        return next((member for member in kinds if _struct(member) is not None), kinds[0])
    return kind


def _struct(kind: Any) -> Any:
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None


def dotted(path: Path) -> str:
    """A path as people write it."""
    return ".".join(map(str, path))


# ------------------------------------------------------------------------------------------------------------ typed values


def parse_value(text: str) -> Value:
    """Parse a value as typed at a command line: `true`, `5`, `[a, b]`, `{id: x}`, `"quoted"`, or plain text.

    Raises PathError for brackets and quotes that are not closed.
    """
    if not text.strip().startswith(("[", "{", '"', "'")):
        return _word(text)
    try:
        root, problems = document.read(text)
    except document.YamlError as error:
        raise PathError(f"The value is not valid: {error.problem.message}.") from None
    if problems or root is None:
        raise PathError(f"The value is not valid: {problems[0].message if problems else 'it is empty'}.")
    return _value(root)


def _value(node: document.Node) -> Value:
    if isinstance(node.value, dict):
        return {key: _value(inner) for key, inner in node.value.items()}
    if isinstance(node.value, list):
        return [_value(inner) for inner in node.value]
    return _word(node.value) if node.plain else node.value


def _word(text: str) -> Value:
    if text.strip() in ("null", "~"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def literal_secrets(place: SettingLocation, value: Any) -> Iterator[Path]:
    """Yield the paths in a typed value that contain a secret itself, and not only the `${NAME}` of one."""
    kind, note, path = place.kind, place.note, place.path
    if isinstance(value, Mapping):
        if get_origin(kind) is tuple:
            # It is appended to that list.
            kind = _bare(get_args(kind)[0])
        fields = _fields(_struct(kind)) if _struct(kind) is not None else {}
        inner = _bare(get_args(kind)[1]) if get_origin(kind) is dict else None
        for key, member in value.items():
            if key in fields:
                yield from literal_secrets(
                    SettingLocation((*path, key), _bare(fields[key][0].type), fields[key][1], None), member
                )
            elif inner is not None:
                yield from literal_secrets(SettingLocation((*path, key), inner, note, None), member)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        inner = _bare(get_args(kind)[0]) if get_origin(kind) is tuple else kind
        for index, member in enumerate(value):
            yield from literal_secrets(SettingLocation((*path, index), inner, note, None), member)
    elif value is not None and _is_secret(note, path, str(value)):
        yield path


def _is_secret(note: Note, path: Path, text: str) -> bool:
    if note.format == "secret":
        return _REFERENCE.fullmatch(text.strip()) is None
    if note.format == "proxy":
        try:
            password = urlsplit(text).password
        except ValueError:
            return True
        return bool(password) and "${" not in str(password)
    return note.format == "header" and bool(SECRET_NAME.search(str(path[-1]))) and "${" not in text


# ------------------------------------------------------------------------------------------------------------ display


class SettingTable(NamedTuple):
    """Settings for display: plain masked values, and remarks on some of them by path."""

    values: Any
    remarks: Mapping[Path, str]


class _Display(NamedTuple):
    """How settings are shown."""

    remarks: dict[Path, str]
    """Gets the remarks."""
    everything: bool
    exact: bool


def table(place: SettingLocation, given: Any, *, everything: bool, exact: bool = False) -> SettingTable:
    """Return the settings at a location and below. `everything`: defaults too. `given`: what the file has there.

    `exact`: sizes are numbers of bytes.
    """
    how = _Display({}, everything, exact)
    return SettingTable(_shown(place, given, place.path, how), how.remarks)


def _shown(place: SettingLocation, given: Any, path: Path, how: _Display) -> Any:
    """The masked value; of a struct only the fields that are given or differ from their defaults."""
    value = place.value
    if isinstance(value, msgspec.Struct):
        return _of_struct(value, given, path, how)
    if isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
        return [
            _of_struct(
                member,
                given[index] if isinstance(given, list) and index < len(given) else None,
                (*path, index),
                how,
            )
            for index, member in enumerate(value)
        ]
    if isinstance(value, Mapping) and value and all(isinstance(member, msgspec.Struct) for member in value.values()):
        own = given if isinstance(given, Mapping) else {}
        return {key: _of_struct(member, own.get(key), (*path, key), how) for key, member in value.items()}
    if isinstance(given, str) and place.note.format == "secret" and (names := variables_in(given)):
        how.remarks[path] = ", ".join(f"${{{name}}}" for name in sorted(names))
    if place.note.format == "octal" and isinstance(value, int):
        return f"{value:04o}"
    if place.note.format == "size" and isinstance(value, int) and not how.exact:
        return size_text(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return masked(value, place.note)


def _of_struct(value: msgspec.Struct, given: Any, path: Path, how: _Display) -> Any:
    shown = {}
    for name, (field, note) in _fields(type(value)).items():
        inner, here = getattr(value, field.name), (*path, name)
        own = given.get(name) if isinstance(given, dict) else None
        chosen = own is not None or inner != _default(field)
        if not chosen and not (how.everything and note.implemented and _fits(value, name)):
            continue
        place = SettingLocation(here, _bare(field.type), note, inner)
        display = _shown(place, own, here, how)
        if note.format == "models":
            display = [_shown_model(value, name) for name in display]
        if display == {} and not how.everything:
            continue
        shown[name] = display
        if not chosen and not isinstance(inner, msgspec.Struct):
            how.remarks[here] = "default"
    return shown


def _shown_model(backend: Any, name: str) -> Any:
    """A model of a backend as the file has it: its name, or a mapping with what is set for it."""
    extras = {"window": getattr(backend, "windows", {}).get(name), "like": getattr(backend, "likes", {}).get(name)}
    given = {key: value for key, value in extras.items() if value is not None}
    return {"id": name, **given} if given else name


def _fits(value: msgspec.Struct, name: str) -> bool:
    """Does the setting apply here? Some settings of a backend are only for models that Byway runs itself.

    A section with required settings is invalid with its defaults alone.
    """
    if isinstance(value, Config):
        return name != "oidc"
    return not isinstance(value, BackendSettings) or value.managed or name not in BUILTIN_ONLY


def _default(field: Any) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def lines(table: SettingTable, path: Path = (), column: int = 0) -> list[str]:
    """Format a table like the file: mappings and lists as blocks, remarks after `#`."""
    values, indent = table.values, " " * column
    if isinstance(values, Mapping) and values:
        formatted: list[str] = []
        for key, inner in values.items():
            here = (*path, key)
            remark = f"  # {table.remarks[here]}" if here in table.remarks else ""
            below = lines(SettingTable(inner, table.remarks), here, column + 2)
            single = (len(below) == 1 and not isinstance(inner, Mapping | list)) or inner in ({}, [])
            formatted += (
                [f"{indent}{scalar(key)}: {below[0].strip()}{remark}"]
                if single
                else [f"{indent}{scalar(key)}:{remark}", *below]
            )
        return formatted
    if isinstance(values, list) and values:
        formatted = []
        for index, inner in enumerate(values):
            first, *others = lines(SettingTable(inner, table.remarks), (*path, index), column + 2)
            formatted += [f"{indent}- {first.strip()}", *others]
        return formatted
    return [f"{indent}{one_line(values)}"]


def one_line(value: Any) -> str:
    """Format a plain value on one line, as in the file."""
    return flow(str(value) if isinstance(value, datetime.datetime) else value)


def short_text(value: Any) -> str:
    """Format a plain value for a person; "" when it is too long for a line."""
    if value is None:
        return "not set"
    if isinstance(value, list) and len(value) == 1:
        return short_text(value[0])
    if isinstance(value, Mapping) or (
        isinstance(value, list) and any(isinstance(member, Mapping | list) for member in value)
    ):
        return ""
    return value if isinstance(value, str) else one_line(value)


def new_warnings(before: Sequence[ConfigProblem], after: Sequence[ConfigProblem]) -> list[ConfigProblem]:
    """Return the warnings that are new after a change. Line numbers are not compared, because lines move."""
    known = {(problem.path, problem.message) for problem in before}
    return [problem for problem in after if (problem.path, problem.message) not in known]
