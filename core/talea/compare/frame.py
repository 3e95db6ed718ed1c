"""A comparison's runs as a pandas data frame, for those who have pandas and questions of their own.

pandas is no dependency: it is imported here alone, when somebody asks.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from talea.compare.record import Comparison, Overhead, RunRecord
from talea.errors import UsageError


def to_frame(comparison: Comparison) -> Any:
    """Give one row a run, in the order in which they were made. Raises `UsageError` without pandas.

    Times are seconds, memory is bytes, cost is US dollars; what is unknown is missing. `overhead`
    and `overhead_cpu` are those of the run that was made again without a model, and has the same
    framework, case and repeat. Columns are there without any run, too.
    """
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        raise UsageError(
            "a data frame needs pandas, which is not installed",
            "pip install pandas, or read the JSON that `to_json` gives",
        ) from error
    again = {(one.framework, one.case, one.repeat): one for one in comparison.overhead}
    rows = [_row(run, again.get((run.framework, run.case, run.repeat))) for run in comparison.runs]
    return pandas.DataFrame(rows, columns=COLUMNS)


COLUMNS = [
    "order",
    "framework",
    "case",
    "repeat",
    "status",
    "error",
    "passed",
    "checks",
    "checks_passed",
    "duration",
    "model_seconds",
    "tool_seconds",
    "waiting_seconds",
    "framework_seconds",
    "overhead",
    "overhead_cpu",
    "cpu",
    "peak_memory",
    "model_calls",
    "input_tokens",
    "output_tokens",
    "cost",
    "prompt_characters",
    "retries",
    "outputs",
]


def _row(run: RunRecord, again: Overhead | None) -> dict[str, Any]:
    return {
        "order": run.order,
        "framework": run.framework,
        "case": run.case,
        "repeat": run.repeat,
        "status": run.status,
        "error": run.error.type if run.error else None,
        "passed": run.passed,
        "checks": len(run.verdicts),
        "checks_passed": sum(verdict.passed for verdict in run.verdicts),
        "duration": run.duration,
        "model_seconds": run.split.model,
        "tool_seconds": run.split.tool,
        "waiting_seconds": run.split.waiting,
        "framework_seconds": run.split.framework,
        "overhead": again.split.framework if again else None,
        "overhead_cpu": again.cpu if again else None,
        "cpu": run.cpu,
        "peak_memory": run.peak_memory,
        "model_calls": run.used.model_calls,
        "input_tokens": run.used.input_tokens,
        "output_tokens": run.used.output_tokens,
        "cost": run.used.cost,
        "prompt_characters": run.prompt_characters,
        "retries": run.retries,
        "outputs": run.outputs,
    }
