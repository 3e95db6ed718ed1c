"""Workflow → Plan: pure, linear, and only for documents with which nothing is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from talea import ir
from talea.errors import DocumentError, InputError, Severity
from talea.plan.check import examine
from talea.plan.graph import Feature, InputSpec, Need, Plan, Step

__all__ = [
    "Feature",
    "InputSpec",
    "Need",
    "Plan",
    "Step",
    "check_inputs",
    "make_plan",
    "models_missing",
]


def make_plan(workflow: ir.Workflow) -> Plan:
    """Give the plan of a workflow. It is made once; its `warnings` are what need not stop anyone.

    Raises `DocumentError` with every problem, warnings too, if one of them is an error.
    """
    plan: Plan | None = workflow._plan  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if plan is None:
        plan, issues = examine(workflow)
        if any(issue.severity is Severity.ERROR for issue in issues):
            raise DocumentError(issues)
        plan.warnings = tuple(issues)
        workflow._plan = plan  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return plan


def check_inputs(plan: Plan, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Give the inputs with defaults in place, in the order in which they are declared.

    Raises `InputError` that names all that are missing, unknown or do not fit.
    """
    complaints = [f"unknown input {name!r}" for name in inputs if name not in plan.inputs]
    found: dict[str, Any] = {}
    for name, spec in plan.inputs.items():
        if name not in inputs:
            if spec.required:
                complaints.append(f"the input {name!r} is missing")
            else:
                found[name] = deepcopy(spec.default)
            continue
        found[name] = inputs[name]
        complaint = spec.schema.check(inputs[name]) if spec.schema is not None else None
        if complaint is not None:
            complaints.append(f"the input {name!r} does not fit: {complaint}")
    if complaints:
        known = ", ".join(plan.inputs) or "none"
        raise InputError("; ".join(complaints), hint=f"{plan.name!r} declares: {known}")
    return found


def models_missing(plan: Plan) -> list[str]:
    """List the agents that may come to answer and have no model, each once, in order."""
    found: dict[str, None] = {}
    for inner in plan.plans():
        if inner.workflow.model is not None:
            continue
        agents = inner.workflow.agents
        for names in {id(step.agents): step.agents for step in inner.steps}.values():
            found.update((name, None) for name in names if agents[name].model is None)
    return list(found)
