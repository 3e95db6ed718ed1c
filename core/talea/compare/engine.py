"""A comparison, carried out: the same runs on every framework, in turns.

    prepare   the workflow, who takes part, the cases, the way to the models: all problems first
    carry out each framework in a process of its own; the gateway and the keys stay in this one

Runs are interleaved: in each round every case runs once on every framework, in an order that the
seed shuffles, so that whatever else the machine does falls on all alike.
"""

from __future__ import annotations

import os
import platform
import random
import re
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from talea import ir
from talea.compare.checks import Judge
from talea.compare.contenders import Entry, distribution_of
from talea.compare.driver import Driver, WorkerEnded
from talea.compare.environments import held_back, place
from talea.compare.functions import Answer
from talea.compare.record import (
    Call,
    Case,
    Comparison,
    Contender,
    Machine,
    Outline,
    Problem,
    RunRecord,
    Settings,
    Startup,
    Verdict,
)
from talea.drawing import draw_svg
from talea.errors import UsageError
from talea.journal import pin, source_of
from talea.plan import Plan
from talea.route import OpenRoute, Route, Wishes, without_keys
from talea.run import route_of

STARTUP_TIMEOUT = 120.0
"""Seconds in which a framework has to be imported and the workflow compiled for it."""
_DEATHS = 3
"""So many runs in a row whose process ended, and a framework takes part no longer."""
_OF_PYTHON = frozenset({"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"})
_DRAWN = 300
"""Tasks of which a picture is made; of more nobody sees anything on one."""

Progress = Callable[[str], object]
"""Is told, in a few words, of each step."""


@dataclass(slots=True)
class Order:
    """What is to be compared, and how; all of it has been checked."""

    plan: Plan
    document: ir.Workflow
    entries: Sequence[Entry]
    cases: Sequence[Case]
    wishes: Wishes
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


def carry_out(order: Order) -> Comparison:
    """Run everything; an interrupt ends it early, with what was measured until then."""
    began, start = datetime.now(UTC), time.monotonic()
    arena = Arena(order)
    notes: list[str] = []
    try:
        arena.enter()
        arena.run()
    except KeyboardInterrupt:
        notes.append("interrupted: it ended before all runs were made")
    finally:
        arena.close()
    return Comparison(
        began=began.isoformat(timespec="seconds"),
        seconds=time.monotonic() - start,
        outline=_outline(order),
        settings=Settings(
            mode=order.mode,
            repeat=order.repeat,
            warmup=order.warmup,
            seed=order.seed,
            timeout=order.timeout,
            faults=_name_of(order.wishes.faults),
            cassette=_name_of(order.wishes.replay),
            model=order.model,
            command=order.command,
        ),
        machine=_machine(),
        contenders=tuple(seat.contender for seat in arena.seats),
        cases=tuple(order.cases),
        runs=tuple(arena.runs),
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

    def __init__(self, order: Order) -> None:
        self.order = order
        self.runs: list[RunRecord] = []
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
        self._route = self._new_route()
        self._environment = {
            **without_keys(os.environ, self._route),
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

    def close(self) -> None:
        """End every process."""
        for seat in self.seats:
            if seat.driver is not None:
                seat.driver.kill()

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
                    "replay": order.wishes.replay and str(Path(order.wishes.replay).absolute()),
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
        record = self._measure(seat, case, max(0, number))
        if number < 0:
            self._note_first(seat, record)
            return
        self.runs.append(self._judged(seat, case, record))

    def _judged(self, seat: Seat, case: Case, record: RunRecord) -> RunRecord:
        """Add the verdicts on a run; where its process has ended with it, no function is called."""
        if self.order.judge is None:
            return record
        driver = seat.driver

        def call_function(name: str, value: Any) -> Answer:
            assert driver is not None
            told = driver.ask("check", self.order.timeout, function=name, value=value)
            return (False, told["problem"]) if "problem" in told else (told["passed"], told["why"])

        try:
            verdicts = self.order.judge(record, case, call_function if driver else None)
        except WorkerEnded as ended:
            seat.driver = None
            verdicts = (Verdict(check="all of them", passed=False, why=ended.message),)
        return record.model_copy(update={"verdicts": verdicts})

    def _measure(self, seat: Seat, case: Case, repeat: int) -> RunRecord:
        assert seat.driver is not None
        run_id = secrets.token_hex(8)
        place: dict[str, Any] = {
            "framework": seat.entry.key,
            "case": case.id,
            "repeat": repeat,
            "order": len(self.runs),
        }
        with self._new_route().open(run_id) as way:
            try:
                told = seat.driver.ask(
                    "run",
                    self.order.timeout,
                    inputs=case.inputs,
                    answers=case.answers,
                    run_id=run_id,
                    doors=[door.url for door in way.doors],
                    seed=self.order.seed + repeat,
                )
            except WorkerEnded as ended:
                seat.driver, seat.deaths = None, seat.deaths + 1
                if seat.deaths >= _DEATHS:
                    seat.refuse(f"{seat.deaths} runs in a row ended its process: {ended.message}")
                problem = Problem(type=ended.type, message=ended.message)
                return RunRecord(**place, status="failed", error=problem)
            seat.deaths = 0
            if "problem" in told:
                problem = Problem(type="worker_failed", message=told["problem"])
                return RunRecord(**place, status="failed", error=problem)
            record = RunRecord.model_validate({**told["run"], **place})
            return _with_prompts(record, way) if repeat == 0 else record

    def _note_first(self, seat: Seat, record: RunRecord) -> None:
        startup = seat.contender.startup
        if startup is not None and startup.first_run is None and record.succeeded:
            startup = startup.model_copy(update={"first_run": record.duration})
            seat.contender = seat.contender.model_copy(update={"startup": startup})

    def _new_route(self) -> Route:
        """Find the way to the models anew: a cassette begins at its beginning for each run."""
        wishes = replace(self.order.wishes, meter=True, save_prompts=True)
        order = self.order
        return route_of(order.plan, wishes, model=order.model, allow_hosts=order.allow_hosts)


def _with_prompts(record: RunRecord, way: OpenRoute) -> RunRecord:
    """Add what was sent to models, which the gateway alone has seen."""
    sent = {
        (seen.address, seen.agent, seen.turn): tuple(seen.prompt or ())
        for door in way.doors
        for seen in door.log()
    }

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


def _outline(order: Order) -> Outline:
    plan, source = order.plan, source_of(order.document)
    text = None
    if source is not None:
        with suppress(OSError, UnicodeDecodeError):
            text = Path(source).read_text(encoding="utf-8")
    return Outline(
        name=plan.name,
        description=order.document.description,
        source=text,
        picture=draw_svg(plan) if len(plan.steps) <= _DRAWN else None,
        tasks={step.id: step.kind for step in plan.steps},
        depends={
            step.id: tuple(plan.steps[i].id for i in step.dependencies) for step in plan.steps
        },
    )


def _machine() -> Machine:
    memory = None
    with suppress(ValueError, OSError, AttributeError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        system=platform.platform(terse=True),
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory=memory,
        python=sys.version.partition(" ")[0],
        talea=metadata.version("talea"),
    )


def _processor() -> str:
    """Name the processor: times on another one are not comparable."""
    with suppress(OSError):
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"^model name\s*:\s*(.+)$", told, re.MULTILINE):
            return found[1]
    return platform.processor() or platform.machine()


def _name_of(given: Any) -> str | None:
    return None if given is None else str(given) if isinstance(given, str | Path) else "in Python"
