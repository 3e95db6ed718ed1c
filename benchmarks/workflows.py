"""The workflows that are measured: tasks that do nothing, tasks that wait, a long document."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from shapes import SHAPES, Graph


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


def realistic(size: int) -> str:
    """Write a workflow of agent tasks whose prompts mention earlier ones."""
    lines = [
        "name: bench",
        "model: openai/gpt-5-mini",
        "inputs:",
        "  topic: {type: string}",
        "agents:",
        *(
            f"  agent{i}: {{role: Analyst number {i}, goal: 'Find what moves {{{{ inputs.topic }}}}'}}"
            for i in range(10)
        ),
        "tasks:",
    ]
    graph = SHAPES["random"](size)
    for i, dependencies in enumerate(graph):
        mentions = [f"{{{{ tasks.step{d}.output }}}}" for d in dependencies[:2]]
        lines += [
            f"  step{i}:",
            f"    agent: agent{i % 10}",
            "    prompt: |",
            "      Write a short note on {{ inputs.topic }} for the next step.",
            *(f"      Take into account what was found before: {mention}" for mention in mentions),
        ]
        if i % 3 == 0:
            lines.append("    expected_output: Five bullet points with sources.")
        if i % 10 == 9:
            lines.append("    output: {type: object, properties: {level: {enum: [low, high]}}}")
        if i % 10 == 0 and dependencies and dependencies[0] % 10 == 9:
            lines.append(f'    when: tasks.step{dependencies[0]}.output.level == "high"')
        if i % 4 == 0:
            lines.append("    retry: {max_attempts: 3}")
    lines += ["outputs:", f'  last: "{{{{ tasks.step{size - 1}.output }}}}"']
    return "\n".join(lines) + "\n"
