"""From text to the models: read a document, and the files that it refers to.

A reference (`workflow: ./sub/other.yaml`) is relative to the folder of the document that has it and
stays below the folder of the document that was loaded first, symbolic links resolved. Bounds on
size, nodes and depth hold for all files together.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from talea.errors import DocumentError, Issue, UsageError
from talea.ir import (
    LANGUAGE_VERSION,
    BlockTask,
    InlineWorkflow,
    Refused,
    TaskModel,
    Workflow,
    WorkflowTask,
    known_version,
)
from talea.source.blanks import Blank, blanks
from talea.source.mistakes import close, read_model
from talea.source.salvage import LeftOut, Misshapen, salvage
from talea.source.text import Bounds, Source, Steps, decode, parse, shown

__all__ = [
    "Blank",
    "Bounds",
    "LeftOut",
    "Misshapen",
    "Source",
    "blanks",
    "is_file_reference",
    "parse",
    "read",
    "read_model",
    "reads",
    "workflow_file",
]


def read(path: str | os.PathLike[str], limits: Bounds | None = None) -> Workflow:
    """Read a workflow, and all files that it refers to, from a YAML or JSON file.

    Raises DocumentError with every problem of text and shape, of reading the file included;
    Misshapen, where enough is sound to go on looking.
    """
    place = Path(path)
    name = str(place)
    bounds = limits or Bounds()
    try:
        raw = _read(place, bounds.max_bytes)
    except (OSError, ValueError) as error:
        reason = _reason(error) if isinstance(error, OSError) else str(error)
        issue = Issue(f"the file cannot be read: {reason}", hint=_similar(place), file=name)
        raise DocumentError([issue]) from None
    return reads(decode(raw, name), name, place.parent, bounds)


def reads(
    text: str,
    name: str = "<text>",
    folder: str | os.PathLike[str] | None = None,
    limits: Bounds | None = None,
) -> Workflow:
    """Read a workflow from YAML or JSON text; see `read`."""
    return _Loading(limits or Bounds(), None if folder is None else Path(folder)).root(text, name)


def workflow_file(workflow: Workflow, reference: str) -> Workflow:
    """Give the workflow of another file, as a task of `workflow` refers to it.

    All such files are loaded together with the document that refers to them, so this reads nothing;
    two references to one file give the same object. Raises UsageError for a workflow that was built
    in Python, which has no folder, and so no files.
    """
    try:
        return workflow._files[reference]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    except KeyError:
        raise UsageError(
            f"the file {reference!r} was not loaded with the workflow {workflow.name!r}",
            "load the workflow from a file; one that is built in Python has `workflows` for this",
        ) from None


def is_file_reference(reference: str) -> bool:
    """Tell a file from the id of a workflow: it has a slash, or ends as YAML and JSON files do."""
    return "/" in reference or reference.endswith((".yaml", ".yml", ".json"))


class _Loading:
    """One call of `read`: the files so far, what is left of the bounds, and all problems."""

    def __init__(self, bounds: Bounds, folder: Path | None) -> None:
        self.left = bounds
        self.folder = folder
        self.top = None if folder is None else os.path.realpath(folder)
        self.files: dict[str, Workflow | None] = {}
        self.chain: list[str] = []
        """The files that refer to each other down to the one being loaded."""
        self.issues: list[Issue] = []
        self.left_out = LeftOut()
        self.is_cut = False
        """Whether a file is missing, without which the rest cannot be looked at."""

    def root(self, text: str, name: str) -> Workflow:
        if self.folder is not None:
            self.chain.append(os.path.realpath(self.folder / Path(name).name))
        workflow = self.document(text, name, self.folder, self.left.max_depth)
        if workflow is None or None in self.files.values() or self.is_cut:
            raise DocumentError(self.issues)
        if self.issues:
            raise Misshapen(self.issues, workflow, self.left_out)
        return workflow

    def document(self, text: str, name: str, folder: Path | None, depth: int) -> Workflow | None:
        """Load one document and what it refers to; None if it cannot be read as a workflow."""
        try:
            bounds = replace(self.left, max_depth=depth)
            source = parse(text, name, bounds, folder, first=len(self.chain) < 2)
            self.left = replace(
                self.left,
                max_bytes=self.left.max_bytes - source.size,
                max_nodes=self.left.max_nodes - source.nodes,
            )
            _check_version(source)
            workflow, issues = salvage(Workflow, source, self.left_out)
        except DocumentError as error:
            self.issues += error.issues
            return None
        self.issues += issues
        if workflow is None:
            return None
        workflow._source = source  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        for path, reference in _references(workflow, ()):
            try:
                found = self.reference(folder, reference, depth - len(path))
            except _Refusal as refusal:
                self.is_cut = True
                self.issues.append(source.issue(refusal.message, path, hint=refusal.hint))
            else:
                if found is not None:
                    workflow._files[reference] = found  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return workflow

    def reference(self, folder: Path | None, reference: str, depth: int) -> Workflow | None:
        """Load what a reference means, once; None if the file has problems of its own."""
        real = self.resolve(folder, reference)
        if real in self.chain:
            loop = [*self.chain[self.chain.index(real) :], real]
            raise _Refusal(
                f"files run each other in a circle: {' > '.join(map(self.relative, loop))}",
                "a loop repeats tasks; a workflow cannot run itself",
            )
        if real in self.files:
            return self.files[real]
        self.chain.append(real)
        self.files[real] = None
        name = os.path.join(str(self.folder), self.relative(real))
        try:
            text = decode(_read(real, self.left.max_bytes), name)
        except DocumentError as error:
            self.issues += error.issues
        except OSError as error:
            raise _Refusal(f"{reference!r} cannot be read: {_reason(error)}") from None
        else:
            self.files[real] = self.document(text, name, Path(real).parent, depth)
        finally:
            self.chain.pop()
        return self.files[real]

    def resolve(self, folder: Path | None, reference: str) -> str:
        """Give the real path of a reference, which lies below the first document's folder."""
        if folder is None or self.top is None:
            raise _Refusal(
                f"the file {shown(reference)} cannot be sought: this document has no folder",
                "load the document from a file, or say which folder it belongs to",
            )
        if "://" in reference or "\\" in reference or os.path.isabs(reference):
            raise _Refusal(
                f"{shown(reference)} is not a relative path",
                "files are named from this document's folder on, with / between folders",
            )
        try:
            real = os.path.realpath(folder / reference)
            # First where, then whether: what exists outside is nobody's business here.
            if os.path.commonpath((real, self.top)) != self.top:
                raise _Refusal(
                    f"{shown(reference)} leads out of the folder of the document",
                    "move the file, or a copy of it, into that folder",
                )
            exists = os.path.isfile(real)
        except (OSError, ValueError):
            exists, real = False, ""
        if not exists:
            raise _Refusal(f"there is no file {shown(reference)}", _similar(folder / reference))
        return real

    def relative(self, real: str) -> str:
        return os.path.relpath(real, self.top)


class _Refusal(Exception):
    """A reference that cannot be followed."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        self.message = message
        self.hint = hint


def _references(workflow: InlineWorkflow, path: Steps) -> Iterator[tuple[Steps, str]]:
    yield from _in_tasks(workflow.tasks, (*path, "tasks"))
    if isinstance(workflow, Workflow):
        for name, inline in workflow.workflows.items():
            yield from _references(inline, (*path, "workflows", name))


def _in_tasks(tasks: Mapping[str, TaskModel], path: Steps) -> Iterator[tuple[Steps, str]]:
    for name, task in tasks.items():
        if isinstance(task, BlockTask):
            yield from _in_tasks(task.tasks, (*path, name, "tasks"))
        elif isinstance(task, WorkflowTask) and is_file_reference(task.workflow):
            yield (*path, name, "workflow"), task.workflow


def _read(path: str | Path, limit: int) -> bytes:
    """Read a file, but hardly more of it than is allowed; `parse` says so if there is more."""
    with open(path, "rb") as file:
        return file.read(limit + 4)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _similar(path: Path) -> str | None:
    """Give the file that was probably meant, from the same folder."""
    try:
        names = [name for name in sorted(os.listdir(path.parent))[:1000] if is_file_reference(name)]
    except (OSError, ValueError):
        return None
    found = close(path.name, names)
    return f"did you mean {found!r}?" if found else None


def _check_version(source: Source) -> None:
    """Refuse a newer language by name alone: what else differs there is no mistake."""
    data: Any = source.data
    version: Any = cast("dict[str, Any]", data).get("talea") if isinstance(data, dict) else None
    if type(version) is int and version > LANGUAGE_VERSION:
        try:
            known_version(version)
        except Refused as error:
            raise DocumentError([source.issue(str(error), ("talea",), hint=error.hint)]) from None
