"""The report, in a real Chromium: what it shows, that it works, and that nothing gets into it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from compare.browser import DESKTOP, PHONE, Open, Visit
from compare.sample import BRIEF, FRAMEWORKS, TEXTS, many, sample
from talea import load, loads
from talea.compare import prompts
from talea.compare.particulars import outline_of
from talea.compare.record import (
    Comparison,
    Contender,
    Overhead,
    Problem,
    Span,
    Split,
    Used,
    Verdict,
)
from talea.compare.report import comparison_in, to_html
from talea.compare.statistics import against
from talea.drawing import draw_svg
from talea.errors import UsageError
from talea.plan import make_plan

EXAMPLE = Path(__file__).parents[2] / "examples" / "01_market_brief" / "workflow.yaml"
HOSTILE = (
    "\"'><script>window.pwned=1</script></script><img src=x onerror=window.pwned=1>"
    '<svg onload=window.pwned=1></svg><a href="javascript:window.pwned=1">x</a>'
    "<style>body{display:none}</style><!-- \u202etxt.\u2066 \u2028 \x1b[31m &lt; {{ 1 }} "
    + "W"
    * 400
)
KEPT = {"kind", "mode", "status", "began", "role"}
"""Fields whose words mean something; all other text is anybody's."""


def poisoned(value: Any, poison: str = HOSTILE, field: str = "") -> Any:
    """Put poison into every text and every name of a comparison; what was equal stays equal."""
    if isinstance(value, BaseModel):
        parts = {
            name: poisoned(getattr(value, name), poison, name) for name in type(value).model_fields
        }
        return value.model_copy(update=parts)
    if isinstance(value, dict):
        fixed = field == "prompt"
        return {
            k if fixed else k + poison: poisoned(v, poison, k if fixed else "")
            for k, v in value.items()
        }
    if isinstance(value, tuple | list):
        return type(value)(poisoned(one, poison, field) for one in value)
    return value + poison if isinstance(value, str) and field not in KEPT else value


@pytest.fixture
def show(browse: Open, tmp_path: Path):
    """Opens a comparison's report."""

    def open_report(comparison: Comparison, **options: Any) -> Visit:
        file = tmp_path / "report.html"
        file.write_text(to_html(comparison), encoding="utf-8")
        return browse(file, **options)

    return open_report


def picture() -> str:
    return draw_svg(make_plan(load(EXAMPLE)))


# The data and the text, without a browser.


@pytest.mark.parametrize(
    "comparison",
    [sample(picture="<svg/>"), poisoned(sample(cases=1, repeats=2))],
    ids=["plain", "hostile"],
)
def test_a_report_holds_its_comparison(comparison: Comparison):
    page = to_html(comparison)
    assert Comparison.from_json(comparison_in(page, "report.html")) == comparison


def test_a_page_without_a_comparison_is_refused_by_name(tmp_path: Path):
    with pytest.raises(UsageError, match=r"page\.html holds no comparison") as caught:
        comparison_in("<p>hello</p>", "page.html")
    assert "talea compare --out" in str(caught.value.hint)
    file = tmp_path / "report.html"
    file.write_text(to_html(sample()), encoding="utf-8")
    assert Comparison.read(file) == sample()


def test_the_policy_allows_this_style_and_script_alone():
    page = to_html(sample())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy[1].replace("&#x27;", "'").split("; "))
    digests = {
        name: f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for name, text in re.findall(
            r"<(style|script)(?: type=\"module\")?>(.*?)</\1>", page, re.DOTALL
        )
    }
    assert rules["style-src"] == digests["style"]
    assert rules["script-src"] == digests["script"]
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("Make notes on grid batteries in Europe. Search the archive, and look the price index up.", ""),
        ("Begin! Make notes on grid batteries in Europe. Search the archive.", "Begin! "),
        ("Role: Market analyst", ""),
        ("Sources: Grid Weekly, 12 May; price index.\nDo your best, always.", "Do your best, always."),
    ],
)  # fmt: skip
def test_words_of_the_workflow_its_inputs_and_outputs_are_its_own(text: str, foreign: str):
    comparison = sample()
    corpus = prompts.Corpus(
        map(prompts.Text, [comparison.outline.source or "", "grid batteries", str(TEXTS["draft"])]),
        [text],
    )
    own, at = "", 0
    rest = ""
    for start, end in corpus.ranges(text):
        rest, own, at = rest + text[at:start], own + text[start:end], end
    assert (rest + text[at:]).strip("\n") == foreign


def test_what_a_framework_adds_is_counted_for_it_alone():
    added = prompts.added(prompts.readings(sample()))
    assert added["crewai"] > 4 * 300 > 100 > added["simple"] == added["langgraph"]


def test_the_text_of_a_workflow_is_kept_however_it_was_made():
    nested = EXAMPLE.parents[1] / "05_nested" / "workflow.yaml"
    kept = outline_of(make_plan(load(nested))).source or ""
    inner = nested.with_name("localise.yaml").read_text(encoding="utf-8")
    assert kept.startswith(nested.read_text(encoding="utf-8"))
    assert kept.count(inner) == 1
    made = {
        "name": "made",
        "agents": {"a": {}},
        "tasks": {"t": {"agent": "a", "prompt": "Say hello."}},
    }
    assert "prompt: Say hello." in (outline_of(make_plan(loads(json.dumps(made)))).source or "")


def test_what_a_model_said_later_is_not_the_workflows_own():
    comparison = sample(cases=1, repeats=1, fails=False, output=echo)
    run = comparison.of("crewai")[0]
    reading = prompts.readings(comparison)[str(run.order)]
    first = next(at for at, call in enumerate(run.calls) if call.address == "notes")
    after = next(at for at, call in enumerate(run.calls) if call.address == "draft")
    assert reading.added[first] > 300 > reading.added[after]


def echo(task: str, framework: str, repeat: int) -> str:
    """Give an output as a stand-in does: what it was asked."""
    return " ".join(FRAMEWORKS[framework].added) + f" {task}"


def test_long_texts_that_come_again_stand_in_a_page_once(show: Any):
    def output(task: str, framework: str, repeat: int) -> Any:
        long = f"{task} " + "word " * 10_000
        return {"text 0": [long, "text 0", '"text 1', None]} if task == "notes" else long

    comparison = sample(output=output, cases=1, repeats=4, fails=False)
    page = to_html(comparison)
    assert len(page) < len(comparison.model_dump_json()) / 5
    assert Comparison.from_json(comparison_in(page, "report.html")) == comparison
    visit = show(comparison)
    visit.page.get_by_role("button", name="notes on crewai").click()
    side = visit.page.locator("tr.opened .side").first
    side.get_by_role("button", name="Show all").click()
    shown = json.loads(side.locator("pre").text_content())
    assert shown == output("notes", "crewai", 0)
    assert visit.faults == []


@pytest.mark.parametrize("number", ["", "x", "9", "1" * 5000])
def test_a_page_whose_texts_are_not_there_is_refused(number: str):
    comparison = sample(output=lambda *_: "word " * 30_000, cases=1, repeats=2, fails=False)
    page = to_html(comparison).replace('"output":"text 0"', f'"output":"text {number}"')
    with pytest.raises(UsageError, match="holds no comparison that can be read"):
        comparison_in(page, "report.html")


# In a browser.


def test_what_decides_most_is_seen_before_the_table(show: Any):
    page = show(sample(), java_script_enabled=False).page
    gauges = page.locator(".gauge")
    assert gauges.locator("h3").all_inner_texts() == [
        "Runs that passed their checks",
        "Duration of a run",
        "In the framework itself",
        "Before the first run import and compile",
        "Peak memory",
        "Cost of a run",
    ]
    assert gauges.first.locator("li").all_inner_texts()[2].split("\n") == ["crewai", "9 of 10"]
    longest = "bars => bars.map(bar => bar.width.baseVal.value)"
    widths = gauges.nth(4).locator("rect.framework").evaluate_all(longest)
    assert widths == pytest.approx([100 * 71 / 318, 100 * 124 / 318, 100], abs=1)


def test_overhead_is_told_where_models_were_asked_for_real(show: Any):
    comparison = sample(fails=False)
    overhead = tuple(
        Overhead(
            framework=key, case=case.id, repeat=repeat, duration=0.02 * at, cpu=0.01,
            split=Split(framework=0.01 * at + 0.0001 * repeat),
        )
        for at, key in enumerate(("simple", "langgraph", "crewai"), 1)
        for case in comparison.cases
        for repeat in range(5)
    )  # fmt: skip
    live = comparison.settings.model_copy(update={"mode": "live", "recorded": "tapes"})
    page = show(comparison.model_copy(update={"overhead": overhead, "settings": live})).page
    gauge = page.locator(".gauge").filter(has_text="models take no time")
    assert [line.split("\n")[1] for line in gauge.locator("li").all_inner_texts()] == [
        "10.2 ms",
        "20.2 ms",
        "30.2 ms",
    ]
    row = page.locator("#summary tr").filter(has_text="Overhead: models and tools take no time")
    assert row.locator(".main").all_inner_texts() == ["10.2 ms", "20.2 ms", "30.2 ms"]
    assert "Recorded\ntapes" in page.locator("#setup .pairs").last.inner_text()


def test_figures_are_compared_with_whom_the_reader_chooses(show: Any):
    comparison = sample()
    visit = show(comparison)
    page = visit.page
    table = page.locator("#summary .figures")
    row = table.locator("tr").filter(has_text="In the framework itself")
    apart = row.locator("td .apart")
    before = apart.all_inner_texts()
    select = page.get_by_label("Compared with")
    assert select.evaluate("one => one.selectedOptions[0].text") == "simple"
    select.focus()
    page.keyboard.press("ArrowDown")
    words = against(comparison, "crewai", "langgraph")["framework"].words
    assert row.locator("td").nth(2).locator(".apart.worse").inner_text() == words
    assert row.locator("td").nth(0).locator(".apart.better").count() == 1
    assert row.locator("td").nth(1).locator(".apart").count() == 0
    heads = [head.split() for head in table.locator("thead th").all_inner_texts()]
    assert heads == [["simple"], ["langgraph", "reference"], ["crewai"]]
    assert "Differences are multiples of langgraph," in table.locator("caption").inner_text()
    assert (
        page.get_by_role("status").first.inner_text() == "Differences are multiples of langgraph."
    )
    select.select_option("simple")
    assert apart.all_inner_texts() == before
    assert table.locator("tr").filter(has_text="Retries").locator(".apart").count() == 0
    assert visit.faults == []


def test_nobody_is_compared_with_one_that_never_succeeded(show: Any):
    comparison = sample(fails=False)
    failed = tuple(
        run.model_copy(update={"status": "failed"} if run.framework == "crewai" else {})
        for run in comparison.runs
    )
    page = show(comparison.model_copy(update={"runs": failed})).page
    options = page.get_by_label("Compared with").locator("option")
    assert options.all_inner_texts() == ["simple", "langgraph"]
    assert "not known" not in page.locator("#summary .figures").inner_text()
    failed = tuple(
        run.model_copy(update={"status": "failed"} if run.framework == "simple" else {})
        for run in comparison.runs
    )
    page = show(comparison.model_copy(update={"runs": failed})).page
    select = page.get_by_label("Compared with")
    assert select.evaluate("one => one.selectedOptions[0].text") == "langgraph"
    assert page.locator("#summary .figures .apart").count() > 0
    assert show(sample(frameworks=("simple",))).page.get_by_label("Compared with").count() == 0


def test_a_replay_marks_what_was_recorded_and_draws_prompts(show: Any):
    comparison = sample(fails=False)
    settings = comparison.settings.model_copy(update={"mode": "replay"})
    page = show(comparison.model_copy(update={"settings": settings})).page
    assert page.locator(".gauge h3").last.inner_text() == "Prompt characters of a run"
    table = page.locator("#summary .figures")
    for name in ("Tokens in", "Tokens out", "Cost"):
        row = table.locator("tr").filter(has_text=f"{name}, as recorded")
        assert row.locator("td").count() == 3
        assert row.locator(".apart").count() == 0
    calls = table.locator("tr").filter(has_text="Model calls")
    assert calls.locator(".apart").all_inner_texts() == ["the same", "the same"]
    page.locator("#spread-what").select_option(label="Prompt characters")
    told = page.locator("#distributions svg.plot").get_attribute("aria-label")
    assert told.startswith(
        f"Prompt characters: simple median {comparison.runs[0].prompt_characters:,}"
    )
    assert "Tokens in, as recorded" in page.locator("#prompts .side").first.inner_text()


def test_faults_are_told_at_the_head(show: Any):
    comparison = sample(fails=False)
    settings = comparison.settings.model_copy(update={"faults": "storm.yaml"})
    first = comparison.runs[0]
    calls = (first.calls[0].model_copy(update={"fault": "status"}), *first.calls[1:])
    runs = (first.model_copy(update={"calls": calls}), *comparison.runs[1:])
    page = show(comparison.model_copy(update={"settings": settings, "runs": runs})).page
    every = sum(len(run.calls) for run in runs)
    head = page.locator("header").inner_text()
    assert f"Faults 1 of {every} model calls were disturbed by storm.yaml" in head
    assert "offline, simulated models, with faults" in head


def test_each_case_is_told_by_itself_where_there_are_several(show: Any):
    page = show(sample()).page
    rows = page.locator("#cases tbody tr")
    assert rows.locator("th").all_inner_texts() == ["europe", "asia"]
    assert [text.split()[:4] for text in rows.nth(1).locator("td").all_inner_texts()] == [
        ["✓", "5", "of", "5"],
        ["✓", "5", "of", "5"],
        ["!", "4", "of", "5"],
        ["same"],
    ]
    assert rows.nth(0).locator("td").nth(2).locator(".apart.worse").count() == 1
    assert show(sample(cases=1)).page.locator("#cases").count() == 0


def test_runs_that_failed_alike_are_told_together(show: Any):
    comparison = sample(fails=False)
    failed = tuple(
        run.model_copy(
            update={
                "status": "failed",
                "error": Problem(type="rate_limit", message="too many", address="draft"),
            }
        )
        if run.framework == "crewai" or (run.framework == "simple" and not run.repeat)
        else run
        for run in comparison.runs
    )
    page = show(comparison.model_copy(update={"runs": failed})).page
    assert page.locator(".failures li").all_inner_texts() == [
        "simple: rate_limit at draft: too many\neurope, repeat 1; asia, repeat 1",
        "crewai: rate_limit at draft: too many\nall 10 runs",
    ]


def test_many_and_long_names_and_few_repeats_leave_room_for_figures(show: Any):
    comparison = sample(cases=1, repeats=3, fails=False)
    long = {one.key: f"{one.key}:option=value" for one in comparison.contenders}
    renamed = comparison.model_copy(
        update={
            "contenders": tuple(
                one.model_copy(update={"key": long[one.key]}) for one in comparison.contenders
            ),
            "runs": tuple(
                run.model_copy(update={"framework": long[run.framework]}) for run in comparison.runs
            ),
        }
    )
    page = show(renamed).page
    height = "name => name.getBoundingClientRect().height"
    assert {round(name.evaluate(height)) for name in page.locator(".gauge .who").all()} == {
        round(page.locator(".gauge li").first.locator("b").evaluate(height))
    }
    table = page.locator("#summary .figures")
    assert table.inner_text().count("too few repeats to tell") == 1


def test_a_comparison_without_success_has_no_empty_rows(show: Any):
    comparison = sample(cases=1, repeats=2)
    runs = tuple(run.model_copy(update={"status": "failed"}) for run in comparison.runs)
    visit = show(comparison.model_copy(update={"runs": runs}))
    words = visit.page.locator("#summary").inner_text()
    assert "Time of a run" not in words
    assert "Duration" not in words
    assert visit.faults == []


def test_a_comparison_that_was_cut_short_says_so_at_its_head(show: Any):
    comparison = sample(fails=False)
    cut = comparison.model_copy(
        update={"runs": comparison.runs[:11], "notes": ("It was interrupted.",)}
    )
    page = show(cut).page
    assert "11 of 30 (2 cases × 5 repeats)" in page.locator("header").inner_text()
    assert "11 of 30 runs were made" in page.locator(".answer p").first.inner_text()


def test_the_summary_and_its_table_are_there_without_scripts(show: Any):
    page = show(sample(), java_script_enabled=False).page
    table = page.get_by_role("table").first
    assert [head.split() for head in table.get_by_role("columnheader").all_inner_texts()] == [
        ["simple", "reference"],
        ["langgraph"],
        ["crewai"],
    ]
    row = table.get_by_role("row").filter(
        has=page.get_by_role("rowheader", name="Runs that succeeded")
    )
    assert [text.split("\n")[0] for text in row.get_by_role("cell").all_inner_texts()] == [
        "10 of 10",
        "10 of 10",
        "9 of 10",
    ]
    assert page.locator(".answer").is_visible()
    assert page.get_by_role("heading", name="Setup").is_visible()
    assert "talea compare examples/01_market_brief" in page.inner_text("#setup")


def rows(page: Any) -> list[str]:
    return page.eval_on_selector_all(
        "tr[data-address]", "rows => rows.map(row => row.dataset.address)"
    )


def choose(page: Any, name: str) -> None:
    page.locator(f"label[for=filter-{name}]").click()
    assert page.locator(f"#filter-{name}").is_checked()


def test_tasks_are_filtered_searched_and_sorted(show: Any):
    visit = show(sample())
    page = visit.page
    assert rows(page) == [step.name for step in BRIEF]
    choose(page, "different")
    assert rows(page) == ["draft", "check", "publish"]
    choose(page, "failed")
    page.get_by_label("Search").fill("PUB")
    assert rows(page) == ["publish"]
    assert page.locator("#tasks").get_by_role("status").inner_text() == "1 of 6 tasks"
    page.get_by_label("Search").fill("")
    choose(page, "all")
    page.get_by_label("Sort").select_option("name")
    assert rows(page) == sorted(step.name for step in BRIEF)
    page.get_by_label("Sort").select_option("slowest")
    assert rows(page)[:2] == ["notes", "draft"]
    page.get_by_label("Sort").select_option("failed")
    page.locator("#matrix-case").select_option("europe")
    choose(page, "failed")
    assert rows(page) == []
    assert visit.faults == []


def test_a_cell_opens_the_outputs_side_by_side_with_what_differs(show: Any):
    visit = show(sample())
    page = visit.page
    page.get_by_role("button", name="draft on simple").click()
    sides = page.locator("tr.opened .side")
    assert sides.locator("h3").all_inner_texts() == ["simple", "langgraph", "crewai"]
    assert sides.nth(1).inner_text().count("The same as the first.") == 1
    assert sides.nth(2).locator("ins").all_inner_texts() == ["Buyers", " insurance and"]
    assert sides.nth(2).locator("del").all_inner_texts() == ["A buyer"]
    page.locator("#output-case").select_option("asia")
    page.locator("#output-repeat").select_option(index=4)
    assert "server_error: the server had an error (500)" in sides.nth(2).inner_text()
    page.get_by_role("button", name="draft on crewai").click()
    assert sides.locator("h3").all_inner_texts() == ["crewai", "simple", "langgraph"]
    page.get_by_role("button", name="draft on crewai").click()
    assert page.locator("tr.opened").count() == 0
    assert visit.faults == []


def test_the_keyboard_alone_will_do(show: Any):
    visit = show(sample())
    page = visit.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    page.locator("#filter-all").focus()
    page.keyboard.press("ArrowRight")
    assert rows(page) == ["draft", "check", "publish"]
    page.get_by_role("button", name="draft on langgraph").focus()
    page.keyboard.press("Enter")
    opened = page.get_by_role("button", name="draft on langgraph")
    assert opened.get_attribute("aria-expanded") == "true"
    assert opened.evaluate("one => one === document.activeElement")
    outline = opened.evaluate("one => getComputedStyle(one).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    assert page.locator("tr.opened").count() == 0
    assert opened.evaluate("one => one === document.activeElement")


def test_the_timeline_shows_bars_calls_and_waits_on_one_scale(show: Any):
    comparison = sample()
    visit = show(comparison)
    page = visit.page
    page.locator("#timeline-repeat").select_option(index=2)
    plots = page.locator("#timeline .chart svg.plot")
    assert plots.count() == 3
    box = "bars => bars.map(bar => [bar.x.baseVal.value, bar.width.baseVal.value])"
    for key, plot in zip(("simple", "langgraph", "crewai"), plots.all(), strict=True):
        run = next(run for run in comparison.of(key) if run.case == "europe" and run.repeat == 2)
        bars = plot.locator("rect.task").evaluate_all(box)
        assert len(bars) == len(run.tasks)
        longest = max(
            one.duration for one in comparison.runs if one.case == "europe" and one.repeat == 2
        )
        widths = [width for _, width in bars]
        times = [task.ended - task.started for task in run.tasks.values()]
        scale = max(widths) / max(times)
        assert bars[0][0] + longest * scale == pytest.approx(
            float(plot.get_attribute("width")) - 14, abs=1
        )
        assert widths == pytest.approx([max(2, time * scale) for time in times], abs=0.5)
        assert plot.locator("rect.model").count() == run.used.model_calls
        assert plot.locator("rect[fill^='url(#hatch']").count() == 1
    page.locator("#timeline-case").select_option("asia")
    page.locator("#timeline-repeat").select_option(index=4)
    assert plots.nth(2).locator("rect.broken").count() == 1
    assert plots.nth(1).locator("path.ready").count() == 0
    page.locator("#timeline summary").first.click()
    assert page.locator("#timeline table").first.locator("tbody tr").count() == 6
    assert visit.faults == []


def test_what_items_and_rounds_did_is_drawn_at_their_task(show: Any):
    comparison = sample(cases=1, repeats=1, fails=False)
    run = comparison.runs[0]
    moved = {"notes": "notes[1]", "draft": "draft#0", "risks": "elsewhere/risks"}
    spans = tuple(
        span.model_copy(
            update={
                "address": moved.get(span.address, span.address),
                "began": span.began - 0.5 * (span.address == "draft"),
            }
        )
        for span in run.spans
    )
    changed = comparison.model_copy(
        update={"runs": (run.model_copy(update={"spans": spans}), *comparison.runs[1:])}
    )
    plot = show(changed).page.locator("#timeline svg.plot[role=img]").first
    assert plot.locator("rect.model").count() == 3
    assert plot.locator("path.earlier").count() == 1


def test_items_of_a_map_have_rows_of_their_own_and_count_as_side_by_side(show: Any):
    comparison = sample(cases=1, repeats=1, fails=False)
    run = comparison.runs[0]
    notes = run.tasks["notes"]
    spans = tuple(
        Span(kind=kind, address=f"notes[{at}]#0", began=at * 0.01 + begins, duration=0.1)
        for at in range(11)
        for kind, begins in (("model", 0.0), ("tool", 0.1))
    )
    only = run.model_copy(update={"tasks": {"notes": notes}, "spans": spans})
    visit = show(comparison.model_copy(update={"runs": (only, *comparison.runs[1:])}))
    chart = visit.page.locator("#timeline .chart").first
    assert chart.locator("text.item").all_text_contents() == [f"[{at}]" for at in range(11)]
    assert chart.locator("rect.item").count() == 11
    assert "up to 11 tasks at once" in chart.locator("h3").inner_text()
    assert (
        "Calls of models and tools at once: at most 11"
        in chart.locator("title").all_text_contents()
    )
    assert "one task at a time" not in visit.page.locator("#timeline").inner_text()
    assert visit.faults == []


def test_what_is_within_a_task_stands_below_it_in_order(show: Any):
    comparison = sample(cases=1, repeats=1, fails=False)
    run = comparison.runs[0]
    ended = (
        "draft[1]/b",
        "draft[10]/b/y",
        "draft[1]/b/z",
        "draft[1]/a",
        "draft[10]/b",
        "draft[2]/b",
    )
    inner = {
        address: run.tasks["notes"].model_copy(update={"started": 0.5 - at * 0.01})
        for at, address in enumerate(ended)
    }
    tasks = inner | {"draft": run.tasks["draft"], "notes": run.tasks["notes"]}
    only = run.model_copy(update={"tasks": tasks, "spans": ()})
    visit = show(comparison.model_copy(update={"runs": (only,)}))
    assert [one for one in rows(visit.page) if one.startswith("draft")] == [
        "draft",
        "draft[1]/a",
        "draft[1]/b",
        "draft[1]/b/z",
        "draft[2]/b",
        "draft[10]/b",
        "draft[10]/b/y",
    ]
    names = visit.page.locator("#timeline .chart").first.locator("text.name").all_text_contents()
    assert names == ["notes", "draft", "[1]/a", "[1]/b", "z", "[2]/b", "[10]/b", "y"]
    assert visit.page.locator("tr[data-address='draft[1]/b/z'] th").inner_text() == "draft[1]/b/z"
    assert visit.faults == []


def test_a_task_may_be_called_as_what_objects_inherit(show: Any):
    names = {"notes": "constructor", "risks": "__proto__", "draft": "toString"}
    steps = tuple(
        replace(
            step,
            name=names.get(step.name, step.name),
            after=tuple(names.get(one, one) for one in step.after),
        )
        for step in BRIEF
    )
    comparison = sample(steps=steps, cases=1, repeats=2, fails=False)
    cut = comparison.runs[-1].model_copy(update={"tasks": {}, "spans": ()})
    visit = show(comparison.model_copy(update={"runs": (*comparison.runs[:-1], cut)}))
    assert visit.page.get_by_role("button", name="__proto__ on simple: 2/2").is_visible()
    assert visit.page.get_by_role("button", name="constructor on crewai: 1/2").is_visible()
    visit.page.get_by_role("button", name="toString on crewai").click()
    visit.page.locator("#output-repeat").select_option(index=1)
    assert "Not reached." in visit.page.locator("tr.opened .side").first.inner_text()
    assert visit.faults == []


def test_a_task_that_was_ready_before_it_began_shows_so(show: Any):
    comparison = sample(cases=1, repeats=1, fails=False)
    late = comparison.runs[1]
    tasks = late.tasks | {"prices": late.tasks["prices"].model_copy(update={"started": 0.1})}
    runs = (comparison.runs[0], late.model_copy(update={"tasks": tasks}), comparison.runs[2])
    plots = show(comparison.model_copy(update={"runs": runs})).page.locator(
        "#timeline .chart svg.plot"
    )
    assert [plot.locator("path.ready").count() for plot in plots.all()] == [0, 1, 0]


def test_an_axis_of_minutes_is_read_as_a_clock(show: Any):
    comparison = sample(cases=1, repeats=1, fails=False)
    runs = tuple(run.model_copy(update={"duration": 150.0}) for run in comparison.runs)
    slow = comparison.model_copy(update={"runs": runs})
    visit = show(slow)
    words = "texts => texts.map(text => text.textContent)"
    axis = visit.page.locator("#timeline svg.plot[role=img]").first.locator("text:not([class])")
    told = [text for text in axis.evaluate_all(words) if not text.startswith("calls")]
    assert told == [f"{at // 2}:{30 * (at % 2):02} min" for at in range(6)]
    assert visit.faults == []


def test_durations_have_a_mark_for_each_run(show: Any):
    comparison = sample()
    visit = show(comparison)
    page = visit.page
    groups = page.locator("#distributions svg.plot > g")
    assert [group.locator(".cross").count() for group in groups.all()] == [0, 0, 1]
    # One of the marks stands beside the name.
    assert [group.locator(".dot").count() - 1 for group in groups.all()] == [10, 10, 9]
    page.locator("#spread-case").select_option("europe")
    assert [group.locator(".dot").count() - 1 for group in groups.all()] == [5, 5, 5]
    page.locator("#spread-what").select_option(label="Task draft")
    took = sorted(
        run.tasks["draft"].ended - run.tasks["draft"].started
        for run in comparison.of("simple")
        if run.case == "europe"
    )
    told = page.locator("#distributions svg.plot").get_attribute("aria-label")
    assert told.startswith(
        f"Duration of draft: simple median {took[2] * 1000:.0f} ms, {took[0] * 1000:.0f} ms to {took[4] * 1000:.0f} ms; langgraph"
    )
    assert visit.faults == []


def test_prompts_mark_what_the_workflow_does_not_say(show: Any):
    visit = show(sample())
    page = visit.page
    about = page.locator("#prompts .title p").inner_text()
    assert about.endswith("the framework does, or talea's plugin for it.")
    page.locator("#prompt-call").select_option("draft, turn 1")
    sides = page.locator("#prompts .side")
    assert sides.nth(0).locator("mark").count() == 0
    marked = " ".join(sides.nth(2).locator("mark").all_inner_texts())
    assert "your job depends on it!" in marked
    assert "Write a brief of at most two hundred words" not in marked
    assert "Write a brief of at most two hundred words" in sides.nth(2).inner_text()
    assert visit.faults == []


def test_marks_stand_right_in_text_beyond_the_basic_plane(show: Any):
    comparison = sample(cases=1, repeats=1, fails=False)
    prompt = (
        {
            "role": "user",
            "content": "🦉🦉🦉 Say in three sentences what could go wrong 🦉 and be quick",
        },
    )
    run = comparison.runs[0]
    calls = (run.calls[0].model_copy(update={"prompt": prompt}), *run.calls[1:])
    changed = comparison.model_copy(
        update={"runs": (run.model_copy(update={"calls": calls}), *comparison.runs[1:])}
    )
    side = show(changed).page.locator("#prompts .side").first
    assert side.locator("mark").all_inner_texts() == ["and be quick"]


def test_checks_say_how_many_runs_passed(show: Any):
    page = show(sample()).page
    row = page.locator("#checks tr").filter(has_text="contains 'Sources'")
    assert row.locator("th").inner_text().endswith("all 2 cases")
    assert row.locator("td").all_inner_texts() == ["✓ 10 of 10", "✓ 10 of 10", "! 9 of 10"]
    below = page.locator("#checks tbody").filter(has_text="contains 'Sources'").locator(".why li")
    assert below.all_inner_texts() == ["the run failed\nasia: crewai 1"]


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_what_was_wrong_with_many_runs_is_told_once(show: Any, viewport: dict[str, int]):
    comparison = sample(fails=False)
    told = ("it raised AttributeError: no such thing", *(f"it was {n}" for n in range(4)))

    def verdicts(framework: str, case: str, repeat: int) -> tuple[Verdict, ...]:
        odd = framework == "crewai" and case == "asia"
        return (
            Verdict(check="is_polite", passed=False, why=told[repeat if odd else 0]),
            Verdict(check="short", passed=True),
        )

    runs = tuple(
        run.model_copy(update={"verdicts": verdicts(run.framework, run.case, run.repeat)})
        for run in comparison.runs
    )
    visit = show(comparison.model_copy(update={"runs": runs}), viewport=viewport)
    first, second = visit.page.locator("#checks tbody").all()
    assert second.locator(".why").count() == 0
    reasons = first.locator(".why li")
    assert reasons.first.inner_text() == (
        f"{told[0]}\nall 2 cases: simple 10, langgraph 10, crewai 6"
    )
    assert not reasons.nth(3).is_visible()
    first.get_by_text("2 more reasons").click()
    assert reasons.nth(4).inner_text() == f"{told[4]}\nasia: crewai 1"
    width = "cell => Math.round(cell.getBoundingClientRect().width)"
    columns = [cell.evaluate(width) for cell in first.locator("tr").first.locator("td").all()]
    assert max(columns) - min(columns) <= 1
    assert visit.wide()[0] <= visit.wide()[1]


def test_what_a_judge_used_is_told_beside_the_frameworks(show: Any):
    comparison = sample(cases=1, repeats=1, fails=False)
    used = Used(model_calls=1, input_tokens=700, output_tokens=5, cost=0.002)
    judged = Verdict(check="is neutral?", passed=True, used=used)
    runs = tuple(run.model_copy(update={"verdicts": (judged,)}) for run in comparison.runs)
    page = show(comparison.model_copy(update={"runs": runs})).page
    assert page.locator("#checks caption").inner_text() == (
        "How many runs passed each check. A model judged, in 3 calls with 2,100 tokens in and 15"
        " out, $0.0060; that counts for no framework."
    )


def test_what_a_command_asks_for_and_writes_over_is_told_beside_it(show: Any):
    comparison = sample(cases=1, repeats=1)
    command = "talea compare 'my flow.yaml' --record tapes/it.yaml --record-tools -f simple"
    live = comparison.settings.model_copy(
        update={"mode": "live", "recorded": "tapes/it.yaml", "command": command}
    )
    page = show(comparison.model_copy(update={"settings": live})).page
    setup = page.locator("#setup")
    assert "This asks models again and records over tapes/it.yaml." in setup.inner_text()
    assert setup.locator(".command pre").all_inner_texts() == [
        command,
        "talea compare 'my flow.yaml' -f simple --replay tapes/it.yaml",
    ]
    assert "asks models" not in show(comparison).page.locator("#setup").inner_text()


def test_inner_tasks_are_told_beside_the_workflows_own(show: Any):
    comparison = sample(cases=1, repeats=1, fails=False)
    run = comparison.runs[0]
    tasks = run.tasks | {f"draft[{at}]/a": run.tasks["notes"] for at in range(2)}
    inner = comparison.model_copy(update={"runs": (run.model_copy(update={"tasks": tasks}),)})
    page = show(inner).page
    assert page.locator("#workflow .title p").inner_text() == "6 tasks, 1 case"
    told = page.locator("#tasks [role=status]")
    assert told.inner_text() == "8 rows: 6 tasks, and 2 within them"
    page.get_by_label("Search").fill("[0]")
    assert told.inner_text() == "1 of 8 rows: 6 tasks, and 2 within them"


def test_a_phone_shows_the_picture_as_large_as_it_was_drawn(show: Any):
    drawn = picture()
    visit = show(sample(picture=drawn), viewport=PHONE)
    image = visit.page.locator(".picture img")
    natural, shown, box = image.evaluate(
        "one => [one.naturalWidth, one.getBoundingClientRect().width, one.parentElement.clientWidth]"
    )
    assert shown >= natural > box
    assert visit.wide()[0] <= visit.wide()[1]


def test_light_and_dark_follow_the_system_and_the_reader(show: Any):
    visit = show(sample(), color_scheme="dark")
    page = visit.page
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Show in light colours").click()
    light = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == light
    assert visit.faults == []


def test_those_who_took_no_part_and_cut_runs_are_told(show: Any):
    whole = sample(cases=1, repeats=2, fails=False)
    refused = Contender(key="autogen", framework="autogen", refused="needs `teams`, which it lacks")
    cut = whole.model_copy(
        update={
            "contenders": (*whole.contenders, refused),
            "runs": whole.runs[:4],
            "notes": ("interrupted",),
        }
    )
    visit = show(cut)
    assert "needs `teams`, which it lacks" in visit.page.inner_text("#setup")
    assert "interrupted" in visit.page.inner_text("#summary")
    notice = visit.page.locator("#summary .notice").all_inner_texts()
    assert notice == ["autogen did not take part: needs `teams`, which it lacks"]
    assert visit.faults == []


def test_one_framework_alone_is_not_drawn_beside_others(show: Any):
    page = show(sample(frameworks=("simple",))).page
    assert page.locator(".gauge").count() == 0
    assert page.locator("#summary .figures").is_visible()


def test_a_comparison_in_which_nothing_ran_is_a_page_too(show: Any):
    refused = Contender(key="autogen", framework="autogen", refused="is broken")
    visit = show(
        sample(cases=1, repeats=1).model_copy(update={"contenders": (refused,), "runs": ()})
    )
    links = visit.page.locator("nav.ways a").all_inner_texts()
    assert links == ["Summary", "Workflow", "Setup"]
    assert visit.faults == []


# What must not be.


@pytest.mark.parametrize("picture_", ["<svg", "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script><image href='http://127.0.0.1:9/x.png'/></svg>"])  # fmt: skip
def test_hostile_texts_inject_nothing(show: Any, picture_: str):
    comparison = poisoned(sample(cases=1, repeats=3))
    outline = comparison.outline.model_copy(update={"picture": picture_})
    visit = show(comparison.model_copy(update={"outline": outline}), viewport=PHONE)
    page = visit.page
    choose(page, "different")
    page.locator("tr[data-address] .cell").first.click()
    for select in page.locator("#timeline select, #distributions select, #prompts select").all():
        select.select_option(index=select.locator("option").count() - 1)
    for summary in page.locator("summary").all():
        if summary.is_visible():
            summary.click()
    assert page.evaluate("window.pwned") is None
    assert (
        page.evaluate(
            "document.querySelectorAll('main script, main style, main iframe, [onerror], [onload], a[href^=javascript]').length"
        )
        == 0
    )
    assert page.evaluate("document.querySelectorAll('img').length") == 1
    assert page.locator("h1").is_visible()
    assert "\u202e" not in page.inner_text("body")
    assert "\x1b" not in page.inner_text("body")
    assert "⟨202E⟩" in page.inner_text("h1")
    assert visit.faults == []
    width, window = visit.wide()
    assert width <= window


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("count", [1, 3, 6])
def test_nothing_is_wider_than_the_window(show: Any, viewport: dict[str, int], count: int):
    comparison = sample(picture=picture())
    contenders = tuple(
        comparison.contenders[at % 3].model_copy(
            update={"key": f"{comparison.contenders[at % 3].key}@{at}.1"}
        )
        for at in range(count)
    )
    runs = tuple(
        run.model_copy(update={"framework": one.key})
        for one in contenders
        for run in comparison.of(one.framework)
    )
    visit = show(
        comparison.model_copy(update={"contenders": contenders, "runs": runs}), viewport=viewport
    )
    visit.page.locator("tr[data-address] .cell").first.click()
    width, window = visit.wide()
    assert width <= window
    assert visit.faults == []


def test_a_large_output_is_clipped_until_it_is_asked_for(show: Any):
    large = "word " * 20_000
    visit = show(
        sample(output=lambda task, key, repeat: large + key, cases=1, repeats=2, fails=False)
    )
    page = visit.page
    page.get_by_role("button", name="draft on simple").click()
    first = page.locator("tr.opened .side").first
    assert len(first.locator("pre").inner_text()) < 2_100
    first.get_by_role("button", name="Show all 100,006 characters").click()
    assert len(first.locator("pre").text_content()) == 100_006
    other = page.locator("tr.opened .side").nth(1)
    other.get_by_role("button", name="Show all").click()
    assert other.locator("ins").all_inner_texts() == ["langgraph"]
    width, window = visit.wide()
    assert width <= window
    assert visit.faults == []


def test_three_hundred_tasks_come_a_hundred_at_a_time(show: Any):
    visit = show(sample(steps=many(300), cases=1, repeats=5, fails=False))
    page = visit.page
    assert len(rows(page)) == 100
    assert page.locator("#timeline .chart rect.task").count() == 3 * 40
    page.locator("#tasks").get_by_role("button", name="Show 100 more").click()
    assert len(rows(page)) == 200
    page.get_by_label("Search").fill("step_29")
    assert rows(page) == [f"step_29{n}" for n in range(10)]
    page.locator("#timeline").get_by_role("button", name="Show 260 more rows").first.click()
    assert page.locator("#timeline .chart rect.task").count() == 3 * 300
    assert visit.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_keyboards_screen_readers_and_eyes_find_their_way(
    show: Any, viewport: dict[str, int], scheme: str
):
    visit = show(sample(picture=picture()), viewport=viewport, color_scheme=scheme, bypass_csp=True)
    visit.page.get_by_role("button", name="draft on crewai").click()
    for summary in visit.page.locator("summary").all():
        summary.click()
    assert visit.broken_rules() == []


def test_in_print_there_is_all_that_says_something_and_no_controls(show: Any):
    page = show(sample(picture=picture()), color_scheme="dark").page
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 720, "height": 1000})
    assert not page.locator("nav").is_visible()
    assert not page.locator("#tasks .controls").is_visible()
    assert page.locator(".answer").is_visible()
    assert (
        page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        == "rgb(255, 255, 255)"
    )
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(28, 30, 34)"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.pdf(format="A4").startswith(b"%PDF-")
