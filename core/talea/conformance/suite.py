"""The kit in pytest: a plugin's author subclasses `ConformanceSuite`, in three lines.

from talea.conformance.suite import ConformanceSuite

class TestEcho(ConformanceSuite):
    framework = "echo"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest

from talea.conformance.cases import Case, load_cases
from talea.conformance.verify import verify_case
from talea.plugins import get_adapter


class ConformanceSuite:
    """A test for each case, in virtual time unless `real_time` is set."""

    framework: ClassVar[str]
    options: ClassVar[Mapping[str, str]] = {}
    real_time: ClassVar[bool] = False

    @pytest.mark.parametrize("case", load_cases(), ids=str)
    def test_case(self, case: Case) -> None:
        """The framework gives the case its meaning, or lacks what it says it lacks."""
        adapter = get_adapter(self.framework, to_run=True)
        finding = verify_case(adapter, case, options=self.options, real_time=self.real_time)
        if finding.verdict in ("declined", "skipped"):
            pytest.skip(str(finding.verdict))
        if finding.verdict == "late":
            pytest.skip(f"late: {adapter.delays}")
        assert not finding.is_fault, "\n".join([finding.verdict, *finding.problems])
