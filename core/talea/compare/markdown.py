"""A comparison as Markdown for a pull request: the answer, the figures, and what went wrong.

Whatever a model, a tool or a server wrote is shown as text. It cannot open HTML, a table's cell, a
link or code, and names nobody: GitHub would write to whomever an `@name` in it happens to be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from talea.compare.agreement import Agreement
from talea.compare.answer import answer
from talea.compare.estimates import Rate
from talea.compare.gates import Gate
from talea.compare.record import Comparison
from talea.compare.statistics import OUTPUTS, Figures, Summary, summarise
from talea.compare.wording import dollars, one_line, seconds

ROWS = 12
"""Of a table of tasks or checks; a comment on a pull request is read on a phone, too."""
_CELL = 80
_SENTENCE = 600
_GATES = 20
_TOLD = ("talea", "python")
"""Versions that are told elsewhere."""
_MARKS = re.compile(r"([\\`*_\[\]|~#!$])")
_BREAK = "\u200b"


def to_markdown(comparison: Comparison, gates: Sequence[Gate] = ()) -> str:
    """Give a comparison, and the gates it was held to, as GitHub's Markdown; a few screens, however
    large it is."""
    summary = summarise(comparison)
    parts = [
        [f"### {escaped(comparison.outline.name)}: {_versus(comparison)}"],
        [f"- {escaped(sentence, _SENTENCE)}" for sentence in answer(comparison, summary)],
        _held(gates),
        _frameworks(summary, replayed=comparison.settings.mode == "replay"),
        _tasks(summary),
        _checks(summary.figures),
        _more(summary, replayed=comparison.settings.mode == "replay"),
        _details(comparison),
        _passed(gates),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def escaped(text: str, limit: int = _CELL) -> str:
    """Give a text of others as Markdown that shows it: on one line, no longer than `limit`."""
    plain = one_line(text, limit).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    plain = _MARKS.sub(r"\\\1", plain)
    # Neither escapes nor entities keep GitHub from a mention, an issue's number or a bare address;
    # a space without width does.
    plain = re.sub(r"([@#])(?=\w)", rf"\1{_BREAK}", plain)
    return re.sub(r"(?i)(https?|ftp|mailto|xmpp|www)(?=[:.])", rf"\1{_BREAK}", plain)


def _versus(comparison: Comparison) -> str:
    return " against ".join(escaped(one.key) for one in comparison.contenders) or "nothing compared"


def _held(gates: Sequence[Gate]) -> list[str]:
    """Say which gates failed, and against what they were held."""
    if not gates:
        return []
    failed = [gate for gate in gates if not gate.passed]
    told = (
        f"**{len(failed)} of {len(gates)} gates failed:**"
        if failed
        else f"**All {len(gates)} gates passed.**"
        if len(gates) > 1
        else "**The gate passed.**"
    )
    shown = [*failed, *(gate for gate in gates if gate.passed and gate.framework is None)]
    lines = [
        f"- {'passed' if gate.passed else '**FAILED**'} {escaped(gate.words, _SENTENCE)}"
        for gate in shown[:_GATES]
    ]
    more = [f"- and {len(shown) - _GATES} more"] if len(shown) > _GATES else []
    return [told, "", *lines, *more]


def _passed(gates: Sequence[Gate]) -> list[str]:
    """List the gates of frameworks that passed, out of the way."""
    passed = [gate for gate in gates if gate.passed and gate.framework is not None]
    if not passed:
        return []
    lines = [f"- {escaped(gate.words, _SENTENCE)}" for gate in passed[: 2 * _GATES]]
    more = [f"- and {len(passed) - 2 * _GATES} more"] if len(passed) > 2 * _GATES else []
    return [
        "<details><summary>Gates that passed</summary>", "", *lines, *more, "", "</details>",
    ]  # fmt: skip


def _frameworks(summary: Summary, *, replayed: bool) -> list[str]:
    """Give what decides, in few columns. In a replay tokens and cost are those of the recording."""
    if not summary.figures:
        return []
    checked = any(one.checks for one in summary.figures)
    again = any(one.overhead for one in summary.figures)
    header = ["", "passed" if checked else "succeeded", "time"]
    header += ["overhead" if again else "framework", "CPU", "memory"]
    header += ["prompt characters"] if replayed else ["tokens", "cost"]
    return _table(
        header,
        *(_framework(one, checked, again, replayed) for one in summary.figures),
    )


def _framework(one: Figures, checked: bool, again: bool, replayed: bool) -> list[str]:
    """Give a row. Where runs were made again without a model, those tell what a framework costs."""
    own = one.overhead if again else one.framework_seconds
    return [
        escaped(one.key),
        f"{one.passed if checked else one.succeeded}/{one.runs}",
        _seconds(one.duration and one.duration.p50),
        _seconds(own and own.p50),
        _seconds(one.cpu and one.cpu.p50),
        "–" if one.peak_memory is None else f"{one.peak_memory / 1e6:,.0f} MB",
        *(
            [_count(one.prompt_characters)]
            if replayed
            else [f"{_count(one.input_tokens)} + {_count(one.output_tokens)}", _dollars(one.cost)]
        ),
    ]


def _more(summary: Summary, *, replayed: bool) -> list[str]:
    """Give the rest of the figures, out of the way."""
    figures = summary.figures
    if not figures:
        return []
    checked = any(one.checks for one in figures)
    metric = "overhead" if any(one.overhead for one in figures) else "framework"
    recorded = " (as recorded)" if replayed else ""
    read: dict[str, Callable[[Figures], str]] = {
        "": lambda one: escaped(one.key),
        "succeeded": lambda one: f"{one.succeeded}/{one.runs}",
        "time, p90": lambda one: _seconds(one.duration and one.duration.p90),
        f"{metric} against the first": lambda one: (
            one.against[metric].words if metric in one.against else ""
        ),
        "model calls": lambda one: _count(one.model_calls),
        "prompt characters": lambda one: _count(one.prompt_characters),
        f"tokens{recorded}": lambda one: (
            f"{_count(one.input_tokens)} + {_count(one.output_tokens)}"
        ),
        f"cost{recorded}": lambda one: _dollars(one.cost),
        "import": lambda one: _seconds(one.import_seconds),
    }
    above = {"prompt characters"} if replayed else {"tokens", "cost"}
    above |= set() if checked else {"succeeded"}
    columns = {name: give for name, give in read.items() if name not in above}
    rows = [[give(one) for give in columns.values()] for one in figures]
    opening = "<details><summary>More figures</summary>"
    return [opening, "", *_table(list(columns), *rows), "", "</details>"]


def _tasks(summary: Summary) -> list[str]:
    """List the tasks that differ or failed, those that failed first."""
    figures = summary.figures
    failed = {
        address: [
            f"{escaped(one.key)}: {_errors(one.tasks[address].errors)}"
            for one in figures
            if address in one.tasks and one.tasks[address].errors
        ]
        for address in dict.fromkeys(address for one in figures for address in one.tasks)
    }
    rows: list[list[str]] = []
    for name, agreement in summary.agreement.items():
        address = name.removeprefix("tasks.") if name == f"tasks.{OUTPUTS}" else name
        errors = [] if name == OUTPUTS else failed.get(address, [])
        differs = agreement.level in ("normalised", "structural", "different")
        if not differs and not errors:
            continue
        alike = " / ".join(", ".join(map(escaped, keys)) for keys in agreement.groups.values())
        label = "*the workflow's outputs*" if name == OUTPUTS else escaped(address)
        rows.append([label, _level(agreement), alike if differs else "–", "; ".join(errors) or "–"])
    rows.sort(key=lambda row: row[3] == "–")
    return _bounded(["differ or failed", "outputs", "who agrees", "errors"], rows)


def _level(agreement: Agreement) -> str:
    if agreement.level in ("exact", "none"):
        return "–" if agreement.level == "none" else "exact"
    if agreement.unsteady:
        unsteady = ", ".join(map(escaped, agreement.unsteady))
        return f"{agreement.level} (from run to run too: {unsteady})"
    return agreement.level if agreement.blames else f"{agreement.level} (or chance: no repeats)"


def _checks(figures: Sequence[Figures]) -> list[str]:
    """List the checks, those first that failed most."""
    names = dict.fromkeys(name for one in figures for name in one.checks)
    rates = {name: [one.checks.get(name) for one in figures] for name in names}
    worst = sorted(names, key=lambda name: min(rate.share for rate in rates[name] if rate))
    rows = [[escaped(name), *(_rate(rate) for rate in rates[name])] for name in worst]
    return _bounded(["check", *(escaped(one.key) for one in figures)], rows)


def _details(comparison: Comparison) -> list[str]:
    settings, machine = comparison.settings, comparison.machine
    lines = ["<details><summary>Versions, and how to do it again</summary>", ""]
    for one in comparison.contenders:
        versions = ", ".join(
            f"{name} {version}" for name, version in one.versions.items() if name not in _TOLD
        )
        python = f"Python {one.python}" if one.python else ""
        told = ", ".join(filter(None, (versions, python))) or "nothing is known"
        lines.append(f"- {escaped(one.key)}: {escaped(told, 300)}")
    how = (
        f"{settings.mode}, {len(comparison.cases)} cases × {settings.repeat} repeats after"
        f" {settings.warmup} to warm up, seed {settings.seed}; talea {machine.talea},"
        f" {machine.system}, {machine.cores} cores; began {comparison.began}"
    )
    lines += [f"- {escaped(how, 300)}", ""]
    if settings.command:
        command = one_line(settings.command, 1000)
        longest = max((len(run) for run in re.findall("`+", command)), default=0)
        fence = "`" * max(3, longest + 1)
        lines += [f"{fence}sh", command, fence, ""]
    return [*lines, "</details>"]


def _bounded(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    more = [f"*and {len(rows) - ROWS} more*"] if len(rows) > ROWS else []
    return [*_table(header, *rows[:ROWS]), *([""] if more else []), *more]


def _table(header: Sequence[str], *rows: Sequence[str]) -> list[str]:
    return [_line(header), _line(["---"] * len(header)), *map(_line, rows)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _errors(errors: dict[str, int]) -> str:
    return ", ".join(f"{escaped(name, 40)} {n}" for name, n in errors.items())


def _rate(rate: Rate | None) -> str:
    return f"{rate.count}/{rate.n}" if rate else "–"


def _seconds(value: float | None) -> str:
    return "–" if value is None else seconds(value)


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _dollars(value: float | None) -> str:
    return "–" if value is None else escaped(dollars(value))
