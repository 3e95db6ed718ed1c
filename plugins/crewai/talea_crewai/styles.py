"""What a workflow becomes: a Crew where it is a sequence of agents, or of one team, else a Flow."""

from __future__ import annotations

from itertools import pairwise

from talea import ir
from talea.adapter import Options
from talea.errors import Lack, UnsupportedError, UsageError
from talea.plan import Plan

HELP = {
    "style": "auto, crew or flow: what the workflow becomes. auto makes a Crew of a sequence of"
    " agents, or of tasks of one manager's team, and a Flow of all else",
}
_STYLES = ("auto", "crew", "flow")


def read_style(plan: Plan, options: Options) -> str:
    """Read what is wanted of a plan: `auto`, `crew` or `flow`.

    Raises `UsageError` for options it does not know, and `UnsupportedError` where a crew is wanted
    of what cannot be one.
    """
    for name, value in options.items():
        if name not in HELP:
            known = ", ".join(HELP)
            raise UsageError(f"framework 'crewai' has no option {name!r}", f"it has {known}")
        if value not in _STYLES:
            raise UsageError(f"{name} is {value!r}", f"it is one of {', '.join(_STYLES)}")
    style = options.get("style", "auto")
    if style == "crew":
        _refuse_as_crew(plan)
    return style


def style_inside(style: str) -> str:
    """Say what is wanted of the blocks and sub-workflows of a plan.

    What is inside follows its own structure: a crew is wanted of the whole.
    """
    return "auto" if style == "crew" else style


def style_of(plan: Plan, wanted: str) -> str:
    """Say what a plan becomes: `crew` or `flow`."""
    if wanted != "auto":
        return wanted
    mapped = any(step.for_each is not None for step in plan.steps)
    return "crew" if not mapped and _fits_crew(plan) and is_sequence(plan) else "flow"


def led_by(plan: Plan) -> ir.Team | None:
    """Give the team that answers all tasks of a plan, if it has a manager; else None."""
    team = plan.steps[0].team if plan.steps else None
    led = team is not None and team.manager is not None
    return team if led and all(step.team == team for step in plan.steps) else None


def is_sequence(plan: Plan) -> bool:
    """Say whether each task needs the one before it, so that no two could run side by side."""
    order = plan.order
    return all(before in plan.steps[i].dependencies for before, i in pairwise(order))


def _fits_crew(plan: Plan) -> bool:
    agents = bool(plan.steps) and all(step.kind == "agent" for step in plan.steps)
    return agents or led_by(plan) is not None


def _refuse_as_crew(plan: Plan) -> None:
    """Raise `UnsupportedError` that names every task that cannot be one of a crew."""
    if _fits_crew(plan):
        return
    reason = "a Crew's tasks need agents, or all one manager's team; `style=flow` runs it"
    lacks = [Lack(step.id, step.kind, reason) for step in plan.steps if step.kind != "agent"]
    if not plan.steps:
        lacks = [Lack(plan.name, "tasks", "a Crew needs a task; `style=flow` runs it")]
    raise UnsupportedError("crewai", lacks)
