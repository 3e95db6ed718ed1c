"""The answer in words: which framework, for this workflow?

Every sentence says what the figures say, and no more: what cannot be told apart is not ranked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from talea.compare.agreement import Agreement
from talea.compare.estimates import Difference, figures, rates_differ
from talea.compare.record import Comparison
from talea.compare.statistics import OUTPUTS, Figures, Metric, Summary, against, measured

WORTH_TELLING = 1.05
"""Tokens and cost that are nearer than this to each other are not worth a sentence."""
_LENGTH = 160
"""Of a text that others wrote, in characters."""


def answer(comparison: Comparison, summary: Summary) -> list[str]:
    """Give the answer: a few sentences, each of which can stand alone, as plain text.

    Texts that others wrote (errors, reasons) are cut and stand on one line; they are not escaped.
    """
    told = [_interrupted(comparison, summary)]
    ran = [one for one in summary.figures if one.runs]
    if ran:
        good = [one for one in ran if one.succeeded]
        told += [
            _success(ran),
            _checks(good),
            _outputs(summary.agreement, good),
            _speed(comparison, summary, good),
            _use(comparison, summary, good),
        ]
    elif not summary.figures:
        told.append("Nothing was compared: no framework could take part.")
    else:
        told.append("Nothing was measured: no run was made.")
    told.append(terms(comparison))
    return [sentence for sentence in told if sentence]


def _interrupted(comparison: Comparison, summary: Summary) -> str:
    made, meant = len(comparison.runs), summary.expected_runs
    if made >= meant and not comparison.notes:
        return ""
    why = one_line("; ".join(comparison.notes)).rstrip(".")
    if made < meant:
        return (
            f"This is not complete: {made} of {meant} runs were made{f' ({why})' if why else ''}."
        )
    return f"Beside the runs: {why}."


def _success(ran: Sequence[Figures]) -> str:
    runs = sum(one.runs for one in ran)
    good = sum(one.succeeded for one in ran)
    who = names(one.key for one in ran)
    if not good:
        errors = _merged(one.errors for one in ran)
        every = "The only run failed" if runs == 1 else f"All {runs} runs failed"
        return f"{every} on {who}: {_counted(errors)}."
    if good == runs:
        every = "The only run succeeded" if runs == 1 else f"All {runs} runs succeeded"
        return f"{every} on {who}."
    parts = [
        f"{one.key} {one.succeeded} of {one.runs}"
        + (f" ({_counted(one.errors)})" if one.errors else "")
        for one in ran
    ]
    best = max(ran, key=lambda one: one.success.share)
    worst = min(ran, key=lambda one: one.success.share)
    few = (
        ""
        if len(ran) == 1 or rates_differ(best.success, worst.success)
        else "; these rates cannot be told apart"
    )
    return f"Runs that succeeded: {', '.join(parts)}{few}."


def _checks(good: Sequence[Figures]) -> str:
    """Say how often the runs that succeeded passed their checks."""
    judged = [one for one in good if one.checks]
    if not judged:
        return ""
    if all(rate.count == rate.n for one in judged for rate in one.checks.values()):
        return "Every check that was made passed."
    parts: list[str] = []
    for one in judged:
        failed = [name for name, rate in one.checks.items() if rate.count < rate.n]
        worst = min(failed, key=lambda name: one.checks[name].share, default=None)
        parts.append(
            f"{one.key} in {one.passed} of {one.runs} runs"
            + (f" (mostly failed: {one_line(worst, 60)})" if worst and len(failed) > 1 else "")
            + (f" (failed: {one_line(worst, 60)})" if worst and len(failed) == 1 else "")
        )
    return f"All checks passed: {', '.join(parts)}."


def _outputs(agreement: Mapping[str, Agreement], good: Sequence[Figures]) -> str:
    outputs = agreement[OUTPUTS]
    tasks = {name: one for name, one in agreement.items() if name != OUTPUTS}
    if len(good) < 2:
        return _own_outputs(outputs, good)
    who = "Both" if len(good) == 2 else f"All {len(good)}"
    match outputs.level:
        case "none":
            return "No two gave outputs that could be compared."
        case "exact":
            return f"{who} gave exactly the same outputs{_on_the_way(tasks)}."
        case "normalised":
            return (
                f"{who} gave the same outputs, but for white space, case or the way numbers are"
                f" written{_on_the_way(tasks)}."
            )
        case level:
            how = (
                "Outputs have the same structure with different values"
                if level == "structural"
                else "Outputs differ"
            )
    alike = [names(group) for group in outputs.groups.values() if len(group) > 1]
    same = f" ({'; '.join(alike)} agree)" if alike else ""
    if outputs.blames:
        return f"{how} between frameworks{same}, though each gives the same every time."
    if outputs.unsteady:
        verb = "differs" if len(outputs.unsteady) == 1 else "differ"
        return (
            f"{how}{same}, but {names(outputs.unsteady)} {verb} as much from run to run: that"
            " cannot be put down to the frameworks."
        )
    return f"{how}{same}; without repeats that cannot be put down to the frameworks."


def _on_the_way(tasks: Mapping[str, Agreement]) -> str:
    differ = [name for name, one in tasks.items() if one.level in ("structural", "different")]
    if not differ:
        return ""
    listed = names(differ) if len(differ) <= 3 else f"{len(differ)} tasks"
    return f", though those of {listed} differ on the way"


def _own_outputs(outputs: Agreement, good: Sequence[Figures]) -> str:
    level = outputs.within.get(good[0].key, "none") if good else "none"
    if level == "none":
        return ""
    same = "the same outputs in every repeat" if level == "exact" else "outputs that vary by repeat"
    return f"{good[0].key} gave {same}."


def _speed(comparison: Comparison, summary: Summary, good: Sequence[Figures]) -> str:
    """Rank by time. Without a real model only what a framework costs by itself means anything, and
    how well it lets tasks run side by side where models and tools take time."""
    if not good:
        return ""
    if comparison.settings.mode == "live":
        return _ranked(comparison, summary, good, "duration", "Time of a run")
    answers = {"offline": "simulated models", "replay": "replayed answers"}
    opening = f"With {answers[comparison.settings.mode]}, a run's time in the framework itself"
    told = _ranked(comparison, summary, good, "framework", opening)
    first, last = (pick(good, key=lambda one: _typical(one, "duration")) for pick in (min, max))
    busy = all(one.split and one.split.framework < one.split.whole / 2 for one in good)
    if busy and first is not last:
        found = against(comparison, last.key, first.key, ["duration"], summary.seed)["duration"]
        if found.verdict == "more":
            told += " " + _ranked(comparison, summary, good, "duration", "The whole run")
    return told


def _ranked(
    comparison: Comparison,
    summary: Summary,
    good: Sequence[Figures],
    metric: Metric,
    opening: str,
) -> str:
    first, *others = sorted(good, key=lambda one: _typical(one, metric))
    took = {one.key: seconds(_typical(one, metric)) for one in (first, *others)}
    if not others:
        own = seconds(_typical(first, "framework"))
        part = f", {own} of it in the framework itself" if metric == "duration" else ""
        return f"{opening}: {first.key} {took[first.key]}{part} (median)."
    compared = {
        one.key: against(comparison, one.key, first.key, [metric], summary.seed)[metric]
        for one in others
    }
    verdicts = {found.verdict for found in compared.values()}
    everyone = ", ".join(f"{key} {time}" for key, time in took.items())
    if verdicts == {"none"}:
        return f"{opening}: no measurable difference ({everyone}, medians)."
    if verdicts <= {"too_few", "unknown"}:
        return f"{opening}: {everyone} (medians); too few repeats to tell them apart."
    parts = [f"{key} {took[key]}, {_compared(found, first.key)}" for key, found in compared.items()]
    least = " is least" if verdicts == {"more"} else ""
    return f"{opening}: {first.key} {took[first.key]}{least} (median); {'; '.join(parts)}."


def _compared(found: Difference, first: str) -> str:
    match found.verdict:
        case "none":
            return f"no measurable difference from {first}"
        case "too_few" | "unknown":
            return "too few repeats to tell"
        case _:
            return found.words.replace("×", f"× {first}'s", 1)


def _use(comparison: Comparison, summary: Summary, good: Sequence[Figures]) -> str:
    """Say who sends more to models, and what it costs."""
    if len(good) < 2:
        return ""
    parts = [
        *_more(comparison, summary, good, "input_tokens", "input tokens"),
        *_more(comparison, summary, good, "model_calls", "model calls"),
    ]
    growth = {one.key: one.prompt_growth for one in good if one.prompt_growth}
    most = max(growth, key=lambda key: growth[key] or 0, default=None)
    if most and (grown := growth[most] or 0) >= WORTH_TELLING:
        parts.append(f"{most}'s prompts are {grown:.1f} times the shortest")
    parts += _cost(comparison, summary, good)
    return f"Use of models: {'; '.join(parts)}." if parts else ""


def _more(
    comparison: Comparison,
    summary: Summary,
    good: Sequence[Figures],
    metric: Metric,
    noun: str,
) -> list[str]:
    used = {one.key: getattr(one, metric) for one in good if getattr(one, metric)}
    if len(used) < 2:
        return []
    least, most = (pick(used, key=lambda key: used[key]) for pick in (min, max))
    found = against(comparison, most, least, [metric], summary.seed)[metric]
    if found.verdict != "more" or (found.ratio or 0) < WORTH_TELLING:
        return []
    return [f"{most} needs {used[most]:,.0f} {noun} a run, {least} {used[least]:,.0f}"]


def _cost(comparison: Comparison, summary: Summary, good: Sequence[Figures]) -> list[str]:
    costs = {one.key: one.cost for one in good if one.cost}
    if len(costs) < 2:
        return []
    least, most = (pick(costs, key=lambda key: costs[key] or 0) for pick in (min, max))
    found = against(comparison, most, least, ["cost"], summary.seed)["cost"]
    if found.verdict != "more" or (found.ratio or 0) < WORTH_TELLING:
        return []
    return [f"a run costs {dollars(costs[least])} on {least}, {dollars(costs[most])} on {most}"]


def terms(comparison: Comparison) -> str:
    """Say on what terms they took part: refused, turned out, emulating, held back."""
    ran = {one.key for one in measured(comparison)}
    parts = [
        f"{one.key} "
        + ("was turned out" if one.key in ran else "did not take part")
        + f" ({one_line(one.refused, 100)})"
        for one in comparison.contenders
        if one.refused is not None
    ]
    parts += [
        f"{one.key} emulates {one_line(names(one.emulated), 100)}"
        for one in comparison.contenders
        if one.key in ran and one.emulated
    ]
    held: dict[str, list[str]] = {}
    for one in comparison.contenders:
        if one.key in ran and one.held_back:
            held.setdefault(one_line("; ".join(one.held_back), 100), []).append(one.key)
    parts += [
        f"{names(keys)} {'was' if len(keys) == 1 else 'were'} held back ({why})"
        for why, keys in held.items()
    ]
    return f"{'; '.join(parts)}." if parts else ""


def _typical(one: Figures, metric: Metric) -> float:
    found = one.framework_seconds if metric == "framework" else one.duration
    return found.p50 if found else 0.0


def _merged(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    merged: dict[str, int] = {}
    for one in counts:
        for name, n in one.items():
            merged[name] = merged.get(name, 0) + n
    return merged


def _counted(errors: Mapping[str, int]) -> str:
    ranked = sorted(errors.items(), key=lambda item: -item[1])
    return ", ".join(f"{one_line(name, 40)} {n}" for name, n in ranked)


def names(keys: Iterable[str]) -> str:
    """Give `a, b and c`."""
    *most, last = keys
    return f"{', '.join(most)} and {last}" if most else last


def seconds(value: float) -> str:
    """Give a time with three figures: `412 µs`, `38.1 ms`, `2.31 s`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{figures(value / size)} {unit}"
    return f"{value * 1e6:.0f} µs"


def dollars(value: float | None) -> str:
    """Give a cost in US dollars, with as many places as it takes; `?` if it is unknown."""
    return "?" if value is None else f"${value:.2f}" if value >= 1 else f"${value:.2g}"


def one_line(text: str, limit: int = _LENGTH) -> str:
    """Give a text of others on one line: no control characters, and no longer than `limit`."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    return plain if len(plain) <= limit else f"{plain[: limit - 1]}…"
