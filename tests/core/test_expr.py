"""The rules of the expression language and of templates, one case each."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

import pytest

from talea.errors import ExpressionError
from talea.expr import (
    FUNCTIONS,
    compile_expression,
    compile_structure,
    compile_template,
    parse_json,
    to_text,
    type_name,
    walk_texts,
)


class Status(StrEnum):
    SUCCEEDED = "succeeded"


NAMES: dict[str, Any] = {
    "inputs": {
        "n": 3,
        "half": 0.5,
        "text": "héllo",
        "yes": True,
        "nothing": None,
        "list": [1, 2, 3],
        "empty": [],
        "object": {"from": 1, "class": {"None": 2}, "__class__": 3, "a key": 4, "x": None},
        "rows": [{"k": "b", "n": 2}, {"k": "a", "n": 1}],
        "braces": "{{ inputs.n }} {inputs}",
    },
    "tasks": {"a": {"output": {"key": [10, 20]}, "status": Status.SUCCEEDED, "error": None}},
    "run": {"id": "r1"},
}

VALUES: list[tuple[str, Any]] = [
    # literals
    ("true", True), ("True", True), ("false", False), ("False", False),
    ("null", None), ("None", None), ("12", 12), ("0.5", 0.5), ("1e2", 100.0), ("-3", -3),
    ("-9223372036854775808", -(2**63)), ("'a'", "a"), ('"a"', "a"), ("''", ""),
    (r"'it\'s \u00e9 \x41 \n\t\\'", "it's é A \n\t\\"), ("'two\nlines'", "two\nlines"),
    ("'𝄞' + '\\U0001d11e'", "𝄞𝄞"), ("'# not a comment'", "# not a comment"),
    ("[1, 'a', [null]]", [1, "a", [None]]), ("[]", []), ("[1, 2,]", [1, 2]),
    ('{"a": 1, "b": {}}', {"a": 1, "b": {}}), ("{inputs.text: 1}", {"héllo": 1}),
    (" \n 1 +\n 2 \n", 3),
    # paths
    ("inputs.n", 3), ("  inputs.n ", 3), ("inputs['n']", 3), ("inputs . n", 3),
    ("tasks.a.output.key", [10, 20]), ("tasks['a'].output.key[0]", 10),
    ("tasks.a.output.key[-1]", 20), ("inputs.object.from", 1),
    ("inputs.object.class.None", 2), ("inputs.object.__class__", 3),
    ("inputs.object['a key']", 4), ("inputs.object['a' + ' key']", 4),
    ("inputs.list[inputs.n - 1]", 3), ("inputs.list[1:3]", [2, 3]), ("inputs.list[:2]", [1, 2]),
    ("inputs.list[-2:]", [2, 3]), ("inputs.list[5:9]", []), ("inputs.list[-9:1]", [1]),
    ("inputs.list[1:][0]", 2), ("[1, 2][1]", 2), ("{'a': 1}.a", 1), ("run.id", "r1"),
    ("inputs.object.x", None), ("tasks.a.status == 'succeeded'", True),
    # and, or, not: lazy, on booleans
    ("true and not false", True), ("false and inputs.nope", False), ("true or inputs.nope", True),
    ("not inputs.n == 4", True), ("false or false or true", True),
    # comparisons
    ("1 < 2 < 3", True), ("1 < 3 < 2", False), ("1 == 1.0", True), ("2 >= 2 != 3", True),
    ("'a' < 'b'", True), ("3 < 2 < inputs.nope", False), ("null == null", True),
    ("1 == null", False), ("null != 'a'", True), ("inputs.list == [1, 2, 3]", True),
    ("[1] == [true]", False), ("[1] == ['1']", False), ("[null] == [1]", False),
    ("{'a': 1, 'b': 2} == {'b': 2.0, 'a': 1}", True), ("{'a': 1} == {'a': true}", False),
    ("{'a': 1} == {'b': 1}", False), ("[1, 2] == [1]", False),
    # in
    ("2 in inputs.list", True), ("true in [1, 2]", False), ("'1' in [1]", False),
    ("null in [1, null]", True), ("'ell' in 'hello'", True), ("'x' in {'x': 1}", True),
    ("[1] in [[1.0]]", True), ("4 not in inputs.list", True),
    # arithmetic
    ("1 + 2 * 3", 7), ("7 / 2", 3.5), ("7 // 2", 3), ("-7 // 2", -4), ("-7 % 3", 2),
    ("2 - 3 - 4", -5), ("'a' + 'b'", "ab"), ("[1] + [2]", [1, 2]), ("-inputs.n", -3),
    ("- -3", 3), ("6 / 3", 2.0),
    # choice
    ("'y' if inputs.yes else 'n'", "y"), ("inputs.nope if false else 2", 2),
    ("1 if false else 2 if false else 3", 3),
    # comprehensions
    ("[x * 2 for x in inputs.list]", [2, 4, 6]), ("[x for x in inputs.list if x > 1]", [2, 3]),
    ("[r.k for r in inputs.rows]", ["b", "a"]), ("[[y for y in [x, x]] for x in [1]]", [[1, 1]]),
    ("{r.k: r.n for r in inputs.rows}", {"b": 2, "a": 1}),
    ("[x for x in [1]] + [x for x in [2]]", [1, 2]), ("[x for x in [x + 1 for x in [1]]]", [2]),
    # exists and default
    ("exists(inputs.n)", True), ("exists(inputs.nope)", False), ("exists(inputs.nothing)", False),
    ("exists(inputs.nope.deeper[0])", False), ("exists(inputs.list[7])", False),
    ("exists(inputs.nothing.x)", False), ("exists(inputs.list[inputs.nope])", False),
    ("default(inputs.nope, 1)", 1), ("default(inputs.nothing, 1)", 1), ("default(0, 1)", 0),
    ("default(false, true)", False), ("default(inputs.nope)", None),
    ("default(inputs.nope, inputs.nothing, inputs.n, inputs.nope)", 3),
    ("default(inputs.nope, null)", None), ("default(1, 1 / 0)", 1),
    ("default(inputs.nope[1:2], 'd')", "d"), ("[default(r.z, 0) for r in inputs.rows]", [0, 0]),
    # functions
    ("len('héllo')", 5), ("len([1])", 1), ("len({})", 0),
    ("any([false, true])", True), ("any([])", False), ("all([])", True), ("all([true, false])", False),
    ("any(r.n > 1 for r in inputs.rows)", True), ("all(r.n > 1 for r in inputs.rows)", False),
    ("any(x == 1 or x.nope for x in [1, 2])", True),
    ("min([2, 1.5])", 1.5), ("max(1, 2)", 2), ("max(['a', 'b'])", "b"), ("min('b', 'a')", "a"),
    ("sum([1, 2.5])", 3.5), ("sum([])", 0), ("sum(r.n for r in inputs.rows)", 3),
    ("sorted([3, 1, 2])", [1, 2, 3]), ("sorted(['b', 'a'])", ["a", "b"]), ("sorted([])", []),
    ("[r.n for r in sorted(inputs.rows, 'k')]", [1, 2]), ("sorted([1, 2], reverse=true)", [2, 1]),
    ("[r.n for r in sorted(inputs.rows, key='n', reverse=true)]", [2, 1]),
    ("sorted([1, 2], null, true)", [2, 1]),
    ("range(3)", [0, 1, 2]), ("range(1, 3)", [1, 2]), ("range(3, 0, -2)", [3, 1]),
    ("range(-1)", []), ("zip([1, 2], ['a', 'b'])", [[1, "a"], [2, "b"]]), ("zip([])", []),
    ("unique([1, 1.0, true, '1', [1], [1], {'a': 1}, {'a': 1}])", [1, True, "1", [1], {"a": 1}]),
    ("flatten([[1], [], [2, [3]]])", [1, 2, [3]]), ("keys({'b': 1, 'a': 2})", ["b", "a"]),
    ("values({'b': 1, 'a': 2})", [1, 2]), ("merge({'a': 1, 'b': 1}, {'a': 2})", {"a": 2, "b": 1}),
    ("join(['a', 'b'], ', ')", "a, b"), ("join([], 'x')", ""), ("split('a,b', ',')", ["a", "b"]),
    ("split(' a  b ')", ["a", "b"]), ("lower('ÀB')", "àb"), ("upper('ß')", "SS"),
    ("strip(' a ')", "a"), ("contains('abc', 'b')", True), ("startswith('abc', 'ab')", True),
    ("endswith('abc', 'ab')", False), ("replace('aa', 'a', 'b')", "bb"), ("number('12')", 12),
    ("number(' -0.5e1 ')", -5.0), ("number(3)", 3), ("string('a')", "a"), ("string(1.0)", "1.0"),
    ("string(null)", "null"), ("string(['é', true])", '["é", true]'), ("round(2.5)", 2),
    ("round(2.567, 2)", 2.57), ("round(1234, -2)", 1200), ("json('a')", '"a"'),
    ("json({'b': [1], 'a': null})", '{"b": [1], "a": null}'),
]  # fmt: skip


@pytest.mark.parametrize(("source", "value"), VALUES)
def test_a_valid_expression_has_its_value(source: str, value: Any) -> None:
    result = compile_expression(source).evaluate(NAMES)
    assert (result, repr(result)) == (value, repr(value))


REFUSED: list[tuple[str, str, str, str | None]] = [
    # (source, message, the part that is marked, hint)
    ("", "empty", "", None),
    ("1 +", "ends too early", "+", None),
    ("1 2", "not an expression", "2", None),
    ("[1 2]", "not an expression", "1 2", "comma or an operator"),
    ("a b", "not an expression", "b", None),
    ("1 if true", "not an expression", "1 if true", "a if condition else b"),
    ("(1", "never closed", "(", None),
    ("1)", "closes nothing", ")", None),
    ("[1)", "closes nothing", ")", None),
    ("'abc", "never ends", "'abc", None),
    ("a && b", "'&&'", "&&", "`and`"),
    ("a || b", "'||'", "||", "`or`"),
    ("!a", "'!'", "!", "`not`"),
    ("a = 1", "'='", "=", "`==`"),
    ("a := 1", "':='", ":=", None),
    ("2 ** 3", "'**'", "**", None),
    ("inputs.t | upper", "'|'", "|", "upper(text)"),
    ("1 # one", "'#'", "#", None),
    ("$x", "'$'", "$", None),
    ("a; b", "';'", ";", None),
    ("a\\\nb", "'\\\\'", "\\", None),
    ("a\x00", "U+0000", "\x00", None),
    ("“a”", "“", "“", "plain quotes"),
    ("größe", "'ö'", "ö", '["key"]'),
    ("ｔasks.a", "'ｔ'", "ｔ", None),
    ("f'{x}'", "'f' cannot stand before a text", "f'{x}'", None),
    ("b'x'", "'b' cannot stand", "b'x'", None),
    ("'a' 'b'", "side by side", "'b'", "`+`"),
    ("'''a'''", "side by side", "'a'", None),
    (r"'\d'", "no escape", r"\d", None),
    (r"'\N{DASH}'", "no escape", r"\N", None),
    (r"'\ud83d'", "no character", r"\ud83d", None),
    ("012", "not a number", "0", None),
    ("0x1f", "not a number", "0", None),
    ("1_000", "not a number", "1", None),
    ("1j", "not a number", "1", None),
    ("1.", "not a number", "1", None),
    ("1.from", "not a number", "1", None),
    ("9223372036854775808", "64 bits", "9223372036854775808", None),
    ("-9223372036854775809", "64 bits", "-9223372036854775809", None),
    ("1e999", "not finite", "1e999", None),
    ("+1", "sign", "+1", None),
    ("1 @ 2", "'@'", "@", None),
    ("1 & 2", "'&'", "&", None),
    ("1 << 2", "operator", "1 << 2", None),
    ("(1, 2)", "tuple", "(1, 2)", "list"),
    ("{1, 2}", "set", "{1, 2}", "list"),
    ("{x for x in []}", "set", "{x for x in []}", "unique"),
    ("(x for x in [])", "bare `for`", "(x for x in [])", "list"),
    ("...", "not part of the language", "...", None),
    ("{**inputs}", "'**'", "**", None),
    ("[*inputs.list]", "`*`", "*inputs.list", None),
    ("lambda: 1", "'lambda'", "lambda", None),
    ("await a", "'await'", "await", None),
    ("[x async for x in []]", "'async'", "async", None),
    ("(yield)", "'yield'", "yield", None),
    ("x is null", "`is`", "x is null", "== null"),
    ("inputs.list[::2]", "no step", "2", None),
    ("tasks", "dependencies can be seen", "tasks", "tasks."),
    ("len(tasks)", "dependencies can be seen", "tasks", None),
    ("tasks[inputs.text]", "dependencies can be seen", "tasks[inputs.text]", None),
    ("tasks[0]", "dependencies can be seen", "tasks[0]", None),
    ("tasks[1:2]", "dependencies can be seen", "tasks[1:2]", None),
    ("exists(tasks)", "dependencies can be seen", "tasks", None),
    ("[x for x in [] for y in []]", "one `for`", "y", "flatten"),
    ("[x for x in [] if true if false]", "one `if`", "false", "`and`"),
    ("[x for x, y in []]", "one name", "x, y", None),
    ("[item for item in []]", "'item' is taken", "item", None),
    ("[loop for loop in []]", "'loop' is taken", "loop", None),
    ("[len for len in []]", "'len' is taken", "len", None),
    ("[true for true in []]", "'true' is taken", "true", None),
    ("[[x for x in []] for x in []]", "'x' is taken", "x", None),
    ("uper('a')", "unknown function 'uper'", "uper", "`upper`"),
    ("len", "is a function", "len", "`len(…)`"),
    ("sum.x", "is a function", "sum", None),
    ("inputs.text.upper()", "no functions of its own", "inputs.text.upper", "`upper(…)`"),
    ("inputs.text()", "no functions of its own", "inputs.text", None),
    ("[len][0]('a')", "no function", "[len][0]", None),
    ("len()", "1 argument, not 0", "len()", "len("),
    ("len(1, 2)", "1 argument, not 2", "len(1, 2)", None),
    ("join([])", "2 arguments, not 1", "join([])", None),
    ("sorted()", "1 to 3 arguments, not 0", "sorted()", None),
    ("default()", "1 or more arguments, not 0", "default()", None),
    ("sorted([], by=1)", "no such argument", "by=1", "sorted("),
    ("sorted([], 'a', key='b')", "no such argument", "key='b'", None),
    ("len(value=[])", "1 argument, not 0", "len(value=[])", None),
    ("exists(inputs.n, key=1)", "no such argument", "key=1", None),
    ("default(inputs.n, **inputs)", "'**'", "**", None),
    ("exists(1 + 2)", "takes a path", "1 + 2", None),
    ("exists(null)", "takes a path", "null", None),
]


@pytest.mark.parametrize(("source", "message", "marked", "hint"), REFUSED)
def test_what_is_no_expression_is_refused_at_its_place(
    source: str, message: str, marked: str, hint: str | None
) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source)
    error = caught.value
    assert message in error.message
    assert error.source[error.start : error.end] == marked
    assert not error.missing
    assert hint is None or hint in (error.hint or "")


FAILING: list[tuple[str, str, bool]] = [
    # (source, message, is it a missing path)
    ("inputs.nope", "no key 'nope'", True),
    ("inputs.nothing.x", "the key 'x' of null", True),
    ("inputs.nothing[0]", "the index 0 of null", True),
    ("inputs.nothing[1:2]", "a slice of null", True),
    ("inputs.list[3]", "no item 3, of 3", True),
    ("inputs.list[-4]", "no item -4", True),
    ("tasks.a.error.type", "of null", True),
    ("default(inputs.nope + 1, 2)", "no key", True),
    ("default(len(inputs.nope), 2)", "no key", True),
    ("default(inputs.text.x, 2)", "cannot be a step into text", False),
    ("exists(inputs.list.x)", "cannot be a step into list", False),
    ("exists(inputs.object[0])", "cannot be a step into object", False),
    ("inputs.text[0]", "cannot be a step into text", False),
    ("inputs.text[0:1]", "takes a list, not text", False),
    ("inputs.n.x", "cannot be a step into number", False),
    ("inputs.yes.x", "cannot be a step into boolean", False),
    ("true.x", "cannot be a step into boolean", False),
    ("inputs.list[true]", "a text or a whole number, not boolean", False),
    ("inputs.list[inputs.half]", "a text or a whole number, not number", False),
    ("inputs.list[null]", "not null", False),
    ("inputs.list['a':]", "whole numbers, not text", False),
    ("tasks.b.output", "no task 'b'", False),
    ("item", "unknown name 'item'", False),
    ("default(item, 1)", "unknown name 'item'", False),
    ("exists(loop.output)", "unknown name 'loop'", False),
    ("nope.x", "unknown name 'nope'", False),
    ("1 and true", "true or false, but it is number", False),
    ("true and 'a'", "it is text", False),
    ("not null", "it is null", False),
    ("1 if 1 else 2", "it is number", False),
    ("[x for x in [1] if x]", "it is number", False),
    ("any([1])", "it is number", False),
    ("all(x for x in [null])", "it is null", False),
    ("1 == true", "number cannot be compared with boolean", False),
    ("'1' == 1", "text cannot be compared with number", False),
    ("[] != {}", "list cannot be compared with object", False),
    ("1 < 'a'", "number and text have no order", False),
    ("null < 1", "no order", False),
    ("true < false", "no order", False),
    ("[1] < [2]", "no order", False),
    ("1 in 'a1'", "for a text in text, not for number", False),
    ("1 in {}", "for a text in object, not for number", False),
    ("1 in 2", "looks into a list", False),
    ("'a' in null", "looks into a list", False),
    ("1 + 'a'", "not number and text", False),
    ("true + 1", "not boolean and number", False),
    ("'a' * 3", "two numbers, not text and number", False),
    ("[0] * 3", "two numbers", False),
    ("{} + {}", "not object and object", False),
    ("'a' % 1", "two numbers", False),
    ("-'a'", "takes a number, not text", False),
    ("-true", "takes a number, not boolean", False),
    ("1 / 0", "division by zero", False),
    ("1 // 0", "division by zero", False),
    ("1 % 0", "division by zero", False),
    ("9223372036854775807 + 1", "64 bits", False),
    ("-(-9223372036854775807 - 1)", "64 bits", False),
    ("1e308 * 10", "not finite", False),
    ("{1: 2}", "a key is a text, not number", False),
    ("{x: 1 for x in [1]}", "a key is a text, not number", False),
    ("[x for x in 'abc']", "goes over a list, not text", False),
    ("[x for x in {'a': 1}]", "goes over a list, not object", False),
    ("any('a')", "takes a list, not text", False),
    ("len(1)", "text or list or object as its 'value', not number", False),
    ("lower(1)", "text as its 'text', not number", False),
    ("sum(['a'])", "numbers, not of text", False),
    ("sum([true])", "numbers, not of boolean", False),
    ("min([])", "no value", False),
    ("min(1)", "takes a list, or several", False),
    ("max([1, 'a'])", "number, text", False),
    ("max(true, false)", "not boolean", False),
    ("sorted([1, null])", "null, number", False),
    ("sorted([{}], 'k')", "objects that all have it", False),
    ("sorted([1], reverse=1)", "boolean as its 'reverse'", False),
    ("range(1.5)", "integer as its 'bound', not a fraction", False),
    ("range(1, 2, 0)", "other than 0", False),
    ("range(1, 2, 3, 4)", "1 to 3", False),
    ("zip([1], [])", "equal length, not 1, 0", False),
    ("flatten([1])", "list of lists", False),
    ("keys([])", "object as its 'object'", False),
    ("merge({}, [])", "object as its 'object', not list", False),
    ("join([1], '')", "list of texts", False),
    ("split('a', '')", "not empty", False),
    ("replace('a', '', 'b')", "not empty", False),
    ("number('0x1')", "a number, such as", False),
    ("number('nan')", "a number, such as", False),
    ("number('1e999')", "not finite", False),
    ("number('٣')", "a number, such as", False),
    ("number(true)", "text or number", False),
    ("round(1, 99)", "-20 to 20", False),
    ("round('1')", "number as its 'number'", False),
]


@pytest.mark.parametrize(("source", "message", "missing"), FAILING)
def test_what_cannot_be_evaluated_says_why(source: str, message: str, missing: bool) -> None:
    expression = compile_expression(source)
    with pytest.raises(ExpressionError) as caught:
        expression.evaluate(NAMES)
    error = caught.value
    assert message in error.message
    assert error.missing is missing
    assert error.source == source
    assert 0 <= error.start < error.end <= len(source)


def test_every_function_of_the_table_has_a_case() -> None:
    cases = "\n".join(source for source, _ in VALUES)
    assert [name for name in FUNCTIONS if f"{name}(" not in cases] == []


def test_the_table_names_the_documented_functions() -> None:
    documented = """len exists default any all min max sum sorted range zip unique flatten keys
    values merge join split lower upper strip contains startswith endswith replace number string
    round json"""
    assert list(FUNCTIONS) == documented.split()
    assert FUNCTIONS["round"].signature == "round(number: number, digits: integer = 0) -> number"


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("inputs.lits", "`list`"),
        ("input.list", "`inputs`"),
        ("inputs.object.form", "`from`"),
        ("1 + 'a'", "string(…)"),
    ],
)
def test_a_failure_says_what_may_have_been_meant(source: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source).evaluate(NAMES)
    assert hint in (caught.value.hint or "")


def test_a_condition_must_be_a_boolean() -> None:
    assert compile_expression("inputs.n == 3").decide(NAMES) is True
    with pytest.raises(ExpressionError, match="gives true or false, but this gives number"):
        compile_expression("inputs.n").decide(NAMES)


PATHS: list[tuple[str, list[tuple[str, tuple[str | int | None, ...], str, bool]]]] = [
    ("inputs.a[0].b", [("inputs", ("a", 0, "b"), "inputs.a[0].b", False)]),
    (" inputs.a[-1]", [("inputs", ("a", -1), "inputs.a[-1]", False)]),
    ("inputs.from.class + 1", [("inputs", ("from", "class"), "inputs.from.class", False)]),
    ("(inputs).a", [("inputs", ("a",), "(inputs).a", False)]),
    ("inputs.a[1:2].b", [("inputs", ("a", None), "inputs.a[1:2].b", False)]),
    (
        "inputs.a[run.id].b",
        [
            ("inputs", ("a", None), "inputs.a[run.id].b", False),
            ("run", ("id",), "run.id", False),
        ],
    ),
    (
        "default(tasks.x.output.k, inputs.y) == 1 or exists(item)",
        [
            ("tasks", ("x", "output", "k"), "tasks.x.output.k", True),
            ("inputs", ("y",), "inputs.y", True),
            ("item", (), "item", True),
        ],
    ),
    ("default(len(inputs.a), 1)", [("inputs", ("a",), "inputs.a", False)]),
    (
        "[x.k for x in inputs.rows if x.n[0] > 1]",
        [
            ("inputs", ("rows", 0, "k"), "x.k", False),
            ("inputs", ("rows",), "inputs.rows", False),
            ("inputs", ("rows", 0, "n", 0), "x.n[0]", False),
        ],
    ),
    ("[x.k for x in inputs.rows[1:]]", [("inputs", ("rows", None), "inputs.rows[1:]", False)]),
    ("[x.k for x in sorted(inputs.rows)]", [("inputs", ("rows",), "inputs.rows", False)]),
    (
        "[y for x in inputs.a]",
        [("y", (), "y", False), ("inputs", ("a",), "inputs.a", False)],
    ),
]


@pytest.mark.parametrize(("source", "paths"), PATHS)
def test_every_path_is_seen_with_its_place(source: str, paths: Any) -> None:
    found = [
        (path.root, path.steps, source[path.start : path.end], path.guarded)
        for path in compile_expression(source).paths
    ]
    assert found == paths


def test_tasks_and_names_are_seen_in_order() -> None:
    source = "tasks.b.output if tasks['a'].output.x else [y.z for y in tasks.b.output] + inputs.c"
    expression = compile_expression(source)
    assert expression.tasks == ("b", "a")
    assert [name.name for name in expression.names] == ["tasks", "tasks", "tasks", "inputs"]
    assert all(source[name.start : name.end] == name.name for name in expression.names)
    assert compile_expression("1 + len('a')").constant
    assert not expression.constant


def test_only_the_named_task_is_ever_looked_up() -> None:
    class Tasks:
        def __getitem__(self, id: str) -> dict[str, Any]:
            looked_up.append(id)
            return {"output": [1]}

    looked_up: list[str] = []
    names = {"tasks": Tasks()}
    assert compile_expression("tasks.a.output[0] + tasks['b'].output[0]").evaluate(names) == 2
    assert looked_up == ["a", "b"]


# Templates


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("plain", "plain"),
        ("", ""),
        ("a {{ inputs.n }} b{{inputs.text}}", "a 3 bhéllo"),
        ("{{ inputs.list }}", "[1, 2, 3]"),
        (" {{ inputs.n }} ", " 3 "),
        ("{{ inputs.nothing }}/{{ inputs.yes }}/{{ inputs.half }}", "null/true/0.5"),
        ("{{ {'é': [null]} }}", '{"é": [null]}'),
        ('{{ "{{" }} and }} and {{ "}}" }}', "{{ and }} and }}"),
        ('{{ {"a": {"b": "}}"}} }}', '{"a": {"b": "}}"}}'),
        ("{{{'a': {'b': 1}}}}", '{"a": {"b": 1}}'),
        ('{"json": {"a": {}}} {x} }}', '{"json": {"a": {}}} {x} }}'),
        ("{{ inputs.braces }}", "{{ inputs.n }} {inputs}"),
        ("{{ [x for x in ['}}', \"{{\"]] }}", '["}}", "{{"]'),
        ("{{ 'it\\'s }}' }}", "it's }}"),
        ("{{\n inputs.n\n+ 1 }}", "4"),
        ("{{ 'a\nb' }}", "a\nb"),
        ("{{ inputs.list[0] }}{{ inputs.list[1] }}", "12"),
    ],
)
def test_text_renders(text: str, rendered: str) -> None:
    assert compile_template(text).render(NAMES) == rendered


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ inputs.list }}", [1, 2, 3]),
        (" \n{{ inputs.n }}\t", 3),
        ("{{ inputs.nothing }}", None),
        ("{{ inputs.n }}.", "3."),
        ("{{ inputs.n }}{{ inputs.n }}", "33"),
        ("{{ inputs.braces }}", "{{ inputs.n }} {inputs}"),
        (" plain ", " plain "),
    ],
)
def test_a_lone_hole_keeps_its_type(text: str, value: Any) -> None:
    assert compile_template(text).value(NAMES) == value


@pytest.mark.parametrize(
    ("text", "message", "marked"),
    [
        ("a {{ inputs.n", "`}}` is missing", "{{"),
        ("a {{ inputs.n }", "`}}` is missing", "{{"),
        ("{{ a }} b {{ (1 }} c", "'(' is never closed", "("),
        ("x {{ it's }}", "a text begins here", "'"),
        ("x {{ }}", "empty", " "),
        ("x {{ 1 + }}", "ends too early", "+"),
        ("x {{ uper('a') }}", "unknown function", "uper"),
        ('{{"a": 1}}', "not an expression", ":"),
    ],
)
def test_a_wrong_hole_is_refused_at_its_place(text: str, message: str, marked: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_template(text)
    error = caught.value
    assert message in error.message
    assert error.source == text
    assert error.source[error.start : error.end] == marked


def test_a_failure_in_a_hole_counts_from_the_whole_text() -> None:
    text = "a {{ inputs.n }} b {{ inputs.list[9] }}"
    with pytest.raises(ExpressionError) as caught:
        compile_template(text).render(NAMES)
    error = caught.value
    assert error.missing
    assert text[error.start : error.end] == "inputs.list[9]"


def test_a_template_tells_its_holes_paths_and_tasks() -> None:
    text = "a {{ tasks.b.output }} {{ default(tasks.a.x, tasks.b.y) }}"
    template = compile_template(text)
    assert [text[hole.start : hole.end] for hole in template.holes] == [
        "{{ tasks.b.output }}",
        "{{ default(tasks.a.x, tasks.b.y) }}",
    ]
    marked = [(text[path.start : path.end], path.guarded) for path in template.paths]
    assert marked == [("tasks.b.output", False), ("tasks.a.x", True), ("tasks.b.y", True)]
    assert template.tasks == ("b", "a")
    assert not template.constant
    assert compile_template("none").constant


def test_a_structure_renders_its_texts_and_never_its_keys() -> None:
    value = {"{{ inputs.n }}": ["{{ inputs.n }}", "n={{ inputs.n }}", 1, None], "t": {"u": "x"}}
    structure = compile_structure(value)
    assert structure.render(NAMES) == {"{{ inputs.n }}": [3, "n=3", 1, None], "t": {"u": "x"}}
    assert [place for place, _ in structure.templates] == [
        ("{{ inputs.n }}", 0),
        ("{{ inputs.n }}", 1),
        ("t", "u"),
    ]
    assert list(walk_texts(value)) == [(p, t.text) for p, t in structure.templates]
    assert not structure.constant


def test_a_structure_makes_its_containers_anew() -> None:
    structure = compile_structure({"a": [1, {"b": "x"}]})
    first = structure.render({})
    first["a"][1]["b"] = "changed"
    assert structure.render({}) == {"a": [1, {"b": "x"}]}
    assert structure.constant
    assert structure.tasks == ()


def test_a_structure_tells_its_tasks() -> None:
    assert compile_structure(["{{ tasks.b.output }}", {"k": "{{ tasks.a.x }}"}]).tasks == ("b", "a")
    assert compile_structure("{{ tasks.a.output.key }}").render(NAMES) == [10, 20]
    assert compile_structure(7).render({}) == 7


# Data


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"), (True, "boolean"), (1, "number"), (1.5, "number"), ("a", "text"),
        ([], "list"), ({}, "object"), (Status.SUCCEEDED, "text"), ((), "tuple"),
    ],
)  # fmt: skip
def test_types_have_the_words_of_the_language(value: Any, name: str) -> None:
    assert type_name(value) == name


def test_text_stands_as_it_is_and_other_values_as_json() -> None:
    assert to_text("é") == "é"
    assert to_text({"b": "é", "a": [None, True]}) == '{"b": "é", "a": [null, true]}'


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": {1, 2}}, object()])
def test_what_is_not_json_has_no_text(value: Any) -> None:
    with pytest.raises(ExpressionError):
        to_text(value)


@pytest.mark.parametrize(
    "text", ['{"a": [1, -2.5e3, null, true, "é\\n"]}', '"\\ud834\\udd1e"', "1"]
)
def test_json_is_read(text: str) -> None:
    assert parse_json(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{'a': 1}", "line 1, column 2"),
        ("[1,\n 2,]", "line 2"),
        ("1 2", "not JSON"),
        ("NaN", "NaN"),
        ("[-Infinity]", "-Infinity"),
        ("1e999", "too large"),
        ("9223372036854775808", "64 bits"),
        ("1" * 5000, "64 bits"),
        ('"\\ud834"', "surrogate"),
        ('{"\\ud834": 1}', "surrogate"),
        ('"\ud834"', "surrogate"),
        ("[" * 101 + "]" * 101, "100 levels"),
        ('{"a":' * 101 + "1" + "}" * 101, "100 levels"),
    ],
)
def test_what_is_not_strict_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_brackets_in_texts_are_no_nesting() -> None:
    assert parse_json(json.dumps(["[{" * 100, '"[\\'])) == ["[{" * 100, '"[\\']
