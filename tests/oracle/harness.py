"""Runs the real thing on a scenario, in virtual time, and compares it with the oracle.

observe(workflow, inputs, scenario, framework) ──▶ Observation(outcome, problems)
determined(workflow, inputs, scenario)         ──▶ what the oracle says for certain
differences(expected, outcome)                 ──▶ what is not so
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields
from random import Random
from typing import Any

from talea import ir
from talea.conformance.outcome import Outcome
from talea.conformance.scenario import Scenario
from talea.conformance.world import Observation, observe, observe_here

from .interpreter import interpret

__all__ = ["Observation", "determined", "differences", "facts", "observe", "observe_here", "wrong"]

Facts = dict[str, Any]
"""What is so, by what it is about: `run.status`, `a[0]/b.attempts`."""


def facts(outcome: Outcome) -> Facts:
    """Give what an outcome says, apart from times and the order of calls."""
    found: Facts = {
        "run.status": outcome.status,
        "run.error": (outcome.error_type, outcome.error_address),
        "run.outputs": outcome.outputs,
        "tasks": set(outcome.tasks),
    }
    if not any(task.status == "cancelled" for task in outcome.tasks.values()):
        found["run.delegated"] = Counter(outcome.delegated)
    for address, task in outcome.tasks.items():
        for field in fields(task):
            # Whether an attempt had begun in the very instant of a stop is left to time.
            if field.name not in ("attempts", "agent") or task.status != "cancelled":
                found[f"{address}.{field.name}"] = getattr(task, field.name)
    return found


def determined(
    workflow: ir.Workflow,
    inputs: Mapping[str, Any],
    scenario: Scenario,
    *,
    rounds: int = 500,
    spread: float = 0.01,
) -> Iterator[Facts]:
    """Give the facts of the oracle's run, then ever fewer: those that hold in shaken runs as well.

    What is left is not what time decides.
    """
    certain = facts(interpret(workflow, inputs, scenario))
    yield certain
    for seed in range(rounds):
        wide = spread if seed % 2 else 0.0
        shaken = interpret(workflow, inputs, scenario, ties=Random(seed), spread=wide)
        other = facts(shaken)
        certain = {key: value for key, value in certain.items() if other.get(key, other) == value}
        yield certain


def wrong(
    workflow: ir.Workflow,
    inputs: Mapping[str, Any],
    scenario: Scenario,
    outcome: Outcome,
    *,
    spread: float = 0.01,
) -> list[str]:
    """Tell what of a real outcome is not as the oracle says for certain.

    Before anything counts as wrong, the oracle is shaken until it is hardly by chance.
    """
    found: list[str] = []
    for certain in determined(workflow, inputs, scenario, spread=spread):
        if not (found := differences(certain, outcome)):
            break
    return found


def differences(certain: Facts, outcome: Outcome) -> list[str]:
    """Tell what of an outcome is not as it must be."""
    found = facts(outcome)
    return [
        f"{key}: {found.get(key)!r}, expected {value!r}"
        for key, value in certain.items()
        if (key not in found or found[key] != value)
        and not (key not in found and key.rpartition(".")[0] not in outcome.tasks and not value)
        and not _ended_by_a_limit(key.rpartition(".")[0], outcome)
    ]


def _ended_by_a_limit(address: str, outcome: Outcome) -> bool:
    """Say whether a crossed limit ended a task or one around it: what had ended by then, and what
    in the same instant had not, is left to time (rule 3)."""
    inner = outcome.tasks.get(address)
    while address:
        task = outcome.tasks.get(address) or outcome.tasks.get(address.partition("[")[0])
        if task is not None and (task.status, task.reason) == ("cancelled", "limit"):
            return True
        if task is not None and inner is None and task.error_type == "limit_exceeded":
            return True  # It was not begun: a task beside it crossed the limit before.
        address = address.rpartition("/")[0]
    return False
