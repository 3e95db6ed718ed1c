"""The table check × framework: what was expected of the runs, and why it was not so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from talea.compare import figures
from talea.compare.page import Html, counted, join, tag, title
from talea.compare.record import Comparison
from talea.compare.wording import dollars

_FEW_CASES = 6
"""So many cases are named."""
_FEW_REASONS = 3
"""So many reasons are seen without opening."""


@dataclass(slots=True, frozen=True)
class _Made:
    """A check as it was made of one run. `why` says what was found instead; None if it passed."""

    framework: str
    case: str
    why: str | None


def table(comparison: Comparison, colours: dict[str, int]) -> Html | None:
    """Make the table, over all cases, where there are checks. Each reason stands in it once."""
    checks: dict[str, list[_Made]] = {}
    for run in comparison.runs:
        for one in run.verdicts:
            why = None if one.passed else one.why or "failed"
            checks.setdefault(one.check, []).append(_Made(run.framework, run.case, why))
    if not checks:
        return None
    every = [made for found in checks.values() for made in found]
    keys = [key for key in colours if any(made.framework == key for made in every)]
    heads = [tag("th", figures.who(key, colours), scope="col", role="columnheader") for key in keys]
    few = f" few n{len(keys)}" if len(keys) <= figures.FEW else ""
    made = tag(
        "table",
        tag("caption", tag("span", f"How many runs passed each check.{_judged(comparison)}")),
        tag(
            "thead",
            tag("tr", tag("td", role="cell", class_="corner"), *heads, role="row"),
            role="rowgroup",
        ),
        *(_check(name, found, keys, comparison) for name, found in checks.items()),
        class_=f"verdicts{few}",
        role="table",
    )
    region = tag(
        "div",
        made,
        class_="scroll card",
        tabindex=0,
        role="region",
        aria_label="Checks by framework",
    )
    return join(title("Checks", "What was expected of the runs."), region)


def _check(name: str, found: Sequence[_Made], keys: Sequence[str], comparison: Comparison) -> Html:
    """Make the rows of a check: how many runs passed it, and below that why others did not."""
    several = len(comparison.cases) > 1
    reasons = _reasons(found, keys, comparison)
    head = tag(
        "th",
        name,
        tag("span", _in_cases({one.case for one in found}, comparison), class_="more")
        if several
        else None,
        scope="row",
        role="rowheader",
        rowspan=2 if reasons else None,
    )
    cells = [_passed([one for one in found if one.framework == key]) for key in keys]
    below = tag("td", reasons, colspan=len(keys), role="cell") if reasons else None
    return tag(
        "tbody",
        tag("tr", head, *cells, role="row"),
        tag("tr", below, role="row", class_="why") if below else None,
        role="rowgroup",
    )


def _passed(found: Sequence[_Made]) -> Html:
    if not found:
        return tag("td", "–", role="cell")
    passed = sum(one.why is None for one in found)
    kind, mark = ("ok", "✓") if passed == len(found) else ("part", "!") if passed else ("no", "✗")
    return tag(
        "td",
        tag("span", mark, class_=f"mark {kind}", aria_hidden="true"),
        f" {passed} of {len(found)}",
        role="cell",
    )


def _reasons(found: Sequence[_Made], keys: Sequence[str], comparison: Comparison) -> Html | None:
    """List why runs did not pass, each reason once, with how many runs of which framework."""
    whose: dict[str, list[_Made]] = {}
    for one in found:
        if one.why is not None:
            whose.setdefault(one.why, []).append(one)
    if not whose:
        return None
    told = [
        tag("li", why, tag("span", _whose(made, keys, comparison), class_="more"))
        for why, made in whose.items()
    ]
    seen, rest = told[:_FEW_REASONS], told[_FEW_REASONS:]
    more = tag(
        "details",
        tag("summary", counted(len(rest), "more reason")),
        tag("ul", *rest, class_="plain"),
    )
    return join(tag("ul", *seen, class_="plain"), more if rest else None)


def _whose(made: Sequence[_Made], keys: Sequence[str], comparison: Comparison) -> str:
    runs = Counter(one.framework for one in made)
    told = ", ".join(f"{key} {runs[key]}" for key in keys if key in runs)
    if len(comparison.cases) < 2:
        return told
    return f"{_in_cases({one.case for one in made}, comparison)}: {told}"


def _in_cases(made: set[str], comparison: Comparison) -> str:
    """Say which cases these are."""
    names = [case.id for case in comparison.cases if case.id in made]
    if len(names) == len(comparison.cases):
        return f"all {len(names)} cases"
    return ", ".join(names) if len(names) <= _FEW_CASES else counted(len(names), "case")


def _judged(comparison: Comparison) -> str:
    """Say what models used that judged."""
    used = [one.used for run in comparison.runs for one in run.verdicts if one.used]
    if not used:
        return ""
    calls = counted(sum(one.model_calls for one in used), "call")
    tokens = sum(one.input_tokens for one in used), sum(one.output_tokens for one in used)
    costs = [one.cost for one in used if one.cost is not None]
    cost = f", {dollars(sum(costs))}" if len(costs) == len(used) else ""
    return (
        f" A model judged, in {calls} with {tokens[0]:,} tokens in and {tokens[1]:,} out{cost};"
        " that counts for no framework."
    )
