"""What is sound of a document whose shape is not, so that its other mistakes are told as well."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy, deepcopy
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from talea.errors import DocumentError, Issue
from talea.ir import Workflow
from talea.source.mistakes import explain, places_of
from talea.source.text import Source, Steps, path_text

M = TypeVar("M", bound=BaseModel)

_ENTRIES = frozenset(
    {"tasks", "agents", "tools", "models", "pools", "teams", "workflows", "inputs", "outputs"}
)
"""Mappings whose entries stand for themselves: one less says nothing of the others."""
_ROUNDS = 6
"""How often something is left out: what lacks a part that was left out goes in the next round."""


@dataclass(slots=True)
class LeftOut:
    """The parts of documents that were left out, and what else can be said of them no more."""

    names: set[str] = field(default_factory=set[str])
    places: set[tuple[str | None, str]] = field(default_factory=set[tuple[str | None, str]])
    """Files, and the dotted paths in them."""

    def explains(self, issue: Issue) -> bool:
        """Say whether an issue may be no mistake, but come of what was left out."""
        path = issue.path
        while path:
            if (issue.file, path) in self.places:
                return True
            path = path.rpartition(".")[0]
        return any(repr(name) in issue.message for name in self.names)


class Misshapen(DocumentError):
    """A document with parts that have the wrong shape. `rest` is what is sound without them."""

    def __init__(self, issues: Iterable[Issue], rest: Workflow, left_out: LeftOut) -> None:
        super().__init__(issues)
        self.rest = rest
        self.left_out = left_out


def salvage(model: type[M], source: Source, left_out: LeftOut) -> tuple[M | None, list[Issue]]:
    """Make a model of a source's data, without the parts that do not fit; and tell of these.

    The model is None where nothing sound is left.
    """
    try:
        return model.model_validate(source.data), []
    except ValidationError as error:
        issues = explain(error, model, source)
        places = places_of(error, model, source)
    sound = copy(source)
    try:
        sound.data = deepcopy(source.data)
    except RecursionError:  # The caller has raised the bound on levels, and data is as deep.
        return None, issues
    for _ in range(_ROUNDS):
        for place in sorted(places, key=_deepest_first):
            # An unknown key has no meaning that would be missed.
            if not _leave_out(sound, place, left_out if places[place] else LeftOut()):
                return None, issues
        try:
            return model.model_validate(sound.data), issues
        except ValidationError as error:
            places = places_of(error, model, sound)
    return None, issues


def _deepest_first(place: Steps) -> tuple[Any, ...]:
    return (-len(place), *(-step if isinstance(step, int) else 0 for step in place))


def _leave_out(source: Source, place: Steps, left_out: LeftOut) -> bool:
    """Take a part out; what is around it where it is something missing. False for all of it."""
    while place:
        around: Any = source.data
        for step in place[:-1]:
            around = _inside(around, step)
        last = place[-1]
        if _inside(around, last) is not None or (isinstance(around, dict) and last in around):
            del cast("Any", around)[last]
            left_out.names.add(str(last))
            left_out.places.add((source.name, path_text(place)))
            if place[-2:-1] and place[-2] not in _ENTRIES:
                left_out.places.add((source.name, path_text(place[:-1])))
            return True
        if len(place) == 1:
            # Of a whole document only the name is needed, and any will do.
            named = last == "name" and isinstance(around, dict)
            if named:
                cast("dict[str, Any]", around)["name"] = "document"
            return named
        place = place[:-1]
    return False


def _inside(value: Any, step: str | int) -> Any:
    if isinstance(value, dict):
        return cast("dict[Any, Any]", value).get(step)
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return items[step] if isinstance(step, int) and step < len(items) else None
