"""Expressions: compiled once to closures, evaluated over plain JSON data.

Python's parser reads a source that `lexer` has bounded and masked; its tree is walked once here. A
node that is not named in `_NODES` is refused. No attribute of an object is ever looked up: a name
after a dot is the key of an object.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, cast

from talea.errors import ExpressionError
from talea.expr.functions import FUNCTIONS, REQUIRED, Function
from talea.expr.lexer import MAX_TOKENS, Masked, mask
from talea.expr.operators import ARITHMETIC, COMPARISONS, Operation, negate, not_boolean
from talea.expr.paths import (
    Name,
    Names,
    Path,
    Place,
    Steps,
    suggest,
    take,
    take_slice,
    walk_from,
    walk_into,
)
from talea.expr.values import Budget, Refusal, check_number, check_size, is_number, type_name

ROOTS = ("inputs", "tasks", "run", "item", "index", "loop", "error")
"""Every name that a path may begin with, somewhere."""
LITERALS = {"true": True, "false": False, "null": None}


class Expression:
    """A compiled expression.

    `paths` holds every path it mentions in the order of the source, `tasks` the ids after `tasks.`,
    each once. One that is a single path and nothing else is given neither names nor a function:
    most are, and a large document would spend much of its loading on them.
    """

    __slots__ = ("_evaluate", "_names", "paths", "source", "tasks")

    def __init__(
        self,
        source: str,
        paths: tuple[Path, ...],
        names: tuple[Name, ...] | None = None,
        evaluate: Callable[[Names], Any] | None = None,
    ) -> None:
        self.source = source
        self.paths = paths
        self.tasks: tuple[str, ...] = (
            tuple(dict.fromkeys(path.task for path in paths if path.task is not None))
            if len(paths) != 1
            else ()
            if paths[0].task is None
            else (paths[0].task,)
        )
        self._names = names
        self._evaluate = evaluate

    @property
    def names(self) -> tuple[Name, ...]:
        """Every name that a path begins with, in the order of the source."""
        if self._names is None:
            path = self.paths[0]
            self._names = (Name(path.root, path.start, path.start + len(path.root)),)
        return self._names

    @property
    def constant(self) -> bool:
        """Whether it mentions no name."""
        return not self.names

    def evaluate(self, names: Names) -> Any:
        """Give its value over the names that apply; it may share parts with theirs.

        Raises ExpressionError, with `missing` where a path leads nowhere.
        """
        return (self._evaluate or self._walk())(names)

    def _walk(self) -> Callable[[Names], Any]:
        """Make the walk of a single path, when it is evaluated first."""
        path = self.paths[0]
        steps = cast("tuple[str | int, ...]", path.steps)
        self._evaluate = walk_from(self.names[0], steps, Place(self.source, path.start, path.end))
        return self._evaluate

    def decide(self, names: Names) -> bool:
        """Give its value, which must be a boolean. Raises ExpressionError."""
        value = self.evaluate(names)
        if value is True or value is False:
            return value
        message = f"a condition gives true or false, but this gives {type_name(value)}"
        raise ExpressionError(message, self.source)

    def __repr__(self) -> str:
        return f"Expression({self.source!r})"


@lru_cache(maxsize=4096)
def compile_expression(source: str) -> Expression:
    """Compile an expression. Raises ExpressionError with the place in the source."""
    plain = _PLAIN.fullmatch(source)
    if plain is None or plain["root"] in _NOT_PLAIN:
        return _Compiler(source).compile()
    root = plain["root"]
    if root == "tasks" and source[plain.end("root")] != ".":
        return _Compiler(source).compile()
    start, end = plain.span("path")
    steps = tuple(key or int(index) for key, index in _STEP.findall(plain["steps"]))
    return Expression(source, (Path(root, steps, start, end),))


# By far the most expressions are one plain path. They need no parser.
_PLAIN = re.compile(
    r"\s{0,64}(?P<path>(?P<root>[a-z][a-z0-9_]{0,63})"
    r"(?P<steps>(?:\.[A-Za-z_][A-Za-z0-9_]{0,63}|\[(?:0|-?[1-9][0-9]{0,8})\]){1,24}))\s{0,64}"
)
_STEP = re.compile(r"\.(\w+)|\[(-?\d+)\]", re.ASCII)
_NOT_PLAIN = frozenset({*LITERALS, *FUNCTIONS, *keyword.kwlist})


class _Run:
    """One evaluation: the names that apply, the variables of comprehensions, the budget."""

    __slots__ = ("budget", "names", "variables")

    def __init__(self, names: Names) -> None:
        self.names = names
        self.variables: dict[str, Any] = {}
        self.budget = Budget()


_MISSED = 16
"""Steps that a guarded error is worth: it is made and caught."""

_Closure = Callable[[_Run], Any]
_Rows = Callable[[_Run], Iterator[list[Any]]]
_Step = ast.Attribute | ast.Subscript
_Comprehension = ast.ListComp | ast.DictComp | ast.GeneratorExp


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
        """Whether it makes lists or objects, whose size must be looked at."""
        self.nodes = 0

    def compile(self) -> Expression:
        self.masked = mask(self.source)
        code = self.masked.code.strip()
        self.offset = self.masked.code.index(code)
        closure = self.node(self.parse(code))
        paths = tuple(sorted(self.paths, key=lambda path: path.start))
        names = tuple(sorted(self.names, key=lambda name: name.start))
        place = Place(self.source, self.offset, self.offset + len(code))
        return Expression(self.source, paths, names, self.bounded(closure, place))

    def parse(self, code: str) -> ast.expr:
        try:
            return ast.parse(code, mode="eval").body
        except SyntaxError as error:
            raise self.unreadable(error, len(code)) from None
        except (ValueError, MemoryError, RecursionError):
            raise ExpressionError("the expression is too complex", self.source) from None

    def unreadable(self, error: SyntaxError, length: int) -> ExpressionError:
        """Put what Python's parser says into the words of this language."""
        if not error.offset:  # it met the end
            end = self.offset + length
            return Place(self.source, end - 1, end).error("the expression ends too early")
        start = self.offset + error.offset - 1
        end = max(start + 1, self.offset + (error.end_offset or 0) - 1)
        hint = None
        if "'else'" in error.msg:
            hint = "write `a if condition else b`"
        elif "comma" in error.msg:
            hint = "is a comma or an operator missing?"
        return Place(self.source, start, end).error("this is not an expression", hint=hint)

    def bounded(self, closure: _Closure, place: Place) -> Callable[[Names], Any]:
        builds = self.builds

        def evaluate(names: Names) -> Any:
            try:
                value = closure(_Run(names))
                if builds:
                    check_size(value)
            except Refusal as refusal:
                raise place.wrong(refusal.message, hint=refusal.hint) from None
            except (RecursionError, MemoryError):
                raise place.wrong("this is too complex for the data it meets") from None
            return value

        return evaluate

    def node(self, node: ast.expr) -> _Closure:
        self.nodes += 1
        compile_node = _NODES.get(type(node))
        if compile_node is None:
            what, hint = _REFUSED.get(type(node), ("this", None))
            raise self.place(node).error(f"{what} is not part of the language", hint=hint)
        return compile_node(self, node)

    def place(self, node: ast.expr | ast.keyword) -> Place:
        end = node.end_col_offset or node.col_offset
        start = self.offset + node.col_offset
        return Place(self.source, start, self.offset + end, self.guarded)

    def condition(self, node: ast.expr) -> Callable[[_Run], bool]:
        closure, place = self.node(node), self.place(node)

        def decide(run: _Run) -> bool:
            value = closure(run)
            if value is True or value is False:
                return value
            raise place.wrong(not_boolean(value))

        return decide

    # Literals

    def constant(self, node: ast.Constant) -> _Closure:
        if node.value is ...:
            raise self.place(node).error("`...` is not part of the language")
        return self.literal(self.place(node), node.value)

    def literal(self, place: Place, value: Any) -> _Closure:
        if isinstance(value, str):
            value = self.masked.texts[place.start]
        elif is_number(value):
            try:
                check_number(value)
            except Refusal as refusal:
                raise place.error(refusal.message) from None
        return _always(value)

    def list(self, node: ast.List) -> _Closure:
        self.builds = True
        items = [self.node(item) for item in node.elts]
        return lambda run: [item(run) for item in items]

    def dict(self, node: ast.Dict) -> _Closure:
        self.builds = True
        members: list[tuple[_Closure, _Closure]] = []
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                place = self.place(value)
                raise place.error("`**` is not part of the language", hint="write merge(…)")
            members.append((self.key(key), self.node(value)))
        return lambda run: {key(run): value(run) for key, value in members}

    def key(self, node: ast.expr) -> _Closure:
        closure, place = self.node(node), self.place(node)

        def evaluate(run: _Run) -> str:
            value = closure(run)
            if isinstance(value, str):
                return value
            raise place.wrong(f"a key is a text, not {type_name(value)}")

        return evaluate

    # Paths

    def path(self, node: ast.Name | _Step) -> _Closure:
        """Compile a name or another value, and the steps behind it, however many."""
        steps: list[_Step] = []
        base: ast.expr = node
        while isinstance(base, ast.Attribute | ast.Subscript):
            steps.append(base)
            base = base.value
        steps.reverse()
        if not isinstance(base, ast.Name):
            closure = self.node(base)
        elif base.id in LITERALS:
            closure = _always(LITERALS[base.id])
        else:
            closure, steps = self.named(base, steps, node)
        for step in steps:
            closure = self.step(closure, step)
        return closure

    def named(
        self, base: ast.Name, steps: list[_Step], node: ast.expr
    ) -> tuple[_Closure, list[_Step]]:
        """Compile a name and its fixed steps; gives the steps that are left."""
        name = Name(base.id, *self.place(base)[1:3])
        if name.name in FUNCTIONS:
            hint = f"write `{name.name}(…)`"
            raise self.place(base).error(f"{name.name!r} is a function", hint=hint)
        known: list[str | int] = []
        for step in steps:
            fixed = self.fixed_step(step)
            if fixed is None:
                break
            known.append(fixed)
        fixed_steps, rest = tuple(known), steps[len(known) :]
        if name.name == "tasks" and not (known and isinstance(known[0], str)):
            hint = "write `tasks.` and the id of a task"
            raise self.place(node).error(
                "a task must be named, so that dependencies can be seen", hint=hint
            )
        self.mention(name, self.place(node), (*known, None) if rest else fixed_steps)
        place = self.place(steps[len(known) - 1]) if known else self.place(base)
        if name.name not in self.variables:
            walk = walk_from(name, fixed_steps, place)
            return lambda run: walk(run.names), rest
        variable = name.name
        if not known:
            return lambda run: run.variables[variable], rest
        return lambda run: walk_into(run.variables[variable], fixed_steps, place), rest

    def mention(self, name: Name, place: Place, steps: Steps) -> None:
        root = name.name
        if root in self.variables:
            over = self.variables[root]
            if over is None or not steps or None in over.steps:
                return
            root, steps = over.root, (*over.steps, 0, *steps)
        else:
            self.names.append(name)
        self.paths.append(Path(root, steps, place.start, place.end, self.guarded))

    def fixed_step(self, step: _Step) -> str | int | None:
        """Give the key or index of a step that is written out; None for a computed one."""
        if isinstance(step, ast.Attribute):
            return self.masked.keys.get(self.place(step).end, step.attr)
        match step.slice:
            case ast.Constant(value=str()):
                return self.masked.texts[self.place(step.slice).start]
            case ast.Constant(value=int(index)) if not isinstance(index, bool):
                return index
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(index))) if (
                not isinstance(index, bool)
            ):
                return -index
            case _:
                return None

    def step(self, closure: _Closure, step: _Step) -> _Closure:
        place = self.place(step)
        fixed = self.fixed_step(step)
        if fixed is not None:
            steps = (fixed,)
            return lambda run: walk_into(closure(run), steps, place)
        index = cast("ast.Subscript", step).slice
        if isinstance(index, ast.Slice):
            return self.slice(closure, index, place)
        key = self.node(index)
        return lambda run: take(closure(run), key(run), place)

    def slice(self, closure: _Closure, bounds: ast.Slice, place: Place) -> _Closure:
        if bounds.step is not None:
            raise self.place(bounds.step).error("a slice has no step")
        lower = self.node(bounds.lower) if bounds.lower else _always(None)
        upper = self.node(bounds.upper) if bounds.upper else _always(None)

        def evaluate(run: _Run) -> Any:
            part = take_slice(closure(run), lower(run), upper(run), place)
            run.budget.spend(len(part))
            return part

        return evaluate

    # Operators

    def unary(self, node: ast.UnaryOp) -> _Closure:
        if isinstance(node.op, ast.Not):
            condition = self.condition(node.operand)
            return lambda run: not condition(run)
        if not isinstance(node.op, ast.USub):
            raise self.place(node).error("a sign before a value is `-` or nothing")
        if isinstance(node.operand, ast.Constant) and is_number(node.operand.value):
            return self.literal(self.place(node), -cast("float", node.operand.value))
        operand, place = self.node(node.operand), self.place(node.operand)

        def evaluate(run: _Run) -> Any:
            value = operand(run)
            try:
                return negate(value)
            except Refusal as refusal:
                raise place.wrong(refusal.message) from None

        return evaluate

    def binary(self, node: ast.BinOp) -> _Closure:
        # The left side is walked in a loop, since a long sum is a deep tree.
        chain: list[tuple[Operation, ast.BinOp]] = []
        left: ast.expr = node
        while isinstance(left, ast.BinOp):
            operation = ARITHMETIC.get(type(left.op))
            if operation is None:
                raise self.place(left).error("this operator is not part of the language")
            self.builds = self.builds or isinstance(left.op, ast.Add)
            chain.append((operation, left))
            left = left.left
        first = self.node(left)
        parts = [
            (operation, self.node(part.right), self.place(part))
            for operation, part in reversed(chain)
        ]
        return lambda run: _chained(first(run), parts, run)

    def boolean(self, node: ast.BoolOp) -> _Closure:
        parts = [self.condition(part) for part in node.values]
        decisive = isinstance(node.op, ast.Or)

        def evaluate(run: _Run) -> bool:
            for part in parts:
                if part(run) is decisive:
                    return decisive
            return not decisive

        return evaluate

    def compare(self, node: ast.Compare) -> _Closure:
        first, place = self.node(node.left), self.place(node)
        parts: list[tuple[Operation, _Closure]] = []
        for sign, part in zip(node.ops, node.comparators, strict=True):
            operation = COMPARISONS.get(type(sign))
            if operation is None:
                raise place.error("`is` is not part of the language", hint="write `== null`")
            parts.append((operation, self.node(part)))

        def evaluate(run: _Run) -> bool:
            left = first(run)
            for operation, part in parts:
                right = part(run)
                try:
                    if not operation(left, right, run.budget):
                        return False
                except Refusal as refusal:
                    raise place.wrong(refusal.message, hint=refusal.hint) from None
                left = right
            return True

        return evaluate

    def choice(self, node: ast.IfExp) -> _Closure:
        condition = self.condition(node.test)
        then, other = self.node(node.body), self.node(node.orelse)
        return lambda run: then(run) if condition(run) else other(run)

    # Comprehensions

    def list_comprehension(self, node: ast.ListComp | ast.GeneratorExp) -> _Closure:
        rows = self.comprehension(node, [node.elt])
        return lambda run: [value for (value,) in rows(run)]

    def dict_comprehension(self, node: ast.DictComp) -> _Closure:
        rows = self.comprehension(node, [node.key, node.value])
        place = self.place(node.key)

        def evaluate(run: _Run) -> Any:
            made: dict[str, Any] = {}
            for key, value in rows(run):
                if not isinstance(key, str):
                    raise place.wrong(f"a key is a text, not {type_name(key)}")
                made[key] = value
            return made

        return evaluate

    def comprehension(self, node: _Comprehension, parts: list[ast.expr]) -> _Rows:
        """Compile a loop over a list that makes the values of some parts for each item."""
        self.builds = True
        if len(node.generators) > 1:
            place = self.place(node.generators[1].target)
            raise place.error("a comprehension has one `for`", hint="flatten(…) may do")
        loop = node.generators[0]
        if len(loop.ifs) > 1:
            raise self.place(loop.ifs[1]).error("a comprehension has one `if`", hint="write `and`")
        place, before = self.place(loop.iter), len(self.paths)
        source = self.node(loop.iter)
        # Its own path is the first one that was mentioned in it.
        own = self.paths[before] if len(self.paths) > before else None
        variable = self.variable(loop)
        nodes = self.nodes
        self.variables[variable] = own if own and own.start == place.start else None
        condition = self.condition(loop.ifs[0]) if loop.ifs else None
        closures = [self.node(part) for part in parts]
        del self.variables[variable]
        cost = 1 + self.nodes - nodes

        def evaluate(run: _Run) -> Iterator[list[Any]]:
            values = source(run)
            if not isinstance(values, list):
                raise place.wrong(f"a comprehension goes over a list, not {type_name(values)}")
            for value in cast("list[Any]", values):
                run.budget.spend(cost)
                run.variables[variable] = value
                if condition is None or condition(run):
                    yield [closure(run) for closure in closures]

        return evaluate

    def variable(self, loop: ast.comprehension) -> str:
        target = loop.target
        if not isinstance(target, ast.Name):
            raise self.place(target).error("a comprehension gives one name to each item")
        if target.id in {*ROOTS, *FUNCTIONS, *LITERALS, *self.variables}:
            hint = "choose another name for the items"
            raise self.place(target).error(f"the name {target.id!r} is taken", hint=hint)
        return target.id

    # Functions

    def call(self, node: ast.Call) -> _Closure:
        function = self.function(node.func)
        self.check_count(function, node)
        named = self.named_arguments(function, node)
        if function.name in {"exists", "default"}:
            return self.guard(function.name, node.args)
        if function.name in {"any", "all"}:
            return self.quantifier(function.name, node.args[0])
        self.builds = self.builds or function.result in {"list", "object"}
        closures = [*(self.argument(argument) for argument in node.args), *named]
        operate, place = cast("Callable[..., Any]", function.call), self.place(node)

        def evaluate(run: _Run) -> Any:
            arguments = [closure(run) for closure in closures]
            try:
                function.check(arguments)
                return operate(run.budget, *arguments)
            except Refusal as refusal:
                raise place.wrong(refusal.message, hint=refusal.hint) from None

        return evaluate

    def function(self, node: ast.expr) -> Function:
        place = self.place(node)
        if isinstance(node, ast.Attribute):
            hint = f"write `{node.attr}(…)`" if node.attr in FUNCTIONS else None
            raise place.error("a value has no functions of its own", hint=hint)
        if not isinstance(node, ast.Name):
            raise place.error("this is no function")
        function = FUNCTIONS.get(node.id)
        if function is None:
            raise place.error(f"unknown function {node.id!r}", hint=suggest(node.id, FUNCTIONS))
        return function

    def check_count(self, function: Function, node: ast.Call) -> None:
        given = len(node.args)
        if function.fewest <= given <= (function.most or MAX_TOKENS):
            return
        if function.most is None:
            counts = f"{function.fewest} or more arguments"
        elif function.most > function.fewest:
            counts = f"{function.fewest} to {function.most} arguments"
        else:
            counts = f"{function.most} argument{'s' if function.most > 1 else ''}"
        message = f"{function.name}() takes {counts}, not {given}"
        raise self.place(node).error(message, hint=function.signature)

    def named_arguments(self, function: Function, node: ast.Call) -> list[_Closure]:
        """Give the arguments that may be left out and are not given by place."""
        places = len(node.args) if not function.many else len(function.parameters)
        later = {
            parameter.name: _always(parameter.default)
            for parameter in function.parameters[places:]
            if parameter.default is not REQUIRED
        }
        seen: set[str | None] = set()
        for argument in node.keywords:
            if argument.arg is None or argument.arg not in later or argument.arg in seen:
                message = f"{function.name}() takes no such argument here"
                raise self.place(argument).error(message, hint=function.signature)
            seen.add(argument.arg)
            later[argument.arg] = self.argument(argument.value)
        return list(later.values())

    def argument(self, node: ast.expr) -> _Closure:
        if isinstance(node, ast.GeneratorExp):
            return self.list_comprehension(node)
        return self.node(node)

    def guard(self, name: str, nodes: list[ast.expr]) -> _Closure:
        arguments: list[tuple[_Closure, bool]] = []
        for node in nodes:
            path = _is_path(node)
            if name == "exists" and not path:
                raise self.place(node).error("exists() takes a path")
            outer, self.guarded = self.guarded, self.guarded or path
            arguments.append((self.argument(node), path))
            self.guarded = outer
        if name == "exists":
            return lambda run: _first(arguments, run) is not None
        return lambda run: _first(arguments, run)

    def quantifier(self, name: str, node: ast.expr) -> _Closure:
        decisive, place = name == "any", self.place(node)
        if isinstance(node, ast.GeneratorExp):
            rows, place = self.comprehension(node, [node.elt]), self.place(node.elt)
        else:
            rows = self.rows(name, node)

        def evaluate(run: _Run) -> bool:
            for (value,) in rows(run):
                if value is not True and value is not False:
                    raise place.wrong(not_boolean(value))
                if value is decisive:
                    return decisive
            return not decisive

        return evaluate

    def rows(self, name: str, node: ast.expr) -> _Rows:
        closure, place = self.node(node), self.place(node)

        def evaluate(run: _Run) -> Iterator[list[Any]]:
            values = closure(run)
            if not isinstance(values, list):
                raise place.wrong(f"{name}() takes a list, not {type_name(values)}")
            run.budget.spend(len(cast("list[Any]", values)))
            for value in cast("list[Any]", values):
                yield [value]

        return evaluate


def _always(value: Any) -> _Closure:
    return lambda _run: value


def _chained(value: Any, parts: list[tuple[Operation, _Closure, Place]], run: _Run) -> Any:
    for operation, part, place in parts:
        other = part(run)
        try:
            value = operation(value, other, run.budget)
        except Refusal as refusal:
            raise place.wrong(refusal.message, hint=refusal.hint) from None
    return value


def _first(arguments: list[tuple[_Closure, bool]], run: _Run) -> Any:
    """Give the first value that is neither null nor, where it is a path, missing."""
    for closure, is_path in arguments:
        try:
            value = closure(run)
        except ExpressionError as error:
            if is_path and error.missing:
                run.budget.spend(_MISSED)
                continue
            raise
        if value is not None:
            return value
    return None


def _is_path(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return isinstance(node, ast.Name) and node.id not in LITERALS


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
_REFUSED: dict[type[ast.expr], tuple[str, str | None]] = {
    ast.Tuple: ("a tuple", "write a list: [a, b]"),
    ast.Set: ("a set", "write a list: [a, b]"),
    ast.SetComp: ("a set", "write unique([…])"),
    ast.GeneratorExp: ("a bare `for`", "write a list: [… for … in …]"),
    ast.Starred: ("`*`", None),
}
