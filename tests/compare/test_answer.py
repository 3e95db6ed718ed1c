from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from compare.sample import sample
from talea.compare.answer import answer, dollars, one_line, seconds
from talea.compare.record import Comparison, Problem, RunRecord, Split, Verdict
from talea.compare.statistics import summarise

Change = Callable[[RunRecord], dict[str, Any]]


def changed(comparison: Comparison, change: Change) -> Comparison:
    runs = tuple(run.model_copy(update=change(run)) for run in comparison.runs)
    return comparison.model_copy(update={"runs": runs})


def in_mode(comparison: Comparison, mode: str) -> Comparison:
    settings = comparison.settings.model_copy(update={"mode": mode})
    return comparison.model_copy(update={"settings": settings})


def told(comparison: Comparison) -> str:
    return "\n".join(answer(comparison, summarise(comparison)))


def failed(run: RunRecord) -> dict[str, Any]:
    error = Problem(type="timeout" if run.order % 3 else "internal", message="no")
    return {"status": "failed", "outputs": None, "error": error}


def test_the_sample_is_answered():
    sentences = answer(sample(), summarise(sample()))
    assert 2 <= len(sentences) <= 6
    text = "\n".join(sentences)
    assert "crewai 9 of 10 (server_error 1); these rates cannot be told apart" in text
    assert "gave exactly the same outputs, though those of draft differ on the way" in text
    assert "With simulated models, a run's time in the framework itself: simple" in text
    assert "is least (median)" in text
    assert "crewai's prompts are 2.6 times the shortest" in text
    assert "langgraph emulates priorities" in text
    assert "crewai was held back (pydantic 2.12.5: crewai wants <2.13)" in text


@pytest.mark.parametrize("mode", ["offline", "replay"])
def test_without_a_model_nobody_is_called_faster(mode: str):
    comparison = in_mode(sample(repeats=20, fails=False), mode)
    text = told(comparison)
    assert "a run's time in the framework itself" in text
    assert "fast" not in text
    assert "Time of a run" not in text


def test_whole_runs_are_told_where_models_take_time_and_they_differ():
    def waves(run: RunRecord) -> dict[str, Any]:
        return {"duration": run.duration * 2} if run.framework == "langgraph" else {}

    assert "The whole run: simple" in told(changed(sample(repeats=10), waves))

    def instant(run: RunRecord) -> dict[str, Any]:
        own = run.split.framework
        return {"split": Split(framework=own), "duration": own}

    assert "The whole run" not in told(changed(sample(repeats=10), instant))


def test_a_live_models_noise_is_no_ranking():
    live = in_mode(sample(frameworks=("simple", "langgraph"), fails=False), "live")
    text = told(live)
    assert "Time of a run: no measurable difference (" in text
    assert "least" not in text


def test_a_live_difference_is_told_with_its_interval():
    def slow(run: RunRecord) -> dict[str, Any]:
        return {"duration": run.duration * (2 if run.framework == "langgraph" else 1)}

    live = in_mode(sample(frameworks=("simple", "langgraph"), fails=False, repeats=12), "live")
    text = told(changed(live, slow))
    assert "is least (median); langgraph" in text
    assert "× simple's (" in text


def test_too_few_repeats_rank_nobody():
    text = told(in_mode(sample(repeats=1, cases=1, fails=False), "live"))
    assert "too few repeats to tell them apart" in text
    assert "least" not in text


def test_all_failed():
    text = told(changed(sample(), failed))
    assert "All 30 runs failed on simple, langgraph and crewai: timeout 20, internal 10." in text
    for claim in ("least", "same outputs", "Use of models"):
        assert claim not in text


def test_one_that_failed_always_is_compared_with_nobody():
    comparison = changed(sample(), lambda run: failed(run) if run.framework == "crewai" else {})
    text = told(comparison)
    assert "crewai 0 of 10" in text
    assert "cannot be told apart" not in text
    assert "Both gave exactly the same outputs" in text
    assert "crewai's prompts" not in text


def test_only_one_takes_part():
    comparison = sample(frameworks=("simple",), fails=False)
    text = told(comparison)
    assert "All 10 runs succeeded on simple." in text
    assert "simple gave the same outputs in every repeat." in text
    assert "least" not in text and "×" not in text


def test_nobody_takes_part_and_why():
    base = sample()
    refused = [one.model_copy(update={"refused": "it has no loops"}) for one in base.contenders]
    text = told(base.model_copy(update={"contenders": tuple(refused), "runs": ()}))
    assert "Nothing was compared" in text
    assert "crewai did not take part (it has no loops)" in text


def test_no_run_was_made():
    text = told(sample().model_copy(update={"runs": ()}))
    assert "0 of 30 runs were made" in text
    assert "Nothing was measured" in text


def test_an_interrupt_is_told_first():
    comparison = sample().model_copy(
        update={"runs": sample().runs[:9], "notes": ("interrupted: it ended early",)}
    )
    first = answer(comparison, summarise(comparison))[0]
    assert first == "This is not complete: 9 of 30 runs were made (interrupted: it ended early)."


def test_one_that_was_turned_out_is_named():
    base = sample()
    out = base.contenders[2].model_copy(update={"refused": "3 runs in a row ended its process"})
    text = told(base.model_copy(update={"contenders": (*base.contenders[:2], out)}))
    assert "crewai was turned out (3 runs in a row ended its process)" in text


def test_outputs_that_differ_are_put_down_to_a_framework_only_if_steady():
    def steady(task: str, framework: str, repeat: int) -> str:
        return f"{task} by {framework}"

    assert "Outputs differ between frameworks, though each gives the same every time." in told(
        sample(output=steady, fails=False)
    )

    def varying(task: str, framework: str, repeat: int) -> str:
        return f"{task} {repeat}" if framework == "crewai" else task

    text = told(sample(output=varying, fails=False))
    assert (
        "Outputs differ (simple and langgraph agree), but crewai differs as much from run to run"
        in text
    )
    once = in_mode(sample(output=steady, fails=False, repeats=1), "live")
    assert "without repeats that cannot be put down to the frameworks" in told(once)


def test_checks_name_what_failed():
    def judged(run: RunRecord) -> dict[str, Any]:
        passed = run.framework != "crewai" or run.repeat > 1
        return {
            "verdicts": (Verdict(check="tone", passed=passed), Verdict(check="size", passed=True))
        }

    text = told(changed(sample(fails=False), judged))
    assert "crewai in 6 of 10 runs (failed: tone)" in text
    assert "Every check that was made passed." in told(sample(fails=False))


def test_texts_of_others_stay_on_one_line_and_short():
    hostile = "a\n\x1b[31m" + "b" * 5000
    base = sample()
    out = base.contenders[0].model_copy(update={"refused": hostile})
    sentences = answer(
        comparison := base.model_copy(
            update={"contenders": (out,), "runs": (), "notes": (hostile,)}
        ),
        summarise(comparison),
    )
    assert all(sentence.isprintable() and len(sentence) < 400 for sentence in sentences)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 µs"), (0.000412, "412 µs"), (0.0381, "38.1 ms"), (2.314, "2.31 s"), (250.0, "250 s")],
)
def test_seconds(value: float, text: str):
    assert seconds(value) == text


def test_small_things():
    assert [dollars(None), dollars(0.00012), dollars(3.5)] == ["?", "$0.00012", "$3.50"]
    assert one_line("a\r\n  b\tc") == "a b c"
    assert one_line("x" * 30, 10) == "x" * 9 + "…"
