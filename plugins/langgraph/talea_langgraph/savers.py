"""Checkpoint savers that are opened for each execution, since they belong to an event loop."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, Self, cast

from talea.errors import UsageError


class Saved:
    """What graphs and dataflows have in common: a saver, theirs already or opened when they run."""

    deferred: str | None
    """A saver that is opened for each execution."""

    @property
    def is_saved(self) -> bool:
        """Whether its state is kept, so that it can go on later."""
        return bool(cast("Any", self).checkpointer)

    @asynccontextmanager
    async def with_saver(self) -> AsyncGenerator[Self]:
        """Give the object itself, or a copy with the saver that is opened for it."""
        if self.deferred is None:
            yield self
            return
        async with opened(self.deferred) as saver:
            yield cast("Any", self).copy({"checkpointer": saver, "deferred": None})


@asynccontextmanager
async def opened(checkpointer: str) -> AsyncGenerator[Any]:
    """Open the saver of `sqlite:PATH`."""
    try:
        found: Any = import_module("langgraph.checkpoint.sqlite.aio")
    except ImportError as error:
        hint = "pip install langgraph-checkpoint-sqlite"
        raise UsageError("checkpoints in SQLite need another package", hint) from error
    path = checkpointer.removeprefix("sqlite:")
    # The saver would create it for all to read; it holds prompts and outputs.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    async with found.AsyncSqliteSaver.from_conn_string(path) as saver:
        yield saver
