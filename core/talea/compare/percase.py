"""The table case × framework: whether it is the same in every case."""

from __future__ import annotations

from collections.abc import Sequence

from talea.compare import figures
from talea.compare.agreement import Agreement
from talea.compare.page import Html, counted, join, tag, title
from talea.compare.record import Comparison
from talea.compare.statistics import OUTPUTS, CaseFigures, Summary
from talea.compare.wording import seconds

_MOST = 200
_LEVELS = {
    "exact": ("same", "good"),
    "normalised": ("same but for spaces or case", "good"),
    "structural": ("same structure", "odd"),
    "different": ("different", "odd"),
    "none": ("nothing to compare", ""),
}


def table(comparison: Comparison, summary: Summary, colours: dict[str, int]) -> Html | None:
    """Make the table, where there are several cases."""
    keys = [one.key for one in summary.figures]
    if len(summary.cases) < 2 or not comparison.runs:
        return None
    metric = "duration" if comparison.settings.mode == "live" else "framework"
    body = [
        _row(case, [found[key] for key in keys], metric, summary.by_case[case].get(OUTPUTS))
        for case, found in list(summary.cases.items())[:_MOST]
    ]
    heads = [
        tag("th", one, scope="col", role="columnheader")
        for one in (*(figures.who(key, colours) for key in keys), "Outputs")
    ]
    few = f" few n{len(keys)}" if len(keys) <= figures.FEW else ""
    words = "the whole run" if metric == "duration" else "the framework itself"
    note = f"Runs that passed, and the median time of {words}"
    differences = f"; differences are multiples of {summary.reference}" if len(keys) > 1 else ""
    left = len(summary.cases) - len(body)
    return join(
        title("Cases", f"Each of the {len(summary.cases)} cases by itself."),
        tag(
            "div",
            tag(
                "table",
                tag("caption", tag("span", f"{note}{differences}.")),
                tag(
                    "thead",
                    tag(
                        "tr",
                        tag("th", "Case", scope="col", role="columnheader"),
                        *heads,
                        role="row",
                    ),
                    role="rowgroup",
                ),
                tag("tbody", *body, role="rowgroup"),
                class_=f"cases{few}",
                role="table",
            ),
            class_="scroll card",
            tabindex=0,
            role="region",
            aria_label="Cases by framework",
        ),
        tag("p", f"{counted(left, 'more case')} stand in the data alone.", class_="soft small")
        if left
        else None,
    )


def _row(case: str, found: Sequence[CaseFigures], metric: str, agreement: Agreement | None) -> Html:
    return tag(
        "tr",
        tag("th", case, scope="row", role="rowheader"),
        *(_cell(one, metric) for one in found),
        tag("td", level(agreement), role="cell", class_="agrees"),
        role="row",
    )


def _cell(one: CaseFigures, metric: str) -> Html:
    if not one.runs:
        return tag("td", "–", role="cell")
    kind, mark = (
        ("ok", "✓") if one.passed == one.runs else ("part", "!") if one.passed else ("no", "✗")
    )
    spread = one.duration if metric == "duration" else one.framework_seconds
    found = one.against.get(metric)
    return tag(
        "td",
        tag("span", mark, class_=f"mark {kind}", aria_hidden="true"),
        f" {one.passed} of {one.runs} ",
        tag("span", seconds(spread.p50), class_="main") if spread else None,
        tag("span", tag("span", found.words, class_=figures.kind(found)), class_="more")
        if found and spread and found.verdict != "too_few"
        else None,
        role="cell",
    )


def level(agreement: Agreement | None) -> Html | str:
    """Say how far outputs agree."""
    if agreement is None:
        return "–"
    words, kind = _LEVELS[agreement.level]
    return tag("span", words, class_=f"chip {kind}")
