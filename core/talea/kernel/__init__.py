"""What a task means, whoever schedules it: `Run` is what an adapter drives."""

from talea.kernel.execution import Execution
from talea.kernel.run import Run
from talea.kernel.work import Record

__all__ = ["Execution", "Record", "Run"]
