"""From text to a workflow: load a document, and the files that it refers to.

A reference (`workflow: ./sub/other.yaml`) is relative to the folder of the document that has it and
stays below the folder of the document that was loaded first, symbolic links resolved. The bounds on
size, nodes and depth hold for all files together.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from talea.errors import DocumentError, Issue
from talea.ir import BlockTask, InlineWorkflow, TaskModel, Workflow, WorkflowTask
from talea.mistakes import read_model
from talea.source import Bounds, Source, Steps, decode, parse

__all__ = ["Bounds", "Source", "load", "loads", "parse", "read_model", "workflow_file"]


def load(path: str | Path, *, limits: Bounds | None = None) -> Workflow:
    bounds = limits or Bounds()
    with open(path, "rb") as file:
        raw = file.read(bounds.max_bytes + 4)
    return loads(
        decode(raw, str(path)), name=str(path), folder=Path(path).parent, limits=bounds
    )


def loads(
    text: str,
    *,
    name: str = "<text>",
    folder: str | Path | None = None,
    limits: Bounds | None = None,
) -> Workflow:
    source = parse(text, name, limits, Path(folder) if folder is not None else None)
    workflow = read_model(Workflow, source)
    workflow._source = source
    return workflow
