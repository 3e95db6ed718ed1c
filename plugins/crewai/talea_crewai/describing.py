"""What a plan becomes, in words: for `talea explain`. It needs no CrewAI."""

from __future__ import annotations

from collections.abc import Mapping

from talea import ir
from talea.plan import Plan, Step
from talea_crewai.clients import AGENTS_AT_ONCE
from talea_crewai.stages import Stage, cut
from talea_crewai.styles import is_sequence, led_by, style_inside, style_of

_WORK = {
    "tool": "calls the tool",
    "value": "gives the value",
    "ask": "has the run ask its person",
}


def describe(plan: Plan, wanted: str) -> dict[str, str]:
    """Say what each task becomes, by id, and under `""` what the whole does and costs."""
    if style_of(plan, wanted) == "crew":
        return {"": _crew(plan)} | {step.id: _task_of_crew(step) for step in plan.steps}
    stages = cut(plan)
    told: dict[str, str] = {}
    for at, stage in enumerate(stages):
        for i in stage.tasks:
            told[plan.steps[i].id] = _task_of_flow(plan.steps[i], at, stage, style_inside(wanted))
    return {"": _flow(plan, stages)} | {step.id: told[step.id] for step in plan.steps}


def _crew(plan: Plan) -> str:
    words = f"a Crew of {_count(len(plan.steps), 'Task')}, one after another"
    if (team := led_by(plan)) is not None:
        words = (
            f"a Crew with the hierarchical process, of {_count(len(plan.steps), 'Task')}, one"
            f" after another: its manager is the Agent {team.manager!r}"
        )
    if not is_sequence(plan):
        words += ", though some could run side by side, as they do with style=flow"
    return words + _cost_of_agents(plan)


def _flow(plan: Plan, stages: list[Stage]) -> str:
    if len(stages) == len(plan.steps):
        words = (
            f"a Flow of {_count(len(stages), 'method')}, each of which begins when what it depends"
            " on has ended"
        )
    else:
        words = (
            f"a Flow of {_count(len(stages), 'method')}, each a stage, for {len(plan.steps)} tasks:"
            " CrewAI gives each method a turn of a thread, and looks through all of them after it,"
            " which is quadratic; within a stage talea's own schedule begins a task when what it"
            " depends on has ended, and none begins later for being in one"
        )
    return words + _cost_of_agents(plan)


def _cost_of_agents(plan: Plan) -> str:
    kinds = {step.kind for inner in plan.plans() for step in inner.steps}
    if kinds.isdisjoint({"agent", "team"}):
        return ""
    members = ", and as many again for those who work for managers" if "team" in kinds else ""
    return (
        "; each attempt of an agent has an Agent of its own, as one cannot run twice at once, and"
        f" holds a thread, of which there are {AGENTS_AT_ONCE}{members}"
    )


def _task_of_crew(step: Step) -> str:
    if step.team is not None:
        words = f"a Task of {_team(step.team)}"
    else:
        words = f"a Task of {_agent(step)}, a fresh one for each attempt"
    return words + _rest(step)


def _task_of_flow(step: Step, at: int, stage: Stage, inside: str) -> str:
    place = "a method" if len(stage.tasks) == 1 else f"in stage {at}, a step"
    return f"{place} that {_work(step, inside)}{_rest(step)}"


def _work(step: Step, inside: str) -> str:
    if step.kind == "agent":
        return f"has {_agent(step)}, a fresh one for each attempt, carry out a Task"
    if step.team is not None and step.team.manager is not None:
        return (
            f"kicks off a Crew with the hierarchical process, of {_team(step.team)}, for each"
            " attempt"
        )
    if step.team is not None:
        members = ", ".join(map(repr, step.team.members))
        return f"has the Agents {members} carry out a Task, each until it hands over"
    if step.plan is None:
        return _WORK[step.kind]
    what = "the workflow" if step.kind == "workflow" else "what is inside"
    return f"kicks off the {style_of(step.plan, inside).capitalize()} of {what}"


def _agent(step: Step) -> str:
    if step.balance is None:
        return f"the Agent {step.agents[0]!r}"
    return f"whichever Agent is chosen of {', '.join(map(repr, step.agents))}"


def _team(team: ir.Team) -> str:
    return f"the manager {team.manager!r} with the members {', '.join(map(repr, team.members))}"


def _rest(step: Step) -> str:
    return (", for all items side by side" if step.for_each is not None else "") + _emulated(step)


def _emulated(step: Step) -> str:
    """Name what the kernel does for a task, since CrewAI has nothing for it or does it wrong."""
    present: Mapping[str, bool] = {
        "trigger": step.task.trigger is not None,
        "when": step.when is not None,
        "for_each": step.for_each is not None,
        "max_parallel": step.task.max_parallel is not None,
        "fallback": step.fallback is not None,
        "loop": step.loop is not None,
        "retry": step.retry is not None,
        "timeout": step.timeout is not None,
    }
    done = [name for name, there in present.items() if there]
    if step.team is not None and step.team.manager is None:
        done.insert(0, "handing over")
    return f"; by talea's kernel: {', '.join(done)}" if done else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
