"""Where a cassette has what judging models said: among the tasks, under names that no task has.

They are `judge`, `judge_2` and so on, in the order of the checks that ask them. A name that is a
task's own gets a `_` more, so that none is taken from a workflow.
"""

from __future__ import annotations

import re
from collections.abc import Container

_NAME = "judge"
_FORM = re.compile(rf"{_NAME}(?:_(?:[2-9]|[1-9]\d+))?_*")


def judge_address(number: int, tasks: Container[str]) -> str:
    """Give the address of the judge that is asked by the nth check of all that ask one, from 1.

    `tasks` are the names of the workflow's own tasks.
    """
    address = _NAME if number == 1 else f"{_NAME}_{number}"
    while address in tasks:
        address += "_"
    return address


def is_judge(address: str, tasks: Container[str]) -> bool:
    """Say whether an address is a judge's in a workflow with these tasks."""
    return address not in tasks and _FORM.fullmatch(address) is not None
