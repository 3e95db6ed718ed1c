"""Templates: text with `{{ expression }}` holes, and structures of such text.

A rendered value is never rendered again: literal text and holes are told apart once, when the
template is compiled. The keys of a structure are never rendered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, cast

from talea.errors import ExpressionError
from talea.expr.compiler import Expression, compile_expression
from talea.expr.lexer import TEXT
from talea.expr.paths import Names, Path
from talea.expr.values import MAX_DEPTH, MAX_TEXT, Refusal, check_size, to_text

Place = tuple[str | int, ...]

_MARK = re.compile(rf"{TEXT}|}}}}|[(\[{{)\]}}'\"]", re.DOTALL)
_PLAIN_HOLE = re.compile(r"\{\{[^(\[{)\]}'\"]*\}\}")
_CLOSED_BY = {"(": ")", "[": "]", "{": "}"}
_BRACES_HINT = 'write {{ "{{" }} for the braces themselves'


class Hole(NamedTuple):
    """A hole of a template: where it stands, braces included, and what it holds."""

    start: int
    end: int
    expression: Expression


class Template:
    """A compiled text. All places count from the beginning of the text."""

    __slots__ = ("holes", "lone", "tasks", "text")

    def __init__(self, text: str, holes: tuple[Hole, ...]) -> None:
        self.text = text
        self.holes = holes
        self.tasks = tuple(dict.fromkeys(id for hole in holes for id in hole.expression.tasks))
        self.lone = len(holes) == 1 and not (
            text[: holes[0].start].strip() or text[holes[0].end :].strip()
        )
        """Whether it is one hole and nothing else, white space aside."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every path that its holes mention, in the order of the text."""
        return tuple(
            path.shifted(hole.start + 2) for hole in self.holes for path in hole.expression.paths
        )

    @property
    def constant(self) -> bool:
        """Whether it is plain text."""
        return not self.holes

    def render(self, names: Names) -> str:
        """Give the text, always as text. Raises ExpressionError."""
        if not self.holes:
            return self.text
        pieces: list[str] = []
        end = length = 0
        for hole in self.holes:
            pieces.append(self.text[end : hole.start])
            pieces.append(self._fill(hole, names, to_text))
            length += len(pieces[-1])
            if length > MAX_TEXT:
                message = f"the text becomes longer than {MAX_TEXT:,} characters"
                raise ExpressionError(message, self.text, hole.start, hole.end)
            end = hole.end
        pieces.append(self.text[end:])
        return "".join(pieces)

    def value(self, names: Names) -> Any:
        """Give the text, or the value of a lone hole with its type. Raises ExpressionError."""
        return self._fill(self.holes[0], names, _as_it_is) if self.lone else self.render(names)

    def _fill(self, hole: Hole, names: Names, convert: Callable[[Any], Any]) -> Any:
        try:
            return convert(hole.expression.evaluate(names))
        except Refusal as refusal:
            raise ExpressionError(refusal.message, self.text, hole.start, hole.end) from None
        except ExpressionError as error:
            raise _moved(error, self.text, hole.start + 2) from error.__cause__

    def __repr__(self) -> str:
        return f"Template({self.text!r})"


@lru_cache(maxsize=4096)
def compile_template(text: str) -> Template:
    """Compile a text. Raises ExpressionError with the place in the text."""
    return Template(text, tuple(_holes(text)))


def _holes(text: str) -> Iterator[Hole]:
    begun = text.count("{{")
    if not begun:
        return
    # Most templates have holes without texts and brackets alone, which one pass finds.
    plain = list(_PLAIN_HOLE.finditer(text)) if "{{{" not in text else []
    if len(plain) == begun:
        for match in plain:
            start, end = match.span()
            yield Hole(start, end, _compile_hole(text, start, end))
        return
    end = 0
    while (start := text.find("{{", end)) >= 0:
        end = _end_of_hole(text, start)
        yield Hole(start, end, _compile_hole(text, start, end))


def _compile_hole(text: str, start: int, end: int) -> Expression:
    try:
        return compile_expression(text[start + 2 : end - 2])
    except ExpressionError as error:
        error = _moved(error, text, start + 2)
        error.hint = error.hint or _BRACES_HINT
        raise error from None


def _end_of_hole(text: str, start: int) -> int:
    """Give the place after the first `}}` outside of texts and brackets."""
    place, brackets = start + 2, list[int]()
    while mark := _MARK.search(text, place):
        place = mark.end()
        token = mark[0]
        if len(token) > 1 and token != "}}":  # a whole text
            continue
        if token in _CLOSED_BY:
            brackets.append(mark.start())
        elif token in "'\"":
            message = "a text begins here and never ends, so the hole around it does not either"
            raise ExpressionError(message, text, place - 1, place, hint=_BRACES_HINT)
        elif brackets:
            wanted = _CLOSED_BY[text[brackets[-1]]]
            if token[0] != wanted:
                message = f"{text[brackets[-1]]!r} is never closed in this hole"
                raise ExpressionError(message, text, brackets[-1], brackets[-1] + 1)
            brackets.pop()
            place = mark.start() + 1
        elif token == "}}":
            return place
    message = "this hole never ends: `}}` is missing"
    raise ExpressionError(message, text, start, start + 2, hint=_BRACES_HINT)


def _moved(error: ExpressionError, text: str, by: int) -> ExpressionError:
    return ExpressionError(
        error.message, text, error.start + by, error.end + by,
        missing=error.missing, hint=error.hint,
    )  # fmt: skip


def _as_it_is(value: Any) -> Any:
    return value


class Structure:
    """A compiled structure: JSON data whose texts are templates, each under its place."""

    __slots__ = ("_render", "constant", "tasks", "templates", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        templates: list[tuple[Place, Template]] = []
        self._render = _compile(value, (), templates)
        self.templates = tuple(templates)
        self.tasks = tuple(dict.fromkeys(id for _, each in templates for id in each.tasks))
        self.constant = all(template.constant for _, template in templates)
        """Whether it holds no hole."""

    def render(self, names: Names) -> Any:
        """Give the data, every template in it rendered. Raises ExpressionError.

        Lists and objects of the structure itself are made anew each time; what a lone hole gives is
        shared with the names.
        """
        value = self._render(names)
        # A value that is copied, or wrapped once more in each iteration, grows beyond all bounds.
        if not (self.constant or isinstance(self.value, str)):
            try:
                check_size(value)
            except Refusal as refusal:
                raise ExpressionError(refusal.message) from None
        return value


def compile_structure(value: Any) -> Structure:
    """Compile a structure. Raises ExpressionError at its first text that cannot be compiled."""
    return Structure(value)


def walk_texts(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Give every text of a structure with its place, keys left out."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, list):
        for index, part in enumerate(cast("list[Any]", value)):
            yield from walk_texts(part, (*place, index))
    elif isinstance(value, dict):
        for key, part in cast("dict[str, Any]", value).items():
            yield from walk_texts(part, (*place, key))


_Render = Callable[[Names], Any]


def _compile(value: Any, place: Place, templates: list[tuple[Place, Template]]) -> _Render:
    if len(place) > MAX_DEPTH:
        raise ExpressionError(f"the structure has more than {MAX_DEPTH} levels")
    if isinstance(value, str):
        template = compile_template(value)
        templates.append((place, template))
        return template.value
    if isinstance(value, list):
        items = [
            _compile(part, (*place, index), templates)
            for index, part in enumerate(cast("list[Any]", value))
        ]
        return lambda names: [item(names) for item in items]
    if isinstance(value, dict):
        members = [
            (key, _compile(part, (*place, key), templates))
            for key, part in cast("dict[str, Any]", value).items()
        ]
        return lambda names: {key: member(names) for key, member in members}
    return lambda _names: value
