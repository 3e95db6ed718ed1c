"""Documents as people write them: what is read, what is refused, and where it is said to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from talea.errors import DocumentError, Issue, UsageError
from talea.ir import AgentTask, BlockTask, ToolTask, Workflow
from talea.load import Bounds, load, loads
from talea.source import workflow_file
from talea.source.text import Source, parse

GOOD = """\
talea: 1
name: example
tasks:
  one: {value: 1}
"""


def issues(text: str, **options: Any) -> tuple[Issue, ...]:
    with pytest.raises(DocumentError) as caught:
        loads(text, **options)
    return caught.value.issues


def only(text: str, **options: Any) -> Issue:
    (issue,) = issues(text, **options)
    return issue


def values(text: str) -> Any:
    return parse(text).data


# Plain data


def test_reads_a_workflow() -> None:
    workflow = loads(GOOD)
    assert workflow.name == "example"
    assert list(workflow.tasks) == ["one"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("NULL", None),
        ("nuLL", "nuLL"),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-0x1F", "-0x1F"),
        ("0b1", "0b1"),
        ("+12", 12),
        ("-0", 0),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("1.", 1.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-1.5E-3", -0.0015),
        ("1e", "1e"),
        ("-", None),
        (".", "."),
        ("+", "+"),
        ("1.2.3", "1.2.3"),
        ("=", "="),
        ("<<", "<<"),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("'true'", "true"),
        ('"12"', "12"),
    ],
)
def test_plain_scalars_are_those_of_yaml_1_2(written: str, meant: Any) -> None:
    if written == "-":
        assert values("a:\n  -") == {"a": [None]}
        return
    found = values(f"a: {written}")["a"]
    assert (found, type(found)) == (meant, type(meant))


@pytest.mark.parametrize(
    "data",
    [
        {"a": 'é\t\n"\\/\u0000\u001f', "b": [1, -2.5, 1e10, True, False, None, {}, []]},
        {"a": "😀", "😀": ["𝒳𝒴", "\\ud83d\\ude00", "x😀y"]},
        {"a": "{{ inputs.x }}", "b": "yes", "c": "# no comment", "d": "- x", "e": "*a"},
    ],
)
@pytest.mark.parametrize("indent", [None, 2, "\t"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_is_read_as_it_is(data: Any, indent: Any, ascii_only: bool) -> None:
    text = json.dumps(data, indent=indent, ensure_ascii=ascii_only)
    assert values(text) == data
    assert values(text.replace(": ", ":")) == json.loads(text.replace(": ", ":"))


def test_line_ends_and_a_first_bom_do_not_matter() -> None:
    text = "\ufeff" + GOOD.replace("\n", "\r\n")
    assert loads(text) == loads(GOOD)


def test_yaml_1_2_directive_and_end_marks_are_allowed() -> None:
    assert loads(f"%YAML 1.2\n---\n{GOOD}...\n") == loads(GOOD)


# Attacks: each is refused with its place, before anything is built of it

BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
)
# From 6.0.4 on, PyYAML's parser has a bound of its own, and meets it before its first event.
PARSER_DEPTH = (
    ("the document is nested too deeply", 1, 1001)
    if tuple(map(int, yaml.__version__.split(".")[:3])) >= (6, 0, 4)
    else ("the document is nested deeper than the 50 levels that are allowed", 1, 51)
)
ATTACKS = {
    "an alias bomb": (BOMB, "anchors are not allowed: &a", 1, 4),
    "recursion": ("a: &a [*a]", "anchors are not allowed: &a", 1, 4),
    "an alias alone": ("a: *b", "aliases are not allowed: *b", 1, 4),
    "an alias as a key": ("*b : 1", "aliases are not allowed: *b", 1, 1),
    "a merge": ("a: &b {x: 1}\nc:\n  <<: *b", "anchors are not allowed: &b", 1, 4),
    "a Python tag": (
        "a: !!python/object/apply:os.system ['id']",
        "tags are not allowed: 'tag:yaml.org,2002:python/object/apply:os.system'",
        1,
        4,
    ),
    "a core tag": ("a: !!str 1", "tags are not allowed: 'tag:yaml.org,2002:str'", 1, 4),
    "a local tag": ("a: !x [1]", "tags are not allowed: '!x'", 1, 4),
    "no tag but its sign": ("a: ! x", "tags are not allowed: '!'", 1, 4),
    "a tag's prefix": ("%TAG !e! tag:x,2000:\n---\na: 1", "%TAG is not allowed", 1, 1),
    "a duplicate key": (
        "a: 1\nb: {c: 1, d: 2, c: 3}",
        "the key 'c' is there twice; the first is in line 2",
        2,
        17,
    ),
    "depth in brackets": (
        "a: " + "[" * 50 + "]" * 50,
        "the document is nested deeper than the 50 levels that are allowed",
        1,
        53,
    ),
    "depth in lines": (
        "- " * 51 + "x",
        "the document is nested deeper than the 50 levels that are allowed",
        1,
        101,
    ),
    "depth beyond the parser": (
        "[" * 100_000,
        *PARSER_DEPTH,
    ),
    "nodes": (
        "a:\n" + "- x\n" * 50_000,
        "the document has more than the 50,000 nodes that are allowed",
        49_999,
        3,
    ),
    "NUL": (
        "a: x\x00",
        "the character U+0000 (a control character) is not allowed",
        1,
        5,
    ),
    "an escape character": (
        "a: 1\nb: \x1b[31m",
        "the character U+001B (a control character) is not allowed",
        2,
        4,
    ),
    "a BOM in the middle": (
        "a: \ufeffx",
        "the character U+FEFF (zero width no-break space) is not allowed",
        1,
        4,
    ),
    "a direction override": (
        "a: \u202ex",
        "the character U+202E (right-to-left override) is not allowed",
        1,
        4,
    ),
    "an isolate": (
        "a: \u2066x",
        "the character U+2066 (left-to-right isolate) is not allowed",
        1,
        4,
    ),
    "a surrogate": (
        "a: \ud800",
        "the character U+D800 (half of a pair) is not allowed",
        1,
        4,
    ),
    "another line end": (
        "a: x\u2028b: y",
        "the character U+2028 (line separator) is not allowed",
        1,
        5,
    ),
    "an escaped surrogate": ('{"a": "\\ud800"}', "half of a surrogate pair", 1, 8),
    "a huge integer": (
        "a: 9223372036854775808",
        "this number is too large: whole numbers have 64 bits",
        1,
        4,
    ),
    "an endless integer": (
        "a: " + "9" * 5000,
        "this number is too large: whole numbers have 64 bits",
        1,
        4,
    ),
    "a huge float": ("a: 1e999", "this number is too large", 1, 4),
    "infinity": ("a: -.inf", "infinity and NaN are not numbers here", 1, 4),
    "not a number": ("a: .nan", "infinity and NaN are not numbers here", 1, 4),
    "two documents": (
        "a: 1\n---\nb: 1",
        "a second document begins here: a file holds one workflow",
        2,
        1,
    ),
    "a number as a key": ("a: {1: x}", "a key must be text, not a number", 1, 5),
    "nothing as a key": ("a: {? : x}", "a key must be text, not nothing", 1, 7),
    "true as a key": ("true: x", "a key must be text, not true", 1, 1),
    "a list as a key": ("? [a]\n: x", "a list cannot be a key", 1, 3),
    "a mapping as a key": (
        "{{a: 1}: x}",
        "text that begins with {{ must be quoted",
        1,
        1,
    ),
    "nothing at all": ("", "the document is empty", 1, 1),
    "comments alone": ("# x\n", "the document is empty", 1, 1),
}


@pytest.mark.parametrize("case", ATTACKS.values(), ids=ATTACKS.keys())
def test_attacks_are_refused_where_they_are(case: tuple[str, str, int, int]) -> None:
    text, message, line, col = case
    first = issues(text, name="f.yaml")[0]
    assert message in first.message
    assert (first.file, first.line, first.col) == ("f.yaml", line, col)


def test_an_alias_bomb_gives_few_issues() -> None:
    assert len(issues("a: &a x\nb: [" + "*a, " * 5000 + "]")) == 100


def test_size_is_refused_before_reading() -> None:
    assert "larger than the 20 bytes" in only("a: " + "é" * 10, limits=Bounds(max_bytes=20)).message


def test_the_caller_may_raise_the_bounds() -> None:
    many = "".join(f"  t{i}: {{value: 1}}\n" for i in range(20_000))
    workflow = loads(f"name: x\ntasks:\n{many}", limits=Bounds(max_nodes=100_000))
    assert len(workflow.tasks) == 20_000


def test_very_deep_models_are_refused_whatever_the_bounds() -> None:
    text = "name: x\ntasks: " + "{t: {tasks: " * 300 + "{t: {value: 1}}" + "}}" * 300
    message = issues(text, limits=Bounds(max_depth=2000))[0].message
    assert "nested too deeply" in message


def test_ids_of_look_alike_letters_are_refused_by_the_letter_s_name() -> None:
    issue = only("name: x\ntasks:\n  \u0430b: {value: 1}\n")
    assert (issue.line, issue.col) == (3, 3)
    assert issue.hint == "'\u0430' is CYRILLIC SMALL LETTER A"


def test_issues_never_hold_a_key_that_was_written_in_place() -> None:
    for written in (
        "sk-canary",
        "{env: 'sk-canary 1'}",
        "[sk-canary]",
        "{sk-canary: 1}",
    ):
        model = f"models: {{m: {{model: a/b, api_key: {written}}}}}\n"
        text = "name: x\n" + model + "tasks: {t: {value: 1}}"
        with pytest.raises(DocumentError) as caught:
            loads(text)
        assert all(issue.snippet is None for issue in caught.value.issues)


# Broken syntax, in plain words

SYNTAX = [
    ("a:\n\t- x", 2, 1, "a tab cannot indent", "indent with spaces"),
    ("a: @x", 1, 4, "plain text cannot begin with @", "quote the text"),
    ("a: `x`", 1, 4, "plain text cannot begin with `", "quote the text"),
    ("a: %x", 1, 4, "plain text cannot begin with %", "quote the text"),
    ("a: *b* c", 1, 6, "plain text cannot begin with * or &", "quote the text"),
    (
        "prompt: Write: now",
        1,
        14,
        "a colon and a space begin a mapping",
        "quote the text",
    ),
    ('a: "x\nb: 1', 1, 4, "the quote that begins here is never closed", None),
    (
        "a: [b] c",
        1,
        8,
        "goes on after its quote or bracket",
        "quote the text as a whole",
    ),
    (
        'a: "b" c',
        1,
        8,
        "goes on after its quote or bracket",
        "quote the text as a whole",
    ),
    (
        "a: 'it's'",
        1,
        8,
        "goes on after its quote or bracket",
        "quote the text as a whole",
    ),
    ("a: {b: 1\nc: 2\n", 2, 2, "inside the { of line 1", "close the bracket"),
    ("a:\n  b: 1\n c: 2", 3, 2, "a key was expected here", "in one column"),
    ("a: {b:}", 1, 6, "a colon alone", "write a space after the colon"),
    ("a: - b", 1, 4, "a list cannot begin here", "on the next line"),
    ('a: "\\q"', 1, 5, "no such escape", "write two, or use single quotes"),
    ("a: {{ inputs.x }}", 1, 4, "must be quoted", 'quote the text: "{{ inputs.x }}"'),
    ("a: {{ x }} and y", 1, 4, "must be quoted", 'quote the text: "{{ x }} …"'),
    ("a: {{ x['y'] }}", 1, 4, "must be quoted", "quote the text: \"{{ x['y'] }}\""),
    ("- {{ x }}: {{ y }}", 1, 3, "must be quoted", "quote the text"),
    ("a: [{{ x }}]", 1, 5, "must be quoted", "quote the text"),
    ("a: {{ default(x, 'y') }}", 1, 4, "must be quoted", "quote the text"),
    ("{a: {{ x }}, b: 1}", 1, 5, "must be quoted", 'quote the text: "{{ x }} …"'),
]


@pytest.mark.parametrize(("text", "line", "col", "message", "hint"), SYNTAX)
def test_broken_syntax_is_told_with_its_place(
    text: str, line: int, col: int, message: str, hint: str | None
) -> None:
    issue = issues(text)[0]
    assert message in issue.message
    assert (issue.line, issue.col) == (line, col)
    assert (issue.hint is None) if hint is None else (hint in (issue.hint or ""))


def test_a_snippet_is_the_line_with_a_caret_below() -> None:
    snippet = only("name: x\ntasks: {t: {value: 1}}\nprocess: serial").snippet
    assert snippet == "    3 | process: serial\n      |          ^^^^^^"


def test_a_caret_stands_below_wide_characters() -> None:
    snippet = parse("a: 日本 {{ x }}").issue("m", ("a",), start=3, end=10).snippet
    assert snippet is not None
    assert snippet.splitlines()[1] == "      | " + " " * 8 + "^" * 7


def test_a_snippet_of_a_long_line_is_cut_around_the_caret() -> None:
    text = "a: " + "x" * 100_000 + " {{ bad }} " + "y" * 100_000
    snippet = parse(text).issue("m", ("a",), start=100_001, end=100_010).snippet
    assert snippet is not None
    above, below = snippet.splitlines()
    assert len(above) < 200
    start = below.index("^")
    assert above[start : below.rindex("^") + 1] == "{{ bad }}"


# Mistakes in the shape, all at once and in order

MISTAKES = """\
nmae: x
name: 12
inputs: {Topic: string}
models:
  m: {model: gpt5, base_url: ftp://x}
  n: {model: a/b, api_key: sk-secret}
agents:
  Writer-A: {max_turns: 0, weight: "2"}
  b: {role: yes, temprature: 1, max_turns: "3", goal: 010, tools: search}
tools:
  bad tool: {approve: yes}
  t: {parameters: []}
tasks:
  one: {prompt: Write, then stop, agent: b}
  two: {agent: b, promt: x}
  three: {agnet: b, prompt: x}
  four: {agent: b, tool: t, prompt: x}
  five: hello
  six: {prompt: {topic}, agent: b, timeout: 3, retry: {max_attempts: 1, retry_on: [time_out]}}
  seven:
    value: 1
    trigger: all_sucess
    needs: [one]
    when: [a]
    loop: {max: 1.5, exhausted: no}
    for_each: 3
    output: text
  eight: {team: {members: []}, prompt: x}
  nine: {tasks: [a, b]}
  ten: {tasks: {inner: {value:1}}}
  twelve: {ask: Go, on, then}
  thirteen: {prompt: x}
  fourteen: {agent: , prompt: x}
  fifteen: {agent: b, context: [one, 2]}
process: serial
limits: {timeout: 0s, max_tokens: -1, max_cost: cheap}
"""
FOUND = [
    (1, 1, "nmae", "unknown key 'nmae'", "did you mean 'name'?"),
    (2, 7, "name", "'name' must be text, not a number", 'quote it: "12"'),
    (3, 10, "inputs.Topic", "'Topic' cannot be an id: lower-case", "call it 'topic'"),
    (
        3,
        17,
        "inputs.Topic",
        "'Topic' must be a JSON Schema: a mapping, or true or false",
        None,
    ),
    (5, 14, "models.m.model", "'model' must be provider/name", None),
    (
        5,
        30,
        "models.m.base_url",
        "'base_url' must be an address that begins with http",
        None,
    ),
    (6, 28, "models.n.api_key", "'api_key' must be a mapping, not text", "{env: NAME}"),
    (8, 3, "agents.Writer-A", "'Writer-A' cannot be an id", "call it 'writer_a'"),
    (8, 25, "agents.Writer-A.max_turns", "'max_turns' must be at least 1, not 0", None),
    (
        8,
        36,
        "agents.Writer-A.weight",
        "'weight' must be a number, not text",
        "without quotes: 2",
    ),
    (
        9,
        18,
        "agents.b.temprature",
        "unknown key 'temprature'",
        "known keys: role, goal",
    ),
    (
        9,
        44,
        "agents.b.max_turns",
        "must be a whole number, not text",
        "without quotes: 3",
    ),
    (9, 55, "agents.b.goal", "'goal' must be text, not a number", 'quote it: "010"'),
    (
        9,
        67,
        "agents.b.tools",
        "'tools' must be a list, not text",
        "write a list: [search]",
    ),
    (
        11,
        3,
        "tools['bad tool']",
        "'bad tool' cannot be an id: letters",
        "call it 'bad_tool'",
    ),
    (
        11,
        23,
        "tools['bad tool'].approve",
        "'approve' must be true or false, not text",
        "true or",
    ),
    (12, 19, "tools.t.parameters", "'parameters' must be a mapping, not a list", None),
    (
        14,
        24,
        "tasks.one['then stop']",
        "unknown key 'then stop': the comma before it ended the text",
        'quote the text: prompt: "Write, then stop"',
    ),
    (15, 19, "tasks.two.promt", "unknown key 'promt'", "did you mean 'prompt'?"),
    (16, 3, "tasks.three", "the task has no kind", "did you mean 'agent' by 'agnet'?"),
    (
        17,
        20,
        "tasks.four.tool",
        "exactly one kind, but this one has 'agent' and 'tool'",
        "keep one",
    ),
    (18, 9, "tasks.five", "a task is a mapping, not text", "such as {agent: writer"),
    (
        19,
        17,
        "tasks.six.prompt",
        "'prompt' must be text, not a mapping",
        'the text: "{topic}"',
    ),
    (
        19,
        45,
        "tasks.six.timeout",
        "'timeout': a duration needs a unit",
        "write '3s' for seconds",
    ),
    (
        19,
        84,
        "tasks.six.retry.retry_on[0]",
        "'retry_on[0]' cannot be 'time_out'",
        "did you mean 'timeout'?",
    ),
    (
        22,
        14,
        "tasks.seven.trigger",
        "must be one of all_success, none",
        "did you mean 'all_suc",
    ),
    (23, 5, "tasks.seven.needs", "unknown key 'needs'", "did you mean 'depends_on'?"),
    (
        24,
        11,
        "tasks.seven.when",
        "must be an expression, or true or false, not a list",
        None,
    ),
    (25, 17, "tasks.seven.loop.max", "'max' must be a whole number, not 1.5", None),
    (25, 33, "tasks.seven.loop.exhausted", "must be one of fail, keep, not 'no'", None),
    (
        26,
        15,
        "tasks.seven.for_each",
        "must be an expression or a list, not a number",
        None,
    ),
    (27, 13, "tasks.seven.output", "'output' must be a JSON Schema", None),
    (28, 27, "tasks.eight.team.members", "'members' must not be empty", None),
    (
        29,
        17,
        "tasks.nine.tasks",
        "'tasks' must be a mapping, not a list",
        "a name of its own",
    ),
    (
        30,
        17,
        "tasks.ten.tasks.inner",
        "the task has no kind",
        "did you mean 'value' by 'value:1'",
    ),
    (31, 21, "tasks.twelve.on", "unknown key 'on': the comma", 'ask: "Go, on, then"'),
    (32, 3, "tasks.thirteen", "the task has no kind", "say who answers the prompt"),
    (
        33,
        13,
        "tasks.fourteen",
        "exactly one of agent, pool and capabilities",
        "name the agent",
    ),
    (34, 3, "tasks.fifteen.prompt", "'prompt' is missing", None),
    (
        34,
        38,
        "tasks.fifteen.context[1]",
        "'context[1]' must be text, not a number",
        'it: "2"',
    ),
    (
        35,
        10,
        "process",
        "'process' must be one of graph, sequential",
        "did you mean 'sequential'?",
    ),
    (36, 19, "limits.timeout", "'timeout' must be more than 0, not '0s'", None),
    (36, 35, "limits.max_tokens", "'max_tokens' must be at least 0, not -1", None),
    (36, 49, "limits.max_cost", "'max_cost' must be a number, not text", None),
]


def test_all_mistakes_are_found_at_once_in_order_with_hints() -> None:
    found = issues(MISTAKES, name="flow.yaml")
    places = [(issue.line, issue.col, issue.path) for issue in found]
    assert places == [row[:3] for row in FOUND]
    for issue, (_, _, _, message, hint) in zip(found, FOUND, strict=True):
        assert message in issue.message
        assert (issue.hint is None) if hint is None else (hint in (issue.hint or ""))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "talea: 2\nnam: x",
            "version 2 of the language; this talea knows version 1",
            "newer talea",
        ),
        (
            "talea: '1'\nname: x\ntasks: {t: {value: 1}}",
            "no such version",
            "write talea: 1",
        ),
        (
            "talea: true\nname: x\ntasks: {t: {value: 1}}",
            "no such version",
            "write talea: 1",
        ),
        ("name: x", "'tasks' is missing", None),
        ("name: x\ntasks: {}", "'tasks' must not be empty", None),
        ("name: ''\ntasks: {t: {value: 1}}", "'name' must not be empty", None),
        (
            f"name: {'x' * 201}\ntasks: {{t: {{value: 1}}}}",
            "longer than 200 characters",
            None,
        ),
        ("- a", "the document must be a mapping, not a list", None),
        ("text", "the document must be a mapping, not text", None),
        (
            "name: x\ntasks: {t: {value: 1, depends_on:x}}",
            "unknown key 'depends_on:x'",
            "space",
        ),
        (
            "name: x\n<<: {}\ntasks: {t: {value: 1}}",
            "unknown key '<<'",
            "no merge keys",
        ),
        (
            "name: x\ntasks: {t: {tool: a, with: [1]}}",
            "'with' must be a mapping, not a list",
            None,
        ),
    ],
)
def test_one_mistake_gives_one_issue(text: str, message: str, hint: str | None) -> None:
    issue = only(text)
    assert message in issue.message
    assert (issue.hint is None) if hint is None else (hint in (issue.hint or ""))


def test_a_text_that_a_comma_cut_is_told_once_beside_other_mistakes() -> None:
    text = "name: x\ntasks: {t: {ask: a, b and c}, u: {value: {k: d, e f}}, v: {}}"
    with pytest.raises(DocumentError) as raised:
        loads(text)
    assert [issue.path for issue in raised.value.issues] == [
        "tasks.t['b and c']",
        "tasks.u.value['e f']",
        "tasks.v",
    ]


def test_text_with_a_question_mark_in_braces_is_text() -> None:
    task = loads("name: x\ntasks: {t: {ask: Go on?}}").tasks["t"]
    assert task.kind == "ask"


def test_very_many_mistakes_are_counted() -> None:
    many = "".join(f"  t{i}: {{valeu: 1}}\n" for i in range(150))
    found = issues(f"name: x\ntasks:\n{many}")
    assert len(found) == 101
    assert found[-1].message == "and 50 more problems"


HOSTILE = {
    "many unknown keys in one line": "{name: x, "
    + ", ".join(f"k{i}: 1" for i in range(20_000))
    + "}",
    "a long key": "name: x\n? " + "a" * 500_000 + "\n: 1",
    "a long id": "name: x\ntasks: {? " + "A" * 500_000 + " : {value: 1}}",
    "a long choice": "name: x\nprocess: " + "x" * 500_000 + "\ntasks: {t: {value: 1}}",
    "a long line": "name: x\ntasks: {t: {value: '" + "x" * 500_000 + "', foo: 1}}",
    "a long comma trap": "{name: x, " + ", ".join(f"k{i}" for i in range(20_000)) + "}",
    "a long tag": "a: !" + "x" * 500_000 + " y",
    "a long anchor": "a: &" + "x" * 500_000 + " y",
    "a long alias": "a: *" + "x" * 500_000,
    "a long number": "a: " + "1" * 500_000,
    "a long reference": "name: x\ntasks: {t: {workflow: ./" + "x" * 500_000 + "}}",
    "a long duration": "name: x\ntasks: {t: {value: 1, timeout: " + "1" * 500_000 + "s}}",
    "a long env": "name: x\nmodels: {m: {model: a/b, api_key: {env: " + "-" * 500_000 + "}}}",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_gives_short_words(text: str, tmp_path: Path) -> None:
    with pytest.raises(DocumentError) as caught:
        loads(text, folder=tmp_path)
    assert all(len(str(issue)) < 1500 for issue in caught.value.issues)
    assert len(caught.value.issues) <= 101


# From a value back to its spelling

HOLE = "{{ bad }}"
SPELLINGS = [
    ("a: x {{ bad }} y", 1, 6),
    ("a: 'it''s {{ bad }} y'", 1, 11),
    ('a: "é\\n\\t\\u00e9 \\" {{ bad }} y"', 1, 20),
    ('{"a": "\\ud83d\\ude00 {{ bad }}", "b": "x"}', 1, 21),
    ('{"b": "\\ud83d\\ude00", "a": "x {{ bad }}"}', 1, 31),
    ("a: |\n  one\n    two\n\n  {{ bad }} x\n", 5, 3),
    ("a: |2-\n    one\n    {{ bad }} x\n", 3, 5),
    ("a: >\n  one\n  two\n\n  three {{ bad }} x\n\n    more\n", 5, 9),
    ("a: >-\n  one\n    two\n  three\n  {{ bad }}", 5, 3),
    ("a: one\n  two\n\n  three {{ bad }}\n", 4, 9),
    ('a: "one\n  two \\\n   three {{ bad }}"\n', 3, 10),
    ('a: "one\n\n\n  two \'three\n {{ bad }}"\n', 5, 2),
    ("a: '{{\n  bad }}, one\n  {{ bad }}'", 3, 3),
    ("b: 1\r\na: |\r\n  x\r\n  {{ bad }}\r\n", 4, 3),
    ("\ufeffa: x {{ bad }}", 1, 6),
    ("? a\n: x\n  y {{ bad }}", 3, 5),
]


@pytest.mark.parametrize(("text", "line", "col"), SPELLINGS)
def test_a_part_of_a_text_is_found_in_its_spelling(text: str, line: int, col: int) -> None:
    source = parse(text)
    start = source.data["a"].rindex(HOLE)
    issue = source.issue("m", ("a",), start=start, end=start + len(HOLE))
    assert (issue.line, issue.col) == (line, col)
    first, last = source.span(("a",), start=start, end=start + len(HOLE))
    assert source.text[first:last] == HOLE


@pytest.mark.parametrize(
    ("path", "key", "line", "col"),
    [
        ((), False, 1, 1),
        (("a",), False, 2, 3),
        (("a",), True, 1, 1),
        (("a", 1), False, 3, 5),
        (("a", 1, "b"), False, 3, 8),
        (("a", 1, "b"), True, 3, 5),
        (("a", 1, "missing"), False, 3, 5),
        (("a", 9), False, 1, 1),
        (("missing",), False, 1, 1),
        (("a", "wrong"), False, 1, 1),
    ],
)
def test_paths_lead_to_places(path: tuple[str | int, ...], key: bool, line: int, col: int) -> None:
    issue = parse("a:\n  - x\n  - b: 1\n").issue("m", path, key=key)
    assert (issue.line, issue.col) == (line, col)


def test_places_are_found_without_reading_twice_before_they_are_asked_for() -> None:
    workflow = loads(GOOD, name="good.yaml")
    source = workflow._source
    assert isinstance(source, Source)
    issue = source.issue("m", ("tasks", "one", "value"))
    assert str(issue).splitlines()[0] == "good.yaml:4:16 tasks.one.value: m"


# Files


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / next(iter(files))


def calls(reference: str) -> str:
    return f"name: x\ntasks:\n  sub: {{workflow: {reference}}}\n"


def file_issues(path: Path, **options: Any) -> tuple[Issue, ...]:
    with pytest.raises(DocumentError) as caught:
        load(path, **options)
    return caught.value.issues


def test_loads_a_file_and_all_that_it_refers_to(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "main.yaml": "name: main\ntasks:\n  a: {workflow: sub/a.yaml}\n"
            "  b: {tasks: {c: {workflow: ./sub/../sub/a.yaml}}}\n"
            "workflows: {w: {tasks: {d: {workflow: b.json}}}}\n",
            "sub/a.yaml": "name: a\ntasks: {t: {workflow: ../b.json}}",
            "b.json": '{"name": "b", "tasks": {"t": {"value": 1}}}',
        },
    )
    workflow = load(root)
    first = workflow_file(workflow, "sub/a.yaml")
    assert first.name == "a"
    assert workflow_file(workflow, "./sub/../sub/a.yaml") is first
    assert workflow_file(first, "../b.json") is workflow_file(workflow, "b.json")
    assert first._source.name == str(tmp_path / "sub" / "a.yaml")


def test_loads_with_a_folder_finds_files(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": GOOD})
    workflow = loads(calls("./a.yaml"), folder=tmp_path)
    assert workflow_file(workflow, "./a.yaml").name == "example"


def test_text_without_a_folder_has_no_files() -> None:
    issue = only(calls("./a.yaml"))
    assert "this document has no folder" in issue.message
    assert (issue.line, issue.col) == (3, 19)


def test_a_workflow_built_in_python_has_no_files() -> None:
    workflow = Workflow.model_validate({"name": "x", "tasks": {"t": {"workflow": "./a.yaml"}}})
    with pytest.raises(UsageError, match="was not loaded"):
        workflow_file(workflow, "./a.yaml")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("/etc/passwd", "'/etc/passwd' is not a relative path"),
        ("https://example.com/a.yaml", "is not a relative path"),
        ("file:///etc/passwd", "is not a relative path"),
        ("'..\\a.yaml'", "is not a relative path"),
        ("../outside.yaml", "leads out of the folder of the document"),
        ("../nothing.yaml", "leads out of the folder of the document"),
        ("sub/../../outside.yaml", "leads out of the folder of the document"),
        ("link.yaml", "leads out of the folder of the document"),
        ("linked/outside.yaml", "leads out of the folder of the document"),
        ("~/a.yaml", "there is no file '~/a.yaml'"),
        ("sub/", "there is no file 'sub/'"),
        ("nothing.yaml", "there is no file 'nothing.yaml'"),
        ("loop.yaml", "there is no file 'loop.yaml'"),
        ('"a\\0.yaml"', "there is no file 'a\\x00.yaml'"),
        (f"{'x' * 5000}.yaml", "there is no file"),
    ],
)
def test_references_stay_below_the_folder(tmp_path: Path, reference: str, message: str) -> None:
    root = write(
        tmp_path,
        {
            "flows/main.yaml": calls(reference),
            "outside.yaml": GOOD,
            "flows/sub/a.yaml": GOOD,
        },
    )
    (tmp_path / "flows" / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    (tmp_path / "flows" / "linked").symlink_to(tmp_path)
    (tmp_path / "flows" / "loop.yaml").symlink_to(tmp_path / "flows" / "loop.yaml")
    (issue,) = file_issues(root)
    assert message in issue.message
    assert (issue.line, issue.col, issue.path) == (3, 19, "tasks.sub.workflow")


def test_links_inside_the_folder_are_followed(tmp_path: Path) -> None:
    root = write(tmp_path, {"main.yaml": calls("link.yaml"), "sub/a.yaml": GOOD})
    (tmp_path / "link.yaml").symlink_to(tmp_path / "sub" / "a.yaml")
    assert workflow_file(load(root), "link.yaml").name == "example"


def test_a_linked_folder_is_a_folder(tmp_path: Path) -> None:
    write(tmp_path, {"real/main.yaml": calls("./a.yaml"), "real/a.yaml": GOOD})
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    assert workflow_file(load(tmp_path / "linked" / "main.yaml"), "./a.yaml").name == "example"


def test_a_file_that_nearly_has_the_name_is_offered(tmp_path: Path) -> None:
    root = write(tmp_path, {"main.yaml": calls("./hlper.yaml"), "helper.yaml": GOOD})
    assert file_issues(root)[0].hint == "did you mean 'helper.yaml'?"
    assert file_issues(tmp_path / "mian.yaml")[0].hint == "did you mean 'main.yaml'?"


@pytest.mark.parametrize(
    ("files", "circle"),
    [
        ({"main.yaml": calls("main.yaml")}, "main.yaml > main.yaml"),
        (
            {"main.yaml": calls("sub/a.yaml"), "sub/a.yaml": calls("../main.yaml")},
            "main.yaml > sub/a.yaml > main.yaml",
        ),
        (
            {
                "main.yaml": calls("a.yaml"),
                "a.yaml": calls("b.yaml"),
                "b.yaml": calls("a.yaml"),
            },
            "a.yaml > b.yaml > a.yaml",
        ),
    ],
)
def test_recursion_across_files_is_refused_with_its_path(
    tmp_path: Path, files: dict[str, str], circle: str
) -> None:
    (issue,) = file_issues(write(tmp_path, files))
    assert issue.message == f"files run each other in a circle: {circle}"


def test_problems_of_all_files_are_told_together(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "main.yaml": "name: x\ntasks:\n"
            "  a: {workflow: a.yaml}\n  b: {workflow: b.yaml}\n  c: {workflow: c.yaml}\n",
            "a.yaml": "name: a\ntasks: {t: {valeu: 1}}",
            "b.yaml": "name: [",
        },
    )
    found = [(Path(issue.file or "").name, issue.line) for issue in file_issues(root)]
    assert found == [("a.yaml", 2), ("b.yaml", 1), ("main.yaml", 5)]


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (Bounds(max_bytes=200), "bytes that the files before it leave of the bound"),
        (Bounds(max_nodes=20), "nodes that the files before it leave of the bound"),
        (Bounds(max_depth=5), "levels that the files before it leave of the bound"),
    ],
)
def test_bounds_hold_for_all_files_together(tmp_path: Path, bounds: Bounds, message: str) -> None:
    large = "name: a\ntasks: {t: {value: [1, 2, 3, 4, 5, 6, 7, 8, 9]}}\n"
    root = write(
        tmp_path,
        {
            "main.yaml": "name: x\ntasks: {a: {workflow: a.yaml}, b: {workflow: b.yaml}}\n",
            "a.yaml": large + "#" * 50,
            "b.yaml": large + "#" * 50,
        },
    )
    assert load(root).name == "x"
    assert any(message in issue.message for issue in file_issues(root, limits=bounds))


@pytest.mark.parametrize(
    ("raw", "message", "line"),
    [
        (b"name: \xff", "the file is not UTF-8: the byte 0xff cannot be read", 1),
        ("name: é\ntasks: ".encode() + b"\xe9", "the byte 0xe9", 2),
        ("name: x".encode("utf-16"), "the byte 0xff", 1),
    ],
)
def test_a_file_that_is_not_utf_8_is_refused(
    tmp_path: Path, raw: bytes, message: str, line: int
) -> None:
    path = tmp_path / "main.yaml"
    path.write_bytes(raw)
    (issue,) = file_issues(path)
    assert message in issue.message
    assert issue.line == line


def test_what_cannot_be_read_is_a_document_error(tmp_path: Path) -> None:
    assert "no such file" in file_issues(tmp_path / "none.yaml")[0].message
    assert "is a directory" in file_issues(tmp_path)[0].message
    with pytest.raises(DocumentError, match="cannot be read"):
        load("a\0.yaml")


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(1_000_000_000_000)
    (issue,) = file_issues(path)
    assert "larger than the 1,000,000 bytes that are allowed" in issue.message


def test_kinds_are_told_by_their_keys() -> None:
    workflow = loads(
        "name: x\ntasks:\n"
        "  a: {agent: w, prompt: p}\n  b: {tool: t}\n  c: {tasks: {d: {value: 1}}}\n"
    )
    assert [type(task) for task in workflow.tasks.values()] == [
        AgentTask,
        ToolTask,
        BlockTask,
    ]
