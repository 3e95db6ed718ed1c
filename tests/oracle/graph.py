"""Who depends on whom, found anew from the document for every execution of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from talea import ir
from talea.ir import Trigger

from .expressions import mentions, mentions_in_content


@dataclass(slots=True, frozen=True)
class Node:
    """One task among those beside it. Ids are in document order.

    `watched` is what the trigger looks at; `previous` the task above, in a sequence.
    """

    id: str
    index: int
    task: ir.TaskModel
    trigger: Trigger
    watched: tuple[str, ...]
    previous: str | None
    dependencies: tuple[str, ...]

    @property
    def takes_failures(self) -> bool:
        """Whether a failure before it does not keep it from running."""
        return self.trigger in {Trigger.ONE_FAILED, Trigger.ALL_DONE}


def nodes_of(tasks: Mapping[str, ir.TaskModel], process: ir.Process) -> list[Node]:
    """Give the nodes of a workflow or block."""
    nodes: list[Node] = []
    for index, (id_, task) in enumerate(tasks.items()):
        written = set(task.depends_on or ())
        own = (written | mentioned(task)) & tasks.keys()
        looks_at_written = task.depends_on is not None and task.trigger is not None
        watched = written if looks_at_written else own
        is_sequence = process is ir.Process.SEQUENTIAL
        previous = list(tasks)[index - 1] if is_sequence and index else None
        before = own | ({previous} if previous else set[str]())
        nodes.append(
            Node(
                id_,
                index,
                task,
                task.trigger or Trigger.ALL_SUCCESS,
                tuple(name for name in tasks if name in watched),
                previous,
                tuple(name for name in tasks if name in before),
            )
        )
    return nodes


def mentioned(task: ir.TaskModel) -> set[str]:
    """Give all tasks that the fields of a task mention, by name; a block's inner ones left out."""
    found = mentions(task.when) | mentions(task.for_each)
    if isinstance(task, ir.RepeatableTask):
        found |= mentions_in_content(task.fallback)
        found |= mentions(task.loop.until) if task.loop else set()
    match task:
        case ir.AgentTask() | ir.TeamTask():
            found |= mentions_in_content(task.prompt) | mentions_in_content(task.expected_output)
            found |= set(task.context)
        case ir.ToolTask() | ir.WorkflowTask():
            found |= mentions_in_content(task.with_)
        case ir.ValueTask():
            found |= mentions_in_content(task.value)
        case ir.AskTask():
            found |= mentions_in_content(task.ask)
        case ir.BlockTask():
            inner = set(mentions_in_content(task.outputs))
            for one in task.tasks.values():
                inner |= mentioned(one)
            found |= inner - task.tasks.keys()
        case _:
            raise NotImplementedError(task.kind)
    return found
