"""Paths: a name and the steps from it into plain data, each a key of an object or an index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Any, NamedTuple, cast

from talea.errors import ExpressionError
from talea.expr.values import is_integer, type_name

Names = Mapping[str, Any]
"""What an expression is evaluated over: the names that apply, and their values."""
Steps = tuple[str | int | None, ...]

_MAX_SHOWN = 60


class Place(NamedTuple):
    """A part of a source, which errors are about. `guarded`: a missing path is no error there."""

    source: str
    start: int
    end: int
    guarded: bool = False

    @property
    def text(self) -> str:
        """The part as it is written, on one line and cut where it is long."""
        text = " ".join(self.source[self.start : self.end].split())
        return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."

    def error(
        self, message: str, *, missing: bool = False, hint: str | None = None
    ) -> ExpressionError:
        """Make an error at this place."""
        return ExpressionError(
            message, self.source, self.start, self.end, missing=missing, hint=hint
        )

    def wrong(self, message: str, *, hint: str | None = None) -> ExpressionError:
        """Make an error at run time, when the reader may not see the place: it names the part."""
        return self.error(f"`{self.text}`: {message}", hint=hint)


class Name(NamedTuple):
    """A name that a path begins with, and its place in the source."""

    name: str
    start: int
    end: int


class Path(NamedTuple):
    """A path that an expression mentions.

    `steps` ends with None where a computed step or a slice makes the rest unknown; an index 0 also
    stands for any item where a comprehension goes over a list. `guarded` says that `exists` or
    `default` stands around it.
    """

    root: str
    steps: Steps
    start: int
    end: int
    guarded: bool = False

    @property
    def task(self) -> str | None:
        """The id of the task that it mentions."""
        step = self.steps[0] if self.root == "tasks" and self.steps else None
        return step if isinstance(step, str) else None

    def shifted(self, by: int) -> Path:
        """Give the same path for a text in which the expression stands further right."""
        root, steps, start, end, guarded = self
        return Path(root, steps, start + by, end + by, guarded)


def suggest(word: str, words: Iterable[str]) -> str | None:
    """Give a hint with the most similar word, or None."""
    # The time that the comparison takes grows with the square of the length.
    short = [known for known in islice(words, 200) if len(known) <= _MAX_SHOWN]
    close = get_close_matches(word[:_MAX_SHOWN], short, 1, 0.7)
    return f"did you mean `{close[0]}`?" if close else None


def walk_from(name: Name, steps: tuple[str | int, ...], place: Place) -> Callable[[Names], Any]:
    """Make the walk from one of the names that apply along fixed steps."""
    root = name.name
    if root != "tasks":

        def walk(names: Names) -> Any:
            try:
                value = names[root]
            except KeyError:
                raise _unknown(name, place, names) from None
            return walk_into(value, steps, place)

        return walk
    first, rest = steps[0] if steps else None, steps[1:]

    def walk_tasks(names: Names) -> Any:
        try:
            tasks = names["tasks"]
        except KeyError:
            raise _unknown(name, place, names) from None
        try:
            value = tasks[first]
        except KeyError:
            raise place.wrong(f"there is no task {first!r} here") from None
        return walk_into(value, rest, place)

    return walk_tasks


def walk_into(value: Any, steps: tuple[str | int, ...], place: Place) -> Any:
    """Walk along fixed steps. Raises ExpressionError."""
    for step in steps:
        if isinstance(step, str):
            if isinstance(value, dict) and step in value:
                value = cast("dict[str, Any]", value)[step]
                continue
        elif isinstance(value, list):
            items = cast("list[Any]", value)
            if -len(items) <= step < len(items):
                value = items[step]
                continue
        raise _nowhere(value, step, place)
    return value


def take(value: Any, step: Any, place: Place) -> Any:
    """Go one computed step. Raises ExpressionError."""
    if isinstance(step, str) or is_integer(step):
        return walk_into(value, (step,), place)
    raise place.wrong(f"a step is a text or a whole number, not {type_name(step)}")


def take_slice(value: Any, first: Any, last: Any, place: Place) -> list[Any]:
    """Take a part of a list. Bounds beyond its ends are clipped. Raises ExpressionError."""
    if value is None:
        raise place.error(f"`{place.text}` leads nowhere: a slice of null", missing=True)
    if not isinstance(value, list):
        raise place.wrong(f"a slice takes a list, not {type_name(value)}")
    for bound in (first, last):
        if bound is not None and not is_integer(bound):
            raise place.wrong(f"the bounds of a slice are whole numbers, not {type_name(bound)}")
    return cast("list[Any]", value)[first:last]


def _unknown(name: Name, place: Place, names: Names) -> ExpressionError:
    here = Place(place.source, name.start, name.end)
    return here.error(f"unknown name {name.name!r}", hint=suggest(name.name, names))


def _nowhere(value: Any, step: str | int, place: Place) -> ExpressionError:
    """Say why a step leads nowhere: what it looks for is missing, or it is always wrong."""
    what = f"the key {step!r}" if isinstance(step, str) else f"the index {step}"
    hint = None
    if value is None:
        message = f"{what} of null"
    elif isinstance(value, dict) and isinstance(step, str):
        message = f"there is no key {step!r}"
        hint = None if place.guarded else suggest(step, cast("dict[str, Any]", value))
    elif isinstance(value, list) and not isinstance(step, str):
        message = f"there is no item {step}, of {len(cast('list[Any]', value))}"
    else:
        kind = type_name(cast("object", value))
        return place.wrong(f"{what} cannot be a step into {kind}")
    return place.error(f"`{place.text}` leads nowhere: {message}", missing=True, hint=hint)
