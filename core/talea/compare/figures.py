"""The table framework × figures, for a report and for two comparisons side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from talea.compare.estimates import Difference, Spread
from talea.compare.page import Html, join, tag
from talea.compare.record import Comparison, Split
from talea.compare.statistics import METRICS, Figures, Summary, against
from talea.compare.wording import dollars, seconds

SHAPES = (
    "M1 5a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "M1.5 1.5h7v7h-7z",
    "M5 0.8L9.4 8.8H0.6z",
    "M5 0.4L9.6 5L5 9.6L0.4 5z",
    "M3.4 0.8h3.2v2.6h2.6v3.2h-2.6v2.6h-3.2v-2.6h-2.6v-3.2h2.6z",
    "M5 9.2L0.6 1.2H9.4z",
)
"""One for each colour of the style: what tells frameworks apart where colours do not. Where colours
begin anew, each has the next shape."""
FEW = 3
"""So many frameworks stand beside each other on a phone."""
_RECORDED = frozenset({"input_tokens", "output_tokens", "cost"})
"""What a replay has as it was recorded, whatever a framework makes of the prompts."""


@dataclass(slots=True, frozen=True)
class Row:
    """A figure: its name, what to write for a framework, and the metric it is compared by."""

    name: str
    main: Callable[[Figures], str | None]
    more: Callable[[Figures], str | None] = lambda _: None
    metric: str | None = None


def rows(added: dict[str, float], *, replayed: bool = False) -> dict[str, list[Row]]:
    """Give all figures by group. `added` counts what in a run's prompts the workflow does not say.

    Where they are `replayed`, tokens and cost are what was recorded, and tell nothing apart.
    """
    groups = _rows(added)
    if not replayed:
        return groups
    return {name: [_recorded(row) for row in members] for name, members in groups.items()}


def _recorded(row: Row) -> Row:
    if row.metric not in _RECORDED:
        return row
    return replace(row, name=f"{row.name}, as recorded", metric=None)


def _rows(added: dict[str, float]) -> dict[str, list[Row]]:
    return {
        "Outcome": [
            Row("Runs that succeeded", lambda f: f"{f.succeeded} of {f.runs}", _errors),
            Row(
                "Runs that passed all checks",
                lambda f: f"{f.passed} of {f.runs}" if f.checks else None,
            ),
            Row("Retries", lambda f: f"{f.retries:,}"),
        ],
        "Time of a run": [
            Row("Duration", lambda f: _middle(f.duration), lambda f: _tail(f.duration), "duration"),
            Row(
                "In the framework itself",
                lambda f: _middle(f.framework_seconds),
                lambda f: _tail(f.framework_seconds),
                "framework",
            ),
            Row(
                "Overhead: models and tools take no time",
                lambda f: _middle(f.overhead),
                lambda f: _tail(f.overhead),
                "overhead",
            ),
            Row("CPU of its process", lambda f: _middle(f.cpu), metric="cpu"),
        ],
        "Before the first run": [
            Row(
                "Import",
                lambda f: _seconds(f.import_seconds),
                lambda f: f"holds {_memory(f.import_memory)}" if f.import_memory else None,
            ),
            Row("Compile", lambda f: _seconds(f.compile_seconds)),
            Row("First run", lambda f: _seconds(f.first_run)),
            Row("Peak memory", lambda f: _memory(f.peak_memory), metric="peak_memory"),
        ],
        "Use of models in a run": [
            Row("Model calls", lambda f: _number(f.model_calls), metric="model_calls"),
            Row("Tokens in", lambda f: _number(f.input_tokens), metric="input_tokens"),
            Row("Tokens out", lambda f: _number(f.output_tokens), metric="output_tokens"),
            Row(
                "Prompt characters",
                lambda f: _number(f.prompt_characters),
                metric="prompt_characters",
            ),
            Row(
                "Not in the workflow: by framework or plugin",
                lambda f: _number(added.get(f.key)),
                lambda f: _growth(f) if added.get(f.key) else None,
            ),
            Row("Cost", lambda f: dollars(f.cost) if f.cost else None, metric="cost"),
        ],
    }


def table(
    comparison: Comparison, summary: Summary, added: dict[str, float], colours: dict[str, int]
) -> Html:
    """Make the table: a column for each framework, with how it differs from the reference."""
    figures = summary.figures
    heads = [
        tag(
            "th",
            who(one.key, colours),
            _reference(one.key, summary),
            scope="col",
            role="columnheader",
        )
        for one in figures
    ]
    replayed = comparison.settings.mode == "replay"
    groups = [
        _group(name, shown, len(figures))
        for name, members in rows(added, replayed=replayed).items()
        if (shown := _shown(name, members, figures, colours))
    ]
    every = [one.against for one in figures]
    note = _note(summary.reference or "", every, summary.confidence)
    few = f" few n{len(figures)}" if len(figures) <= FEW else ""
    head = tag("tr", tag("td", role="cell", class_="corner"), *heads, role="row")
    return tag(
        "div",
        tag(
            "table",
            tag("caption", tag("span", note)),
            tag("thead", head, role="rowgroup"),
            *groups,
            class_=f"figures{few}",
            role="table",
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label="Figures by framework",
    )


def references(comparison: Comparison, summary: Summary) -> dict[str, Any]:
    """Give what the table says by any framework that others can be compared with: the words above
    it, and for each other one its differences by metric, with the classes that they have."""
    told: dict[str, Any] = {}
    for reference in (one.key for one in summary.figures if one.succeeded):
        found = {
            one.key: one.against
            if reference == summary.reference
            else against(comparison, one.key, reference, METRICS)
            for one in summary.figures
            if one.key != reference and one.succeeded
        }
        told[reference] = {
            "note": _note(reference, list(found.values()), summary.confidence),
            "against": {
                key: {metric: [kind(one), one.words] for metric, one in by.items() if _says(one)}
                for key, by in found.items()
            },
        }
    return told


def _note(reference: str, every: Sequence[dict[str, Difference]], confidence: float) -> str:
    """Say what the table's figures are."""
    note = "Medians of the runs that succeeded."
    found = [one for by in every for one in by.values()]
    if any(one.ratio is not None for one in found):
        note += (
            f" Differences are multiples of {reference}, with the interval that holds the true one"
            f" with {_percent(confidence)}."
        )
    few = next((one.words for one in found if one.verdict == "too_few"), None)
    return f"{note} Of times: {few}." if few else note


def _says(found: Difference) -> bool:
    """Say whether a difference is to be told in its cell: what holds of all is told once, above the
    table."""
    return found.verdict not in {"too_few", "unknown"}


def _shown(
    group: str, members: Sequence[Row], figures: Sequence[Figures], colours: dict[str, int]
) -> list[Html]:
    """Make the rows that say something of any."""
    shown = [_row(row, figures) for row in members if any(row.main(one) for one in figures)]
    if group == "Time of a run" and any(one.split for one in figures):
        shown.append(_split_row(figures, colours))
    return shown


def _group(name: str, shown: Sequence[Html], columns: int) -> Html:
    head = tag("th", name, colspan=columns + 1, scope="colgroup", role="cell")
    return tag("tbody", tag("tr", head, role="row"), *shown, class_="group", role="rowgroup")


def who(key: str, colours: dict[str, int], name: str = "span") -> Html:
    """Name a framework, with its colour and shape."""
    place = colours.get(key, 0)
    again, colour = divmod(place, len(SHAPES))
    shape = SHAPES[(place + again) % len(SHAPES)]
    mark = tag("svg", tag("path", d=shape), viewBox="0 0 10 10", aria_hidden="true")
    return tag(name, mark, tag("span", key), class_=f"who c{colour}")


def _reference(key: str, summary: Summary) -> Html | None:
    if key != summary.reference or len(summary.figures) == 1:
        return None
    return tag("span", " reference", class_="soft small reference")


def _row(row: Row, figures: Sequence[Figures]) -> Html:
    cells = [
        tag(
            "td",
            tag("span", main or "–", class_="main"),
            _lines(row, one, known=main is not None),
            role="cell",
        )
        for one, main in ((one, row.main(one)) for one in figures)
    ]
    head = tag("th", row.name, scope="row", role="rowheader")
    return tag("tr", head, *cells, role="row", data_metric=row.metric)


def _lines(row: Row, figures: Figures, *, known: bool) -> Html:
    more = row.more(figures)
    found = figures.against.get(row.metric) if row.metric and known else None
    return join(
        join(" ", tag("span", found.words, class_=kind(found))) if found and _says(found) else None,
        tag("span", more, class_="more") if more else None,
    )


def kind(found: Difference) -> str:
    """Give the classes that a difference is shown by."""
    return {"more": "apart worse", "less": "apart better"}.get(found.verdict, "apart")


def _split_row(figures: Sequence[Figures], colours: dict[str, int]) -> Html:
    longest = max((one.split.whole for one in figures if one.split), default=0.0) or 1.0
    cells = [
        tag(
            "td",
            *(
                [bar(one.split, longest), tag("span", shares(one.split), class_="more")]
                if one.split
                else ["–"]
            ),
            class_=f"c{colours.get(one.key, 0) % len(SHAPES)}",
            role="cell",
        )
        for one in figures
    ]
    head = tag("th", "Where it went", _legend(), scope="row", role="rowheader")
    return tag("tr", head, *cells, role="row")


def _legend() -> Html:
    """Say what the parts of a bar are."""
    swatch = partial(tag, "svg", viewBox="0 0 14 10", aria_hidden="true")
    parts = ("framework", "model", "tool", "waiting")
    return tag(
        "ul",
        *(tag("li", swatch(tag("rect", width=14, height=10, class_=one)), one) for one in parts),
        class_="legend c0",
    )


def bar(split: Split, longest: float) -> Html:
    """Draw where time went as a bar, on the scale of the longest."""
    parts: list[Html] = []
    at = 0.0
    for part in ("framework", "model", "tool", "waiting"):
        width = 100 * getattr(split, part) / longest
        parts.append(tag("rect", x=f"{at:.2f}", width=f"{width:.2f}", height=14, class_=part))
        at += width
    return tag(
        "svg",
        *parts,
        class_="bar",
        viewBox="0 0 100 14",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"Where time went: {shares(split)}",
    )


def shares(split: Split) -> str:
    """Say which share of the time went where."""
    whole = split.whole or 1.0
    parts = {name: getattr(split, name) / whole for name in Split.model_fields}
    return ", ".join(f"{name} {_percent(share)}" for name, share in parts.items() if share)


def _percent(share: float) -> str:
    return "<1\u00a0%" if 0 < share < 0.01 else f"{share:.0%}".replace("%", "\u00a0%")


def _errors(figures: Figures) -> str | None:
    return ", ".join(f"{name} {count}" for name, count in figures.errors.items()) or None


def _middle(found: Spread | None) -> str | None:
    return None if found is None else seconds(found.p50)


def _tail(found: Spread | None) -> str | None:
    if found is None or found.n < 2:
        return None
    return f"{between(found.low, found.high)}, p90 {seconds(found.p90)}"


def between(low: float, high: float) -> str:
    """Give two times, with their unit once where both have the same."""
    first, last = seconds(low), seconds(high)
    number, unit = first.rsplit(" ", 1)
    return f"{number if last.endswith(f' {unit}') else first} to {last}"


def _seconds(value: float | None) -> str | None:
    return None if value is None else seconds(value)


def _memory(value: int | None) -> str | None:
    return f"{value / 1e6:,.0f} MB" if value else None


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:,.0f}"


def _growth(figures: Figures) -> str | None:
    grown = figures.prompt_growth
    return f"prompts {grown:.1f} × the shortest" if grown and grown >= 1.05 else None
