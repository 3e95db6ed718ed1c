"""The pages of `talea view` beside the reports: the list, and two comparisons side by side."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from talea.compare import figures, prompts
from talea.compare.background import colours_of, mode_of
from talea.compare.estimates import Difference
from talea.compare.page import Html, Page, counted, document, header, join, tag, title
from talea.compare.record import Comparison, Contender
from talea.compare.shelf import Entry
from talea.compare.statistics import Figures, against, summarise

Named = tuple[str, Comparison]


def make_list(folder: str, entries: Sequence[Entry]) -> Page:
    """List a folder's comparisons, to read one or to choose two."""
    whole = [entry for entry in entries if entry.broken is None]
    body = tag(
        "ul",
        *(_broken(entry) if entry.broken else _item(entry, whole) for entry in entries),
        class_="shelf",
    )
    choose = tag("div", tag("button", "Show A and B side by side", type="submit"), class_="bottom")
    nothing = tag("p", "No comparisons are here: `talea compare --out` writes one.", class_="soft")
    inside = (
        tag("form", body, choose if len(whole) > 1 else None, action="/sides", method="get")
        if entries
        else nothing
    )
    return document(
        f"Comparisons in {folder}",
        header("Comparisons", folder, None, {"Here": counted(len(whole), "comparison")}),
        tag("main", inside, class_="wide", id="main"),
        forms=True,
    )


def address(name: str) -> str:
    """Give the address of a report."""
    return f"/report?{urlencode({'name': name})}"


def _item(entry: Entry, whole: Sequence[Entry]) -> Html:
    facts = [
        entry.began[:16].replace("T", " "),
        ", ".join(entry.keys),
        entry.mode,
        counted(entry.runs, "run"),
    ]
    pick = [_radio(side, entry, whole) for side in ("A", "B")] if len(whole) > 1 else []
    return tag(
        "li",
        tag(
            "div",
            tag("h2", tag("a", entry.workflow, href=address(entry.name))),
            tag("p", *(join(tag("span", fact), " ") for fact in facts), class_="facts"),
        ),
        tag("div", *pick, class_="pick"),
        tag("p", " ".join(entry.answer), class_="told"),
        tag("p", entry.name, class_="soft small"),
        class_="card pad",
    )


def _radio(side: str, entry: Entry, whole: Sequence[Entry]) -> Html:
    """Offer a comparison as one of two; the last two are chosen to begin with, the older as A."""
    chosen = whole[1 if side == "A" else 0] is entry
    choice = tag(
        "input",
        type="radio",
        name=side.lower(),
        value=entry.name,
        checked=chosen,
        aria_label=f"{entry.name} as {side}",
    )
    return tag("label", choice, side)


def _broken(entry: Entry) -> Html:
    return tag(
        "li",
        tag("h2", entry.name),
        tag("p", entry.broken, class_="told"),
        class_="card pad notice bad",
    )


def make_sides(one: Named, other: Named) -> Page:
    """Show the figures of two comparisons side by side, for each framework that both have."""
    names = {"A": one, "B": other}
    colours = colours_of(one[1]) | {
        key: place + len(one[1].contenders)
        for place, key in enumerate(colours_of(other[1]))
        if key not in colours_of(one[1])
    }
    heads = [
        tag(
            "li",
            tag("b", f"{side}: "),
            tag("a", comparison.outline.name, href=address(name)),
            f", {comparison.began[:16].replace('T', ' ')}, {mode_of(comparison)} ({name})",
        )
        for side, (name, comparison) in names.items()
    ]
    both = [key for key in colours_of(one[1]) if key in colours_of(other[1])]
    table = _table(one[1], other[1], both, colours) if both else None
    return document(
        f"{one[0]} and {other[0]} side by side",
        header("Side by side", tag("a", "All comparisons", href="/"), None, {}),
        tag(
            "main",
            tag("ul", *heads, class_="plain"),
            *(tag("p", words, class_="notice") for words in _warnings(one[1], other[1], both)),
            title("Figures", "Multiples are B's figure as a multiple of A's, by case and repeat."),
            table or tag("p", "No framework is in both.", class_="soft card pad"),
            class_="wide stack",
            id="main",
        ),
    )


def _warnings(one: Comparison, other: Comparison, both: Sequence[str]) -> list[str]:
    """Say what makes it less than fair to set the two beside each other."""
    told: list[str] = []
    if one.machine.model_copy(update={"talea": ""}) != other.machine.model_copy(
        update={"talea": ""}
    ):
        told.append("They were made on different machines: their times say little of each other.")
    if one.outline.source != other.outline.source:
        told.append("The workflow is not the same text in both.")
    if one.settings.mode != other.settings.mode:
        told.append(f"A had {mode_of(one)}, B {mode_of(other)}.")
    for side, mine, its in (("A", one, other), ("B", other, one)):
        cases = {case.id for case in mine.cases} - {case.id for case in its.cases}
        if cases:
            told.append(
                f"Only {side} has {counted(len(cases), 'case')}: {', '.join(sorted(cases))}."
            )
        if more := [key for key in colours_of(mine) if key not in both]:
            told.append(f"Only {side} has {', '.join(more)}.")
    return told


def _table(
    one: Comparison, other: Comparison, both: Sequence[str], colours: dict[str, int]
) -> Html:
    sides = [
        (
            {found.key: found for found in summarise(side).figures},
            prompts.added(prompts.readings(side)),
        )
        for side in (one, other)
    ]
    head = tag(
        "tr",
        tag("td", role="cell", class_="corner"),
        *(tag("th", side, scope="col", role="columnheader") for side in ("A", "B", "Difference")),
        role="row",
    )
    groups = [
        _group(key, [(found.get(key), added) for found, added in sides], (one, other), colours)
        for key in both
    ]
    table = tag(
        "table",
        tag("caption", tag("span", "Medians of the runs that succeeded.")),
        tag("thead", head, role="rowgroup"),
        *groups,
        class_="figures few n3",
        role="table",
    )
    return tag(
        "div",
        table,
        class_="scroll card",
        tabindex=0,
        role="region",
        aria_label="Figures of both comparisons by framework",
    )


def _group(
    key: str,
    sides: Sequence[tuple[Figures | None, dict[str, float]]],
    comparisons: tuple[Comparison, Comparison],
    colours: dict[str, int],
) -> Html:
    """Make the rows of a framework: each figure of both, and how they differ."""
    name = tag("th", figures.who(key, colours), colspan=4, scope="colgroup", role="cell")
    body: list[Html] = []
    differences = _differences(key, comparisons)
    for rows in zip(*(_rows(found, added) for found, added in sides), strict=True):
        label, metric = rows[0][0], rows[0][1]
        cells = [main for _, _, main in rows]
        if not any(cells):
            continue
        found = differences.get(metric or "")
        told = tag("span", found.words, class_=figures.kind(found)) if found and all(cells) else "–"
        body.append(
            tag(
                "tr",
                tag("th", label, scope="row", role="rowheader"),
                *(
                    tag("td", tag("span", main or "–", class_="main"), role="cell")
                    for main in cells
                ),
                tag("td", told, role="cell"),
                role="row",
            )
        )
    return tag("tbody", tag("tr", name, role="row"), *body, class_="group", role="rowgroup")


def _rows(
    found: Figures | None, added: dict[str, float]
) -> list[tuple[str, str | None, str | None]]:
    """Give each figure as its name, the metric it is compared by, and what to write."""
    return [
        (row.name, row.metric, row.main(found) if found else None)
        for rows in figures.rows(added).values()
        for row in rows
    ]


def _differences(key: str, comparisons: tuple[Comparison, Comparison]) -> dict[str, Difference]:
    """Compare a framework with itself: as if it were two that took part in one comparison."""
    one, other = comparisons
    joined = one.model_copy(
        update={
            "contenders": (Contender(key="a", framework=key), Contender(key="b", framework=key)),
            "runs": tuple(
                run.model_copy(update={"framework": side})
                for side, comparison in (("a", one), ("b", other))
                for run in comparison.of(key)
            ),
        }
    )
    return against(joined, "b", "a")
