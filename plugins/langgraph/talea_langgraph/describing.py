"""What a plan becomes, in words: for `talea explain`. It needs no framework."""

from __future__ import annotations

from collections.abc import Mapping

from talea.plan import Plan, Step
from talea_langgraph.compiling import form_of
from talea_langgraph.options import Choices
from talea_langgraph.structure import is_sent, levels

_NAMED = 5
"""How many tasks are named before the rest is only counted."""
_WORK = {
    "agent": "calls create_agent's agent",
    "team": "calls create_agent's agent of who leads or begins, and by its tool those of others",
    "tool": "calls the tool",
    "value": "gives the value",
    "ask": "asks the run's own person, or calls interrupt() where a checkpointer can resume it",
    "tasks": "invokes the subgraph of what is inside",
    "workflow": "invokes the subgraph of the workflow",
}


def describe(plan: Plan, choices: Choices) -> dict[str, str]:
    """Say what each task becomes, by id, and under `""` what the whole does and costs."""
    form = form_of(plan, choices)
    whole = _graph(plan, choices) if form == "graph" else _dataflow(plan)
    return {"": whole} | {step.id: _task(step, form, choices) for step in plan.steps}


def _graph(plan: Plan, choices: Choices) -> str:
    found = levels(plan, choices.maps)
    words = f"a StateGraph of {found.depth} supersteps, each of which waits for its slowest node"
    if not found.held_up:
        return f"{words}; no task waits for one that it does not depend on"
    names = [plan.steps[i].id for i in found.held_up]
    named = ", ".join(names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    wait = "wait" if len(names) > 1 else "waits"
    return (
        f"{words}: {named}{more} {wait} for branches that they do not depend on, where these are"
        " slower; with mode=dataflow no task does"
    )


def _dataflow(plan: Plan) -> str:
    return (
        f"an entrypoint of the functional API with {len(plan.steps)} tasks, each of which begins"
        " when what it depends on has ended; it draws as one node"
    )


def _task(step: Step, form: str, choices: Choices) -> str:
    work = _WORK[step.kind]
    if form == "dataflow":
        words = f"a @task that {work}"
        if step.for_each is not None:
            words += ", for all items side by side"
    elif is_sent(step, choices.maps):
        words = f"a node that opens the list, a Send for each item to a node that {work}, a join"
    else:
        words = f"a node that {work}"
        if step.for_each is not None:
            words += ", for all items side by side"
    return words + _emulated(step)


def _emulated(step: Step) -> str:
    """Name what the kernel does for a task, since LangGraph has nothing for it or does it wrong."""
    present: Mapping[str, bool] = {
        "trigger": step.task.trigger is not None,
        "when": step.when is not None,
        "max_parallel": step.task.max_parallel is not None,
        "fallback": step.fallback is not None,
        "loop": step.loop is not None,
        "retry": step.retry is not None,
        "timeout": step.timeout is not None,
    }
    done = [name for name, there in present.items() if there]
    return f"; by talea's kernel: {', '.join(done)}" if done else ""
