"""Hold a cassette, or rules of faults, against a workflow: whether each part of it can ever matter.

An answer that nobody asks for and a rule that befalls no call are mistakes, mostly in writing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from talea.errors import DocumentError, Issue, Severity
from talea.gateway.cassette import Cassette, split_address
from talea.gateway.faults import FaultRules, read_faults
from talea.gateway.judges import is_judge
from talea.plan import Plan
from talea.plan.graph import Step

if TYPE_CHECKING:
    from talea.source.text import Source

_ASKING = ("agent", "team")
"""Kinds of tasks that ask models."""
_CALLING = (*_ASKING, "tool")
"""Kinds of tasks that call tools."""
_MOST_NAMED = 6
"""Addresses that a hint names."""


@dataclass(slots=True, frozen=True)
class Finding:
    """What does not go together; `path` leads to it in the cassette or the rules, if it is there.

    `is_key` says that it is the key there, and not its value.
    """

    message: str
    path: tuple[str | int, ...] = ()
    hint: str | None = None
    severity: Severity = Severity.ERROR
    is_key: bool = False

    def issue(self, source: Source | None = None) -> Issue:
        """Give the finding with its place in a text, where there is one."""
        from talea.source.text import path_text

        if source is None or not self.path:
            file = None if source is None else source.name
            return Issue(self.message, path_text(self.path), self.hint, self.severity, file)
        return source.issue(
            self.message, self.path, key=self.is_key, hint=self.hint, severity=self.severity
        )


def review(cassette: Cassette, plan: Plan) -> Iterator[Finding]:
    """Find the addresses that neither a task nor a judge has, the agents and tools that none uses,
    and tasks that ask a model and have no turn.

    The last are warnings: a condition may keep such a task from running.
    """
    recorded = set[str]()
    for address, turns in cassette.tasks.items():
        if is_judge(address, plan.ids):
            continue
        try:
            around, step = _find_asking(address, plan)
        except _Nowhere as problem:
            yield problem.finding("tasks", address, is_key=True)
            continue
        recorded.add(_without_marks(address))
        for agent in turns if isinstance(turns, dict) else ():
            if (misled := _misled(address, agent, around, step)) is not None:
                yield misled.finding("tasks", address, agent, is_key=True)
    for address, results in (cassette.tools or {}).items():
        yield from _check_tools(address, [result.name for result in results], plan)
    for task in _asking(plan):
        if task not in recorded:
            message = f"nothing is recorded for {task!r}, which asks a model"
            yield Finding(message, severity=Severity.WARNING)


def review_faults(rules: FaultRules, plan: Plan) -> Iterator[Finding]:
    """Find the rules that befall no call: their address or their agent is none that asks."""
    for number, rule in enumerate(rules.rules):
        if rule.at is None:
            if (misled := _stranger(rule.agent, plan)) is not None:
                yield misled.finding("rules", number, "agent")
            continue
        try:
            around, step = _find_asking(rule.at, plan)
        except _Nowhere as problem:
            yield problem.finding("rules", number, "at")
            continue
        if rule.agent is not None:
            misled = _misled(rule.at, rule.agent, around, step)
            if misled is not None:
                yield misled.finding("rules", number, "agent")


def faults_for(plan: Plan, given: FaultRules | str | Path) -> FaultRules:
    """Give the rules by which a workflow's calls go wrong, read from a file where they are in one.

    Raises `DocumentError` with every rule that befalls none of its calls.
    """
    rules, source = (given, None) if isinstance(given, FaultRules) else read_faults(given)
    if issues := [finding.issue(source) for finding in review_faults(rules, plan)]:
        raise DocumentError(issues)
    return rules


class _Nowhere(Exception):
    """An address, or an agent, that is asked no model."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def finding(self, *path: str | int, is_key: bool = False) -> Finding:
        """Give it as a finding at a place."""
        return Finding(self.message, path, self.hint, is_key=is_key)


def _find_asking(address: str, plan: Plan) -> tuple[Plan, Step]:
    return _find(address, plan, _ASKING, "asks no model")


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
            hint = _meant(name, inner.ids) or _meant_inside(address, plan)
            raise _Nowhere(f"{within} no task {name!r}", hint)
        around, step = inner, inner.steps[inner.ids[name]]
        here += f"/{name}" if here else name
        for mark, why in ((item, _no_item(step, item)), (turn, _no_iteration(step, turn))):
            if mark and why:
                raise _Nowhere(f"{here!r} has {why}, so there is no {here + mark!r}")
        inner = step.plan
    assert step is not None
    if step.kind not in kinds:
        inside = [*_asking(inner, f"{here}/")] if inner is not None else []
        hint = f"models are asked at {_listed(inside)}" if inside else None
        raise _Nowhere(f"{here!r} is a task of kind {step.kind!r}, which {otherwise}", hint)
    return around, step


def _asking(plan: Plan, before: str = "") -> Iterator[str]:
    """Give the address, without marks, of every task that asks a model."""
    for step in plan.steps:
        if step.kind in _ASKING:
            yield before + step.id
        if step.plan is not None:
            yield from _asking(step.plan, f"{before}{step.id}/")


def _no_item(step: Step, mark: str) -> str | None:
    """Say why a task has no such item, `[i]`; None where it may have one."""
    if step.for_each is None:
        return "no for_each"
    if not mark or not isinstance(step.for_each, list):
        return None
    most = len(step.for_each)
    return None if int(mark[1:-1]) < most else f"items [0] to [{most - 1}]" if most else "no items"


def _no_iteration(step: Step, mark: str) -> str | None:
    """Say why a task has no such iteration, `#n`; None where it may have one."""
    if step.loop is None:
        return "no loop"
    if not mark or 1 <= int(mark[1:]) <= step.loop.max:
        return None
    return f"iterations #1 to #{step.loop.max}"


def _misled(address: str, agent: str, around: Plan, step: Step) -> _Nowhere | None:
    """Say that a task does not ask an agent; None where it may."""
    if agent in step.agents:
        return None
    known = agent in around.workflow.agents
    problem = f"does not ask the agent {agent!r}" if known else f"knows no agent {agent!r}"
    hint = _meant(agent, step.agents) or f"it asks {_listed(step.agents)}"
    return _Nowhere(f"{address!r} {problem}", hint)


def _stranger(agent: str | None, plan: Plan) -> _Nowhere | None:
    """Say that no task at all asks an agent; None where one may."""
    asked = {name: None for one in plan.plans() for step in one.steps for name in step.agents}
    if agent is None or agent in asked:
        return None
    hint = _meant(agent, asked) or f"these are asked: {_listed([*asked])}"
    return _Nowhere(f"no task asks an agent {agent!r}", hint if asked else None)


def _check_tools(address: str, tools: Sequence[str], plan: Plan) -> Iterator[Finding]:
    try:
        around, _ = _find(address, plan, _CALLING, "calls no tool")
    except _Nowhere as problem:
        yield problem.finding("tools", address, is_key=True)
        return
    known = around.workflow.tools
    for tool in dict.fromkeys(tools):
        if tool not in known:
            message = f"the workflow has no tool {tool!r}"
            yield Finding(message, ("tools", address), _meant(tool, known), is_key=True)


def _meant(name: str, known: Iterable[str]) -> str | None:
    close = get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else None


def _meant_inside(address: str, plan: Plan) -> str | None:
    """Guess the address of which somebody wrote the last name alone, or tell all that there are."""
    name = _without_marks(address).rpartition("/")[2]
    found = [one for one in _asking(plan) if one.rpartition("/")[2] == name]
    if found:
        return f"did you mean {' or '.join(map(repr, found[:_MOST_NAMED]))}?"
    known = [*_asking(plan)]
    return f"models are asked at {_listed(known)}" if known else None


def _without_marks(address: str) -> str:
    return "/".join(name for name, _, _ in split_address(address))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_MOST_NAMED]))
    more = len(names) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
