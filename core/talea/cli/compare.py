"""`talea compare`."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from talea.cli import FAILED, INTERRUPTED
from talea.cli.options import tools_option
from talea.cli.reading import check_answers, read_inputs, read_pairs, read_workflow
from talea.cli.terminal import clean, fits, say, stands_on_terminal, table, wrapped
from talea.cli.words import seconds
from talea.errors import UsageError
from talea.settings import find_settings

if TYPE_CHECKING:
    from talea.compare.gates import Gate
    from talea.compare.record import Comparison
    from talea.compare.statistics import Figures

_WRITTEN = (".html", ".json", ".md", ".xml")
_SHOWN = 0.001
"""Seconds from which on a part of a run's time has a column."""
_SPARED = ("CPU", "MODEL", "WAITING", "MEMORY", "TOOLS")
"""Columns that a narrow terminal goes without, the first one first."""


@click.command()
@click.argument("file")
@click.option(
    "-f", "--framework", "frameworks", multiple=True, metavar="NAME[:OPTION=VALUE,…]",
    help="Let this one take part; all that are installed where none is named.",
)  # fmt: skip
@click.option("--isolate", is_flag=True, help="Give each framework an environment of its own.")
@click.option(
    "--with", "requirements", multiple=True, metavar="NAME=REQUIREMENT", callback=read_pairs,
    help="Let a framework take part with this version of something, isolated; once for each.",
)  # fmt: skip
@click.option(
    "--python", "pythons", multiple=True, metavar="NAME=PATH", callback=read_pairs,
    help="Run a framework by this Python, which has it and talea.",
)  # fmt: skip
@click.option(
    "-i", "--input", "pairs", multiple=True, metavar="KEY=VALUE", callback=read_pairs,
    help="An input: text where its schema takes only text, else JSON.",
)  # fmt: skip
@click.option(
    "--inputs", "cases", metavar="FILE",
    help="Cases: a .jsonl, .json or .yaml file of inputs, and what is expected of each.",
)  # fmt: skip
@click.option("--expect", metavar="FILE", help="What is expected of every case.")
@click.option(
    "--answer", "answers", multiple=True, metavar="ADDRESS=VALUE", callback=read_pairs,
    help="The answer to a question.",
)  # fmt: skip
@click.option(
    "--repeat", type=click.IntRange(1), default=5, show_default=True, help="Runs of each."
)
@click.option(
    "--warmup", type=click.IntRange(0), default=1, show_default=True, help="Runs that do not count."
)
@click.option("--seed", type=int, default=0, show_default=True, help="What decides the order.")
@click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), default=300.0, show_default=True,
    metavar="SECONDS", help="A run that takes longer has failed, and its process is killed.",
)  # fmt: skip
@tools_option
@click.option("--model", metavar="PROVIDER/NAME", help="For agents that name no model.")
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="HOST",
    help="Let keys travel to this host, which the workflow names as a base_url.",
)  # fmt: skip
@click.option("--offline", is_flag=True, help="Let a stand-in answer in place of models.")
@click.option(
    "--replay",
    metavar="CASSETTE",
    help="Let a cassette answer in place of models, or a folder of one for each case.",
)
@click.option(
    "--record",
    metavar="CASSETTE",
    help="Record what models answer; of several cases, in a folder of one for each.",
)
@click.option("--record-tools", is_flag=True, help="Record what tools give as well.")
@click.option("--faults", metavar="FILE", help="Let model calls go wrong by these rules.")
@click.option(
    "-o", "--out", "outs", multiple=True, metavar="FILE",
    help="Write it: a report (.html), all data (.json), a summary (.md), or JUnit's XML (.xml).",
)  # fmt: skip
@click.option(
    "--fail-under", metavar="SHARE", help="Fail if a framework passes less of its runs: 90%."
)
@click.option("--baseline", metavar="FILE", help="Fail if it got worse than in this comparison.")
@click.option(
    "--max-regression", metavar="SHARE", default="10%", show_default=True,
    help="How much worse than the baseline it may be.",
)  # fmt: skip
@click.option(
    "--regress-on", metavar="NAMES",
    help="What must not get worse: tokens, duration, …; all but times if left out.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print all data as JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a summary in Markdown.")
@click.pass_context
def compare(  # noqa: PLR0917 - click passes them by name
    ctx: click.Context,
    file: str,
    frameworks: Sequence[str],
    isolate: bool,
    requirements: list[tuple[str, str]],
    pythons: list[tuple[str, str]],
    pairs: list[tuple[str, str]],
    cases: str | None,
    expect: str | None,
    answers: list[tuple[str, str]],
    repeat: int,
    warmup: int,
    seed: int,
    timeout: float,
    tools: str | None,
    model: str | None,
    hosts: Sequence[str],
    offline: bool,
    replay: str | None,
    record: str | None,
    record_tools: bool,
    faults: str | None,
    outs: Sequence[str],
    fail_under: str | None,
    baseline: str | None,
    max_regression: str,
    regress_on: str | None,
    as_json: bool,
    as_markdown: bool,
) -> None:
    """Run a workflow on several frameworks, in turns, and say which one suits it."""
    from talea.compare import Comparison
    from talea.compare import compare as carry_out
    from talea.compare.gates import check_gates, read_share
    from talea.compare.measures import read_measures
    from talea.plan import make_plan

    for out in outs:
        if Path(out).suffix.lower() not in _WRITTEN:
            raise UsageError(
                f"{out!r} is no file that can be written", f"one of {', '.join(_WRITTEN)}"
            )
        if not Path(out).absolute().parent.is_dir():
            raise UsageError(f"the folder of {out!r} does not exist")
    for parameter, option in (
        ("regress_on", "--regress-on"),
        ("max_regression", "--max-regression"),
    ):
        given = ctx.get_parameter_source(parameter) is not ParameterSource.DEFAULT
        if given and baseline is None:
            raise UsageError(
                f"{option} has nothing to compare with",
                "name an earlier comparison with --baseline",
            )
    held_to: dict[str, Any] = {
        "fail_under": None if fail_under is None else read_share(fail_under, most=1),
        "baseline": None if baseline is None else Comparison.read(baseline),
        "max_regression": read_share(max_regression),
        "regress_on": None if regress_on is None else read_measures(regress_on),
        "baseline_name": Path(baseline or "").name,
    }
    workflow = read_workflow(file)
    plan = make_plan(workflow)
    check_answers(plan, answers)
    addresses = [address for address, _ in answers]
    if twice := next((one for one in addresses if addresses.count(one) > 1), None):
        raise UsageError(f"{twice!r} is answered twice", "a comparison has one answer for each")
    if cases is not None and (pairs or answers):
        raise UsageError("cases have inputs and answers of their own", "leave out -i and --answer")
    with _ending_in_order():
        comparison = carry_out(
            workflow,
            None if cases else read_inputs(plan, None, pairs),
            frameworks=frameworks,
            isolate=isolate,
            requirements=requirements,
            pythons=pythons,
            cases=cases or (),
            expect=expect or (),
            answers=dict(answers),
            repeat=repeat,
            warmup=warmup,
            seed=seed,
            timeout=timeout,
            tools=tools,
            model=model or find_settings(file).model,
            offline=offline,
            replay=replay,
            record=record,
            record_tools=record_tools,
            faults=faults,
            allow_hosts=hosts,
            baseline=held_to["baseline"],
            regress_on=held_to["regress_on"],
            command=shlex.join(["talea", *(ctx.find_root().obj or sys.argv[1:])]),
            progress=_tell,
        )
    if stands_on_terminal():
        click.echo("\r\x1b[K", nl=False, err=True)
    gates = check_gates(comparison, **held_to)
    for out in outs:
        _write(comparison, gates, out)
    if as_json:
        click.echo(comparison.to_json())
        for note in comparison.notes:  # Elsewhere the answer has them.
            say(clean(f"Note: {note}"))
    elif as_markdown:
        click.echo(comparison.to_markdown(gates))
    else:
        click.echo(clean(_table(comparison)))
        click.echo()
        for sentence in comparison.answer:
            click.echo(wrapped(clean(sentence)))
    for gate in gates:
        say(clean(f"{'passed' if gate.passed else 'FAILED'}  {gate.words}"))
    for out in outs:
        say(f"Written: {out}")
    if record is not None and not comparison.notes:
        say(f"Recorded: {record}")
    if comparison.interrupted:
        ctx.exit(INTERRUPTED)
    # One that failed as it was to has passed.
    succeeded = any(run.succeeded or run.passed for run in comparison.runs)
    fine = succeeded and not comparison.notes and all(gate.passed for gate in gates)
    ctx.exit(0 if fine else FAILED)


@contextmanager
def _ending_in_order() -> Generator[None]:
    """Take a request to end as Ctrl-C: what has been measured is told."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell(text: str) -> None:
    """Tell of a step: on one line of a terminal; elsewhere only of those that take long."""
    if stands_on_terminal():
        click.echo(f"\r\x1b[K{clean(text)}", nl=False, err=True)
    elif text.startswith(("starting", "making")):
        say(clean(text))


def _write(comparison: Comparison, gates: Sequence[Gate], out: str) -> None:
    from talea.compare.junit import to_junit

    make: dict[str, Any] = {
        ".xml": lambda: to_junit(comparison, gates),
        ".html": comparison.to_html,
        ".json": comparison.to_json,
        ".md": lambda: comparison.to_markdown(gates),
    }
    try:
        Path(out).write_text(make[Path(out).suffix.lower()](), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from error


def _table(comparison: Comparison) -> str:
    """Give the table: without columns that say nothing, and no wider than the terminal."""
    columns = _columns(comparison.rows, replayed=comparison.settings.mode == "replay")
    for name in _SPARED:
        shown = table([tuple(columns), *zip(*columns.values(), strict=True)])
        if fits(shown):
            break
        columns.pop(name, None)
    return table([tuple(columns), *zip(*columns.values(), strict=True)])


def _columns(figures: Sequence[Figures], *, replayed: bool) -> dict[str, list[str]]:
    """Give each column. In a replay tokens and cost are those of the recording, the same for all:
    there it is the characters sent that tell frameworks apart."""
    from talea.compare.wording import dollars

    checked = any(one.checks for one in figures)
    read: dict[str, Callable[[Figures], str]] = {
        "FRAMEWORK": lambda one: one.key,
        "PASSED" if checked else "OK": lambda one: (
            f"{one.passed if checked else one.succeeded}/{one.runs}"
        ),
        "TIME": lambda one: _time(one.duration and one.duration.p50),
        "MODEL": lambda one: _time(one.split and one.split.model),
        "TOOLS": lambda one: _time(one.split and one.split.tool),
        "WAITING": lambda one: _time(one.split and one.split.waiting),
        "OVERHEAD": lambda one: _time(_overhead(one)),
        "CPU": lambda one: _time(one.cpu and one.cpu.p50),
        "MEMORY": lambda one: f"{one.peak_memory / 1e6:.0f} MB" if one.peak_memory else "-",
        "CALLS": lambda one: _number(one.model_calls),
        "PROMPTS": lambda one: (
            "-" if one.prompt_characters is None else f"{one.prompt_characters:,.0f} chars"
        ),
        "TOKENS": lambda one: f"{_number(one.input_tokens)}+{_number(one.output_tokens)}",
        "COST": lambda one: dollars(one.cost),
    }
    asked = any(one.model_calls for one in figures)
    says = {
        "TOOLS": any(one.split and one.split.tool >= _SHOWN for one in figures),
        "WAITING": any(one.split and one.split.waiting >= _SHOWN for one in figures),
        "CALLS": asked and replayed,
        "PROMPTS": asked and replayed,
        "TOKENS": asked and not replayed,
        "COST": any(one.cost for one in figures) and not replayed,
    }
    return {name: [*map(give, figures)] for name, give in read.items() if says.get(name, True)}


def _overhead(one: Figures) -> float | None:
    """Give what a framework takes itself: without a model's time where that was measured apart."""
    if one.overhead is not None:
        return one.overhead.p50
    return one.framework_seconds and one.framework_seconds.p50


def _time(value: float | None) -> str:
    return "-" if value is None else seconds(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
