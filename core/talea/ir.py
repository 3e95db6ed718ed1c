"""The workflow document, version 1: frozen pydantic models that are its only definition.

YAML and JSON are two spellings of these models, and in Python they are built directly. JSON Schema,
the reference and editor completion are generated from them. What a document *means* beyond its
shape (names that must exist, cycles, paths, triggers) is checked in `plan.py`.

Text fields hold one of two things. Fields that decide (`when`, `for_each`, `until`) hold a bare
expression. Fields that hold content (`prompt`, `with`, `value`, `fallback`, `ask`, `outputs`) hold
text, or a structure of text, with `{{ expression }}` holes.
"""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    PlainSerializer,
    PrivateAttr,
    StrictBool,
    Tag,
    WithJsonSchema,
)

from talea.errors import ErrorType

LANGUAGE_VERSION = 1
ID_PATTERN = r"^[a-z][a-z0-9_]{0,63}$"
TOOL_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"

_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(value: object) -> float:
    """Give the seconds of a duration such as `90s` or `1.5h`; a timedelta is taken as it is.

    Raises ValueError for anything else; a bare number is refused, since its unit would be a guess.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"a duration needs a unit: write '{value}s' for seconds")
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a duration is a number and one of ms, s, m, h, d, such as 90s or 1.5h")
    return float(match[1]) * _SECONDS[match[2]]


def format_duration(seconds: float) -> str:
    """Write seconds as a duration of the language, exactly."""
    number = f"{seconds:.9f}".rstrip("0").rstrip(".")
    return f"{number}s"


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h|d)$"}),
]
Expression = Annotated[str, Field(description="A bare expression, such as `tasks.a.output.ok`.")]
Text = Annotated[str, Field(description="Text with `{{ expression }}` holes.")]
Structure = Annotated[
    JsonValue, Field(description="Text with `{{ expression }}` holes, or a structure of such text.")
]
JsonSchema = Annotated[
    dict[str, JsonValue] | bool,
    Field(description="A JSON Schema, 2020-12, with local `$ref` only."),
]


class Document(BaseModel):
    """What all parts of a document share: unknown keys are refused and nothing changes later."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True, strict=False
    )


class Trigger(StrEnum):
    """Which ends of its dependencies let a task run."""

    ALL_SUCCESS = "all_success"
    NONE_FAILED = "none_failed"
    ONE_SUCCESS = "one_success"
    ONE_FAILED = "one_failed"
    ALL_DONE = "all_done"


class Process(StrEnum):
    """How the tasks of a workflow or block are ordered."""

    GRAPH = "graph"
    SEQUENTIAL = "sequential"
    PARALLEL = "parallel"
    HIERARCHICAL = "hierarchical"


class OnFailure(StrEnum):
    """What a failure that nothing handles does to the tasks that have not ended."""

    STOP = "stop"
    CONTINUE = "continue"


class Exhausted(StrEnum):
    """What a loop does when it reaches `max` before `until` is true."""

    FAIL = "fail"
    KEEP = "keep"


class OnResume(StrEnum):
    """What becomes of a task that was running when its run was killed."""

    RERUN = "rerun"
    FAIL = "fail"


class SecretRef(Document):
    """A secret by the name of the environment variable that holds it; read at call time."""

    env: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")


class Model(BaseModel):
    """A model by `provider/name`; keys not named here go to the provider as they are."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, JsonValue]

    model: str = Field(pattern=r"^[^/\s]+/\S+$", description="`provider/name`.")
    base_url: str | None = Field(None, pattern=r"^https?://[^\s]+$")
    api_key: SecretRef | None = None


class Tool(Document):
    """A tool that agents or tasks may call. The caller of a run binds the code."""

    description: str | None = None
    parameters: dict[str, JsonValue] | None = None
    approve: bool = False


class Agent(Document):
    """An agent: who it is, which model answers for it, and which tools it may call."""

    role: Text | None = None
    goal: Text | None = None
    backstory: Text | None = None
    instructions: Text | None = None
    model: str | None = Field(None, description="A name from `models`, or `provider/name`.")
    tools: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    max_turns: int = Field(10, ge=1, le=1000, strict=True)
    max_parallel: int | None = Field(None, ge=1, le=100_000, strict=True)
    weight: float = Field(1.0, gt=0, le=1_000_000)


class Pool(Document):
    """Several agents, of which a strategy chooses one for each attempt."""

    agents: tuple[str, ...] = Field(min_length=1)
    balance: str = "round_robin"


class Team(Document):
    """A manager with members, or members who hand the conversation over from `start`."""

    manager: str | None = None
    start: str | None = None
    members: tuple[str, ...] = Field(min_length=1)
    max_turns: int = Field(30, ge=1, le=10_000, strict=True)


class Retry(Document):
    """How often an attempt is repeated, and how long to wait before each."""

    max_attempts: int = Field(ge=1, le=1000, strict=True)
    initial_interval: Duration = 1.0
    backoff_factor: float = Field(2.0, ge=1, le=1000)
    max_interval: Duration = 30.0
    jitter: bool = Field(True, strict=True)
    retry_on: tuple[ErrorType | Literal["any"], ...] | None = None


class Loop(Document):
    """Repeat until a condition holds; at least once, at most `max` times."""

    until: Expression | StrictBool | None = None
    max: int = Field(ge=1, le=1_000_000, strict=True)
    exhausted: Exhausted = Exhausted.FAIL


class Limits(Document):
    """Bounds on the whole run."""

    timeout: Duration | None = None
    max_parallel: int | None = Field(None, ge=1, le=100_000, strict=True)
    max_model_calls: int | None = Field(None, ge=0, strict=True)
    max_tokens: int | None = Field(None, ge=0, strict=True)
    max_cost: float | None = Field(None, ge=0, description="In US dollars.")


class TaskModel(Document):
    """What every kind of task has."""

    kind: ClassVar[str]

    description: str | None = None
    depends_on: tuple[str, ...] | None = None
    trigger: Trigger | None = None
    when: Expression | StrictBool | None = None
    for_each: Expression | list[JsonValue] | None = None
    max_parallel: int | None = Field(None, ge=1, le=100_000, strict=True)
    output: JsonSchema | None = None
    priority: int = Field(0, ge=-1_000_000, le=1_000_000, strict=True)


class RepeatableTask(TaskModel):
    """What every kind but `ask` has besides."""

    fallback: Structure = None
    loop: Loop | None = None
    retry: Retry | None = None
    timeout: Duration | None = None
    on_resume: OnResume = OnResume.RERUN

    @property
    def has_fallback(self) -> bool:
        """Say whether a fallback is written; one that is written as null counts."""
        return "fallback" in self.model_fields_set


class AgentTask(RepeatableTask):
    """An agent answers a prompt, calling its tools as it needs."""

    kind = "agent"
    agent: str | None = None
    pool: str | None = None
    capabilities: tuple[str, ...] | None = None
    prompt: Text
    context: tuple[str, ...] = ()
    expected_output: Text | None = None


class ToolTask(RepeatableTask):
    """Call a tool directly, without a model."""

    kind = "tool"
    tool: str
    with_: dict[str, Structure] = Field(default_factory=dict, alias="with")


class ValueTask(RepeatableTask):
    """Compute plain data."""

    kind = "value"
    value: Structure


class WorkflowTask(RepeatableTask):
    """Run another workflow: one of `workflows:`, or a file below the document's folder."""

    kind = "workflow"
    workflow: str
    with_: dict[str, Structure] = Field(default_factory=dict, alias="with")


class BlockTask(RepeatableTask):
    """Several tasks as one: repeat or map them together."""

    kind = "tasks"
    tasks: dict[str, Task] = Field(min_length=1)
    outputs: dict[str, Structure] | None = None
    process: Process = Process.GRAPH
    on_failure: OnFailure | None = None


class TeamTask(RepeatableTask):
    """A manager delegates to members, or members hand over, until there is an answer."""

    kind = "team"
    team: str | Team
    prompt: Text
    context: tuple[str, ...] = ()
    expected_output: Text | None = None


class AskTask(TaskModel):
    """Wait for a person's answer."""

    kind = "ask"
    ask: Text


KIND_KEYS: dict[str, str] = {
    "agent": "agent",
    "pool": "agent",
    "capabilities": "agent",
    "tool": "tool",
    "value": "value",
    "workflow": "workflow",
    "tasks": "tasks",
    "team": "team",
    "ask": "ask",
}
"""The keys of which a task has exactly one, and the kind that each stands for."""


def task_kind(data: Any) -> str | None:
    """Tell a task's kind by its keys; None if there is none, or more than one."""
    if isinstance(data, TaskModel):
        return data.kind
    if not isinstance(data, dict):
        return None
    found = [key for key in KIND_KEYS if key in data]
    return KIND_KEYS[found[0]] if len(found) == 1 else None


Task = Annotated[
    Annotated[AgentTask, Tag("agent")]
    | Annotated[ToolTask, Tag("tool")]
    | Annotated[ValueTask, Tag("value")]
    | Annotated[WorkflowTask, Tag("workflow")]
    | Annotated[BlockTask, Tag("tasks")]
    | Annotated[TeamTask, Tag("team")]
    | Annotated[AskTask, Tag("ask")],
    Discriminator(task_kind),
]


class InlineWorkflow(Document):
    """A workflow inside a document: it sees the root's tools and agents, and its own inputs."""

    description: str | None = None
    inputs: dict[str, JsonSchema] = Field(default_factory=dict)
    tasks: dict[str, Task] = Field(min_length=1)
    outputs: dict[str, Structure] = Field(default_factory=dict)
    process: Process = Process.GRAPH
    manager: str | None = None
    on_failure: OnFailure = OnFailure.STOP
    metadata: dict[str, JsonValue] = Field(default_factory=dict)


class Workflow(InlineWorkflow):
    """A whole document."""

    talea: Literal[1] = LANGUAGE_VERSION
    name: str = Field(min_length=1, max_length=200)
    model: str | None = Field(None, description="For agents that name none.")
    models: dict[str, Model] = Field(default_factory=dict)
    tools: dict[str, Tool] = Field(default_factory=dict)
    agents: dict[str, Agent] = Field(default_factory=dict)
    pools: dict[str, Pool] = Field(default_factory=dict)
    teams: dict[str, Team] = Field(default_factory=dict)
    workflows: dict[str, InlineWorkflow] = Field(default_factory=dict)
    limits: Limits = Field(default_factory=Limits)

    _source: Any = PrivateAttr(default=None)
    """The `load.Source` it was read from, for positions; None if it was built in Python."""
    _plan: Any = PrivateAttr(default=None)
    """The `plan.Plan` once it has been made: the document is frozen, so it is made once."""


BlockTask.model_rebuild()
InlineWorkflow.model_rebuild()
Workflow.model_rebuild()
