"""What a comparison is, as data: all that was measured, and nothing that follows from it.

It is written as JSON, read again as a baseline or by `talea view`, and rendered as a report. Times
are seconds; those of a run's parts count from the run's start. Memory is bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from talea.errors import UsageError

if TYPE_CHECKING:
    from talea.compare.gates import Gate
    from talea.compare.statistics import Figures, Summary

FORMAT = 1
"""The version of this format; one that is newer is refused by name."""


Kind = Literal["model", "tool", "retry", "place", "person"]
"""What a span of time is: a call of a model or tool, or a wait: for a retry, a place, a person."""


class Frozen(BaseModel):
    """A part of a comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Problem(Frozen):
    """Why a task or run failed. Beside the language's own types, a run may fail with `worker_died`,
    `worker_hung` or `worker_failed`: its process did, and no task can tell of it."""

    type: str
    message: str
    address: str | None = None


class Used(Frozen):
    """What model calls used. `cost` is in US dollars, None where nobody knows it."""

    model_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None


class Split(Frozen):
    """Where time went. Each moment counts once: for `model` if a model call was under way, else for
    `tool`, else for `waiting` (a person, a pause before a retry, a place), else for `framework`."""

    model: float = 0.0
    tool: float = 0.0
    waiting: float = 0.0
    framework: float = 0.0

    @property
    def whole(self) -> float:
        """All of it."""
        return self.model + self.tool + self.waiting + self.framework


class Span(Frozen):
    """A stretch of time within a run: a model call, a tool's call, or a wait and what for."""

    kind: Kind
    address: str
    began: float
    duration: float
    label: str = ""
    """The agent that called, or the tool that was called."""
    error: str | None = None


class Call(Frozen):
    """A model call as the gateway saw it. `status` is the HTTP status, 0 where there was none."""

    address: str
    agent: str
    turn: int
    model: str
    status: int
    began: float
    duration: float
    first_byte: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    prompt_characters: int = 0
    tools_offered: tuple[str, ...] = ()
    tools_called: tuple[str, ...] = ()
    fault: str | None = None
    error: str | None = None
    prompt: tuple[dict[str, Any], ...] | None = None
    """The messages that were sent, each with `role` and `content`; kept for one run of a case."""


class Task(Frozen):
    """How a task ended. `ready` is when all that it depends on had ended, `started` and `ended`
    when it began and ended itself; None where it never came to that."""

    status: str
    reason: str | None = None
    output: Any = None
    error: Problem | None = None
    recovered: bool = False
    attempts: int = 0
    agent: str | None = None
    ready: float | None = None
    started: float | None = None
    ended: float | None = None
    used: Used = Used()
    split: Split | None = None


class Verdict(Frozen):
    """What came of one check of a run. `why` says what was found instead."""

    check: str
    passed: bool
    why: str | None = None
    of_end: bool = False
    """Whether the check says how the run is to end: one that fails as it should has passed."""
    used: Used | None = None
    """What a model used that judged; it counts for no framework."""


class RunRecord(Frozen):
    """One run of a case on a framework. `order` counts the comparison's runs from 0."""

    framework: str
    case: str
    repeat: int
    order: int
    status: str
    error: Problem | None = None
    outputs: dict[str, Any] | None = None
    tasks: dict[str, Task] = {}
    """By address without iterations: `draft`, `notes[0]/draft`."""
    used: Used = Used()
    """As the gateway counted."""
    reported: Used | None = None
    """As the framework tells."""
    calls: tuple[Call, ...] = ()
    spans: tuple[Span, ...] = ()
    duration: float = 0.0
    split: Split = Split()
    cpu: float = 0.0
    """Of the framework's process, in this run: user and system, all threads."""
    peak_memory: int = 0
    """The most that its process has held up to then."""
    retries: int = 0
    verdicts: tuple[Verdict, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Whether the run itself came to its end; its checks may fail all the same."""
        return self.status == "succeeded"

    @property
    def passed(self) -> bool:
        """Whether the run ended as it should, and all its checks passed."""
        ended_well = self.succeeded or any(verdict.of_end for verdict in self.verdicts)
        return ended_well and all(verdict.passed for verdict in self.verdicts)

    @property
    def prompt_characters(self) -> int:
        """How much text was sent to models."""
        return sum(call.prompt_characters for call in self.calls)


class Overhead(Frozen):
    """A successful run made again, with the models and tools of its framework's own first one on
    tape: none of them takes any time, so that what is left is the framework."""

    framework: str
    case: str
    repeat: int
    duration: float
    split: Split
    """Its `model` is the gateway's own time, and `framework` the overhead."""
    cpu: float
    """As in `RunRecord`."""


class Startup(Frozen):
    """What it takes until the first run can begin."""

    import_seconds: float
    import_cpu: float
    import_memory: int
    """What the process held with the framework imported."""
    compile_seconds: float
    compile_cpu: float
    first_run: float | None = None
    """Duration of the first run, which warms up and counts for nothing else."""


class Contender(Frozen):
    """A framework as it took part: in one version, with one set of options."""

    key: str
    """How it is called in this comparison: `langgraph`, `langgraph@1.2`, `langgraph:maps=node`."""
    framework: str
    agents: str | None = None
    options: dict[str, str] = {}
    versions: dict[str, str] = {}
    python: str = ""
    isolated: bool = False
    startup: Startup | None = None
    refused: str | None = None
    """Why it could not take part: what it does not support, or what went wrong at its start."""
    emulated: dict[str, str] = {}
    """Features of the workflow that it emulates, each with a word on how."""
    held_back: tuple[str, ...] = ()
    """What a shared environment does to it: `pydantic 2.12.5: crewai wants <2.13`."""
    notes: tuple[str, ...] = ()


class Case(Frozen):
    """One set of inputs, and what is expected of it. Those without an `id` are counted."""

    id: str = ""
    inputs: dict[str, Any] = {}
    answers: dict[str, Any] = {}
    expect: tuple[Any, ...] = ()


class Outline(Frozen):
    """The workflow: its text, its picture, and its tasks in document order."""

    name: str
    description: str | None = None
    source: str | None = None
    picture: str | None = None
    """SVG."""
    tasks: dict[str, str] = {}
    """The kind of each task, by id."""
    depends: dict[str, tuple[str, ...]] = {}


class Settings(Frozen):
    """How it was compared."""

    mode: Literal["offline", "replay", "live"]
    repeat: int
    warmup: int
    seed: int
    timeout: float
    faults: str | None = None
    cassette: str | None = None
    """The file, or the folder of one for each case, that answered in place of models."""
    recorded: str | None = None
    """Where the answers of models were recorded."""
    model: str | None = None
    command: str | None = None
    """The exact command that does it again."""


class Machine(Frozen):
    """Where it was compared."""

    system: str
    processor: str
    cores: int
    memory: int | None
    python: str
    talea: str


class Comparison(Frozen):
    """A whole comparison, as `talea.compare` gives it. `statistics`, `rows` and `answer` say what
    follows; `to_html` and its kin show it."""

    talea_comparison: Literal[1] = FORMAT
    began: str
    """ISO 8601, with the time zone."""
    seconds: float
    outline: Outline
    settings: Settings
    machine: Machine
    contenders: tuple[Contender, ...]
    cases: tuple[Case, ...]
    runs: tuple[RunRecord, ...]
    overhead: tuple[Overhead, ...] = ()
    """Where models were asked for real; elsewhere the runs themselves wait for no model."""
    interrupted: bool = False
    """Whether it ended before all runs were made."""
    notes: tuple[str, ...] = ()
    """What went wrong beside the runs."""

    @property
    def taking_part(self) -> tuple[Contender, ...]:
        """The contenders that ran."""
        return tuple(one for one in self.contenders if one.refused is None)

    def of(self, key: str) -> tuple[RunRecord, ...]:
        """Give a contender's runs, in order."""
        return tuple(run for run in self.runs if run.framework == key)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Give a copy, with other parts; its statistics are its own."""
        copied = super().model_copy(update=update, deep=deep)
        vars(copied).pop("statistics", None)
        return copied

    @cached_property
    def statistics(self) -> Summary:
        """What follows from the runs: figures and differences of each contender, and agreement."""
        from talea.compare.statistics import summarise

        return summarise(self)

    @property
    def rows(self) -> tuple[Figures, ...]:
        """The figures of each contender that ran."""
        return self.statistics.figures

    @property
    def answer(self) -> list[str]:
        """What it comes to, in a few sentences."""
        from talea.compare.answer import answer

        return answer(self, self.statistics)

    def to_json(self) -> str:
        """Give all of it as JSON text, which `from_json` reads."""
        return self.model_dump_json(indent=1, exclude_defaults=False)

    @classmethod
    def from_json(cls, text: str | bytes, name: str = "<text>") -> Self:
        """Read what `to_json` gave. Raises `UsageError`, with what is wrong first."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise UsageError(
                f"{name} is no comparison that this talea reads: {where}: {first['msg']}",
                "a comparison is what `talea compare --out FILE.json` writes",
            ) from error

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a comparison from a `.json` file, or from a report, which holds it.

        Raises `UsageError` where there is none.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} cannot be read: {error}") from error
        if not text.lstrip().startswith("{"):
            from talea.compare.report import comparison_in

            text = comparison_in(text, str(path))
        return cls.from_json(text, str(path))

    def to_markdown(self, gates: Sequence[Gate] = ()) -> str:
        """Give a summary for a pull request, with the gates that it was held to."""
        from talea.compare.markdown import to_markdown

        return to_markdown(self, gates)

    def to_html(self) -> str:
        """Give the report: one page that needs no network."""
        from talea.compare.report import to_html

        return to_html(self)

    def to_frame(self) -> Any:
        """Give the runs as a pandas data frame. Raises `UsageError` where pandas is not there."""
        from talea.compare.frame import to_frame

        return to_frame(self)
