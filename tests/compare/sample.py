"""A believable comparison, made without running anything: what reports are tested with."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

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
    Span,
    Split,
    Startup,
    Task,
    Used,
    Verdict,
)

SOURCE = """\
talea: 1
name: market-brief
description: A brief on a market, from regional notes to an approved text.
model: openai/gpt-5-mini
inputs:
  topic: {type: string}
agents:
  analyst:
    role: Market analyst
    goal: "Find what moves the market for {{ inputs.topic }}, and say where it was read"
  writer:
    role: Writer
    goal: Turn notes into a brief that is read in two minutes
tasks:
  notes:
    agent: analyst
    prompt: Make notes on {{ inputs.topic }} in Europe. Search the archive, and look the price index up.
  prices:
    tool: price_index
  risks:
    agent: analyst
    after: notes
    prompt: Say in three sentences what could go wrong for a buyer of {{ inputs.topic }} this year.
  draft:
    agent: writer
    after: [notes, prices]
    prompt: Write a brief of at most two hundred words from these notes and name every source.
  check:
    value: tasks.draft.output != ""
  publish:
    tool: publish
    after: [draft, risks, check]
"""


@dataclass(frozen=True)
class Step:
    """A task of the sample. `model` and `tool` are the seconds that one of its calls takes."""

    name: str
    kind: str = "agent"
    after: tuple[str, ...] = ()
    model: float = 0.0
    tool: float = 0.0
    turns: int = 1
    prompt: str = ""


BRIEF = (
    Step("notes", model=0.42, tool=0.10, turns=2, prompt="Make notes on grid batteries in Europe. Search the archive, and look the price index up."),
    Step("prices", "tool", tool=0.18),
    Step("risks", after=("notes",), model=0.36, prompt="Say in three sentences what could go wrong for a buyer of grid batteries this year."),
    Step("draft", after=("notes", "prices"), model=0.74, prompt="Write a brief of at most two hundred words from these notes and name every source."),
    Step("check", "value", after=("draft",)),
    Step("publish", "tool", after=("draft", "risks", "check"), tool=0.06),
)  # fmt: skip


@dataclass(frozen=True)
class Ways:
    """How a framework of the sample behaves."""

    overhead: float
    """Seconds of its own at each task."""
    waves: bool = False
    """Whether it starts a task only when the whole wave before it has ended."""
    added: tuple[str, ...] = ()
    """Messages' text that it adds to a prompt."""
    memory: int = 90_000_000
    imports: float = 0.2
    compiles: float = 0.001
    versions: dict[str, str] = field(default_factory=dict[str, str])


FRAMEWORKS = {
    "simple": Ways(0.0008, memory=71_000_000, imports=0.31, compiles=0.0004, versions={"talea-simple": "0.1.0", "openai": "2.54.0"}),
    "langgraph": Ways(0.0041, waves=True, memory=124_000_000, imports=0.92, compiles=0.0092, versions={"langgraph": "1.2.24", "langchain-core": "1.8.3", "openai": "2.54.0"}),
    "crewai": Ways(
        0.0310,
        added=(
            "You are Market analyst. You work with facts alone.\nYour personal goal is: find what moves the market.",
            "This is the expected criteria for your final answer: a text.\nyou MUST return the actual complete content as the final answer, not a summary.\n\nBegin! This is VERY important to you, use the tools available and give your best Final Answer, your job depends on it!",
        ),
        memory=318_000_000,
        imports=3.4,
        compiles=0.021,
        versions={"crewai": "1.15.30", "litellm": "1.80.0", "openai": "2.54.0"},
    ),
}  # fmt: skip

TEXTS = {
    "notes": "Grid batteries in Europe: 14.2 GWh were added in the year, most of them in Germany and Italy (Grid Weekly, 12 May). Prices fell by 11 % to 182 US$/kWh.",
    "prices": {"region": "Europe", "unit": "US$/kWh", "years": {"2023": 241, "2024": 205, "2025": 182}},
    "risks": "Grid fees may return for storage in two countries. Cells come from one region. Insurers ask for wider spacing.",
    "draft": "Europe added 14.2 GWh of grid batteries. Prices fell by 11 % in a year.\n\nGermany and Italy lead. A buyer should settle grid fees first.\n\nSources: Grid Weekly, 12 May; price index.",
    "check": True,
    "publish": {"published": True, "characters": 190},
}  # fmt: skip

Output = Callable[[str, str, int], Any]
"""The output of a task: by its name, the framework's key and the repeat."""


def usual_output(task: str, framework: str, repeat: int) -> Any:
    """Give what a task of the brief puts out. Drafts differ on crewai, and notes in their spaces."""
    text = TEXTS.get(task, f"Output of {task}.")
    if task == "draft" and framework == "crewai":
        return str(text).replace(
            "A buyer should settle grid fees first.",
            "Buyers should settle insurance and grid fees first.",
        )
    if task == "notes" and framework == "langgraph" and repeat % 2:
        return f"{text}\n"
    return text


def many(count: int) -> tuple[Step, ...]:
    """Give a wide workflow of so many tasks."""
    width = 12
    return tuple(
        Step(f"step_{number:03d}", after=(f"step_{number - width:03d}",) if number >= width else (), model=0.02)
        for number in range(count)
    )  # fmt: skip


def sample(
    *,
    frameworks: tuple[str, ...] = ("simple", "langgraph", "crewai"),
    steps: tuple[Step, ...] = BRIEF,
    output: Output = usual_output,
    cases: int = 2,
    repeats: int = 5,
    fails: bool = True,
    name: str = "market-brief",
    picture: str | None = None,
    slower: float = 1.0,
    seed: int = 7,
) -> Comparison:
    """Make a comparison. With `fails`, one run of the last framework fails at `draft`; `slower`
    stretches what frameworks spend themselves."""
    chance = random.Random(seed)
    names = [
        ("europe", "asia", "america", "africa")[n % 4] + ("" if n < 4 else str(n))
        for n in range(cases)
    ]
    order = [
        (case, repeat, key) for case in names for repeat in range(repeats) for key in frameworks
    ]
    failing = (names[-1], repeats - 1, frameworks[-1]) if fails else None
    runs = tuple(
        _run(key, case, repeat, number, steps, output, chance, slower, fails=(case, repeat, key) == failing)
        for number, (case, repeat, key) in enumerate(order)
    )  # fmt: skip
    return Comparison(
        began="2026-11-26T06:40:12+00:00",
        seconds=62.4,
        outline=Outline(
            name=name,
            description="A brief on a market, from regional notes to an approved text.",
            source=SOURCE,
            picture=picture,
            tasks={step.name: step.kind for step in steps},
            depends={step.name: step.after for step in steps},
        ),
        settings=Settings(
            mode="offline", repeat=repeats, warmup=1, seed=seed, timeout=120,
            command="talea compare examples/01_market_brief/workflow.yaml " + " ".join(f"-f {key}" for key in frameworks) + f" --offline --repeat {repeats} --seed {seed} --out report.html",
        ),
        machine=Machine(system="Linux 6.8 x86_64", processor="AMD EPYC 7B13", cores=2, memory=25_769_803_776, python="3.11.2", talea="0.1.0"),
        contenders=tuple(_contender(key) for key in frameworks),
        cases=tuple(Case(id=case, inputs={"topic": "grid batteries", "region": case}) for case in names),
        runs=runs,
    )  # fmt: skip


def _contender(key: str) -> Contender:
    ways = FRAMEWORKS[key]
    crew = key == "crewai"
    return Contender(
        key=key,
        framework=key,
        versions={"talea": "0.1.0", **ways.versions},
        python="3.11.2",
        startup=Startup(
            import_seconds=ways.imports, import_cpu=ways.imports * 0.9, import_memory=int(ways.memory * 0.9),
            compile_seconds=ways.compiles, compile_cpu=ways.compiles, first_run=2.1 + ways.overhead * 20,
        ),
        emulated={"priorities": "an ordering of its own before each step"} if key == "langgraph" else {},
        held_back=("pydantic 2.12.5: crewai wants <2.13",) if crew else (),
        notes=("telemetry was turned off",) if crew else (),
    )  # fmt: skip


def _run(
    key: str, case: str, repeat: int, order: int, steps: tuple[Step, ...], output: Output,
    chance: random.Random, slower: float, *, fails: bool,
) -> RunRecord:  # fmt: skip
    ways = FRAMEWORKS[key]
    tasks: dict[str, Task] = {}
    calls: list[Call] = []
    spans: list[Span] = []
    ends: dict[str, float] = {}
    wave: dict[str, int] = {}
    split: dict[str, float] = {"model": 0.0, "tool": 0.0, "framework": 0.0, "waiting": 0.0}
    for step in steps:
        ready = max((ends[name] for name in step.after), default=0.0)
        wave[step.name] = 1 + max((wave[name] for name in step.after), default=-1)
        begins = ready
        if ways.waves:
            begins = max(
                [ready, *(ends[name] for name, at in wave.items() if at < wave[step.name])]
            )
        cost = ways.overhead * slower * chance.uniform(0.8, 1.3)
        broken = fails and step.name == (
            "draft" if any(one.name == "draft" for one in steps) else steps[-1].name
        )
        missing = [name for name in step.after if tasks[name].status != "succeeded"]
        if missing:
            tasks[step.name] = Task(status="upstream_failed", reason=missing[0])
            ends[step.name] = begins
            continue
        at = begins + cost
        used = Used()
        for turn in range(step.turns if step.model else 0):
            took = step.model * chance.uniform(0.85, 1.3)
            messages = _prompt(step, ways)
            characters = sum(len(message["content"]) for message in messages) + 180 * turn
            calls.append(
                Call(
                    address=step.name, agent="analyst" if step.name != "draft" else "writer", turn=turn + 1,
                    model="openai/gpt-5-mini", status=500 if broken else 200, began=at, duration=took,
                    first_byte=took * 0.4, input_tokens=characters // 4, output_tokens=0 if broken else 60,
                    cost=0.00012, prompt_characters=characters, tools_offered=("search", "price_index") if step.tool else (),
                    tools_called=("search",) if step.tool and not turn else (), prompt=messages if repeat == 0 else None,
                    error="the server had an error" if broken else None,
                )
            )  # fmt: skip
            spans.append(
                Span(kind="model", address=step.name, began=at, duration=took, label="analyst")
            )
            used = Used(
                model_calls=used.model_calls + 1,
                input_tokens=used.input_tokens + characters // 4,
                output_tokens=used.output_tokens + 60,
                cost=(used.cost or 0) + 0.00012,
            )
            split["model"] += took
            at += took
            if step.tool and turn < step.turns - 1:
                at = _tool(spans, step, at, split, chance)
            if repeat == 2 and step.name == "risks":
                spans.append(
                    Span(
                        kind="retry", address=step.name, began=at, duration=0.25, label="rate_limit"
                    )
                )
                split["waiting"] += 0.25
                at += 0.25
        if step.tool and not step.model:
            at = _tool(spans, step, at, split, chance)
        split["framework"] += cost
        ends[step.name] = at
        error = (
            Problem(
                type="server_error",
                message="the server had an error (500), three times",
                address=step.name,
            )
            if broken
            else None
        )
        tasks[step.name] = Task(
            status="failed" if broken else "succeeded", output=None if broken else output(step.name, key, repeat), error=error,
            attempts=3 if broken else 2 if repeat == 2 and step.name == "risks" else 1,
            agent="analyst" if step.kind == "agent" else None, ready=ready, started=begins, ended=at, used=used,
        )  # fmt: skip
    whole = max(ends.values())
    alone = sum(split.values()) or 1.0
    last = steps[-1].name
    return RunRecord(
        framework=key, case=case, repeat=repeat, order=order, status="failed" if fails else "succeeded",
        error=Problem(type="server_error", message="the server had an error (500), three times", address="draft") if fails else None,
        outputs=None if fails else {last: tasks[last].output},
        tasks=tasks,
        used=Used(
            model_calls=len(calls), input_tokens=sum(call.input_tokens for call in calls),
            output_tokens=sum(call.output_tokens for call in calls), cost=0.00012 * len(calls),
        ),
        calls=tuple(calls), spans=tuple(spans), duration=whole,
        split=Split(**{name: part / alone * whole for name, part in split.items()}),
        cpu=0.02 + ways.overhead * len(steps) * chance.uniform(0.9, 1.1), peak_memory=ways.memory + 40_000 * repeat,
        retries=1 if repeat == 2 else 0,
        verdicts=(
            Verdict(check="contains 'Sources'", passed=not fails, why="the run failed" if fails else None),
            Verdict(check="at most 200 words", passed=True),
        ),
    )  # fmt: skip


def _tool(
    spans: list[Span], step: Step, at: float, split: dict[str, float], chance: random.Random
) -> float:
    took = step.tool * chance.uniform(0.9, 1.2)
    spans.append(Span(kind="tool", address=step.name, began=at, duration=took, label="search"))
    split["tool"] += took
    return at + took


def _prompt(step: Step, ways: Ways) -> tuple[dict[str, Any], ...]:
    before, after = ways.added or ("", "")
    system = "Role: Market analyst\nGoal: Find what moves the market for grid batteries, and say where it was read"
    return (
        {"role": "system", "content": f"{before}\n{system}" if before else system},
        {"role": "user", "content": f"{step.prompt}\n\n{after}" if after else step.prompt},
    )
