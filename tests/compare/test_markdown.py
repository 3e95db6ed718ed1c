from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from compare.sample import many, sample
from talea.compare import frame
from talea.compare.gates import Gate
from talea.compare.markdown import ROWS, escaped
from talea.compare.record import Comparison, Overhead, Problem, Split
from talea.errors import UsageError

HOSTILE = [
    "a | b",
    "`code` and ``` fence",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "@octocat and @org/team",
    "#12 and owner/repo#3",
    "[text](https://evil.example) ![](https://evil.example/x.png)",
    "https://evil.example www.evil.example",
    "**bold** _under_ ~~gone~~ $x$",
    "&lt;b&gt; \\| \\",
    "line\nbreak\r\n\n- item\n\n# head",
    "</details></table>",
]
GITHUB = MarkdownIt("gfm-like", {"linkify": False, "html": True})
"""As GitHub reads it, but for links of bare addresses, which are looked for in the text."""


def rendered(text: str) -> str:
    return GITHUB.render(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_others_are_shown_as_text(text: str):
    page = rendered(f"| head |\n| --- |\n| {escaped(text)} |\n")
    assert page.count("<td>") == 1
    assert page.count("<tr>") == 2
    inner = page.partition("<td>")[2].partition("</td>")[0]
    assert "<" not in inner
    for risky in ("@o", "#1", "#3", "https:", "www."):
        assert risky not in inner


@given(st.text(max_size=60))
def test_whatever_the_text_it_opens_nothing(text: str):
    page = rendered(f"| head |\n| --- |\n| x{escaped(text, 300)} |\n")
    inner = page.partition("<td>")[2].partition("</td>")[0]
    assert page.count("<td>") == 1
    assert "<" not in inner


def test_a_summary_for_a_pull_request():
    text = sample().to_markdown()
    assert text.startswith("### market-brief: simple against langgraph against crewai\n")
    page = rendered(text)
    assert page.count("<table>") == 4
    first = text.partition("| --- |")[0].rpartition("\n\n")[2]
    assert first == "|  | passed | time | framework | CPU | memory | tokens | cost |\n"
    assert "<td>9/10</td>" in page
    assert "<td>draft</td>" in page
    assert "crewai: server_error 1" in page
    assert "<details>" in page and "talea compare examples/" in page


def test_overhead_stands_in_the_table_where_it_is_known():
    assert "| time | framework | CPU |" in sample().to_markdown()
    comparison = sample()
    overhead = tuple(
        Overhead(
            framework=run.framework, case=run.case, repeat=run.repeat, duration=1,
            split=Split(framework=0.5 if run.framework == "simple" else 0.75), cpu=0.1,
        )
        for run in comparison.runs
    )  # fmt: skip
    text = comparison.model_copy(update={"overhead": overhead}).to_markdown()
    assert "| time | overhead | CPU |" in text
    assert "| overhead against the first |" in text
    assert "| 500 ms |" in text and "| 750 ms |" in text
    assert "| 1.50 × |" in text


def test_a_replay_tells_of_characters_sent_first_and_marks_what_was_recorded():
    comparison = sample()
    settings = comparison.settings.model_copy(update={"mode": "replay"})
    text = comparison.model_copy(update={"settings": settings}).to_markdown()
    first, more = text.split("<details>")[:2]
    assert "| memory | prompt characters |" in first
    assert "cost" not in first
    assert "| tokens (as recorded) | cost (as recorded) |" in more


def test_versions_are_told_once():
    text = sample().to_markdown()
    assert text.count("- simple: ") == 1
    assert "- simple: talea-simple 0.1.0, openai 2.54.0, Python 3.11.2" in text
    assert text.count("talea 0.1.0") == 1


def test_gates_stand_in_it_those_first_that_failed():
    gates = [
        Gate(name="baseline", passed=True, words="compared with earlier.json"),
        Gate(name="tokens", passed=True, words="simple: tokens: 1", framework="simple"),
        Gate(name="tokens", passed=False, words="crewai: tokens: <b> @me 2", framework="crewai"),
    ]
    text = sample().to_markdown(gates)
    shown = text.partition("| time |")[0]
    assert "**1 of 3 gates failed:**" in shown
    assert shown.index("**FAILED** crewai") < shown.index("passed compared with earlier.json")
    assert "<b>" not in text and "@me" not in text
    assert "- simple: tokens: 1" in text.partition("Gates that passed")[2]
    assert "gate" not in sample().to_markdown()


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_outputs_names_and_errors_change_no_table(hostile: str):
    usual = rendered(sample().to_markdown())
    comparison = sample(output=lambda task, key, repeat: hostile + key)
    last = comparison.runs[-1].model_copy(update={"error": Problem(type=hostile, message=hostile)})
    contenders = tuple(
        one.model_copy(update={"versions": {"x": hostile}, "held_back": (hostile,)})
        for one in comparison.contenders
    )
    settings = comparison.settings.model_copy(update={"command": hostile})
    page = rendered(
        comparison.model_copy(
            update={
                "contenders": contenders, "runs": (*comparison.runs[:-1], last),
                "settings": settings, "notes": (hostile,),
                "outline": comparison.outline.model_copy(update={"name": hostile}),
            }
        ).to_markdown()
    )  # fmt: skip
    for tag in ("<table>", "<details>", "</details>", "<h3>", "<pre>"):
        assert page.count(tag) == usual.count(tag), tag
    for tag in ("<script", "<img", "<a ", "<h1>", "<strong>"):
        assert tag not in page


def test_a_large_comparison_stays_short():
    comparison = sample(
        steps=many(300), output=lambda task, key, repeat: f"{key} {task}", repeats=2
    )
    text = comparison.to_markdown()
    assert f"*and {301 - ROWS} more*" in text
    assert len(text) < 10_000


@pytest.mark.parametrize(
    "comparison",
    [
        sample().model_copy(update={"runs": ()}),
        sample().model_copy(update={"runs": (), "contenders": ()}),
        sample(frameworks=("simple",), repeats=1, cases=1),
    ],
    ids=["no runs", "nobody", "one failed run"],
)
def test_little_is_told_as_well(comparison: Comparison):
    page = rendered(comparison.to_markdown())
    assert "<li>" in page
    assert "nan" not in page.lower().split()


def test_a_frame_without_pandas_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(frame, "import_module", missing)
    with pytest.raises(UsageError, match="needs pandas") as raised:
        sample().to_frame()
    assert raised.value.hint and "pip install pandas" in raised.value.hint


def test_a_frame_has_a_row_for_each_run(monkeypatch: pytest.MonkeyPatch):
    def made(rows: list[dict[str, Any]], columns: list[str]) -> Any:
        return rows, columns

    fake = SimpleNamespace(DataFrame=made)
    monkeypatch.setattr(frame, "import_module", {"pandas": fake}.__getitem__)
    again = Overhead(
        framework="simple", case="europe", repeat=1, duration=1, split=Split(framework=0.5), cpu=0.2
    )
    rows, columns = sample().model_copy(update={"overhead": (again,)}).to_frame()
    assert columns == frame.COLUMNS
    assert all(list(row) == frame.COLUMNS for row in rows)
    assert [row["order"] for row in rows] == list(range(30))
    [known] = [row for row in rows if row["overhead"] is not None]
    assert (known["framework"], known["case"], known["repeat"]) == ("simple", "europe", 1)
    assert (known["overhead"], known["overhead_cpu"]) == (0.5, 0.2)
    last = rows[-1]
    assert (last["framework"], last["status"], last["error"]) == (
        "crewai",
        "failed",
        "server_error",
    )
    assert (last["passed"], last["checks"], last["checks_passed"]) == (False, 2, 1)
