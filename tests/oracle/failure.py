"""What ends an attempt of a task."""

from __future__ import annotations


class TaskFailed(Exception):
    """A task, or an attempt of it, failed. `crossing` says that a limit of the run was crossed."""

    def __init__(self, type_: str, address: str | None, *, crossing: bool = False) -> None:
        super().__init__(type_, address)
        self.type = type_
        self.address = address
        self.crossing = crossing
