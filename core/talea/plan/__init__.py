"""Workflow → Plan: pure, linear, and only for documents with which nothing is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    "complaints_about",
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
    complaints = [complaint for _, complaint in complaints_about(plan, inputs)]
    if complaints:
        known = ", ".join(plan.inputs) or "none"
        raise InputError("; ".join(complaints), hint=f"{plan.name!r} declares: {known}")
    return {
        name: inputs[name] if name in inputs else deepcopy(spec.default)
        for name, spec in plan.inputs.items()
    }


def complaints_about(plan: Plan, inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Tell of each input that is unknown, missing or does not fit: its name, and a sentence."""
    for name in inputs:
        if name not in plan.inputs:
            yield name, f"unknown input {name!r}"
    for name, spec in plan.inputs.items():
        if name not in inputs:
            if spec.required:
                yield name, f"the input {name!r} is missing"
        elif spec.schema is not None:
            complaint = spec.schema.check(inputs[name])
            if complaint is not None:
                yield name, f"the input {name!r} does not fit: {complaint}"


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
