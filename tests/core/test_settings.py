"""`talea.toml`: where it is found, what stands above it, and what is refused in it."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from talea.cli import cli
from talea.errors import UsageError
from talea.journal import opened
from talea.settings import Settings, find_settings, read_settings

FLOW = 'talea: 1\nname: t\ntasks: {a: {value: one}}\noutputs: {a: "{{ tasks.a.output }}"}\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with a workflow in a folder of its own, and stand in a third one."""
    for name in ("flows", "here"):
        (tmp_path / name).mkdir()
    (tmp_path / "flows" / "w.yaml").write_text(FLOW)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("TALEA_JOURNAL", raising=False)
    return tmp_path


def journal(folder: Path, file: str) -> Path:
    (folder / "talea.toml").write_text(f'[journal]\nfile = "{file}"\n')
    return folder / file


def invoke(*args: str, code: int = 0, **environment: str) -> str:
    separate: Any = {"mix_stderr": False} if metadata.version("click") < "8.2" else {}
    done = CliRunner(**separate).invoke(cli, args, env=environment)
    assert done.exit_code == code, done.output
    return done.stdout if not code else done.stderr


def runs_in(path: Path) -> int:
    if not path.exists():
        return 0
    with opened(path) as kept:
        return len(kept.runs())


def test_the_option_stands_above_the_environment_and_that_above_the_file(project: Path) -> None:
    path = journal(project, "file.db")
    one, other = project / "option.db", project / "environment.db"
    run = ("run", "../flows/w.yaml")
    invoke(*run)
    assert (runs_in(path), runs_in(other), runs_in(one)) == (1, 0, 0)
    invoke(*run, TALEA_JOURNAL=str(other))
    assert (runs_in(path), runs_in(other), runs_in(one)) == (1, 1, 0)
    invoke(*run, "--journal", str(one), TALEA_JOURNAL=str(other))
    assert (runs_in(path), runs_in(other), runs_in(one)) == (1, 1, 1)
    listed = json.loads(invoke("runs", "list", "--json"))
    assert len(listed) == 1
    assert invoke("resume", listed[0]["run"]) == "one\n"


def test_the_one_beside_the_workflow_stands_above_those_above_the_current_folder(
    project: Path,
) -> None:
    above, beside = journal(project, "above.db"), journal(project / "flows", "beside.db")
    assert find_settings().journal == str(above)
    assert find_settings("../flows/w.yaml").journal is not None
    invoke("run", "../flows/w.yaml")
    assert (runs_in(above), runs_in(beside)) == (0, 1)


def test_framework_and_model_are_for_runs_that_name_none(project: Path) -> None:
    (project / "talea.toml").write_text('framework = "nowhere"\nmodel = "openai/gpt-5-mini"\n')
    (project / "w.yaml").write_text(
        "talea: 1\nname: t\nagents: {a: {}}\ntasks: {a: {agent: a, prompt: Hi}}\n"
    )
    assert "nowhere" in invoke("run", "../w.yaml", "--offline", code=2)
    told = json.loads(invoke("run", "../w.yaml", "--offline", "-f", "simple", "--json"))
    assert told["framework"] == "simple"
    assert told["calls"][0]["model"] == "gpt-5-mini"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[journals]\n", "did you mean 'journal'?"),
        ('[journal]\nfil = "x"\n', "did you mean 'journal.file'?"),
        ("[journal]\nfile = 3\n", "journal.file is a text, not 3"),
        ('[journal]\ndurability = "none"\n', "one of normal, full"),
        ('journal = "runs.db"\n', "[journal], and below it file"),
        ("journal\n", "TOML"),
    ],
)
def test_what_is_wrong_is_refused_with_a_hint(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "talea.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        read_settings(path)
    assert words in f"{refused.value} {refused.value.hint}"
    assert str(path) in str(refused.value)


def test_a_file_that_says_nothing_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "talea.toml").write_text("")
    assert read_settings(tmp_path / "talea.toml") == Settings()
