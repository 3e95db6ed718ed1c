"""Workflow → Plan: pure, linear, and only for documents with which nothing is wrong."""

from __future__ import annotations

from talea import ir
from talea.draft import Drafter
from talea.graph import Feature, InputSpec, Need, Plan, Step

__all__ = ["Feature", "InputSpec", "Need", "Plan", "Step", "make_plan"]


def make_plan(workflow: ir.Workflow) -> Plan:
    """Give the plan of a workflow; it is made once.

    Raises `DocumentError` with every problem that was found.
    """
    plan = workflow._plan  # pyright: ignore[reportPrivateUsage]
    if plan is None:
        plan = workflow._plan = Drafter(workflow).root  # pyright: ignore[reportPrivateUsage]
    return plan
