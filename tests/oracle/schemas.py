"""JSON Schema, as far as the generator and the cases write it: an own, plain checker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from .expressions import same

_KNOWN = {
    "type", "enum", "const", "properties", "required", "items", "additionalProperties",
    "minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength", "default", "description",
}  # fmt: skip
Schema = Mapping[str, Any] | bool


class Misfit(Exception):
    """A value that does not fit, or text that is no JSON."""


def check(value: Any, schema: Schema) -> None:
    """Raise Misfit unless the value fits."""
    if isinstance(schema, bool):
        _demand(schema, value, schema)
        return
    if unknown := schema.keys() - _KNOWN:
        raise NotImplementedError(f"schema keywords {unknown}")
    if "type" in schema:
        kinds = schema["type"]
        kinds = cast("list[str]", kinds) if isinstance(kinds, list) else [kinds]
        _demand(any(_is(value, kind) for kind in kinds), value, schema)
    if "enum" in schema:
        _demand(any(same(value, one) for one in schema["enum"]), value, schema)
    if "const" in schema:
        _demand(same(value, schema["const"]), value, schema)
    if _is(value, "number"):
        _demand(
            schema.get("minimum", value) <= value <= schema.get("maximum", value),
            value,
            schema,
        )
    if isinstance(value, str):
        _demand(_bounded(len(value), schema, "Length"), value, schema)
    if isinstance(value, list):
        parts = cast("list[Any]", value)
        _demand(_bounded(len(parts), schema, "Items"), parts, schema)
        inner = cast("Schema", schema.get("items", True))
        for part in parts:
            check(part, inner)
    if isinstance(value, dict):
        _check_object(cast("dict[str, Any]", value), schema)


def _check_object(value: dict[str, Any], schema: Mapping[str, Any]) -> None:
    declared = cast("dict[str, Schema]", schema.get("properties", {}))
    _demand(set(schema.get("required", ())) <= value.keys(), value, schema)
    others = cast("Schema", schema.get("additionalProperties", True))
    for key, part in value.items():
        check(part, declared.get(key, others))


def takes_raw_text(schema: Schema | None) -> bool:
    """Say whether an answer is taken as it is: `{type: string}`, or an enum or const of texts."""
    if not isinstance(schema, Mapping):
        return False
    choices = cast("list[Any]", schema.get("enum", [schema["const"]] if "const" in schema else []))
    if choices:
        return all(isinstance(one, str) for one in choices)
    return schema.get("type") == "string"


def parse(text: str) -> Any:
    """Read JSON text, from which one code fence is removed. Raises Misfit."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        text = text[text.index("\n") : -3]
    try:
        return json.loads(text)
    except ValueError as error:
        raise Misfit(f"no JSON: {error}") from error


def _bounded(length: int, schema: Mapping[str, Any], what: str) -> bool:
    return schema.get(f"min{what}", 0) <= length <= schema.get(f"max{what}", length)


def _demand(fits: bool, value: Any, schema: Schema) -> None:
    if not fits:
        raise Misfit(f"{value!r} does not fit {schema!r}")


def _is(value: Any, kind: str) -> bool:
    if kind in {"number", "integer"}:
        whole = int if kind == "integer" else int | float
        return isinstance(value, whole) and not isinstance(value, bool)
    kinds: dict[str, type | None] = {
        "string": str, "boolean": bool, "array": list, "object": dict, "null": None,
    }  # fmt: skip
    expected = kinds[kind]
    return value is None if expected is None else isinstance(value, expected)
