"""Which paths the instances of a schema can have, so that one that leads nowhere is found early."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from enum import IntEnum
from typing import Any, cast

from talea.schema.checks import JsonSchema, compile_schema
from talea.schema.parts import REFERENCES, resolve

_Steps = tuple[str | int, ...]


class _Found(IntEnum):
    """What a schema says of a path, from the least to the most."""

    NEVER = 0
    """Nothing that fits has it."""
    UNDECLARED = 1
    """It names properties, and this is none of them; another part of the schema may name it."""
    OPEN = 2
    """It says nothing."""
    DECLARED = 3


_Verdict = tuple[_Found, str]
_OPEN: _Verdict = (_Found.OPEN, "")
_DECLARED: _Verdict = (_Found.DECLARED, "")
_WORDS = {
    "string": "text", "array": "a list", "object": "an object", "integer": "a number",
    "number": "a number", "boolean": "a boolean", "null": "null",
}  # fmt: skip


def can_have(schema: JsonSchema, steps: Sequence[str | int | None]) -> str | None:
    """Say why no instance of a schema has a path; None if one may have it.

    A step None ends the search: nothing is known about where a computed step leads. Where a schema
    has `properties` and no `additionalProperties`, other keys are taken to be mistakes.
    """
    known: list[str | int] = []
    for step in steps:
        if step is None:
            break
        known.append(step)
    found, reason = _Search(schema).look(schema, tuple(known))
    return None if found >= _Found.OPEN else reason


class _Search:
    """One search. Each part of the schema is asked once about the same rest of the path."""

    def __init__(self, root: JsonSchema) -> None:
        self.root = root
        self.verdicts: dict[tuple[int, int], _Verdict] = {}

    def look(self, schema: Any, steps: _Steps) -> _Verdict:
        if schema is False:
            return _Found.NEVER, "nothing fits there"
        if not isinstance(schema, dict):
            return _OPEN if steps else _DECLARED
        part = cast("dict[str, Any]", schema)
        key = (id(part), len(steps))
        if key not in self.verdicts:
            self.verdicts[key] = _OPEN  # a reference to a schema around it
            self.verdicts[key] = self.judge(part, steps)
        return self.verdicts[key]

    def judge(self, schema: dict[str, Any], steps: _Steps) -> _Verdict:
        """Lay together what a schema says itself, and what its parts say, all of which hold."""
        verdicts = list(self.parts(schema, steps))
        verdicts.append(self.own(schema, steps) if steps else _DECLARED)
        ranks = {found for found, _ in verdicts}
        for found in (_Found.NEVER, _Found.DECLARED, _Found.UNDECLARED):
            if found in ranks:
                return next(verdict for verdict in verdicts if verdict[0] is found)
        return _OPEN

    def parts(self, schema: dict[str, Any], steps: _Steps) -> Iterator[_Verdict]:
        for each in schema.get("allOf") or ():
            yield self.look(each, steps)
        for key in REFERENCES:
            if isinstance(target := schema.get(key), str):
                yield self.look(resolve(self.root, target), steps)
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                verdicts = [self.look(each, steps) for each in schema[key]]
                yield max(verdicts, key=lambda verdict: verdict[0])
        # One of the two holds; without the other, nothing more is known.
        sides = [self.look(schema[key], steps) for key in ("then", "else") if key in schema]
        if "if" in schema and _DECLARED in sides:
            yield _DECLARED

    def own(self, schema: dict[str, Any], steps: _Steps) -> _Verdict:
        """Judge by the types, values, properties and items that a schema names itself."""
        step = steps[0]
        wanted = "object" if isinstance(step, str) else "array"
        types = schema.get("type", wanted)
        types = [types] if isinstance(types, str) else cast("list[str]", types)
        if wanted not in types:
            words = " or ".join(_WORDS.get(each, each) for each in types)
            return _Found.NEVER, f"{_spell(step)} cannot be a step into {words}"
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if values is not None:
            if any(_has(value, steps) for value in values):
                return _DECLARED
            return _Found.NEVER, f"no value that it names has {_spell(step)}"
        if isinstance(step, str):
            return self.key(schema, step, steps[1:])
        return self.item(schema, step, steps[1:])

    def key(self, schema: dict[str, Any], key: str, rest: _Steps) -> _Verdict:
        properties: dict[str, Any] = schema.get("properties") or {}
        patterns: dict[str, Any] = schema.get("patternProperties") or {}
        matching = [part for pattern, part in patterns.items() if _may_match(pattern, key)]
        if key in properties or matching:
            parts = [properties[key], *matching] if key in properties else matching
            return min(self.declared(part, rest) for part in parts)
        if schema.get("additionalProperties") is False:
            return _Found.NEVER, _no_property(key, properties)
        if "additionalProperties" in schema:
            return self.declared(schema["additionalProperties"], rest)
        if schema.get("unevaluatedProperties") is False or properties:
            return _Found.UNDECLARED, _no_property(key, properties)
        return _OPEN

    def item(self, schema: dict[str, Any], index: int, rest: _Steps) -> _Verdict:
        first: list[Any] = schema.get("prefixItems") or []
        items = schema.get("items", True)
        most = schema.get("maxItems", math.inf)
        if items is False:
            most = min(most, len(first))
        if (index if index >= 0 else -index - 1) >= most:
            return _Found.NEVER, f"there is no item {index}: the list has at most {most}"
        if index < 0 and first:  # which of them it is, the length decides
            return _OPEN
        return self.declared(first[index] if 0 <= index < len(first) else items, rest)

    def declared(self, schema: Any, rest: _Steps) -> _Verdict:
        """Judge the rest of a path that is declared as far as here."""
        found, reason = self.look(schema, rest)
        if found >= _Found.OPEN:
            return _DECLARED
        return _Found.NEVER, reason


def _spell(step: str | int) -> str:
    return f"the key {step!r}" if isinstance(step, str) else f"the index {step}"


def _has(value: Any, steps: _Steps) -> bool:
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


def _may_match(pattern: str, key: str) -> bool:
    """Ask the linear engine, since patterns come from the document."""
    return compile_schema({"pattern": pattern}).check(key) is None


def _no_property(key: str, properties: dict[str, Any]) -> str:
    names = [name for name in properties if len(name) <= 64]
    close = get_close_matches(key[:64], names[:200], 1, 0.6)
    if close:
        return f"there is no property {key!r}; did you mean {close[0]!r}?"
    known = ", ".join(repr(name) for name in names[:8])
    return f"there is no property {key!r}" + (f"; there are {known}" if known else "")
