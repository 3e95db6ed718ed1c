"""The functions of the expression language: one table, from which the reference is generated."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from talea.expr.values import (
    MAX_DEPTH,
    MAX_TEXT,
    MAX_VALUES,
    TEXT_PER_STEP,
    Budget,
    Refusal,
    check_number,
    check_size,
    is_integer,
    to_json,
    type_name,
)

REQUIRED: Any = object()
"""The default of an argument that has none."""

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?P<fraction>\.\d+)?(?P<exponent>[eE][+-]?\d+)?", re.ASCII)
_MAX_DIGITS = 400


@dataclass(slots=True, frozen=True)
class Parameter:
    """One argument: its name, the types it takes (`integer` is a whole number), its default."""

    name: str
    types: tuple[str, ...]
    default: Any = REQUIRED

    def __str__(self) -> str:
        text = f"{self.name}: {' or '.join(self.types)}"
        return text if self.default is REQUIRED else f"{text} = {to_json(self.default)}"


@dataclass(slots=True, frozen=True)
class Function:
    """One function: what it takes, what it gives, and what it does in one line.

    `many` says that the last argument may be repeated. `call` is None for the functions that take
    their arguments lazily, which the compiler knows.
    """

    name: str
    parameters: tuple[Parameter, ...]
    result: str
    doc: str
    call: Callable[..., Any] | None = None
    many: bool = False

    @property
    def signature(self) -> str:
        """How it is called, such as `round(number: number, digits: integer = 0) -> number`."""
        arguments = ", ".join(map(str, self.parameters))
        return f"{self.name}({arguments}{', …' if self.many else ''}) -> {self.result}"

    @property
    def fewest(self) -> int:
        """How many arguments must be given."""
        return sum(parameter.default is REQUIRED for parameter in self.parameters)

    @property
    def most(self) -> int | None:
        """How many arguments may be given by place; None if that is open."""
        return None if self.many else len(self.parameters)

    def check(self, arguments: Sequence[Any]) -> None:
        """Refuse arguments of the wrong types. Their number has been checked by the compiler."""
        for place, value in enumerate(arguments):
            parameter = self.parameters[min(place, len(self.parameters) - 1)]
            if not _fits(value, parameter.types):
                wanted = " or ".join(parameter.types)
                raise Refusal(
                    f"{self.name}() takes {wanted} as its {parameter.name!r}, not {_name(value)}"
                )


def _fits(value: Any, types: tuple[str, ...]) -> bool:
    kind = type_name(value)
    return kind in types or "any" in types or ("integer" in types and is_integer(value))


def _name(value: Any) -> str:
    return "a fraction" if isinstance(value, float) else type_name(value)


def _len(_budget: Budget, value: Any) -> int:
    return len(value)


def _check_order(name: str, values: Sequence[Any], budget: Budget) -> None:
    """Refuse values that have no order, and pay for putting them into one."""
    kinds = {type_name(value) for value in values}
    if kinds - {"number"} and kinds - {"text"}:
        found = ", ".join(sorted(kinds))
        raise Refusal(f"{name}() takes numbers only, or texts only, not {found}")
    budget.spend_list(len(values))
    rounds = len(values).bit_length()
    budget.spend(rounds * sum(len(v) for v in values if isinstance(v, str)) // TEXT_PER_STEP)


def _extreme(name: str, choose: Callable[[Sequence[Any]], Any]) -> Callable[..., Any]:
    def call(budget: Budget, *values: Any) -> Any:
        items: Sequence[Any] = values
        if len(values) == 1:
            if not isinstance(values[0], list):
                raise Refusal(f"{name}() takes a list, or several values, not {_name(values[0])}")
            items = cast("list[Any]", values[0])
        if not items:
            raise Refusal(f"{name}() of an empty list has no value")
        _check_order(name, items, budget)
        return choose(items)

    return call


def _sum(budget: Budget, values: list[Any]) -> float:
    budget.spend_list(len(values))
    total = 0
    for value in values:
        if type_name(value) != "number":
            raise Refusal(f"sum() takes a list of numbers, not of {type_name(value)}")
        total = check_number(total + value)
    return total


def _sorted(budget: Budget, values: list[Any], key: str | None, reverse: bool) -> list[Any]:
    if key is None:
        marks = values
    else:
        budget.spend_list(len(values))
        marks: list[Any] = []
        for value in values:
            if not isinstance(value, dict) or key not in value:
                raise Refusal(f"sorted() by {key!r} needs objects that all have it")
            marks.append(cast("dict[str, Any]", value)[key])
    _check_order("sorted", marks, budget)
    order = sorted(range(len(values)), key=marks.__getitem__, reverse=reverse)
    return [values[place] for place in order]


def _range(budget: Budget, *bounds: int) -> list[int]:
    if len(bounds) > 3:
        raise Refusal(f"range() takes 1 to 3 arguments, not {len(bounds)}")
    for bound in bounds:
        check_number(bound)
    if bounds[2:] == (0,):
        raise Refusal("range() needs a step other than 0")
    numbers = range(*bounds)
    # Not `len(numbers)`, which fails beyond the machine's word.
    budget.spend_list((numbers[-1] - numbers[0]) // numbers.step + 1 if numbers else 0)
    return list(numbers)


def _zip(budget: Budget, *lists: list[Any]) -> list[Any]:
    if len({len(values) for values in lists}) != 1:
        lengths = ", ".join(str(len(values)) for values in lists)
        raise Refusal(f"zip() takes lists of equal length, not {lengths}")
    budget.spend_list(len(lists[0]) * len(lists))
    return [list(row) for row in zip(*lists, strict=True)]


def _unique(budget: Budget, values: list[Any]) -> list[Any]:
    seen: dict[Any, Any] = {}
    for value in values:
        seen.setdefault(_identity(value, budget, 0), value)
    return list(seen.values())


def _identity(value: Any, budget: Budget, depth: int) -> Any:
    """Give what can be hashed, and is equal exactly where two values are the same."""
    if depth > MAX_DEPTH:
        raise Refusal(f"unique() takes values of at most {MAX_DEPTH} levels")
    kind = type_name(value)
    budget.spend(4 + (len(value) // TEXT_PER_STEP if kind == "text" else 0))
    if kind == "list":
        return kind, tuple([_identity(part, budget, depth + 1) for part in value])
    if kind == "object":
        return kind, frozenset(
            [(key, _identity(part, budget, depth + 1)) for key, part in value.items()]
        )
    return kind, value


def _flatten(budget: Budget, lists: list[Any]) -> list[Any]:
    flat: list[Any] = []
    for values in lists:
        if not isinstance(values, list):
            raise Refusal(f"flatten() takes a list of lists, not of {type_name(values)}")
        items = cast("list[Any]", values)
        budget.spend(1 + len(items))
        flat.extend(items)
    return flat


def _keys(budget: Budget, value: Mapping[str, Any]) -> list[str]:
    budget.spend_list(len(value))
    return list(value)


def _values(budget: Budget, value: Mapping[str, Any]) -> list[Any]:
    budget.spend_list(len(value))
    return list(value.values())


def _merge(budget: Budget, *objects: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for value in objects:
        budget.spend_list(len(value))
        merged.update(value)
    return merged


def _join(budget: Budget, values: list[Any], separator: str) -> str:
    for value in values:
        if not isinstance(value, str):
            raise Refusal(f"join() takes a list of texts, not of {type_name(value)}")
    budget.spend_list(len(values))
    budget.spend_text(sum(map(len, values)) + len(separator) * len(values))
    return separator.join(values)


def _split(budget: Budget, text: str, separator: str | None) -> list[str]:
    if separator == "":
        raise Refusal("split() needs a separator that is not empty")
    budget.spend_text(len(text))
    parts = text.split(separator, MAX_VALUES)
    budget.spend_list(len(parts))
    return parts


def _on_text(operate: Callable[..., Any]) -> Callable[..., Any]:
    def call(budget: Budget, text: str, *others: str) -> Any:
        budget.spend_text(len(text) + sum(map(len, others)))
        result = operate(text, *others)
        if isinstance(result, str) and len(result) > MAX_TEXT:
            raise Refusal(f"the text is longer than {MAX_TEXT:,} characters")
        return result

    return call


def _contains(budget: Budget, text: str, part: str) -> bool:
    budget.spend_text(len(text))
    return part in text


def _replace(budget: Budget, text: str, old: str, new: str) -> str:
    if not old:
        raise Refusal("replace() needs an old text that is not empty")
    budget.spend_text(len(text))
    budget.spend_text(len(text) + text.count(old) * (len(new) - len(old)))
    return text.replace(old, new)


def _number(_budget: Budget, value: Any) -> float:
    if not isinstance(value, str):
        return value
    text = value.strip() if len(value) <= _MAX_DIGITS else value
    match = _NUMBER.fullmatch(text) if len(text) <= _MAX_DIGITS else None
    if match is None:
        raise Refusal("number() takes a text that is a number, such as '12' or '-0.5'")
    whole = match["fraction"] is None and match["exponent"] is None
    return check_number(int(text) if whole else float(text))


def _string(budget: Budget, value: Any) -> str:
    return value if isinstance(value, str) else _json(budget, value)


def _round(_budget: Budget, number: float, digits: int) -> float:
    if not -20 <= digits <= 20:
        raise Refusal("round() takes digits from -20 to 20")
    return check_number(round(number, digits) if digits else round(number))


def _json(budget: Budget, value: Any) -> str:
    budget.spend(check_size(value))
    text = to_json(value)
    budget.spend_text(len(text))
    return text


def _one(name: str, *types: str, default: Any = REQUIRED) -> Parameter:
    return Parameter(name, types, default)


_LIST = _one("list", "list")
_OBJECT = _one("object", "object")
_TEXT = _one("text", "text")
_ANY = _one("value", "any")

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        Function(
            "len", (_one("value", "text", "list", "object"),), "number",
            "The number of characters, items or keys.", _len,
        ),
        Function(
            "exists", (_one("path", "any"),), "boolean",
            "Whether a path leads to something other than null.",
        ),
        Function(
            "default", (_one("value", "any"),), "any",
            "The first argument that is neither null nor, if it is a path, missing; else null. "
            "Later arguments are not looked at.", many=True,
        ),
        Function(
            "any", (_LIST,), "boolean",
            "Whether one of the booleans is true; it looks no further than the first.",
        ),
        Function(
            "all", (_LIST,), "boolean",
            "Whether all of the booleans are true; it looks no further than the first that is not.",
        ),
        Function(
            "min", (_ANY,), "number or text",
            "The least of a list, or of several arguments: all numbers, or all texts.",
            _extreme("min", min), many=True,
        ),
        Function(
            "max", (_ANY,), "number or text",
            "The greatest of a list, or of several arguments: all numbers, or all texts.",
            _extreme("max", max), many=True,
        ),
        Function("sum", (_LIST,), "number", "The sum of numbers; 0 if there are none.", _sum),
        Function(
            "sorted",
            (
                _LIST,
                _one("key", "text", "null", default=None),
                _one("reverse", "boolean", default=False),
            ),
            "list",
            "The items in order: numbers, or texts, or objects by the value under `key`. "
            "Equal items keep their order.", _sorted,
        ),
        Function(
            "range", (_one("bound", "integer"),), "list",
            "Whole numbers: `range(stop)`, `range(start, stop)` or `range(start, stop, step)`; "
            "`stop` is not among them.", _range, many=True,
        ),
        Function(
            "zip", (_LIST,), "list",
            "Lists of equal length side by side: a list of lists.", _zip, many=True,
        ),
        Function("unique", (_LIST,), "list", "The items without repetitions, in order.", _unique),
        Function("flatten", (_LIST,), "list", "The items of a list of lists.", _flatten),
        Function("keys", (_OBJECT,), "list", "The keys of an object, in order.", _keys),
        Function("values", (_OBJECT,), "list", "The values of an object, in order.", _values),
        Function(
            "merge", (_OBJECT,), "object",
            "One object of several; later keys win.", _merge, many=True,
        ),
        Function(
            "join", (_LIST, _one("separator", "text")), "text",
            "The texts of a list as one, with a separator between them.", _join,
        ),
        Function(
            "split", (_TEXT, _one("separator", "text", "null", default=None)), "list",
            "The parts of a text between separators; without one, its words.", _split,
        ),
        Function("lower", (_TEXT,), "text", "The text in lower case.", _on_text(str.lower)),
        Function("upper", (_TEXT,), "text", "The text in upper case.", _on_text(str.upper)),
        Function(
            "strip", (_TEXT,), "text",
            "The text without white space at its ends.", _on_text(str.strip),
        ),
        Function(
            "contains", (_TEXT, _one("part", "text")), "boolean",
            "Whether a text holds another; `in` does it for lists as well.", _contains,
        ),
        Function(
            "startswith", (_TEXT, _one("prefix", "text")), "boolean",
            "Whether a text begins with another.", _on_text(str.startswith),
        ),
        Function(
            "endswith", (_TEXT, _one("suffix", "text")), "boolean",
            "Whether a text ends with another.", _on_text(str.endswith),
        ),
        Function(
            "replace", (_TEXT, _one("old", "text"), _one("new", "text")), "text",
            "The text with every `old` replaced by `new`.", _replace,
        ),
        Function(
            "number", (_one("value", "text", "number"),), "number",
            "The number that a text spells.", _number,
        ),
        Function(
            "string", (_ANY,), "text",
            "The value as it stands in text: a text as it is, others as JSON.", _string,
        ),
        Function(
            "round", (_one("number", "number"), _one("digits", "integer", default=0)), "number",
            "The number rounded, a half to the even side; whole without `digits`.", _round,
        ),
        Function("json", (_ANY,), "text", "The value as JSON, a text in quotes.", _json),
    )
}  # fmt: skip
"""Every function of the language by its name."""
