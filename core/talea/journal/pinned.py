"""The workflow as it is pinned with a run: itself and its files, as JSON data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from talea.ir import Workflow


def pin(workflow: Workflow) -> list[dict[str, Any]]:
    """Give a workflow and its files as JSON data: the first is the root, and `files` are numbers
    in the same list."""
    found: dict[int, dict[str, Any]] = {}
    numbers: dict[int, int] = {}

    def take(one: Workflow) -> int:
        if id(one) not in numbers:
            number = numbers[id(one)] = len(numbers)
            document = one.model_dump(mode="json", by_alias=True, exclude_defaults=True)
            found[number] = {"document": document}
            files = {reference: take(file) for reference, file in files_of(one).items()}
            if files:
                found[number]["files"] = files
        return numbers[id(one)]

    take(workflow)
    return [found[number] for number in range(len(found))]


def unpin(pinned: Sequence[Mapping[str, Any]]) -> Workflow:
    """Give the workflow back that was pinned."""
    made = [Workflow.model_validate(part["document"]) for part in pinned]
    for workflow, part in zip(made, pinned, strict=True):
        files: dict[str, int] = part.get("files", {})
        files_of(workflow).update((name, made[number]) for name, number in files.items())
    return made[0]


def files_of(workflow: Workflow) -> dict[str, Workflow]:
    """Give the workflows of other files that a workflow refers to."""
    return workflow._files  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def source_of(workflow: Workflow) -> str | None:
    """Give the path of the file that a workflow was read from."""
    source: Any = workflow._source  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if source is None or source.folder is None:
        return None
    return str((Path(source.folder) / Path(source.name).name).absolute())
