"""The figures that decide most, as bars: what a reader sees before the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from talea.compare import figures
from talea.compare.estimates import Spread
from talea.compare.page import Html, tag
from talea.compare.statistics import Figures, Summary
from talea.compare.wording import dollars, seconds

_WIDTH = 100
_SHORT = 13
"""Characters of a name that stands beside its bar; longer ones stand above."""


@dataclass(slots=True, frozen=True)
class Bar:
    """A framework's figure: its bar's length, what to write, and where its runs lie."""

    value: float
    words: str
    low: float | None = None
    high: float | None = None


@dataclass(slots=True, frozen=True)
class Gauge:
    """A figure of each framework. `whole` is what a full bar stands for; else it is the largest."""

    name: str
    read: Callable[[Figures], Bar | None]
    about: str | None = None
    whole: float | None = None


def gauges(summary: Summary, *, replayed: bool) -> list[Gauge]:
    """Give the figures that say something here. Where models' answers are `replayed`, their tokens
    and cost are those of the recording, but prompts are each framework's own."""
    checked = any(one.checks for one in summary.figures)
    found = [
        Gauge("Runs that passed their checks", _passed, whole=1)
        if checked
        else Gauge("Runs that succeeded", _succeeded, whole=1),
        Gauge("Duration of a run", lambda f: _time(f.duration)),
        Gauge("Overhead", lambda f: _time(f.overhead), "models take no time")
        if any(one.overhead for one in summary.figures)
        else Gauge("In the framework itself", lambda f: _time(f.framework_seconds)),
        Gauge("Before the first run", _start, "import and compile"),
        Gauge("Peak memory", _memory),
        _use(summary, replayed=replayed),
    ]
    return [one for one in found if any(one.read(figure) for figure in summary.figures)]


def _use(summary: Summary, *, replayed: bool) -> Gauge:
    if replayed:
        return Gauge("Prompt characters of a run", _prompts)
    if any(one.cost for one in summary.figures):
        return Gauge("Cost of a run", _cost)
    return Gauge("Tokens of a run", _tokens, "in and out")


def glance(summary: Summary, colours: dict[str, int], *, replayed: bool = False) -> Html | None:
    """Draw them, side by side; where there is but one, there is nothing to see."""
    if len(summary.figures) < 2 or not any(one.runs for one in summary.figures):
        return None
    drawn = [_draw(one, summary.figures, colours) for one in gauges(summary, replayed=replayed)]
    wordy = any(len(one.key) > _SHORT for one in summary.figures)
    note = (
        "Bars are medians of the runs that succeeded; thin lines go from the least to the greatest."
    )
    return tag(
        "div",
        tag("div", *drawn, class_="gauges wordy" if wordy else "gauges"),
        tag("p", note, class_="soft small"),
        class_="card pad stack",
    )


def _draw(gauge: Gauge, every: Sequence[Figures], colours: dict[str, int]) -> Html:
    bars = {one.key: gauge.read(one) for one in every}
    ends = [max(bar.value, bar.high or 0) for bar in bars.values() if bar]
    whole = gauge.whole or max(ends) or 1
    lines = [
        tag(
            "li",
            figures.who(key, colours),
            _bar(bar, whole) if bar else None,
            tag("b", bar.words if bar else "–"),
            class_=f"c{colours.get(key, 0) % len(figures.SHAPES)}",
        )
        for key, bar in bars.items()
    ]
    about = tag("span", f" {gauge.about}", class_="soft") if gauge.about else None
    return tag("div", tag("h3", gauge.name, about), tag("ul", *lines), class_="gauge")


def _bar(bar: Bar, whole: float) -> Html:
    scale = _WIDTH / whole
    reach = (
        tag("path", d=f"M{bar.low * scale:.2f} 5H{bar.high * scale:.2f}", class_="reach")
        if bar.low is not None and bar.high is not None
        else None
    )
    return tag(
        "svg",
        tag("rect", width=_WIDTH, height=10, class_="rail"),
        tag("rect", width=f"{bar.value * scale:.2f}", height=10, class_="framework"),
        reach,
        viewBox=f"0 0 {_WIDTH} 10",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def _passed(one: Figures) -> Bar | None:
    return Bar(one.passed / one.runs, f"{one.passed} of {one.runs}") if one.runs else None


def _succeeded(one: Figures) -> Bar | None:
    return Bar(one.succeeded / one.runs, f"{one.succeeded} of {one.runs}") if one.runs else None


def _time(found: Spread | None) -> Bar | None:
    if found is None:
        return None
    ends = (found.low, found.high) if found.n > 1 else (None, None)
    return Bar(found.p50, seconds(found.p50), *ends)


def _start(one: Figures) -> Bar | None:
    if one.import_seconds is None:
        return None
    both = one.import_seconds + (one.compile_seconds or 0)
    return Bar(both, seconds(both))


def _memory(one: Figures) -> Bar | None:
    return Bar(one.peak_memory, f"{one.peak_memory / 1e6:,.0f} MB") if one.peak_memory else None


def _tokens(one: Figures) -> Bar | None:
    if one.input_tokens is None or not one.model_calls:
        return None
    both = one.input_tokens + (one.output_tokens or 0)
    return Bar(both, f"{both:,.0f}")


def _cost(one: Figures) -> Bar | None:
    return None if one.cost is None else Bar(one.cost, dollars(one.cost))


def _prompts(one: Figures) -> Bar | None:
    found = one.prompt_characters
    return Bar(found, f"{found:,.0f}") if found else None
