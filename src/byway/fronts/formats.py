"""JSON schemas of a required output format, in the form that the Messages API accepts. Pure.

Every object is closed, and words outside the supported ones move to the description, so that the model still reads them:
https://platform.claude.com/docs/en/build-with-claude/structured-outputs (seen 2026-11-29).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

_DEEPEST: Final = 100
#: Words that the API refuses.
_REFUSED: Final = frozenset(
    "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength maxItems uniqueItems contains minContains "
    "maxContains minProperties maxProperties patternProperties propertyNames unevaluatedProperties unevaluatedItems "
    "dependentRequired dependentSchemas if then else not".split()
)
_SCHEMAS: Final = ("properties", "$defs", "definitions")
_encode: Final = msgspec.json.Encoder().encode


def closed(schema: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """The schema with closed objects and without refused words."""
    if depth > _DEEPEST:
        return {}
    made: dict[str, Any] = {}
    moved: list[str] = []
    for word, value in schema.items():
        if word in _REFUSED or (word == "minItems" and value not in (0, 1)):
            moved.append(f"{word}: {_encode(value).decode()}")
        elif word in _SCHEMAS and isinstance(value, dict):
            made[word] = {name: _part(part, depth) for name, part in value.items()}
        elif word in ("items", "anyOf", "allOf", "oneOf", "prefixItems"):
            made["anyOf" if word == "oneOf" else word] = _part(value, depth)
        elif word != "additionalProperties":
            made[word] = value
    kind = made.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in made:
        made["additionalProperties"] = False
    if moved:
        description = made.get("description")
        words = f"{{{', '.join(moved)}}}"
        made["description"] = f"{description}\n\n{words}" if isinstance(description, str) else words
    return made


def _part(value: Any, depth: int) -> Any:
    if isinstance(value, dict):
        return closed(value, depth + 1)
    return [_part(item, depth + 1) for item in value] if isinstance(value, list) and depth < _DEEPEST else value


def is_free(schema: Any) -> bool:
    """Return whether the schema permits any object: closing it would permit only `{}`."""
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        return False
    return not any(schema.get(word) for word in ("properties", "anyOf", "oneOf", "allOf", "$ref", "enum", "const"))
