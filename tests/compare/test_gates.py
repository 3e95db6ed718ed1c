"""Gates, with regressions planted: each fails where it should, and lets everything else through."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talea import UsageError
from talea.compare.gates import Gate, check_gates, read_share
from talea.compare.measures import read_measures
from talea.compare.record import (
    Call,
    Case,
    Comparison,
    Contender,
    Machine,
    Outline,
    Overhead,
    Problem,
    RunRecord,
    Settings,
    Split,
    Used,
    Verdict,
)

Change = Callable[[str, str, int], Mapping[str, Any]]
KEYS = ("simple", "langgraph")
MACHINE = Machine(
    system="Linux", processor="some", cores=2, memory=None, python="3.11.9", talea="0.1.0"
)
OTHER = MACHINE.model_copy(update={"processor": "another"})
SETTINGS = Settings(mode="offline", repeat=10, warmup=1, seed=0, timeout=60)


def made(
    change: Change = lambda _key, _case, _repeat: {},
    *,
    cases: tuple[str, ...] = ("a", "b"),
    repeat: int = 10,
    keys: tuple[str, ...] = KEYS,
    noise: float = 0.05,
    slower: float = 1.0,
    seed: int = 1,
    mode: str = "offline",
    **more: Any,
) -> Comparison:
    """Make a comparison. `change` gives what is different in a run: by key, case and repeat."""
    chance = random.Random(seed)

    def run(key: str, case: str, number: int) -> RunRecord:
        changed = dict(change(key, case, number))
        took = 0.2 if key == "simple" else 0.3
        took *= slower * (3 if case == "b" else 1) * changed.pop("slower", 1.0)
        took *= 1 + abs(chance.gauss(0, noise))
        usual: dict[str, Any] = {
            "status": "succeeded",
            "duration": took,
            "split": Split(framework=took / 4),
            "cpu": took / 2,
            "used": Used(model_calls=3, input_tokens=100, output_tokens=20, cost=0.01),
            "peak_memory": 100_000_000,
            "calls": (call(1000),),
        }
        return RunRecord(framework=key, case=case, repeat=number, order=0, **{**usual, **changed})

    return Comparison(
        began="2026-01-02T03:04:05+00:00",
        seconds=1.0,
        outline=Outline(name="flow"),
        settings=SETTINGS.model_copy(update={"mode": mode, "repeat": repeat}),
        machine=more.pop("machine", MACHINE),
        contenders=more.pop("contenders", tuple(Contender(key=key, framework=key) for key in keys)),
        cases=more.pop("given", tuple(Case(id=case) for case in cases)),
        runs=tuple(
            run(key, case, number) for number in range(repeat) for case in cases for key in keys
        ),
        **more,
    )


def call(characters: int) -> Call:
    return Call(
        address="a", agent="a", turn=1, model="m", status=200, began=0, duration=0,
        prompt_characters=characters,
    )  # fmt: skip


def only(key: str, **changed: Any) -> Change:
    """Change every run of one framework."""
    return lambda framework, _case, _repeat: changed if framework == key else {}


def failing(key: str, share: float) -> Change:
    """Have the first repeats of a framework fail a check, as a share of ten."""
    verdict = (Verdict(check="title", passed=False, why="x"),)
    return lambda framework, _case, repeat: (
        {"verdicts": verdict} if framework == key and repeat < 10 * share else {}
    )


def failed(gates: list[Gate]) -> list[tuple[str | None, str]]:
    return [(gate.framework, gate.name) for gate in gates if not gate.passed]


def words(gates: list[Gate], key: str | None, name: str) -> str:
    [found] = [gate.words for gate in gates if (gate.framework, gate.name) == (key, name)]
    return found


# The pass rate.


@pytest.mark.parametrize(
    ("wrong", "least", "fails"),
    [(0.1, 0.9, False), (0.2, 0.9, True), (0.0, 1.0, False), (0.1, 1.0, True), (1.0, 0.0, False)],
)
def test_each_framework_is_held_to_the_pass_rate(wrong: float, least: float, fails: bool) -> None:
    gates = check_gates(made(failing("langgraph", wrong)), fail_under=least)
    assert [gate.framework for gate in gates] == list(KEYS)
    assert failed(gates) == ([("langgraph", "pass rate")] if fails else [])


def test_the_words_say_which_framework_and_how_much() -> None:
    gates = check_gates(made(failing("langgraph", 0.3)), fail_under=0.9)
    assert words(gates, "langgraph", "pass rate") == (
        "langgraph: 14 of 20 runs passed (70%); at least 0.9 is asked for"
    )


def test_one_that_made_no_run_does_not_pass() -> None:
    contenders = (
        Contender(key="simple", framework="simple"),
        Contender(key="crewai", framework="crewai", refused="it lacks loops"),
        Contender(key="langgraph", framework="langgraph"),
    )
    gates = check_gates(made(keys=("simple",), contenders=contenders), fail_under=0.5)
    assert failed(gates) == [("crewai", "pass rate"), ("langgraph", "pass rate")]
    assert words(gates, "crewai", "pass rate") == "crewai took no part: it lacks loops"


@given(st.integers(0, 10), st.floats(0, 1))
def test_a_lower_bar_never_fails_what_a_higher_one_lets_through(wrong: int, least: float) -> None:
    comparison = made(failing("simple", wrong / 10), cases=("a",))
    strict = failed(check_gates(comparison, fail_under=least))
    assert set(failed(check_gates(comparison, fail_under=least / 2))) <= set(strict)
    assert bool(strict) == (10 - wrong < least * 10 - 1e-6) or abs(10 - wrong - least * 10) < 1e-6


# The baseline.


@pytest.mark.parametrize("seed", range(8))
def test_noise_alone_fails_nothing(seed: int) -> None:
    gates = check_gates(made(seed=seed, noise=0.3), baseline=made(seed=seed + 100, noise=0.3))
    assert failed(gates) == []


def test_a_comparison_is_no_worse_than_itself() -> None:
    comparison = made()
    assert failed(check_gates(comparison, baseline=comparison, max_regression=0.0)) == []


PLANTED: dict[str, dict[str, Any]] = {
    "duration": {"slower": 1.3, "cpu": 0.1},
    "tokens": {"used": Used(model_calls=3, input_tokens=130, output_tokens=20, cost=0.01)},
    "model calls": {"used": Used(model_calls=4, input_tokens=100, output_tokens=20, cost=0.01)},
    "cost": {"used": Used(model_calls=3, input_tokens=100, output_tokens=20, cost=0.013)},
    "prompt characters": {"calls": (call(1300),)},
    "memory": {"peak_memory": 130_000_000},
    "cpu": {"cpu": 0.9},
    "framework": {"split": Split(framework=0.9)},
}
USUAL = set(PLANTED) - {"duration", "framework", "cpu"}


@pytest.mark.parametrize("mode", ["offline", "live"])
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_regression_fails_its_own_gate_alone(name: str, mode: str) -> None:
    worse = made(only("langgraph", **PLANTED[name]), seed=2, mode=mode)
    baseline = made(mode=mode)
    held: Any = {"regress_on": None if name in USUAL else [name.replace(" ", "_")]}
    assert failed(check_gates(worse, baseline=baseline, **held)) == [("langgraph", name)]
    assert failed(check_gates(worse, baseline=baseline, max_regression=9.0, **held)) == []
    assert failed(check_gates(baseline, baseline=worse, **held)) == []  # it has become better


def test_a_regression_that_is_allowed_passes() -> None:
    worse = made(only("langgraph", slower=1.08, calls=(call(1099),)), seed=2, noise=0.02)
    assert failed(check_gates(worse, baseline=made(noise=0.02))) == []


def test_a_time_is_looked_at_where_it_is_named_alone() -> None:
    worse = made(only("simple", duration=9.0, split=Split(framework=8.0), cpu=9.0))
    assert failed(check_gates(worse, baseline=made())) == []
    for name in ("duration", "framework", "cpu"):
        assert failed(check_gates(worse, baseline=made(), regress_on=[name])) == [("simple", name)]


MACHINES = ": that looks like the machine rather than the code"


def test_a_busy_machine_is_told_from_slower_code() -> None:
    def delayed(wait: float, cpu: float) -> Comparison:
        return made(
            only("simple", duration=wait, split=Split(framework=wait), cpu=cpu), cases=("a",)
        )

    then = delayed(0.2, 0.1)
    for now, machines in ((delayed(0.4, 0.101), True), (delayed(0.4, 0.2), False)):
        for name in ("duration", "framework"):
            gates = check_gates(now, baseline=then, regress_on=[name])
            assert failed(gates) == [("simple", name)]
            assert (MACHINES in words(gates, "simple", name)) == machines
    told = words(check_gates(now, baseline=then, regress_on=["cpu"]), "simple", "cpu")
    assert MACHINES not in told
    waits = made(only("simple", duration=0.4, cpu=0.1), cases=("a",))  # for a tool
    waited = made(only("simple", duration=0.2, cpu=0.1), cases=("a",))
    gates = check_gates(waits, baseline=waited, regress_on=["duration"])
    assert failed(gates) == [("simple", "duration")]
    assert MACHINES not in words(gates, "simple", "duration")


def test_what_all_got_slower_by_alike_looks_like_the_machine() -> None:
    gates = check_gates(made(slower=1.5), baseline=made(seed=3), regress_on=["cpu"])
    assert failed(gates) == [("simple", "cpu"), ("langgraph", "cpu")]
    told = words(gates, "simple", "cpu")
    assert "both frameworks got slower alike" in told
    assert told.count(MACHINES) == 1


def test_in_a_replay_what_was_recorded_is_not_held() -> None:
    worse = made(only("simple", **PLANTED["tokens"], calls=(call(1300),)), mode="replay")
    gates = check_gates(worse, baseline=made(mode="replay"))
    assert failed(gates) == [("simple", "prompt characters")]
    assert not {"tokens", "cost"} & {gate.name for gate in gates}


def test_memory_is_compared_over_the_same_rounds_and_cases() -> None:
    grows = made(lambda _key, _case, repeat: {"peak_memory": 100_000_000 * (1 + repeat)})
    first = made(lambda _key, _case, repeat: {"peak_memory": 100_000_000 * (1 + repeat)}, repeat=5)
    assert failed(check_gates(grows, baseline=first)) == []
    other = made(cases=("a",))
    assert "memory" not in {gate.name for gate in check_gates(grows, baseline=other)}
    gates = check_gates(grows, baseline=other, regress_on=["memory"])
    assert failed(gates) == [("simple", "memory"), ("langgraph", "memory")]
    assert "not judged: the cases are not the same" in words(gates, "simple", "memory")


def again(comparison: Comparison, slower: float = 1.0) -> Comparison:
    """Have every run made again without its model."""
    overhead = tuple(
        Overhead(
            framework=run.framework, case=run.case, repeat=run.repeat, duration=1,
            split=Split(framework=run.split.framework * slower), cpu=1,
        )
        for run in comparison.runs
    )  # fmt: skip
    return comparison.model_copy(update={"overhead": overhead})


def test_overhead_is_looked_at_where_runs_were_made_again() -> None:
    baseline, worse = again(made(mode="live")), again(made(mode="live", seed=2), slower=1.5)
    asked: list[Any] = ["overhead"]
    assert failed(check_gates(worse, baseline=baseline)) == []
    gates = check_gates(worse, baseline=baseline, regress_on=asked)
    assert failed(gates) == [("simple", "overhead"), ("langgraph", "overhead")]
    elsewhere = worse.model_copy(update={"machine": OTHER})
    gates = check_gates(elsewhere, baseline=baseline, regress_on=asked)
    assert failed(gates) == []  # all frameworks alike
    assert "in relation to simple" in words(gates, "langgraph", "overhead")
    gates = check_gates(made(mode="live"), baseline=baseline, regress_on=asked)
    assert ("simple", "overhead") in failed(gates)  # what is named and not known does not pass
    assert "not judged: this comparison does not know it" in words(gates, "simple", "overhead")


def test_what_was_interrupted_passes_no_gate() -> None:
    whole = made()
    partial = whole.model_copy(update={"interrupted": True, "runs": whole.runs[:20]})
    assert failed(check_gates(partial, fail_under=0.5)) == [(None, "complete")]
    [gate] = check_gates(partial, fail_under=0.5, baseline=whole)
    assert (gate.name, gate.passed) == ("complete", False)
    assert check_gates(partial) == []
    told = words(check_gates(whole, baseline=partial), None, "baseline")
    assert "the baseline was interrupted after 20 runs" in told


def test_a_baseline_that_was_ended_before_it_had_told_its_versions_tells_no_other_ones() -> None:
    def of(**told: Any) -> tuple[Contender, ...]:
        return (Contender(key="simple", framework="simple", **told),)

    now = made(keys=("simple",), contenders=of(python="3.11.2", versions={"openai": "2"}))
    then = made(keys=("simple",), contenders=of())
    assert "Python" not in words(check_gates(now, baseline=then), None, "baseline")


def test_the_pass_rate_must_not_fall() -> None:
    worse = made(failing("simple", 0.2))
    assert failed(check_gates(worse, baseline=made())) == [("simple", "pass rate")]
    assert failed(check_gates(worse, baseline=made(), max_regression=0.25)) == []
    assert failed(check_gates(made(), baseline=worse)) == []


def test_with_real_models_a_few_failures_more_are_chance() -> None:
    some, many = (
        made(failing("simple", 0.1), mode="live"),
        made(failing("simple", 0.7), mode="live"),
    )
    assert failed(check_gates(some, baseline=made(mode="live"), max_regression=0.0)) == []
    assert failed(check_gates(many, baseline=made(mode="live"))) == [("simple", "pass rate")]


def test_runs_that_all_fail_are_no_good_times() -> None:
    problem = Problem(type="timeout", message="late")
    broken = made(only("simple", status="failed", error=problem))
    gates = check_gates(broken, baseline=made(), regress_on=["duration"])
    assert failed(gates) == [("simple", "duration")]
    assert "no run succeeded, and some did then" in words(gates, "simple", "duration")


def test_too_few_repeats_are_not_judged() -> None:
    few: dict[str, Any] = {"repeat": 2, "mode": "live"}
    gates = check_gates(made(only("simple", **PLANTED["tokens"]), **few), baseline=made(**few))
    assert failed(gates) == []
    assert words(gates, "simple", "tokens") == (
        "simple: tokens: not judged: too few repeats to tell (4 of the 5 pairs it takes);"
        " give --repeat 5 or more"
    )
    # Of runs that failed nobody knew before.
    some = made(lambda _key, _case, n: {"status": "failed" if n > 1 else "succeeded"})
    gates = check_gates(some, baseline=made(), regress_on=["cpu"])
    assert failed(gates) == [("simple", "cpu"), ("langgraph", "cpu")]


def test_what_repeats_exactly_needs_one_run() -> None:
    worse = made(only("simple", **PLANTED["tokens"]), repeat=1)
    assert failed(check_gates(worse, baseline=made(repeat=1))) == [("simple", "tokens")]


def test_something_out_of_nothing_is_a_regression() -> None:
    nothing = made(lambda _key, _case, _repeat: {"used": Used(), "calls": ()})
    gates = check_gates(made(), baseline=nothing)
    assert ("simple", "tokens") in failed(gates)
    assert ("simple", "prompt characters") in failed(gates)
    assert failed(check_gates(nothing, baseline=nothing)) == []


def test_something_out_of_nothing_is_a_regression_with_real_models_too() -> None:
    nothing = made(lambda _key, _case, _repeat: {"used": Used()}, mode="live")
    gates = check_gates(made(mode="live"), baseline=nothing)
    assert words(gates, "simple", "tokens").startswith("simple: tokens: 120 against 0 then")
    assert ("simple", "tokens") in failed(gates)
    assert failed(check_gates(nothing, baseline=made(mode="live"))) == []


# What can be compared at all.


def test_only_frameworks_and_cases_of_both_count() -> None:
    slow = only("crewai", slower=9)
    now = made(slow, keys=("simple", "crewai"), cases=("a", "new"))
    gates = check_gates(now, baseline=made())
    assert failed(gates) == []
    assert {gate.framework for gate in gates} == {None, "simple"}
    told = words(gates, None, "baseline")
    assert "by 1 framework and 1 case;" in told
    assert "frameworks left out, being new: crewai" in told
    assert "frameworks left out, being gone: langgraph" in told
    assert "cases left out, being new or changed: new" in told
    assert "cases left out, being gone: b" in told


def test_a_case_of_other_inputs_is_another_case() -> None:
    changed = (Case(id="a", inputs={"topic": "x"}), Case(id="b"))
    gates = check_gates(made(given=changed), baseline=made())
    assert "cases left out, being new or changed: a" in words(gates, None, "baseline")


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"keys": ("crewai",)}, "no framework takes part that took part in the baseline"),
        ({"cases": ("other",)}, "no case with the same id"),
        ({"mode": "live"}, "the baseline was made offline, and this is with real models"),
        ({"outline": Outline(name="other")}, "of the workflow 'flow', and this is 'other'"),
    ],
)
def test_a_baseline_that_guards_nothing_is_refused(now: Any, said: str) -> None:
    comparison = made(**{k: v for k, v in now.items() if k != "outline"})
    comparison = comparison.model_copy(update={k: now[k] for k in now if k == "outline"})
    with pytest.raises(UsageError, match=said):
        check_gates(comparison, baseline=made())


@pytest.mark.parametrize(
    ("named", "now", "said"),
    [
        ("overhead", {}, "`?framework`? says as much"),
        ("overhead", {"mode": "live"}, "the baseline does not know it"),
        ("tokens", {"mode": "replay"}, "prompt_characters tells"),
        ("cost", {"mode": "replay"}, "as it was recorded"),
        ("duration", {"cases": ("a",), "repeat": 4}, "it takes 5 runs"),
        ("cpu", {"keys": ("simple",), "machine": "another"}, "on another machine"),
    ],
)
def test_what_is_named_and_cannot_be_judged_is_refused(
    named: Any, now: dict[str, Any], said: str
) -> None:
    elsewhere: dict[str, Any] = {"machine": OTHER} if now.pop("machine", None) else {}
    with pytest.raises(UsageError, match=said):
        check_gates(made(**now, **elsewhere), baseline=made(**now), regress_on=[named])


def test_a_framework_that_could_not_take_part_is_missed() -> None:
    refused = (Contender(key="simple", framework="simple", refused="it is broken"),)
    now = made(keys=("simple",), contenders=refused)
    [gate] = check_gates(now, baseline=made(), baseline_name="earlier.json")
    assert not gate.passed
    assert gate.words == "no framework is both in this and in earlier.json"


def test_what_else_differs_is_pointed_out() -> None:
    def of(version: str) -> tuple[Contender, ...]:
        return (Contender(key="simple", framework="simple", versions={"openai": version}),)

    now = made(keys=("simple",), contenders=of("2"))
    then = made(keys=("simple",), contenders=of("1"))
    now = now.model_copy(
        update={
            "settings": now.settings.model_copy(update={"model": "openai/new", "seed": 4}),
            "outline": Outline(name="flow", source="new"),
            "machine": MACHINE.model_copy(update={"talea": "0.2.0"}),
        }
    )
    told = words(check_gates(now, baseline=then), None, "baseline")
    for remark in (
        "simple has openai 2 (was 1)",
        "model is openai/new, and was none",
        "seed is 4, and was 0",
        "the workflow has changed",
        "talea is 0.2.0, and was 0.1.0",
    ):
        assert remark in told


# Other machines.


def test_on_another_machine_times_are_compared_by_their_ratio() -> None:
    asked: Any = {"baseline": made(), "regress_on": ["duration"]}
    gates = check_gates(made(machine=OTHER, slower=2.0, seed=3), **asked)
    assert failed(gates) == []
    assert "another machine: processor is another, and was some" in words(gates, None, "baseline")
    assert words(gates, "simple", "duration") == (
        "simple: duration: times of another machine say nothing;"
        " the others' ratios to it are compared"
    )
    worse = made(only("langgraph", slower=1.4), machine=OTHER, slower=0.5, seed=3)
    gates = check_gates(worse, **asked)
    assert failed(gates) == [("langgraph", "duration")]
    assert "in relation to simple" in words(gates, "langgraph", "duration")
    assert failed(check_gates(worse, baseline=made())) == []


def test_on_another_machine_what_is_counted_is_compared_as_ever() -> None:
    worse = made(only("simple", **PLANTED["tokens"]), machine=OTHER)
    assert failed(check_gates(worse, baseline=made())) == [("simple", "tokens")]


# How they are written.


@pytest.mark.parametrize(
    ("text", "share"), [("0.9", 0.9), ("90%", 0.9), (" 10 % ", 0.1), ("1", 1.0), (".5", 0.5)]
)
def test_a_share_is_a_number_or_a_percentage(text: str, share: float) -> None:
    assert read_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["10", "1.5", "", "ten", "-1%", "nan", "1e1"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no share"):
        read_share(text)


def test_no_more_can_be_asked_for_than_there_is() -> None:
    assert read_share("150%") == 1.5
    with pytest.raises(UsageError, match="more than there can be"):
        read_share("150%", most=1)


@pytest.mark.parametrize(
    "asked",
    [
        {"fail_under": 90},
        {"fail_under": -0.1},
        {"fail_under": float("nan")},
        {"max_regression": -0.1},
        {"max_regression": float("nan")},
        {"regress_on": ["tokns"]},
        {"regress_on": []},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_from_python(asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        check_gates(made(), baseline=made(), **asked)


def test_measures_are_named_with_commas_between() -> None:
    assert read_measures("duration, pass-rate,duration") == ("duration", "pass_rate")
    with pytest.raises(UsageError, match="did you mean 'tokens'"):
        read_measures("duration,tokns")
    with pytest.raises(UsageError, match="nothing is named"):
        read_measures(" , ")
