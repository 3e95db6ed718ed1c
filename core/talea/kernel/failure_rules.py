"""What the ends of tasks mean for the others: triggers, and which failures are handled.

Rules 1 to 3 of the language's section "Ends". A *carrier* of a failure is the failed task itself,
and every task that ended `upstream_failed` because it depends on a carrier.
"""

from __future__ import annotations

from collections.abc import Sequence

from talea.events import Status, TaskEnded
from talea.ir import Trigger
from talea.kernel.work import Record
from talea.plan import Step

Records = Sequence[Record | TaskEnded | None]

_BAD = frozenset({Status.FAILED, Status.UPSTREAM_FAILED})
_ENDS_OF_TROUBLE = frozenset({Status.FAILED, Status.UPSTREAM_FAILED, Status.CANCELLED})


def _statuses(indices: Sequence[int], records: Records) -> list[Status | None]:
    """Give the ends of tasks; None for those that have not ended."""
    found: list[Status | None] = []
    for i in indices:
        record = records[i]
        found.append(record.status if record is not None and record.ended else None)
    return found


def unmet(step: Step, records: Records) -> tuple[Status, int] | None:
    """Say why a task whose dependencies have ended does not run: its end, and the dependency that
    is the reason. None if it runs."""
    watched = _statuses(step.watched, records)
    trigger = step.trigger
    if trigger is Trigger.ALL_SUCCESS:
        met = all(status is Status.SUCCEEDED for status in watched)
    elif trigger is Trigger.NONE_FAILED:
        met = not any(status in _ENDS_OF_TROUBLE for status in watched)
    elif trigger is Trigger.ONE_SUCCESS:
        met = Status.SUCCEEDED in watched
    elif trigger is Trigger.ONE_FAILED:
        met = any(status in _BAD for status in watched)
    else:
        met = True
    if met and step.previous is not None and trigger not in (Trigger.ONE_FAILED, Trigger.ALL_DONE):
        met = _statuses((step.previous,), records)[0] not in _ENDS_OF_TROUBLE
    if met:
        return None
    every = list(zip(_statuses(step.dependencies, records), step.dependencies, strict=True))
    for end, causes in (
        (Status.UPSTREAM_FAILED, _BAD),
        (Status.CANCELLED, frozenset({Status.CANCELLED})),
        (Status.SKIPPED, frozenset({Status.SKIPPED})),
    ):
        for status, i in every:
            if status in causes:
                return end, i
    # Only `one_failed` gets here: all that it looks at went well, so there is nothing to handle.
    return Status.SKIPPED, step.watched[0]


def is_handled(failed: int, steps: Sequence[Step], records: Records) -> bool:
    """Say whether a handler that succeeded looks at the failure, once everything has ended."""
    return any(
        steps[s].trigger is Trigger.ONE_FAILED
        and c in steps[s].watched
        and _statuses((s,), records)[0] is Status.SUCCEEDED
        for c in _carriers(failed, steps, records, possible=False)
        for s in steps[c].successors
    )


def can_be_handled(failed: int, steps: Sequence[Step], records: Records) -> bool:
    """Say whether a failure is handled, or may still be: a handler that has not ended looks at it,
    or at a task that it could yet make `upstream_failed`."""
    return is_handled(failed, steps, records) or any(
        steps[s].trigger is Trigger.ONE_FAILED
        and c in steps[s].watched
        and _statuses((s,), records)[0] is None
        for c in _carriers(failed, steps, records, possible=True)
        for s in steps[c].successors
    )


def _carriers(failed: int, steps: Sequence[Step], records: Records, *, possible: bool) -> list[int]:
    found = [failed]
    seen = {failed}
    for i in found:
        for s in steps[i].successors:
            if s in seen:
                continue
            status = _statuses((s,), records)[0]
            if status is Status.UPSTREAM_FAILED or (
                possible and status is None and _may_stay_unmet(steps[s], records)
            ):
                seen.add(s)
                found.append(s)
    return found


def _may_stay_unmet(step: Step, records: Records) -> bool:
    """Say whether the trigger of a task that has not ended could yet come out unmet."""
    watched = _statuses(step.watched, records)
    trigger = step.trigger
    if trigger is Trigger.ALL_DONE:
        return False
    if trigger is Trigger.ONE_FAILED:
        return not any(status in _BAD for status in watched)
    if trigger is Trigger.ONE_SUCCESS:
        open_ = Status.SUCCEEDED not in watched
    elif trigger is Trigger.NONE_FAILED:
        open_ = any(status is None or status in _ENDS_OF_TROUBLE for status in watched)
    else:
        open_ = any(status is not Status.SUCCEEDED for status in watched)
    if step.previous is not None:
        before = _statuses((step.previous,), records)[0]
        open_ = open_ or before is None or before in _ENDS_OF_TROUBLE
    return open_
