"""Which of LangGraph's two forms a plan takes, and that of all that is inside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from talea.plan import Plan
from talea_langgraph.blueprint import Blueprint
from talea_langgraph.options import Choices
from talea_langgraph.structure import levels, may_interrupt, needs_asker


def form_of(plan: Plan, choices: Choices) -> str:
    """Say which form a plan takes: `graph` or `dataflow`."""
    if choices.mode != "auto":
        return choices.mode
    return "dataflow" if levels(plan, choices.maps).held_up else "graph"


def compile_plan(plan: Plan, choices: Choices) -> Any:
    """Compile a plan, and each plan inside it once."""
    parts: dict[int, Any] = {}
    _compile(plan, choices, parts)
    return parts[id(plan)]


def _compile(plan: Plan, choices: Choices, parts: dict[int, Any]) -> None:
    inner = replace(choices, checkpointer=None)  # A subgraph takes that of the graph around it.
    for step in plan.steps:
        if step.plan is not None and id(step.plan) not in parts:
            _compile(step.plan, inner, parts)
    steps = [(one, step) for one in plan.plans() for step in one.steps]
    by_graphs = all(form_of(one, choices) == "graph" for one in plan.plans())
    blueprint = Blueprint(
        plan,
        choices,
        parts,
        may_interrupt=any(may_interrupt(*step) for step in steps),
        needs_asker=any(needs_asker(*step, by_graphs=by_graphs) for step in steps),
    )
    if form_of(plan, choices) == "graph":
        from talea_langgraph.graph import make_graph

        parts[id(plan)] = make_graph(blueprint)
    else:
        from talea_langgraph.dataflow import make_dataflow

        parts[id(plan)] = make_dataflow(blueprint)
