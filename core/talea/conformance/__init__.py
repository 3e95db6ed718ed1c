"""The conformance kit: whether a framework's plugin gives workflows the language's meaning.

    report = verify(adapter)                       # in a script
    talea conformance FRAMEWORK                    # in a terminal
    class TestEcho(ConformanceSuite): ...          # in pytest: `suite`

Cases are data (`cases`), run on the adapter's own schedule with made-up tools, agents and people
(`world`), and compared with what their authors computed by hand.
"""

from talea.conformance.cases import Case, load_cases
from talea.conformance.verify import Finding, Report, Verdict, verify, verify_case

__all__ = ["Case", "Finding", "Report", "Verdict", "load_cases", "verify", "verify_case"]
