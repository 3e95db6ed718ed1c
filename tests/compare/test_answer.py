from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from compare.sample import sample
from talea.compare.answer import answer
from talea.compare.record import Comparison, Overhead, Problem, RunRecord, Split, Verdict
from talea.compare.statistics import summarise
from talea.compare.wording import dollars, one_line, seconds

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
    error = Problem(type="timeout" if run.repeat else "internal", message="no")
    return {"status": "failed", "outputs": None, "error": error}


def live(comparison: Comparison) -> Comparison:
    """Make it one of real models, with every good run made again without them."""
    again = tuple(
        Overhead(
            framework=run.framework, case=run.case, repeat=run.repeat, duration=run.duration,
            split=Split(framework=run.split.framework), cpu=run.cpu / 2,
        )
        for run in comparison.runs
        if run.succeeded
    )  # fmt: skip
    return in_mode(comparison, "live").model_copy(update={"overhead": again})


def only(key: str, **factors: float) -> Change:
    """Stretch a framework's runs, by case."""
    return lambda run: (
        {"duration": run.duration * factors.get(run.case, 1)} if run.framework == key else {}
    )


def test_the_sample_is_answered():
    assert told(sample()) == (
        "Runs that succeeded: simple 10 of 10, langgraph 10 of 10, crewai 9 of 10; these rates cannot"
        " be told apart. What failed: server_error at draft (the server had an error (500), three"
        " times).\n"
        "Every run that succeeded passed its checks.\n"
        "With simulated models, simple takes least time of its own: 3.53 ms a run, against 19.1 ms"
        " on langgraph (5.22 ×) and 142 ms on crewai (38.7 ×; 7.40 × langgraph's).\n"
        "crewai needs most input tokens: 591 a run, against 227 on simple (2.60 ×).\n"
        "All 3 gave exactly the same outputs, though those of draft differ on the way, as the prompts"
        " do that a stand-in answers by.\n"
        "langgraph emulates 1 feature of this workflow (talea explain tells how); pydantic is held"
        " back in the environment they share (not with --isolate)."
    )


def test_where_a_busy_machine_hides_a_difference_cpu_time_tells_it():
    def disturbed(run: RunRecord) -> dict[str, Any]:
        """Give simple now and then a time that is as long as crewai's."""
        slow = run.framework == "simple" and run.repeat in (1, 3)
        own = run.split.framework * (40 if slow else 1)
        return {"split": run.split.model_copy(update={"framework": own})}

    first, second, *_ = answer(
        comparison := changed(sample(fails=False, cases=1), disturbed), summarise(comparison)
    )
    assert re.fullmatch(
        r"With simulated models, simple and langgraph take least time of their own"
        r" \(\S+ ms and \S+ ms a run, too noisy to tell apart\),"
        r" against \d+ ms on crewai \(\S+ × langgraph's\)\. More repeats \(--repeat\) tell more\.",
        first,
    )
    assert second.startswith("simple takes least CPU time: ")
    undisturbed = sample(fails=False, cases=1)
    assert "CPU" not in told(undisturbed)


def test_one_that_noise_hides_does_not_lead_those_that_are_told_apart():
    def disturbed(run: RunRecord) -> dict[str, Any]:
        """Let crewai be anywhere between simple and ten times itself."""
        noise = (0.02, 1, 2, 0.02, 1)[run.repeat] if run.framework == "crewai" else 1
        own = run.split.framework * noise
        return {"split": run.split.model_copy(update={"framework": own})}

    first, *_ = answer(
        comparison := changed(sample(fails=False, cases=1), disturbed), summarise(comparison)
    )
    assert re.fullmatch(
        r"With simulated models, simple takes least time of its own: \S+ ms a run, against \S+ ms on"
        r" langgraph \(\S+ ×\) and \d+ ms on crewai \(too noisy to tell\)\. More repeats"
        r" \(--repeat\) tell more\.",
        first,
    )


def test_where_all_went_well_a_decision_is_read_first():
    told = answer(comparison := sample(fails=False), summarise(comparison))
    assert "simple takes least time of its own" in told[0]
    assert told[2] == (
        "All 30 runs succeeded and passed every check. All 3 gave exactly the same outputs, though"
        " those of draft differ on the way, as the prompts do that a stand-in answers by."
    )
    assert len(told) == 4


@pytest.mark.parametrize("mode", ["offline", "replay"])
def test_without_a_model_nobody_is_called_faster(mode: str):
    comparison = in_mode(sample(repeats=20, fails=False), mode)
    text = told(comparison)
    assert "takes least time of its own" in text
    assert "fast" not in text


def test_whole_runs_are_told_where_models_take_time_and_they_differ():
    slow = only("langgraph", europe=2, asia=2)
    two = sample(frameworks=("simple", "langgraph"), repeats=10)
    assert "\nsimple has the shortest whole run: 1.8" in told(changed(two, slow))

    def instant(run: RunRecord) -> dict[str, Any]:
        own = run.split.framework
        return {"split": Split(framework=own), "duration": own}

    assert "whole run" not in told(changed(sample(repeats=10), instant))
    assert "whole run" not in told(sample(frameworks=("simple", "langgraph")))


def test_a_live_models_noise_is_no_ranking_and_overhead_is_told_beside_it():
    first, second, *_ = answer(
        comparison := live(sample(frameworks=("simple", "langgraph"), fails=False)),
        summarise(comparison),
    )
    assert first == (
        "There is no measurable difference in the time of a run: langgraph 1.84 s, simple 1.87 s."
    )
    assert second.startswith(
        "With models and tools that take no time, simple takes least time of its own:"
    )
    assert second.endswith(" That is 0.2 % of a run's time on simple and 1 % on langgraph.")
    assert "no time" not in told(in_mode(sample(), "live"))


def test_a_live_difference_is_told_with_its_interval_where_it_is_near_to_none():
    two = sample(frameworks=("simple", "langgraph"), fails=False, repeats=12)
    comparison = live(two)
    slow = only("langgraph", europe=1.5, asia=1.5)
    first = answer(changed(comparison, slow), summarise(changed(comparison, slow)))[0]
    assert re.fullmatch(
        r"simple is fastest: 1.\d\d s a run, against 2.\d\d s on langgraph \(1.\d\d to 1.\d\d ×\)\.",
        first,
    )
    slower = only("simple", europe=4, asia=4)
    assert re.match(
        r"langgraph is fastest: .* on simple \(3.\d\d ×\)", told(changed(comparison, slower))
    )


def test_several_may_be_ahead_and_one_with_too_few_runs_is_not_ranked():
    comparison = changed(live(sample(fails=False, repeats=10)), only("crewai", europe=3, asia=3))
    assert "simple and langgraph are fastest (" in told(comparison)

    def rare(run: RunRecord) -> dict[str, Any]:
        return failed(run) if run.framework == "langgraph" and run.repeat else {}

    text = told(changed(comparison, rare))
    assert "simple is fastest: " in text
    assert " on langgraph (too few repeats to tell)" in text


def test_a_ranking_that_turns_with_the_case_is_told():
    comparison = live(sample(frameworks=("simple", "langgraph"), fails=False, repeats=10))
    turned = changed(comparison, only("langgraph", europe=2, asia=0.5))
    assert (
        "The time of a run depends on the case: simple takes less than langgraph in europe, and"
        " more in asia." in told(turned)
    )
    assert "depends" not in told(changed(comparison, only("langgraph", europe=2, asia=1)))


def test_too_few_repeats_rank_nobody():
    text = told(in_mode(sample(repeats=1, cases=1, fails=False), "live"))
    assert "There are too few repeats to tell the time of a run apart: simple 1" in text
    assert "fastest" not in text


def test_all_failed():
    text = told(changed(sample(), failed))
    assert (
        "All 30 runs failed on simple, langgraph and crewai: timeout in 24 runs (no); internal in"
        " 6 runs (no)." in text
    )
    for claim in ("least", "same outputs", "most"):
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
    assert text.startswith(
        "All 10 runs succeeded on simple and passed every check."
        " simple gave the same outputs in every repeat.\nA run takes 1.8"
    )
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


def test_an_interrupt_is_told_first_and_other_notes_late():
    note = ("interrupted: it ended early",)
    cut = sample().model_copy(
        update={"runs": sample().runs[:9], "interrupted": True, "notes": note}
    )
    assert answer(cut, summarise(cut))[0] == (
        "This is not complete: 9 of 30 runs were made (interrupted: it ended early)."
    )
    noted = sample().model_copy(update={"notes": ("the tape is full",)})
    assert answer(noted, summarise(noted))[-2] == "Beside the runs: the tape is full."


def test_one_that_was_turned_out_is_named_and_leaves_nothing_incomplete():
    base = sample()
    out = base.contenders[2].model_copy(update={"refused": "3 runs in a row ended its process"})
    runs = tuple(run for run in base.runs if run.framework != "crewai" or run.repeat < 3)
    text = told(base.model_copy(update={"contenders": (*base.contenders[:2], out), "runs": runs}))
    assert "crewai was turned out (3 runs in a row ended its process)" in text
    assert "not complete" not in text


def test_outputs_that_differ_are_put_down_to_a_framework_only_if_steady():
    def steady(task: str, framework: str, repeat: int) -> str:
        return f"{task} by {framework}"

    assert "Outputs differ between frameworks, though each gives the same every time." in told(
        in_mode(sample(output=steady, fails=False), "replay")
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


def test_offline_outputs_that_differ_are_the_stand_ins_unless_no_model_was_asked():
    def by(*tasks: str) -> Callable[[str, str, int], str]:
        return lambda task, framework, repeat: f"{task} by {framework}" if task in tasks else task

    text = told(sample(output=by("draft", "publish"), fails=False))
    assert "Outputs differ, as the prompts do: offline a stand-in answers by the prompt." in text
    text = told(sample(output=by("prices", "draft", "publish"), fails=False))
    assert "Outputs differ between frameworks, though each gives the same every time." in text


def test_offline_nobody_judges_and_that_is_said():
    why = "offline: a stand-in agrees with everything"
    verdict = Verdict(check="Is it kind?", passed=True, why=why)
    text = told(changed(sample(fails=False), lambda run: {"verdicts": (verdict,)}))
    assert "\nChecks that ask a judge say nothing here: offline a stand-in judges" in text
    assert "judge" not in told(sample())


def test_faults_and_fallbacks_are_told_by_framework_where_they_differ():
    def disturbed(run: RunRecord) -> dict[str, Any]:
        first, *others = run.calls
        hit = first.model_copy(update={"fault": "status"})
        often = run.framework == "crewai" and run.repeat == 0
        draft = run.tasks["draft"].model_copy(update={"recovered": often})
        notes = run.tasks["notes"].model_copy(update={"recovered": True})
        return {
            "calls": (hit, *others),
            "retries": 2 if often else 1,
            "tasks": {**run.tasks, "notes": notes, "draft": draft},
        }

    text = told(changed(sample(fails=False), disturbed))
    assert (
        "\n30 of 120 model calls went wrong on purpose; tasks were retried 32 times (simple 10,"
        " langgraph 10, crewai 12); notes ended by its fallback in every run; draft ended by its"
        " fallback in 2 of 30 runs (simple 0, langgraph 0, crewai 2)." in text
    )
    settings = sample().settings.model_copy(update={"faults": "faults.yaml"})
    nothing = told(sample().model_copy(update={"settings": settings}))
    assert "No model call went wrong on purpose: no rule for faults met one." in nothing


def test_a_recording_that_lacks_an_answer_is_to_be_made_again():
    def stale(run: RunRecord) -> dict[str, Any]:
        error = Problem(type="replay_exhausted", message="nothing at 'risk'", address="risk")
        return {"status": "failed", "outputs": None, "error": error}

    assert (
        "replay_exhausted at risk (nothing at 'risk'). Where the workflow has changed since it was"
        " recorded, record again (--record)." in told(in_mode(changed(sample(), stale), "replay"))
    )


def test_tasks_that_wait_for_others_on_one_framework_are_told():
    def late(run: RunRecord) -> dict[str, Any]:
        prices = run.tasks["prices"]
        started = 0.5 if run.framework == "langgraph" else 0.004
        waiting = prices.model_copy(update={"ready": 0.0, "started": started})
        return {"tasks": {**run.tasks, "prices": waiting}}

    text = told(changed(sample(fails=False), late))
    assert re.search(
        r"\nTasks wait for others that they do not depend on, all together: \S+ ms on simple,"
        r" 5\d\d ms on langgraph and \S+ ms on crewai a run\.\n",
        text,
    )
    assert "Tasks wait" not in told(sample(fails=False))


def test_many_are_compared_with_the_first_alone():
    many = tuple(f"simple{n}" for n in range(5))
    base = sample(fails=False)
    runs = tuple(
        run.model_copy(
            update={
                "framework": key,
                "split": Split(framework=0.01 * 2**n * (1 + run.repeat / 50), model=1),
            }
        )
        for n, key in enumerate(many)
        for run in base.of("simple")
    )
    contenders = tuple(base.contenders[0].model_copy(update={"key": key}) for key in many)
    text = told(base.model_copy(update={"contenders": contenders, "runs": runs}))
    assert "simple0 takes least time of its own" in text and "simple3 (8.00 ×) and" in text


def test_checks_name_what_failed_and_why_once():
    def judged(run: RunRecord) -> dict[str, Any]:
        passed = run.framework != "crewai" or run.repeat > 1
        why = None if passed else f"it is rude, {run.repeat + 1} times.\n"
        return {
            "verdicts": (
                Verdict(check="tone", passed=passed, why=why),
                Verdict(check="size", passed=True),
            )
        }

    text = told(changed(sample(fails=False), judged))
    first, *_ = text.split("\n")
    assert first == (
        "Runs that passed every check: simple 10 of 10, langgraph 10 of 10, crewai 6 of 10"
        ". What failed: tone (it is rude, 1 times)."
    )
    assert "All 30 runs succeeded on simple, langgraph and crewai." in text


def test_runs_that_were_to_fail_and_did_are_no_failures():
    def meant(run: RunRecord) -> dict[str, Any]:
        verdict = Verdict(check="status", passed=True, of_end=True)
        return failed(run) | {"verdicts": (verdict,)} if run.case == "asia" else {}

    some = changed(sample(fails=False), meant)
    assert "All 30 runs ended as they should (15 were to fail)." in told(some)
    every = changed(
        sample(fails=False, cases=1), lambda run: meant(run.model_copy(update={"case": "asia"}))
    )
    assert told(every).startswith("Every run failed, as it should.")


def test_what_several_emulate_is_said_once():
    base = sample()
    contenders = tuple(
        one.model_copy(update={"emulated": {"retry": "x", "limits": "y"}, "held_back": ()})
        for one in base.contenders
    )
    assert told(base.model_copy(update={"contenders": contenders})).endswith(
        "\nsimple, langgraph and crewai emulate 2 features of this workflow each (talea explain tells"
        " how)."
    )


def test_what_is_held_back_is_said_once():
    base = sample()
    held = ("openai 2.30: crewai wants <3", "pydantic 2.11: litellm wants <2.12")
    contenders = tuple(one.model_copy(update={"held_back": held}) for one in base.contenders[:2])
    comparison = base.model_copy(
        update={
            "contenders": (
                *contenders,
                base.contenders[2].model_copy(update={"held_back": ("by hand",)}),
            )
        }
    )
    assert told(comparison).endswith(
        "; crewai was held back (by hand); openai and pydantic are held back in the environment they"
        " share (not with --isolate)."
    )


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
