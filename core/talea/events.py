"""What happens during a run, as small records in the order in which it happened.

Every event has `time`, in seconds since the run began. Addresses are the full ones, with `#n` for
a loop's iteration, as in `polish#1/brief`. A sink is any callable that takes an event; it is called
on the run's event loop and must not block. A prompt or a secret is in no event; a sink whose
attribute `content` is true is told besides what went into agents and tools, and what came out. One
whose attribute `text` is false hears no `TextStreamed`: where no sink does, no model is asked to
stream, which costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """Where a task or a run stands."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Usage:
    """What model calls used; a failed call counts too. `cost` is in US dollars, and None as soon as
    the cost of one call is unknown."""

    model_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None

    def begin_call(self) -> None:
        """Count a model call; what it uses is not known yet."""
        self.model_calls += 1

    def end_call(self, used: Usage) -> None:
        """Add what a call used."""
        self.input_tokens += used.input_tokens
        self.output_tokens += used.output_tokens
        if used.cost is None:
            self.cost = None
            self._unpriced = True
        elif not self._unpriced:
            self.cost = (self.cost or 0.0) + used.cost

    _unpriced: bool = field(default=False, repr=False, compare=False)

    def as_json(self) -> dict[str, Any]:
        """Give the usage as the object of `--json`."""
        return {
            "model_calls": self.model_calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost": self.cost,
        }


@dataclass(slots=True)
class Failure:
    """Why a task or run failed: data, not an exception. `cause` is the framework's own error."""

    type: str
    message: str
    address: str | None
    cause: BaseException | None = field(default=None, compare=False, repr=False)

    def as_json(self) -> dict[str, Any]:
        """Give type, message and address."""
        return {"type": self.type, "message": self.message, "address": self.address}


@dataclass(slots=True)
class RunStarted:
    """A run began."""

    time: float
    run: str
    workflow: str
    framework: str


@dataclass(slots=True)
class TaskStarted:
    """A task's condition held, and its work begins."""

    time: float
    address: str


@dataclass(slots=True)
class InnerStarted:
    """What is inside a block or sub-workflow begins: once for each item, iteration and attempt.

    `workflow` is the sub-workflow's name, None for a block.
    """

    time: float
    address: str
    attempt: int
    workflow: str | None


@dataclass(slots=True)
class InnerEnded:
    """What is inside a block or sub-workflow came to its end, whether it is tried again or not."""

    time: float
    address: str
    attempt: int
    status: Status
    error: Failure | None


@dataclass(slots=True)
class AgentChosen:
    """A pool has chosen an agent for an attempt, which begins with this.

    `loads` is how many attempts each of its agents had at work before. `pool` is None where any
    agent with certain capabilities would do.
    """

    time: float
    address: str
    agent: str
    pool: str | None
    loads: Mapping[str, int]


@dataclass(slots=True)
class Waited:
    """An attempt waited for its place, or a model call for its rates, `duration` seconds long."""

    time: float
    address: str
    duration: float


@dataclass(slots=True)
class AgentStarted:
    """An agent is called: once for each item, iteration and attempt, and each time that a manager
    delegates to it: `by` is that manager then."""

    time: float
    address: str
    attempt: int
    agent: str
    provider: str
    model: str
    by: str | None = None


@dataclass(slots=True)
class AgentEnded:
    """An agent's attempt came to its end, whether it is tried again or not."""

    time: float
    address: str
    attempt: int
    agent: str
    status: Status
    error: Failure | None


@dataclass(slots=True)
class AttemptFailed:
    """An attempt failed and another one follows, `retry_in` seconds later."""

    time: float
    address: str
    attempt: int
    error: Failure
    retry_in: float


@dataclass(slots=True)
class Recovered:
    """A task, or an item of it, failed and succeeds all the same, with its fallback."""

    time: float
    address: str
    error: Failure


@dataclass(slots=True)
class ModelCalled:
    """A model answered, or failed: one turn of an agent."""

    time: float
    address: str
    agent: str
    provider: str
    model: str
    usage: Usage
    duration: float
    error: Failure | None


@dataclass(slots=True)
class TextStreamed:
    """A piece of an agent's answer arrived."""

    time: float
    address: str
    agent: str
    text: str


@dataclass(slots=True)
class ToolCalled:
    """A tool was called and came back; `error` says how it failed."""

    time: float
    address: str
    tool: str
    duration: float
    error: Failure | None


@dataclass(slots=True)
class Delegated:
    """An agent of a team gave a piece of work to a member, which is done; or, where it is not the
    manager, handed the conversation over. `error` says how the member failed."""

    time: float
    address: str
    agent: str
    to: str
    task: str
    error: Failure | None


@dataclass(slots=True)
class Asked:
    """A person is asked; `schema` is what the answer must fit. `tool` is there where the question
    is whether it may be called."""

    time: float
    address: str
    text: str
    schema: Any
    tool: str | None = None


@dataclass(slots=True)
class Answered:
    """A question was answered, or, with a `refusal`, the answer did not fit and it stays open.

    `text` is the question's. `again` says that the answer was given before the run was cut off.
    """

    time: float
    address: str
    refusal: str | None
    text: str
    answer: Any
    again: bool = False


@dataclass(slots=True)
class TaskWaiting:
    """A task waits for a person and nobody is there, or for a task inside it that does."""

    time: float
    address: str
    attempts: int
    started: float | None


@dataclass(slots=True)
class TaskEnded:
    """A task ended: the one terminal event of a task, for inner ones of each iteration.

    A run keeps it as the task's record: there is nothing more to know of it.
    """

    time: float
    address: str
    status: Status
    reason: str | None
    output: Any
    error: Failure | None
    recovered: bool
    attempts: int
    agent: str | None
    started: float | None
    usage: Usage | None

    @property
    def ended(self) -> bool:
        """It has: this tells it from the record of a task that has not."""
        return True


@dataclass(slots=True)
class MeteredCall:
    """A model call as the gateway saw it, whatever the framework tells of it.

    `turn` counts from 1 for each address and agent. `status` is the HTTP status of the answer, 0
    where the client left before one. Times are in seconds: `began` from the start of the run,
    `first_byte` and `duration` from the start of the call. `client` is its user agent.
    """

    address: str
    agent: str
    turn: int
    model: str
    status: int
    usage: Usage
    began: float
    first_byte: float | None
    duration: float
    prompt_characters: int
    tools_offered: tuple[str, ...]
    tools_called: tuple[str, ...]
    client: str
    fault: str | None = None
    error: str | None = None

    @property
    def is_refused(self) -> bool:
        """Whether it was answered by an error, which costs nothing."""
        used = self.usage
        return self.status >= 400 and not (used.input_tokens or used.output_tokens)

    def as_json(self) -> dict[str, Any]:
        """Give the call as the object of `--json`."""
        return {**asdict(self), "usage": self.usage.as_json()}


@dataclass(slots=True)
class RunMetered:
    """What the gateway saw of a run: every model call, in the order of arrival.

    Of a run that goes on these are the calls since; `earlier` is what was used before, by the
    addresses of tasks without `#n`, and at `""` by the run; `earlier_agents` by each agent.
    """

    time: float
    calls: tuple[MeteredCall, ...]
    earlier: Mapping[str, Usage] = field(default_factory=dict[str, Usage])
    earlier_agents: Mapping[str, Usage] = field(default_factory=dict[str, Usage])


@dataclass(slots=True)
class RunEnded:
    """A run ended, or waits. `agents` is what each of its agents used, by name."""

    time: float
    status: Status
    outputs: Any
    error: Failure | None
    usage: Usage
    agents: Mapping[str, Usage] = field(default_factory=dict[str, Usage])


@dataclass(slots=True)
class AgentContent:
    """What an agent was asked and what it said, just before its `AgentEnded`."""

    time: float
    address: str
    agent: str
    instructions: str
    prompt: str
    answer: str | None


@dataclass(slots=True)
class ToolContent:
    """What a tool was given and what it gave, just before its `ToolCalled`."""

    time: float
    address: str
    tool: str
    arguments: Mapping[str, Any]
    result: Any


Event = (
    RunStarted
    | TaskStarted
    | InnerStarted
    | InnerEnded
    | AgentChosen
    | Waited
    | AgentStarted
    | AgentEnded
    | AttemptFailed
    | Recovered
    | ModelCalled
    | TextStreamed
    | ToolCalled
    | Delegated
    | Asked
    | Answered
    | TaskWaiting
    | TaskEnded
    | RunMetered
    | RunEnded
)
Sink = Callable[[Event], object]
Content = AgentContent | ToolContent
"""What only the sinks are told that ask for it."""
