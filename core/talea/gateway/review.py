"""Hold a cassette against a workflow: whether each of its answers will ever be asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from talea.errors import Severity
from talea.gateway.cassette import Cassette, split_address
from talea.plan import Plan
from talea.plan.graph import Step

_ASKING = ("agent", "team")
"""Kinds of tasks that ask models."""
_CALLING = (*_ASKING, "tool")
"""Kinds of tasks that call tools."""


@dataclass(slots=True, frozen=True)
class Finding:
    """What does not go together; `path` leads to its key in the cassette, if that has one."""

    message: str
    path: tuple[str, ...] = ()
    hint: str | None = None
    severity: Severity = Severity.ERROR


def review(cassette: Cassette, plan: Plan) -> Iterator[Finding]:
    """Find the addresses that no task has, the agents and tools that none uses, and tasks that ask
    a model and have no turn.

    The last are warnings: a condition may keep such a task from running.
    """
    recorded = set[str]()
    for address, turns in cassette.tasks.items():
        try:
            around, step = _find(address, plan, _ASKING, "asks no model")
        except _Nowhere as problem:
            yield Finding(problem.message, ("tasks", address), problem.hint)
            continue
        recorded.add("/".join(name for name, _, _ in split_address(address)))
        if isinstance(turns, dict):
            yield from _check_agents(address, turns, around, step)
    for address, results in (cassette.tools or {}).items():
        yield from _check_tools(address, [result.name for result in results], plan)
    for task in _asking(plan):
        if task not in recorded:
            message = f"nothing is recorded for {task!r}, which asks a model"
            yield Finding(message, severity=Severity.WARNING)


class _Nowhere(Exception):
    """An address at which no model is asked."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def _find(address: str, plan: Plan, kinds: Sequence[str], otherwise: str) -> tuple[Plan, Step]:
    """Find the task at an address, of certain kinds, with the plan that it stands in.

    Raises _Nowhere.
    """
    around = plan
    inner: Plan | None = plan
    step: Step | None = None
    here = ""
    for name, item, turn in split_address(address):
        if inner is None:
            raise _Nowhere(f"{here!r} has no tasks inside, so there is no {address!r}")
        if name not in inner.ids:
            within = f"{here!r} has" if here else "the workflow has"
            raise _Nowhere(f"{within} no task {name!r}", _meant(name, inner.ids))
        around, step = inner, inner.steps[inner.ids[name]]
        here += f"/{name}" if here else name
        for mark, modifier, has in (
            (item, "for_each", step.for_each is not None),
            (turn, "loop", step.loop is not None),
        ):
            if mark and not has:
                raise _Nowhere(f"{here!r} has no {modifier}, so there is no {here + mark!r}")
        inner = step.plan
    assert step is not None
    if step.kind not in kinds:
        inside = ", ".join(map(repr, _asking(inner, f"{here}/"))) if inner is not None else ""
        hint = f"models are asked at {inside}" if inside else None
        raise _Nowhere(f"{here!r} is a task of kind {step.kind!r}, which {otherwise}", hint)
    return around, step


def _asking(plan: Plan, before: str = "") -> Iterator[str]:
    """Give the address, without marks, of every task that asks a model."""
    for step in plan.steps:
        if step.kind in _ASKING:
            yield before + step.id
        if step.plan is not None:
            yield from _asking(step.plan, f"{before}{step.id}/")


def _check_agents(
    address: str, agents: Iterable[str], around: Plan, step: Step
) -> Iterator[Finding]:
    used = [*step.agents, *([around.manager] if around.manager else [])]
    for agent in agents:
        if agent in used:
            continue
        known = agent in around.workflow.agents
        problem = f"does not ask the agent {agent!r}" if known else f"knows no agent {agent!r}"
        hint = _meant(agent, used) or f"it asks {', '.join(map(repr, used))}"
        yield Finding(f"{address!r} {problem}", ("tasks", address, agent), hint)


def _check_tools(address: str, tools: Sequence[str], plan: Plan) -> Iterator[Finding]:
    try:
        around, _ = _find(address, plan, _CALLING, "calls no tool")
    except _Nowhere as problem:
        yield Finding(problem.message, ("tools", address), problem.hint)
        return
    known = around.workflow.tools
    for tool in dict.fromkeys(tools):
        if tool not in known:
            message = f"the workflow has no tool {tool!r}"
            yield Finding(message, ("tools", address), _meant(tool, known))


def _meant(name: str, known: Iterable[str]) -> str | None:
    close = get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else None
