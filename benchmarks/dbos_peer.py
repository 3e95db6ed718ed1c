"""A chain of steps on DBOS with SQLite, for `journaling`: run by a Python that has `dbos`.

It prints the CPU seconds of each run of a chain, after one that does not count. Its file is in WAL
mode with synchronous NORMAL, which is faster than what DBOS itself sets.
"""

import sys
import tempfile
import time

import sqlalchemy
from dbos import DBOS

size, rounds = int(sys.argv[1]), int(sys.argv[2])

with tempfile.TemporaryDirectory() as folder:
    engine = sqlalchemy.create_engine(f"sqlite:///{folder}/dbos.sqlite")

    @sqlalchemy.event.listens_for(engine, "connect")
    def _(connection, record):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    DBOS(
        config={
            "name": "chain",
            "system_database_url": f"sqlite:///{folder}/dbos.sqlite",
            "system_database_engine": engine,
            "log_level": "ERROR",
        }
    )

    @DBOS.step()
    def step(n: int) -> None:
        """Do nothing."""

    @DBOS.workflow()
    def chain(length: int) -> None:
        """Do one step after the other."""
        for k in range(length):
            step(k)

    DBOS.launch()
    chain(10)
    for _ in range(rounds):
        began = time.process_time()
        chain(size)
        print(time.process_time() - began)
    DBOS.destroy()
