"""How a task that has ended, or an item that is done, looks as JSON data, and is read back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from talea.events import Failure, TaskEnded, Usage
from talea.kernel.work import Cell, Progress

_ITEM = re.compile(r"(\w+)\[(\d+)\]")


def save_ended(ended: TaskEnded) -> dict[str, Any]:
    """Give what there is to know of a task that has ended, but for times."""
    saved: dict[str, Any] = {"status": ended.status.value, "output": ended.output}
    if ended.reason is not None:
        saved["reason"] = ended.reason
    if ended.error is not None:
        saved["error"] = ended.error.as_json()
    if ended.recovered:
        saved["recovered"] = True
    if ended.attempts:
        saved["attempts"] = ended.attempts
    if ended.agent is not None:
        saved["agent"] = ended.agent
    if ended.usage is not None:
        saved["usage"] = ended.usage.as_json()
    return saved


def save_item(cell: Cell) -> dict[str, Any] | None:
    """Give what an item came to; None if it has not come to anything."""
    if cell.progress is Progress.DONE:
        saved: dict[str, Any] = {"output": cell.output}
        return saved | {"recovered": True} if cell.recovered else saved
    if cell.progress is Progress.FAILED and (error := cell.failure) is not None:
        told = Failure(error.type.value, error.message, error.address or cell.address)
        return {"output": None, "error": told.as_json()}
    return None


def item_of(name: str) -> tuple[str, int] | None:
    """Read `id[k]`; None for the id of a task."""
    found = _ITEM.fullmatch(name)
    return None if found is None else (found[1], int(found[2]))


def read_error(saved: Mapping[str, Any]) -> Failure | None:
    """Read a failure back."""
    error = saved.get("error")
    return None if error is None else Failure(error["type"], error["message"], error["address"])


def read_usage(saved: Mapping[str, Any]) -> Usage | None:
    """Read what model calls used."""
    usage = saved.get("usage")
    return None if usage is None else Usage(**usage)
