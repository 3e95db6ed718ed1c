"""A comparison, carried out: the same runs on every framework, in turns.

    prepare   the workflow, who takes part, the cases, the way to the models: all problems first
    carry out each framework in a process of its own; the gateway and the keys stay in this one

Runs are interleaved: in each round every case runs once on every framework, in an order that the
seed shuffles, so that whatever else the machine does falls on all alike.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from talea import ir
from talea.compare.checks import Judge, Opinion, Question
from talea.compare.contenders import Entry, distribution_of
from talea.compare.driver import Driver, WorkerEnded
from talea.compare.environments import held_back, place
from talea.compare.functions import Answer
from talea.compare.judging import ask_judge
from talea.compare.particulars import outline_of, this_machine
from talea.compare.record import (
    Call,
    Case,
    Comparison,
    Contender,
    Overhead,
    RunRecord,
    Settings,
    Startup,
    Verdict,
)
from talea.compare.tapes import Tape, Tapes
from talea.errors import UsageError
from talea.gateway.tape import ToolRecorder, read_tools
from talea.journal import pin
from talea.plan import Plan
from talea.route import OpenRoute, Route, Wishes, without_keys
from talea.run import route_of

STARTUP_TIMEOUT = 120.0
"""Seconds in which a framework has to be imported and the workflow compiled for it."""
_DEATHS = 3
"""So many runs in a row whose process ended, and a framework takes part no longer."""
_OF_PYTHON = frozenset({"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"})
_PLAYED_CASES = 10
"""Cases in which the frameworks' overhead is measured: the first ones."""

Progress = Callable[[str], object]
"""Is told, in a few words, of each step."""
Prompts = Mapping[tuple[str, str, int], tuple[dict[str, Any], ...]]
"""The messages of each call, by its address, agent and turn."""


@dataclass(slots=True)
class Order:
    """What is to be compared, and how; all of it has been checked."""

    plan: Plan
    document: ir.Workflow
    entries: Sequence[Entry]
    cases: Sequence[Case]
    wishes: Wishes
    cassettes: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """What answers in place of models, by case."""
    recorded: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Where what models answered is written, by case."""
    repeat: int = 5
    warmup: int = 1
    seed: int = 0
    timeout: float = 300.0
    tools: str | None = None
    functions: Sequence[tuple[str, str, str]] = ()
    """The caller's tools as (name, file, function)."""
    model: str | None = None
    allow_hosts: Sequence[str] = ()
    command: str | None = None
    judge: Judge | None = None
    progress: Progress = field(default=lambda _: None)

    @property
    def mode(self) -> Literal["offline", "replay", "live"]:
        """Who answers in place of models, if anybody."""
        if self.wishes.offline:
            return "offline"
        return "live" if self.wishes.replay is None else "replay"

    @property
    def measures_overhead(self) -> bool:
        """Whether runs are made again without a model's time; what goes wrong on purpose would not
        go wrong again."""
        return self.mode == "live" and self.wishes.faults is None


def carry_out(order: Order) -> Comparison:
    """Run everything; an interrupt ends it early, with what was measured until then."""
    began, start = datetime.now(UTC), time.monotonic()
    notes: list[str] = []
    interrupted = False
    with Tapes() as tapes:
        arena = Arena(order, tapes)
        try:
            arena.enter()
            arena.run()
            if order.measures_overhead:
                arena.play_back()
        except KeyboardInterrupt:
            interrupted = True
            notes.append("interrupted: it ended before all runs were made")
        finally:
            arena.close()
        notes += arena.write()
    return Comparison(
        began=began.isoformat(timespec="seconds"),
        seconds=time.monotonic() - start,
        outline=outline_of(order.plan),
        settings=Settings(
            mode=order.mode,
            repeat=order.repeat,
            warmup=order.warmup,
            seed=order.seed,
            timeout=order.timeout,
            faults=_name_of(order.wishes.faults),
            cassette=_name_of(order.wishes.replay),
            recorded=_name_of(order.wishes.record),
            model=order.model,
            command=order.command,
        ),
        machine=this_machine(),
        contenders=tuple(seat.contender for seat in arena.seats),
        cases=tuple(order.cases),
        runs=tuple(arena.runs),
        overhead=tuple(arena.overhead),
        interrupted=interrupted,
        notes=tuple(notes),
    )


@dataclass(slots=True)
class Seat:
    """One that takes part, with its process while there is one."""

    entry: Entry
    contender: Contender
    driver: Driver | None = None
    deaths: int = 0

    @property
    def takes_part(self) -> bool:
        """Whether it has not been refused."""
        return self.contender.refused is None

    def refuse(self, why: str) -> None:
        """Let it take part no longer."""
        self.contender = self.contender.model_copy(update={"refused": why})


class Arena:
    """All that take part, and what their runs came to."""

    def __init__(self, order: Order, tapes: Tapes) -> None:
        self.order = order
        self.runs: list[RunRecord] = []
        self.overhead: list[Overhead] = []
        self._tapes = tapes
        self.seats = [
            Seat(
                entry,
                Contender(
                    key=entry.key,
                    framework=entry.framework,
                    agents=entry.agents,
                    options=entry.options,
                    isolated=entry.isolated or entry.python is not None,
                    held_back=tuple(_held_back(entry, order.entries)),
                ),
            )
            for entry in order.entries
        ]
        self._environment = {
            **without_keys(os.environ, self._route(self._wishes(order.cases[0]))),
            "PYTHONHASHSEED": "0",
            "PYTHONUNBUFFERED": "1",
        }

    def enter(self) -> None:
        """Start every framework, one after the other: so each one's import is measured alone."""
        for seat in self.seats:
            if seat.entry.isolated:
                self.order.progress(f"making an environment for {seat.entry.key}")
                self._place(seat)
        for seat in self.seats:
            if seat.takes_part:
                self.order.progress(f"starting {seat.entry.key}")
                self._start(seat)

    def run(self) -> None:
        """Make all runs, the ones that warm up first."""
        chance = random.Random(self.order.seed)
        for number in range(-self.order.warmup, self.order.repeat):
            for case in self.order.cases if number >= 0 else self.order.cases[:1]:
                seats = list(self.seats)
                chance.shuffle(seats)
                for seat in seats:
                    if seat.takes_part:
                        self._one(seat, case, number)

    def play_back(self) -> None:
        """Make the recorded runs again: what they take then is what the frameworks cost."""
        chance = random.Random(self.order.seed)
        for repeat in range(self.order.repeat):
            for case in self.order.cases[:_PLAYED_CASES]:
                seats = list(self.seats)
                chance.shuffle(seats)
                for seat in seats:
                    tape = self._tapes.good(seat.entry.key, case.id)
                    if seat.takes_part and tape is not None:
                        self._again(seat, case, repeat, tape)

    def close(self) -> None:
        """End every process."""
        for seat in self.seats:
            if seat.driver is not None:
                seat.driver.kill()

    def write(self) -> list[str]:
        """Write what is to be recorded; give notes on what is not as it should be."""
        keys = [seat.entry.key for seat in self.seats]
        tools = self.order.wishes.record_tools
        return self._tapes.write(keys, self.order.recorded, tools=tools)

    def _place(self, seat: Seat) -> None:
        """Give a framework an environment of its own; one that cannot have it is refused."""
        try:
            placed = place(seat.entry)
            if any(other.entry.key == placed.key for other in self.seats):
                # Two requirements came to the same version.
                key = "@".join([seat.entry.key, *seat.entry.requirements])
                placed = replace(placed, key=key)
            seat.entry = placed
        except UsageError as error:
            seat.entry = replace(
                seat.entry, key="@".join([seat.entry.key, *seat.entry.requirements])
            )
            seat.refuse(error.message)
        seat.contender = seat.contender.model_copy(update={"key": seat.entry.key})

    def _start(self, seat: Seat) -> None:
        """Start a framework's process; one that cannot take part is refused."""
        entry, order = seat.entry, self.order
        environment = self._environment
        if entry.python is not None:
            # What the caller's own environment adds is not for another one.
            environment = {k: v for k, v in environment.items() if k not in _OF_PYTHON}
        seat.driver = driver = Driver(environment, entry.python)
        try:
            told = driver.ask(
                "load",
                STARTUP_TIMEOUT,
                framework=entry.framework,
                document=pin(order.document),
                options=entry.options,
                tools=order.tools and str(Path(order.tools).absolute()),
                functions=list(order.functions),
                settings={
                    "agents": entry.agents,
                    "model": order.model,
                    "offline": order.wishes.offline,
                    "meter": True,
                    "save_prompts": True,
                },
            )
        except WorkerEnded as ended:
            seat.driver = None
            seat.refuse(ended.message)
            return
        refused = told.get("problem") or told.get("refused")
        known: dict[str, Any] = {
            name: told[name] for name in ("versions", "python", "emulated") if name in told
        }
        if "startup" in told and seat.contender.startup is None:
            known["startup"] = Startup.model_validate(told["startup"])
        seat.contender = seat.contender.model_copy(update={**known, "refused": refused})
        if refused:
            driver.kill()
            seat.driver = None

    def _one(self, seat: Seat, case: Case, number: int) -> None:
        """Make one run; a process that ends in it makes it a failed one, and is started anew."""
        what = f"run {number + 1} of {self.order.repeat}" if number >= 0 else "warming up"
        self.order.progress(f"{seat.entry.key}: {case.id}, {what}")
        if seat.driver is None:
            self._start(seat)
        if seat.driver is None:
            return
        if number < 0:
            self._note_first(seat, self._measure(seat, case, 0))
            return
        tape = self._tapes.begin(seat.entry.key, case.id) if self._records else None
        record = self._judged(seat, case, self._measure(seat, case, number, tape), tape)
        self.runs.append(record)
        if tape is not None:
            good = record.succeeded or record.passed
            self._tapes.keep(seat.entry.key, case.id, tape, good=good)

    def _again(self, seat: Seat, case: Case, repeat: int, tape: Path) -> None:
        """Make a recorded run again; one that does not succeed tells nothing."""
        what = f"overhead, run {repeat + 1} of {self.order.repeat}"
        self.order.progress(f"{seat.entry.key}: {case.id}, {what}")
        if seat.driver is None:
            self._start(seat)
        if seat.driver is None:
            return
        wishes = Wishes(replay=tape, meter=True)
        told, _ = self._ask(seat, case, repeat, wishes)
        run = RunRecord.model_validate({**told, **self._place_of(seat, case, repeat)})
        if run.succeeded:
            self.overhead.append(
                Overhead(
                    framework=run.framework,
                    case=run.case,
                    repeat=repeat,
                    duration=run.duration,
                    split=run.split,
                    cpu=run.cpu,
                )
            )

    def _judged(self, seat: Seat, case: Case, record: RunRecord, tape: Tape | None) -> RunRecord:
        """Add the verdicts on a run; where its process has ended with it, no function is called."""
        order, driver = self.order, seat.driver
        if order.judge is None:
            return record

        def call_function(name: str, value: Any) -> Answer:
            assert driver is not None
            told = driver.ask("check", order.timeout, function=name, value=value)
            return (False, told["problem"]) if "problem" in told else (told["passed"], told["why"])

        def ask(question: Question) -> Opinion:
            return ask_judge(
                order.document,
                model=order.model,
                offline=order.wishes.offline,
                replay=order.cassettes.get(case.id),
                record=tape and tape.for_judge(),
                allow_hosts=order.allow_hosts,
            )(question)

        try:
            verdicts = order.judge(record, case, call_function if driver else None, ask)
        except WorkerEnded as ended:
            seat.driver = None
            verdicts = (Verdict(check="all of them", passed=False, why=ended.message),)
        return record.model_copy(update={"verdicts": verdicts})

    def _measure(self, seat: Seat, case: Case, repeat: int, tape: Tape | None = None) -> RunRecord:
        told, sent = self._ask(seat, case, repeat, self._wishes(case, tape))
        record = RunRecord.model_validate({**told, **self._place_of(seat, case, repeat)})
        return _with_prompts(record, sent) if repeat == 0 else record

    def _ask(
        self, seat: Seat, case: Case, repeat: int, wishes: Wishes
    ) -> tuple[dict[str, Any], Prompts]:
        """Have a framework make a run; give what it tells of it, and what was sent to models."""
        assert seat.driver is not None
        run_id = secrets.token_hex(8)
        with self._route(wishes).open(run_id) as way:
            try:
                told = seat.driver.ask(
                    "run",
                    self.order.timeout,
                    inputs=case.inputs,
                    answers=case.answers,
                    run_id=run_id,
                    doors=[door.url for door in way.doors],
                    replay=wishes.replay and str(Path(wishes.replay).absolute()),
                    tape=wishes.tape,
                    seed=self.order.seed + repeat,
                )
            except WorkerEnded as ended:
                seat.driver, seat.deaths = None, seat.deaths + 1
                if seat.deaths >= _DEATHS:
                    seat.refuse(f"{seat.deaths} runs in a row ended its process: {ended.message}")
                return _failed(ended.type, ended.message), {}
            seat.deaths = 0
            if "problem" in told:
                return _failed("worker_failed", told["problem"]), {}
            if wishes.tape is not None:
                assert isinstance(way.tape, ToolRecorder)
                way.tape.take(read_tools(wishes.tape))
            return told["run"], _prompts(way)

    def _place_of(self, seat: Seat, case: Case, repeat: int) -> dict[str, Any]:
        return {
            "framework": seat.entry.key,
            "case": case.id,
            "repeat": repeat,
            "order": len(self.runs),
        }

    def _note_first(self, seat: Seat, record: RunRecord) -> None:
        startup = seat.contender.startup
        if startup is not None and startup.first_run is None and record.succeeded:
            startup = startup.model_copy(update={"first_run": record.duration})
            seat.contender = seat.contender.model_copy(update={"startup": startup})

    @property
    def _records(self) -> bool:
        return bool(self.order.recorded) or self.order.measures_overhead

    def _wishes(self, case: Case, tape: Tape | None = None) -> Wishes:
        """Say what a run of a case is to have of its models."""
        order = self.order
        wishes = replace(
            order.wishes,
            replay=order.cassettes.get(case.id),
            meter=True,
            save_prompts=True,
            record=None,
            record_tools=False,
        )
        if tape is None:
            return wishes
        if not (order.wishes.record_tools or order.measures_overhead):
            return replace(wishes, record=tape.models)
        return replace(wishes, record=tape.models, record_tools=True, tape=str(tape.tools))

    def _route(self, wishes: Wishes) -> Route:
        """Find the way to the models anew: a cassette begins at its beginning for each run."""
        order = self.order
        return route_of(order.plan, wishes, model=order.model, allow_hosts=order.allow_hosts)


def _failed(type: str, message: str) -> dict[str, Any]:
    """Give a run of which its process could tell nothing."""
    return {"status": "failed", "error": {"type": type, "message": message}}


def _prompts(way: OpenRoute) -> Prompts:
    """Give what was sent to models, which the gateway alone has seen."""
    return {
        (seen.address, seen.agent, seen.turn): tuple(seen.prompt or ())
        for door in way.doors
        for seen in door.log()
    }


def _with_prompts(record: RunRecord, sent: Prompts) -> RunRecord:
    def add(call: Call) -> Call:
        prompt = sent.get((call.address, call.agent, call.turn))
        return call.model_copy(update={"prompt": prompt})

    return record.model_copy(update={"calls": tuple(map(add, record.calls))})


def _held_back(entry: Entry, entries: Sequence[Entry]) -> list[str]:
    """Say what those that share an environment with one do to it."""
    if entry.isolated or entry.python is not None:
        return []
    own = distribution_of(entry.framework)
    shared = {distribution_of(one.framework) for one in entries if not one.isolated}
    return held_back(own, sorted(shared - {own}))


def _name_of(given: Any) -> str | None:
    return None if given is None else str(given) if isinstance(given, str | Path) else "in Python"
