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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from talea import ir
from talea.compare.checks import Judge, Opinion, Question
from talea.compare.contenders import Entry
from talea.compare.judging import ask_judge
from talea.compare.particulars import outline_of, this_machine
from talea.compare.record import Call, Case, Comparison, Overhead, RunRecord, Settings
from talea.compare.seats import Seat, failed
from talea.compare.tapes import Tape, Tapes
from talea.gateway.tape import ToolRecorder, read_tools
from talea.journal import pin
from talea.plan import Plan
from talea.route import OpenRoute, Route, Wishes, without_keys
from talea.run import route_of

_PLAYED_CASES = 10
"""Cases in which the frameworks' overhead is measured: the first ones."""

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
    cassettes: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """What answers in place of models, by case."""
    plays_tools: bool = False
    """Whether these stand in for tools as well, which then need no code."""
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


class Arena:
    """All that take part, and what their runs came to."""

    def __init__(self, order: Order, tapes: Tapes) -> None:
        self.order = order
        self.runs: list[RunRecord] = []
        self.overhead: list[Overhead] = []
        self.seats = [Seat(entry, order.entries) for entry in order.entries]
        self._tapes = tapes
        self._chance = random.Random(order.seed)
        self._environment = {
            **without_keys(os.environ, self._route(self._wishes(order.cases[0]))),
            "PYTHONHASHSEED": "0",
            "PYTHONUNBUFFERED": "1",
        }

    def enter(self) -> None:
        """Start every framework, one after the other: so each one's import is measured alone."""
        for seat in self.seats:
            if seat.entry.isolated:
                self.order.progress(f"making an environment for {seat.key}")
                seat.place([other.key for other in self.seats])
        for seat in self.seats:
            if seat.takes_part:
                self.order.progress(f"starting {seat.key}")
                self._start(seat)
        mistakes = {str(seat.mistake) for seat in self.seats}
        if len(mistakes) == 1 and (mistake := self.seats[0].mistake) is not None:
            raise mistake  # It is of no framework, but of what all were given.

    def run(self) -> None:
        """Make all runs, the ones that warm up first."""
        order = self.order
        first = order.cases[:1]
        for seat, case, number in self._turns(range(-order.warmup, 0), first):
            if self._is_ready(seat, case, "warming up"):
                seat.note_first(self._measure(seat, case, max(0, number)))
        for seat, case, number in self._turns(range(order.repeat), order.cases):
            if self._is_ready(seat, case, f"run {number + 1} of {order.repeat}"):
                self._one(seat, case, number)

    def play_back(self) -> None:
        """Make the recorded runs again: what they take then is what the frameworks cost."""
        order = self.order
        for seat, case, number in self._turns(range(order.repeat), order.cases[:_PLAYED_CASES]):
            tape = self._tapes.good(seat.key, case.id)
            what = f"overhead, run {number + 1} of {order.repeat}"
            if tape is not None and self._is_ready(seat, case, what):
                self._again(seat, case, number, tape)

    def close(self) -> None:
        """End every process."""
        for seat in self.seats:
            seat.end()

    def write(self) -> list[str]:
        """Write what is to be recorded; give notes on what is not as it should be."""
        keys = [seat.key for seat in self.seats]
        tools = self.order.wishes.record_tools
        return self._tapes.write(keys, self.order.recorded, tools=tools)

    def _turns(
        self, numbers: Iterable[int], cases: Sequence[Case]
    ) -> Iterator[tuple[Seat, Case, int]]:
        """Say whose turn it is: in each round and case everybody's, in an order by chance."""
        for number in numbers:
            for case in cases:
                seats = list(self.seats)
                self._chance.shuffle(seats)
                yield from ((seat, case, number) for seat in seats)

    def _is_ready(self, seat: Seat, case: Case, what: str) -> bool:
        """Say whether one can make a run; its process is started anew if it has ended."""
        if not seat.takes_part:
            return False
        which = f"{case.id}, " if len(self.order.cases) > 1 else ""
        self.order.progress(f"{seat.key}: {which}{what}")
        if not seat.is_up:
            self._start(seat)
        return seat.is_up

    def _start(self, seat: Seat) -> None:
        order = self.order
        settings = {
            "model": order.model,
            "offline": order.wishes.offline,
            "meter": True,
        }
        seat.start(
            self._environment,
            settings,
            document=pin(order.document),
            tools=order.tools,
            functions=list(order.functions),
            are_played=order.plays_tools,
        )

    def _one(self, seat: Seat, case: Case, number: int) -> None:
        """Make one run that counts, judge it, and keep it on tape where that is wanted."""
        tape = self._tapes.begin(seat.key, case.id) if self._records else None
        record = self._judged(seat, case, self._measure(seat, case, number, tape), tape)
        self.runs.append(record)
        if tape is not None:
            self._tapes.keep(seat.key, case.id, tape, good=record.succeeded or record.passed)

    def _again(self, seat: Seat, case: Case, number: int, tape: Path) -> None:
        """Make a recorded run again; one that does not succeed tells nothing."""
        run = self._made(seat, case, number, Wishes(replay=tape, meter=True))
        if run.succeeded:
            self.overhead.append(
                Overhead(
                    framework=run.framework,
                    case=run.case,
                    repeat=run.repeat,
                    duration=run.duration,
                    split=run.split,
                    cpu=run.cpu,
                )
            )

    def _measure(self, seat: Seat, case: Case, number: int, tape: Tape | None = None) -> RunRecord:
        return self._made(seat, case, number, self._wishes(case, tape))

    def _made(self, seat: Seat, case: Case, number: int, wishes: Wishes) -> RunRecord:
        """Have a framework make a run."""
        run_id = secrets.token_hex(8)
        # Only one run's prompts are kept, and the framework's process is told all that is logged.
        wishes = replace(wishes, save_prompts=number == 0)
        with self._route(wishes).open(run_id) as way:
            told = seat.run(
                self.order.timeout,
                inputs=case.inputs,
                answers=case.answers,
                run_id=run_id,
                doors=[door.url for door in way.doors],
                replay=wishes.replay and str(Path(wishes.replay).absolute()),
                tape=wishes.tape,
                seed=self.order.seed + number,
            )
            if wishes.tape is not None:
                assert isinstance(way.tape, ToolRecorder)
                way.tape.take(read_tools(wishes.tape))
            place = {
                "framework": seat.key,
                "case": case.id,
                "repeat": number,
                "order": len(self.runs),
            }
            try:
                record = RunRecord.model_validate({**told, **place})
            except ValidationError as error:
                told = failed("worker_failed", f"what it told of the run is no record: {error}")
                record = RunRecord.model_validate({**told, **place})
            return _with_prompts(record, way) if number == 0 else record

    def _judged(self, seat: Seat, case: Case, record: RunRecord, tape: Tape | None) -> RunRecord:
        """Add the verdicts on a run."""
        order = self.order
        if order.judge is None:
            return record

        def ask(question: Question) -> Opinion:
            return ask_judge(
                order.document,
                model=order.model,
                offline=order.wishes.offline,
                replay=order.cassettes.get(case.id),
                record=tape and tape.for_judge(),
                allow_hosts=order.allow_hosts,
            )(question)

        verdicts = order.judge(record, case, partial(seat.check, order.timeout), ask)
        return record.model_copy(update={"verdicts": verdicts})

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


def _name_of(given: Any) -> str | None:
    return None if given is None else str(given) if isinstance(given, str | Path) else "in Python"
