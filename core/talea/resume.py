"""Going on with a run that was cut off, stopped, or waits for a person.

resume   a journal and a run's id → the run's result: what has ended does not run again
take_up  the same, checked and ready to start; or the result of a run that has ended
look_up  only what it goes on with
"""

from __future__ import annotations

import asyncio
import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talea import ir
from talea.errors import UsageError
from talea.events import RunEnded, RunStarted, Status
from talea.journal import Journal, RunRow, opened, pin, unpin
from talea.load import load
from talea.plan import make_plan
from talea.result import Result, fold
from talea.run import Prepared, prepare

_SHOWN = 40
"""Lines of a difference between two documents."""


@dataclass(slots=True, frozen=True)
class Unended:
    """A run that has not ended, and what it goes on with."""

    journal: Path
    row: RunRow
    document: ir.Workflow
    settings: Mapping[str, Any]
    """Of `prepare`: those that were kept, and in place of them those that are given."""

    def prepare(self, **settings: Any) -> Prepared:
        """Check all else that the run needs. The settings are further ones of `prepare`, whose
        errors this raises."""
        own: dict[str, Any] = {"journal": self.journal, "run_id": self.row.run, "resumed": self.row}
        return prepare(self.document, self.row.inputs, **{**self.settings, **settings, **own})


def look_up(
    run: str,
    *,
    journal: str | Path,
    framework: str | None = None,
    workflow: ir.Workflow | str | Path | None = None,
    force: bool = False,
    **settings: Any,
) -> Unended | Result:
    """Find a run, and with what it goes on; or its result, if it has ended. See `take_up`."""
    with opened(journal) as kept:
        row = kept.find(run)
        if row.has_ended:
            return result_of(kept, row)
    document = _document(row, workflow, force=force)
    chosen = framework or row.framework
    known = {name: value for name, value in row.settings.items() if name != "options"}
    if chosen == row.framework:
        known["options"] = row.settings["options"]
    given = {name: value for name, value in settings.items() if value is not None}
    if given.get("replay") is not None:
        known["offline"] = False
    if given.get("offline"):
        known["replay"] = None
    return Unended(Path(journal), row, document, {**known, **given, "framework": chosen})


def take_up(
    run: str,
    *,
    journal: str | Path,
    framework: str | None = None,
    workflow: ir.Workflow | str | Path | None = None,
    force: bool = False,
    **settings: Any,
) -> Prepared | Result:
    """Check all that a run needs to go on; nothing runs yet. A run that has ended gives its result.

    `run` is its id, or how its id begins. `framework` may be another one than it began on; what is
    not given is as it was at the beginning, but for tools, which are code, and for what records or
    disturbs. The workflow is the one that was pinned; where its file, or `workflow`, says something
    else now, the run is refused unless `force`, by which it goes on with the changed one. Other
    settings are those of `prepare`. Raises what `prepare` raises, and `UsageError` with the
    difference.
    """
    found = look_up(
        run, journal=journal, framework=framework, workflow=workflow, force=force, **settings
    )
    return found if isinstance(found, Result) else found.prepare()


async def aresume(run: str, **settings: Any) -> Result:
    """Go on with a run; the settings are those of `take_up`.

    A failed run is a result, not an exception. Raises what `take_up` raises.
    """
    found = take_up(run, **settings)
    return found if isinstance(found, Result) else await found.run()


def resume(run: str, **settings: Any) -> Result:
    """Go on with a run from code that is not async; see `aresume`."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(aresume(run, **settings))
    raise UsageError(
        "talea.resume was called inside a running event loop", "await talea.aresume(…)"
    )


def result_of(journal: Journal, row: RunRow) -> Result:
    """Tell what a run has come to so far."""
    plan = make_plan(unpin(row.document))
    past = journal.past(row)
    status = Status(row.status)
    events = [
        RunStarted(0.0, row.run, row.name, row.framework),
        *past.events(),
        RunEnded(row.elapsed, status, row.outputs, row.error, row.usage, row.agents),
    ]
    result = fold(events, tasks=plan.ids)
    for address in past.questions:
        name = address.partition("/")[0].partition("[")[0].partition("#")[0]
        if name in result.tasks and result.tasks[name].status is Status.PENDING:
            result.tasks[name].status = Status.WAITING
    return result


def _document(row: RunRow, given: ir.Workflow | str | Path | None, *, force: bool) -> ir.Workflow:
    """Give the workflow to go on with. Raises `UsageError` if it has changed."""
    if given is None and row.source is not None and os.path.exists(row.source):
        given = row.source
    if given is None:
        return unpin(row.document)
    document = given if isinstance(given, ir.Workflow) else load(given)
    # As text, since the order of keys counts.
    before, now = (json.dumps(part, indent=1) for part in (row.document, pin(document)))
    if before == now or force:
        return document
    raise UsageError(
        "the workflow has changed since the run began:\n" + _difference(before, now),
        "put it back as it was, or go on with the changed one: `--force`, or force=True",
    )


def _difference(before: str, now: str) -> str:
    files = ("when the run began", "now")
    lines = difflib.unified_diff(before.splitlines(), now.splitlines(), *files, n=2, lineterm="")
    shown = list(lines)
    rest = len(shown) - _SHOWN
    more = [f"… and {rest} more lines"] if rest > 0 else []
    return "\n".join(f"  {line}" for line in [*shown[:_SHOWN], *more])
