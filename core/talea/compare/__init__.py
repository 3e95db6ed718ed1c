"""Comparing frameworks on one's own workflow: which one, for this workflow?

`compare` runs a workflow on several, fairly, and gives a `Comparison`: its `record` is the data,
`statistics` and `answer` say what follows, `report` shows it.
"""

from __future__ import annotations

import ast
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from types import MethodType
from typing import Any

from talea import ir
from talea.compare.cases import make_cases, read_cases, read_expectations
from talea.compare.checks import judge
from talea.compare.contenders import read_entries
from talea.compare.engine import Order, Progress, carry_out
from talea.compare.judging import check_judges
from talea.compare.measures import Measured, Terms, check_baseline
from talea.compare.particulars import this_machine
from talea.compare.record import Case, Comparison
from talea.compare.tapes import cassettes_for, cassettes_in, have_tools
from talea.errors import UsageError
from talea.load import load
from talea.plan import make_plan
from talea.route import Wishes
from talea.run import by_name

__all__ = ["Case", "Comparison", "compare"]

Tools = str | Path | Mapping[str, Callable[..., Any]] | Iterable[Callable[..., Any]]


def compare(
    workflow: ir.Workflow | str | Path,
    inputs: Mapping[str, Any] | None = None,
    *,
    frameworks: Sequence[str] = (),
    isolate: bool = False,
    requirements: Sequence[tuple[str, str]] = (),
    pythons: Sequence[tuple[str, str]] = (),
    cases: str | Path | Sequence[Case | Mapping[str, Any]] = (),
    expect: str | Path | Sequence[Any] = (),
    repeat: int = 5,
    warmup: int = 1,
    seed: int = 0,
    timeout: float = 300.0,
    tools: Tools | None = None,
    model: str | None = None,
    answers: Mapping[str, Any] | None = None,
    offline: bool = False,
    replay: str | Path | None = None,
    record: str | Path | None = None,
    record_tools: bool = False,
    faults: str | Path | None = None,
    allow_hosts: Sequence[str] = (),
    baseline: Comparison | None = None,
    regress_on: Sequence[Measured] | None = None,
    command: str | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Run a workflow on several frameworks, in turns, and give all that was measured.

    `frameworks` are names, with options where wanted (`langgraph:mode=dataflow`); all that are
    installed where none is named. Each runs in a process of its own; with `isolate` also in an
    environment of its own, which uv makes. `requirements` are pairs such as `("langgraph",
    "langgraph==1.2.*")`: the framework takes part once for each, as `langgraph@1.2`. `pythons` are
    pairs of a framework and the Python of an environment that has it. `inputs` and `answers` are of
    the one case; `cases` are several, or their file, and `expect` is what is expected of all, or
    the file of that. Every case runs `repeat` times on each framework,
    after `warmup` runs of the first case that count for nothing; `seed` decides the order. A run
    that takes longer than `timeout` seconds fails, and its process is killed. `tools` is a file, or
    functions that stand in one: a framework's process imports them from there.

    `replay` is a cassette, or a folder of one for each case, that answers in place of models.
    `record` is where what models answered is written, in the same form: of each case's first
    successful run on the first framework that has one; with `record_tools`, what tools gave too.

    `baseline` and `regress_on` are what `talea.compare.gates.check_gates` will be given: what could
    not be judged by them is refused before any run.

    A run that fails is data. Raises what `talea.run` raises for what is wrong before any run.
    """
    if repeat < 1 or warmup < 0:
        raise UsageError("a comparison needs at least one run, and no negative number to warm up")
    document = workflow if isinstance(workflow, ir.Workflow) else load(workflow)
    plan = make_plan(document)
    functions = _names_of(tools)
    expected = (
        read_expectations(expect, plan, functions=functions)
        if isinstance(expect, str | Path)
        else expect
    )
    if isinstance(cases, str | Path):
        checked = read_cases(cases, plan, functions=functions, expectations=expected)
    else:
        own = {"inputs": dict(inputs or {}), "answers": dict(answers or {})}
        checked = make_cases(
            cases or [{"id": "case", **own}], plan, functions=functions, expectations=expected
        )
    wishes = Wishes(offline, replay, record=record, record_tools=record_tools, faults=faults)
    wishes.check()
    cassettes = {} if replay is None else cassettes_in(replay, checked)
    judges = judge(checked, plan, functions=functions)
    if wishes.asks_models:
        check_judges(document, judges.models, model=model, allow_hosts=allow_hosts)
    is_file = isinstance(tools, str | Path)
    order = Order(
        plan=plan,
        document=document,
        entries=read_entries(
            frameworks, isolate=isolate, requirements=requirements, pythons=pythons
        ),
        cases=checked,
        wishes=wishes,
        cassettes=cassettes,
        plays_tools=bool(cassettes) and have_tools(cassettes.values()),
        recorded={} if record is None else cassettes_for(record, checked),
        repeat=repeat,
        warmup=warmup,
        seed=seed,
        timeout=timeout,
        tools=str(tools) if is_file else None,
        functions=() if is_file or tools is None else _places_of(tools),
        model=model,
        allow_hosts=allow_hosts,
        command=command,
        judge=judges if any(case.expect for case in checked) else None,
        progress=progress or (lambda _: None),
    )
    if baseline is not None:
        check_baseline(baseline, _terms_of(order), regress_on)
    return carry_out(order)


def _terms_of(order: Order) -> Terms:
    apart = any(entry.isolated or entry.python is not None for entry in order.entries)
    return Terms(
        mode=order.mode,
        workflow=order.plan.name,
        machine=this_machine(),
        cases=order.cases,
        repeat=order.repeat,
        faults=order.wishes.faults is not None,
        frameworks=None if apart else [entry.key for entry in order.entries],
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
        # A notebook's cell has the name of a file that is not there.
        is_there = file is not None and Path(file).exists()
        if not file or not is_there or "<" in place or isinstance(function, MethodType):
            raise UsageError(
                f"the tool {name!r} stands in no file by a name of its own, and a framework's"
                " process could not import it",
                "define it with `def` at the top of a module",
            )
        found.append((name, str(Path(file).absolute()), place))
    return found


def _names_of(tools: Tools | None) -> list[str]:
    """Name the caller's functions. A file is read for that, and not run: keys are at hand here."""
    if tools is None:
        return []
    if not isinstance(tools, str | Path):
        return list(by_name(tools))
    text = str(tools)
    if not (text.endswith(".py") or "/" in text or os.sep in text):
        text = _file_of(text)
    try:
        tree = ast.parse(Path(text).read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError(f"{text} cannot be read: {error}", "--tools my_tools.py") from error
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node.name for node in tree.body if isinstance(node, kinds)]


def _file_of(module: str) -> str:
    """Find a module's file, importing neither it nor its packages."""
    folders = [str(Path.cwd()), *sys.path]
    spec = None
    for part in module.split("."):
        spec = PathFinder.find_spec(part, folders)
        folders = [] if spec is None else spec.submodule_search_locations or []
    if spec is None or spec.origin is None:
        raise UsageError(f"there is no module {module!r} with tools", "--tools my_tools.py")
    return spec.origin
