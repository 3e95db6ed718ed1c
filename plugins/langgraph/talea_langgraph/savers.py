"""Checkpoint savers that are opened for each execution, since they belong to an event loop."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from talea.errors import UsageError


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
