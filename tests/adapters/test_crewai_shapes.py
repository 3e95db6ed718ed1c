"""What workflows become on CrewAI, how large ones are cut, and what is said of all that."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("talea_crewai.framework")

import crewai
from crewai.flow.flow import Flow

import talea
from talea.errors import UnsupportedError, UsageError
from talea.ir import Workflow
from talea.plan import Plan, make_plan
from talea.plugins import get_adapter
from talea_crewai.stages import MOST_METHODS, cut

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of CrewAI's own code


def build(tasks: Mapping[str, Any]) -> Workflow:
    agents = {"w": {"role": "Writer"}} if "'agent'" in str(tasks) else {}
    tools = {"t": {}} if "'tool'" in str(tasks) else {}
    data = {"name": "shape", "agents": agents, "tools": tools, "tasks": tasks}
    return Workflow.model_validate(data)


def values(dependencies: list[list[int]]) -> Plan:
    """Plan values that depend on each other as told."""
    tasks = {
        f"t{i}": {"value": None, "depends_on": [f"t{d}" for d in before]}
        for i, before in enumerate(dependencies)
    }
    return make_plan(build(tasks))


def made_of(tasks: Mapping[str, Any], **options: str) -> Any:
    return talea.compile(build(tasks), framework="crewai", options=options)()


AGENT = {"agent": "w", "prompt": "Go."}
SEQUENCE = {"a": AGENT, "b": {**AGENT, "depends_on": ["a"]}}
BLOCK = {"tasks": {"x": AGENT, "y": {**AGENT, "depends_on": ["x"]}}}


# What a workflow becomes


@pytest.mark.parametrize(
    ("tasks", "kind"),
    [
        (SEQUENCE, crewai.Crew),
        ({"a": AGENT, "b": AGENT}, Flow),
        ({**SEQUENCE, "c": {"value": 1, "depends_on": ["b"]}}, Flow),
        ({"a": {**AGENT, "for_each": [1, 2]}}, Flow),
        ({"a": BLOCK}, Flow),
    ],
    ids=["sequence", "side by side", "a value", "a map", "a block"],
)
def test_a_sequence_of_agents_becomes_a_crew_and_all_else_a_flow(
    tasks: Mapping[str, Any], kind: type
) -> None:
    assert isinstance(made_of(tasks), kind)


def test_a_style_is_a_choice() -> None:
    assert isinstance(made_of(SEQUENCE, style="flow"), Flow)
    assert isinstance(made_of({"a": AGENT, "b": AGENT}, style="crew"), crewai.Crew)


def test_what_cannot_be_a_crew_is_refused_by_name() -> None:
    tasks = {"a": AGENT, "b": {"value": 1}, "c": {"tool": "t"}}
    with pytest.raises(UnsupportedError) as caught:
        talea.compile(build(tasks), framework="crewai", options={"style": "crew"})
    assert [lack.task for lack in caught.value.lacks] == ["b", "c"]
    assert "style=flow" in str(caught.value)


@pytest.mark.parametrize("options", [{"style": "swarm"}, {"mode": "flow"}])
def test_unknown_options_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="style"):
        talea.compile(build(SEQUENCE), framework="crewai", options=options)


def test_a_crew_shows_the_workflows_agents_and_tasks() -> None:
    crew = made_of({"a": AGENT, "b": {**AGENT, "context": ["a"], "expected_output": "One {word}."}})
    assert [agent.role for agent in crew.agents] == ["Writer"]
    first, second = crew.tasks
    assert (first.name, first.description, first.agent.role) == ("a", "Go.", "Writer")
    assert (second.expected_output, second.context) == ("One {word}.", [first])


def test_a_flow_has_a_method_for_each_task_and_crewais_own_joins() -> None:
    tasks = {
        "a": {"value": 1},
        "b": {"value": 1},
        "c": {"value": 1, "depends_on": ["a"]},
        "d": {"value": 1, "depends_on": ["a", "b"]},
    }
    flow = talea.compile(build(tasks), framework="crewai")
    methods = flow.flow_definition().methods
    assert {name for name, method in methods.items() if method.start} == {"task_a", "task_b"}
    assert methods["task_c"].listen == "task_a"
    assert methods["task_d"].listen == {"and": ["task_a", "task_b"]}


def test_no_name_of_a_task_stands_in_crewais_way() -> None:
    names = ["state", "kickoff", "name", "start", "memory", "model_fields", "self", "task_a", "a"]
    tasks: dict[str, Any] = {}
    for i, name in enumerate(names):
        tasks[name] = {"value": i, **({"depends_on": [names[i - 1]]} if i else {})}
    result = talea.run(build(tasks), framework="crewai")
    assert [task.output for task in result.tasks.values()] == list(range(len(names)))


# Large plans


def test_a_method_looks_for_those_who_listen_to_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, CrewAI judges every method's condition at the end of each."""
    judged: list[str] = []
    judge = Flow._condition_met

    def noted(self: Any, condition: Any, ended: Any, key: Any) -> bool:
        judged.append(ended)
        return judge(self, condition, ended, key)

    monkeypatch.setattr(Flow, "_condition_met", noted)
    plan = values([[i - 1] if i else [] for i in range(30)] + [[0, 29]])
    assert talea.run(plan.workflow, framework="crewai").succeeded
    assert len(judged) == 29 + 2


def test_a_small_plan_has_a_stage_for_each_task() -> None:
    plan = values([[i - 1] if i else [] for i in range(MOST_METHODS)])
    assert [stage.tasks for stage in cut(plan)] == [(i,) for i in range(MOST_METHODS)]


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 120))
def test_no_task_begins_later_for_being_in_a_stage(seed: int, most: int, reach: int) -> None:
    """Whoever is in a stage needs, by some way, all that is in the stages before it."""
    dice = Random(seed)
    size = MOST_METHODS + 1 + dice.randrange(100)
    near = [range(max(0, i - reach), i) for i in range(size)]
    plan = values([sorted(dice.sample(at, min(len(at), dice.randint(0, most)))) for at in near])
    stages = cut(plan)
    assert tuple(i for stage in stages for i in stage.tasks) == plan.order
    needs: dict[int, set[int]] = {}
    for i in plan.order:
        needs[i] = {i}.union(*(needs[d] for d in plan.steps[i].dependencies))
    before: set[int] = set()
    for at, stage in enumerate(stages):
        assert stage.after == ((at - 1,) if at else ())
        assert all(before <= needs[i] for i in stage.tasks)
        before.update(stage.tasks)


@pytest.mark.parametrize("wide", [1, 4], ids=["chain", "diamonds"])
def test_a_large_plan_is_cut_and_runs(wide: int) -> None:
    tasks: dict[str, Any] = {"t0": {"value": 0}}
    last = "t0"
    for k in range(1, 150 // wide):
        for w in range(wide):
            tasks[f"t{k}_{w}"] = {"value": f"{{{{ tasks.{last}.output + 1 }}}}"}
        ends = " + ".join(f"tasks.t{k}_{w}.output" for w in range(wide))
        last = f"t{k}"
        tasks[last] = {"value": f"{{{{ ({ends}) / {wide} }}}}"}
    workflow = build(tasks)
    assert 10 < len(talea.compile(workflow, framework="crewai").flow_definition().methods) < 40
    result = talea.run(workflow, framework="crewai").raise_for_failure()
    assert result.tasks[last].output == 150 // wide - 1


# What is said of it


def described(tasks: Mapping[str, Any], **options: str) -> Mapping[str, str]:
    return get_adapter("crewai").describe(make_plan(build(tasks)), options)


def test_it_describes_a_crew() -> None:
    told = described({"a": AGENT, "b": {**AGENT, "context": ["a"], "retry": {"max_attempts": 2}}})
    assert list(told) == ["", "a", "b"]
    assert "a Crew of 2 Tasks" in told[""]
    assert "thread" in told[""]
    assert "side by side" not in told[""]
    assert told["a"] == "a Task of the Agent 'w', a fresh one for each attempt"
    assert told["b"].endswith("; by talea's kernel: retry")
    assert "could run side by side" in described({"a": AGENT, "b": AGENT}, style="crew")[""]
    with pytest.raises(UnsupportedError):
        described({"a": {"value": 1}}, style="crew")


def test_it_describes_a_flow() -> None:
    tasks = {
        "a": {**AGENT, "timeout": "3s", "when": "1 == 1"},
        "b": {"for_each": [1], "tool": "t", "max_parallel": 1},
        "c": {"value": 1},
        "d": BLOCK,
        "q": {"ask": "?"},
    }
    told = described(tasks)
    assert list(told) == ["", "a", "b", "c", "d", "q"]
    assert "a Flow of 5 methods" in told[""]
    assert "thread" in told[""]
    assert "stage" not in told[""]
    assert "the Agent 'w'" in told["a"]
    assert told["a"].endswith("; by talea's kernel: when, timeout")
    assert "side by side; by talea's kernel: for_each, max_parallel" in told["b"]
    assert told["c"] == "a method that gives the value"
    assert told["d"] == "a method that kicks off the Crew of what is inside"
    assert "the Flow of what is inside" in described(tasks, style="flow")["d"]
    assert "person" in told["q"]


def test_it_describes_the_stages_of_a_large_flow() -> None:
    plan = values([[i - 1] if i else [] for i in range(500)])
    told = get_adapter("crewai").describe(plan, {})
    assert list(told) == ["", *plan.ids]
    assert "a Flow of 25 methods, each a stage, for 500 tasks" in told[""]
    assert "quadratic" in told[""]
    assert "thread, of which" not in told[""]  # No agent is there to hold one.
    assert told["t0"] == "in stage 0, a step that gives the value"
    assert told["t499"].startswith("in stage 24, ")
