"""The oracle against hand-computed outcomes."""

from __future__ import annotations

import pytest

from .cases import Case, load_cases
from .interpreter import interpret


@pytest.mark.parametrize("case", load_cases(), ids=str)
def test_case(case: Case) -> None:
    """The oracle gives what the case's author computed by hand."""
    assert not case.differences(interpret(case.workflow, case.inputs, case.scenario))
