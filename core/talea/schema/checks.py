"""Schemas compiled once, and the checks of values against them.

Draft 2020-12 by jsonschema-rs, with bounds: no reference leaves the schema (the library would fetch
it), patterns run in linear time, `format` says nothing, and neither nesting nor repeated references
can exhaust the stack or the time. The plainest schemas, one `type` without conditions, are checked
here, so that most documents never load the library.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, cast

from talea.errors import TaleaError
from talea.schema.parts import conditions, resolve, walk

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError

JsonSchema = Mapping[str, Any] | bool

MAX_SCHEMA_DEPTH = 64
"""Levels of a schema. The library overflows the stack of a 256 KB thread between 100 and 200."""
MAX_VALUE_DEPTH = 100
"""Levels of a value that is checked, for the same reason."""
MAX_CONDITIONS = 100_000
"""Conditions on one value, with references written out: 40 lines can stand for 2**40 of them."""

_MAX_SHOWN = 60
_MAX_MESSAGE = 200
_VALUE = "\x00"
"""Stands for the value in the library's messages, until it is put in, cut."""


class SchemaError(TaleaError, ValueError):
    """A schema that is not valid itself, or cannot be used. `path` leads to the place in it."""

    def __init__(self, message: str, path: Sequence[str | int] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.path: tuple[str | int, ...] = tuple(path)


class Schema:
    """A compiled schema."""

    __slots__ = ("_complaint", "admits_only_text", "schema", "takes_raw_text")

    def __init__(self, schema: JsonSchema) -> None:
        self.schema = schema
        self._complaint = _plain_check(schema) or _library_check(schema)
        self.takes_raw_text = _names_text(schema)
        """Whether an answer is taken as it is, not read as JSON: `{type: string}` and an `enum` or
        `const` of texts only."""
        self.admits_only_text = _admits_only_text(schema, schema, 0)
        """Whether only texts fit, however the schema says so."""

    def check(self, value: Any) -> str | None:
        """Say in one sentence why a value does not fit, and where; None if it fits."""
        return self._complaint(value)

    def __repr__(self) -> str:
        return f"Schema({self.schema!r})"


def compile_schema(schema: JsonSchema) -> Schema:
    """Compile a schema; equal ones once. Raises SchemaError if it is not valid itself."""
    _check_depth(schema)
    try:
        key = json.dumps(schema, allow_nan=False)
        key.encode()
    except (TypeError, ValueError):
        raise SchemaError("the schema is not JSON data") from None
    return _compile(key)


@lru_cache(maxsize=1024)
def _compile(key: str) -> Schema:
    schema = json.loads(key)
    if not isinstance(schema, dict | bool):
        raise SchemaError("a schema is an object, or true or false")
    _check_references(cast("JsonSchema", schema))
    return Schema(cast("JsonSchema", schema))


# What is refused before the library sees it


def _check_depth(schema: Any) -> None:
    if _depth(schema, MAX_SCHEMA_DEPTH) > MAX_SCHEMA_DEPTH:
        raise SchemaError(f"the schema has more than {MAX_SCHEMA_DEPTH} levels")


def _depth(value: Any, enough: int) -> int:
    """Count the levels of a value, as far as `enough`; what is shared is looked at once a level."""
    level, depth = [value], 0
    while level and depth <= enough:
        deeper: dict[int, Any] = {}
        for part in level:
            if isinstance(part, dict):
                parts = list(cast("dict[Any, Any]", part).values())
            elif isinstance(part, list):
                parts = cast("list[Any]", part)
            else:
                continue
            for each in parts:
                if isinstance(each, dict | list):
                    deeper[id(cast("object", each))] = each
        level, depth = list(deeper.values()), depth + 1
    return depth


def _check_references(schema: JsonSchema) -> None:
    for path, part in walk(schema):
        for key in ("$ref", "$dynamicRef"):
            target = part.get(key)
            if isinstance(target, str) and not target.startswith("#"):
                message = f"`{key}` must stay inside the schema, such as '#/$defs/item'"
                raise SchemaError(message, (*path, key))
    if conditions(schema) > MAX_CONDITIONS:
        message = f"the schema, its references written out, has more than {MAX_CONDITIONS:,} parts"
        raise SchemaError(message)


# What one `type` says, without the library


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": _is_number,
    "integer": lambda value: _is_number(value) and value == math.floor(value),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
_NOTES = frozenset({"title", "description", "default", "examples", "format", "$comment"})


def _plain_check(schema: JsonSchema) -> Callable[[Any], str | None] | None:
    if schema is True or schema == {}:
        return lambda _value: None
    if isinstance(schema, bool) or schema.keys() - _NOTES != {"type"}:
        return None
    kind = schema["type"]
    fits = _TYPES.get(kind) if isinstance(kind, str) else None
    notes = (schema.get(note, "") for note in ("title", "description", "format", "$comment"))
    if fits is None or not all(isinstance(note, str) for note in notes):
        return None
    if not isinstance(schema.get("examples", []), list):
        return None
    return lambda value: None if fits(value) else f'{_show(value)} is not of type "{kind}"'


def _show(value: Any) -> str:
    if isinstance(value, dict | list) and _depth(value, MAX_VALUE_DEPTH) > MAX_VALUE_DEPTH:
        return f"the {'object' if isinstance(value, dict) else 'list'}"
    if isinstance(value, str):
        value = value[:_MAX_SHOWN]
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = f"the {type(cast('object', value)).__name__}"
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


# What everything else says, by the library


def _library_check(schema: JsonSchema) -> Callable[[Any], str | None]:
    import jsonschema_rs

    try:
        validator = jsonschema_rs.Draft202012Validator(
            cast("dict[str, Any]", schema),
            validate_formats=False,
            retriever=_refuse,
            mask=_VALUE,
            pattern_options=jsonschema_rs.RegexOptions(),
        )
    except jsonschema_rs.ValidationError as error:
        raise _explain(error, schema) from None
    except ValueError as error:
        raise SchemaError(f"the schema cannot be used: {_cut(str(error))}") from None

    def complaint(value: Any) -> str | None:
        if isinstance(value, dict | list) and _depth(value, MAX_VALUE_DEPTH) > MAX_VALUE_DEPTH:
            return f"the value has more than {MAX_VALUE_DEPTH} levels"
        try:
            if validator.is_valid(value):
                return None
            return _say(next(validator.iter_errors(value)))
        except UnicodeEncodeError:
            return "the value holds half of a surrogate pair, which is no character"
        except ValueError as error:
            return f"the value is not JSON data: {_cut(str(error))}"

    return complaint


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"a reference may not leave the schema: {uri}")


def _explain(error: ValidationError, schema: JsonSchema) -> SchemaError:
    """Say what is wrong with a schema, the commonest mistakes in plain words."""
    path = list(error.instance_path)
    message = error.message
    found: Any = schema
    for step in path:
        found = found[step]
    if 'is not a "regex"' in message:
        message = (
            "this pattern cannot be used: a pattern is a regular expression of bounded size, "
            "without look-around and back-references"
        )
    elif path[-1:] == ["type"] and isinstance(found, str):
        close = get_close_matches(found, _TYPES, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(_TYPES)}"
        message = f"{found[:_MAX_SHOWN]!r} is not a type; {hint}"
    else:
        message = f"the schema is not valid: {_fill(message, found)}"
    return SchemaError(message, path)


def _say(error: ValidationError) -> str:
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path]
    place = _cut("".join(steps).removeprefix("."))
    message = _fill(error.message, error.instance)
    return f"at `{place}`: {message}" if place else message


def _fill(message: str, value: Any) -> str:
    return _cut(message).replace(_VALUE, _show(value))


def _cut(message: str) -> str:
    return message if len(message) <= _MAX_MESSAGE else f"{message[: _MAX_MESSAGE - 3]}..."


# What a schema says of text


def _names_text(schema: JsonSchema) -> bool:
    if isinstance(schema, bool):
        return False
    if schema.get("type") in ("string", ["string"]):
        return True
    values = [schema["const"]] if "const" in schema else schema.get("enum") or [None]
    return all(isinstance(value, str) for value in values)


def _admits_only_text(schema: Any, root: JsonSchema, depth: int) -> bool:
    if not isinstance(schema, dict) or depth > MAX_SCHEMA_DEPTH:
        return False
    part = cast("dict[str, Any]", schema)
    if _names_text(part):
        return True
    for key in ("anyOf", "oneOf"):
        choices = part.get(key)
        if choices and all(_admits_only_text(each, root, depth + 1) for each in choices):
            return True
    narrower = list(part.get("allOf", ()))
    if isinstance(part.get("$ref"), str):
        narrower.append(resolve(root, part["$ref"]))
    return any(_admits_only_text(each, root, depth + 1) for each in narrower)
