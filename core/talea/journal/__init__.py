"""The journal: a SQLite file of what runs have come to, so that they can go on after a crash.

opened(path)              the file: made with 0600, in WAL mode, for several processes at once
Journal.begin / .take_up  → a Keeper, which a run tells what is to be kept
Journal.find / .runs      → RunRow: the pinned workflow, inputs, versions, how the run stands

runs     listing and reading runs, and entering them
keeper   writing down what one run tells
file     the file itself, and how it is written to
lock     who carries a run out
pinned   the workflow as it stands in the file
"""

from __future__ import annotations

from talea.journal.keeper import Keeper
from talea.journal.pinned import pin, source_of, unpin
from talea.journal.runs import Journal, Keeping, RunRow, opened

__all__ = ["Journal", "Keeper", "Keeping", "RunRow", "opened", "pin", "source_of", "unpin"]
