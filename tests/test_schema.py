"""Schemas of tools are adapted to the dialect of each server."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any, get_args

import pytest
from growth import assert_linear
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from byway.backends.openai.schema import Dialect, adapt, allows_strict
from byway.problems import Problem

DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
PATH = "tools.3.input_schema"


def clean(schema: Any, dialect: Dialect) -> Any:
    return json.loads(adapt(json.dumps(schema).encode(), dialect, PATH))


def of(property: Any, dialect: Dialect, **top: Any) -> Any:
    """One property, adapted as a part of the schema of a tool."""
    return clean({"type": "object", "properties": {"a": property}, **top}, dialect)["properties"]["a"]


def test_an_open_server_gets_the_schema_byte_for_byte() -> None:
    raw = b'{ "type":"object" , "properties":{"a":{"pattern":"x"}}}'
    assert adapt(raw, "open", PATH) == raw


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_schema_keyword_is_removed_and_keys_keep_their_order(dialect: Dialect) -> None:
    raw = b'{"required":["b"],"$schema":"https://x","type":"object","properties":{"b":{"type":"string"},"a":{"type":"null"}}}'
    text = b'{"required":["b"],"type":"object","properties":{"b":{"type":"string"},"a":{"type":"null"}}}'
    assert adapt(raw, dialect, PATH) == text


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("raw", [b"[]", b"true", b'"x"', b"1"])
def test_a_schema_that_is_no_object_is_refused_with_its_path(raw: bytes, dialect: Dialect) -> None:
    with pytest.raises(Problem, match=r"tools\.3\.input_schema: Input should be an object"):
        adapt(raw, dialect, PATH)


@pytest.mark.parametrize("dialect", ["grammar", "openai", "plain"])
def test_the_schema_of_a_tool_is_always_an_object_with_properties(dialect: Dialect) -> None:
    assert clean({}, dialect) == {"type": "object", "properties": {}}
    assert clean({"type": "object"}, dialect) == {"type": "object", "properties": {}}


def test_a_pattern_moves_to_the_description_for_servers_that_build_a_grammar() -> None:
    table = {"type": "string", "description": 'A name. (pattern: "\\\\S")'}
    assert of({"type": "string", "pattern": "\\S", "description": "A name."}, "grammar") == table
    assert of({"type": "string", "pattern": "x"}, "plain") == {"type": "string", "description": '(pattern: "x")'}
    assert of({"type": "string", "pattern": "x"}, "openai") == {"type": "string", "pattern": "x"}


def test_a_property_named_like_a_keyword_stays() -> None:
    schema = {"type": "object", "properties": {"pattern": {"type": "string"}, "$schema": {"type": "string"}}}
    for dialect in DIALECTS:
        assert clean(schema, dialect) == schema


def test_counts_that_are_too_large_for_a_grammar_move_to_the_description() -> None:
    assert of({"type": "string", "maxLength": 2000}, "grammar")["description"] == "(maxLength: 2000)"
    assert of({"type": "string", "maxLength": 1000}, "grammar") == {"type": "string", "maxLength": 1000}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (True, {}),
        ({"type": "any"}, {"description": '(type: "any")'}),
        ({"type": []}, {"description": "(type: [])"}),
        ({"enum": []}, {}),
        ({"anyOf": []}, {}),
        ({"type": "array", "items": True}, {"type": "array", "items": {}}),
        ({"type": "integer", "maximum": 1e30}, {"type": "integer"}),
        ({"$ref": "#/$defs/none"}, {"description": '(\\$ref: "#/$defs/none")'.replace("\\", "")}),
        ({"$ref": "http://x/y.json"}, {"description": '($ref: "http://x/y.json")'}),
        ({"type": "integer", "minimum": 0, "exclusiveMinimum": True}, {"type": "integer", "exclusiveMinimum": 0}),
        ({"type": "integer", "minimum": 0, "exclusiveMinimum": False}, {"type": "integer", "minimum": 0}),
        ({"type": "string", "required": True}, {"type": "string"}),
        ({"oneOf": [{"type": "string"}, {"const": 1}]}, {"oneOf": [{"type": "string"}, {"const": 1}]}),
        ({"$ref": None, "type": "string"}, {"type": "string"}),
        ({"type": "string", "minLength": -1}, {"type": "string"}),
        ({"type": "string", "minLength": 1.5, "maxLength": "9"}, {"type": "string"}),
        (
            {"type": "array", "minItems": 5, "maxItems": 2},
            {"type": "array", "description": "(minItems: 5, maxItems: 2)"},
        ),
        ({"type": "object", "additionalProperties": None}, {"type": "object"}),
        ({"type": "string", "format": 5, "description": ["x"]}, {"type": "string"}),
        ({"anyOf": ["string"]}, {"anyOf": [{}]}),
        ({"type": "string", "format": "uri"}, {"type": "string", "format": "uri"}),
    ],
)
def test_values_that_llama_cpp_refuses_are_repaired_or_removed(given: Any, expected: Any) -> None:
    assert of(given, "grammar") == expected


def test_a_reference_with_a_target_stays_or_is_replaced_by_the_dialect() -> None:
    defs = {"$defs": {"x": {"type": "string"}}}
    assert of({"$ref": "#/$defs/x"}, "grammar", **defs) == {"$ref": "#/$defs/x"}
    assert of({"$ref": "#/$defs/x", "description": "It."}, "plain", **defs) == {"type": "string", "description": "It."}


@pytest.mark.parametrize(
    "loop",
    [
        {"$ref": "#/$defs/x"},
        {"$ref": "#/$defs/y"},
        {"allOf": [{"$ref": "#/$defs/x"}]},
        {"anyOf": [{"oneOf": [{"$ref": "#/$defs/y"}]}, {"type": "string"}]},
    ],
)
def test_a_circular_reference_moves_to_the_description(loop: Any) -> None:
    defs = {"$defs": {"x": loop, "y": {"$ref": "#/$defs/x"}}}
    assert of({"$ref": "#/$defs/x"}, "grammar", **defs) == {"description": '($ref: "#/$defs/x")'}


def test_a_reference_to_itself_inside_an_object_stays() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}, "all": {"items": {"$ref": "#/$defs/n"}}}}
    assert of({"$ref": "#/$defs/n"}, "grammar", **{"$defs": {"n": node}}) == {"$ref": "#/$defs/n"}


def test_references_in_circles_are_followed_in_linear_time() -> None:
    def definitions(count: int) -> dict[str, Any]:
        names = [{"$ref": f"#/$defs/d{n}"} for n in range(count)]
        return {"$defs": {f"d{n}": {"anyOf": names[n : n + 20]} for n in range(count)}}

    assert_linear(definitions, lambda defs: of({"$ref": "#/$defs/d0"}, "grammar", **defs), size=100)


ANY = [{"type": kind} for kind in ("string", "number", "boolean", "object")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": ["string", "null"]}, {"type": "string", "nullable": True}),
        ({"type": ["string", "integer"]}, {"anyOf": [{"type": "string"}, {"type": "integer"}]}),
        ({"type": ["null"]}, {"type": "null"}),
        ({"const": "x"}, {"enum": ["x"], "type": "string"}),
        ({"const": None}, {"type": "null"}),
        ({"enum": [1, 2], "type": "integer"}, {"type": "integer", "description": "(enum: [1,2])"}),
        ({"enum": ["a", None]}, {"enum": ["a"], "nullable": True, "type": "string"}),
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 1}),
        ({"type": "number", "exclusiveMinimum": 0}, {"type": "number", "description": "(exclusiveMinimum: 0)"}),
        ({"type": "string", "format": "uri"}, {"type": "string", "description": '(format: "uri")'}),
        ({"type": "string", "format": "date-time"}, {"type": "string", "format": "date-time"}),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (
            {"allOf": [{"type": "string"}, {"minLength": 1}], "description": "It."},
            {"description": "It.", "type": "string", "minLength": 1},
        ),
        (
            {"type": "object", "additionalProperties": {"type": "string"}, "propertyNames": {"minLength": 1}},
            {
                "type": "object",
                "description": '(additionalProperties: {"type":"string"}, propertyNames: {"minLength":1})',
            },
        ),
        ({"type": "object", "properties": {}, "additionalProperties": False}, {"type": "object"}),
        ({"type": "array"}, {"type": "array", "items": {"anyOf": ANY}}),
        ({"description": "Anything."}, {"description": "Anything.", "anyOf": ANY}),
        (
            {"properties": {"x": {"type": "string"}}, "required": ["x", "y"]},
            {"properties": {"x": {"type": "string"}}, "required": ["x"], "type": "object"},
        ),
    ],
)
def test_a_server_of_an_unknown_kind_gets_only_keywords_of_gemini(given: Any, expected: Any) -> None:
    assert of(given, "plain") == expected


@pytest.mark.parametrize("dialect", ["openai", "plain"])
def test_a_choice_at_the_top_becomes_one_object(dialect: Dialect) -> None:
    given = {"anyOf": [{"properties": {"a": {"type": "string"}}}, {"properties": {"b": {"type": "number"}}}]}
    text = clean(given, dialect)
    assert text["type"] == "object" and [*text["properties"]] == ["a", "b"]
    assert "anyOf" not in text and text["description"].startswith("(anyOf: [")


def test_a_reference_to_itself_is_replaced_once() -> None:
    schema = {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}}
    schema["$defs"] = {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}}
    node = clean(schema, "plain")["properties"]["n"]
    assert node["properties"]["next"] == {"type": "object", "description": '($ref: "#/$defs/n")'}


def test_references_that_expand_beyond_the_budget_are_refused() -> None:
    names = [f"d{n}" for n in range(20)]
    defs = {
        name: {"type": "object", "properties": {f"p{n}": {"$ref": f"#/$defs/{after}"} for n in range(10)}}
        for name, after in pairwise(names)
    }
    with pytest.raises(Problem, match="its references"):
        of({"$ref": "#/$defs/d0"}, "plain", **{"$defs": {**defs, names[-1]: {"type": "string"}}})


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("depth", [50, 100, 900])
def test_a_deep_schema_is_adapted_or_refused(dialect: Dialect, depth: int) -> None:
    raw = b'{"properties":{"a":' * depth + b"{}" + b"}}" * depth
    try:
        assert adapt(raw, dialect, PATH)
    except Problem as problem:
        assert problem.message.startswith(PATH) and depth > 50


def test_the_schema_of_an_answer_may_be_a_list() -> None:
    raw = b'{"$schema":"x","type":"array","items":{"type":"string","pattern":"x"},"minItems":5,"maxItems":2}'
    body = json.loads(adapt(raw, "grammar", PATH, tool=False))
    assert body["type"] == "array" and body["description"] == "(minItems: 5, maxItems: 2)" and len(body) == 3


def test_a_closed_schema_may_be_strict() -> None:
    text = {"type": "string"}
    closed = {"type": "object", "properties": {"a": text}, "required": ["a"], "additionalProperties": False}
    assert allows_strict(json.dumps(closed).encode())
    for other in (
        {**closed, "required": []},
        {**closed, "additionalProperties": True},
        {**closed, "properties": {"a": {"type": "object", "properties": {}}}},
        {**closed, "properties": {"a": {"oneOf": [text]}}},
        {**closed, "anyOf": [closed]},
        {**closed, "properties": {"a": {"anyOf": 3}}},
        {"type": "object"},
    ):
        assert not allows_strict(json.dumps(other).encode()), other


@pytest.mark.parametrize("kinds", [["array"], ["array", "null"], ["array", "string"], ["string", "array", "null"]])
def test_an_array_in_a_list_of_types_has_items(kinds: list[str]) -> None:
    for more, expected in (
        ({}, {"anyOf": [{"type": kind} for kind in ("string", "number", "boolean", "object")]}),
        ({"items": {"type": "string"}}, {"type": "string"}),
    ):
        made = of({"type": kinds, **more}, "plain")
        (array,) = [choice for choice in made.get("anyOf", [made]) if choice["type"] == "array"]
        assert array["items"] == expected


KEYS = (
    "type properties required items enum const anyOf oneOf allOf not $ref $defs pattern format minLength maxLength minItems"
    " maxItems minimum exclusiveMinimum additionalProperties propertyNames default description nullable if"
    " x-odd $schema prefixItems"
).split()
SIMPLE = (
    st.none()
    | st.booleans()
    | st.integers(-9, 10**12)
    | st.sampled_from(["string", "object", "array", "null", "#/$defs/a", "#/properties/a", "#", "date-time", "", "a"])
)
VALUES = st.recursive(
    SIMPLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KEYS, "a", "b"]), inner, max_size=5),
    max_leaves=25,
)
SCHEMAS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6)


@given(SCHEMAS)
@settings(max_examples=examples(300), deadline=None)
def test_any_schema_becomes_one_that_the_server_accepts(schema: dict[str, Any]) -> None:
    for dialect in DIALECTS:
        text = clean(schema, dialect)
        assert clean(schema, dialect) == text
        if dialect != "open":
            assert text["type"] == "object" and isinstance(text["properties"], dict)
        if dialect == "grammar":
            grammar(text)
        if dialect == "plain":
            grammar(text)
            plain(text)


def grammar(schema: Any) -> None:
    """What llama.cpp b11549 takes."""
    assert isinstance(schema, dict)
    assert not schema.keys() & {"pattern", "not", "$schema"}
    assert {*([kind] if isinstance(kind := schema.get("type", []), str) else kind)} <= TYPES
    assert schema.get("enum", "x") and isinstance(schema.get("$ref", ""), str)
    for least, most in (("minLength", "maxLength"), ("minItems", "maxItems")):
        assert 0 <= schema.get(least, 0) <= schema.get(most, 1000) <= 1000
    inner = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    for value in (*inner, *schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        grammar(value)
    if isinstance(schema.get("items"), dict):
        grammar(schema["items"])


TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}


def plain(schema: Any) -> None:
    """What Gemini's documentation of a schema allows."""
    assert isinstance(schema, dict)
    assert not schema.keys() & {"$ref", "$defs", "const", "oneOf", "allOf", "not", "pattern", "additionalProperties"}
    assert "type" in schema or "anyOf" in schema
    assert isinstance(schema.get("type", ""), str)
    assert all(isinstance(item, str) and item for item in schema.get("enum", "x")) and schema.get("enum", "x")
    assert {*schema.get("required", ())} <= {*schema.get("properties", ())}
    assert schema.get("type") != "array" or "items" in schema
    for value in (*schema.get("properties", {}).values(), *schema.get("anyOf", ())):
        plain(value)
    if "items" in schema:
        plain(schema["items"])


def test_a_value_that_contradicts_an_earlier_part_moves_to_the_description() -> None:
    parts = [{"type": "string", "minLength": 1}, {"minLength": 2, "type": "string"}]
    assert of({"allOf": parts}, "plain") == {"type": "string", "minLength": 1, "description": "(minLength: 2)"}
    assert of({"allOf": [parts[0], parts[0] | {"title": "b"}]}, "plain") == {
        "type": "string",
        "minLength": 1,
        "title": "b",
    }
