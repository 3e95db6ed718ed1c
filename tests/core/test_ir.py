"""The document's models, built in Python, and how they are written."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import jsonschema_rs
import pytest
from pydantic import ValidationError

from talea.ir import (
    KIND_KEYS,
    Agent,
    AgentTask,
    AskTask,
    BlockTask,
    InlineWorkflow,
    Limits,
    Loop,
    Model,
    Retry,
    SecretRef,
    Team,
    TeamTask,
    Tool,
    ToolTask,
    ValueTask,
    Workflow,
    WorkflowTask,
    format_duration,
    parse_duration,
    task_kind,
)
from talea.load import loads
from talea.spelling import dump, json_schema, to_data

WHOLE = Workflow(
    name="example",
    models={"m": Model(model="a/b", api_key=SecretRef(env="KEY"))},
    tools={"search": Tool(approve=True)},
    agents={"writer": Agent(role="Writer", tools=("search",))},
    teams={"desk": Team(manager="writer", members=("writer",))},
    workflows={"inner": InlineWorkflow(tasks={"t": ValueTask(value=1)})},
    tasks={
        "write": AgentTask(agent="writer", prompt="Write.\nWell."),
        "call": ToolTask(tool="search", with_={"query": "no"}, retry=Retry(max_attempts=2)),
        "block": BlockTask(tasks={"a": ValueTask(value={"x": [1.0, None, True]})}),
        "meet": TeamTask(team=Team(start="writer", members=("writer",)), prompt="Talk."),
        "desk": TeamTask(team="desk", prompt="Talk."),
        "run": WorkflowTask(workflow="inner", fallback=None),
        "ask": AskTask(ask="Go on?", when=False),
        "again": ValueTask(value="{{ loop.index }}", loop=Loop(until="loop.output", max=3)),
    },
    limits=Limits(max_tokens=5),
)


def build(**task: Any) -> Any:
    return Workflow.model_validate({"name": "x", "tasks": {"t": task}}).tasks["t"]


def test_tasks_may_be_models_or_plain_data() -> None:
    models = Workflow(
        name="x", agents={"a": Agent()}, tasks={"t": AgentTask(agent="a", prompt="Hello")}
    )
    data = Workflow.model_validate(
        {"name": "x", "agents": {"a": {}}, "tasks": {"t": {"agent": "a", "prompt": "Hello"}}}
    )
    assert models == data
    assert models.tasks["t"].kind == "agent"


def test_names_of_arguments_are_those_of_python_or_of_the_document() -> None:
    assert build(tool="t", **{"with": {"a": 1}}) == build(tool="t", with_={"a": 1})


def test_lists_and_timedeltas_are_taken() -> None:
    task = build(value=1, depends_on=["a", "b"], timeout=timedelta(minutes=1.5))
    assert task.depends_on == ("a", "b")
    assert task.timeout == 90.0


def test_a_document_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        WHOLE.name = "other"


def test_repr_shows_what_was_written() -> None:
    assert repr(build(tool="t", priority=0)) == "ToolTask(priority=0, tool='t')"


@pytest.mark.parametrize("key", KIND_KEYS)
def test_each_kind_is_told_by_its_key(key: str) -> None:
    assert task_kind({key: None, "prompt": "x"}) == KIND_KEYS[key]
    assert task_kind({"prompt": "x"}) is None
    assert task_kind({key: 1, **{other: 1 for other in KIND_KEYS if other != key}}) is None


def test_no_task_model_is_without_a_kind() -> None:
    assert {task.kind for task in WHOLE.tasks.values()} == set(KIND_KEYS.values())


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({}, "exactly one of agent, pool"),
        ({"prompt": "x"}, "exactly one of agent, pool"),
        ({"agent": "a", "tool": "b"}, "exactly one of agent, pool"),
        ({"agent": None, "prompt": "x"}, "exactly one of agent, pool and capabilities"),
        ({"capabilities": [], "prompt": "x"}, "at least 1 item"),
        ({"value": 1, "timeout": 3}, "a duration needs a unit"),
        ({"value": 1, "timeout": "3 s"}, "a number and one of ms, s, m, h, d"),
        ({"value": 1, "timeout": timedelta(seconds=-1)}, "a number and one of"),
        ({"value": 1, "timeout": "0s"}, "greater than 0"),
        ({"value": 1, "when": 1}, "must be an expression, or true or false"),
        ({"value": 1, "for_each": {}}, "must be an expression or a list"),
        ({"value": 1, "output": "text"}, "must be a JSON Schema"),
        ({"value": 1, "priority": True}, "valid integer"),
        ({"value": 1, "priority": "1"}, "valid integer"),
        ({"value": 1, "retry": {"max_attempts": 1, "retry_on": ["x"]}}, "type of error, or any"),
        ({"value": 1, "retry": {"max_attempts": 1, "backoff_factor": "2"}}, "valid number"),
        ({"value": 1, "retry": {"max_attempts": 1, "jitter": "yes"}}, "valid boolean"),
        ({"value": 1, "loop": {"max": 0}}, "greater than or equal to 1"),
        ({"ask": "x", "retry": {"max_attempts": 2}}, "not permitted"),
    ],
)
def test_what_a_task_cannot_be_is_refused(task: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build(**task)


def test_an_agent_task_in_python_needs_one_to_do_it() -> None:
    with pytest.raises(ValidationError, match="exactly one of agent, pool and capabilities"):
        AgentTask(prompt="x")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90.0),
        ("1.5h", 5400.0),
        ("250ms", 0.25),
        ("2m", 120.0),
        ("1d", 86400.0),
        ("0s", 0.0),
        ("0.000001ms", 1e-9),
        ("0.0000001ms", 0.0),
    ],
)
def test_durations_have_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    "value", ["", "s", "1", "1 s", "-1s", "1e3s", "1s1", "1S", ".5s", "1.s", "１s", True, None, []]
)
def test_other_durations_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="a duration is a number and one of"):
        parse_duration(value)


def test_equality_is_what_the_documents_say() -> None:
    text = dump(WHOLE)
    assert loads(text, name="a.yaml") == loads("# a remark\n" + text, name="b.yaml")
    assert loads(text.replace("example", "other")) != WHOLE
    assert build(value=1) != build(value=1, fallback=None)
    assert (WHOLE == "example") is False


def test_a_written_null_fallback_stays_one() -> None:
    task = loads("name: x\ntasks: {t: {value: 1, fallback: null}}").tasks["t"]
    assert isinstance(task, ValueTask)
    assert task.has_fallback
    again = loads(dump(Workflow(name="x", tasks={"t": task}))).tasks["t"]
    assert isinstance(again, ValueTask)
    assert again.has_fallback


# How it is written


def test_data_is_what_was_written_in_the_order_that_reads_best() -> None:
    data = to_data(
        Workflow(
            tasks={"t": ToolTask(priority=1, with_={"b": 1, "a": 2}, tool="x", description="d")},
            outputs={"b": 1, "a": 2},
            name="x",
        )
    )
    assert json.dumps(data) == json.dumps(
        {
            "talea": 1,
            "name": "x",
            "tasks": {
                "t": {"description": "d", "tool": "x", "with": {"b": 1, "a": 2}, "priority": 1}
            },
            "outputs": {"b": 1, "a": 2},
        }
    )


def test_yaml_is_written_as_people_would() -> None:
    written = dump(
        Workflow(
            name="no",
            tasks={
                "t": AgentTask(
                    capabilities=("a", "b"),
                    prompt="One.\nTwo: {{ inputs.x }}",
                    expected_output="It's short: one line",
                )
            },
            outputs={"n": "010", "b": "{{ tasks.t.output }}", "e": "1e5", "t": "plain"},
        )
    )
    assert written == (
        "talea: 1\n"
        'name: "no"\n'
        "tasks:\n"
        "  t:\n"
        "    capabilities: [a, b]\n"
        "    prompt: |-\n"
        "      One.\n"
        "      Two: {{ inputs.x }}\n"
        '    expected_output: "It\'s short: one line"\n'
        "outputs:\n"
        '  n: "010"\n'
        '  b: "{{ tasks.t.output }}"\n'
        '  e: "1e5"\n'
        "  t: plain\n"
    )


@pytest.mark.parametrize("value", [2**63, float("nan"), float("inf"), "\ud800"])
def test_what_only_python_can_hold_is_not_written(value: Any) -> None:
    with pytest.raises(ValueError, match=r"number|surrogate"):
        dump(Workflow(name="x", tasks={"t": ValueTask(value=value)}))


def test_one_object_in_two_places_is_written_twice() -> None:
    shared = {"a": [1, 2, 3]}
    written = dump(Workflow(name="x", tasks={"t": ValueTask(value=[shared, shared])}))
    assert "&" not in written
    assert loads(written).tasks["t"] == ValueTask(value=[shared, shared])


# The JSON Schema


def test_the_schema_is_one_and_is_for_people() -> None:
    schema = json_schema()
    jsonschema_rs.meta.validate(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    text = json.dumps(schema)
    for internal in ("_source", "_plan", "JsonValue", "discriminator", '"null"', "TaskModel"):
        assert internal not in text


def test_the_schema_describes_every_key() -> None:
    schema = json_schema()
    for name, definition in {"root": schema, **schema["$defs"]}.items():
        assert definition.get("description"), name
        for key, inner in definition.get("properties", {}).items():
            assert inner.get("description") or "$ref" in inner, (name, key)


def test_the_schema_admits_a_whole_workflow() -> None:
    jsonschema_rs.validator_for(json_schema()).validate(to_data(WHOLE))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("nmae", "x"),
        ("name", 1),
        ("talea", 2),
        ("process", "serial"),
        ("tasks", {}),
        ("tasks", {"Bad": {"value": 1}}),
        ("tasks", {"t": {"prompt": "x"}}),
        ("tasks", {"t": {"agent": "a", "tool": "b", "prompt": "x"}}),
        ("tasks", {"t": {"agent": "a"}}),
        ("tasks", {"t": {"value": 1, "prompt": "x"}}),
        ("tasks", {"t": {"ask": "x", "retry": {"max_attempts": 2}}}),
        ("tasks", {"t": {"value": 1, "timeout": 3}}),
        ("tasks", {"t": {"value": 1, "trigger": "all"}}),
        ("tasks", {"t": {"team": {"members": []}, "prompt": "x"}}),
        ("tasks", {"t": {"tasks": {"u": {"valeu": 1}}}}),
        ("workflows", {"w": {"tasks": {"t": {"valeu": 1}}}}),
        ("tools", {"a b": {}}),
        ("agents", {"a": {"max_turns": 0}}),
        ("models", {"m": {"model": "x"}}),
    ],
)
def test_the_schema_refuses_what_the_models_do(part: str, value: Any) -> None:
    data = {"name": "x", "tasks": {"t": {"value": 1}}, part: value}
    assert not jsonschema_rs.validator_for(json_schema()).is_valid(data)
    with pytest.raises(ValidationError):
        Workflow.model_validate(data)


def test_the_schema_completes_a_task_before_its_kind_is_known() -> None:
    definitions = json_schema()["$defs"]
    everything = set[str]().union(
        *(definitions[type(task).__name__]["properties"] for task in WHOLE.tasks.values())
    )
    assert set(definitions["Task"]["properties"]) == everything
