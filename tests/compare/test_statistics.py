from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compare.sample import sample
from talea.compare.agreement import Agreement, Forms, agree
from talea.compare.answer import answer
from talea.compare.estimates import (
    Difference,
    difference,
    quantile,
    rate,
    rates_differ,
    signed_rank,
    spread,
    student,
    walsh,
)
from talea.compare.record import Comparison, Overhead, RunRecord, Split, Used
from talea.compare.statistics import (
    CASE_METRICS,
    METRICS,
    Summary,
    against,
    against_by_case,
    summarise,
)

NOTHING: dict[str, Any] = {
    "duration": 0.0, "split": Split(), "cpu": 0.0, "used": Used(), "calls": (), "peak_memory": 0,
}  # fmt: skip
FINITE = st.floats(1e-3, 1e3)


def with_runs(comparison: Comparison, runs: Sequence[RunRecord]) -> Comparison:
    return comparison.model_copy(update={"runs": tuple(runs)})


def noisy(ratio: float, pairs: int, seed: int) -> list[tuple[float, float]]:
    """Pairs with 10 % of noise each, a drift that both share, and a slow run now and then."""
    chance = random.Random(seed)

    def noise() -> float:
        return math.exp(chance.gauss(0, 0.1)) * (1.6 if chance.random() < 0.05 else 1)

    return [(ratio * noise() * (1 + i / 50), noise() * (1 + i / 50)) for i in range(pairs)]


def judged(seed: int, ratio: float, pairs: int) -> Difference:
    return difference(noisy(ratio, pairs, seed), floor=0.001)


@pytest.mark.parametrize("pairs", [5, 15, 60])
def test_an_interval_covers_the_planted_ratio_about_as_often_as_it_says(pairs: int):
    found = [judged(seed, 1.5, pairs) for seed in range(300)]
    covered = sum(one.low <= 1.5 <= one.high for one in found if one.low and one.high)
    assert covered >= 274  # 95 % of 300 is 285; three deviations are 11
    assert pairs == 5 or all(one.verdict == "more" for one in found)
    assert statistics.median(one.ratio or 0 for one in found) == pytest.approx(1.5, rel=0.02)


def skewed(chance: random.Random) -> float:
    """Noise of a run: never much quicker than usual, now and then far slower."""
    return 1 + chance.expovariate(4) + (chance.uniform(1, 4) if chance.random() < 0.05 else 0)


@pytest.mark.parametrize("pairs", [5, 7, 12])
def test_three_equal_frameworks_are_hardly_ever_told_apart(pairs: int):
    chance, rounds, wrong = random.Random(pairs), 400, 0
    for _ in range(rounds):
        drift = [math.exp(chance.gauss(0, 0.2)) for _ in range(pairs)]
        sides = [[slow * skewed(chance) for slow in drift] for _ in range(3)]
        wrong += any(
            difference(list(zip(*two, strict=True)), among=3).verdict in ("less", "more")
            for two in itertools.combinations(sides, 2)
        )
    assert wrong <= 0.05 * rounds + 3 * math.sqrt(0.05 * 0.95 * rounds)


@pytest.mark.parametrize(("ratio", "pairs", "least"), [(1.3, 10, 0.9), (2.0, 5, 0.9)])
def test_what_differs_is_told_apart(ratio: float, pairs: int, least: float):
    chance, found = random.Random(1), 0
    for _ in range(100):
        drift = [math.exp(chance.gauss(0, 0.2)) for _ in range(pairs)]
        two = [
            (ratio * d * chance.uniform(0.85, 1.15), d * chance.uniform(0.85, 1.15)) for d in drift
        ]
        found += difference(two, among=3).verdict == "more"
    assert found >= 100 * least


@pytest.mark.parametrize(
    ("freedom", "error", "value"),
    [(1, 0.05, 12.706), (2, 0.05, 4.303), (4, 0.05, 2.776), (5, 0.01, 4.032), (9, 0.001, 4.781)],
)
def test_quantiles_of_students_t_are_those_of_the_tables(freedom: int, error: float, value: float):
    assert student(freedom, error) == pytest.approx(value, abs=5e-4)


@pytest.mark.parametrize(
    ("n", "error", "rank"),
    [(5, 0.05, 0), (6, 0.05, 1), (8, 0.05, 4), (10, 0.05, 9), (20, 0.05, 53), (10, 0.01, 4)],
)
def test_ranks_are_those_of_wilcoxons_tables(n: int, error: float, rank: int):
    # Tables give the greatest sum of ranks that rejects; the interval begins at the next one.
    assert signed_rank(n, error) == rank


def test_many_pairs_are_counted_as_few_are():
    chance = random.Random(1)
    logs = sorted(chance.gauss(0, 1) for _ in range(9))
    means = sorted((logs[i] + logs[j]) / 2 for i in range(9) for j in range(i, 9))
    assert [walsh(logs, rank + 1) for rank in range(len(means))] == pytest.approx(means)
    assert signed_rank(51, 0.05) == pytest.approx(signed_rank(50, 0.05), rel=0.06)


def test_several_comparisons_at_once_are_held_to_a_stricter_level():
    pairs = noisy(1.2, 12, 3)
    alone, among = (difference(pairs, among=n) for n in (1, 10))
    assert alone.low is not None and alone.high is not None
    assert among.low is not None and among.high is not None
    assert among.low < alone.low and alone.high < among.high


def test_a_slow_case_weighs_no_more_than_a_quick_one():
    found = difference([(200.0, 100.0)] * 5 + [(0.02, 0.01)] * 5)
    assert found.ratio == pytest.approx(2.0)
    assert found.verdict == "more"


def test_one_odd_run_moves_no_ratio():
    usual = [(1.0 + n / 100, 1.0) for n in range(9)]
    assert difference([*usual, (1000.0, 1.0)]).ratio == pytest.approx(1.05, abs=0.01)


@pytest.mark.parametrize(
    ("pairs", "floor", "verdict"),
    [
        ([(1.015, 1.0)] * 20, 0.0, "none"),
        ([(1.03, 1.0)] * 20, 0.0, "more"),
        ([(0.0014, 0.0005)] * 20, 0.001, "none"),
        ([(1.1, 1.0), (1.0, 1.1)] * 10, 0.0, "none"),
        ([(3.0, 1.0), (1.0, 3.0)] * 10, 0.0, "noisy"),
        ([(0.0006, 0.0003), (0.0003, 0.0006)] * 10, 0.001, "none"),
        ([(0.0016, 0.0005)] * 20, 0.001, "more"),
        ([(0.5, 1.0)] * 4, 0.0, "too_few"),
        ([(0.5, 1.0)] * 5, 0.0, "less"),
        ([], 0.0, "unknown"),
        ([(math.nan, 1.0), (1.0, math.inf)], 0.0, "unknown"),
    ],
)
def test_what_is_slight_or_rare_is_no_difference(
    pairs: list[tuple[float, float]], floor: float, verdict: str
):
    assert difference(pairs, floor=floor).verdict == verdict


@pytest.mark.parametrize(
    ("pairs", "repeatable", "verdict", "words"),
    [
        ([(120.0, 100.0)], True, "more", "1.20 ×"),
        ([(120.0, 100.0)], False, "too_few", None),
        ([(120.0, 100.0)] * 2, False, "more", "1.20 ×"),
        ([(100.0, 100.0)], True, "none", "the same"),
        ([(0.0, 0.0)], True, "none", "the same"),
        ([(120.0, 0.0)], True, "more", "120 against 0"),
        ([(0.0, 7.0)], True, "less", "0 against 7"),
        ([(5.0, 0.0), (7.0, 0.0)], False, "more", "6 against 0"),
        ([(5.0, 0.0)], False, "too_few", None),
        ([(5.0, 0.0), (0.0, 5.0)] * 3 + [(0.0, 0.0)], False, "noisy", "too noisy to tell"),
        ([(0.1 + 0.2, 0.3)], True, "none", "the same"),
        ([(0.3, 0.1), (0.1 + 0.2, 0.1)], False, "more", "3.00 ×"),
    ],
)
def test_counts_that_never_vary_need_no_interval(
    pairs: list[tuple[float, float]], repeatable: bool, verdict: str, words: str | None
):
    found = difference(pairs, counts=True, repeatable=repeatable)
    assert found.verdict == verdict
    assert words is None or found.words == words


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([(2.0, 1.0), (2.0002, 1.0)] * 5, "2.00 ×"),
        ([(2.0, 1.0), (3.0, 1.0)] * 5, "2.45 × (2.00 to 3.00)"),
        ([(3.0, 1.0), (1.0, 3.0)] * 5, "too noisy to tell (0.33 to 3.00 ×)"),
    ],
)
def test_an_interval_is_written_where_it_says_more_than_the_ratio(
    pairs: list[tuple[float, float]], words: str
):
    assert difference(pairs).words == words


@given(st.lists(st.tuples(FINITE, FINITE), min_size=5, max_size=12))
def test_turning_a_comparison_round_turns_its_ratio_round(pairs: list[tuple[float, float]]):
    found, turned = difference(pairs), difference([(y, x) for x, y in pairs])
    assert found.ratio and found.low and found.high
    assert turned.ratio == pytest.approx(1 / found.ratio)
    assert (turned.low, turned.high) == pytest.approx((1 / found.high, 1 / found.low))
    assert {found.verdict, turned.verdict} in ({"none"}, {"noisy"}, {"less", "more"})


@given(st.lists(FINITE, min_size=2, max_size=30), st.floats(0, 1))
def test_quantiles_are_those_of_the_standard_library(values: list[float], share: float):
    ordered = sorted(values)
    assert ordered[0] <= quantile(ordered, share) <= ordered[-1]
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    assert [quantile(ordered, n / 10) for n in range(1, 10)] == pytest.approx(tenths)


@pytest.mark.parametrize("n", [6, 9, 20, 1500])
def test_a_medians_interval_covers_it(n: int):
    rounds = 400 if n < 100 else 100
    covered = 0
    for seed in range(rounds):
        chance = random.Random(seed)
        found = spread([chance.expovariate(1) for _ in range(n)])
        assert found is not None and found.interval is not None
        covered += found.interval[0] <= math.log(2) <= found.interval[1]
    assert covered >= 0.92 * rounds


def test_few_runs_have_no_interval_and_none_have_no_spread():
    assert spread([]) is None
    one = spread([2.0])
    assert one is not None and one.interval is None
    assert (one.n, one.p50, one.p99, one.deviation, one.low, one.high) == (1, 2, 2, 0, 2, 2)
    five = spread([1.0, 2.0, 3.0, 4.0, 5.0])
    assert five is not None and five.interval is None


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)  # fmt: skip
def test_rates_have_the_intervals_that_were_published(count: int, n: int, low: float, high: float):
    found = rate(count, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_rates_differ_only_where_enough_was_seen():
    assert not rates_differ(rate(5, 5), rate(3, 5))
    assert rates_differ(rate(50, 50), rate(30, 50))
    assert rates_differ(rate(0, 50), rate(30, 50))
    assert not rates_differ(rate(0, 0), rate(5, 5))


def agreement(values: Mapping[str, Sequence[Any]], *, named: bool = False, repeatable: bool = True) -> Agreement:  # fmt: skip
    given_ = {key: dict(enumerate(own)) for key, own in values.items()}
    runs = {key: len(own) for key, own in values.items()}
    return agree(given_, runs, Forms(), named=named, repeatable=repeatable)


@pytest.mark.parametrize(
    ("one", "other", "level"),
    [
        ("a text", "a text", "exact"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "exact"),
        (None, None, "exact"),
        ("A  text\n", "a text", "normalised"),
        ("caf\u00e9", "cafe\u0301", "normalised"),
        ("it costs 1,000.50 US$", "it costs 1000.5 US$", "normalised"),
        ({"n": 1}, {"n": 1.0}, "normalised"),
        ('{"a": [1, 2]}', {"a": [1, 2]}, "normalised"),
        ({"a": [1, 2]}, {"a": [3]}, "structural"),
        ({"a": "x"}, {"a": "y"}, "structural"),
        ({"a": "x"}, {"a": 1}, "different"),
        ({"a": "x"}, {"b": "x"}, "different"),
        ({"a": True}, {"a": 1}, "different"),
        ("one text", "another", "different"),
        ("version 1.10.2", "version 1.1.2", "different"),
        ("v1.10", "v1.1", "different"),
        ("1,000", "1,0000", "different"),
        (3, 4, "different"),
        (1, "1", "different"),
        ("", None, "different"),
        (float("nan"), float("nan"), "exact"),
        (float("inf"), float("-inf"), "different"),
        ("[" * 100_000, "[" * 99_999, "different"),
        ("\ud800", "\ud801", "different"),
    ],
)
def test_levels_of_agreement(one: Any, other: Any, level: str):
    assert agreement({"a": [one], "b": [other]}).level == level
    assert agreement({"a": [other], "b": [one]}).level == level


def test_names_of_outputs_are_no_structure():
    assert (
        agreement({"a": [{"brief": "x"}], "b": [{"brief": "y"}]}, named=True).level == "different"
    )
    nested = agreement({"a": [{"brief": {"t": "x"}}], "b": [{"brief": {"t": "y"}}]}, named=True)
    assert nested.level == "structural"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(JSON, JSON)
def test_agreement_is_the_same_both_ways_and_exact_with_oneself(one: Any, other: Any):
    there, back = agreement({"a": [one], "b": [other]}), agreement({"b": [other], "a": [one]})
    assert there.level == back.level
    assert agreement({"a": [one], "b": [one]}).level == "exact"
    assert sorted(key for keys in there.groups.values() for key in keys) == ["a", "b"]
    assert (there.level == "exact") == (len(there.groups) == 1)


def test_a_framework_that_varies_by_itself_is_no_evidence_against_another():
    found = agreement({"a": ["x", "x"], "b": ["x", "y"], "c": ["x", "x"]})
    assert found.level == "different"
    assert list(found.groups.values()) == [("a", "c"), ("b",)]
    assert found.within == {"a": "exact", "b": "different", "c": "exact"}
    assert found.unsteady == ("b",)
    assert not found.blames


def test_a_steady_difference_is_the_frameworks_own():
    assert agreement({"a": ["x", "x"], "b": ["y", "Y"]}).blames
    assert not agreement({"a": ["x"], "b": ["y"]}, repeatable=False).blames
    assert agreement({"a": ["x"], "b": ["y"]}, repeatable=True).blames


def test_answers_that_vary_by_repeat_but_alike_agree():
    found = agreement({"a": ["x", "y", "z"], "b": ["x", "y"]})
    assert found.level == "exact"
    assert list(found.groups.values()) == [("a", "b")]


def test_a_summary_counts_what_failed_and_measures_what_did_not():
    comparison = sample()
    summary = summarise(comparison)
    crewai = summary.of("crewai")
    assert (crewai.runs, crewai.succeeded, crewai.passed) == (10, 9, 9)
    assert crewai.errors == {"server_error": 1}
    assert crewai.duration is not None and crewai.duration.n == 9
    assert crewai.tasks["draft"].errors == {"server_error": 1}
    assert crewai.tasks["publish"].statuses == {"succeeded": 9, "upstream_failed": 1}
    assert crewai.prompt_growth is not None and crewai.prompt_growth > 2
    assert summary.of("simple").prompt_growth == summary.of("langgraph").prompt_growth == 1
    assert set(crewai.against) == set(METRICS)
    assert crewai.against["duration"].pairs == 9
    assert crewai.against["framework"].verdict == "more"
    assert crewai.against["output_tokens"].words == "the same"
    assert summary.of("simple").against == {}
    assert summary.agreement["draft"].level == "different"
    assert summary.agreement["draft"].blames
    assert summary.agreement["outputs"].missing == ("crewai",)
    assert summary.by_case["asia"]["outputs"].missing == ("crewai",)
    assert summary.by_case["europe"]["outputs"].missing == ()
    with pytest.raises(KeyError):
        summary.of("nobody")


def test_the_same_runs_give_the_same_and_a_summary_survives_json():
    comparison = sample()
    summary = summarise(comparison)
    assert Summary.model_validate_json(summary.model_dump_json()) == summary
    assert summarise(Comparison.from_json(comparison.to_json())) == summary


def again(key: str, case: str, repeat: int, seconds: float) -> Overhead:
    return Overhead(
        framework=key, case=case, repeat=repeat, duration=1, split=Split(framework=seconds),
        cpu=seconds / 2,
    )  # fmt: skip


def test_overhead_is_what_runs_without_a_model_took():
    comparison = sample(repeats=6)
    plain = summarise(comparison)
    assert plain.of("crewai").overhead is plain.of("crewai").overhead_cpu is None
    assert plain.of("crewai").against["overhead"].verdict == "unknown"
    overhead = tuple(
        again(key, case.id, repeat, base * (1 + repeat / 100))
        for key, base in (("simple", 0.01), ("langgraph", 0.03))
        for case in comparison.cases
        for repeat in range(6)
    )
    summary = summarise(comparison.model_copy(update={"overhead": overhead}))
    langgraph = summary.of("langgraph")
    assert langgraph.overhead is not None and langgraph.overhead_cpu is not None
    assert langgraph.overhead.n == 12
    assert langgraph.overhead.p50 == pytest.approx(0.03 * 1.025)
    assert langgraph.overhead_cpu.p50 == pytest.approx(langgraph.overhead.p50 / 2)
    assert langgraph.against["overhead"].words == "3.00 ×"
    assert langgraph.against["framework"].ratio != pytest.approx(3)
    assert summary.of("crewai").against["overhead"].verdict == "unknown"
    assert summary.cases["asia"]["langgraph"].against["overhead"].pairs == 6


def test_each_case_is_told_by_itself():
    comparison = sample(repeats=8)

    def turned(run: RunRecord) -> RunRecord:
        factor = {"europe": 3, "asia": 0.2}[run.case] if run.framework == "langgraph" else 1
        return run.model_copy(update={"duration": run.duration * factor})

    summary = summarise(with_runs(comparison, [turned(run) for run in comparison.runs]))
    assert list(summary.cases) == ["europe", "asia"]
    europe, asia = (summary.cases[case]["langgraph"] for case in summary.cases)
    assert (europe.against["duration"].verdict, asia.against["duration"].verdict) == (
        "more",
        "less",
    )
    assert set(europe.against) == set(CASE_METRICS)
    assert europe.duration and asia.duration and europe.duration.p50 > 10 * asia.duration.p50
    failed = summary.cases["asia"]["crewai"]
    assert (failed.runs, failed.succeeded, failed.passed) == (8, 7, 7)
    assert failed.against["duration"].pairs == 7
    assert summary.cases["asia"]["simple"].against == {}


def test_many_cases_at_once_are_held_to_a_stricter_level():
    few, many = (
        against_by_case(sample(repeats=12, cases=n), "crewai", "simple", "framework")["europe"]
        for n in (1, 4)
    )
    assert few.low and few.high and many.low and many.high
    assert few.high / few.low < many.high / many.low


def test_any_two_are_compared_and_both_ways_agree():
    comparison = sample(repeats=8)
    there = against(comparison, "crewai", "langgraph", ["cpu", "peak_memory"])
    back = against(comparison, "langgraph", "crewai", ["cpu", "peak_memory"])
    for metric in there:
        assert (there[metric].verdict, back[metric].verdict) == ("more", "less")
        assert (there[metric].ratio or 0) * (back[metric].ratio or 0) == pytest.approx(1)


@pytest.mark.parametrize(
    "comparison",
    [
        with_runs(sample(), ()),
        with_runs(sample(), sample().runs[:4]),
        sample(repeats=1, cases=1),
        sample(repeats=1, cases=1, frameworks=("simple",)),
        sample(frameworks=("simple",)),
        sample().model_copy(update={"contenders": (), "runs": ()}),
        sample().model_copy(update={"cases": ()}),
        with_runs(sample(), [run.model_copy(update=NOTHING) for run in sample().runs]),
    ],
    ids=[
        "no runs",
        "four runs",
        "one repeat",
        "one failed run",
        "one contender",
        "nobody",
        "no cases",
        "zeros",
    ],
)
def test_little_is_summarised_and_answered_as_well(comparison: Comparison):
    summary = summarise(comparison)
    assert all(sentence.endswith(".") for sentence in answer(comparison, summary))
    text = summary.model_dump_json()
    assert "NaN" not in text and "Infinity" not in text


def test_all_failed_leaves_nothing_to_measure():
    comparison = sample()
    failed = [
        run.model_copy(update={"status": "failed", "outputs": None}) for run in comparison.runs
    ]
    summary = summarise(with_runs(comparison, failed))
    for one in summary.figures:
        assert (one.succeeded, one.duration, one.cost, one.peak_memory) == (0, None, None, None)
        assert {found.verdict for found in one.against.values()} <= {"unknown"}
    assert summary.agreement["outputs"].level == "none"


def test_others_are_compared_with_the_first_that_has_figures():
    comparison = sample(repeats=7)
    broken = [
        run.model_copy(update={"status": "failed"}) if run.framework == "simple" else run
        for run in comparison.runs
    ]
    summary = summarise(with_runs(comparison, broken))
    assert summary.reference == "langgraph"
    assert summary.of("crewai").against["framework"].verdict == "more"
    assert summary.cases["asia"]["crewai"].against["framework"].verdict == "more"
    assert summarise(comparison).reference == "simple"


def test_a_cost_that_is_unknown_once_is_unknown():
    comparison = sample(frameworks=("simple", "langgraph"), fails=False)
    first = comparison.runs[0]
    runs = (
        first.model_copy(update={"used": first.used.model_copy(update={"cost": None})}),
        *comparison.runs[1:],
    )
    summary = summarise(with_runs(comparison, runs))
    assert summary.of(first.framework).cost is None


def test_one_that_was_turned_out_keeps_its_figures():
    comparison = sample()
    out = comparison.contenders[2].model_copy(update={"refused": "its process died"})
    comparison = comparison.model_copy(update={"contenders": (*comparison.contenders[:2], out)})
    assert summarise(comparison).of("crewai").runs == 10
