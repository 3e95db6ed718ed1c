"""Random workflows, cut off after some task has ended and resumed from the journal: the run comes
to what the oracle says, on the same framework and on another one, and nothing runs twice.

TALEA_FUZZ is how many workflows each way is given.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from oracle import generator
from oracle.generator import Sample
from oracle.harness import differences, facts
from oracle.interpreter import interpret
from talea.adapter import AgentAnswer, AgentCall
from talea.conformance.looptime import run_in_virtual_time
from talea.conformance.outcome import outcome_of
from talea.conformance.scenario import Behaviour, plain
from talea.conformance.world import Agents, World, arguments_of
from talea.events import Event, InnerStarted, TaskEnded
from talea.ir import Workflow
from talea.kernel.team import MemberCall
from talea.plugins import get_adapter
from talea.result import Result
from talea.resume import take_up
from talea.run import Prepared, prepare

from .test_fuzz import describe, document, without_time
from .ways import CREWAI, WAYS, Way, is_installed, params

EACH = int(os.environ.get("TALEA_FUZZ", "120" if "CI" in os.environ else "40"))


class Interrupted(World):
    """A world that knows which of its calls have not come back."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.at_work: list[str] = []
        self.conversations: list[str] = []
        self.teams: dict[str, dict[str, int]] = {}
        """What had been called of each team that is at work when its attempt began."""

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
        self.teams.setdefault(address, self.numbers_of(address))
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
        for address, before in self.teams.items():
            for key in self.numbers_of(address):
                other.numbers[key] = before.get(key, 0)
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


@CREWAI  # A run may go on there.
@pytest.mark.parametrize("way", params(WAYS))
def test_a_run_that_was_cut_off_comes_to_the_same(way: Way, tmp_path: Path) -> None:
    others = [other for other in WAYS if is_installed(other)]
    for seed, sample in calm_samples():
        certain = facts(interpret(sample.workflow, sample.inputs, sample.scenario))
        random = Random(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        world = Interrupted(sample.scenario)
        ends = [key for key in certain if key.endswith(".status")]
        cut = Cut(world, folder / "runs.db", random.randint(1, max(1, len(ends) - 1)))
        first, _ = carry_out(
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
        if cut.left is None:
            continue
        other = way if seed % 2 else random.choice(others)
        again, events = go_on(other, cut, sample.workflow, first.run)
        found = outcome_of(again, events, cut.left.calls, cut.left.asked)
        wrong = [
            one
            for one in differences(certain, found)
            if not one.partition(":")[0].endswith((".attempts", ".agent", ".delegated"))
        ]
        told = f"seed {seed}, cut after {cut.ended}, then on {other}\n{describe(sample)}"
        assert not wrong, told
        assert not ran_again(cut, events), told


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


def calm_samples() -> Iterator[tuple[int, Sample]]:
    """Give samples that do not rest on time (rule 3), with their seeds."""
    found = 0
    for seed in count():
        if found >= EACH:
            return
        sample = generator.sample(Random(seed))
        if '"hang": true' in json.dumps(sample.scenario.to_json()):
            continue
        calm = Workflow.model_validate(without_time(document(sample.workflow)))
        found += 1
        yield seed, replace(sample, workflow=calm)
