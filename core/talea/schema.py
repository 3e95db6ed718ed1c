"""JSON Schemas of inputs, outputs and tools: compiled once, and asked what they admit.

Draft 2020-12 by jsonschema-rs, with three bounds: no reference leaves the schema (the library would
fetch it), patterns run in linear time, and `format` says nothing. The plainest schemas, one `type`
without conditions, are checked here, so that most documents never load the library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, cast

from talea.errors import TaleaError

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError

MAX_DEPTH = 100
"""Levels of a schema, and of a value that is checked."""
MAX_SHOWN = 60
"""Characters of a value that a message shows."""

JsonSchema = Mapping[str, Any] | bool


class SchemaError(TaleaError, ValueError):
    """A schema that is not valid itself. `path` leads to the place in it."""

    def __init__(self, message: str, path: Sequence[str | int] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.path: tuple[str | int, ...] = tuple(path)


class Schema:
    """A compiled schema."""

    __slots__ = ("_errors", "schema")

    def __init__(self, schema: JsonSchema) -> None:
        self.schema = schema
        self._errors = _plain_check(schema) or _library_check(schema)

    def check(self, value: Any) -> str | None:
        """Say in one sentence why a value does not fit, and where; None if it fits."""
        return self._errors(value)

    @property
    def takes_raw_text(self) -> bool:
        """Whether a model's answer is taken as it is, not read as JSON.

        So it is for `{type: string}`, with or without conditions, and an `enum` or `const` of texts.
        """
        return admits_only_text(self.schema, self.schema)

    @property
    def admits_only_text(self) -> bool:
        """Whether only texts fit, so that a caller's text is taken as it is."""
        return admits_only_text(self.schema, self.schema)


def compile_schema(schema: JsonSchema) -> Schema:
    """Compile a schema; equal ones once. Raises SchemaError if it is not valid itself."""
    try:
        key = json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise SchemaError("the schema is not JSON data") from None
    return _compile(key)


@lru_cache(maxsize=1024)
def _compile(key: str) -> Schema:
    schema = json.loads(key)
    _check_shape(schema)
    return Schema(schema)


def _check_shape(schema: Any) -> None:
    """Refuse references that leave the schema, and what is too deep for the library's stack."""
    level: list[tuple[tuple[str | int, ...], Any]] = [((), schema)]
    while level:
        deeper: list[tuple[tuple[str | int, ...], Any]] = []
        for path, part in level:
            if len(path) > MAX_DEPTH:
                raise SchemaError(
                    f"the schema has more than {MAX_DEPTH} levels", path[:3]
                )
            if isinstance(part, list):
                deeper += [
                    ((*path, i), each) for i, each in enumerate(cast("list[Any]", part))
                ]
            elif isinstance(part, dict):
                members = cast("dict[str, Any]", part)
                for key in ("$ref", "$dynamicRef"):
                    target = members.get(key)
                    if isinstance(target, str) and not target.startswith("#"):
                        message = f"`{key}` must stay inside the schema, such as '#/$defs/item'"
                        raise SchemaError(message, (*path, key))
                deeper += [((*path, key), each) for key, each in members.items()]
        level = deeper


# What one `type` says, without the library

_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool)
    ),
    "integer": lambda value: (
        not isinstance(value, bool)
        and (
            isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        )
    ),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
_NOTES = frozenset(
    {"type", "title", "description", "default", "examples", "format", "$comment"}
)


def _plain_check(schema: JsonSchema) -> Callable[[Any], str | None] | None:
    if schema is True or schema == {}:
        return lambda _value: None
    if schema is False or not _NOTES.issuperset(schema):
        return None
    kind = schema.get("type")
    fits = _TYPES.get(kind) if isinstance(kind, str) else None
    if fits is None:
        return None
    return lambda value: (
        None if fits(value) else f'{_show(value)} is not of type "{kind}"'
    )


def _show(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


# What everything else says, by the library


def _library_check(schema: JsonSchema) -> Callable[[Any], str | None]:
    import jsonschema_rs

    try:
        validator = jsonschema_rs.Draft202012Validator(
            cast("dict[str, Any]", schema),
            validate_formats=False,
            retriever=_refuse,
            pattern_options=jsonschema_rs.RegexOptions(),
        )
    except jsonschema_rs.ValidationError as error:
        raise _explain(error) from None
    except ValueError as error:
        raise SchemaError(f"the schema cannot be used: {error}") from None

    def check(value: Any) -> str | None:
        try:
            if validator.is_valid(value):
                return None
            return _say(next(validator.iter_errors(value)))
        except UnicodeEncodeError:
            return "the value holds half of a surrogate pair, which is no character"
        except ValueError as error:
            return f"the value is not JSON data: {str(error)[:MAX_SHOWN]}"

    return check


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"a reference may not leave the schema: {uri}")


def _explain(error: ValidationError) -> SchemaError:
    path = error.instance_path
    if 'is not a "regex"' in error.message:
        message = (
            "the pattern cannot be used: patterns are regular expressions without look-around "
            "and back-references, and of bounded size"
        )
        return SchemaError(message, path)
    return SchemaError(f"the schema is not valid: {_cut(error.message)}", path)


def _say(error: ValidationError) -> str:
    place = "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}"
        for step in error.instance_path
    )
    message = _cut(error.message)
    return f"at `{place.removeprefix('.')}`: {message}" if place else message


def _cut(message: str) -> str:
    return message if len(message) <= 200 else f"{message[:197]}..."


# What a schema admits


def admits_only_text(schema: JsonSchema, root: JsonSchema, depth: int = 0) -> bool:
    """Say whether only texts fit."""
    if isinstance(schema, bool) or depth > MAX_DEPTH:
        return False
    if schema.get("type") in ("string", ["string"]):
        return True
    if "const" in schema:
        return isinstance(schema["const"], str)
    if "enum" in schema:
        return all(isinstance(value, str) for value in schema["enum"])
    for key in ("anyOf", "oneOf"):
        parts = schema.get(key)
        if parts and all(admits_only_text(part, root, depth + 1) for part in parts):
            return True
    parts = [*schema.get("allOf", ())]
    if "$ref" in schema and (target := resolve(root, schema["$ref"])) is not None:
        parts.append(target)
    return any(admits_only_text(part, root, depth + 1) for part in parts)


def resolve(root: JsonSchema, reference: str) -> JsonSchema | None:
    """Follow a local reference by JSON pointer or anchor; None if it leads nowhere."""
    if not reference.startswith("#"):
        return None
    part: Any = root
    if reference != "#" and not reference.startswith("#/"):
        return next(_anchored(root, reference[1:]), None)
    for token in reference.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if (
            isinstance(part, list)
            and key.isdecimal()
            and int(key) < len(cast("list[Any]", part))
        ):
            part = cast("list[Any]", part)[int(key)]
        elif isinstance(part, dict) and key in part:
            part = cast("dict[str, Any]", part)[key]
        else:
            return None
    return part if isinstance(part, dict | bool) else None


def _anchored(part: Any, name: str) -> Iterator[JsonSchema]:
    if isinstance(part, dict):
        members = cast("dict[str, Any]", part)
        if members.get("$anchor") == name or members.get("$dynamicAnchor") == name:
            yield members
        for each in members.values():
            yield from _anchored(each, name)
    elif isinstance(part, list):
        for each in cast("list[Any]", part):
            yield from _anchored(each, name)


def can_have(schema: JsonSchema, steps: Sequence[str | int | None]) -> str | None:
    """Say why no instance of a schema has a path; None if one may have it.

    A step None ends the search: nothing is known about what a computed step finds.
    """
    known = list(steps)
    if None in known:
        known = known[: known.index(None)]
    return _can_have(schema, schema, cast("list[str | int]", known), 0)


def _can_have(
    schema: Any, root: JsonSchema, steps: list[str | int], depth: int
) -> str | None:
    if schema is True or not steps or depth > MAX_DEPTH:
        return None
    if not isinstance(schema, dict):
        return "nothing fits this schema"
    part = cast("dict[str, Any]", schema)
    reason = _can_have_here(part, root, steps, depth)
    if reason is not None:
        return reason
    for key in ("anyOf", "oneOf"):
        reasons = [
            _can_have(each, root, steps, depth + 1) for each in part.get(key) or ()
        ]
        if reasons and None not in reasons:
            return reasons[0]
    narrower = [*part.get("allOf", ())]
    for key in ("$ref", "$dynamicRef"):
        target = resolve(root, part[key]) if isinstance(part.get(key), str) else None
        if target is not None:
            narrower.append(target)
    for each in narrower:
        if reason := _can_have(each, root, steps, depth + 1):
            return reason
    return None


def _can_have_here(
    schema: dict[str, Any], root: JsonSchema, steps: list[str | int], depth: int
) -> str | None:
    """Judge by the types, values, properties and items that a schema itself names."""
    step, rest = steps[0], steps[1:]
    wanted = "object" if isinstance(step, str) else "array"
    types = schema.get("type", wanted)
    types = [types] if isinstance(types, str) else types
    if wanted not in types:
        found = " or ".join(_WORDS.get(each, each) for each in types)
        return f"{_spell(step)} cannot be a step into {found}"
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is not None:
        return (
            None
            if any(_has(value, steps) for value in values)
            else f"no value has {_spell(step)}"
        )
    if isinstance(step, str):
        return _can_have_key(schema, root, step, rest, depth)
    return _can_have_item(schema, root, step, rest, depth)


_WORDS = {
    "string": "text",
    "array": "a list",
    "object": "an object",
    "integer": "number",
}


def _spell(step: str | int) -> str:
    return f"the key {step!r}" if isinstance(step, str) else f"the index {step}"


def _has(value: Any, steps: list[str | int]) -> bool:
    for step in steps:
        if isinstance(value, dict) and isinstance(step, str) and step in value:
            value = cast("dict[str, Any]", value)[step]
        elif isinstance(value, list) and isinstance(step, int):
            items = cast("list[Any]", value)
            if not -len(items) <= step < len(items):
                return False
            value = items[step]
        else:
            return False
    return True


def _can_have_key(
    schema: dict[str, Any],
    root: JsonSchema,
    key: str,
    rest: list[str | int],
    depth: int,
) -> str | None:
    properties: dict[str, Any] = schema.get("properties") or {}
    patterns: dict[str, Any] = schema.get("patternProperties") or {}
    if key in properties:
        return (
            _can_have(properties[key], root, rest, depth + 1)
            if rest or properties[key] is False
            else None
        )
    for pattern, part in patterns.items():
        if _may_match(pattern, key):
            return _can_have(part, root, rest, depth + 1) if rest else None
    more = schema.get("additionalProperties")
    closed = more is False or (more is None and "properties" in schema)
    if closed or schema.get("unevaluatedProperties") is False:
        return _no_property(key, properties)
    return None if more is None or not rest else _can_have(more, root, rest, depth + 1)


def _may_match(pattern: str, key: str) -> bool:
    """Whether a pattern may match; the linear engine says, through a schema of its own."""
    return compile_schema({"pattern": pattern}).check(key) is None


def _no_property(key: str, properties: dict[str, Any]) -> str:
    close = get_close_matches(key, list(properties), 1, 0.6)
    if close:
        return f"there is no property {key!r}; did you mean {close[0]!r}?"
    known = ", ".join(repr(name) for name in list(properties)[:8])
    return f"there is no property {key!r}" + (f"; there are {known}" if known else "")


def _can_have_item(
    schema: dict[str, Any],
    root: JsonSchema,
    index: int,
    rest: list[str | int],
    depth: int,
) -> str | None:
    most = schema.get("maxItems")
    distance = index if index >= 0 else -index - 1
    first: list[Any] = schema.get("prefixItems") or []
    items = schema.get("items", True)
    if items is False:
        most = len(first) if most is None else min(most, len(first))
    if most is not None and distance >= most:
        return f"there is no item {index}: the list has at most {most}"
    if index < 0 and first:
        return None
    return _can_have(
        first[index] if index < len(first) else items, root, rest, depth + 1
    )


# The smallest instance


def minimal_instance(schema: JsonSchema) -> Any:
    """Make a small value that fits, where one can be found; a close one elsewhere."""
    value = _instance(schema, schema, 0)
    return value


def _instance(schema: Any, root: JsonSchema, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > 20:
        return None
    part = _merged(cast("dict[str, Any]", schema), root, 0)
    if "const" in part:
        return part["const"]
    if part.get("enum"):
        return part["enum"][0]
    for key in ("anyOf", "oneOf"):
        for choice in part.get(key) or ():
            both = {name: value for name, value in part.items() if name != key}
            candidate = _instance({"allOf": [both, choice]}, root, depth + 1)
            if _fits(schema, root, candidate):
                return candidate
    return _of_type(part, root, depth)


def _fits(schema: Any, root: JsonSchema, value: Any) -> bool:
    whole = (
        {**schema, "$defs": root.get("$defs", {})} if isinstance(root, dict) else schema
    )
    try:
        return compile_schema(whole).check(value) is None
    except SchemaError:
        return False


def _merged(schema: dict[str, Any], root: JsonSchema, depth: int) -> dict[str, Any]:
    """Lay `allOf` and `$ref` into one schema, as far as small instances need it."""
    merged = {
        key: value for key, value in schema.items() if key not in {"allOf", "$ref"}
    }
    parts = [*schema.get("allOf", ())]
    if isinstance(schema.get("$ref"), str):
        parts.append(resolve(root, schema["$ref"]))
    for part in parts:
        if not isinstance(part, dict) or depth > MAX_DEPTH:
            continue
        for key, value in _merged(
            cast("dict[str, Any]", part), root, depth + 1
        ).items():
            merged[key] = _both(key, merged[key], value) if key in merged else value
    return merged


def _both(key: str, left: Any, right: Any) -> Any:
    if key == "properties":
        return {
            name: {"allOf": [left[name], right[name]]}
            if name in left and name in right
            else left.get(name, right.get(name))
            for name in {**left, **right}
        }
    if key == "required":
        return [*left, *(name for name in right if name not in left)]
    if key in {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}:
        return max(left, right)
    if key in {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}:
        return min(left, right)
    if key == "enum":
        return [value for value in left if value in right] or left
    return right


def _of_type(schema: dict[str, Any], root: JsonSchema, depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = cast("list[str]", kind)[0] if kind else None
    if kind is None:
        kind = next((_IMPLIED[key] for key in schema if key in _IMPLIED), None)
    if kind == "object":
        return _object(schema, root, depth)
    if kind == "array":
        return _array(schema, root, depth)
    if kind == "string":
        return _text(schema)
    if kind in {"number", "integer"}:
        return _number(schema, whole=kind == "integer")
    return False if kind == "boolean" else None


_IMPLIED = {
    "properties": "object", "required": "object", "additionalProperties": "object",
    "patternProperties": "object", "minProperties": "object",
    "items": "array", "prefixItems": "array", "minItems": "array", "contains": "array",
    "minLength": "string", "maxLength": "string", "pattern": "string",
    "minimum": "number", "maximum": "number", "multipleOf": "number",
    "exclusiveMinimum": "number", "exclusiveMaximum": "number",
}  # fmt: skip


def _object(schema: dict[str, Any], root: JsonSchema, depth: int) -> dict[str, Any]:
    properties: dict[str, Any] = schema.get("properties") or {}
    required: list[str] = schema.get("required") or []
    fewest = schema.get("minProperties", 0)
    more = [name for name in properties if name not in required]
    made = {
        name: _instance(
            properties.get(name, schema.get("additionalProperties", True)),
            root,
            depth + 1,
        )
        for name in [*required, *more[: max(0, fewest - len(required))]]
    }
    for number in range(len(made), min(fewest, 1000)):
        made[f"key{number}"] = _instance(
            schema.get("additionalProperties", True), root, depth + 1
        )
    return made


def _array(schema: dict[str, Any], root: JsonSchema, depth: int) -> list[Any]:
    first: list[Any] = schema.get("prefixItems") or []
    rest = schema.get("contains", schema.get("items", True))
    fewest = min(max(schema.get("minItems", 0), 1 if "contains" in schema else 0), 1000)
    parts = [*first, *[rest] * fewest][:fewest]
    made = [_instance(part, root, depth + 1) for part in parts]
    if schema.get("uniqueItems"):
        made = [_distinct(value, place) for place, value in enumerate(made)]
    return made


def _distinct(value: Any, place: int) -> Any:
    if isinstance(value, bool):
        return place % 2 == 1
    if isinstance(value, int | float):
        return value + place
    return (
        f"{value}{place or ''}"
        if isinstance(value, str)
        else (place if value is None else value)
    )


def _text(schema: dict[str, Any]) -> str:
    fewest = min(schema.get("minLength", 0), 100_000)
    pattern = schema.get("pattern")
    return "x" * fewest if not isinstance(pattern, str) else _matching(pattern, fewest)


def _number(schema: dict[str, Any], *, whole: bool) -> float:
    return 0


def _matching(pattern: str, fewest: int) -> str:
    return "x" * fewest
