"""Expressions: compiled once to closures, evaluated over plain JSON data.

Python's parser reads a source that `lexer` has bounded and masked; its tree is walked once here. A
node that is not named in `_NODES` is refused. No attribute of an object is ever looked up: a name
after a dot is the key of an object.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, NamedTuple, cast

from talea.errors import ExpressionError
from talea.expr.functions import FUNCTIONS, REQUIRED, Function
from talea.expr.lexer import MAX_SOURCE, MAX_TOKENS, Masked, mask
from talea.expr.values import Budget, Refusal, check_number, check_size, same, type_name

ROOTS = ("inputs", "tasks", "run", "item", "index", "loop", "error")
"""Every name that an expression may begin with, somewhere."""
LITERALS = {"true": True, "false": False, "null": None}

Names = Mapping[str, Any]
Steps = tuple[str | int | None, ...]


class Name(NamedTuple):
    """A name that an expression begins a path with, and its place in the source."""

    name: str
    start: int
    end: int


@dataclass(slots=True, frozen=True)
class Path:
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
        """The same path, in a text in which the expression stands further right."""
        return Path(self.root, self.steps, self.start + by, self.end + by, self.guarded)


class Expression:
    """A compiled expression.

    `paths` holds every path it mentions, `names` the names they begin with, both in the order of
    the source; `tasks` the ids after `tasks.`, each once. `constant` says that it mentions none.
    """

    __slots__ = ("_evaluate", "names", "paths", "source", "tasks")

    def __init__(
        self,
        source: str,
        paths: tuple[Path, ...],
        names: tuple[Name, ...],
        evaluate: Callable[[Names], Any],
    ) -> None:
        self.source = source
        self.paths = paths
        self.names = names
        self.tasks = tuple(dict.fromkeys(p.task for p in paths if p.task is not None))
        self._evaluate = evaluate

    @property
    def constant(self) -> bool:
        return not self.names

    def evaluate(self, names: Names) -> Any:
        """Give its value over the names that apply. It shares parts with what they hold.

        Raises ExpressionError, with `missing` where a path leads nowhere.
        """
        return self._evaluate(names)

    def decide(self, names: Names) -> bool:
        """Give its value, which must be a boolean. Raises ExpressionError."""
        value = self._evaluate(names)
        if value is True or value is False:
            return value
        message = f"a condition gives true or false, but this gives {type_name(value)}"
        raise ExpressionError(message, self.source)

    def __repr__(self) -> str:
        return f"Expression({self.source!r})"


@lru_cache(maxsize=8192)
def compile_expression(source: str) -> Expression:
    """Compile an expression. Raises ExpressionError with the place in the source."""
    if plain := _PLAIN.fullmatch(source):
        root = plain["root"]
        if root not in _NOT_PLAIN and (
            root != "tasks" or source[plain.end("root")] == "."
        ):
            return _compile_plain(source, plain)
    return _Compiler(source).compile()


# By far the most expressions are one plain path; they need no parser.
_PLAIN = re.compile(
    r"\s{0,64}(?P<path>(?P<root>[a-z][a-z0-9_]{0,63})"
    r"(?P<steps>(?:\.[A-Za-z_][A-Za-z0-9_]{0,63}|\[(?:0|-?[1-9][0-9]{0,8})\]){1,24}))\s{0,64}",
    re.ASCII,
)
_STEP = re.compile(r"\.(\w+)|\[(-?\d+)\]", re.ASCII)
_NOT_PLAIN = {
    *LITERALS,
    *FUNCTIONS,
    "not",
    "lambda",
    "await",
    "is",
    "in",
    "and",
    "or",
    "if",
}


def _compile_plain(source: str, match: re.Match[str]) -> Expression:
    root = match["root"]
    steps = tuple(key or int(index) for key, index in _STEP.findall(match["steps"]))
    start, end = match.span("path")
    path = Path(root, steps, start, end)
    name = Name(root, start, match.end("root"))
    walk = _Walk(_Place(source, start, end), name, steps, ())
    return Expression(source, (path,), (name,), walk.plain)


class _Run:
    """One evaluation: the names that apply, the variables of comprehensions, the budget."""

    __slots__ = ("budget", "names", "variables")

    def __init__(self, names: Names) -> None:
        self.names = names
        self.variables: dict[str, Any] = {}
        self.budget = Budget()


_Closure = Callable[[_Run], Any]


class _Place(NamedTuple):
    source: str
    start: int
    end: int

    @property
    def text(self) -> str:
        text = " ".join(self.source[self.start : self.end].split())
        return text if len(text) <= 60 else f"{text[:57]}..."

    def error(
        self, message: str, *, missing: bool = False, hint: str | None = None
    ) -> ExpressionError:
        return ExpressionError(
            message, self.source, self.start, self.end, missing=missing, hint=hint
        )

    def wrong(self, message: str) -> ExpressionError:
        """An error at run time, which names the part it is about."""
        return self.error(f"`{self.text}`: {message}")


def suggest(
    word: str, words: Iterator[str] | Mapping[str, Any] | tuple[str, ...]
) -> str | None:
    """Give a hint with the most similar word, or None."""
    close = get_close_matches(word, [w for w in words if isinstance(w, str)], 1, 0.7)
    return f"did you mean `{close[0]}`?" if close else None


class _Walk:
    """The steps from a name into its data."""

    __slots__ = ("ends", "name", "place", "steps")

    def __init__(
        self,
        place: _Place,
        name: Name,
        steps: tuple[str | int, ...],
        ends: tuple[int, ...],
    ) -> None:
        self.place = place
        self.name = name
        self.steps = steps
        self.ends = ends

    def plain(self, names: Names) -> Any:
        """Walk from the names that apply."""
        root = self.name.name
        try:
            value = names[root]
        except KeyError:
            raise self.unknown(names) from None
        if root != "tasks":
            return self.walk(value, 0)
        try:
            value = value[self.steps[0]]
        except KeyError:
            raise self.place.error(f"there is no task {self.steps[0]!r} here") from None
        return self.walk(value, 1)

    def unknown(self, names: Names) -> ExpressionError:
        place = _Place(self.place.source, self.name.start, self.name.end)
        return place.error(
            f"unknown name {self.name.name!r}", hint=suggest(self.name.name, names)
        )

    def walk(self, value: Any, first: int) -> Any:
        for step in self.steps[first:] if first else self.steps:
            if type(step) is str:
                if isinstance(value, dict) and step in value:
                    value = cast("dict[str, Any]", value)[step]
                    continue
            elif isinstance(value, list):
                items = cast("list[Any]", value)
                if -len(items) <= cast("int", step) < len(items):
                    value = items[cast("int", step)]
                    continue
            raise _bad_step(self.place, value, step)
        return value


def _bad_step(place: _Place, value: Any, step: Any) -> ExpressionError:
    """Say why a step leads nowhere: it is missing, or always wrong."""
    message = hint = None
    if value is None:
        message = f"{_spell(step)} of null"
    elif isinstance(value, dict) and isinstance(step, str):
        message = f"there is no key {step!r}"
        hint = suggest(step, cast("dict[str, Any]", value))
    elif isinstance(value, list) and _is_index(step):
        message = (
            f"there is no item {step}: the list has {len(cast('list[Any]', value))}"
        )
    if message is None:
        return place.wrong(f"{_spell(step)} cannot be a step into {type_name(value)}")
    return place.error(
        f"`{place.text}` leads nowhere: {message}", missing=True, hint=hint
    )


def _spell(step: Any) -> str:
    return f"the key {step!r}" if isinstance(step, str) else f"the index {step}"


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class _Compiler:
    """The walk over one expression's tree."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.masked = Masked("")
        self.offset = 0
        self.paths: list[Path] = []
        self.names: list[Name] = []
        self.variables: dict[str, Path | None] = {}
        """Of the comprehensions around: each with the path of the list it goes over, if known."""
        self.guarded = False
        self.builds = False
        self.nodes = 0

    def compile(self) -> Expression:
        self.masked = mask(self.source)
        code = self.masked.code
        self.offset = len(code) - len(code.lstrip())
        closure = self.node(self.parse(code.strip()))
        paths = sorted(self.paths, key=lambda path: path.start)
        names = sorted(self.names, key=lambda name: name.start)
        evaluate = _evaluator(
            closure, _Place(self.source, 0, len(self.source)), self.builds
        )
        return Expression(self.source, tuple(paths), tuple(names), evaluate)

    def parse(self, code: str) -> ast.expr:
        try:
            return ast.parse(code, mode="eval").body
        except SyntaxError as error:
            start = self.offset + max(0, (error.offset or 1) - 1)
            end = self.offset + max(0, (error.end_offset or 0) - 1)
            start = min(start, len(self.source) - 1)
            raise ExpressionError(
                "this is not an expression", self.source, start, max(end, start + 1)
            ) from None
        except (ValueError, MemoryError, RecursionError):
            raise ExpressionError(
                "the expression is too complex", self.source
            ) from None

    def place(self, node: ast.expr | ast.keyword) -> _Place:
        end = node.end_col_offset or node.col_offset
        return _Place(self.source, self.offset + node.col_offset, self.offset + end)

    def node(self, node: ast.expr) -> _Closure:
        self.nodes += 1
        compile_node = _NODES.get(type(node))
        if compile_node is None:
            what = _REFUSED.get(type(node), "this")
            hint = _HINTS.get(type(node))
            raise self.place(node).error(
                f"{what} is not part of the language", hint=hint
            )
        return compile_node(self, node)

    # Literals

    def constant(self, node: ast.Constant) -> _Closure:
        return self.literal(self.place(node), node.value)

    def literal(self, place: _Place, value: Any) -> _Closure:
        if isinstance(value, str):
            value = self.masked.texts[place.start]
        elif isinstance(value, int | float):
            try:
                check_number(value)
            except Refusal as refusal:
                raise place.error(refusal.message) from None
        return lambda _run: value

    def list(self, node: ast.List) -> _Closure:
        self.builds = True
        items = [self.node(item) for item in node.elts]
        return lambda run: [item(run) for item in items]

    def dict(self, node: ast.Dict) -> _Closure:
        self.builds = True
        members: list[tuple[_Closure, _Closure, _Place]] = []
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                raise self.place(value).error(
                    "`**` is not part of the language", hint="merge(…)"
                )
            members.append((self.node(key), self.node(value), self.place(key)))

        def evaluate(run: _Run) -> Any:
            made: dict[str, Any] = {}
            for key, value, place in members:
                made[_key(key(run), place)] = value(run)
            return made

        return evaluate

    # Paths

    def path(self, node: ast.expr) -> _Closure:
        """Compile a name or any expression, and the steps behind it."""
        steps: list[ast.Attribute | ast.Subscript] = []
        base = node
        while isinstance(base, ast.Attribute | ast.Subscript):
            steps.append(base)
            base = base.value
        steps.reverse()
        if isinstance(base, ast.Name) and base.id not in LITERALS:
            return self.named_path(base, steps, node)
        closure = (
            self.literal_name(base) if isinstance(base, ast.Name) else self.node(base)
        )
        for step in steps:
            closure = self.step(closure, step)
        return closure

    def literal_name(self, node: ast.Name) -> _Closure:
        value = LITERALS[node.id]
        return lambda _run: value

    def named_path(
        self, base: ast.Name, nodes: list[ast.Attribute | ast.Subscript], node: ast.expr
    ) -> _Closure:
        place, name = self.place(node), Name(base.id, *self.place(base)[1:])
        self.check_name(name, nodes)
        known: list[str | int] = []
        for step in nodes:
            fixed = self.fixed_step(step)
            if fixed is None:
                break
            known.append(fixed)
        rest = nodes[len(known) :]
        if name.name == "tasks" and not (known and isinstance(known[0], str)):
            raise place.error(
                "a task must be named here, so that dependencies can be seen",
                hint="tasks.<id>",
            )
        self.mention(name, place, (*known, None) if rest else tuple(known))
        end = self.place(nodes[len(known) - 1]).end if known else name.end
        walk = _Walk(_Place(self.source, place.start, end), name, tuple(known), ())
        closure = self.walk_closure(walk)
        for step in rest:
            closure = self.step(closure, step)
        return closure

    def check_name(self, name: Name, nodes: list[Any]) -> None:
        if name.name in FUNCTIONS and name.name not in self.variables:
            hint = f"call it: `{name.name}(…)`"
            if nodes:
                hint = f"call it: `{name.name}(…)`; names are {', '.join(ROOTS)}"
            place = _Place(self.source, name.start, name.end)
            raise place.error(f"{name.name!r} is a function", hint=hint)

    def mention(self, name: Name, place: _Place, steps: Steps) -> None:
        if name.name not in self.variables:
            self.names.append(name)
            self.paths.append(
                Path(name.name, steps, place.start, place.end, self.guarded)
            )
            return
        over = self.variables[name.name]
        if over is not None and steps and None not in over.steps:
            whole = (*over.steps, 0, *steps)
            self.paths.append(
                Path(over.root, whole, place.start, place.end, self.guarded)
            )

    def walk_closure(self, walk: _Walk) -> _Closure:
        name = walk.name.name
        if name in self.variables:
            if not walk.steps:
                return lambda run: run.variables[name]
            return lambda run: walk.walk(run.variables[name], 0)
        plain = walk.plain
        return lambda run: plain(run.names)

    def fixed_step(self, step: ast.Attribute | ast.Subscript) -> str | int | None:
        """Give the key or index of a step that is written out; None for a computed one."""
        if isinstance(step, ast.Attribute):
            return self.masked.keys.get(self.place(step).end, step.attr)
        index = step.slice
        negative = isinstance(index, ast.UnaryOp) and isinstance(index.op, ast.USub)
        if negative:
            index = cast("ast.UnaryOp", index).operand
        if not isinstance(index, ast.Constant):
            return None
        if isinstance(index.value, str) and not negative:
            return self.masked.texts[self.place(index).start]
        if _is_index(index.value):
            number = cast("int", index.value)
            return -number if negative else number
        return None

    def step(self, closure: _Closure, step: ast.Attribute | ast.Subscript) -> _Closure:
        if isinstance(step, ast.Subscript) and isinstance(step.slice, ast.Slice):
            return self.slice(closure, step, step.slice)
        place = self.place(step)
        fixed = self.fixed_step(step)
        if isinstance(step, ast.Attribute) or fixed is not None:
            return lambda run: _take(closure(run), fixed, place)
        key = self.node(step.slice)
        return lambda run: _take(closure(run), key(run), place)

    def slice(
        self, closure: _Closure, step: ast.Subscript, bounds: ast.Slice
    ) -> _Closure:
        self.builds = True
        place = self.place(step)
        if bounds.step is not None:
            raise self.place(bounds.step).error("a slice has no step here")
        lower = None if bounds.lower is None else self.node(bounds.lower)
        upper = None if bounds.upper is None else self.node(bounds.upper)

        def evaluate(run: _Run) -> Any:
            value = closure(run)
            first = None if lower is None else lower(run)
            last = None if upper is None else upper(run)
            if value is None:
                raise place.error(
                    f"`{place.text}` leads nowhere: a slice of null", missing=True
                )
            if not isinstance(value, list):
                raise place.wrong(f"a slice takes a list, not {type_name(value)}")
            for bound in (first, last):
                if bound is not None and not _is_index(bound):
                    raise place.wrong("the bounds of a slice are whole numbers")
            items = cast("list[Any]", value)[first:last]
            return _spent(run, place, len(items), items)

        return evaluate

    # Operators

    def unary(self, node: ast.UnaryOp) -> _Closure:
        place = self.place(node.operand)
        if isinstance(node.op, ast.Not):
            operand = self.node(node.operand)
            return lambda run: not _truth(operand(run), place)
        if not isinstance(node.op, ast.USub):
            raise self.place(node).error(
                "a plus before a value is not part of the language"
            )
        if isinstance(node.operand, ast.Constant) and _is_number(node.operand.value):
            return self.literal(self.place(node), -node.operand.value)
        operand = self.node(node.operand)

        def negate(run: _Run) -> Any:
            value = operand(run)
            if not _is_number(value):
                raise place.wrong(f"`-` takes a number, not {type_name(value)}")
            return _arithmetic(operator.sub, 0, value, place)

        return negate

    def binary(self, node: ast.BinOp) -> _Closure:
        # The left side is walked in a loop: a long sum is a deep tree.
        chain: list[tuple[ast.BinOp, _Operation]] = []
        left: ast.expr = node
        while isinstance(left, ast.BinOp):
            operation = _OPERATIONS.get(type(left.op))
            if operation is None:
                raise self.place(left).error(
                    "this operator is not part of the language"
                )
            chain.append((left, operation))
            left = left.left
        self.nodes += len(chain)
        self.builds = self.builds or any(sign == "+" for _, (sign, _) in chain)
        first = self.node(left)
        parts = [
            (sign, operate, self.node(part.right), self.place(part))
            for part, (sign, operate) in reversed(chain)
        ]

        def evaluate(run: _Run) -> Any:
            value = first(run)
            for sign, operate, right, place in parts:
                other = right(run)
                if _is_number(value) and _is_number(other):
                    value = _arithmetic(operate, value, other, place)
                else:
                    value = _join(sign, value, other, place, run)
            return value

        return evaluate

    def boolean(self, node: ast.BoolOp) -> _Closure:
        parts = [(self.node(part), self.place(part)) for part in node.values]
        decisive = isinstance(node.op, ast.Or)

        def evaluate(run: _Run) -> bool:
            for part, place in parts:
                if _truth(part(run), place) is decisive:
                    return decisive
            return not decisive

        return evaluate

    def compare(self, node: ast.Compare) -> _Closure:
        first = self.node(node.left)
        place = self.place(node)
        parts: list[tuple[_Comparison, _Closure]] = []
        for sign, part in zip(node.ops, node.comparators, strict=True):
            comparison = _COMPARISONS.get(type(sign))
            if comparison is None:
                raise place.error(
                    "`is` is not part of the language", hint="write `== null`"
                )
            parts.append((comparison, self.node(part)))

        def evaluate(run: _Run) -> bool:
            left = first(run)
            for comparison, part in parts:
                right = part(run)
                try:
                    if not comparison(left, right, run.budget):
                        return False
                except Refusal as refusal:
                    raise place.wrong(refusal.message) from None
                left = right
            return True

        return evaluate

    def choice(self, node: ast.IfExp) -> _Closure:
        # So is the `else` side: `a if b else c if d else e`.
        test, place = self.node(node.test), self.place(node.test)
        then, other = self.node(node.body), self.node(node.orelse)
        return lambda run: then(run) if _truth(test(run), place) else other(run)

    # Comprehensions

    def list_comprehension(self, node: ast.ListComp) -> _Closure:
        items = self.comprehension(node, (node.elt,))
        return lambda run: [value for (value,) in items(run)]

    def dict_comprehension(self, node: ast.DictComp) -> _Closure:
        items = self.comprehension(node, (node.key, node.value))
        place = self.place(node.key)
        return lambda run: {_key(key, place): value for key, value in items(run)}

    def comprehension(
        self,
        node: ast.ListComp | ast.DictComp | ast.GeneratorExp,
        made: tuple[ast.expr, ...],
    ) -> Callable[[_Run], Iterator[tuple[Any, ...]]]:
        self.builds = True
        if len(node.generators) > 1:
            raise self.place(node).error(
                "a comprehension has one `for`", hint="flatten(…)"
            )
        loop = node.generators[0]
        name = self.variable(loop)
        if len(loop.ifs) > 1:
            raise self.place(loop.ifs[1]).error(
                "a comprehension has one `if`", hint="write `and`"
            )
        place = self.place(loop.iter)
        mentioned = len(self.paths)
        source = self.node(loop.iter)
        # The list's own path comes last of those mentioned in it.
        over = (
            self.paths[-1]
            if len(self.paths) > mentioned and _is_path(loop.iter)
            else None
        )
        nodes_before = self.nodes
        self.variables[name] = over
        test = self.node(loop.ifs[0]) if loop.ifs else None
        test_place = self.place(loop.ifs[0]) if loop.ifs else place
        parts = [self.node(part) for part in made]
        del self.variables[name]
        cost = 1 + self.nodes - nodes_before

        def evaluate(run: _Run) -> Iterator[tuple[Any, ...]]:
            values = source(run)
            if not isinstance(values, list):
                raise place.wrong(
                    f"a comprehension goes over a list, not {type_name(values)}"
                )
            for value in cast("list[Any]", values):
                _spent(run, place, cost, None)
                run.variables[name] = value
                if test is None or _truth(test(run), test_place):
                    yield tuple([part(run) for part in parts])

        return evaluate

    def variable(self, loop: ast.comprehension) -> str:
        if not isinstance(loop.target, ast.Name) or loop.is_async:
            raise self.place(loop.target).error(
                "a comprehension gives one name to each item"
            )
        name = loop.target.id
        if (
            name in ROOTS
            or name in FUNCTIONS
            or name in LITERALS
            or name in self.variables
        ):
            raise self.place(loop.target).error(
                f"the name {name!r} is taken", hint="choose another for the items"
            )
        return name

    # Functions

    def call(self, node: ast.Call) -> _Closure:
        place = self.place(node)
        function = self.function(node.func)
        name = function.name
        self.builds = True
        self.check_count(function, node)
        if name in {"exists", "default"}:
            arguments = [self.guarded_argument(argument) for argument in node.args]
            if name == "default":
                return lambda run: _first(arguments, run)
            if not _is_path(node.args[0]):
                raise self.place(node.args[0]).error("exists() takes a path")
            return lambda run: _first(arguments, run) is not None
        if name in {"any", "all"}:
            return self.quantifier(name, node.args[0])
        closures = [self.argument(argument) for argument in node.args]
        named = self.named_arguments(function, node)
        operate = cast("Callable[..., Any]", function.call)

        def evaluate(run: _Run) -> Any:
            values = [closure(run) for closure in closures]
            for closure in named:
                values.append(closure(run))
            try:
                function.check(values)
                return operate(run.budget, *values)
            except Refusal as refusal:
                raise place.wrong(refusal.message) from None

        return evaluate

    def function(self, node: ast.expr) -> Function:
        place = self.place(node)
        if isinstance(node, ast.Attribute):
            known = FUNCTIONS.get(node.attr)
            hint = f"write `{known.name}(…)`" if known else None
            raise place.error(
                "only functions can be called, not parts of a value", hint=hint
            )
        if not isinstance(node, ast.Name):
            raise place.error("only functions can be called")
        function = FUNCTIONS.get(node.id)
        if function is None:
            raise place.error(
                f"unknown function {node.id!r}", hint=suggest(node.id, FUNCTIONS)
            )
        return function

    def check_count(self, function: Function, node: ast.Call) -> None:
        given = len(node.args)
        most = len(function.parameters)
        if function.name == "range":
            most = 3
        elif function.many:
            most = MAX_TOKENS
        if function.fewest <= given + len(node.keywords) and given <= most:
            return
        counts = (
            str(most) if most == function.fewest else f"{function.fewest} to {most}"
        )
        if most == MAX_TOKENS:
            counts = f"{function.fewest} or more"
        raise self.place(node).error(
            f"{function.name}() takes {counts} argument{'s' * (counts != '1')}, not {given}",
            hint=function.signature,
        )

    def named_arguments(self, function: Function, node: ast.Call) -> list[_Closure]:
        """Give the arguments after those given by place: by name, or by default."""
        later = function.parameters[len(node.args) :] if not function.many else ()
        names = [parameter.name for parameter in later]
        given: dict[str, _Closure] = {}
        for argument in node.keywords:
            if (
                argument.arg is None
                or argument.arg not in names
                or argument.arg in given
            ):
                raise self.place(argument).error(
                    f"{function.name}() takes no such argument here",
                    hint=function.signature,
                )
            given[argument.arg] = self.argument(argument.value)
        closures: list[_Closure] = []
        for parameter in later:
            if parameter.name in given:
                closures.append(given[parameter.name])
            elif parameter.default is REQUIRED:
                raise self.place(node).error(
                    f"{function.name}() needs {parameter.name!r}",
                    hint=function.signature,
                )
            else:
                closures.append(lambda _run, value=parameter.default: value)
        return closures

    def argument(self, node: ast.expr) -> _Closure:
        if isinstance(node, ast.GeneratorExp):
            self.nodes += 1
            items = self.comprehension(node, (node.elt,))
            return lambda run: [value for (value,) in items(run)]
        return self.node(node)

    def guarded_argument(self, node: ast.expr) -> tuple[_Closure, bool]:
        if not _is_path(node):
            return self.argument(node), False
        outer, self.guarded = self.guarded, True
        closure = self.node(node)
        self.guarded = outer
        return closure, True

    def quantifier(self, name: str, node: ast.expr) -> _Closure:
        place = self.place(node)
        decisive = name == "any"
        if isinstance(node, ast.GeneratorExp):
            items = self.comprehension(node, (node.elt,))
        else:
            items = self.listed(name, node)

        def evaluate(run: _Run) -> bool:
            for (value,) in items(run):
                if _truth(value, place) is decisive:
                    return decisive
            return not decisive

        return evaluate

    def listed(
        self, name: str, node: ast.expr
    ) -> Callable[[_Run], Iterator[tuple[Any, ...]]]:
        closure, place = self.node(node), self.place(node)

        def evaluate(run: _Run) -> Iterator[tuple[Any, ...]]:
            values = closure(run)
            if not isinstance(values, list):
                raise place.wrong(f"{name}() takes a list, not {type_name(values)}")
            _spent(run, place, len(cast("list[Any]", values)), None)
            return ((value,) for value in cast("list[Any]", values))

        return evaluate


def _evaluator(
    closure: _Closure, place: _Place, builds: bool
) -> Callable[[Names], Any]:  # noqa: FBT001 - private
    def evaluate(names: Names) -> Any:
        try:
            value = closure(_Run(names))
            if builds:
                check_size(value)
        except Refusal as refusal:
            raise place.error(refusal.message) from None
        except (RecursionError, MemoryError):
            raise place.error("the expression is too complex for this data") from None
        return value

    return evaluate


def _spent(run: _Run, place: _Place, steps: int, value: Any) -> Any:
    try:
        run.budget.spend(steps)
    except Refusal as refusal:
        raise place.wrong(refusal.message) from None
    return value


def _is_path(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return isinstance(node, ast.Name) and node.id not in LITERALS


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _first(arguments: list[tuple[_Closure, bool]], run: _Run) -> Any:
    """Give the first value that is neither null nor, in a path, missing."""
    for closure, is_path in arguments:
        try:
            value = closure(run)
        except ExpressionError as error:
            if is_path and error.missing:
                continue
            raise
        if value is not None:
            return value
    return None


def _take(value: Any, step: Any, place: _Place) -> Any:
    if isinstance(value, dict) and isinstance(step, str):
        members = cast("dict[str, Any]", value)
        if step in members:
            return members[step]
    elif isinstance(value, list) and _is_index(step):
        items = cast("list[Any]", value)
        if -len(items) <= step < len(items):
            return items[step]
    elif not isinstance(step, str) and not _is_index(step):
        raise place.wrong(f"a step is a text or a whole number, not {type_name(step)}")
    raise _bad_step(place, value, step)


def _key(value: Any, place: _Place) -> str:
    if not isinstance(value, str):
        raise place.wrong(f"a key is a text, not {type_name(value)}")
    return value


def _truth(value: Any, place: _Place) -> bool:
    if value is True or value is False:
        return value
    raise place.wrong(f"this must be true or false, but it is {type_name(value)}")


def _arithmetic(
    operate: Callable[..., Any], left: Any, right: Any, place: _Place
) -> Any:
    try:
        return check_number(operate(left, right))
    except ZeroDivisionError:
        raise place.wrong("a division by zero") from None
    except OverflowError:
        raise place.wrong("the number is too large") from None
    except Refusal as refusal:
        raise place.wrong(refusal.message) from None


def _join(sign: str, left: Any, right: Any, place: _Place, run: _Run) -> Any:
    try:
        if sign == "+" and isinstance(left, str) and isinstance(right, str):
            run.budget.spend_text(len(left) + len(right))
            return left + right
        if sign == "+" and isinstance(left, list) and isinstance(right, list):
            ours, theirs = cast("list[Any]", left), cast("list[Any]", right)
            run.budget.spend_list(len(ours) + len(theirs))
            return ours + theirs
    except Refusal as refusal:
        raise place.wrong(refusal.message) from None
    takes = "two numbers, two texts or two lists" if sign == "+" else "two numbers"
    error = place.wrong(
        f"`{sign}` takes {takes}, not {type_name(left)} and {type_name(right)}"
    )
    if sign == "+" and str in {type(left), type(right)}:
        error.hint = "string(…) makes a text of any value"
    raise error


def _equal(left: Any, right: Any, budget: Budget) -> bool:
    if left is None or right is None:
        return left is right
    kinds = type_name(left), type_name(right)
    if kinds[0] != kinds[1]:
        raise Refusal(f"{kinds[0]} cannot be compared with {kinds[1]}")
    return same(left, right, budget)


def _ordered(operate: Callable[[Any, Any], bool]) -> _Comparison:
    def compare(left: Any, right: Any, _budget: Budget) -> bool:
        kinds = type_name(left), type_name(right)
        if kinds not in {("number", "number"), ("text", "text")}:
            raise Refusal(f"{kinds[0]} and {kinds[1]} have no order")
        return operate(left, right)

    return compare


def _within(part: Any, whole: Any, budget: Budget) -> bool:
    if isinstance(whole, list):
        items = cast("list[Any]", whole)
        budget.spend(1 + len(items))
        return any([same(part, item, budget) for item in items])
    if not isinstance(whole, str | dict):
        raise Refusal(
            f"`in` looks into a list, a text or an object, not {type_name(whole)}"
        )
    if not isinstance(part, str):
        raise Refusal(
            f"`in` looks for a text in {type_name(whole)}, not for {type_name(part)}"
        )
    if isinstance(whole, str):
        budget.spend_text(len(whole))
    return part in whole


_Operation = tuple[str, Callable[[Any, Any], Any]]
_Comparison = Callable[[Any, Any, Budget], bool]
_OPERATIONS: dict[type[ast.operator], _Operation] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
    ast.FloorDiv: ("//", operator.floordiv),
    ast.Mod: ("%", operator.mod),
}
_COMPARISONS: dict[type[ast.cmpop], _Comparison] = {
    ast.Eq: _equal,
    ast.NotEq: lambda left, right, budget: not _equal(left, right, budget),
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
    ast.In: _within,
    ast.NotIn: lambda left, right, budget: not _within(left, right, budget),
}
_NODES: dict[type[ast.expr], Callable[[_Compiler, Any], _Closure]] = {
    ast.Constant: _Compiler.constant,
    ast.List: _Compiler.list,
    ast.Dict: _Compiler.dict,
    ast.Name: _Compiler.path,
    ast.Attribute: _Compiler.path,
    ast.Subscript: _Compiler.path,
    ast.UnaryOp: _Compiler.unary,
    ast.BinOp: _Compiler.binary,
    ast.BoolOp: _Compiler.boolean,
    ast.Compare: _Compiler.compare,
    ast.IfExp: _Compiler.choice,
    ast.ListComp: _Compiler.list_comprehension,
    ast.DictComp: _Compiler.dict_comprehension,
    ast.Call: _Compiler.call,
}
_REFUSED: dict[type[ast.expr], str] = {
    ast.Tuple: "a tuple",
    ast.Set: "a set",
    ast.SetComp: "a set",
    ast.Lambda: "`lambda`",
    ast.Starred: "`*`",
    ast.Await: "`await`",
    ast.GeneratorExp: "a bare `for`",
    ast.Slice: "a slice here",
}
_HINTS: dict[type[ast.expr], str] = {
    ast.Tuple: "write a list: [a, b]",
    ast.Set: "write a list: [a, b]",
    ast.SetComp: "write unique([…])",
    ast.GeneratorExp: "write a list: [… for … in …]",
}
