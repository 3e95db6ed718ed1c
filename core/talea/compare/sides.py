"""The pages of `talea view` beside the reports: the list, and two comparisons side by side."""

from __future__ import annotations

from collections.abc import Container, Sequence
from urllib.parse import urlencode

from talea.compare import figures, prompts
from talea.compare.agreement import Agreement
from talea.compare.background import colours_of, mode_of
from talea.compare.estimates import Difference
from talea.compare.page import Html, Page, counted, document, header, join, tag, title
from talea.compare.percase import level
from talea.compare.record import Comparison, Contender
from talea.compare.shelf import Entry
from talea.compare.statistics import OUTPUTS, Figures, Summary, summarise

Named = tuple[str, Comparison]
_FEW = 8
"""So many files are found without a search."""
_WALL = frozenset({"duration", "framework", "overhead"})
"""Times by the clock, in which there is all else that a machine did in a session."""


def make_list(
    folder: str, entries: Sequence[Entry], search: str = "", repeated: Container[str] = ()
) -> Page:
    """List a folder's comparisons, to read one or to choose two. `search` is what found them;
    those of workflows that are `repeated` go by their files' names."""
    whole = [entry for entry in entries if entry.broken is None]
    broken = len(entries) - len(whole)
    facts = {"Comparisons": f"{len(whole):,}"} | ({"Broken files": f"{broken:,}"} if broken else {})
    return document(
        f"Comparisons in {folder}",
        header(folder, "Comparisons in", None, facts),
        tag(
            "main",
            _search(search) if search or len(entries) > _FEW else None,
            _shelf(entries, whole, repeated) if entries else _nothing(search),
            class_="wide stack",
            id="main",
        ),
        forms=True,
    )


def _shelf(entries: Sequence[Entry], whole: Sequence[Entry], repeated: Container[str]) -> Html:
    listed = tag(
        "ul",
        *(
            _broken(entry)
            if entry.broken
            else _item(entry, whole, by_file=entry.workflow in repeated)
            for entry in entries
        ),
        class_="shelf",
    )
    choose = tag("div", tag("button", "Show A and B side by side", type="submit"), class_="bottom")
    return tag("form", listed, choose if len(whole) > 1 else None, action="/sides", method="get")


def _search(search: str) -> Html:
    field = tag(
        "div",
        tag("label", "Search", for_="search"),
        tag(
            "input",
            type="search",
            id="search",
            name="search",
            value=search or None,
            placeholder="Workflow, framework, file, day",
        ),
        class_="field",
    )
    every = tag("a", "All", href="/", class_="small") if search else None
    find = tag("button", "Find", type="submit")
    return tag("form", field, find, every, action="/", method="get", class_="controls")


def _nothing(search: str) -> Html:
    if search:
        return tag("p", "None of the comparisons has these words.", class_="soft card pad")
    return tag(
        "div",
        tag("p", "No comparisons are here yet. This makes one:"),
        tag("pre", "talea compare FILE --out report.html", tabindex=0),
        tag("p", "Then load this page again.", class_="soft small"),
        class_="card pad stack",
    )


def address(name: str) -> str:
    """Give the address of a report."""
    return f"/report?{urlencode({'name': name})}"


def _item(entry: Entry, whole: Sequence[Entry], *, by_file: bool) -> Html:
    names = (entry.name, entry.workflow) if by_file else (entry.workflow, entry.name)
    facts = [
        entry.began[:16].replace("T", " "),
        ", ".join(entry.keys),
        entry.mode,
        counted(entry.runs, "run"),
    ]
    chips = [
        tag("span", f"{entry.failed} failed", class_="chip bad") if entry.failed else None,
        tag("span", f"{entry.lacking} not made", class_="chip odd") if entry.lacking else None,
    ]
    pick = [_radio(side, entry, whole) for side in ("A", "B")] if len(whole) > 1 else []
    first, *rest = entry.answer or ("",)
    return tag(
        "li",
        tag(
            "div",
            tag("h2", tag("a", names[0], href=address(entry.name))),
            tag(
                "p",
                *(join(tag("span", fact), " ") for fact in (names[1], *facts)),
                *chips,
                class_="facts",
            ),
        ),
        tag("div", *pick, class_="pick"),
        tag("p", tag("b", first), " ", *(f"{one} " for one in rest), class_="told"),
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
            tag("a", name, href=address(name)),
            f", {comparison.outline.name}, {comparison.began[:16].replace('T', ' ')},"
            f" {mode_of(comparison)}",
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
    if mode_of(one) != mode_of(other):
        told.append(f"A had {mode_of(one)}, B {mode_of(other)}.")
    if not {case.id for case in one.cases} & {case.id for case in other.cases}:
        told.append("They have no case in common: their figures stand here, and are not compared.")
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
        tag(
            "caption",
            tag(
                "span",
                "Medians of the runs that succeeded. Wall times are of two sessions: what else the"
                " machine did in each is in them, and in no interval.",
            ),
        ),
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
    joined = _joined(key, comparisons)
    common = {case.id for case in comparisons[0].cases} & {case.id for case in comparisons[1].cases}
    differences = joined.of("b").against if common and len(joined.figures) > 1 else {}
    replayed = any(one.settings.mode == "replay" for one in comparisons)
    listed = (_rows(found, added, replayed=replayed) for found, added in sides)
    for rows in zip(*listed, strict=True):
        label, metric = rows[0][0], rows[0][1]
        cells = [main for _, _, main in rows]
        if not any(cells):
            continue
        found = differences.get(metric or "")
        known = found if found and found.verdict != "unknown" and all(cells) else None
        told = _told(known, wall=metric in _WALL) if known else "–"
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
    return tag(
        "tbody",
        tag("tr", name, role="row"),
        *body,
        _outputs(joined.agreement),
        class_="group",
        role="rowgroup",
    )


def _told(found: Difference, *, wall: bool) -> Html:
    """Tell a difference. One of wall times is not called better or worse: it may be the load's."""
    if not wall:
        return tag("span", found.words, class_=figures.kind(found))
    return join(
        tag("span", found.words, class_="apart"),
        tag("span", "wall times of two sessions", class_="more"),
    )


def _outputs(agreement: dict[str, Agreement]) -> Html | None:
    """Say whether the outputs are the same in both, and which tasks' are not."""
    whole = agreement[OUTPUTS]
    if whole.level == "none":
        return None
    apart = [name for name, one in agreement.items() if one.level in {"structural", "different"}]
    tasks = ", ".join(name for name in apart if name != OUTPUTS)
    return tag(
        "tr",
        tag("th", "Outputs", scope="row", role="rowheader"),
        tag("td", role="cell"),
        tag("td", role="cell"),
        tag(
            "td",
            level(whole),
            tag("span", f"tasks that differ: {tasks}", class_="more") if tasks else None,
            role="cell",
        ),
        role="row",
    )


def _rows(
    found: Figures | None, added: dict[str, float], *, replayed: bool
) -> list[tuple[str, str | None, str | None]]:
    """Give each figure as its name, the metric it is compared by, and what to write."""
    return [
        (row.name, row.metric, row.main(found) if found else None)
        for rows in figures.rows(added, replayed=replayed).values()
        for row in rows
    ]


def _joined(key: str, comparisons: tuple[Comparison, Comparison]) -> Summary:
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
            "overhead": tuple(
                run.model_copy(update={"framework": side})
                for side, comparison in (("a", one), ("b", other))
                for run in comparison.overhead
                if run.framework == key
            ),
            "cases": tuple({case.id: case for case in (*one.cases, *other.cases)}.values()),
        }
    )
    return summarise(joined)
