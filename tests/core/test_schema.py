"""Schemas: what they refuse, what they admit, and small values that fit."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talea.errors import TaleaError
from talea.schema import SchemaError, can_have, compile_schema, minimal_instance

RISK: dict[str, Any] = {
    "type": "object",
    "properties": {
        "level": {"enum": ["low", "high"]},
        "reasons": {"type": "array", "items": {"type": "string"}},
        "by": {"$ref": "#/$defs/person"},
    },
    "required": ["level"],
    "$defs": {"person": {"type": "object", "properties": {"name": {"type": "string"}}}},
}
NODE: dict[str, Any] = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "next": {"$ref": "#"}},
    "required": ["value"],
}


@pytest.mark.parametrize(
    ("schema", "value", "complaint"),
    [
        (True, object(), None),
        ({}, [1], None),
        (False, 1, "does not allow 1"),
        ({"type": "string"}, "a", None),
        ({"type": "string"}, 1, '1 is not of type "string"'),
        ({"type": "integer"}, True, 'true is not of type "integer"'),
        ({"type": "integer", "minimum": 0}, True, 'true is not of type "integer"'),
        ({"type": "number"}, False, 'false is not of type "number"'),
        ({"type": "integer"}, 1.0, None),
        ({"type": "integer"}, 1.5, '1.5 is not of type "integer"'),
        ({"type": "boolean"}, 1, '1 is not of type "boolean"'),
        ({"type": "null"}, None, None),
        ({"type": "number"}, float("nan"), "not of type"),
        ({"type": "object"}, [], '[] is not of type "object"'),
        ({"enum": [1]}, True, "true is not one of 1"),
        ({"const": 1.0}, 1, None),
        ({"type": "string", "format": "email"}, "nobody", None),
        ({"format": "date", "minLength": 1}, "nobody", None),
        ({"pattern": "^a+$"}, "b", '"b" does not match "^a+$"'),
        (RISK, {"level": "low", "reasons": ["a"]}, None),
        (RISK, {"level": "mid"}, 'at `level`: "mid" is not one of "low" or "high"'),
        (RISK, {}, '"level" is a required property'),
        (RISK, {"level": "low", "reasons": ["a", 2]}, 'at `reasons[1]`: 2 is not of type "string"'),
        (NODE, {"value": 1, "next": {"value": 2}}, None),
        (NODE, {"value": 1, "next": {}}, 'at `next`: "value" is a required property'),
    ],
)
def test_a_value_fits_or_the_complaint_says_where(
    schema: Any, value: Any, complaint: str | None
) -> None:
    found = compile_schema(schema).check(value)
    assert found is None if complaint is None else complaint in (found or "")


@pytest.mark.parametrize("schema", [{"type": "integer"}, {"type": "integer", "minimum": 0}])
def test_a_complaint_never_holds_a_whole_value(schema: Any) -> None:
    for value in ("secret " * 50, ["secret"] * 50, {"k": "secret " * 50}):
        complaint = compile_schema(schema).check(value)
        assert complaint is not None
        assert len(complaint) < 120


@pytest.mark.parametrize("value", ["\ud800", object(), {1: 2}])
def test_what_is_not_json_does_not_fit(value: Any) -> None:
    assert compile_schema({"type": ["string", "object"], "minLength": 1}).check(value)


@pytest.mark.parametrize(
    ("schema", "message", "path"),
    [
        ({"type": "strin"}, "'strin' is not a type; did you mean 'string'?", ("type",)),
        ({"type": "text"}, "there are string, boolean", ("type",)),
        ({"properties": {"a": {"type": "objct"}}}, "'object'", ("properties", "a", "type")),
        ({"properties": {"a": 5}}, "not of types", ("properties", "a")),
        ({"minLength": -1}, "-1 is less than the minimum of 0", ("minLength",)),
        ({"pattern": "(?=a)b"}, "without look-around", None),
        ({"pattern": r"(a)\1"}, "without look-around", None),
        ({"pattern": "("}, "pattern", None),
        ({"pattern": "(a{1000}){1000}"}, "bounded size", None),
        ({"patternProperties": {"(?!a)": {}}}, "pattern", None),
        ({"$ref": "http://example.com/a.json"}, "stay inside", ("$ref",)),
        ({"$ref": "file:///etc/passwd"}, "stay inside", ("$ref",)),
        ({"items": {"$ref": "other.json"}}, "stay inside", ("items", "$ref")),
        ({"$defs": {"a": {"$dynamicRef": "x#y"}}}, "stay inside", ("$defs", "a", "$dynamicRef")),
        ({"$ref": "#/$defs/none"}, "does not exist", ()),
        ({"$ref": "#none"}, "does not exist", ()),
        ({"type": {1, 2}}, "not JSON", ()),
        ({"const": float("nan")}, "not JSON", ()),
        ({"const": "\ud800"}, "cannot be used", ()),
        ([], "an object, or true or false", ()),
        ({"description": 5, "type": "string"}, "not valid", ("description",)),
        ({"examples": 5, "type": "string"}, "not valid", ("examples",)),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(
    schema: Any, message: str, path: tuple[str | int, ...] | None
) -> None:
    with pytest.raises(SchemaError) as caught:
        compile_schema(schema)
    assert message in caught.value.message
    assert path is None or caught.value.path == path
    assert isinstance(caught.value, TaleaError)
    assert isinstance(caught.value, ValueError)


def test_references_in_data_are_no_references() -> None:
    schema = {"const": {"$ref": "http://example.com"}}
    assert compile_schema(schema).check({"$ref": "http://example.com"}) is None


def test_equal_schemas_are_compiled_once() -> None:
    schema = {"type": "integer", "minimum": 3}
    compiled = compile_schema(schema)
    assert compile_schema(dict(schema)) is compiled
    schema["minimum"] = 5
    assert compile_schema(schema).check(4) is not None
    assert compiled.check(4) is None


def test_references_that_double_at_each_step_are_refused() -> None:
    twice = {
        f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]}
        for n in range(40)
    }
    with pytest.raises(SchemaError, match="written out"):
        compile_schema({"$ref": "#/$defs/d0", "$defs": {**twice, "d40": {"type": "string"}}})


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_depth_cannot_overflow_the_stack_of_a_small_thread() -> None:
    recursive = {"type": ["array", "integer"], "items": {"$ref": "#"}, "minItems": 1}
    outcomes: list[Any] = []

    def attack() -> None:
        for levels in (50, 101, 200, 2000, 100_000):
            outcomes.append(compile_schema(recursive).check(nested(levels)))
        for levels in (20, 60, 200, 2000, 100_000):
            schema: Any = {"type": "integer"}
            for _ in range(levels):
                schema = {"type": "array", "items": schema}
            try:
                outcomes.append(compile_schema(schema).check(nested(min(levels, 90))))
            except SchemaError as error:
                outcomes.append(error.message)

    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=attack)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert outcomes[0] is None
    assert all("levels" in outcome for outcome in outcomes[1:5])
    assert outcomes[5:7] == [None, None]
    assert all("levels" in outcome for outcome in outcomes[7:])


def test_plain_schemas_do_not_load_the_library() -> None:
    code = """
import sys
from talea.schema import compile_schema
assert compile_schema({"type": "array", "description": "d"}).check([1]) is None
assert "jsonschema_rs" not in sys.modules
assert compile_schema({"type": "array", "minItems": 1}).check([1]) is None
assert "jsonschema_rs" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=3,
)


@given(st.sampled_from(["string", "boolean", "null", "number", "integer", "array", "object"]), DATA)
def test_the_plain_checks_agree_with_the_library(kind: str, value: Any) -> None:
    plain = compile_schema({"type": kind}).check(value)
    library = compile_schema({"type": kind, "allOf": [True]}).check(value)
    assert (plain is None) is (library is None)


@pytest.mark.parametrize(
    ("schema", "raw", "only_text"),
    [
        ({"type": "string"}, True, True),
        ({"type": "string", "minLength": 3}, True, True),
        ({"type": ["string"]}, True, True),
        ({"enum": ["a", "b"]}, True, True),
        ({"const": "a"}, True, True),
        ({"enum": ["a", 1]}, False, False),
        ({"enum": ["a", None]}, False, False),
        ({"const": 1}, False, False),
        ({"type": ["string", "null"]}, False, False),
        ({"anyOf": [{"type": "string"}, {"const": "x"}]}, False, True),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, False, False),
        ({"allOf": [{"type": "string"}, {"minLength": 1}]}, False, True),
        ({"$ref": "#/$defs/t", "$defs": {"t": {"type": "string"}}}, False, True),
        ({"$ref": "#"}, False, False),
        (True, False, False),
        ({}, False, False),
        ({"minLength": 1}, False, False),
    ],
)
def test_a_schema_tells_whether_it_is_of_text(schema: Any, raw: bool, only_text: bool) -> None:
    compiled = compile_schema(schema)
    assert (compiled.takes_raw_text, compiled.admits_only_text) == (raw, only_text)


OPEN_AND_CLOSED: list[tuple[Any, tuple[str | int | None, ...], str | None]] = [
    (True, ("a", 0), None),
    (False, ("a",), "nothing fits"),
    ({}, ("a",), None),
    (RISK, (), None),
    (RISK, ("level",), None),
    (RISK, ("reasons", 0), None),
    (RISK, ("reasons", None, "x"), None),
    (RISK, ("lvel",), "no property 'lvel'; did you mean 'level'?"),
    (RISK, ("zzz",), "there are 'level', 'reasons', 'by'"),
    (RISK, ("level", "x"), "no value that it names has the key 'x'"),
    (RISK, ("reasons", 0, "x"), "the key 'x' cannot be a step into text"),
    (RISK, ("reasons", "x"), "cannot be a step into a list"),
    (RISK, (0,), "the index 0 cannot be a step into an object"),
    (RISK, ("by", "name"), None),
    (RISK, ("by", "nam"), "did you mean 'name'?"),
    (NODE, ("next", "next", "next", "value"), None),
    (NODE, ("next", "next", "vale"), "did you mean 'value'?"),
    ({"$ref": "#"}, ("a",), None),
    ({"type": "string"}, ("a",), "cannot be a step into text"),
    ({"type": ["string", "null"]}, (0,), "text or null"),
    ({"type": ["object", "null"]}, ("a",), None),
    ({"properties": {"a": {}}, "additionalProperties": True}, ("b",), None),
    ({"properties": {"a": {}}, "additionalProperties": {"type": "string"}}, ("b",), None),
    ({"additionalProperties": {"type": "string"}}, ("b", "c"), "cannot be a step into text"),
    ({"additionalProperties": False}, ("b",), "no property 'b'"),
    ({"properties": {"a": False}}, ("a",), "nothing fits"),
    ({"properties": {"a": {}}, "patternProperties": {"^x-": {}}}, ("x-1",), None),
    ({"properties": {"a": {}}, "patternProperties": {"^x-": {}}}, ("y",), "no property 'y'"),
    ({"patternProperties": {"^x": {"type": "null"}}}, ("x", "y"), "a step into null"),
    ({"anyOf": [{"type": "null"}, RISK]}, ("level",), None),
    ({"anyOf": [{"type": "null"}, RISK]}, ("lvel",), "no property 'lvel'"),
    ({"oneOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}, ("b",), None),
    ({"oneOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}, ("c",), "no property"),
    ({"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}, ("b",), None),
    ({"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}, ("c",), "no property"),
    ({"properties": {"a": {}}, "anyOf": [{"required": ["a"]}, {}]}, ("c",), "no property"),
    ({"properties": {"a": {}}, "anyOf": [{"properties": {"c": {}}}]}, ("c",), None),
    ({"properties": {"a": {}}, "if": {}, "then": {"properties": {"c": {}}}}, ("c",), None),
    ({"const": {"a": [1]}}, ("a", 0), None),
    ({"const": {"a": [1]}}, ("a", 1), "no value"),
    ({"enum": [{"a": 1}, {"b": 1}]}, ("b",), None),
    ({"type": "array", "maxItems": 2}, (2,), "at most 2"),
    ({"type": "array", "maxItems": 2}, (-3,), "at most 2"),
    ({"type": "array", "maxItems": 2}, (-2,), None),
    ({"prefixItems": [{"type": "null"}, RISK]}, (1, "level"), None),
    ({"prefixItems": [{"type": "null"}, RISK]}, (0, "level"), "a step into null"),
    ({"prefixItems": [{}], "items": False}, (1,), "at most 1"),
    ({"prefixItems": [{}], "items": RISK}, (5, "lvel"), "no property"),
]


@pytest.mark.parametrize(("schema", "steps", "reason"), OPEN_AND_CLOSED)
def test_a_path_can_exist_or_not(
    schema: Any, steps: tuple[str | int | None, ...], reason: str | None
) -> None:
    found = can_have(schema, steps)
    assert found is None if reason is None else reason in (found or "")


SMALL: list[tuple[Any, Any]] = [
    (True, None),
    ({"type": "string"}, ""),
    ({"type": "integer"}, 0),
    ({"type": "boolean"}, False),
    ({"type": "array"}, []),
    ({"type": "object"}, {}),
    ({"type": ["string", "null"]}, ""),
    ({"const": 3}, 3),
    ({"enum": ["b", "a"]}, "b"),
    ({"type": "string", "enum": ["xx", "y"], "maxLength": 1}, "y"),
    ({"type": "string", "minLength": 3}, "xxx"),
    ({"minimum": 3}, 3),
    ({"type": "integer", "exclusiveMinimum": 3}, 4),
    ({"type": "integer", "minimum": 5, "multipleOf": 4}, 8),
    ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, 0.5),
    ({"type": "integer", "exclusiveMaximum": -5}, -6),
    ({"type": "integer", "maximum": -5, "multipleOf": 3}, -6),
    ({"type": "number", "exclusiveMinimum": 2}, 3),
    (RISK, {"level": "low"}),
    (NODE, {"value": 0}),
    ({"items": {"type": "integer"}, "minItems": 2}, [0, 0]),
    (
        {"type": "array", "minItems": 3, "uniqueItems": True, "items": {"type": "integer"}},
        [0, 1, 2],
    ),
    (
        {"type": "array", "minItems": 2, "uniqueItems": True, "items": {"enum": ["a", "b"]}},
        ["a", "b"],
    ),
    ({"type": "array", "contains": {"const": 3}}, [3]),
    ({"type": "array", "prefixItems": [{"type": "string"}], "minItems": 1}, [""]),
    ({"type": "object", "minProperties": 2}, {"key0": None, "key1": None}),
    ({"anyOf": [{"type": "string", "minLength": 2}, {"type": "null"}]}, "xx"),
    ({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": None}),
    ({"allOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": None, "b": None}),
    ({"allOf": [{"minimum": 3}, {"minimum": 5}], "type": "integer"}, 5),
    ({"not": {"type": "null"}}, ""),
    (
        {"type": "object", "dependentRequired": {"a": ["b"]}, "required": ["a"]},
        {"a": None, "b": None},
    ),
    ({"if": True, "then": {"type": "string", "minLength": 1}}, "x"),
]


@pytest.mark.parametrize(("schema", "value"), SMALL)
def test_a_small_instance_is_the_expected_one(schema: Any, value: Any) -> None:
    assert minimal_instance(schema) == value


def words(text: str) -> list[str]:
    return text.split()


ENDLESS = words("""a ^[a-z]+$ ^[A-Z]{2}-\\d{3,}$ ^\\w+@\\w+\\.com$ ^(?:a|b){2}c*$ ^https?://.+ \\p{L}+ ^[\\w.-]+$
^(\\d+)(\\.\\d+)*$""")
BOUNDED = words("""^a$ ^(foo|bar)baz?$ ^[^a]x$ ^\\+?[0-9]{1,3}$ ^$ ^#[0-9a-f]{6}$ ^a{2,4}?b$ ^[+-]?\\d$
^[]x]$""")
PATTERNS = [*((p, n) for p in ENDLESS for n in (0, 3, 7)), *((p, 0) for p in BOUNDED)]


@pytest.mark.parametrize(("pattern", "fewest"), PATTERNS)
def test_a_small_instance_matches_its_pattern(pattern: str, fewest: int) -> None:
    schema = {"type": "string", "pattern": pattern, "minLength": fewest}
    assert compile_schema(schema).check(minimal_instance(schema)) is None


LEAVES = st.sampled_from(
    [
        {"type": "string"}, {"type": "string", "minLength": 2}, {"type": "integer", "minimum": -3},
        {"type": "number", "exclusiveMinimum": 1.5}, {"type": "boolean"}, {"type": "null"},
        {"enum": ["a", 1, None]}, {"const": [1]}, {"type": "string", "pattern": "^[a-c]{2}$"},
        {"type": "integer", "multipleOf": 7, "minimum": 8}, {"$ref": "#/$defs/d"}, {}, True,
    ]
)  # fmt: skip


def branches(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(
            lambda parts, count: {
                "type": "object", "properties": parts, "required": sorted(parts)[:count],
            },
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3), st.integers(0, 3),
        ),
        st.builds(lambda item, n: {"type": "array", "items": item, "minItems": n}, inner,
                  st.integers(0, 2)),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"anyOf": parts}),
        inner.map(lambda part: {"allOf": [part]}),
        st.tuples(inner, inner).map(lambda parts: {"type": "array", "prefixItems": [*parts],
                                                   "minItems": 2}),
    )  # fmt: skip


SCHEMAS = st.recursive(LEAVES, branches, max_leaves=6)


@settings(deadline=None)
@given(SCHEMAS)
def test_a_small_instance_fits(schema: Any) -> None:
    whole = {"allOf": [schema], "$defs": {"d": {"type": "integer", "maximum": -2}}}
    assert compile_schema(whole).check(minimal_instance(whole)) is None


def steps_of(value: Any) -> list[tuple[str | int, ...]]:
    """List every path in a value."""
    found: list[tuple[str | int, ...]] = [()]
    parts: Any = ()
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
    for step, part in parts:
        found += [(step, *rest) for rest in steps_of(part)]
    return found


@settings(deadline=None)
@given(SCHEMAS)
def test_every_path_of_a_small_instance_can_exist(schema: Any) -> None:
    whole = {"allOf": [schema], "$defs": {"d": {"type": "integer", "maximum": -2}}}
    for steps in steps_of(minimal_instance(whole)):
        assert can_have(whole, steps) is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5)
    | st.sampled_from(["string", "object", "#", "#/$defs/a", "^a+$", "(", "http://x/y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(words("""type properties items anyOf allOf $ref enum const minLength pattern if
        then required additionalProperties $defs $id $anchor prefixItems maxItems a""")),
        inner, max_size=4,
    ),
    max_leaves=10,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(ANYTHING)
def test_any_data_is_a_schema_or_a_schema_error(data: Any) -> None:
    try:
        schema = compile_schema(data)
    except SchemaError:
        return
    instance = minimal_instance(data)
    json.dumps(instance)
    assert schema.check(instance) != ""
    for steps in [("a",), (0,), ("a", 0, "b"), (-1,)]:
        assert can_have(data, steps) != ""
