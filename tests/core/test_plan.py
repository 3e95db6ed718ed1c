"""Plans: edges, order, handlers, what is compiled, what is needed, and the inputs of a run."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.oracle.graph import nodes_of

from talea import ir
from talea.errors import InputError
from talea.load import load, loads
from talea.plan import Feature, Need, Plan, check_inputs, make_plan, models_missing

HEAD = "talea: 1\nname: test\n"


def plan_of(text: str) -> Plan:
    return make_plan(loads(HEAD + dedent(text)))


def named(plan: Plan, indices: tuple[int, ...]) -> list[str]:
    return [plan.steps[at].id for at in indices]


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("when: tasks.a.output == 1", "value: 1"),
        ("for_each: '[tasks.a.output]'", "value: 1"),
        ("fallback: '{{ tasks.a.output }}'", "value: 1"),
        ("loop: {until: tasks.a.output == 1, max: 2}", "value: 1"),
        ("value: {x: ['{{ tasks.a.output }}']}", ""),
        ("with: {x: '{{ tasks.a.output }}'}", "tool: t"),
        ("with: {x: '{{ tasks.a.output }}'}", "workflow: w"),
        ("prompt: '{{ tasks.a.output }}'", "agent: g"),
        ("expected_output: '{{ tasks.a.output }}'", "{agent: g, prompt: hi}"),
        ("context: [a]", "{agent: g, prompt: hi}"),
        ("context: [a]", "{team: {manager: g, members: [g]}, prompt: hi}"),
        ("ask: '{{ tasks.a.output }}'", ""),
        ("depends_on: [a]", "value: 1"),
        ("tasks: {i: {value: '{{ tasks.a.output }}'}}", ""),
        ("tasks: {i: {tasks: {j: {agent: g, prompt: hi, context: [a]}}}}", ""),
        ("outputs: {x: '{{ tasks.a.output }}'}", "tasks: {i: {value: 1}}"),
    ],
)
def test_every_field_is_a_dependency(field: str, kind: str) -> None:
    kind = kind.strip("{}") if kind.startswith("{agent") else kind
    kind = kind[1:-1] if kind.startswith("{team") else kind
    plan = plan_of(
        f"""
        agents: {{g: {{}}}}
        tools: {{t: {{}}}}
        workflows: {{w: {{inputs: {{x: {{}}}}, tasks: {{v: {{value: 1}}}}}}}}
        tasks:
          a: {{value: 1}}
          b: {{{", ".join(part for part in (kind, field) if part)}}}
        """
    )
    assert plan.steps[1].dependencies == plan.steps[1].watched == (0,)
    assert plan.steps[0].successors == (1,)
    assert plan.roots == (0,)


def test_watched_with_depends_on_and_trigger() -> None:
    plan = plan_of(
        """
        tasks:
          a: {value: 1}
          b: {value: 1}
          both: {value: "{{ tasks.a.output }}", depends_on: [b], trigger: none_failed}
          trigger: {value: "{{ tasks.a.output }}", trigger: none_failed}
          order: {value: "{{ tasks.a.output }}", depends_on: [b]}
          nothing: {value: "{{ tasks.a.status }}", depends_on: [], trigger: all_done}
        """
    )
    found = {
        step.id: (named(plan, step.watched), named(plan, step.dependencies)) for step in plan.steps
    }
    assert found["both"] == (["b"], ["a", "b"])
    assert found["trigger"] == (["a"], ["a"])
    assert found["order"] == (["a", "b"], ["a", "b"])
    assert found["nothing"] == ([], ["a"])


def test_sequential_order_is_not_watched() -> None:
    plan = plan_of(
        """
        process: sequential
        tasks:
          a: {value: 1}
          b: {value: 1}
          c: {value: "{{ tasks.b.output }}"}
        """
    )
    a, b, c = plan.steps
    assert (a.previous, b.previous, c.previous) == (None, 0, 1)
    assert (b.dependencies, b.watched) == ((0,), ())
    assert (c.dependencies, c.watched) == ((1,), (1,))
    assert plan.order == (0, 1, 2)


def test_handlers_survive_a_stop() -> None:
    plan = plan_of(
        """
        tasks:
          work: {value: 1}
          alone: {value: 1}
          fix: {value: 1, depends_on: [work], trigger: one_failed}
          clean: {value: 1, depends_on: [work], trigger: all_done}
          after: {value: 1, depends_on: [fix, clean]}
          mixed: {value: 1, depends_on: [fix, work]}
          last: {value: 1, depends_on: [after]}
        """
    )
    assert [step.id for step in plan.steps if step.handler] == ["fix", "clean", "after", "last"]


def test_a_block_sees_what_is_around_it() -> None:
    plan = plan_of(
        """
        inputs: {n: {default: 1}}
        on_failure: continue
        tasks:
          a: {value: 1}
          outer:
            tasks:
              x: {value: 1}
              inner:
                on_failure: stop
                tasks: {y: {value: "{{ tasks.x.output + tasks.a.output }}"}}
        """
    )
    outer = plan.steps[1]
    assert outer.plan is not None
    inner = outer.plan.steps[1]
    assert inner.plan is not None
    assert (outer.plan.scope, inner.plan.scope) == (plan, outer.plan)
    assert named(plan, outer.dependencies) == ["a"]
    assert named(outer.plan, inner.dependencies) == ["x"]
    assert inner.plan.steps[0].dependencies == ()
    assert outer.plan.on_failure is ir.OnFailure.CONTINUE
    assert inner.plan.on_failure is ir.OnFailure.STOP
    assert inner.plan.inputs is plan.inputs
    assert inner.plan.outputs is None
    assert inner.plan.path == ("tasks", "outer", "tasks", "inner")


def test_an_inline_workflow_is_planned_once() -> None:
    plan = plan_of(
        """
        on_failure: continue
        agents: {g: {}}
        workflows:
          w: {inputs: {x: {type: string}}, tasks: {v: {agent: g, prompt: hi}}}
          unused: {tasks: {v: {value: 1}}}
        tasks:
          a: {workflow: w, with: {x: one}}
          b: {workflow: w, with: {x: two}}
        """
    )
    called = plan.steps[0].plan
    assert called is not None
    assert called is plan.steps[1].plan
    assert (called.name, called.scope, called.limits) == ("w", None, None)
    assert called.on_failure is ir.OnFailure.STOP
    assert called.workflow is plan.workflow
    assert called.outputs is not None
    assert called.outputs.render({}) == {}
    assert [inner.name for inner in plan.plans()] == ["test", "w"]


def test_a_file_is_a_root_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "main.yaml").write_text(
        f"{HEAD}model: openai/x\ntasks: {{t: {{workflow: ./part.yaml}}}}\n"
    )
    (tmp_path / "part.yaml").write_text(
        "talea: 1\nname: part\nlimits: {timeout: 9s}\nagents: {g: {}}\n"
        "tasks: {t: {agent: g, prompt: hi}}\n"
    )
    plan = make_plan(load(tmp_path / "main.yaml"))
    part = plan.steps[0].plan
    assert part is not None
    assert part.workflow.name == part.name == "part"
    assert part.limits is not None
    assert part.limits.timeout == 9
    assert models_missing(plan) == ["g"]
    assert plan.needs == (
        Need("t", Feature.WORKFLOW),
        Need("t", Feature.LIMITS),
        Need("t/t", Feature.AGENT),
    )


def test_agents_that_may_answer() -> None:
    plan = plan_of(
        """
        agents:
          a: {capabilities: [x, y]}
          b: {capabilities: [x], model: openai/m}
          c: {}
          d: {}
        pools: {p: {agents: [c, a]}}
        teams: {inner: {start: b, members: [b, c]}, outer: {manager: a, members: [inner]}}
        tasks:
          agent: {agent: b, prompt: hi}
          pool: {pool: p, prompt: hi}
          one: {capabilities: [x], prompt: hi}
          both: {capabilities: [y, x], prompt: hi}
          team: {team: outer, prompt: hi}
          tool: {value: 1}
        """
    )
    assert {step.id: step.agents for step in plan.steps} == {
        "agent": ("b",),
        "pool": ("c", "a"),
        "one": ("a", "b"),
        "both": ("a",),
        "team": ("a", "b", "c"),
        "tool": (),
    }
    assert models_missing(plan) == ["c", "a"]


def test_a_manager_speaks_to_all_agents() -> None:
    plan = plan_of(
        """
        process: hierarchical
        manager: boss
        model: openai/m
        agents: {worker: {}, boss: {}}
        tasks: {t: {agent: worker, prompt: hi}}
        """
    )
    assert plan.steps[0].agents == ("worker", "boss")
    assert plan.steps[0].team == ir.Team(manager="boss", members=("worker",))
    assert plan.manager == "boss"
    assert models_missing(plan) == []
    assert plan.needs == (Need("", Feature.HIERARCHICAL), Need("t", Feature.AGENT))


def test_a_manager_without_others_answers_as_any_agent() -> None:
    plan = plan_of(
        """
        process: hierarchical
        manager: boss
        model: openai/m
        agents: {boss: {}}
        tasks: {t: {agent: boss, prompt: hi}, b: {tasks: {u: {agent: boss, prompt: hi}}}}
        """
    )
    assert plan.steps[0].team is None
    assert plan.steps[0].kind == "agent"
    assert plan.steps[0].agents == ("boss",)


def test_only_what_says_so_is_hierarchical() -> None:
    plan = plan_of(
        """
        manager: boss
        model: openai/m
        agents: {boss: {}, worker: {}}
        tasks:
          t: {agent: worker, prompt: hi}
          b: {process: hierarchical, tasks: {u: {agent: worker, prompt: hi}, c: {tasks: {v: {agent: worker, prompt: hi}}}}}
        """
    )
    block = plan.steps[1].plan
    assert block is not None
    assert block.steps[1].plan is not None
    kinds = [step.kind for step in (*plan.steps, *block.steps, *block.steps[1].plan.steps)]
    assert kinds == ["agent", "tasks", "team", "tasks", "agent"]


def test_needs_are_what_is_written() -> None:
    plan = plan_of(
        """
        process: sequential
        on_failure: continue
        limits: {max_model_calls: 5}
        tools: {safe: {}, ask_first: {approve: true}}
        agents: {g: {tools: [ask_first], max_parallel: 2}}
        pools: {p: {agents: [g]}}
        tasks:
          value: {value: 1, on_resume: rerun, priority: 0}
          all:
            pool: p
            prompt: hi
            when: 1 == 1
            for_each: [1]
            fallback: null
            loop: {max: 1, exhausted: keep}
            retry: {max_attempts: 2}
            timeout: 1s
            output: {type: [object, "null"]}
            priority: 1
            on_resume: fail
            trigger: all_done
            context: [value]
          block:
            on_failure: stop
            process: parallel
            tasks: {tool: {tool: ask_first}, ask: {ask: "ok?"}}
        """
    )
    needs: dict[str, list[str]] = {}
    for task, feature in plan.needs:
        needs.setdefault(task, []).append(feature.value)
    assert needs == {
        "": ["process: sequential", "on_failure", "limits"],
        "value": ["value"],
        "all": [
            "agent", "pool", "agents.tools", "approve", "context", "trigger", "when", "for_each",
            "output", "priority", "max_parallel", "fallback", "loop", "retry", "timeout",
            "on_resume",
        ],
        "block": ["tasks", "process: parallel", "on_failure"],
        "block/tool": ["tool", "approve"],
        "block/ask": ["ask"],
    }  # fmt: skip


def test_what_is_written_is_compiled() -> None:
    plan = plan_of(
        """
        agents: {g: {}}
        tasks:
          a: {agent: g, prompt: "Hi {{ run.id }}", when: true, for_each: [1, 2], fallback: "-"}
          b: {value: "{{ 1 + 1 }}", when: 1 == 1, for_each: "[3]", output: {type: integer}}
        """
    )
    a, b = plan.steps
    assert (a.when, a.for_each) == (True, [1, 2])
    assert a.prompt is not None
    assert a.prompt.render({"run": {"id": "r"}}) == "Hi r"
    assert a.fallback is not None
    assert a.fallback.render({}) == "-"
    assert b.fallback is None
    assert b.value is not None
    assert b.value.render({}) == 2
    assert not isinstance(b.when, bool)
    assert b.when is not None
    assert b.when.decide({}) is True
    assert b.output is not None
    assert b.output.check("x") is not None


def test_a_plan_is_made_once() -> None:
    workflow = loads(f"{HEAD}tasks: {{t: {{value: 1}}}}")
    assert make_plan(workflow) is make_plan(workflow)


INPUTS = """
    inputs:
      topic: {type: string}
      count: {type: integer, default: 3}
      list: {type: array, default: []}
    tasks: {t: {value: 1}}
"""


def test_inputs_get_their_defaults() -> None:
    plan = plan_of(INPUTS)
    found = check_inputs(plan, {"count": 5, "topic": "x"})
    assert list(found.items()) == [("topic", "x"), ("count", 5), ("list", [])]
    found["list"].append(1)
    assert check_inputs(plan, {"topic": "x"})["list"] == []


def test_inputs_that_do_not_fit_are_all_named() -> None:
    with pytest.raises(InputError) as caught:
        check_inputs(plan_of(INPUTS), {"topik": 1, "count": "five"})
    message = str(caught.value)
    for part in ("unknown input 'topik'", "'topic' is missing", "'count' does not fit"):
        assert part in message
    assert "topic, count, list" in message


NAMES = ("a", "b", "c", "d", "e")


def some_of(names: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), max_size=2) if names else st.just([])


@st.composite
def workflows(draw: st.DrawFn) -> ir.Workflow:
    """Workflows whose tasks mention those above them, in several ways, with blocks among them."""

    def tasks(above: list[str], names: tuple[str, ...], depth: int) -> dict[str, ir.Task]:
        made: dict[str, ir.Task] = {}
        for name in names:
            mentions = draw(some_of([*above, *made]))
            value: Any = [f"{{{{ tasks.{other}.status }}}}" for other in mentions]
            depends_on = draw(st.none() | some_of([*made]))
            trigger = draw(st.sampled_from([None, ir.Trigger.NONE_FAILED, ir.Trigger.ALL_DONE]))
            common: dict[str, Any] = {
                "depends_on": None if depends_on is None else tuple(depends_on),
                "trigger": trigger,
            }
            if depth < 2 and draw(st.integers(0, 3)) == 0:
                inner = tasks([*above, *made], tuple(name + n for n in NAMES[:2]), depth + 1)
                made[name] = ir.BlockTask(
                    tasks=inner,
                    process=draw(st.sampled_from([ir.Process.GRAPH, ir.Process.SEQUENTIAL])),
                    **common,
                )
            else:
                made[name] = ir.ValueTask(value=value, **common)
        return made

    process = draw(st.sampled_from([ir.Process.GRAPH, ir.Process.SEQUENTIAL]))
    size = draw(st.integers(1, 5))
    return ir.Workflow(name="drawn", tasks=tasks([], NAMES[:size], 0), process=process)


@given(workflows())
def test_edges_are_those_of_the_oracle(workflow: ir.Workflow) -> None:
    """The plan agrees with an independent reading of the rules, and its order respects it."""
    for plan in make_plan(workflow).plans():
        for step, node in zip(plan.steps, nodes_of(plan.written.tasks, plan.process), strict=True):
            assert named(plan, step.dependencies) == list(node.dependencies)
            assert named(plan, step.watched) == list(node.watched)
            assert step.trigger is node.trigger
            assert (step.previous is None) == (node.previous is None)
        place = {at: rank for rank, at in enumerate(plan.order)}
        assert sorted(place) == list(range(len(plan.steps)))
        for step in plan.steps:
            assert all(place[at] < place[step.index] for at in step.dependencies)
            assert all(step.index in plan.steps[at].successors for at in step.dependencies)
