"""The parts of a schema: which there are, and where its references lead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import unquote

Place = tuple[str | int, ...]

LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
"""Keywords that hold a list of schemas."""
MAPS = ("properties", "patternProperties", "dependentSchemas")
"""Keywords that hold schemas by name."""
ONES = (
    "not", "if", "then", "else", "items", "contains", "additionalProperties", "propertyNames",
    "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
"""Keywords that hold one schema."""
REFERENCES = ("$ref", "$dynamicRef")


def resolve(root: Any, reference: str) -> Any:
    """Follow a local reference by JSON pointer or anchor; None if it leads to no schema."""
    if not reference.startswith("#"):
        return None
    part: Any = root
    pointer = unquote(reference[1:])
    if pointer and not pointer.startswith("/"):
        return next(_anchored(root, pointer), None)
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(part, dict):
            part = cast("dict[str, Any]", part).get(key)
        elif isinstance(part, list) and key.isdecimal() and len(key) < 6:
            items = cast("list[Any]", part)
            part = items[int(key)] if int(key) < len(items) else None
        else:
            return None
    return cast("Any", part) if isinstance(part, dict | bool) else None


def _anchored(part: Any, name: str) -> Iterator[Any]:
    if isinstance(part, dict):
        members = cast("dict[str, Any]", part)
        if name in (members.get("$anchor"), members.get("$dynamicAnchor")):
            yield members
        for each in members.values():
            yield from _anchored(each, name)
    elif isinstance(part, list):
        for each in cast("list[Any]", part):
            yield from _anchored(each, name)


def conditions(root: Any) -> int:
    """Count the schemas in a schema with every reference written out, but for recursive ones."""
    counts: dict[int, int] = {}

    def count(part: Any) -> int:
        if not isinstance(part, dict):
            return 1
        schema = cast("dict[str, Any]", part)
        key = id(schema)
        if key not in counts:
            counts[key] = 0  # a reference to a schema around it
            inner = sum(count(each) for _, each in children(schema))
            counts[key] = 1 + inner + sum(count(each) for each in _targets(root, schema))
        return counts[key]

    return count(root)


def children(schema: dict[str, Any]) -> Iterator[tuple[Place, Any]]:
    """Give the schemas that apply in a schema, each with its place in it."""
    for key in LISTS:
        if isinstance(parts := schema.get(key), list):
            for index, each in enumerate(cast("list[Any]", parts)):
                yield (key, index), each
    for key in MAPS:
        if isinstance(parts := schema.get(key), dict):
            for name, each in cast("dict[str, Any]", parts).items():
                yield (key, name), each
    for key in ONES:
        if key in schema:
            yield (key,), schema[key]


def walk(schema: Any, place: Place = ()) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Give every schema in a schema, those that are only defined as well, with its place."""
    if not isinstance(schema, dict):
        return
    part = cast("dict[str, Any]", schema)
    yield place, part
    for inner, each in children(part):
        yield from walk(each, (*place, *inner))
    for key in ("$defs", "definitions"):
        if isinstance(parts := part.get(key), dict):
            for name, each in cast("dict[str, Any]", parts).items():
                yield from walk(each, (*place, key, name))


def _targets(root: Any, schema: dict[str, Any]) -> Iterator[Any]:
    for key in REFERENCES:
        if isinstance(target := schema.get(key), str):
            yield resolve(root, target)
