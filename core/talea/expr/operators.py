"""What the operators mean: strict about types, and bounded in what they make."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any, cast

from talea.expr.values import Budget, Refusal, check_number, is_number, same, type_name

Operation = Callable[[Any, Any, Budget], Any]


def not_boolean(value: Any) -> str:
    """Say that a value is no boolean; nothing else is true or false."""
    return f"this must be true or false, but it is {type_name(value)}"


def negate(value: Any) -> float:
    """Give the number with the other sign. Raises Refusal."""
    if not is_number(value):
        raise Refusal(f"`-` takes a number, not {type_name(value)}")
    return check_number(-value)


def _on_numbers(sign: str, operate: Callable[[Any, Any], Any]) -> Operation:
    def call(left: Any, right: Any, _budget: Budget) -> Any:
        if not (is_number(left) and is_number(right)):
            found = f"{type_name(left)} and {type_name(right)}"
            raise Refusal(f"`{sign}` takes two numbers, not {found}")
        try:
            return check_number(operate(left, right))
        except ZeroDivisionError:
            raise Refusal("a division by zero") from None
        except OverflowError:
            raise Refusal("the number is too large") from None

    return call


_sum = _on_numbers("+", operator.add)


def _add(left: Any, right: Any, budget: Budget) -> Any:
    kinds = type_name(left), type_name(right)
    if kinds == ("number", "number"):
        return _sum(left, right, budget)
    if kinds == ("text", "text"):
        budget.spend_text(len(left) + len(right))
    elif kinds == ("list", "list"):
        budget.spend_list(len(left) + len(right))
    else:
        takes = "two numbers, two texts or two lists"
        refusal = Refusal(f"`+` takes {takes}, not {kinds[0]} and {kinds[1]}")
        if "text" in kinds:
            refusal.hint = "string(…) makes a text of any value"
        raise refusal
    return left + right


def _equal(left: Any, right: Any, budget: Budget) -> bool:
    if left is None or right is None:
        return left is right
    if type_name(left) != type_name(right):
        raise Refusal(f"{type_name(left)} cannot be compared with {type_name(right)}")
    return same(left, right, budget)


def _ordered(operate: Callable[[Any, Any], bool]) -> Operation:
    def compare(left: Any, right: Any, budget: Budget) -> bool:
        if isinstance(left, str) and isinstance(right, str):
            budget.spend_text(min(len(left), len(right)))
        elif not (is_number(left) and is_number(right)):
            raise Refusal(f"{type_name(left)} and {type_name(right)} have no order")
        return operate(left, right)

    return compare


def _within(part: Any, whole: Any, budget: Budget) -> bool:
    kind = type_name(whole)
    if kind == "list":
        for item in cast("list[Any]", whole):
            budget.spend(1)
            if same(part, item, budget):
                return True
        return False
    if kind not in {"text", "object"}:
        raise Refusal(f"`in` looks into a list, a text or an object, not {kind}")
    if not isinstance(part, str):
        raise Refusal(f"`in` looks for a text in {kind}, not for {type_name(part)}")
    if kind == "text":
        budget.spend_text(len(whole))
    return part in whole


ARITHMETIC: dict[type[ast.operator], Operation] = {
    ast.Add: _add,
    ast.Sub: _on_numbers("-", operator.sub),
    ast.Mult: _on_numbers("*", operator.mul),
    ast.Div: _on_numbers("/", lambda left, right: left / right),
    ast.FloorDiv: _on_numbers("//", lambda left, right: left // right),
    ast.Mod: _on_numbers("%", operator.mod),
}
COMPARISONS: dict[type[ast.cmpop], Operation] = {
    ast.Eq: _equal,
    ast.NotEq: lambda left, right, budget: not _equal(left, right, budget),
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
    ast.In: _within,
    ast.NotIn: lambda left, right, budget: not _within(left, right, budget),
}
