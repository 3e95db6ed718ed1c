"""Every hook is documented with an example that runs, and is tested."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from types import ModuleType, SimpleNamespace
from typing import Any

import click
import pluggy
import pytest
from click.testing import CliRunner

from talea import hookspecs, ir
from talea.events import Status, TaskEnded

HOOKS = {
    name: value
    for name, value in vars(hookspecs).items()
    if name.startswith("talea_") and inspect.isfunction(value)
}
WORKFLOW = ir.Workflow(
    name="w", agents={"a": {}}, tasks={"t": {"agent": "a", "prompt": "p"}, "v": {"value": 1}}
)


def example(hook: str) -> str:
    text = inspect.getdoc(HOOKS[hook]) or ""
    return dedent(text.partition("Example:\n")[2])


def hook_with_example(hook: str) -> Callable[..., Any]:
    """Give a hook's caller with the example of its docstring as the only plugin."""
    plugin = ModuleType(f"example_of_{hook}")
    exec(compile(example(hook), plugin.__name__, "exec"), plugin.__dict__)
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin)
    assert [caller.name for caller in manager.get_hookcallers(plugin) or []] == [hook]
    return getattr(manager.hook, hook)


def check_adapters(hook: Callable[..., Any]) -> None:
    [[spec]] = hook()
    assert (spec.name, spec.api) == ("echo", 1)
    assert spec.target == "talea_echo.adapter:EchoAdapter"


def check_check(hook: Callable[..., Any]) -> None:
    [issues] = hook(workflow=WORKFLOW)
    assert [issue.path for issue in issues] == ["tasks.t"]


def check_compile(hook: Callable[..., Any]) -> None:
    manager_result = hook(
        adapter=SimpleNamespace(name="any"), plan=SimpleNamespace(name="p"), options={}
    )
    assert manager_result is None  # No implementation stands inside of the wrapper here.


def check_execute(hook: Callable[..., Any]) -> None:
    done: list[str] = []

    async def execution() -> None:
        done.append("run")

    class Core:
        @hookspecs.hookimpl
        def talea_execute(self) -> Any:
            return execution()

    hook_caller: Any = hook
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(Core())
    manager.register(hook_caller.get_hookimpls()[0].plugin)
    asyncio.run(manager.hook.talea_execute(adapter=None, compiled=None, run=None))
    assert done == ["run"]


def check_sinks(hook: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    [[sink]] = hook(workflow=WORKFLOW, framework="simple")
    sink(TaskEnded(1.0, "t", Status.SUCCEEDED, None, "x", None, False, 1, "a", 0.0, None))
    assert capsys.readouterr().out == "w on simple: t succeeded\n"


def check_strategies(hook: Callable[..., Any]) -> None:
    [strategies] = hook()
    candidates = [SimpleNamespace(name="b"), SimpleNamespace(name="a")]
    assert strategies["alphabetical"]().choose(candidates, None).name == "a"


def check_tools(hook: Callable[..., Any]) -> None:
    [tools] = hook()
    assert tools["word_count"]("two words") == 2


def check_readers(hook: Callable[..., Any], tmp_path: Path) -> None:
    [readers] = hook()
    file = tmp_path / "flow.toml"
    file.write_text('name = "w"\n[tasks.a]\nvalue = 1\n')
    assert readers[".toml"](file).name == "w"


def check_commands(hook: Callable[..., Any]) -> None:
    cli = click.Group()
    hook(cli=cli)
    assert CliRunner().invoke(cli, ["hello"]).output == "Hello.\n"


CHECKS = {name.replace("check_", "talea_", 1): value for name, value in globals().items() if (
    name.startswith("check_")
)}  # fmt: skip


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_and_its_example_does_what_it_says(
    hook: str,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = inspect.getdoc(HOOKS[hook]) or ""
    assert re.match(r"[A-Z][^\n]*\.", text), "the docstring starts with a sentence"
    assert hook in CHECKS, f"{hook} is untested"
    check = CHECKS[hook]
    wanted = list(inspect.signature(check).parameters)[1:]
    with caplog.at_level(logging.INFO):
        check(hook_with_example(hook), *(request.getfixturevalue(name) for name in wanted))
    if hook == "talea_compile":
        assert caplog.messages == ["any compiled p"]


def test_no_test_is_left_of_a_hook_that_is_gone() -> None:
    assert set(CHECKS) == set(HOOKS)
