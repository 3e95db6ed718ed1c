"""The hand-computed cases, on the real thing."""

from __future__ import annotations

import pytest

from oracle.cases import Case, load_cases
from oracle.harness import observe


@pytest.mark.parametrize("case", load_cases(), ids=str)
def test_case(case: Case) -> None:
    """A run comes to what the case's author computed by hand, and keeps the rules of order."""
    seen = observe(case.workflow, case.inputs, case.scenario)
    assert not [*case.differences(seen.outcome), *seen.problems]
