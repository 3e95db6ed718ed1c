"""Expressions and templates, as far as the generator writes them: an own, plain evaluator.

It follows the language's text and nothing else, so that it can judge the real one. Whatever it does
not know is refused with `NotImplementedError`, so that it never judges by chance.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

Names = Mapping[str, Any]
_LITERAL_NAMES = {"true": True, "false": False, "null": None}


class WrongExpression(Exception):
    """The expression fails in a way that nothing guards."""


class Missing(WrongExpression):
    """A path leads nowhere; `exists` and `default` guard this."""


def evaluate(source: str, names: Names) -> Any:
    """Evaluate a bare expression. Raises WrongExpression."""
    return _value(ast.parse(source.strip(), mode="eval").body, names)


def decide(source: str | bool, names: Names) -> bool:
    """Evaluate a condition, which must be a boolean. Raises WrongExpression."""
    value = source if isinstance(source, bool) else evaluate(source, names)
    if not isinstance(value, bool):
        raise WrongExpression(f"a condition gives {type_name(value)}")
    return value


def render(structure: Any, names: Names) -> Any:
    """Render content: a string that is one hole keeps its type. Raises WrongExpression."""
    if isinstance(structure, str):
        pieces = list(split_holes(structure.strip()))
        if len(pieces) == 1 and pieces[0][0]:
            return evaluate(pieces[0][1], names)
        return render_text(structure, names)
    if isinstance(structure, list):
        return [render(part, names) for part in cast("list[Any]", structure)]
    if isinstance(structure, dict):
        parts = cast("dict[str, Any]", structure).items()
        return {key: render(part, names) for key, part in parts}
    return structure


def render_text(template: str, names: Names) -> str:
    """Render text, always to text. Raises WrongExpression."""
    return "".join(
        _as_text(evaluate(piece, names)) if is_hole else piece
        for is_hole, piece in split_holes(template)
    )


def mentions_in_content(structure: Any) -> set[str]:
    """Give the names of all tasks that the holes of content mention."""
    if isinstance(structure, str):
        holes = (piece for is_hole, piece in split_holes(structure) if is_hole)
        return {name for hole in holes for name in mentions(hole)}
    parts: list[Any] = []
    if isinstance(structure, list):
        parts = cast("list[Any]", structure)
    elif isinstance(structure, dict):
        parts = list(cast("dict[str, Any]", structure).values())
    return {name for part in parts for name in mentions_in_content(part)}


def mentions(source: Any) -> set[str]:
    """Give the names of all tasks that a bare expression mentions."""
    if not isinstance(source, str):
        return set()
    return {
        node.attr
        for node in ast.walk(ast.parse(source.strip(), mode="eval"))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "tasks"
    }


def split_holes(template: str) -> Iterator[tuple[bool, str]]:
    """Give the pieces of a template in order: (is it a hole, its text or expression)."""
    place = 0
    while (start := template.find("{{", place)) >= 0:
        if start > place:
            yield False, template[place:start]
        end = _end_of_hole(template, start + 2)
        yield True, template[start + 2 : end]
        place = end + 2
    if place < len(template):
        yield False, template[place:]


def _end_of_hole(template: str, place: int) -> int:
    depth = 0
    while place < len(template):
        if text := re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"").match(template, place):
            place = text.end()
            continue
        if depth == 0 and template.startswith("}}", place):
            return place
        depth += (template[place] in "([{") - (template[place] in ")]}")
        place += 1
    raise NotImplementedError(f"a hole without an end: {template!r}")


def type_name(value: Any) -> str:
    """Name the JSON type of a value; all numbers are one type."""
    table = ((bool, "boolean"), (int | float, "number"), (str, "text"), (list, "list"))
    for kind, name in table:
        if isinstance(value, kind):
            return name
    return "null" if value is None else "object"


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def same(left: Any, right: Any) -> bool:
    """Say whether two values are the same JSON; different types are just unequal."""
    if type_name(left) != type_name(right):
        return False
    if isinstance(left, list):
        ours, theirs = cast("list[Any]", left), cast("list[Any]", right)
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(left, dict):
        mine, yours = cast("dict[str, Any]", left), cast("dict[str, Any]", right)
        return mine.keys() == yours.keys() and all(same(mine[key], yours[key]) for key in mine)
    return bool(left == right)


def _value(node: ast.expr, names: Names) -> Any:
    for kind, meaning in _MEANINGS.items():
        if isinstance(node, kind):
            return meaning(node, names)
    raise NotImplementedError(ast.dump(node))


def _constant(node: ast.Constant, _names: Names) -> Any:
    return node.value


def _name(node: ast.Name, names: Names) -> Any:
    if node.id in _LITERAL_NAMES:
        return _LITERAL_NAMES[node.id]
    return names[node.id]


def _attribute(node: ast.Attribute, names: Names) -> Any:
    return _step(_value(node.value, names), node.attr)


def _subscript(node: ast.Subscript, names: Names) -> Any:
    return _step(_value(node.value, names), _value(node.slice, names))


def _step(owner: Any, key: Any) -> Any:
    if owner is None:
        raise Missing(f"{key!r} of null")
    if isinstance(owner, dict) and isinstance(key, str):
        entries = cast("dict[str, Any]", owner)
        if key not in entries:
            raise Missing(f"no key {key!r}")
        return entries[key]
    if isinstance(owner, list) and type_name(key) == "number":
        values = cast("list[Any]", owner)
        if not -len(values) <= key < len(values):
            raise Missing(f"no index {key}")
        return values[key]
    raise WrongExpression(f"the step {key!r} on {type_name(owner)}")


def _bool_op(node: ast.BoolOp, names: Names) -> bool:
    decisive = isinstance(node.op, ast.Or)
    return (
        decisive if any(_truth(part, names) is decisive for part in node.values) else not decisive
    )


def _truth(node: ast.expr, names: Names) -> bool:
    value = _value(node, names)
    if not isinstance(value, bool):
        raise WrongExpression(f"{type_name(value)} is no boolean")
    return value


def _unary(node: ast.UnaryOp, names: Names) -> Any:
    if isinstance(node.op, ast.Not):
        return not _truth(node.operand, names)
    if isinstance(node.op, ast.USub):
        value = _value(node.operand, names)
        if type_name(value) != "number":
            raise WrongExpression("minus on what is no number")
        return -value
    raise NotImplementedError(ast.dump(node))


def _binary(node: ast.BinOp, names: Names) -> Any:
    left, right = _value(node.left, names), _value(node.right, names)
    kinds = {type_name(left), type_name(right)}
    if isinstance(node.op, ast.Add) and kinds in ({"number"}, {"text"}, {"list"}):
        return left + right
    if isinstance(node.op, ast.Sub | ast.Mult) and kinds == {"number"}:
        return left - right if isinstance(node.op, ast.Sub) else left * right
    if isinstance(node.op, ast.Add | ast.Sub | ast.Mult):
        raise WrongExpression(f"arithmetic on {kinds}")
    raise NotImplementedError(ast.dump(node))


def _compare(node: ast.Compare, names: Names) -> bool:
    left = _value(node.left, names)
    for operator, comparator in zip(node.ops, node.comparators, strict=True):
        right = _value(comparator, names)
        if not _COMPARISONS[type(operator)](left, right):
            return False
        left = right
    return True


def _equal(left: Any, right: Any) -> bool:
    if type_name(left) != type_name(right) and left is not None and right is not None:
        raise WrongExpression(f"{type_name(left)} compared with {type_name(right)}")
    return same(left, right)


def _less(left: Any, right: Any) -> bool:
    kinds = {type_name(left), type_name(right)}
    if kinds not in ({"number"}, {"text"}):
        raise WrongExpression(f"{type_name(left)} ordered with {type_name(right)}")
    return bool(left < right)


def _contains(part: Any, whole: Any) -> bool:
    if isinstance(whole, list):
        return any(same(part, one) for one in cast("list[Any]", whole))
    if isinstance(whole, str) and isinstance(part, str):
        return part in whole
    raise WrongExpression(f"`in` on {type_name(whole)}")


_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: _equal,
    ast.NotEq: lambda left, right: not _equal(left, right),
    ast.Lt: _less,
    ast.Gt: lambda left, right: _less(right, left),
    ast.LtE: lambda left, right: not _less(right, left),
    ast.GtE: lambda left, right: not _less(left, right),
    ast.In: _contains,
    ast.NotIn: lambda left, right: not _contains(left, right),
}


def _choice(node: ast.IfExp, names: Names) -> Any:
    return _value(node.body if _truth(node.test, names) else node.orelse, names)


def _list(node: ast.List, names: Names) -> list[Any]:
    return [_value(part, names) for part in node.elts]


def _call(node: ast.Call, names: Names) -> Any:
    function = node.func.id if isinstance(node.func, ast.Name) else ""
    if function == "exists":
        return _guarded(node.args[0], names) is not None
    if function == "default":
        return next((v for arg in node.args if (v := _guarded(arg, names)) is not None), None)
    if function == "len":
        value = _value(node.args[0], names)
        if type_name(value) not in {"text", "list", "object"}:
            raise WrongExpression(f"the length of {type_name(value)}")
        return len(value)
    raise NotImplementedError(ast.dump(node))


def _guarded(node: ast.expr, names: Names) -> Any:
    try:
        return _value(node, names)
    except Missing:
        if _is_path(node):
            return None
        raise


def _is_path(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return isinstance(node, ast.Name)


_MEANINGS: dict[type[ast.expr], Callable[[Any, Names], Any]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.BoolOp: _bool_op,
    ast.UnaryOp: _unary,
    ast.BinOp: _binary,
    ast.Compare: _compare,
    ast.IfExp: _choice,
    ast.List: _list,
    ast.Call: _call,
}
