"""The answer in words: which framework, for this workflow?

Every sentence says what the figures say, and no more: what cannot be told apart is not ranked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from talea.compare import failing
from talea.compare.agreement import Agreement
from talea.compare.ranking import multiple, times
from talea.compare.record import Comparison, Contender
from talea.compare.statistics import OUTPUTS, Figures, Metric, Summary, against, measured
from talea.compare.wording import dollars, names, one_line, some

WORTH_TELLING = 1.05
"""Tokens and cost that are nearer than this to each other are not worth a sentence."""
_HELD = re.compile(r"(\S+) [^:]*: (\S+) wants .*")
_DETERMINED = ("value", "tool", "ask")
"""Kinds of tasks that no model answers."""


def answer(comparison: Comparison, summary: Summary) -> list[str]:
    """Give the answer: a few sentences, each of which can stand alone, as plain text.

    What decides comes first: who fails, where somebody does, and else who takes least.
    Texts that others wrote (errors, reasons) are cut and stand on one line; they are not escaped.
    """
    told = [_interrupted(comparison, summary)]
    ran = [one for one in summary.figures if one.runs]
    if ran:
        good = [one for one in ran if one.succeeded]
        decision = [*times(comparison, good), _use(comparison, good)]
        outputs = _outputs(comparison, summary.agreement, good)
        if all(one.passed == one.runs for one in ran):
            outcome = f"{_flawless(ran)} {outputs}".rstrip()
            # With nobody to compare with, there is nothing to decide.
            told += [*decision, outcome] if len(ran) > 1 else [outcome, *decision]
        else:
            success, checks = failing.success(comparison, ran), failing.checks(comparison, good)
            ended_well = all(one.succeeded == one.runs for one in ran)
            first, later = ([checks], [success]) if ended_well else ([success, checks], [])
            told += [*first, *decision, *later, outputs]
        told += [failing.stand_in(comparison), failing.faults(comparison, ran)]
    elif not summary.figures:
        told.append("Nothing was compared: no framework could take part.")
    else:
        told.append("Nothing was measured: no run was made.")
    told += [_beside(comparison, summary), terms(comparison)]
    return [sentence for sentence in told if sentence]


def _is_whole(comparison: Comparison, summary: Summary) -> bool:
    return not comparison.interrupted and len(comparison.runs) >= summary.expected_runs


def _interrupted(comparison: Comparison, summary: Summary) -> str:
    if _is_whole(comparison, summary):
        return ""
    why = _notes(comparison)
    made = f"{len(comparison.runs)} of {summary.expected_runs} runs were made"
    return f"This is not complete: {made}{f' ({why})' if why else ''}."


def _beside(comparison: Comparison, summary: Summary) -> str:
    """Give the notes that are not told as an interrupt's."""
    why = _notes(comparison) if _is_whole(comparison, summary) else ""
    return f"Beside the runs: {why}." if why else ""


def _notes(comparison: Comparison) -> str:
    return one_line("; ".join(comparison.notes)).rstrip(".")


def _flawless(ran: Sequence[Figures]) -> str:
    """Say that all went as it should."""
    runs = sum(one.runs for one in ran)
    failed = runs - sum(one.succeeded for one in ran)
    if not failed:
        told = "The only run succeeded" if runs == 1 else f"All {runs} runs succeeded"
        if len(ran) == 1:
            told += f" on {ran[0].key}"
        if any(one.checks for one in ran):
            told += " and passed every check"
    elif failed == runs:
        told = "Every run failed, as it should"
    else:
        told = f"All {runs} runs ended as they should ({failed} were to fail)"
    return f"{told}."


def _outputs(
    comparison: Comparison, agreement: Mapping[str, Agreement], good: Sequence[Figures]
) -> str:
    outputs = agreement[OUTPUTS]
    if len(good) < 2:
        return _own_outputs(outputs, good)
    who = "Both" if len(good) == 2 else f"All {len(good)}"
    match outputs.level:
        case "none":
            return "No two gave outputs that could be compared."
        case "exact":
            return f"{who} gave exactly the same outputs{_on_the_way(comparison, agreement)}."
        case "normalised":
            return (
                f"{who} gave the same outputs, but for white space, case or the way numbers are"
                f" written{_on_the_way(comparison, agreement)}."
            )
        case level:
            how = (
                "Outputs have the same structure with different values"
                if level == "structural"
                else "Outputs differ"
            )
    alike = [names(group) for group in outputs.groups.values() if len(group) > 1]
    same = f" ({'; '.join(alike)} agree)" if alike else ""
    if outputs.unsteady:
        verb = "differs" if len(outputs.unsteady) == 1 else "differ"
        return (
            f"{how}{same}, but {names(outputs.unsteady)} {verb} as much from run to run: that"
            " cannot be put down to the frameworks."
        )
    if _by_stand_in(comparison, agreement):
        return (
            f"{how}{same}, as the prompts do: offline a stand-in answers by the prompt. What models"
            " would answer is not known from it."
        )
    if outputs.blames:
        return f"{how} between frameworks{same}, though each gives the same every time."
    return f"{how}{same}; without repeats that cannot be put down to the frameworks."


def _differing(agreement: Mapping[str, Agreement]) -> list[str]:
    """Give the addresses of tasks whose outputs differ."""
    return [
        name
        for name, one in agreement.items()
        if name != OUTPUTS and one.level in ("structural", "different")
    ]


def _by_stand_in(comparison: Comparison, agreement: Mapping[str, Agreement]) -> bool:
    """Say whether outputs differ for what stands in for models, which answers by the prompt: none
    of the tasks at which that begins is of a kind that asks no model."""
    if comparison.settings.mode != "offline":
        return False
    outline = comparison.outline
    differing = {name.removeprefix("tasks.") for name in _differing(agreement)}
    begins = [name for name in differing if not differing & {*outline.depends.get(name, ())}]
    return not any(outline.tasks.get(name) in _DETERMINED for name in begins)


def _on_the_way(comparison: Comparison, agreement: Mapping[str, Agreement]) -> str:
    differ = _differing(agreement)
    if not differ:
        return ""
    by = ", as the prompts do that a stand-in answers by"
    why = by if _by_stand_in(comparison, agreement) else ""
    return f", though those of {some(differ, 'task')} differ on the way{why}"


def _own_outputs(outputs: Agreement, good: Sequence[Figures]) -> str:
    level = outputs.within.get(good[0].key, "none") if good else "none"
    if level == "none":
        return ""
    same = "the same outputs in every repeat" if level == "exact" else "outputs that vary by repeat"
    return f"{good[0].key} gave {same}."


def _use(comparison: Comparison, good: Sequence[Figures]) -> str:
    """Say who sends more to models, and what it costs."""
    if len(good) < 2:
        return ""
    parts = [
        *_more(comparison, good, "cost", "costs most", dollars),
        *_more(comparison, good, "input_tokens", "needs most input tokens", _whole),
        *_more(comparison, good, "model_calls", "makes most model calls", _whole),
    ]
    growth = {one.key: one.prompt_growth for one in good if one.prompt_growth}
    most = max(growth, key=lambda key: growth[key] or 0, default=None)
    if most and not parts and (grown := growth[most] or 0) >= WORTH_TELLING:
        parts.append(f"{most}'s prompts are {grown:.1f} times the shortest")
    return f"{'; '.join(parts)}." if parts else ""


def _more(
    comparison: Comparison,
    good: Sequence[Figures],
    metric: Metric,
    verb: str,
    told: Callable[[float], str],
) -> list[str]:
    used: dict[str, float] = {one.key: getattr(one, metric) for one in good if getattr(one, metric)}
    if len(used) < 2:
        return []
    least, most = (pick(used, key=lambda key: used[key]) for pick in (min, max))
    found = against(comparison, most, least, [metric])[metric]
    if found.verdict != "more" or (found.ratio or 0) < WORTH_TELLING:
        return []
    figure = f"{told(used[most])} a run, against {told(used[least])} on {least}"
    return [f"{most} {verb}: {figure} ({multiple(found)})"]


def terms(comparison: Comparison) -> str:
    """Say on what terms they took part: refused, turned out, emulating, held back."""
    ran = {one.key for one in measured(comparison)}
    parts = [
        f"{one.key} "
        + ("was turned out" if one.key in ran else "did not take part")
        + f" ({one_line(one.refused, 300)})"
        for one in comparison.contenders
        if one.refused is not None
    ]
    part = [one for one in comparison.contenders if one.key in ran]
    parts += [*_emulating(part), *_held_back(part)]
    return f"{'; '.join(parts)}." if parts else ""


def _emulating(contenders: Sequence[Contender]) -> list[str]:
    """Say how many of the workflow's features each does not have itself."""
    numbers = _grouped((str(len(one.emulated)), one.key) for one in contenders if one.emulated)
    told: list[str] = []
    for number, keys in numbers.items():
        features = "" if told else f" {'feature' if number == '1' else 'features'} of this workflow"
        verb = "" if told else " emulates" if len(keys) == 1 else " emulate"
        each = " each" if len(keys) > 1 else ""
        told.append(f"{names(keys)}{verb} {number}{features}{each}")
    return [f"{', '.join(told)} (talea explain tells how)"] if told else []


def _held_back(contenders: Sequence[Contender]) -> list[str]:
    """Say once which packages are held back; texts of another form as they stand."""
    found = [(text, one.key, _HELD.fullmatch(text)) for one in contenders for text in one.held_back]
    other = _grouped((one_line(text, 100), key) for text, key, match in found if not match)
    told = [
        f"{names(keys)} {'was' if len(keys) == 1 else 'were'} held back ({why})"
        for why, keys in other.items()
    ]
    packages = list(dict.fromkeys(match[1] for _, _, match in found if match))
    if packages:
        held = one_line(some(packages, "package"), 80)
        verb = "is" if len(packages) == 1 else "are"
        told.append(f"{held} {verb} held back in the environment they share (not with --isolate)")
    return told


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Put together the keys of which the same is to be said."""
    groups: dict[str, list[str]] = {}
    for what, key in pairs:
        groups.setdefault(what, []).append(key)
    return groups


def _whole(value: float) -> str:
    return f"{value:,.0f}"
