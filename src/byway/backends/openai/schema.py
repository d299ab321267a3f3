"""JSON schemas of tools as a server takes them. What is left out of one is told in its description, in words.

A dialect says what to leave out; which server has which stands in its vendor's row. Nothing is sent from here.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from byway.problems import Problem

Dialect = Literal["open", "grammar", "openai", "plain"]


class _Rules(Struct, frozen=True):
    """What is particular to one dialect."""

    told: frozenset[str] = frozenset()
    """Keywords that it refuses."""
    known: frozenset[str] | None = None
    """The only keywords that it takes."""
    longest: int | None = None
    """The largest count of characters or items that it takes."""
    typed: bool = False
    """Each schema has exactly one type, and enums hold texts alone."""
    flat: bool = False
    """At the top it takes an object and no choice among several."""
    references: bool = True


_KNOWN: Final = frozenset(
    "type format title description nullable enum default items minItems maxItems properties required minProperties"
    " maxProperties minimum maximum minLength maxLength pattern anyOf".split()
)
#: What no model and no server needs.
_GONE: Final = frozenset("$schema $id $anchor $comment $vocabulary deprecated readOnly writeOnly".split())
_RULES: Final[dict[str, _Rules]] = {
    # llama.cpp makes a grammar of all tools together: one schema that it cannot convert fails the request. Run with b11549
    # (2026-11-21): minLength of 3000, references that lead nowhere or in a circle, empty enums, unknown types, `true` as a
    # schema, values of another kind than a keyword has; and minItems above maxItems takes all memory until the server dies.
    # Older ones, and LM Studio and Ollama with them: https://github.com/ggml-org/llama.cpp/issues/25746 (patterns),
    # /issues/27087 and unslothai/unsloth/pull/9923 (counts near 2000; all seen 2026-11-21).
    "grammar": _Rules(told=frozenset(("pattern", "not")), longest=1000),
    # https://github.com/langchain-ai/langchainjs/issues/9804 and spring-projects/spring-ai/issues/4776 (seen 2026-11-21).
    "openai": _Rules(flat=True),
    # https://ai.google.dev/api/caching#Schema and https://github.com/theopenco/llmgateway/issues/1763 (seen 2026-11-21):
    # what Gemini's endpoint takes, and llama.cpp too, so that a server of an unknown kind may be either.
    "plain": _Rules(frozenset(("pattern",)), _KNOWN, 1000, typed=True, flat=True, references=False),
}
_MAPS: Final = frozenset(("properties", "$defs", "definitions", "patternProperties", "dependentSchemas"))
_LISTS: Final = frozenset(("anyOf", "oneOf", "allOf", "prefixItems"))
_ONES: Final = frozenset("items additionalProperties not contains propertyNames if then else".split())
_COUNTED: Final = (("minLength", "maxLength"), ("minItems", "maxItems"), ("minProperties", "maxProperties"))
_COUNTS: Final = frozenset(key for pair in _COUNTED for key in pair)
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_CHOICES: Final = ("anyOf", "oneOf", "allOf")
#: What a keyword's value must be; one with another value says nothing, and servers refuse it.
_SHAPES: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(_MAPS, (dict,)),
    **dict.fromkeys((*_LISTS, "enum", "required"), (list,)),
    **dict.fromkeys(_ONES, (dict, bool)),
    "items": (dict, bool, list),
    "type": (str, list),
    **dict.fromkeys(("title", "description", "format", "pattern", "$ref"), (str,)),
    **dict.fromkeys(_COUNTS, (int,)),
    **dict.fromkeys(_BOUNDS, (int, float)),
}
_AT_TOP: Final = (*_CHOICES, "enum", "const", "not")
_TYPES: Final = frozenset(("string", "number", "integer", "boolean", "object", "array", "null"))
_DEEPEST: Final = 64
#: References can make a small schema endless.
_MOST: Final = 5000
_MOST_STEPS: Final = 20_000
_LONGEST_WORDS: Final = 300
#: Numbers that floats hold exactly: beyond them a bound means none.
_EXACT: Final = 1 << 53
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode


def adapt(schema: bytes, dialect: Dialect, path: str, *, tool: bool = True) -> bytes:
    """The JSON of `schema` in the words of `dialect`, its keys in the order they had.

    A `tool`'s becomes an object with properties, since templates and servers ask for both; an answer's may be anything.
    Raises Problem `invalid_request` with `path` for what is no object, or nested deeper than anybody reads.
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
        cleaner = _Cleaner(_RULES[dialect], root)
        return _encode(cleaner.top() if tool else cleaner.node(root))
    except (_Endless, RecursionError):
        raise Problem("invalid_request", f"{path}: The schema is nested too deeply, or its references are") from None
    except msgspec.MsgspecError as error:
        raise Problem("invalid_request", f"{path}: {error}") from None


def allows_strict(schema: bytes) -> bool:
    """May it be sent with `strict: true`? Every object is closed and asks for all that it has.

    https://platform.openai.com/docs/guides/structured-outputs#supported-schemas (seen 2026-11-21).
    """
    try:
        root = _decode(schema)
        return isinstance(root, dict) and root.get("type") == "object" and "anyOf" not in root and _closed(root)
    except (msgspec.MsgspecError, RecursionError):
        return False


_LOOSE: Final = frozenset(
    "allOf oneOf not if then else dependentRequired dependentSchemas patternProperties propertyNames contains"
    " prefixItems unevaluatedProperties unevaluatedItems uniqueItems minProperties maxProperties default".split()
)


def _closed(schema: Any) -> bool:
    """Is there nothing in it that a strict server refuses?"""
    if not isinstance(schema, dict) or _LOOSE & schema.keys():
        return False
    inner = [*_list(schema.get("anyOf"))]
    properties = schema.get("properties")
    if schema.get("type") == "object" or properties is not None:
        asked = _list(schema.get("required"))
        if not isinstance(properties, dict) or sorted(map(str, asked)) != sorted(properties):
            return False
        if schema.get("additionalProperties") is not False:
            return False
        inner += properties.values()
    for key in ("$defs", "definitions"):
        inner += schema[key].values() if isinstance(schema.get(key), dict) else ()
    if schema.get("type") == "array":
        inner.append(schema.get("items"))
    return all(_closed(one) for one in inner)


class _Endless(Exception):
    pass


class _Cleaner:
    """One walk over one schema."""

    def __init__(self, rules: _Rules, root: dict[str, Any]) -> None:
        self._rules = rules
        self._root = root
        self._seen = 0
        self._within: list[str] = []
        """The references that are being followed."""
        self._circles: dict[str, bool] = {}
        self._steps = 0

    def top(self) -> dict[str, Any]:
        """The schema of a tool: always an object with properties."""
        root = {**self._root, "type": "object"} if "type" in self._root else {"type": "object", **self._root}
        told: dict[str, Any] = {}
        if self._rules.flat:
            properties = root.get("properties")
            merged = dict(properties) if isinstance(properties, dict) else {}
            for key in _AT_TOP:
                if key in root:
                    told[key] = root.pop(key)
            for one in [one for key in _CHOICES for one in _list(told.get(key))]:
                inner = self._followed(one).get("properties") if isinstance(one, dict) else None
                for name, value in (inner if isinstance(inner, dict) else {}).items():
                    merged.setdefault(name, value)
            root["properties"] = merged
        if not isinstance(root.get("properties"), dict):
            root["properties"] = {}
        return self.node(root, 0, told)

    def node(self, schema: Any, depth: int = 0, told: dict[str, Any] | None = None) -> dict[str, Any]:
        """One schema. `told`: what was left out of it already."""
        self._seen += 1
        if depth > _DEEPEST or (self._within and self._seen > _MOST):
            raise _Endless
        if not isinstance(schema, dict):
            # `true` is any value.
            return {"anyOf": _ANY} if self._rules.typed else {}
        told = {} if told is None else told
        schema = _modern(self._referred(schema, told))
        if self._rules.typed:
            schema = self._one(schema, told)
        followed = schema.pop(_FOLLOWED, "")
        if followed:
            self._within.append(followed)
        out: dict[str, Any] = {}
        for key, value in schema.items():
            if self._kept(key, value, told):
                out[key] = self._value(key, value, depth + 1)
        self._mend(out, told, depth)
        if followed:
            self._within.pop()
        return _with_words(out, told)

    def _kept(self, key: str, value: Any, told: dict[str, Any]) -> bool:
        """Does this keyword stay? If it does not, and means something, it is told."""
        rules = self._rules
        if key in _GONE or not _shaped(key, value):
            return False
        if key in rules.told or (rules.known is not None and key not in rules.known):
            if key not in ("$defs", "definitions") and not (key == "additionalProperties" and type(value) is bool):
                told[key] = value
            return False
        if key in _COUNTS and rules.longest is not None and value > rules.longest:
            told[key] = value
            return False
        return True

    def _value(self, key: str, value: Any, depth: int) -> Any:
        """The value of a keyword that stays, with the schemas in it cleaned."""
        if key in _MAPS:
            return {name: self.node(one, depth) for name, one in value.items()}
        if key in _LISTS or (key == "items" and isinstance(value, list)):
            return [self.node(one, depth) for one in value]
        if key in _ONES and (isinstance(value, dict) or key == "items"):
            return self.node(value, depth)
        return value

    def _mend(self, out: dict[str, Any], told: dict[str, Any], depth: int) -> None:
        """What servers refuse by its value: types nobody knows, counts that contradict each other."""
        if "type" in out:
            kinds = [kind for kind in _list(out["type"]) if isinstance(kind, str) and kind in _TYPES]
            if not kinds:
                told["type"] = out.pop("type")
            elif isinstance(out["type"], list):
                out["type"] = kinds
        if "required" in out:
            named = out.get("properties", {}) if self._rules.typed else None
            out["required"] = [
                one for one in out["required"] if isinstance(one, str) and (named is None or one in named)
            ]
            if named is not None and not out["required"]:
                del out["required"]
        for least, most in _COUNTED:
            if least in out and most in out and out[least] > out[most]:
                told[least], told[most] = out.pop(least), out.pop(most)
        if out.get("type") == "array" and "items" not in out and self._rules.flat:
            out["items"] = self.node(True, depth + 1)
        if self._rules.typed:
            _as_typed(out, told)
            if depth and out.get("properties") == {}:
                del out["properties"]

    def _referred(self, schema: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
        """`schema` with its reference followed where the dialect has none; without one that leads nowhere."""
        name = schema.get("$ref")
        if name is None:
            return dict(schema)
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        found = self._found(name)
        if self._rules.references:
            # llama.cpp does not read the escapes of a reference.
            if found is None or "~" in name or self._circular(name):
                told["$ref"] = name
                return rest
            return dict(schema)
        if found is None or name in self._within:
            told["$ref"] = name
            return rest if "type" in rest or found is None else {"type": "object", **rest}
        return {**found, **rest, _FOLLOWED: name}

    def _one(self, schema: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
        """`oneOf` as `anyOf`, `allOf` as one schema, `const` as `enum`, a whole number's open bounds as closed ones."""
        schema = dict(schema)
        for part in _list(schema.pop("allOf", None)):
            for key, value in (self._followed(part) if isinstance(part, dict) else {}).items():
                mine = schema.get(key)
                if isinstance(mine, dict) and isinstance(value, dict):
                    schema[key] = {**value, **mine}
                elif key == "required" and isinstance(mine, list):
                    schema[key] = [*mine, *(name for name in _list(value) if name not in mine)]
                elif key not in schema:
                    schema[key] = value
                elif mine != value and key not in ("description", "title"):
                    told[key] = value
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

    def _followed(self, schema: dict[str, Any]) -> dict[str, Any]:
        return (self._found(schema.get("$ref")) or schema) if "$ref" in schema else schema

    def _circular(self, name: str) -> bool:
        """Does the reference lead back to itself, with nothing but choices on the way? No grammar can be made of that."""
        if name not in self._circles:
            self._circles[name] = self._leads_back(name)
        return self._circles[name]

    def _leads_back(self, name: str) -> bool:
        reached: set[str] = set()
        left: list[Any] = [self._found(name)]
        while left:
            self._steps += 1
            if self._steps > _MOST_STEPS:
                return True
            one = left.pop()
            if not isinstance(one, dict):
                continue
            other = one.get("$ref")
            if other == name:
                return True
            if isinstance(other, str) and other not in reached:
                reached.add(other)
                left.append(self._found(other))
            for key in _CHOICES:
                left += _list(one.get(key))
        return False

    def _found(self, name: Any) -> dict[str, Any] | None:
        """The part of this schema that `#/a/b` means."""
        if not isinstance(name, str) or not name.startswith("#/"):
            return None
        part: Any = self._root
        for step in name[2:].split("/"):
            step = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(part, dict) or step not in part:
                return None
            part = part[step]
        return part if isinstance(part, dict) else None


#: No client sends this key: where a schema came from.
_FOLLOWED: Final = "\0followed"
_ANY: Final = [{"type": kind} for kind in ("string", "number", "boolean", "object")]


def _modern(schema: dict[str, Any]) -> dict[str, Any]:
    """Draft 4's bounds as later drafts have them: there `exclusiveMinimum: true` said how `minimum` is meant."""
    for key, other in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if type(schema.get(key)) is bool:
            schema = {
                (key if one == other and schema[key] else one): value for one, value in schema.items() if one != key
            }
    return schema


def _as_typed(out: dict[str, Any], told: dict[str, Any]) -> None:
    """One type and no list of them, enums of texts, and the one format of texts that is known."""
    kinds = out.get("type")
    if isinstance(kinds, list):
        some = [kind for kind in kinds if kind != "null"]
        if some and len(some) < len(kinds):
            out["nullable"] = True
        if len(some) < 2 or "anyOf" in out:
            out["type"] = some[0] if some else "null"
        else:
            del out["type"]
            out["anyOf"] = [{"type": kind} for kind in some]
    values = out.get("enum", [])
    texts = [one for one in values if isinstance(one, str) and one]
    if values == [None]:
        del out["enum"]
        out.setdefault("type", "null")
    elif None in values and len(texts) == len(values) - 1:
        out["enum"], out["nullable"] = texts, True
    elif len(texts) < len(values):
        told["enum"] = out.pop("enum")
    if "type" not in out:
        kind = "object" if "properties" in out else "array" if "items" in out else "string" if "enum" in out else ""
        if kind:
            out["type"] = kind
        elif "anyOf" not in out:
            out["anyOf"] = _ANY
    if "format" in out and (out.get("type"), out["format"]) != ("string", "date-time"):
        told["format"] = out.pop("format")


def _with_words(out: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """`out` with what was left out told at the end of its description."""
    words = []
    for key, value in told.items():
        text = _encode(value).decode()
        if len(text) <= _LONGEST_WORDS:
            words.append(f"{key}: {text}")
    if words:
        said = out.get("description")
        more = f"({', '.join(words)})"
        out["description"] = f"{said} {more}" if isinstance(said, str) and said else more
    return out


def _shaped(key: str, value: Any) -> bool:
    """Is the value one that this keyword may have?"""
    kinds = _SHAPES.get(key)
    if kinds is None:
        return True
    if type(value) not in kinds:
        return False
    if key in _COUNTS:
        return bool(value >= 0)
    if key in _BOUNDS:
        return bool(abs(value) <= _EXACT)
    return bool(value) or (key != "enum" and key not in _LISTS)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
