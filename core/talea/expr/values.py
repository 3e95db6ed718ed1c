"""Plain JSON data: its types, its text, its equality, and the bounds that hold for all of it."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn, cast

from talea.errors import ExpressionError

MAX_NUMBER = 2**63 - 1
"""The largest integer, since formats that carry data on (msgpack, SQLite) end at 64 bits."""
MAX_TEXT = 10_000_000
"""Characters of a text that an expression makes, and of all texts in a value it makes."""
MAX_VALUES = 1_000_000
"""Values (list items, object members) in a value that an expression makes."""
MAX_DEPTH = 100
"""Levels of a value. Python's JSON coder overflows the stack of a small thread at some hundred."""
MAX_STEPS = 1_000_000
"""What one evaluation may spend, on comprehensions and functions together."""
TEXT_PER_STEP = 64
"""Characters that are copied or searched for one step."""


class Refusal(ExpressionError):
    """A value that an operation does not take; whoever knows the place in the source adds it."""


class Budget:
    """What is left of the work that one evaluation may do."""

    __slots__ = ("left",)

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        """Pay for work before it is done. Raises Refusal when there is not enough left."""
        self.left -= steps
        if self.left < 0:
            raise Refusal(f"this takes more than {MAX_STEPS:,} steps")

    def spend_text(self, length: int) -> None:
        """Pay for copying or searching that many characters, which must fit one text."""
        if length > MAX_TEXT:
            raise Refusal(f"a text of {length:,} characters is longer than {MAX_TEXT:,}")
        self.spend(1 + length // TEXT_PER_STEP)

    def spend_list(self, length: int) -> None:
        """Pay for that many items, which must fit one list."""
        if length > MAX_VALUES:
            raise Refusal(f"a list of {length:,} items is longer than {MAX_VALUES:,}")
        self.spend(1 + length)


def type_name(value: object) -> str:
    """Name the type of a JSON value in the language's words; all numbers are one type."""
    name = _TYPE_NAMES.get(type(value))
    if name is not None:
        return name
    for kind, name in _TYPE_NAMES.items():
        if isinstance(value, kind):
            return name
    return type(value).__name__


# The order matters to subclasses alone: a boolean is an `int` in Python.
_TYPE_NAMES: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    str: "text",
    int: "number",
    float: "number",
    list: "list",
    dict: "object",
}


def is_number(value: object) -> bool:
    """Whether it is a number; a boolean is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_integer(value: object) -> bool:
    """Whether it is a whole number, written without a fraction."""
    return isinstance(value, int) and not isinstance(value, bool)


def same(left: Any, right: Any, budget: Budget) -> bool:
    """Say whether two values are equal; values of different types are just unequal.

    It recurses in loops, since `all` would take the C stack of a small thread with it.
    """
    kind = type_name(left)
    if kind != type_name(right):
        return False
    if kind == "list":
        budget.spend(1 + len(left))
        if len(left) != len(right):
            return False
        for ours, theirs in zip(left, right, strict=True):  # noqa: SIM110
            if not same(ours, theirs, budget):
                return False
        return True
    if kind == "object":
        budget.spend(1 + len(left))
        if left.keys() != right.keys():
            return False
        for key in left:  # noqa: SIM110
            if not same(left[key], right[key], budget):
                return False
        return True
    if kind == "text" and len(left) == len(right):
        budget.spend(len(left) // TEXT_PER_STEP)
    return bool(left == right)


def check_number(value: float) -> float:
    """Give a number back if it can be data. Raises Refusal for one too large or not finite."""
    if isinstance(value, int):
        if not -MAX_NUMBER - 1 <= value <= MAX_NUMBER:
            raise Refusal("the number is too large: integers have 64 bits")
    elif not math.isfinite(value):
        raise Refusal("the number is not finite")
    return value


def check_size(value: Any) -> int:
    """Refuse a value with too many parts, too much text or too many levels.

    Parts count as often as they stand there: data may share what it repeats, so that a few steps
    make a value whose text would fill the memory. Gives the steps that all its parts are worth.
    """
    level: list[Any] = [value]
    values = characters = 0
    for _ in range(MAX_DEPTH + 1):
        deeper: list[Any] = []
        for part in level:
            if isinstance(part, str):
                characters += len(part)
                continue
            if isinstance(part, list):
                parts = cast("list[Any]", part)
            elif isinstance(part, dict):
                members = cast("dict[Any, Any]", part)
                characters += sum(len(key) for key in members if isinstance(key, str))
                parts = members.values()
            else:
                continue
            values += len(parts)
            if values > MAX_VALUES:
                raise Refusal(f"the value has more than {MAX_VALUES:,} parts")
            deeper.extend(parts)
        if characters > MAX_TEXT:
            raise Refusal(f"the value has more than {MAX_TEXT:,} characters of text")
        if not deeper:
            return values + characters // TEXT_PER_STEP
        level = deeper
    raise Refusal(f"the value has more than {MAX_DEPTH} levels")


def to_json(value: Any) -> str:
    """Write a value as JSON: letters as they are, the order of keys kept.

    Raises ExpressionError for what is not JSON data, and for what is out of bounds.
    """
    check_size(value)
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise Refusal("the value holds a number that JSON cannot hold") from None
    except TypeError:
        raise Refusal(f"the value holds what is not JSON data: {type_name(value)}") from None


def to_text(value: Any) -> str:
    """Write a value as it stands in text: a text as it is, any other value as JSON.

    Raises ExpressionError for what is not JSON data, and for what is out of bounds.
    """
    return value if isinstance(value, str) else to_json(value)


def parse_json(text: str) -> Any:
    """Read JSON strictly: finite numbers, 64-bit integers, whole characters, bounded nesting.

    Raises ValueError that says what is wrong, and where.
    """
    _check_nesting(text)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"this is not JSON: {error.msg} ({place})") from None
    if not text.isascii() or "\\u" in text:
        _check_characters(value)
    return value


def _check_nesting(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _JSON_BRACKETS.finditer(text):
        mark = match[0]
        if mark in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"the JSON has more than {MAX_DEPTH} levels")
        elif mark in "]}":
            depth -= 1


def _check_characters(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("the JSON holds half of a surrogate pair, which is no character") from None


def _parse_int(digits: str) -> int:
    if len(digits) <= len(str(MAX_NUMBER)) + 1:
        value = int(digits)
        if -MAX_NUMBER - 1 <= value <= MAX_NUMBER:
            return value
    raise ValueError("the JSON holds an integer of more than 64 bits")


def _parse_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("the JSON holds a number that is too large")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_JSON_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_DECODER = json.JSONDecoder(
    parse_int=_parse_int, parse_float=_parse_float, parse_constant=_refuse_constant
)
