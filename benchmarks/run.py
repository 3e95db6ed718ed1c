"""Measure talea against its bars: `python benchmarks/run.py [row …] [--json FILE] [--rounds N]`.

Prints a table and, with `--json`, writes the same as data. Each thing stands beside a peer that is
written by hand (`peers`), and takes turns with it in one process. The figures are no tests: they
mean something only on a machine that is mostly idle.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from against_crewai import crewai
from against_langgraph import langgraph
from balance import balance
from comparing import comparing
from journaling import journal
from measuring import Row, compare, compare_awaited, cpu_awaited, memory, process_cpu, python
from peers import compile_langgraph, noop, run_langgraph, run_task_group
from shapes import SHAPES, Graph, critical_path, unequal
from through_gateway import gateway
from workflows import build, build_waiting, realistic, wait

ROUNDS = 5


async def run_talea(workflow: Any, tool: Callable[..., Any] = noop) -> Any:
    """Run a workflow on the `simple` framework; it must succeed."""
    import talea

    return (await talea.arun(workflow, tools={"noop": tool})).raise_for_failure()


def run_once(workflow: Any) -> Any:
    """Run a workflow in an event loop of its own."""
    return asyncio.run(run_talea(workflow))


# Scheduling


def overhead(rounds: int) -> Iterator[Row]:
    """No-op tasks with full semantics, against a TaskGroup with a task for each node.

    The tools' rows hold what a tool call adds: checked arguments, an event, an idempotency key.
    """
    yield from _against_task_group(rounds, 1.8, "values", kind="value")
    yield from _against_task_group(rounds, 1.8, "tools")


def timeouts(rounds: int) -> Iterator[Row]:
    """The same with a timeout on every task; the peer has none."""
    yield from _against_task_group(rounds, 2.5, "values, timeouts", kind="value", timeout="60s")
    yield from _against_task_group(rounds, 2.5, "tools, timeouts", timeout="60s")


def _against_task_group(rounds: int, bar: float, title: str, **more: Any) -> Iterator[Row]:
    for size in (1_000, 10_000):
        for name, shape in SHAPES.items():
            graph = shape(size)
            workflow = build(graph, **more)
            ratio, mine, theirs = asyncio.run(
                compare_awaited(
                    partial(run_talea, workflow), partial(run_task_group, graph), rounds
                )
            )
            note = f"{mine / len(graph) * 1e6:.1f} µs a task, {theirs / len(graph) * 1e6:.1f}"
            yield Row(f"{title}: {name}, {size:,}", ratio, bar, note=note)


def growth(rounds: int) -> Iterator[Row]:
    """How the cost of a run grows from 1,000 to 100,000 tasks: 1 is linear."""

    async def cost(work: Callable[[], Coroutine[Any, Any, Any]]) -> float:
        await work()
        return statistics.median([await cpu_awaited(work) for _ in range(rounds)])

    def exponent(work: Callable[[int], Callable[[], Coroutine[Any, Any, Any]]]) -> float:
        small, large = (asyncio.run(cost(work(size))) for size in (1_000, 100_000))
        return math.log(large / small) / math.log(100)

    for name, shape in SHAPES.items():

        def ours(size: int, shape: Callable[[int], Graph] = shape) -> Any:
            return partial(run_talea, build(shape(size)))

        def peer(size: int, shape: Callable[[int], Graph] = shape) -> Any:
            return partial(run_task_group, shape(size))

        note = f"the peer's {exponent(peer):.2f}"
        yield Row(f"growth exponent: {name}", exponent(ours), 1.1, unit="", note=note)


def footprint(rounds: int) -> Iterator[Row]:
    """Memory of a plan, and of a run up to its result, per task."""
    from talea.plan import make_plan

    size = 10_000
    asyncio.run(run_talea(build(SHAPES["random"](10))))  # What is loaded once is not a task's.
    for name, shape in SHAPES.items():
        workflow = build(shape(size))
        _, kept, peak = memory(partial(make_plan, workflow))
        note = f"{peak / size:.0f} at the peak"
        yield Row(f"plan: {name}", kept / size, 2048, unit="bytes a task", note=note)
        _, kept, peak = memory(partial(run_once, workflow))
        note = f"at the peak; its result {kept / size:.0f}"
        yield Row(f"run: {name}", peak / size, 1024, unit="bytes a task", note=note)


def against_langgraph(rounds: int) -> Iterator[Row]:
    """No-op tasks on `simple`, against the StateGraph that a user writes by hand."""
    if find_spec("langgraph") is None:
        return
    size = 1_000
    for name, shape in SHAPES.items():
        compiled = compile_langgraph(shape(size))
        for kind in ("value", "tool"):
            _, mine, theirs = asyncio.run(
                compare_awaited(
                    partial(run_talea, build(shape(size), kind)),
                    partial(run_langgraph, compiled, size),
                    rounds,
                )
            )
            title = f"LangGraph by hand / {kind}s: {name}, {size:,}"
            yield Row(title, theirs / mine, 25, at_least=True)


def branches(rounds: int) -> Iterator[Row]:
    """Unequal branches of tasks that wait: time, by the longest path."""
    graph, seconds = unequal()
    workflow = build_waiting(graph, seconds)

    async def once() -> float:
        import talea

        start = time.perf_counter()
        (await talea.arun(workflow, tools={"wait": wait})).raise_for_failure()
        return time.perf_counter() - start

    best = critical_path(graph, seconds)
    asyncio.run(once())
    took = statistics.median(asyncio.run(once()) for _ in range(rounds))
    yield Row("unequal branches: time / longest path", took / best, 1.15, note=f"{best:.2f} s")


# Loading


def loading(rounds: int) -> Iterator[Row]:
    """Load and validate a document, against the bare parse of the same text by CSafeLoader."""
    import yaml

    from talea.load import Bounds, loads
    from talea.plan import make_plan

    def check(text: str) -> Any:
        return make_plan(loads(text, limits=Bounds(max_bytes=10**9, max_nodes=10**9)))

    for size in (1_000, 10_000):
        text = realistic(size)
        ratio, mine, theirs = compare(
            partial(check, text), partial(yaml.load, text, yaml.CSafeLoader), rounds
        )
        note = f"{mine * 1e3:.0f} ms, {theirs * 1e3:.0f} for {len(text) // 1000} kB"
        yield Row(f"load and validate: {size:,} tasks", ratio, 1.0, note=note)


# Starting


def imports(rounds: int) -> Iterator[Row]:
    """What it costs to begin, as CPU time of whole processes less that of a bare interpreter."""
    script = str(Path(sys.executable).with_name("talea"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flow.yaml"
        path.write_text(realistic(5))
        parts = "import pluggy, yaml, asyncio; from pydantic import BaseModel"
        load = f"import talea; talea.load({str(path)!r})"
        cases = [
            ("import talea", python("import talea"), python("import pydantic, pluggy"), 1.0),
            ("first talea.load", python(load), python(parts), 1.5),
            ("talea --help", [script, "--help"], python("import click"), 2.0),
        ]
        for title, ours, peer, bar in cases:
            times = [
                [process_cpu(command) for command in (ours, peer, python("pass"))]
                for _ in range(max(rounds, 15))
            ]
            mine, theirs, bare = map(statistics.median, zip(*times, strict=True))
            whole = f"{mine * 1e3:.0f} ms, {theirs * 1e3:.0f}, bare {bare * 1e3:.0f}"
            ratio = max(0.0, mine - bare) / (theirs - bare)
            yield Row(title, ratio, bar, note=f"{whole}; whole {mine / theirs:.2f} ×")
    code = """
import sys
from talea.cli import main
try:
    main(["frameworks"])
finally:
    print(*sys.modules, sep="\\n", file=sys.stderr)
"""
    done = subprocess.run(python(code), capture_output=True, text=True, check=True)
    frameworks = {"langgraph", "langchain_core", "crewai", "openai", "autogen", "agents", "httpx"}
    found = frameworks & set(done.stderr.split())
    title = "talea frameworks: frameworks imported"
    yield Row(title, len(found), 0, unit="", note=", ".join(sorted(found)))


ROWS: dict[str, Callable[[int], Iterator[Row]]] = {
    "imports": imports,
    "loading": loading,
    "gateway": gateway,
    "journal": journal,
    "overhead": overhead,
    "timeouts": timeouts,
    "growth": growth,
    "footprint": footprint,
    "simple-langgraph": against_langgraph,
    "branches": branches,
    "balance": balance,
    "langgraph": langgraph,
    "crewai": crewai,
    "compare": comparing,
}
_WORDS = {True: "met", False: "NOT MET", None: ""}


def main() -> None:
    """Measure the rows that were asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all if none")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"{ROUNDS} if not given")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON too")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    found: list[Row] = []
    for name in options.rows or ROWS:
        print(f"\n{name}: {(ROWS[name].__doc__ or '').splitlines()[0]}")
        count = len(found)
        for row in ROWS[name](options.rounds):
            found.append(row)
            measured = f"{row.measured:.2f} {row.unit}"
            print(f"  {row.name:<44}{measured:>20}  {row.aim:<9}{_WORDS[row.met]:<9}{row.note}")
        if len(found) == count:
            print("  not measured: what it needs is not installed")
    if options.json:
        rows = [
            {"name": r.name, "measured": r.measured, "bar": r.bar, "within": r.within}
            | {"unit": r.unit, "met": r.met, "note": r.note}
            for r in found
        ]
        machine = {"python": platform.python_version(), "cpus": os.cpu_count()}
        options.json.write_text(json.dumps({**machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
