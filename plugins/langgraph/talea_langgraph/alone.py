"""How a compiled object runs without talea's `run`: LangGraph calls it, and it makes a run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any, cast

from langgraph.config import get_config
from langgraph.runtime import get_runtime

from talea.errors import UsageError
from talea.events import Status
from talea_langgraph.blueprint import Blueprint
from talea_langgraph.driver import Driver

_UNFINISHED = frozenset({Status.PENDING, Status.WAITING})


@dataclass
class Settings:
    """What a run is told beyond its document: LangGraph's context. As for `talea.run`."""

    tools: Any = None
    model: str | None = None
    answers: Any = None
    ask: Any = None
    offline: bool = False
    replay: Any = None
    allow_hosts: Any = ()
    sinks: Any = ()
    agents: str | None = None
    run_id: str | None = None

    @classmethod
    def of(cls, context: Any) -> Settings:
        """Read a context: settings or a mapping of them. None is that of the graph around.

        The graph around may have a context of its own kind, and other things in it, which say
        nothing here. Raises `UsageError` for unknown names in one that is given.
        """
        given = _context_around() if context is None else context
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            return cls()
        named = cast("Mapping[str, Any]", given)
        known = {field.name for field in fields(cls)}
        unknown = [name for name in named if name not in known]
        if unknown and context is not None:
            hint = f"there are {', '.join(sorted(known))}"
            raise UsageError(f"unknown settings in the context: {', '.join(unknown)}", hint)
        return cls(**{name: named[name] for name in named if name in known})


@asynccontextmanager
async def alone(
    compiled: Any,
    blueprint: Blueprint,
    inputs: Mapping[str, Any],
    settings: Settings,
    *,
    interrupts: bool,
) -> AsyncGenerator[Driver]:
    """Open a run of its own for a compiled object. Raises `RunError` at the end if it failed."""
    from talea.run import prepare

    plan = blueprint.plan
    if settings.ask is None and settings.answers is None:
        if blueprint.needs_asker:
            raise UsageError(
                f"a person must allow calls of tools in {plan.name!r}, and nobody is there",
                "give `ask` or `answers` in the context: only a tool task interrupts for it, and"
                " only in `mode=graph`",
            )
        if blueprint.may_interrupt and not interrupts:
            raise UsageError(
                f"{plan.name!r} asks a person, and nobody is there to answer",
                "with a checkpointer the graph interrupts; or give `ask` or `answers` in the"
                " context",
            )
    told = {field.name: getattr(settings, field.name) for field in fields(settings)}
    prepared = prepare(plan.workflow, inputs, framework="langgraph", compiled=compiled, **told)
    async with prepared.opened() as run:
        yield Driver(run, interrupts=interrupts)
    result = prepared.result
    assert result is not None
    # Interrupted, by a question or where the user wants it, is no failure.
    stands = interrupts and any(task.status in _UNFINISHED for task in result.tasks.values())
    if not stands:
        result.raise_for_failure()


def is_inside() -> bool:
    """Say whether this is called within a node of another graph."""
    try:
        get_config()
    except RuntimeError:
        return False
    return True


def is_saved_around() -> bool:
    """Say whether the graph around keeps its state, and that of a graph in it."""
    # LangGraph has no public name for it.
    return is_inside() and bool(get_config().get("configurable", {}).get("__pregel_checkpointer"))


def _context_around() -> Any:
    """Give the context of the graph whose node this is called in."""
    runtime: Any = get_runtime() if is_inside() else None
    return None if runtime is None else runtime.context
