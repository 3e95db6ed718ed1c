"""Comparing frameworks on one's own workflow: which one, for this workflow?

`compare` runs a workflow on several, fairly, and gives a `Comparison`: its `record` is the data,
`statistics` and `answer` say what follows, `report` shows it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from talea import ir
from talea.compare.contenders import read_entries
from talea.compare.engine import Judge, Order, Progress, carry_out
from talea.compare.record import Case, Comparison
from talea.errors import UsageError
from talea.load import load
from talea.plan import check_inputs, make_plan
from talea.route import Wishes
from talea.run import by_name

__all__ = ["Case", "Comparison", "compare"]

Tools = str | Path | Mapping[str, Callable[..., Any]] | Iterable[Callable[..., Any]]


def compare(
    workflow: ir.Workflow | str | Path,
    inputs: Mapping[str, Any] | None = None,
    *,
    frameworks: Sequence[str] = (),
    cases: Sequence[Case] = (),
    repeat: int = 5,
    warmup: int = 1,
    seed: int = 0,
    timeout: float = 300.0,
    tools: Tools | None = None,
    model: str | None = None,
    answers: Mapping[str, Any] | None = None,
    offline: bool = False,
    replay: str | Path | None = None,
    faults: str | Path | None = None,
    allow_hosts: Sequence[str] = (),
    judge: Judge | None = None,
    command: str | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Run a workflow on several frameworks, in turns, and give all that was measured.

    `frameworks` are names, with options where wanted (`langgraph:mode=dataflow`); all that are
    installed where none is named. Each runs in a process of its own. `inputs` and `answers` are of
    the one case; with `cases` there are several. Every case runs `repeat` times on each framework,
    after `warmup` runs of the first case that count for nothing; `seed` decides the order. A run
    that takes longer than `timeout` seconds fails, and its process is killed. `tools` is a file, or
    functions that stand in one: a framework's process imports them from there.

    A run that fails is data. Raises what `talea.run` raises for what is wrong before any run.
    """
    if repeat < 1 or warmup < 0:
        raise UsageError("a comparison needs at least one run, and no negative number to warm up")
    document = workflow if isinstance(workflow, ir.Workflow) else load(workflow)
    plan = make_plan(document)
    given = cases or (Case(id="case", inputs=dict(inputs or {}), answers=dict(answers or {})),)
    checked = [
        one.model_copy(update={"inputs": check_inputs(plan, dict(one.inputs))}) for one in given
    ]
    is_file = isinstance(tools, str | Path)
    return carry_out(
        Order(
            plan,
            document,
            read_entries(frameworks),
            checked,
            Wishes(offline, replay, faults=faults),
            repeat,
            warmup,
            seed,
            timeout,
            str(tools) if is_file else None,
            () if is_file or tools is None else _places_of(tools),
            model,
            allow_hosts,
            command,
            judge,
            progress or (lambda _: None),
        )
    )


def _places_of(
    tools: Mapping[str, Callable[..., Any]] | Iterable[Callable[..., Any]],
) -> list[tuple[str, str, str]]:
    """Say where each function stands, so that another process can import it."""
    named = by_name(tools)
    found: list[tuple[str, str, str]] = []
    for name, function in named.items():
        place = getattr(function, "__qualname__", "<unnamed>")
        try:
            file = inspect.getsourcefile(function)
        except TypeError:
            file = None
        if file is None or "<" in place:
            raise UsageError(
                f"the tool {name!r} stands in no file by a name of its own, and a framework's"
                " process could not import it",
                "define it with `def` at the top of a module",
            )
        found.append((name, str(Path(file).absolute()), place))
    return found
