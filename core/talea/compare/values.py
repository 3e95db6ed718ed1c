"""Values as checks look at them: where two differ, whether one holds another, and how one is told.

Numbers are equal by value, a boolean is no number, and the order of an object's keys says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from talea.errors import ExpressionError
from talea.expr import type_name
from talea.expr.values import to_json
from talea.source.text import path_text

_SHOWN = 80

Steps = tuple[str | int, ...]


def show(value: Any, limit: int = _SHOWN) -> str:
    """Write a value on one line: as JSON, cut where it is long."""
    try:
        text = to_json(value if not isinstance(value, str) else value[: limit + 1])
    except (ExpressionError, ValueError, TypeError, RecursionError):
        text = f"a value of the kind {type_name(value)}"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def equal(found: Any, wanted: Any) -> bool:
    """Say whether two values are the same data."""
    return next(_differences(found, wanted), None) is None


def difference(found: Any, wanted: Any) -> str | None:
    """Say where two values differ first, what is found there and what is wanted; None if nowhere.

    Texts that begin alike are shown from shortly before the place where they part.
    """
    first = next(_differences(found, wanted), None)
    if first is None:
        return None
    steps, there, here = first
    place = f"at `{path_text(steps)}`: " if steps else ""
    if there is _NOTHING:
        return f"{place}missing, not {show(here)}"
    if here is _NOTHING:
        return f"{place}{show(there)}, where nothing should be"
    if isinstance(there, str) and isinstance(here, str):
        alike = _alike(there, here)
        if alike > _SHOWN // 2:
            start = alike - 10
            ours, theirs = show(there[start:]), show(here[start:])
            return f"{place}from character {start} on {ours}, not {theirs}"
    return f"{place}{show(there)}, not {show(here)}"


def lacking(found: Any, part: Any) -> str | None:
    """Say why a value does not contain another; None if it does.

    A text contains a part of it, a list an element, and an object a key, or members as given.
    """
    if isinstance(found, str) and isinstance(part, str):
        return None if part in found else f"{show(part)} is not in {show(found)}"
    if isinstance(found, list):
        held = any(equal(one, part) for one in cast("list[Any]", found))
        return None if held else f"{show(part)} is not in {show(cast('object', found))}"
    if isinstance(found, dict):
        members = cast("dict[str, Any]", found)
        if isinstance(part, str):
            return None if part in members else f"there is no key {show(part)} in {show(members)}"
        if isinstance(part, Mapping):
            wanted = cast("Mapping[str, Any]", part)
            return difference({k: v for k, v in members.items() if k in wanted}, dict(wanted))
    kind = type_name(cast("object", found))
    return f"{show(found)} is {kind}, and cannot contain {type_name(part)}"


_NOTHING = object()
"""Stands for a member or element that one of the two does not have."""


def _differences(found: Any, wanted: Any) -> Iterator[tuple[Steps, Any, Any]]:
    """Walk two values side by side, in the order of the wanted one."""
    pairs: list[tuple[Steps, Any, Any]] = [((), found, wanted)]
    while pairs:
        steps, there, here = pairs.pop()
        if there is _NOTHING or here is _NOTHING or type_name(there) != type_name(here):
            yield steps, there, here
        elif isinstance(here, dict):
            inner = _members(cast("dict[str, Any]", there), cast("dict[str, Any]", here))
            pairs += [((*steps, key), ours, theirs) for key, ours, theirs in reversed(inner)]
        elif isinstance(here, list):
            inner = _elements(cast("list[Any]", there), cast("list[Any]", here))
            pairs += [((*steps, at), ours, theirs) for at, ours, theirs in reversed(inner)]
        elif there != here:
            yield steps, there, here


def _members(there: dict[str, Any], here: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(key, there.get(key, _NOTHING), here.get(key, _NOTHING)) for key in {**here, **there}]


def _elements(there: Sequence[Any], here: Sequence[Any]) -> list[tuple[int, Any, Any]]:
    return [
        (
            at,
            there[at] if at < len(there) else _NOTHING,
            here[at] if at < len(here) else _NOTHING,
        )
        for at in range(max(len(there), len(here)))
    ]


def _alike(one: str, other: str) -> int:
    """Count the characters with which two texts begin alike."""
    for at, (ours, theirs) in enumerate(zip(one, other, strict=False)):
        if ours != theirs:
            return at
    return min(len(one), len(other))
