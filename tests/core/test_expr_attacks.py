"""Attacks on the expression language: what they reach for is not there, and they end soon."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from talea.errors import ExpressionError
from talea.expr import (
    compile_expression,
    compile_structure,
    compile_template,
    parse_json,
    to_text,
    type_name,
)
from talea.expr.values import MAX_NUMBER, MAX_TEXT, MAX_VALUES


class Guarded:
    """An object whose every use is a hit."""

    secret = "canary"
    """What must not be found."""

    def shut_down(self) -> None:
        raise AssertionError("a method was called")


NAMES: dict[str, Any] = {
    "inputs": {
        "text": "x" * 1000,
        "long": "x" * 9_000_000,
        "list": list(range(1000)),
        "big": list(range(100_000)),
        "rows": [{"k": str(number)} for number in range(2000)],
        "object": {"a": 1},
        "thing": Guarded(),
        "code": len,
        "huge": 10**400,
        "nan": math.nan,
        "nothing": None,
    },
    "tasks": {"a": {"output": "{{ inputs.secret }}"}},
}


def outcome(source: str, names: dict[str, Any] = NAMES) -> Any:
    """Give the value of an expression, or the error it refuses with."""
    try:
        return compile_expression(source).evaluate(names)
    except ExpressionError as error:
        return error


@pytest.mark.parametrize(
    "source",
    [
        "inputs.__class__",
        "inputs.text.__class__.__mro__[1].__subclasses__()",
        "inputs.object.__dict__",
        "''.__class__",
        "[].append",
        "{}.update",
        "(1).real",
        "inputs.object.items()",
        "inputs.list.sort()",
        "inputs['__class__']",
        "inputs.thing.secret",
        "inputs.thing['secret']",
        "inputs.thing.shut_down()",
        "inputs.code(inputs.text)",
        "inputs.code.__globals__",
        "__import__('os')",
        "open('/etc/passwd')",
        "eval('1')",
        "globals()",
        "getattr(inputs, 'text')",
        "len.__self__",
        "len.__class__",
        "tasks.__class__.__init__",
        "names",
        "run.names",
        "[x for x in [1]].__iter__",
        "(lambda: 1)()",
        "f'{inputs.thing.secret}'",
        "'%s' % inputs.thing",
        "'{0.secret}'.format(inputs.thing)",
        "inputs.thing == inputs.thing.secret",
        "string(inputs.thing)",
        "len(inputs.thing)",
        "sorted([inputs.thing, inputs.thing])",
        "inputs.thing + 1",
        "-inputs.thing",
        "1 in inputs.thing",
        "'a' in inputs.code",
    ],
)
def test_nothing_but_data_is_reached(source: str) -> None:
    result = outcome(source)
    assert isinstance(result, ExpressionError)
    assert "canary" not in str(result)


@pytest.mark.parametrize(
    "source",
    [
        "+".join(["inputs.long"] * 20),
        "inputs.text * 1000000000",
        "9999999999 * 9999999999 * 9999999999",
        "inputs.huge * inputs.huge",
        "inputs.huge + 0",
        "inputs.nan + 1",
        "1e200 * 1e200",
        "1e300 / 1e-300",
        "round(1e300)",
        "round(9000000000000000000, -19)",
        "range(1000000000)",
        "range(inputs.huge)",
        "range(-9000000000000000000, 9000000000000000000)",
        "[range(10000) for x in inputs.list]",
        "[[a + b for b in inputs.list] for a in inputs.big]",
        "any(any(any(a == b and c < 0 for c in inputs.big) for b in inputs.big) for a in inputs.big)",
        "[inputs.big + inputs.big for x in inputs.list]",
        "[x in inputs.big for x in inputs.big if x > 50000]",
        "[inputs.long + 'x' for x in inputs.list]",
        "[inputs.long == inputs.long + '' for x in inputs.list]",
        "[upper(inputs.long) for x in inputs.list]",
        "[contains(inputs.long, 'y') for x in inputs.list]",
        "[inputs.long < inputs.long for x in inputs.list]",
        "[json(inputs.big) for x in inputs.list]",
        "[unique(inputs.rows) for x in inputs.list]",
        "[sorted(inputs.big) for x in inputs.list]",
        "[inputs.rows == inputs.rows for x in inputs.big]",
        "[zip(inputs.big, inputs.big) for x in inputs.list]",
        "[sum(inputs.big) for x in inputs.list]",
        "[inputs.big[1:] for x in inputs.list]",
        "[[default(inputs.nope, x) for x in inputs.list] for y in inputs.list]",
        "replace(inputs.long, 'x', 'xx')",
        "split(inputs.long, 'x')",
        "join([inputs.long for x in inputs.list], '')",
        "[inputs.long for x in inputs.list]",
        "{string(x): inputs.long for x in inputs.list}",
        "[inputs.big for x in inputs.list]",
        "merge({'a': inputs.big}, {'b': [inputs.big for x in range(10)]})",
    ],
)
def test_what_grows_without_end_is_refused(source: str) -> None:
    assert isinstance(outcome(source), ExpressionError)


def doubled(levels: int) -> str:
    """Write a list that doubles at each level: a few steps make 2**levels items."""
    source = "['xxxxxxxx']"
    for level in range(levels):
        source = f"[[v{level}, v{level}] for v{level} in {source}]"
    return source


def test_data_that_shares_what_it_repeats_counts_as_often_as_it_stands() -> None:
    result = outcome(doubled(15))
    assert type_name(result) == "list"
    assert isinstance(outcome(doubled(25)), ExpressionError)
    assert isinstance(outcome(f"len(json({doubled(25)}))"), ExpressionError)
    assert isinstance(outcome(f"{doubled(25)} == {doubled(25)}"), ExpressionError)


def repeated(times: int, value: Any, step: Callable[[Any], Any]) -> Any:
    """Apply a step to its own result."""
    for _ in range(times):
        value = step(value)
    return value


def test_a_structure_cannot_double_from_task_to_task() -> None:
    copy = compile_structure({"a": "{{ inputs }}", "b": ["{{ inputs }}"]})
    with pytest.raises(ExpressionError, match="more than"):
        repeated(100, "x" * 10, lambda value: copy.render({"inputs": value}))


def test_a_structure_cannot_deepen_from_iteration_to_iteration() -> None:
    wrap = compile_structure(["{{ loop.output }}"])
    with pytest.raises(ExpressionError, match="levels"):
        repeated(1000, None, lambda value: wrap.render({"loop": {"output": value}}))


def test_a_structure_of_too_many_levels_is_refused() -> None:
    value: Any = "x"
    for _ in range(5000):
        value = [value]
    with pytest.raises(ExpressionError, match="levels"):
        compile_structure(value)


def test_a_text_cannot_grow_from_hole_to_hole() -> None:
    template = compile_template("{{ inputs.long }}" * 2)
    with pytest.raises(ExpressionError, match="longer than"):
        template.render(NAMES)


def test_a_list_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    names = {"inputs": {"loop": loop}}
    for source in ("json(inputs.loop)", "inputs.loop == [inputs.loop]", "unique(inputs.loop)"):
        assert isinstance(outcome(source, names), ExpressionError | bool)
    with pytest.raises(ExpressionError):
        to_text(loop)


# Nesting, in a thread whose stack is small

SHAPES: dict[str, Callable[[int], str]] = {
    "parentheses": lambda n: "(" * n + "1" + ")" * n,
    "open parentheses": lambda n: "(" * n,
    "lists": lambda n: "[" * n + "1" + "]" * n,
    "objects": lambda n: '{"a":' * n + "1" + "}" * n,
    "subscripts": lambda n: "a" + "[a" * n + "]" * n,
    "calls": lambda n: "len(" * n + "'a'" + ")" * n,
    "comprehensions": lambda n: "[x for x in " * n + "[]" + "]" * n,
    "not": lambda n: "not " * n + "true",
    "minus": lambda n: "-" * n + "1",
    "not and lists": lambda n: "not [" * n + "1" + "]" * n,
    "minus and parentheses": lambda n: "-(" * n + "1" + ")" * n,
    "else": lambda n: "1 if true else " * n + "1",
    "else and parentheses": lambda n: "1 if true else (" * n + "1" + ")" * n,
    "lambda": lambda n: "lambda: " * n + "1",
    "await": lambda n: "await " * n + "1",
    "sums": lambda n: "1" + "+1" * n,
    "products and sums": lambda n: "1" + "*1+1" * n,
    "keys": lambda n: "a" + ".b" * n,
    "indexes": lambda n: "a" + "[0]" * n,
    "comparisons": lambda n: "1" + "<1" * n,
    "and": lambda n: "true" + " and true" * n,
    "commas": lambda n: "[" + "1," * n + "]",
    "wrong inside": lambda n: "(" * n + "1 1" + ")" * n,
    "wrong calls": lambda n: "len(a=" * n + "1 1" + ")" * n,
    "wrong objects": lambda n: '{"a":' * n + "1 2" + "}" * n,
    "wrong mixture": lambda n: "{[(" * n + "a b" + ")]}" * n,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_nesting_cannot_overflow_the_stack_of_a_small_thread(shape: str) -> None:
    outcomes: list[object] = []

    def attack() -> None:
        for count in (8, 16, 31, 32, 33, 100, 199, 300, 490, 999, 3000, 100_000):
            outcomes.append(outcome(SHAPES[shape](count), {"a": 1}))

    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=attack)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert len(outcomes) == 12
    assert isinstance(outcomes[-1], ExpressionError)


def test_honest_depth_is_no_attack() -> None:
    for shape, count in {"parentheses": 20, "sums": 200, "else": 20, "and": 200, "not": 10}.items():
        assert not isinstance(outcome(SHAPES[shape](count)), ExpressionError), shape


def test_long_sources_are_refused() -> None:
    assert isinstance(outcome("'" + "x" * 20_000 + "'"), ExpressionError)
    assert isinstance(outcome(" " * 20_000 + "1"), ExpressionError)


# Whatever is written, the outcome is a value in bounds or an ExpressionError

WORDS = """inputs tasks item loop .text .list .a [0] [-1] [1:] ["a"] tasks.a.output true null not - +
    * / // % == != < <= in and or if else for x in ( ) [ ] { } , : 'a' "b" 1 2.5 0 1e308 ' " \\ \n
    len( exists( default( any( all( min( sum( sorted( range( zip( unique( flatten( keys( merge(
    join( split( upper( replace( number( string( round( json( is lambda . .. .class é \x00 := **
    """
PIECES = st.sampled_from(WORDS.split(" "))
SOURCES = st.one_of(
    st.text(max_size=60),
    st.lists(PIECES, max_size=14).map(" ".join),
    st.lists(PIECES, max_size=14).map("".join),
)


def in_bounds(value: Any) -> bool:
    """Say whether a value is plain data that may be carried on."""
    match value:
        case None | bool():
            return True
        case int():
            return -MAX_NUMBER - 1 <= value <= MAX_NUMBER
        case float():
            return math.isfinite(value)
        case str():
            return len(value) <= MAX_TEXT
        case list():
            return len(value) <= MAX_VALUES and all(map(in_bounds, value))
        case dict():
            return all(isinstance(key, str) for key in value) and in_bounds([*value.values()])
        case _:
            return False


FUZZED: dict[str, Any] = {
    "inputs": {"text": "abc", "list": [1, 2.5, "a", None, [True]], "a": {"b": 1}, "n": 2},
    "tasks": {"a": {"output": [3, 1, 2], "status": "succeeded"}},
    "item": "it",
}


@settings(max_examples=400, deadline=None)
@given(SOURCES)
@example("[x for x in inputs.list if x]")
@example("...")
def test_any_source_gives_data_or_an_error_with_a_place(source: str) -> None:
    result = outcome(source, FUZZED)
    if isinstance(result, ExpressionError):
        assert result.message
        assert 0 <= result.start <= result.end <= max(1, len(result.source))
    else:
        assert in_bounds(result)
        json.dumps(result, allow_nan=False)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(["{{", "}}", "{", "}", " ", "'"]) | SOURCES, max_size=6))
def test_any_text_renders_or_is_refused(pieces: list[str]) -> None:
    text = "".join(pieces)
    try:
        template = compile_template(text)
        rendered, value = template.render(FUZZED), template.value(FUZZED)
    except ExpressionError as error:
        refused = error
        assert 0 <= refused.start <= refused.end <= max(1, len(text))
    else:
        assert isinstance(rendered, str)
        assert in_bounds(value)
    if "{{" not in text:
        assert compile_template(text).render({}) == text


HOSTILE = st.text() | st.sampled_from(
    ["{{ inputs.secret }}", "{{", "}}", "{secret}", "{{{{ run.id }}}}", "%s", "${x}", "{% if %}"]
)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | HOSTILE
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HOSTILE, inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@given(DATA)
def test_a_rendered_value_is_never_rendered_again(value: Any) -> None:
    names = {"inputs": {"v": value, "secret": "canary"}}
    text = compile_template("<{{ inputs.v }}|{{ [inputs.v] }}>").render(names)
    whole = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    assert text == f"<{whole}|[{json.dumps(value, ensure_ascii=False)}]>"
    assert compile_structure({"k": "{{ inputs.v }}"}).render(names) == {"k": value}


@given(DATA)
def test_data_comes_back_from_its_text(value: Any) -> None:
    names = {"inputs": {"v": value}}
    text = compile_expression("json(inputs.v)").evaluate(names)
    assert parse_json(text) == value
    assert compile_expression("inputs.v == inputs.v").evaluate(names) is True
    assert compile_expression("len(unique([inputs.v, inputs.v]))").evaluate(names) == 1


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_can_be_written_as_a_literal(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    assert compile_expression(f"'{quoted}'").evaluate({}) == text
    assert compile_template(f"a {{{{ '{quoted}' }}}} b").render({}) == f"a {text} b"


# On what both know, it agrees with Python

NUMBERS = st.integers(-50, 50).map(lambda n: f"({n})") | st.sampled_from(
    ["0.5", "2.25", "inputs['n']", "inputs['list'][0]", "len('abc')", "len(inputs['list'])"]
)
TEXTS = st.sampled_from(["'a'", "'b'", "''", "inputs['text']", '"it\'s"'])


def expressions() -> st.SearchStrategy[str]:
    """Write expressions of numbers, texts, booleans and lists that are valid in both languages."""
    number = st.deferred(lambda: numbers)
    text = st.deferred(lambda: texts)
    condition = st.deferred(lambda: conditions)
    items = st.deferred(lambda: lists)

    def joined(form: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.tuples(*parts).map(lambda each: form.format(*each))

    operator = st.sampled_from(["+", "-", "*", "/", "//", "%"])
    relation = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    numbers = st.one_of(
        NUMBERS,
        joined("({} {} {})", number, operator, number),
        joined("{} {} {}", number, operator, number),
        joined("-{}", NUMBERS),
        joined("({} if {} else {})", number, condition, number),
        joined("sum({})", items),
        joined("len({})", items | text),
        joined("max({}, {})", number, number),
    )
    texts = st.one_of(
        TEXTS,
        joined("({} + {})", text, text),
        joined("({} if {} else {})", text, condition, text),
    )
    conditions = st.one_of(
        st.sampled_from(["True", "False"]),
        joined("({} {} {})", number, relation, number),
        joined("({} {} {} {} {})", number, relation, number, relation, number),
        joined("({} {} {})", text, relation, text),
        joined("({} and {})", condition, condition),
        joined("({} or {})", condition, condition),
        joined("(not {})", condition),
        joined("({} in {})", number, items),
        joined("({} not in {})", text, text),
        joined("any(x > {} for x in {})", NUMBERS, items),
        joined("all(x != {} for x in {})", NUMBERS, items),
    )
    lists = st.one_of(
        st.sampled_from(["inputs['list']", "[]"]),
        joined("[{}, {}]", number, number),
        joined("({} + {})", items, items),
        joined("[x {} {} for x in {} if x {} {}]", operator, NUMBERS, items, relation, NUMBERS),
        joined("{}[{}:{}]", items, st.integers(-4, 4).map(str), st.integers(-4, 4).map(str)),
        joined("sorted({})", items),
        joined("sorted({}, reverse=True)", items),
    )
    return st.one_of(numbers, texts, conditions, lists)


PYTHON = {each.__name__: each for each in (len, sum, max, any, all, sorted)}


@settings(max_examples=150, deadline=None)
@given(expressions())
def test_it_agrees_with_python(source: str) -> None:
    names = {"inputs": {"n": 7, "list": [3, 1.5, -2], "text": "abc"}}
    result = outcome(source, names)
    try:
        expected = eval(source, {"__builtins__": PYTHON, **names})
    except ZeroDivisionError:
        assert isinstance(result, ExpressionError)
        return
    if isinstance(result, ExpressionError):
        assert any(bound in result.message for bound in ("64 bits", "levels", "parts", "finite"))
    else:
        assert (result, repr(result)) == (expected, repr(expected))
