"""Every hook of talea, each with an example. A plugin implements any of them.

A plugin is a module, or any object, that an entry point of the group `talea` names:

    [project.entry-points.talea]
    echo = "talea_echo"

Importing that module must be cheap and must import no framework: it is imported whenever plugins
are listed. What is heavy is named by text, as in `AdapterSpec`. A hook takes any subset of the
arguments that its specification has.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    import click

    from talea.adapter import Adapter, Options, Run
    from talea.balance import Strategy
    from talea.errors import Issue
    from talea.events import Sink
    from talea.ir import Workflow
    from talea.plan import Plan

PROJECT = "talea"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(slots=True, frozen=True)
class AdapterSpec:
    """A framework that a plugin brings, told without importing anything.

    `name` is what stands after `--framework`, `target` is `module:Class` of the `Adapter`, which is
    imported when the framework is chosen, and `api` the version of the contract that it was written
    for: `talea.adapter.API_VERSION` of that time, as a plain number. `needs` are the modules of the
    framework itself: they are looked for, not imported.
    """

    name: str
    target: str
    summary: str
    api: int = 1
    needs: tuple[str, ...] = ()


@hookspec
def talea_adapters() -> Iterable[AdapterSpec]:  # pyright: ignore[reportReturnType]
    """Name the frameworks that the plugin brings.

    Example:

        from talea.hookspecs import AdapterSpec, hookimpl

        @hookimpl
        def talea_adapters():
            return [AdapterSpec("echo", "talea_echo.adapter:EchoAdapter", "Says it again.")]
    """


@hookspec
def talea_check(workflow: Workflow) -> Iterable[Issue]:  # pyright: ignore[reportReturnType]
    """Check house rules. The issues are reported together with the language's own.

    Example:

        from talea.errors import Issue
        from talea.hookspecs import hookimpl

        @hookimpl
        def talea_check(workflow):
            for name, task in workflow.tasks.items():
                if task.kind == "agent" and task.timeout is None:
                    yield Issue("a house rule: agent tasks have a timeout", path=f"tasks.{name}")
    """


@hookspec(firstresult=True)
def talea_compile(adapter: Adapter[Any], plan: Plan, options: Options) -> Any:
    """Build the framework's own object for a plan. The core's own implementation asks the adapter.

    A wrapper sees every framework at once, for a cache or an audit.

    Example:

        import logging

        from talea.hookspecs import hookimpl

        @hookimpl(wrapper=True)
        def talea_compile(adapter, plan):
            compiled = yield
            logging.getLogger("audit").info("%s compiled %s", adapter.name, plan.name)
            return compiled
    """


@hookspec(firstresult=True)
def talea_execute(adapter: Adapter[Any], compiled: Any, run: Run) -> Awaitable[None]:  # pyright: ignore[reportReturnType]
    """Drive a run to its end; the result is awaited. The core's own asks the adapter.

    Example:

        import asyncio

        from talea.hookspecs import hookimpl

        @hookimpl(wrapper=True)
        def talea_execute(adapter, compiled, run):
            execution = yield

            async def within_an_hour():
                async with asyncio.timeout(3600):
                    await execution

            return within_an_hour()
    """


@hookspec
def talea_sinks(workflow: Workflow, framework: str) -> Iterable[Sink]:  # pyright: ignore[reportReturnType]
    """Give callables that receive every event of a run. They must not block.

    Example:

        from talea.events import TaskEnded
        from talea.hookspecs import hookimpl

        @hookimpl
        def talea_sinks(workflow, framework):
            def tell(event):
                if isinstance(event, TaskEnded):
                    print(f"{workflow.name} on {framework}: {event.address} {event.status}")

            return [tell]
    """


@hookspec
def talea_strategies() -> Mapping[str, Callable[[], Strategy]]:  # pyright: ignore[reportReturnType]
    """Give load-balancing strategies by the name that a pool's `balance` has.

    Each is called once for a pool in a run, without arguments, and gives a `balance.Strategy`: that
    chooses among the agents that could take an attempt, and may listen to what begins and ends. It
    must choose one of those it is given; what is left to chance comes from `request.random`.

    Example:

        from talea.balance import Strategy
        from talea.hookspecs import hookimpl

        class Alphabetical(Strategy):
            def choose(self, candidates, request):
                return min(candidates, key=lambda candidate: candidate.name)

        @hookimpl
        def talea_strategies():
            return {"alphabetical": Alphabetical}
    """


@hookspec
def talea_tools() -> Mapping[str, Callable[..., Any]]:  # pyright: ignore[reportReturnType]
    """Give tools by name, for workflows whose caller binds none of that name.

    Example:

        from talea.hookspecs import hookimpl

        def word_count(text: str) -> int:
            '''Count the words of a text.'''
            return len(text.split())

        @hookimpl
        def talea_tools():
            return {"word_count": word_count}
    """


@hookspec
def talea_readers() -> Mapping[str, Callable[[Path], Workflow]]:  # pyright: ignore[reportReturnType]
    """Give readers of other file formats, by the file name's suffix.

    Example:

        import tomllib

        from talea.hookspecs import hookimpl
        from talea.ir import Workflow

        def read_toml(path):
            return Workflow.model_validate(tomllib.loads(path.read_text()))

        @hookimpl
        def talea_readers():
            return {".toml": read_toml}
    """


@hookspec
def talea_commands(cli: click.Group) -> None:
    """Add commands to the command line.

    Example:

        import click

        from talea.hookspecs import hookimpl

        @hookimpl
        def talea_commands(cli):
            @cli.command()
            def hello():
                '''Say hello.'''
                click.echo("Hello.")
    """
