"""Load a workflow: every problem of its text, its shape and its meaning is told at once."""

from __future__ import annotations

import os
from collections.abc import Callable

from talea.errors import DocumentError
from talea.ir import Workflow
from talea.source import Bounds, Misshapen, read, reads

__all__ = ["Bounds", "load", "loads"]


def load(path: str | os.PathLike[str], *, limits: Bounds | None = None) -> Workflow:
    """Load a workflow, and all files that it refers to, from a YAML or JSON file.

    Raises DocumentError with every problem that was found. Mistakes of a document whose shape is
    sound are looked for when its plan is made: before it is compiled, validated or run.
    """
    return _with_all_problems(lambda: read(path, limits))


def loads(
    text: str,
    *,
    name: str = "<text>",
    folder: str | os.PathLike[str] | None = None,
    limits: Bounds | None = None,
) -> Workflow:
    """Load a workflow from YAML or JSON text.

    `name` is what errors call it. `folder` is where its relative files are; without it, a document
    that refers to files is refused. Raises DocumentError as `load` does.
    """
    return _with_all_problems(lambda: reads(text, name, folder, limits))


def _with_all_problems(reading: Callable[[], Workflow]) -> Workflow:
    try:
        return reading()
    except Misshapen as error:
        from talea.plan.check import check

        told = {(issue.file, issue.path) for issue in error.issues}
        found = [
            issue
            for issue in check(error.rest)
            if not error.left_out.explains(issue) and (issue.file, issue.path) not in told
        ]
        first = error.issues[0].file
        every = sorted(
            [*error.issues, *found],
            key=lambda i: (i.file != first, i.file or "", i.line or 0, i.col or 0),
        )
        raise DocumentError(every) from None
