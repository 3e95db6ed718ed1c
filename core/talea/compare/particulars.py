"""What a comparison keeps of its circumstances: the workflow, and the machine."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from talea.compare.record import Machine, Outline
from talea.drawing import draw_svg
from talea.ir import Workflow
from talea.journal import source_of
from talea.journal.pinned import files_of
from talea.plan import Plan
from talea.spelling import dump

_DRAWN = 300
"""Tasks of which a picture is made; of more nobody sees anything on one."""


def outline_of(plan: Plan) -> Outline:
    """Give what a comparison keeps of its workflow."""
    document = plan.workflow
    return Outline(
        name=plan.name,
        description=document.description,
        source="\n".join(_texts(document, "", set())) or None,
        picture=draw_svg(plan) if len(plan.steps) <= _DRAWN else None,
        tasks={step.id: step.kind for step in plan.steps},
        depends={
            step.id: tuple(plan.steps[i].id for i in step.dependencies) for step in plan.steps
        },
    )


def _texts(document: Workflow, reference: str, seen: set[int]) -> Iterator[str]:
    """Give the text of a workflow as it was written, or what says the same where it was made in
    Python, and below it that of each file it refers to."""
    if id(document) in seen:
        return
    seen.add(id(document))
    if reference:
        yield f"# {reference}"
    source = source_of(document)
    with suppress(OSError, ValueError):
        yield Path(source).read_text(encoding="utf-8") if source is not None else dump(document)
    for name, file in files_of(document).items():
        yield from _texts(file, name, seen)


def this_machine() -> Machine:
    """Say where it is compared."""
    memory = None
    with suppress(ValueError, OSError, AttributeError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        system=platform.platform(terse=True),
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory=memory,
        python=sys.version.partition(" ")[0],
        talea=metadata.version("talea"),
    )


def _processor() -> str:
    """Name the processor: times on another one are not comparable."""
    with suppress(OSError):
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"^model name\s*:\s*(.+)$", told, re.MULTILINE):
            return found[1]
    return platform.processor() or platform.machine()
