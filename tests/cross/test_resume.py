"""Random workflows, cut off after some task has ended and resumed from the journal: the run comes
to what the oracle says, on the same framework and on another one, and nothing runs twice.

TALEA_FUZZ is how many workflows each way is given.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from oracle import generator
from oracle.generator import Sample
from oracle.harness import differences, facts
from oracle.interpreter import interpret
from talea.adapter import AgentAnswer, AgentCall
from talea.conformance.looptime import run_in_virtual_time
from talea.conformance.outcome import outcome_of
from talea.conformance.scenario import Behaviour, Scenario, plain
from talea.conformance.world import Agents, World, arguments_of
from talea.events import Event, InnerStarted, TaskEnded
from talea.ir import OnResume, Workflow
from talea.kernel.team import MemberCall
from talea.plan import Plan, make_plan
from talea.plugins import get_adapter
from talea.result import Result
from talea.resume import take_up
from talea.run import Prepared, prepare

from .test_fuzz import describe, document, without_time
from .ways import CREWAI, WAYS, Way, is_installed, params

OTHERS = [way for way in WAYS if is_installed(way)]
FACTS_OF_A_TASK = 9
EACH = int(os.environ.get("TALEA_FUZZ", "120" if "CI" in os.environ else "40"))


class TeamAtWork(NamedTuple):
    """An attempt of a team: who began it, and what had been called of its agents before."""

    first: str
    before: Mapping[str, int]
    goes_on: bool


class Interrupted(World):
    """A world that knows which of its calls have not come back."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.at_work: list[str] = []
        self.conversations: list[str] = []
        self.teams: dict[str, TeamAtWork] = {}
        self.goes_on = False
        """Whether a conversation was at work that went on after its output had been refused: a
        run that is resumed begins it anew."""

    async def call(self, address: str, *, echo: Any) -> tuple[Any, Behaviour]:
        self.at_work.append(plain(address))
        try:
            return await super().call(address, echo=echo)
        finally:
            self.at_work.remove(plain(address))

    @contextmanager
    def conversation(self, call: MemberCall) -> Iterator[None]:
        """Know that an agent of a team is at work."""
        address = plain(call.address)
        before, goes_on = self.numbers_of(address), call.feedback is not None
        self.teams.setdefault(address, TeamAtWork(call.name, before, goes_on))
        self.conversations.append(address)
        try:
            yield
        finally:
            self.conversations.remove(address)
            if address not in self.conversations and call.handover is None:
                del self.teams[address]

    def numbers_of(self, address: str) -> dict[str, int]:
        """How much was called of a team's agents."""
        return {key: n for key, n in self.numbers.items() if key.startswith(f"{address}@")}

    def as_it_stands(self) -> Interrupted:
        """The world as a later process finds it: calls that have not come back were never made, and
        a team that is at work begins anew."""
        other = Interrupted(self.scenario)
        other.numbers = self.numbers - Counter(self.at_work)
        for address, team in self.teams.items():
            for key in self.numbers_of(address):
                other.numbers[key] = team.before.get(key, 0)
        other.goes_on = any(team.goes_on for team in self.teams.values())
        other.refused = set(self.refused)
        return other


class Watched(Agents):
    """Agents of a world that knows which teams are at work."""

    world: Interrupted

    async def answer(self, call: AgentCall) -> AgentAnswer:
        if not isinstance(call, MemberCall):
            return await super().answer(call)
        with self.world.conversation(call):
            return await super().answer(call)


class Cut:
    """A sink that copies journal and world the moment after so many tasks have ended."""

    def __init__(self, world: Interrupted, journal: Path, after: int) -> None:
        self.world = world
        self.journal = journal
        self.copy = journal.with_name("cut.db")
        self.left: Interrupted | None = None
        self.at_work: dict[str, int] = {}
        """The calls with which attempts at work began: how many came before, by their place."""
        self.ended: list[str] = []
        self._after = after

    def __call__(self, event: Event) -> None:
        if not isinstance(event, TaskEnded) or self.left is not None:
            return
        if event.reason != "interrupted":
            self.ended.append(event.address)
        if len(self.ended) >= self._after:
            with (
                closing(sqlite3.connect(self.journal)) as one,
                closing(sqlite3.connect(self.copy)) as other,
            ):
                one.backup(other)
            self.left = self.world.as_it_stands()
            alone = [place for place in self.world.at_work if "@" not in place]
            firsts = [f"{address}@{team.first}" for address, team in self.world.teams.items()]
            self.at_work = {place: self.left.numbers[place] for place in (*alone, *firsts)}


@CREWAI  # A run may go on there.
@pytest.mark.parametrize("way", params(WAYS))
def test_a_run_that_was_cut_off_comes_to_the_same(way: Way, tmp_path: Path) -> None:
    for seed, sample in calm_samples(EACH):
        certain = facts(interpret(sample.workflow, sample.inputs, sample.scenario))
        cut, run = cut_off(way, sample, seed, tmp_path, len(certain))
        if cut.left is None or cut.left.goes_on:
            continue
        other = way if seed % 2 else Random(seed).choice(OTHERS)
        again, events = go_on(other, cut, sample.workflow, run)
        told = f"seed {seed}, cut after {cut.ended}, then on {other}\n{describe(sample)}"
        assert not wrong(certain, again, events, cut.left), told
        assert not ran_again(cut, events), told


@CREWAI
@pytest.mark.parametrize("way", params(WAYS))
def test_what_was_at_work_fails_where_it_is_not_to_run_again(way: Way, tmp_path: Path) -> None:
    """It comes to the same as if that very call had failed with `interrupted`."""
    interrupted = 0
    for seed, sample in calm_samples(EACH):
        careful = Workflow.model_validate(with_care(document(sample.workflow)))
        sample = replace(sample, workflow=careful)
        size = len(facts(interpret(careful, sample.inputs, sample.scenario)))
        cut, run = cut_off(way, sample, seed, tmp_path, size)
        fails = set(never_again(make_plan(careful)))
        at_work = {
            place: number
            for place, number in cut.at_work.items()
            if re.sub(r"\[\d+\]", "", place.partition("@")[0]) in fails
        }
        if cut.left is None or cut.left.goes_on or not at_work:
            continue
        interrupted += 1
        failing = with_interruptions(sample.scenario, at_work)
        certain = facts(interpret(careful, sample.inputs, failing))
        other = way if seed % 2 else Random(seed).choice(OTHERS)
        again, events = go_on(other, cut, careful, run)
        told = f"seed {seed}, cut at work on {at_work}, then on {other}\n{describe(sample)}"
        assert not wrong(certain, again, events, cut.left), told
    assert interrupted > EACH // 10


def cut_off(way: Way, sample: Sample, seed: int, folder: Path, size: int) -> tuple[Cut, str]:
    """Run a sample, and keep how all stands after some task has ended. Gives the run's id."""
    folder = folder / str(seed)
    folder.mkdir()
    world = Interrupted(sample.scenario)
    cut = Cut(world, folder / "runs.db", Random(seed).randint(1, max(1, size // FACTS_OF_A_TASK)))
    result, _ = carry_out(
        way,
        world,
        prepare(
            sample.workflow,
            sample.inputs,
            framework=way.framework,
            options=way.options,
            journal=cut.journal,
            durability="full",
            sinks=[cut],
            **code(sample.workflow, world),
        ),
    )
    return cut, result.run


def wrong(certain: dict[str, Any], again: Result, events: list[Event], world: World) -> list[str]:
    """Tell what a resumed run came to that is not as it must be; what it counts is left out."""
    found = outcome_of(again, events, world.calls, world.asked)
    counts = (".attempts", ".agent", ".delegated")
    return [
        one for one in differences(certain, found) if not one.partition(":")[0].endswith(counts)
    ]


def with_care(part: Any) -> Any:
    """Let no call of a tool, agent or team be made again; those that ask a person left out."""
    if isinstance(part, list):
        return [with_care(one) for one in part]
    if not isinstance(part, dict):
        return part
    found = {key: with_care(one) for key, one in part.items()}
    is_call = "prompt" in part or part.get("tool") in ("t", "u")
    return found | {"on_resume": "fail"} if is_call else found


def never_again(plan: Plan, place: str = "") -> Iterator[str]:
    """Name the tasks, without `[i]` and `#n`, that are not to run again."""
    for step in plan.steps:
        address = f"{place}{step.id}"
        if getattr(step.task, "on_resume", None) is OnResume.FAIL:
            yield address
        if step.plan is not None:
            yield from never_again(step.plan, f"{address}/")


def with_interruptions(scenario: Scenario, at_work: Mapping[str, int]) -> Scenario:
    """Put a call that fails with `interrupted` before the one that was at work, by its number."""
    calls = dict(scenario.calls)
    for place, number in at_work.items():
        count = max(number + 1, len(scenario.calls.get(place, ())), 4)
        listed = [scenario.behaviour(place, at) for at in range(count)]
        calls[place] = [*listed[:number], Behaviour(error="interrupted"), *listed[number:]]
    return replace(scenario, calls=calls)


def go_on(way: Way, cut: Cut, workflow: Workflow, run: str) -> tuple[Result, list[Event]]:
    """Resume the copy of a journal."""
    assert cut.left is not None
    prepared = take_up(
        run,
        journal=cut.copy,
        framework=way.framework,
        options=way.options,
        **code(workflow, cut.left),
    )
    assert isinstance(prepared, Prepared)
    return carry_out(way, cut.left, prepared)


def code(workflow: Workflow, world: World) -> dict[str, Any]:
    arguments = arguments_of(workflow) | world.scenario.arguments
    tools = {name: world.tool(name, arguments) for name in workflow.tools}
    return {"tools": tools, "ask": world.ask}


def carry_out(way: Way, world: Interrupted, prepared: Prepared) -> tuple[Result, list[Event]]:
    prepared.agents = Watched(world)
    settle = get_adapter(way.framework).settle
    result = run_in_virtual_time(prepared.run(), settle)
    assert prepared._root is not None
    return result, prepared._root.execution.ledger


def ran_again(cut: Cut, events: list[Event]) -> list[str]:
    """Name the calls of tasks that had ended, apart from those inside a new attempt."""
    assert cut.left is not None
    anew = tuple(
        f"{event.address}/"
        for event in events
        if isinstance(event, InnerStarted) and event.attempt > 1
    )
    marks = ("[", "#", "@")
    return [
        call
        for call in cut.left.calls
        for ended in cut.ended
        if call == ended or (call.startswith(ended) and call[len(ended)] in marks)
        if not call.startswith(anew)
    ]


def calm_samples(many: int) -> Iterator[tuple[int, Sample]]:
    """Give samples that do not rest on time (rule 3), with their seeds."""
    found = 0
    for seed in count():
        if found >= many:
            return
        sample = generator.sample(Random(seed))
        if '"hang": true' in json.dumps(sample.scenario.to_json()):
            continue
        calm = Workflow.model_validate(without_time(document(sample.workflow)))
        found += 1
        yield seed, replace(sample, workflow=calm)
