"""The documents keep their word: code runs, workflows load, commands parse, tables are current."""

from __future__ import annotations

import ast
import importlib.util
import re
import runpy
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import yaml

import talea
from talea.cli import cli
from talea.gateway.cassette import loads_cassette
from talea.gateway.faults import loads_faults
from talea.plan import make_plan

from .blocks import BLOCK, DOCUMENTS, ROOT, Block, blocks, environment

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SKELETON: dict[str, Any] = {
    "name": "fragment",
    "model": "openai/gpt-5-mini",
    "inputs": {"topic": {"type": "string"}},
    "tools": {"search": {}},
}


FRAMEWORKS = ("langgraph", "crewai")


def skip_without(named: list[tuple[str, str]]) -> None:
    """Skip what needs a framework that is not installed."""
    for name in {name for names in named for name in names} & set(FRAMEWORKS):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize("block", blocks("python", [""]))
def test_python_runs(block: Block) -> None:
    if "@hookimpl" in block.code:  # An example of a hook: it defines one, and that is all.
        names: dict[str, Any] = {}
        exec(compile(block.code, block.where, "exec"), names)
        assert any(name.startswith("talea_") for name in names)
        return
    ast.parse(block.code)
    skip_without(re.findall(r"framework=\"(\w+)\"|talea\.compile\(\w+, \"(\w+)\"", block.code))
    skip_without(
        [
            (name, "")
            for name in FRAMEWORKS
            if re.search(rf"^(from|import) {name}\b", block.code, re.MULTILINE)
        ]
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block.code],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", blocks("yaml", [""]))
def test_workflows_load(block: Block) -> None:
    make_plan(talea.loads(block.code, name=block.where))


@pytest.mark.parametrize("block", blocks("yaml", ["fragment"]))
def test_fragments_are_parts_of_workflows(block: Block) -> None:
    whole = {**_SKELETON, **yaml.safe_load(block.code)}
    assert not make_plan(talea.loads(yaml.safe_dump(whole, sort_keys=False))).warnings


@pytest.mark.parametrize("block", blocks("yaml", ["cassette"]))
def test_cassettes_load(block: Block) -> None:
    loads_cassette(block.code, name=block.where)


@pytest.mark.parametrize("block", blocks("yaml", ["faults"]))
def test_fault_rules_load(block: Block) -> None:
    assert loads_faults(block.code, name=block.where).rules


@pytest.mark.parametrize("block", blocks("yaml", ["cases"]))
def test_cases_load(block: Block, tmp_path: Path) -> None:
    from talea.compare.cases import read_cases

    (tmp_path / "cases.yaml").write_text(block.code, "utf-8")
    plan = make_plan(talea.load(ROOT / "examples/01_market_brief/workflow.yaml"))
    assert read_cases(tmp_path / "cases.yaml", plan, functions=["is_polite"])


def commands() -> list[Any]:
    """List the `talea …` commands of all shell blocks, as their arguments."""
    found: list[Any] = []
    for parameter in blocks("sh"):
        (block,) = parameter.values
        for line in block.code.replace("\\\n", " ").splitlines():
            if match := re.search(r"(?:^| run (?:--no-dev |--group \S+ )*)talea (.*)", line):
                found.append(
                    pytest.param(
                        shlex.split(match[1], comments=True), id=f"{block.where} {match[1][:40]}"
                    )
                )
    return found


@pytest.mark.parametrize("arguments", commands())
def test_commands_work(arguments: list[str], tmp_path: Path) -> None:
    arguments = [str(tmp_path / one) if one == "report.html" else one for one in arguments]
    files = [text for text in arguments if text.endswith((".yaml", ".py"))]
    if not files or not all((ROOT / text).exists() for text in files):
        parent = click.Context(cli, **cli.context_settings)
        command = cli.get_command(parent, arguments[0])
        assert command is not None
        # It refuses what it does not know.
        command.make_context(arguments[0], arguments[1:], parent=parent)
        return
    skip_without([(name, "") for name in arguments])
    done = subprocess.run(
        [sys.executable, "-m", "talea", *arguments],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120,
        stdin=subprocess.DEVNULL, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_commands_of_the_quick_start_set_everything_up() -> None:
    """The comparison and the tests stand alone: each begins from nothing but Python and pip."""
    text = (ROOT / "README.md").read_text("utf-8")
    quick = text[text.index("## Quick start") : text.index("## A workflow")]
    shells = [match["code"] for match in BLOCK.finditer(quick) if match["language"] == "sh"]
    assert len(shells) == 3
    for shell in (shells[0], shells[2]):
        assert shell.startswith(
            "python3 -m venv .venv && .venv/bin/pip install -q uv && .venv/bin/uv run "
        )


def test_readme_runs_its_workflow() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    (flow,) = (match["code"] for match in BLOCK.finditer(text) if match["language"] == "yaml")

    def search(query: str) -> list[str]:
        return [query]

    result = talea.run(talea.loads(flow), {"topic": "owls"}, tools=[search], offline=True)
    assert result.succeeded
    assert result.tasks["warning"].status == "skipped"
    assert set(result.outputs or {}) == {"brief", "warning"}


def test_readme_shows_a_real_complaint() -> None:
    flow = (
        "talea: 1\nname: t\nmodel: openai/gpt-5-mini\nagents:\n  writer: {}\n\ntasks:\n"
        "  brief:\n    agent: writter\n    prompt: Hello\n"
    )
    with pytest.raises(talea.DocumentError) as caught:
        make_plan(talea.loads(flow, name="flow.yaml"))
    assert f"```text\n{caught.value}\n```" in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for link in _LINK.findall(BLOCK.sub("", path.read_text("utf-8"))):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name) if name else path
        assert target.exists(), f"{path.name} links to {link}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, f"{path.name}: {link}"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_documents_name_no_machine() -> None:
    for path in DOCUMENTS:
        assert not re.search(r"/home/|/root/|/work/|/Users/", path.read_text("utf-8")), path


# The generated parts.


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_current(
    generate: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate.main(["--check"]) == 0, capsys.readouterr().out


MATRICES = [ROOT / "README.md", *sorted((ROOT / "docs" / "frameworks").glob("*.md"))]


def test_matrices_need_neither_a_framework_nor_its_plugin_installed() -> None:
    code = """
import runpy, sys
from pathlib import Path
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"langgraph", "langchain", "langchain_core", "crewai", "openai"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nowhere())
sys.path[:] = [path for path in sys.path if "plugins" not in path]
render = runpy.run_path("docs/generate.py")["render"]
for path in sys.argv[1:]:
    text = Path(path).read_text("utf-8")
    assert render(text) == text, path
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, MATRICES)],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_read_of_a_plugin_stays_as_it_is(
    generate: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "_adapter", lambda name: None)
    for path in MATRICES:
        text = path.read_text("utf-8")
        assert generate.render(text) == text


def test_every_part_stands_somewhere(generate: ModuleType) -> None:
    text = "".join(path.read_text("utf-8") for path in generate.documents())
    for name in generate.PARTS:
        assert text.count(f"<!-- generated: {name} -->") == 1
        assert text.count(f"<!-- end: {name} -->") == 1


def test_a_stale_part_is_told(generate: ModuleType) -> None:
    text = (ROOT / "docs" / "language.md").read_text("utf-8")
    stale = text.replace("| `len(value: ", "| `length(value: ", 1)
    assert stale != text
    assert generate.render(stale) == text


def test_what_frameworks_do_of_faults_is_measured_of_each() -> None:
    bench = runpy.run_path(str(ROOT / "benchmarks" / "faults.py"))
    place = bench["MARK"].search((ROOT / "docs" / "faults.md").read_text("utf-8"))
    assert place is not None
    rows = [line.strip("| ").split(" | ") for line in place[0].splitlines() if line[:2] == "| "]
    assert {len(row) for row in rows} == {1 + len(bench["AGENTS"])}
    once = ["fault", "---", *bench["FAULTS"]]
    assert [row[0] for row in rows] == once * 2  # A fault that passes, and one that stays.


def test_support_matrix_is_what_the_adapters_say() -> None:
    """Read independently of the generator: a row for each feature, and its word for `simple`."""
    from talea.plan import Feature
    from talea.plugins import get_adapter

    text = (ROOT / "README.md").read_text("utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    head = next(row for row in rows if row[0] == "feature" and "simple" in row)
    told = {row[0]: row[head.index("simple")] for row in rows if len(row) == len(head)}
    for feature in Feature:
        level = get_adapter("simple").features[feature].level
        assert told[f"`{feature}`"] == level.replace("_", " ")


def test_every_hook_is_told_of() -> None:
    from talea import hookspecs

    text = (ROOT / "docs" / "plugins.md").read_text("utf-8")
    hooks = [name for name in vars(hookspecs) if name.startswith("talea_")]
    assert len(hooks) > 5
    for name in hooks:
        assert f"### `{name}(" in text


def test_language_tells_every_trigger_error_and_function() -> None:
    from talea.errors import ErrorType
    from talea.expr import FUNCTIONS
    from talea.ir import Trigger

    text = (ROOT / "docs" / "language.md").read_text("utf-8")
    for word in (*Trigger, *ErrorType):
        assert f"| `{word}` |" in text
    for name in FUNCTIONS:
        assert f"| `{name}(" in text
