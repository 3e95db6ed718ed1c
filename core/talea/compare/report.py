"""A comparison as one page of HTML that needs no network, and the data that such a page holds.

What it comes to stands in the page itself: it is there without scripts, and in print. The scripts
beside this module add what can be searched, opened and drawn; they make elements of text alone.
"""

from __future__ import annotations

import json
import re
from typing import Any

from talea.compare import expected, figures, percase, prompts, sharing
from talea.compare.agreement import Agreement
from talea.compare.answer import answer, terms
from talea.compare.background import colours_of, mode_of, setup, workflow
from talea.compare.glance import glance
from talea.compare.page import Html, Page, counted, data, document, header, join, tag, title
from talea.compare.record import Comparison, RunRecord
from talea.compare.statistics import OUTPUTS, Summary, measured, summarise
from talea.errors import UsageError

SCRIPTS = (
    "theme.js",
    "basics.js",
    "difference.js",
    "matrix.js",
    "timeline.js",
    "spreads.js",
    "prompts.js",
    "reference.js",
    "report.js",
)
_UNIT = re.compile(r"(?<=\d) (?=(?:×|µs|ms|s|MB)(?!\w))")
"""What stands between a number and its unit, where no line is to break."""
_OPEN = 6
"""So many problems are seen without opening, and so many runs named of each."""
_DATA = re.compile(r'<script type="application/json" id="comparison">([^<]*)</script>')
_TEXTS = re.compile(r'<script type="application/json" id="texts">([^<]*)</script>')


def to_html(comparison: Comparison) -> str:
    """Give the report: one page that needs no network."""
    return make_report(comparison).html


def make_report(comparison: Comparison, back: str | None = None, file: str | None = None) -> Page:
    """Make the report's page. `back` is the address of the list that it belongs to, as `file`."""
    summary = summarise(comparison)
    kept = prompts.readings(comparison)
    text, texts = sharing.share(comparison)
    reading = {
        "keys": [one.key for one in summary.figures],
        "agreement": _by_task(summary.agreement),
        "by_case": {case: _by_task(found) for case, found in summary.by_case.items()},
        "prompts": {order: one.as_json() for order, one in kept.items()},
        "references": figures.references(comparison, summary),
    }
    sections = {
        "summary": _summary(comparison, summary, prompts.added(kept)),
        "cases": percase.table(comparison, summary, colours_of(comparison)),
        "checks": expected.table(comparison, colours_of(comparison)),
        **(_rooms() if comparison.runs and summary.figures else {}),
        "workflow": workflow(comparison),
        "setup": setup(comparison),
    }
    shown = {name: section for name, section in sections.items() if section is not None}
    main = tag(
        "main",
        *(
            tag("section", inside, id=name, aria_labelledby=f"{name}-title")
            for name, inside in shown.items()
        ),
        id="main",
        class_="wide",
    )
    return document(
        f"{comparison.outline.name}: {names_of(comparison)} compared",
        tag("a", "To the content", href="#main", class_="skip"),
        _header(comparison, back, file),
        _ways(list(shown)),
        main,
        tag(
            "footer",
            f"Made by talea {comparison.machine.talea}. All of the data is in this file.",
            class_="wide",
        ),
        data("texts", texts),
        data("comparison", text),
        data("reading", reading),
        scripts=SCRIPTS,
    )


def _rooms() -> dict[str, Html]:
    """Make the parts that scripts fill."""
    told = {
        "Tasks": "What each task came to. Open a cell to see outputs side by side.",
        "Timeline": "When the tasks of one run were under way; all frameworks on one scale.",
        "Distributions": "Each mark is one run; a box holds the middle half, its line the median.",
        "Prompts": "What was sent. Marked is what the workflow does not say: the framework does, or"
        " talea's plugin for it.",
    }
    return {words.lower(): _room(words, about) for words, about in told.items()}


def comparison_in(html_text: str, name: str) -> str:
    """Give the JSON text of the comparison that a report holds. Raises `UsageError` without one."""
    found = _DATA.search(html_text)
    if found is None:
        raise UsageError(
            f"{name} holds no comparison",
            "give what `talea compare --out` wrote: a report (.html) or its data (.json)",
        )
    texts = _TEXTS.search(html_text)
    if texts is None:
        return found[1]
    try:
        return sharing.restore(found[1], json.loads(texts[1]))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise UsageError(f"{name} holds no comparison that can be read: {error}") from error


def names_of(comparison: Comparison) -> str:
    """Name who was compared."""
    return ", ".join(one.key for one in comparison.contenders)


def when(comparison: Comparison) -> str:
    """Give the moment at which it began, to the minute, as it is written there."""
    return comparison.began[:16].replace("T", " ")


def _header(comparison: Comparison, back: str | None, file: str | None) -> Html:
    cases, repeat = len(comparison.cases), comparison.settings.repeat
    made, meant = len(comparison.runs), cases * repeat * len(measured(comparison))
    each = f"{counted(cases, 'case')} × {counted(repeat, 'repeat')}"
    facts = ({"File": file} if file else {}) | {
        "When": when(comparison),
        "Runs": f"{made} ({each})" if made == meant else f"{made} of {meant} ({each})",
        "Models": mode_of(comparison),
        **({"Faults": _disturbed(comparison)} if comparison.settings.faults else {}),
    }
    return header(
        comparison.outline.name,
        tag("a", "All comparisons", href=back) if back else "Frameworks compared on",
        comparison.outline.description,
        facts,
    )


def _disturbed(comparison: Comparison) -> str:
    """Say how many calls went wrong on purpose."""
    calls = [call for run in comparison.runs for call in run.calls]
    wrong = sum(call.fault is not None for call in calls)
    every = f"{counted(len(calls), 'model call')} were disturbed"
    return f"{wrong:,} of {every} by {comparison.settings.faults}"


def _ways(names: list[str]) -> Html:
    links = [tag("li", tag("a", name.capitalize(), href=f"#{name}")) for name in names]
    return tag(
        "nav", tag("ul", *links, class_="wide"), class_="ways", aria_label="Parts of the report"
    )


def _room(words: str, about: str) -> Html:
    """Make a part that a script fills."""
    lack = tag("noscript", tag("p", "This part needs scripts.", class_="soft card pad"))
    return join(title(words, about), tag("div", lack, class_="room stack"))


def _summary(comparison: Comparison, summary: Summary, added: dict[str, float]) -> Html:
    colours = colours_of(comparison)
    table = tag("div", figures.table(comparison, summary, added, colours), class_="card")
    return join(
        title("Summary"),
        tag(
            "div",
            _answer(comparison, summary),
            *(tag("p", note, class_="notice") for note in _untold(comparison, summary)),
            *(
                tag("p", tag("b", one.key), f" did not take part: {one.refused}", class_="notice")
                for one in comparison.contenders
                if one.refused is not None and not comparison.of(one.key)
            ),
            _failures(comparison),
            glance(summary, colours, replayed=comparison.settings.mode == "replay"),
            table if summary.figures else None,
            class_="stack",
        ),
    )


def _answer(comparison: Comparison, summary: Summary) -> Html:
    """Say what it comes to; on what terms, in smaller print."""
    told, small = answer(comparison, summary), terms(comparison)
    first, *rest = [_UNIT.sub("\u00a0", sentence) for sentence in told if sentence != small]
    return tag(
        "div",
        tag("p", first),
        tag("ul", *(tag("li", sentence) for sentence in rest)) if rest else None,
        tag("p", small, class_="soft small") if small else None,
        class_="card answer",
    )


def _untold(comparison: Comparison, summary: Summary) -> list[str]:
    """Give the notes that the answer, which tells of an interrupt, does not hold."""
    told = " ".join(answer(comparison, summary))
    return [note for note in comparison.notes if note.rstrip(".") not in told]


def _failures(comparison: Comparison) -> Html | None:
    """List what runs failed of, each with which ones did."""
    failed: dict[tuple[str, str], list[RunRecord]] = {}
    for run in comparison.runs:
        if not run.succeeded:
            failed.setdefault((run.framework, _problem(run)), []).append(run)
    if not failed:
        return None
    lines = [
        tag(
            "li",
            tag("b", f"{key}: "),
            problem,
            tag("span", _named(runs, comparison), class_="more"),
        )
        for (key, problem), runs in failed.items()
    ]
    head = f"{counted(sum(map(len, failed.values())), 'run')} did not succeed"
    inside = tag(
        "details",
        tag("summary", head),
        tag("ul", *lines, class_="plain small failures"),
        open=len(failed) <= _OPEN,
    )
    return tag("div", inside, class_="card pad")


def _named(runs: list[RunRecord], comparison: Comparison) -> str:
    """Name some of one framework's runs."""
    if len(runs) == len(comparison.of(runs[0].framework)) > 1:
        return f"all {len(runs)} runs"
    several = len(comparison.cases) > 1
    told = [
        f"{run.case}, repeat {run.repeat + 1}" if several else f"repeat {run.repeat + 1}"
        for run in runs
    ]
    more = [f"{len(told) - _OPEN} more"] if len(told) > _OPEN else []
    return "; ".join([*told[:_OPEN], *more])


def _problem(run: RunRecord) -> str:
    if run.error is None:
        return run.status.replace("_", " ")
    place = f" at {run.error.address}" if run.error.address else ""
    return f"{run.error.type}{place}: {run.error.message}"


def _by_task(found: dict[str, Agreement]) -> dict[str, Any]:
    """Give agreements by address: the workflow's own outputs are left out."""
    return {
        address.removeprefix("tasks.")
        if address == f"tasks.{OUTPUTS}"
        else address: one.model_dump()
        for address, one in found.items()
        if address != OUTPUTS
    }
