"""A small value that fits a schema: what a stand-in answers, and what examples show."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

from talea.schema.checks import JsonSchema, SchemaError, compile_schema
from talea.schema.parts import REFERENCES, resolve
from talea.schema.pattern import match_of

_MAX_DEPTH = 20
_MAX_TRIES = 200
_MAX_LENGTH = 1000
_ROOT = "whole"


def minimal_instance(schema: JsonSchema) -> Any:
    """Make a small value that fits, where one can be found; elsewhere one that comes close."""
    return _Maker(schema).make(schema, 0)


class _Maker:
    """One attempt to make a value. Choices are tried in order, up to a number of tries."""

    def __init__(self, root: JsonSchema) -> None:
        self.root = root
        self.moved = _moved(root)
        self.tries = _MAX_TRIES

    def make(self, schema: Any, depth: int) -> Any:
        if not isinstance(schema, dict) or depth > _MAX_DEPTH:
            return None
        part = self.merged(cast("dict[str, Any]", schema), 0)
        value: Any = None
        for value in self.candidates(part, depth):
            self.tries -= 1
            if self.tries < 0 or self.fits(part, value):
                break
        return value

    def candidates(self, schema: dict[str, Any], depth: int) -> Iterator[Any]:
        """Give values that may fit, the likeliest first."""
        if "const" in schema:
            yield schema["const"]
            return
        if schema.get("enum"):
            yield from schema["enum"]
            return
        for key in ("anyOf", "oneOf"):
            rest = {name: value for name, value in schema.items() if name != key}
            for choice in schema.get(key) or ():
                yield self.make({"allOf": [rest, choice]}, depth + 1)
        for branch in ("then", "else"):
            if branch in schema:
                rest = {name: value for name, value in schema.items() if name != branch}
                yield self.make({"allOf": [rest, schema[branch]]}, depth + 1)
        for kind in _types(schema):
            yield self.of_type(kind, schema, depth)

    def fits(self, schema: dict[str, Any], value: Any) -> bool:
        """Check a value against a part, whose references lead into the whole."""
        try:
            return (
                compile_schema({**_moved(schema), "$defs": {_ROOT: self.moved}}).check(value)
                is None
            )
        except SchemaError:  # it became too large with its references written out
            return True

    def merged(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        """Lay `allOf` and `$ref` into one schema, as far as a small instance needs it."""
        parts = list(schema.get("allOf", ()))
        if isinstance(schema.get("$ref"), str):
            parts.append(resolve(self.root, schema["$ref"]))
        merged = {key: value for key, value in schema.items() if key not in {"allOf", "$ref"}}
        for part in parts:
            if not isinstance(part, dict) or depth > _MAX_DEPTH:
                continue
            for key, value in self.merged(cast("dict[str, Any]", part), depth + 1).items():
                merged[key] = _both(key, merged[key], value) if key in merged else value
        return merged

    def of_type(self, kind: str, schema: dict[str, Any], depth: int) -> Any:
        match kind:
            case "object":
                return self.object(schema, depth)
            case "array":
                return self.array(schema, depth)
            case "string":
                return _text(schema)
            case "number" | "integer":
                return _number(schema, whole=kind == "integer")
            case "boolean":
                return False
            case _:
                return None

    def object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties: dict[str, Any] = schema.get("properties") or {}
        more = schema.get("additionalProperties", True)
        names = [*schema.get("required", ())]
        for name in names:
            names += [
                n for n in schema.get("dependentRequired", {}).get(name, ()) if n not in names
            ]
        fewest = min(schema.get("minProperties", 0), _MAX_LENGTH)
        spare = [*properties, *(f"key{number}" for number in range(fewest))]
        names += [name for name in spare if name not in names][: max(0, fewest - len(names))]
        return {name: self.make(properties.get(name, more), depth + 1) for name in names}

    def array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        first: list[Any] = schema.get("prefixItems") or []
        rest = schema.get("items", True)
        fewest = min(schema.get("minItems", 0), _MAX_LENGTH)
        wanted = schema.get("minContains", 1) if "contains" in schema else 0
        if wanted:
            rest = schema["contains"] if rest is True else {"allOf": [rest, schema["contains"]]}
            fewest = max(fewest, len(first) + min(wanted, _MAX_LENGTH))
        parts = [first[place] if place < len(first) else rest for place in range(fewest)]
        if not schema.get("uniqueItems"):
            return [self.make(part, depth + 1) for part in parts]
        made: list[Any] = []
        for part in parts:
            others = {"not": {"enum": made}} if made else {}
            made.append(self.distinct({"allOf": [part, others]}, made, depth))
        return made

    def distinct(self, schema: dict[str, Any], made: list[Any], depth: int) -> Any:
        """Make a value that is not there yet, by counting on from a first one."""
        value = self.make(schema, depth + 1)
        part = self.merged(schema, 0)
        for number in range(1, len(made) + 2):
            if self.fits(part, value):
                break
            value = _varied(value, number)
        return value


def _moved(part: Any) -> Any:
    """Copy a schema so that its pointers lead to the whole, which now stands in `$defs`."""
    if isinstance(part, list):
        return [_moved(each) for each in cast("list[Any]", part)]
    if not isinstance(part, dict):
        return part
    members = cast("dict[str, Any]", part)
    copy = {key: _moved(value) for key, value in members.items()}
    for key in REFERENCES:
        pointer = members.get(key)
        if isinstance(pointer, str) and (pointer == "#" or pointer.startswith("#/")):
            copy[key] = f"#/$defs/{_ROOT}{pointer[1:]}"
    return copy


def _types(schema: dict[str, Any]) -> list[str]:
    kinds = schema.get("type")
    if isinstance(kinds, str):
        return [kinds]
    if kinds:
        return cast("list[str]", kinds)
    implied = [kind for key, kind in _IMPLIED.items() if key in schema]
    return [*implied, "null", "string", "number", "boolean", "object", "array"]


_IMPLIED = {
    "properties": "object", "required": "object", "additionalProperties": "object",
    "minProperties": "object", "items": "array", "prefixItems": "array", "minItems": "array",
    "contains": "array", "minLength": "string", "maxLength": "string", "pattern": "string",
    "minimum": "number", "maximum": "number", "exclusiveMinimum": "number",
    "exclusiveMaximum": "number", "multipleOf": "number",
}  # fmt: skip


def _both(key: str, left: Any, right: Any) -> Any:
    """Give what says the same as two values of one keyword, or the second if nothing does."""
    if key == "properties":
        shared = {name: {"allOf": [left[name], right[name]]} for name in left if name in right}
        return {**left, **right, **shared}
    if key == "required":
        return [*left, *(name for name in right if name not in left)]
    if key.startswith(("min", "exclusiveMin")):
        return max(left, right)
    if key.startswith(("max", "exclusiveMax")):
        return min(left, right)
    if key == "enum":
        return [value for value in left if value in right] or right
    if key in {"items", "additionalProperties", "contains"}:
        return {"allOf": [left, right]}
    if key == "not":
        return {"anyOf": [left, right]}
    if key == "type":
        kinds = [right] if isinstance(right, str) else right
        return [kind for kind in ([left] if isinstance(left, str) else left) if kind in kinds]
    return right


def _text(schema: dict[str, Any]) -> str:
    fewest = min(schema.get("minLength", 0), 100 * _MAX_LENGTH)
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        return match_of(pattern, fewest)
    return "x" * fewest


def _number(schema: dict[str, Any], *, whole: bool) -> float:
    """Give 0 or the number nearest to it, as the bounds and the step allow."""
    step = schema.get("multipleOf") or (1 if whole else None)
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    nearest: float = max(low, 0) if high >= 0 else high
    open_ended = nearest in (schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum"))
    upwards = nearest == low
    if step is None:
        if not open_ended:
            return nearest
        if math.isfinite(low) and math.isfinite(high):
            return (low + high) / 2
        return nearest + 1 if upwards else nearest - 1
    if whole and isinstance(step, float) and not step.is_integer():
        step = 1
    count = math.ceil(nearest / step) if upwards else math.floor(nearest / step)
    if open_ended and count * step == nearest:
        count += 1 if upwards else -1
    return count * step


def _varied(value: Any, number: int) -> Any:
    if isinstance(value, bool) or value is None:
        return number % 2 == 1
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{value}{number}"
    return [number] if isinstance(value, list) else {"key": number}
