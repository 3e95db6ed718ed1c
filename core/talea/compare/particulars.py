"""What a comparison keeps of its circumstances: the workflow, and the machine."""

from __future__ import annotations

import os
import platform
import re
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from talea.compare.record import Machine, Outline
from talea.drawing import draw_svg
from talea.journal import source_of
from talea.plan import Plan

_DRAWN = 300
"""Tasks of which a picture is made; of more nobody sees anything on one."""


def outline_of(plan: Plan) -> Outline:
    """Give what a comparison keeps of its workflow."""
    document = plan.workflow
    source = source_of(document)
    text = None
    if source is not None:
        with suppress(OSError, UnicodeDecodeError):
            text = Path(source).read_text(encoding="utf-8")
    return Outline(
        name=plan.name,
        description=document.description,
        source=text,
        picture=draw_svg(plan) if len(plan.steps) <= _DRAWN else None,
        tasks={step.id: step.kind for step in plan.steps},
        depends={
            step.id: tuple(plan.steps[i].id for i in step.dependencies) for step in plan.steps
        },
    )


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
