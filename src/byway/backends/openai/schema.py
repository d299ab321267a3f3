"""Adapts the JSON schemas of tools to what each kind of server accepts. Keywords that a server refuses move into the description.

A dialect names what to leave out. The row of a vendor names its dialect.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from byway.decoding import DECODE_ERRORS
from byway.problems import Problem

Dialect = Literal["open", "grammar", "openai", "plain", "moonshot"]


class _DialectRules(Struct, frozen=True):
    """What one dialect accepts."""

    refused: frozenset[str] = frozenset()
    """Keywords that the server refuses."""
    allowed: frozenset[str] | None = None
    """The only keywords that the server accepts; None: all but those in `refused`."""
    max_count: int | None = None
    """The largest count of characters or items that the server accepts."""
    typed: bool = False
    """Each schema has exactly one type, and enums contain only strings."""
    object_at_top: bool = False
    """The top schema is an object, not a choice among several."""
    references: bool = True
    bare_choices: bool = False
    """A choice has no type beside it, and no value may be null."""


_ALLOWED: Final = frozenset(
    "type format title description nullable enum default items minItems maxItems properties required minProperties"
    " maxProperties minimum maximum minLength maxLength pattern anyOf".split()
)
#: Keywords that mean nothing to a model or a server.
_DROPPED: Final = frozenset("$schema $id $anchor $comment $vocabulary deprecated readOnly writeOnly".split())
_RULES: Final[dict[str, _DialectRules]] = {
    # llama.cpp makes one grammar of all tools: one schema that it cannot convert fails the request. Run with b11549
    # (2026-11-21), it fails on: minLength of 3000, references without a target or in a circle, empty enums, unknown types,
    # `true` as a schema, values of the wrong type. minItems above maxItems uses all memory until the server dies.
    # Older versions, LM Studio and Ollama: https://github.com/ggml-org/llama.cpp/issues/25746 (patterns),
    # /issues/27087 and unslothai/unsloth/pull/9923 (counts near 2000; all seen 2026-11-21).
    "grammar": _DialectRules(refused=frozenset(("pattern", "not")), max_count=1000),
    # https://github.com/langchain-ai/langchainjs/issues/9804 and spring-projects/spring-ai/issues/4776 (seen 2026-11-21).
    "openai": _DialectRules(object_at_top=True),
    # https://ai.google.dev/api/caching#Schema and https://github.com/theopenco/llmgateway/issues/1763 (seen 2026-11-21):
    # what both Gemini's endpoint and llama.cpp accept, because a server of an unknown kind may be either.
    "plain": _DialectRules(frozenset(("pattern",)), _ALLOWED, 1000, typed=True, object_at_top=True, references=False),
    # "not a valid moonshot flavored json schema": https://github.com/MoonshotAI/kimi-code (seen 2026-11-29). A type at each
    # schema but beside no `anyOf` or `$ref`; enums of one type.
    "moonshot": _DialectRules(
        frozenset(("pattern",)), _ALLOWED, None, typed=True, object_at_top=True, references=False, bare_choices=True
    ),
}
#: Keywords whose value is a map of schemas, a list of schemas, or one schema.
_SCHEMA_MAPS: Final = frozenset(("properties", "$defs", "definitions", "patternProperties", "dependentSchemas"))
_SCHEMA_LISTS: Final = frozenset(("anyOf", "oneOf", "allOf", "prefixItems"))
_SCHEMAS: Final = frozenset("items additionalProperties not contains propertyNames if then else".split())
_COUNT_PAIRS: Final = (("minLength", "maxLength"), ("minItems", "maxItems"), ("minProperties", "maxProperties"))
_COUNTS: Final = frozenset(key for pair in _COUNT_PAIRS for key in pair)
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_CHOICES: Final = ("anyOf", "oneOf", "allOf")
#: The types of a keyword's value. A keyword with another value means nothing, and servers refuse it.
_VALUE_TYPES: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(_SCHEMA_MAPS, (dict,)),
    **dict.fromkeys((*_SCHEMA_LISTS, "enum", "required"), (list,)),
    **dict.fromkeys(_SCHEMAS, (dict, bool)),
    "items": (dict, bool, list),
    "type": (str, list),
    **dict.fromkeys(("title", "description", "format", "pattern", "$ref"), (str,)),
    **dict.fromkeys(_COUNTS, (int,)),
    **dict.fromkeys(_BOUNDS, (int, float)),
}
_NOT_AT_TOP: Final = (*_CHOICES, "enum", "const", "not")
_TYPES: Final = frozenset(("string", "number", "integer", "boolean", "object", "array", "null"))
_MAX_DEPTH: Final = 64
#: Units of work for followed references. A schema of 1 KB can grow to gigabytes by references that double at each level.
_REFERENCE_BUDGET: Final = 60_000
_MAX_MOVED_LENGTH: Final = 300
#: The largest number that a float holds exactly. A larger bound means none.
_EXACT: Final = 1 << 53
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode


def in_words(schema: bytes | None) -> str:
    """Return the instruction to answer with a JSON object, for a server that is not given its schema."""
    words = "Answer with one JSON object and nothing else."
    return words if schema is None else f"{words} It must match this JSON schema:\n{schema.decode()}"


class Budget(Struct, gc=False):
    """Limits the work of following references, for all schemas of one request together. A unit takes about 0.5 microseconds."""

    left: int = _REFERENCE_BUDGET

    def spend(self, units: int) -> None:
        """Raise _TooLarge when less than `units` are left."""
        self.left -= units
        if self.left < 0:
            raise _TooLarge


def adapt(schema: bytes, dialect: Dialect, path: str, *, tool: bool = True, budget: Budget | None = None) -> bytes:
    """Return the JSON of `schema` in `dialect`. Keys keep their order.

    The schema of a `tool` becomes an object with properties, because templates and servers require both; the schema of an
    answer may have any type. `budget` is shared by the schemas of one request. Raises Problem `invalid_request` with
    `path` for a schema that is not an object, is nested too deeply, or exceeds the budget.
    """
    if not schema.startswith(b"{"):
        raise Problem("invalid_request", f"{path}: Input should be an object")
    if dialect == "open":
        if b'"$schema"' not in schema:
            return schema
        fields = _fields(schema)
        fields.pop("$schema", None)
        return _encode(fields)
    try:
        root = _decode(schema)
        adapter = _SchemaAdapter(_RULES[dialect], root, budget or Budget())
        return _encode(adapter.tool_schema() if tool else adapter.convert(root))
    except (_TooLarge, RecursionError):
        raise Problem(
            "invalid_request",
            f"{path}: The schema is nested too deeply, or its references expand to too many schemas. Remove levels or "
            "references, or leave the tool out.",
        ) from None
    except msgspec.MsgspecError as error:
        raise Problem("invalid_request", f"{path}: {error}") from None


def allows_strict(schema: bytes) -> bool:
    """Return whether the schema may be sent with `strict: true`: every object is closed and requires all its properties.

    https://platform.openai.com/docs/guides/structured-outputs#supported-schemas (seen 2026-11-21).
    """
    try:
        root = _decode(schema)
        return isinstance(root, dict) and root.get("type") == "object" and "anyOf" not in root and _is_closed(root)
    except DECODE_ERRORS:
        return False


_NOT_STRICT: Final = frozenset(
    "allOf oneOf not if then else dependentRequired dependentSchemas patternProperties propertyNames contains"
    " prefixItems unevaluatedProperties unevaluatedItems uniqueItems minProperties maxProperties default".split()
)


def _is_closed(schema: Any) -> bool:
    """Return whether a strict server accepts the schema."""
    if not isinstance(schema, dict) or _NOT_STRICT & schema.keys():
        return False
    inner = [*_as_list(schema.get("anyOf"))]
    properties = schema.get("properties")
    if schema.get("type") == "object" or properties is not None:
        required = _as_list(schema.get("required"))
        if not isinstance(properties, dict) or sorted(map(str, required)) != sorted(properties):
            return False
        if schema.get("additionalProperties") is not False:
            return False
        inner += properties.values()
    for key in ("$defs", "definitions"):
        inner += schema[key].values() if isinstance(schema.get(key), dict) else ()
    if schema.get("type") == "array":
        inner.append(schema.get("items"))
    return all(_is_closed(child) for child in inner)


class _TooLarge(Exception):
    """The schema exceeds the depth or the budget."""


class _SchemaAdapter:
    """Converts one schema to a dialect. `moved` is what moves from a schema into its description: keyword -> value."""

    def __init__(self, rules: _DialectRules, root: dict[str, Any], budget: Budget) -> None:
        self._rules = rules
        self._root = root
        self._budget = budget
        self._followed: list[str] = []
        """The references that lead to the current schema."""
        self._sizes: dict[int, tuple[Any, int]] = {}
        self._circles = _ReferenceCircles(self._lookup)

    def tool_schema(self) -> dict[str, Any]:
        """Convert the schema of a tool: always an object with properties."""
        root = {**self._root, "type": "object"} if "type" in self._root else {"type": "object", **self._root}
        moved: dict[str, Any] = {}
        if self._rules.object_at_top:
            properties = root.get("properties")
            merged = dict(properties) if isinstance(properties, dict) else {}
            for key in _NOT_AT_TOP:
                if key in root:
                    moved[key] = root.pop(key)
            self._merge_properties([part for key in _CHOICES for part in _as_list(moved.get(key))], merged)
            root["properties"] = merged
        if not isinstance(root.get("properties"), dict):
            root["properties"] = {}
        return self.convert(root, 0, moved)

    def _merge_properties(self, parts: list[Any], merged: dict[str, Any]) -> None:
        """Add the properties of all `parts` to `merged`; the first definition of a property counts."""
        done: set[int] = set()
        for part in parts:
            properties = self._target_of(part).get("properties") if isinstance(part, dict) else None
            # Several parts may refer to the same schema.
            if isinstance(properties, dict) and id(properties) not in done:
                done.add(id(properties))
                for name, value in properties.items():
                    merged.setdefault(name, value)

    def convert(self, schema: Any, depth: int = 0, moved: dict[str, Any] | None = None) -> dict[str, Any]:
        """Convert one schema and those inside it."""
        if depth > _MAX_DEPTH:
            raise _TooLarge
        if not isinstance(schema, dict):
            # `true` accepts any value.
            return {"anyOf": _ANY} if self._rules.typed else {}
        moved = {} if moved is None else moved
        schema = _with_modern_bounds(self._resolve(schema, moved))
        reference = schema.pop(_REFERENCE, "")
        if reference:
            self._followed.append(reference)
        if self._followed:
            self._budget.spend(self._cost(schema))
        if self._rules.typed:
            schema = self._simplify(schema, moved)
        out: dict[str, Any] = {}
        for key, value in schema.items():
            if self._is_kept(key, value, moved):
                out[key] = self._convert_value(key, value, depth + 1)
        self._repair(out, moved, depth)
        out = self._describe(out, moved)
        if reference:
            self._followed.pop()
        return out

    def _cost(self, schema: dict[str, Any]) -> int:
        """The units of work that one schema takes, without those inside it."""
        units = 1
        for key, value in schema.items():
            units += 1
            if isinstance(value, str):
                units += len(value) >> 6
            elif isinstance(value, list | dict):
                inner = key in _SCHEMA_MAPS or key in _SCHEMA_LISTS or key in _SCHEMAS
                units += len(value) if inner else self._size(value) >> 4
        return units

    def _size(self, value: Any) -> int:
        """The bytes of a value as JSON. The value is measured once, however many references lead to it."""
        known = self._sizes.get(id(value))
        if known is None:
            # The value is kept too, so that its id stays its own.
            known = self._sizes[id(value)] = (value, len(_encode(value)))
        return known[1]

    def _is_kept(self, key: str, value: Any, moved: dict[str, Any]) -> bool:
        """Return whether the keyword stays. One that goes and has a meaning is added to `moved`."""
        rules = self._rules
        if key in _DROPPED or not _has_valid_value(key, value):
            return False
        if key in rules.refused or (rules.allowed is not None and key not in rules.allowed):
            if key not in ("$defs", "definitions") and not (key == "additionalProperties" and type(value) is bool):
                moved[key] = value
            return False
        if key in _COUNTS and rules.max_count is not None and value > rules.max_count:
            moved[key] = value
            return False
        return True

    def _convert_value(self, key: str, value: Any, depth: int) -> Any:
        """The value of a keyword that stays, with the schemas inside it converted."""
        if key in _SCHEMA_MAPS:
            return {name: self.convert(child, depth) for name, child in value.items()}
        if key in _SCHEMA_LISTS or (key == "items" and isinstance(value, list)):
            return [self.convert(child, depth) for child in value]
        if key in _SCHEMAS and (isinstance(value, dict) or key == "items"):
            return self.convert(value, depth)
        return value

    def _repair(self, out: dict[str, Any], moved: dict[str, Any], depth: int) -> None:
        """Remove values that servers refuse: unknown types, and counts that contradict each other."""
        if "type" in out:
            kinds = [kind for kind in _as_list(out["type"]) if isinstance(kind, str) and kind in _TYPES]
            if not kinds:
                moved["type"] = out.pop("type")
            elif isinstance(out["type"], list):
                out["type"] = kinds
        if "required" in out:
            properties = out.get("properties", {}) if self._rules.typed else None
            out["required"] = [
                name for name in out["required"] if isinstance(name, str) and (properties is None or name in properties)
            ]
            if properties is not None and not out["required"]:
                del out["required"]
        for least, most in _COUNT_PAIRS:
            if least in out and most in out and out[least] > out[most]:
                moved[least], moved[most] = out.pop(least), out.pop(most)
        if self._rules.typed:
            _set_one_type(out, moved)
        if out.get("type") == "array" and "items" not in out and self._rules.object_at_top:
            out["items"] = self.convert(True, depth + 1)
        if self._rules.typed:
            if self._rules.bare_choices:
                _set_bare_choice(out, moved)
            if depth and out.get("properties") == {}:
                del out["properties"]

    def _describe(self, out: dict[str, Any], moved: dict[str, Any]) -> dict[str, Any]:
        """Add what `moved` contains to the end of the description."""
        words = []
        for key, value in moved.items():
            text = _encode(value).decode()
            if self._followed:
                self._budget.spend(len(text) >> 4)
            if len(text) <= _MAX_MOVED_LENGTH:
                words.append(f"{key}: {text}")
        if words:
            description = out.get("description")
            more = f"({', '.join(words)})"
            out["description"] = f"{description} {more}" if isinstance(description, str) and description else more
        return out

    def _resolve(self, schema: dict[str, Any], moved: dict[str, Any]) -> dict[str, Any]:
        """Return `schema` with its reference replaced where the dialect has none, and without a reference that has no target."""
        name = schema.get("$ref")
        if name is None:
            return dict(schema)
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        target = self._lookup(name)
        if self._rules.references:
            # llama.cpp does not read the escapes of a reference.
            if target is None or "~" in name or self._circles.contain(name):
                moved["$ref"] = name
                return rest
            return dict(schema)
        if target is None or name in self._followed:
            moved["$ref"] = name
            return rest if "type" in rest or target is None else {"type": "object", **rest}
        return {**target, **rest, _REFERENCE: name}

    def _simplify(self, schema: dict[str, Any], moved: dict[str, Any]) -> dict[str, Any]:
        """Write `oneOf` as `anyOf`, `allOf` as one schema, `const` as `enum`, and exclusive integer bounds as inclusive ones."""
        schema = dict(schema)
        parts = schema.pop("allOf", None)
        if parts is not None:
            self._merge_all(schema, _as_list(parts), moved)
        if "oneOf" in schema and "anyOf" not in schema:
            schema["anyOf"] = schema.pop("oneOf")
        if isinstance(schema.get("items"), list):
            schema["items"] = {"anyOf": schema["items"]}
        if "const" in schema and "enum" not in schema:
            schema["enum"] = [schema.pop("const")]
        for key, other, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
            if schema.get("type") == "integer" and type(schema.get(key)) is int and other not in schema:
                schema[other] = schema.pop(key) + step
        return schema

    def _merge_all(self, schema: dict[str, Any], parts: list[Any], moved: dict[str, Any]) -> None:
        """Merge the parts of an `allOf` into `schema`. Values of `schema`, then of the first part, count first."""
        maps: dict[str, list[dict[str, Any]]] = {}
        required: dict[Any, None] | None = None
        merged: set[int] = set()
        for part in parts:
            part = self._target_of(part) if isinstance(part, dict) else {}
            # Several parts may refer to the same schema.
            if id(part) in merged:
                continue
            merged.add(id(part))
            for key, value in part.items():
                own = schema.get(key)
                if isinstance(own, dict) and isinstance(value, dict):
                    maps.setdefault(key, [own]).append(value)
                elif key == "required" and isinstance(own, list):
                    if required is None:
                        required = dict.fromkeys(name for name in own if isinstance(name, str))
                    required.update(dict.fromkeys(name for name in _as_list(value) if isinstance(name, str)))
                elif key not in schema:
                    schema[key] = value
                elif own != value and key not in ("description", "title"):
                    moved[key] = value
        for key, values in maps.items():
            joined: dict[str, Any] = {}
            for value in reversed(values):
                joined.update(value)
            schema[key] = joined
        if required is not None:
            schema["required"] = [*required]

    def _target_of(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema that a reference leads to; `schema` itself when it is not a reference."""
        return (self._lookup(schema.get("$ref")) or schema) if "$ref" in schema else schema

    def _lookup(self, name: Any) -> dict[str, Any] | None:
        """The part of the root schema that a reference such as `#/a/b` names."""
        if not isinstance(name, str) or not name.startswith("#/"):
            return None
        part: Any = self._root
        for step in name[2:].split("/"):
            step = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(part, dict) or step not in part:
                return None
            part = part[step]
        return part if isinstance(part, dict) else None


class _ReferenceCircles:
    """Finds references that lead back to themselves with nothing but choices on the way: no grammar exists for those.

    These are the strongly connected components of the graph of references, found by Tarjan's algorithm: each reference is
    followed once.
    """

    def __init__(self, lookup: Any) -> None:
        self._lookup = lookup
        self._order: dict[str, int] = {}
        self._lowest: dict[str, int] = {}
        self._circular: set[str] = set()

    def contain(self, name: str) -> bool:
        """Return whether the reference `name` is part of a circle."""
        if name not in self._order:
            self._search(name)
        return name in self._circular

    def _search(self, start: str) -> None:
        order, lowest = self._order, self._lowest
        open_names: dict[str, None] = {}
        path: list[tuple[str, Iterator[str]]] = []

        def enter(name: str) -> None:
            order[name] = lowest[name] = len(order)
            open_names[name] = None
            path.append((name, self._references(name)))

        enter(start)
        while path:
            name, references = path[-1]
            for other in references:
                if other not in order:
                    enter(other)
                    break
                if other in open_names:
                    lowest[name] = min(lowest[name], order[other])
                    if other == name:
                        self._circular.add(name)
            else:
                path.pop()
                if path:
                    lowest[path[-1][0]] = min(lowest[path[-1][0]], lowest[name])
                if lowest[name] == order[name]:
                    component: list[str] = []
                    while not component or component[-1] != name:
                        component.append(open_names.popitem()[0])
                    if len(component) > 1:
                        self._circular.update(component)

    def _references(self, name: str) -> Iterator[str]:
        """The references in the schema that `name` leads to, itself or in its choices."""
        left: list[Any] = [self._lookup(name)]
        while left:
            schema = left.pop()
            if isinstance(schema, dict):
                reference = schema.get("$ref")
                if isinstance(reference, str):
                    yield reference
                for key in _CHOICES:
                    left += _as_list(schema.get(key))


#: The key for the name of a followed reference. No client sends it.
_REFERENCE: Final = "\0reference"
_ANY: Final = [{"type": kind} for kind in ("string", "number", "boolean", "object")]


def _with_modern_bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """Convert the bounds of draft 4, where `exclusiveMinimum: true` changes the meaning of `minimum`."""
    for key, other in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if type(schema.get(key)) is bool:
            schema = {
                (key if name == other and schema[key] else name): value for name, value in schema.items() if name != key
            }
    return schema


def _set_one_type(out: dict[str, Any], moved: dict[str, Any]) -> None:
    """Leave one type instead of a list, enums of strings only, and the only known format of strings."""
    kinds = out.get("type")
    if isinstance(kinds, list):
        others = [kind for kind in kinds if kind != "null"]
        if others and len(others) < len(kinds):
            out["nullable"] = True
        if len(others) < 2 or "anyOf" in out:
            out["type"] = others[0] if others else "null"
        else:
            del out["type"]
            out["anyOf"] = [
                {"type": kind, "items": out.pop("items", {"anyOf": _ANY})} if kind == "array" else {"type": kind}
                for kind in others
            ]
    values = out.get("enum", [])
    texts = [value for value in values if isinstance(value, str) and value]
    if values == [None]:
        del out["enum"]
        out.setdefault("type", "null")
    elif None in values and len(texts) == len(values) - 1:
        out["enum"], out["nullable"] = texts, True
    elif len(texts) < len(values):
        moved["enum"] = out.pop("enum")
    if "type" not in out:
        kind = "object" if "properties" in out else "array" if "items" in out else "string" if "enum" in out else ""
        if kind:
            out["type"] = kind
        elif "anyOf" not in out:
            out["anyOf"] = _ANY
    if "format" in out and (out.get("type"), out["format"]) != ("string", "date-time"):
        moved["format"] = out.pop("format")


def _set_bare_choice(out: dict[str, Any], moved: dict[str, Any]) -> None:
    """Leave no type beside a choice: the choices get it. A choice among forms of one object becomes text."""
    out.pop("nullable", None)
    kind = out.get("type")
    if "enum" in out and kind != "string":
        moved["enum"] = out.pop("enum")
    if "anyOf" not in out or kind is None:
        return
    if kind == "object" and "properties" in out:
        moved["anyOf"] = out.pop("anyOf")
        return
    del out["type"]
    out["anyOf"] = [
        choice if "type" in choice or "anyOf" in choice else {"type": kind, **choice} for choice in out["anyOf"]
    ]


def _has_valid_value(key: str, value: Any) -> bool:
    """Return whether the keyword may have this value."""
    kinds = _VALUE_TYPES.get(key)
    if kinds is None:
        return True
    if type(value) not in kinds:
        return False
    if key in _COUNTS:
        return bool(value >= 0)
    if key in _BOUNDS:
        return bool(abs(value) <= _EXACT)
    return bool(value) or (key != "enum" and key not in _SCHEMA_LISTS)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


#: Words of a schema that some servers refuse. Without them it allows more.
_HARD_WORDS: Final = frozenset(
    "$schema $id $comment pattern patternProperties format default examples additionalProperties minLength maxLength minItems "
    "maxItems uniqueItems exclusiveMinimum exclusiveMaximum multipleOf minProperties maxProperties propertyNames not if then "
    "else dependentSchemas dependentRequired unevaluatedProperties contentEncoding contentMediaType".split()
)


def plain_schema(schema: Any) -> Any:
    """The schema without its hard words; names of properties are no such words."""
    if isinstance(schema, list):
        return [plain_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain: dict[str, Any] = {}
    for word, value in schema.items():
        if word in ("properties", "$defs", "definitions") and isinstance(value, dict):
            plain[word] = {name: plain_schema(item) for name, item in value.items()}
        elif word in ("enum", "const", "required"):
            plain[word] = value
        elif word not in _HARD_WORDS:
            plain[word] = plain_schema(value)
    return plain
