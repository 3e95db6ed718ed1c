"""Every error that talea raises, and the names a failed task carries.

TaleaError                      anything below; catch this to catch all
├── DocumentError               a workflow is invalid: every problem found, each with its place
├── ExpressionError             one expression or template cannot be compiled or evaluated
├── UsageError                  a call or command is wrong: inputs, options, tools, answers
│   ├── InputError              the inputs do not fit what the workflow declares
│   ├── PluginError             a plugin is broken, missing, of an unknown API, or in conflict
│   └── EndpointError           a model's address or key cannot be used
├── UnsupportedError            the chosen framework lacks a feature the workflow needs
├── TaskError                   a task failed; tools may raise it to choose the error's type
└── RunError                    raised by `Result.raise_for_failure()` alone
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class ErrorType(StrEnum):
    """What went wrong with a task; the closed set that `retry_on` and `error.type` speak of."""

    EXPRESSION = "expression"
    INVALID_ARGUMENTS = "invalid_arguments"
    INVALID_OUTPUT = "invalid_output"
    UNKNOWN_TOOL = "unknown_tool"
    TOOL_ERROR = "tool_error"
    TIMEOUT = "timeout"
    RATE_LIMIT = "rate_limit"
    SERVER_ERROR = "server_error"
    CONNECTION = "connection"
    AUTHENTICATION = "authentication"
    REFUSED = "refused"
    MODEL_ERROR = "model_error"
    TURNS_EXHAUSTED = "turns_exhausted"
    LOOP_EXHAUSTED = "loop_exhausted"
    DELEGATION = "delegation"
    DENIED = "denied"
    LIMIT_EXCEEDED = "limit_exceeded"
    REPLAY_EXHAUSTED = "replay_exhausted"
    INTERRUPTED = "interrupted"
    INTERNAL = "internal"


RETRIED_BY_DEFAULT = frozenset(
    {
        ErrorType.RATE_LIMIT,
        ErrorType.SERVER_ERROR,
        ErrorType.CONNECTION,
        ErrorType.TIMEOUT,
        ErrorType.INVALID_OUTPUT,
        ErrorType.TOOL_ERROR,
    }
)
NEVER_RETRIED = frozenset(
    {
        ErrorType.AUTHENTICATION,
        ErrorType.EXPRESSION,
        ErrorType.REFUSED,
        ErrorType.DENIED,
        ErrorType.UNKNOWN_TOOL,
        ErrorType.REPLAY_EXHAUSTED,
        ErrorType.LIMIT_EXCEEDED,
        ErrorType.INTERNAL,
    }
)
NEVER_RECOVERED = frozenset(
    {ErrorType.LIMIT_EXCEEDED, ErrorType.REPLAY_EXHAUSTED, ErrorType.INTERNAL}
)


class TaleaError(Exception):
    """Base of every error that talea raises on purpose."""


class ExpressionError(TaleaError):
    """An expression or template that cannot be compiled, or fails when evaluated.

    `start` and `end` are character offsets into `source`, the text of the expression or of the
    whole template. `missing` says that a path led nowhere, which `exists` and `default` guard.
    """

    def __init__(
        self,
        message: str,
        source: str = "",
        start: int = 0,
        end: int | None = None,
        *,
        missing: bool = False,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.source = source
        self.start = start
        self.end = len(source) if end is None else end
        self.missing = missing
        self.hint = hint


class Severity(StrEnum):
    """How bad an issue is: errors refuse the document, warnings are only told."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(slots=True, frozen=True)
class Issue:
    """One problem of a document, with all that a tired reader needs.

    `line` and `col` count from 1; they are None for a workflow that was built in Python.
    `snippet` is the source line and a caret line under it, ready to print.
    """

    message: str
    path: str = ""
    hint: str | None = None
    severity: Severity = Severity.ERROR
    file: str | None = None
    line: int | None = None
    col: int | None = None
    snippet: str | None = None

    @property
    def where(self) -> str:
        """The place as `file:line:col path`, as far as it is known."""
        place = ":".join(str(p) for p in (self.file, self.line, self.col) if p is not None)
        return " ".join(p for p in (place, self.path) if p)

    def __str__(self) -> str:
        head = f"{self.where}: " if self.where else ""
        lines = [f"{head}{'warning: ' if self.severity is Severity.WARNING else ''}{self.message}"]
        if self.snippet:
            lines.append(self.snippet)
        if self.hint:
            lines.append(f"  Hint: {self.hint}")
        return "\n".join(lines)


class DocumentError(TaleaError):
    """A workflow is invalid. `issues` holds every problem that was found, in document order."""

    def __init__(self, issues: Iterable[Issue]) -> None:
        self.issues: tuple[Issue, ...] = tuple(issues)
        super().__init__(self.issues)

    def __str__(self) -> str:
        return "\n".join(str(issue) for issue in self.issues)


class HintedError(TaleaError):
    """An error of one sentence and, where something can be done, a hint."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  Hint: {self.hint}" if self.hint else self.message


class UsageError(HintedError):
    """A call or a command is wrong: its inputs, options, tools or answers."""


class InputError(UsageError):
    """The inputs of a run do not fit what the workflow declares. The run did not start."""


class PluginError(UsageError):
    """A plugin cannot be used: broken, missing, of an unknown API version, or in conflict."""


class EndpointError(UsageError):
    """A model's address or key cannot be used as the document asks."""


@dataclass(slots=True, frozen=True)
class Lack:
    """One feature that a task needs and a framework does not have."""

    task: str
    feature: str
    reason: str
    frameworks: Sequence[str] = ()

    def __str__(self) -> str:
        have = f" Frameworks that have it: {', '.join(self.frameworks)}." if self.frameworks else ""
        return f"{self.task or 'the workflow'}: {self.feature}: {self.reason}.{have}"


class UnsupportedError(TaleaError):
    """The chosen framework lacks what the workflow needs. Raised before anything runs."""

    def __init__(self, framework: str, lacks: Iterable[Lack]) -> None:
        self.framework = framework
        self.lacks: tuple[Lack, ...] = tuple(lacks)
        super().__init__(framework, self.lacks)

    def __str__(self) -> str:
        rows = "\n".join(f"  {lack}" for lack in self.lacks)
        return f"{self.framework!r} cannot run this workflow:\n{rows}"


class TaskError(TaleaError):
    """Why a task failed: a type of `ErrorType`, words for people, and the address it began at.

    A tool may raise it to choose the type itself. `retry_after` is in seconds, as a server asked.
    """

    def __init__(
        self,
        type: ErrorType | str,
        message: str,
        address: str | None = None,
        *,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.type = ErrorType(type)
        self.message = message
        self.address = address
        self.retry_after = retry_after

    def __str__(self) -> str:
        place = f"{self.address}: " if self.address else ""
        return f"{place}{self.type}: {self.message}"


class RunError(TaleaError):
    """A run did not succeed. `Result.raise_for_failure()` raises it; a run itself never does."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(f"the run {status}: {message}")
        self.status = status
