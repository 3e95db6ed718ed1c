"""The workflows that are measured: a graph's nodes as tasks that do nothing, or wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from shapes import Graph


def build(graph: Graph, kind: str = "tool", **more: Any) -> Any:
    """Build the workflow of a graph. Each node calls a tool that does nothing, or is a value."""
    from talea.ir import Workflow

    tasks: dict[str, Any] = {}
    for i, dependencies in enumerate(graph):
        tasks[f"t{i}"] = {**({"value": None} if kind == "value" else {"tool": "noop"}), **more}
        if dependencies:
            tasks[f"t{i}"]["depends_on"] = [f"t{d}" for d in dependencies]
    return Workflow.model_validate({"name": "bench", "tools": {"noop": {}}, "tasks": tasks})


def build_waiting(graph: Graph, seconds: Sequence[float]) -> Any:
    """Build the workflow of a graph whose nodes call `wait`, each with its own seconds."""
    from talea.ir import Workflow

    tasks: dict[str, Any] = {}
    for i, dependencies in enumerate(graph):
        tasks[f"t{i}"] = {"tool": "wait", "with": {"seconds": seconds[i]}}
        if dependencies:
            tasks[f"t{i}"]["depends_on"] = [f"t{d}" for d in dependencies]
    return Workflow.model_validate({"name": "bench", "tools": {"wait": {}}, "tasks": tasks})


async def wait(seconds: float) -> None:
    """Wait."""
    await asyncio.sleep(seconds)
