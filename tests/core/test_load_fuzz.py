"""Laws of reading: whatever the text is, and whatever the workflow says."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from talea.errors import DocumentError, ErrorType
from talea.ir import Process, Trigger, Workflow, format_duration, parse_duration
from talea.load import Bounds, load, loads
from talea.source.text import REFUSED, parse
from talea.spelling import dump, json_schema, to_data

BOUNDS = Bounds(max_bytes=5000, max_depth=20, max_nodes=500)

# Pieces that YAML, JSON and workflows are made of, so that random texts get further than line 1.
PIECES = st.sampled_from(
    [
        *("name: x", "tasks:", "\n", "\n  ", "\n    ", "- ", "a: ", ": ", ", ", "{", "}", "[", "]"),
        *("{{ ", "}}", "'", '"', "\\", "\\u", "\\ud83d", "#", "# ", "&a ", "*a", "!x ", "!!str "),
        *("--- ", "\n---\n", "...", "%YAML 1.2", "%TAG", "? ", "\t", "\r\n", "\r", "\u2028"),
        *("\ufeff", "\x00", "\x85", "é", "😀", "\ud800", "|", "> ", "~", "null", "1", "0x", "1e9"),
        *("value", "agent", "prompt", "tool", "with", "ask", "loop", "retry", "talea: 1", "<<"),
        *("=", "1:30", ".inf", "9999999999999999999"),
    ]
)
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(PIECES, max_size=25).map("".join),
    st.tuples(st.just("name: x\ntasks:\n  t: {value: "), st.text(max_size=30)).map("".join),
)


def check_issues(error: DocumentError, text: str) -> None:
    """Every issue has a place in the text, a snippet of that line, and words."""
    assert error.issues
    for issue in error.issues:
        assert issue.message
        assert not REFUSED.search(str(issue))
        if issue.line is not None:
            assert issue.col is not None
            assert 1 <= issue.line <= text.count("\n") + text.count("\r") + 1
            assert 1 <= issue.col <= len(text) + 1


@settings(deadline=None)
@given(TEXTS)
@example("? a\n? b")
@example("{? a: b}")
@example("a: !<tag:yaml.org,2002:str> x")
@example("[" * 1000)
@example("'" * 999)
@example("a: |9\n x")
@example("%YAML 3.0\n---\na")
@example("\ufeff\ufeffa: 1")
@example('["\\ud83d\\ude00", "\\\\ud83d\\ude00", *a]')
def test_any_text_is_a_workflow_or_a_document_error(text: str) -> None:
    try:
        workflow = loads(text, limits=BOUNDS)
    except DocumentError as error:
        check_issues(error, text)
    else:
        assert isinstance(workflow, Workflow)


@given(st.binary(max_size=60) | TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_is_a_workflow_or_a_document_error(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(raw)
    try:
        found = load(path, limits=BOUNDS)
    except DocumentError as error:
        found = error.issues
    assert found


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_json_means_what_it_means_to_json(data: Any, ascii_only: bool, indent: Any) -> None:
    # A root of a mapping, as documents have; what YAML cannot hold raw is escaped.
    text = json.dumps({"a": data}, ensure_ascii=ascii_only, indent=indent)
    if REFUSED.search(text):
        with pytest.raises(DocumentError, match="is not allowed"):
            parse(text)
        return
    found = parse(text).data
    assert found == {"a": data}
    assert json.dumps(found) == json.dumps({"a": data})


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(below for key, part in inner for below in paths_of(part, (*path, key)))]


@settings(deadline=None)
@given(JSON)
def test_every_value_is_found_where_it_is_spelled(data: Any) -> None:
    text = json.dumps({"a": data, "😀": "x"})  # With surrogate pairs, which are translated.
    source = parse(text)
    for path in paths_of(source.data):
        value = source.data
        for step in path:
            value = value[step]
        assert json.loads(source.raw(path)) == value


@settings(deadline=None)
@given(
    st.text("ab{}'\"\\ \n\té😀", max_size=20),
    st.sampled_from(["'", '"', "|", ">"]),
    st.data(),
)
def test_any_character_of_a_text_is_traced_into_its_spelling(
    text: str, style: str, data: st.DataObject
) -> None:
    import yaml

    document = yaml.safe_dump({"a": text}, default_style=style, allow_unicode=True, width=8)
    source = parse(document)
    value = next(iter(source.data.values()))
    assert value == text
    if not value:
        return
    start = data.draw(st.integers(0, len(value) - 1))
    first, last = source.span(("a",), start=start, end=start + 1)
    whole = source.span(("a",))
    assert whole[0] <= first <= last <= whole[1]
    if value[start] in "ab{}é😀":
        assert source.text[first:last] == value[start] or source.text[first] == "\\"


# Workflows that say anything

IDS = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    [
        *("yes", "no", "010", "0o10", "1e5", "~", "", " x", "x ", "a: b", "# x", "- a", "=", "<<"),
        *("{{ inputs.x }}", "a\nb", "a\n", "\n", "a\n\n", "  a\n b", "a \nb", "\ta\n", "a\r\nb"),
        *("x\u2028y", "\u202ex", "\x1b[0m", "it's", '"', "'", "\\", "a\n\n\n  b\n", "...\n"),
        *("---\na", "%x\ny", "😀\nx", "\ufeffx"),
    ]
)
DURATIONS = st.integers(1, 10**15).map(lambda n: format_duration(n / 1000))
OUTPUTS = st.dictionaries(WORDS, JSON, max_size=3)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


MODIFIERS: dict[str, st.SearchStrategy[Any]] = {
    "description": WORDS,
    "depends_on": st.lists(IDS, max_size=3),
    "trigger": st.sampled_from([t.value for t in Trigger]),
    "when": WORDS | st.booleans(),
    "for_each": WORDS | st.lists(JSON, max_size=3),
    "max_parallel": st.integers(1, 100),
    "output": st.booleans() | st.just({"type": "string"}),
    "priority": st.integers(-10, 10),
}
REPEATABLE: dict[str, st.SearchStrategy[Any]] = {
    **MODIFIERS,
    "fallback": JSON,
    "loop": st.fixed_dictionaries({"max": st.integers(1, 9)}, optional={"until": WORDS}),
    "retry": st.fixed_dictionaries(
        {"max_attempts": st.integers(1, 9)},
        optional={
            "initial_interval": DURATIONS,
            "backoff_factor": st.floats(1, 1000),
            "jitter": st.booleans(),
            "retry_on": st.lists(
                st.sampled_from([*(e.value for e in ErrorType), "any"]), max_size=3
            ),
        },
    ),
    "timeout": DURATIONS,
    "on_resume": st.sampled_from(["rerun", "fail"]),
}
TEAMS = st.fixed_dictionaries(
    {"members": st.lists(IDS, min_size=1, max_size=3)}, optional={"start": IDS}
)


def kind(options: dict[str, st.SearchStrategy[Any]], **fields: st.SearchStrategy[Any]) -> Any:
    return st.fixed_dictionaries(fields, optional=options)


TASKS: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        kind({**REPEATABLE, "context": st.lists(IDS, max_size=2)}, agent=IDS, prompt=WORDS),
        kind(REPEATABLE, pool=IDS, prompt=WORDS),
        kind(REPEATABLE, capabilities=st.lists(WORDS, min_size=1, max_size=2), prompt=WORDS),
        kind({**REPEATABLE, "with": OUTPUTS}, tool=WORDS),
        kind({**REPEATABLE, "with": OUTPUTS}, workflow=IDS),
        kind(REPEATABLE, value=JSON),
        kind(REPEATABLE, team=IDS | TEAMS, prompt=WORDS),
        kind(MODIFIERS, ask=WORDS),
    ),
    lambda inner: kind(
        {**REPEATABLE, "outputs": OUTPUTS, "process": st.sampled_from([p.value for p in Process])},
        tasks=st.dictionaries(IDS, inner, min_size=1, max_size=2),
    ),
    max_leaves=3,
)
INLINE: dict[str, st.SearchStrategy[Any]] = {
    "description": WORDS,
    "inputs": st.dictionaries(IDS, st.booleans() | st.just({"type": "string"}), max_size=2),
    "outputs": OUTPUTS,
    "metadata": OUTPUTS,
    "on_failure": st.sampled_from(["stop", "continue"]),
}
WORKFLOWS = st.fixed_dictionaries(
    {"name": WORDS.filter(bool), "tasks": st.dictionaries(IDS, TASKS, min_size=1, max_size=3)},
    optional={
        **INLINE,
        "talea": st.just(1),
        "models": st.dictionaries(
            IDS,
            st.fixed_dictionaries(
                {"model": st.just("a/b")},
                optional={"temperature": st.floats(0, 2), "api_key": st.just({"env": "KEY"})},
            ),
            max_size=2,
        ),
        "tools": st.dictionaries(IDS, some(description=WORDS, approve=st.booleans()), max_size=2),
        "agents": st.dictionaries(IDS, some(role=WORDS, weight=st.floats(0.1, 9)), max_size=2),
        "pools": st.dictionaries(
            IDS,
            st.fixed_dictionaries({"agents": st.lists(IDS, min_size=1, max_size=2)}),
            max_size=1,
        ),
        "teams": st.dictionaries(IDS, TEAMS, max_size=1),
        "workflows": st.dictionaries(
            IDS,
            st.fixed_dictionaries(
                {"tasks": st.dictionaries(IDS, TASKS, min_size=1, max_size=1)}, optional=INLINE
            ),
            max_size=1,
        ),
        "limits": some(
            timeout=DURATIONS, max_cost=st.floats(0, 100), max_tokens=st.integers(0, 99)
        ),
    },
)


@given(WORKFLOWS)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_written_is_read_again(data: dict[str, Any]) -> None:
    workflow = Workflow.model_validate(data)
    written = dump(workflow)
    again = loads(written)
    assert again == workflow
    assert to_data(again) == to_data(workflow)
    assert dump(again) == written
    assert Workflow.model_validate(to_data(workflow)) == workflow
    assert loads(json.dumps(to_data(workflow))) == workflow


@given(WORKFLOWS)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_json_schema_admits_what_the_models_do(data: dict[str, Any]) -> None:
    import jsonschema_rs

    validator = jsonschema_rs.validator_for(json_schema())
    validator.validate(to_data(Workflow.model_validate(data)))


@settings(deadline=None)
@given(st.integers(0, 10**17))
def test_durations_are_exact_to_the_nanosecond(nanoseconds: int) -> None:
    seconds = round(nanoseconds / 1e9, 9)
    assert parse_duration(format_duration(seconds)) == seconds


@settings(deadline=None)
@given(st.timedeltas(min_value=timedelta(0)))
def test_timedeltas_are_durations(value: timedelta) -> None:
    seconds = parse_duration(value)
    assert parse_duration(format_duration(seconds)) == seconds
