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
from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    JsonValue,
    PlainSerializer,
    PrivateAttr,
    StrictBool,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema

from talea.errors import ErrorType

LANGUAGE_VERSION = 1
ID_PATTERN = r"^[a-z][a-z0-9_]{0,63}$"
TOOL_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
MODEL_PATTERN = r"^[^/\s]+/\S+$"
URL_PATTERN = r"^https?://[^\s]+$"
ENV_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"

_DURATION = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Refused(ValueError):
    """A value that a validator refuses, with what to write instead."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def parse_duration(value: object) -> float:
    """Give the seconds of a duration such as `90s` or `1.5h`; a timedelta is taken as it is.

    Raises ValueError for anything else; a bare number is refused, since its unit would be a guess.
    """
    if isinstance(value, timedelta) and value >= timedelta(0):
        return value.total_seconds()
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise Refused("a duration needs a unit", f"write '{value}s' for seconds")
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Refused(
            "a duration is a number and one of ms, s, m, h, d",
            "write it as in 90s or 1.5h",
        )
    # To the nanosecond, so that it can be written and read again without a change.
    return round(float(match[1]) * _SECONDS[match[2]], 9)


def format_duration(seconds: float) -> str:
    """Write seconds as a duration of the language, exact to the nanosecond."""
    number = f"{seconds:.9f}".rstrip("0").rstrip(".")
    return f"{number}s"


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^[0-9]{1,18}(\.[0-9]{1,9})?(ms|s|m|h|d)$",
            "description": "A number and one of ms, s, m, h, d, such as `90s`.",
        }
    ),
]


def known_version(value: object) -> object:
    """Refuse a document of a version of the language that is not known here."""
    if value.__class__ is int and value == LANGUAGE_VERSION:
        return value
    if value.__class__ is int and cast("int", value) > LANGUAGE_VERSION:
        raise Refused(
            f"this document is of version {value} of the language; "
            f"this talea knows version {LANGUAGE_VERSION}",
            "install a newer talea",
        )
    raise Refused("there is no such version of the language", f"write talea: {LANGUAGE_VERSION}")


class Either:
    """Give a union one error in plain words, in place of one for each of its alternatives."""

    def __init__(self, expected: str) -> None:
        self.expected = expected

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        schema: Any = handler(source)
        schema["custom_error_type"] = "expected"
        schema["custom_error_message"] = f"must be {self.expected}"
        return schema


Id = Annotated[str, Field(pattern=ID_PATTERN)]
ToolId = Annotated[str, Field(pattern=TOOL_ID_PATTERN)]
Expression = Annotated[str, Field(description="A bare expression, such as `tasks.a.output.ok`.")]
Condition = Annotated[Expression | StrictBool, Either("an expression, or true or false")]
Text = Annotated[str, Field(description="Text with `{{ expression }}` holes.")]
Structure = Annotated[
    JsonValue,
    Field(description="Text with `{{ expression }}` holes, or a structure of such text."),
]
JsonSchema = Annotated[
    dict[str, JsonValue] | bool,
    Either("a JSON Schema: a mapping, or true or false"),
    Field(description="A JSON Schema, 2020-12, with local `$ref` only."),
]
Retried = Annotated[ErrorType | Literal["any"], Either("a type of error, or any")]


class Document(BaseModel):
    """What all parts of a document share: unknown keys are refused and nothing changes later."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_by_name=True,
        validate_by_alias=True,
        allow_inf_nan=False,
        defer_build=True,  # Only what is used is built: for `load`, one validator for all models.
    )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        # What was written is enough to read.
        return [
            (name, getattr(self, name))
            for name in type(self).model_fields
            if name in self.model_fields_set
        ]


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

    env: str = Field(
        pattern=ENV_PATTERN,
        description="The name of the environment variable that holds it.",
    )


class Rates(Document):
    """How much of a model may be used within any minute: what is beyond waits, and never fails."""

    requests_per_minute: int | None = Field(
        default=None, ge=1, le=1_000_000, strict=True, description="The most calls in a minute."
    )
    tokens_per_minute: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        strict=True,
        description="Tokens used within a minute after which the next call waits.",
    )


class Model(BaseModel):
    """A model by `provider/name`; keys not named here go to the provider as they are."""

    model_config = ConfigDict(extra="allow", frozen=True, defer_build=True)
    __pydantic_extra__: dict[str, JsonValue]  # pyright: ignore[reportIncompatibleVariableOverride]

    model: str = Field(pattern=MODEL_PATTERN, description="`provider/name`.")
    base_url: str | None = Field(
        default=None,
        pattern=URL_PATTERN,
        description="The address of a compatible server.",
    )
    api_key: SecretRef | None = Field(default=None, description="Where the key is: `{env: NAME}`.")
    limits: Rates | None = Field(
        default=None, description="How much of it all agents together may use."
    )


class Tool(Document):
    """A tool that agents or tasks may call. The caller of a run binds the code."""

    description: str | None = Field(default=None, description="What it does, for the model.")
    parameters: dict[str, JsonValue] | None = Field(
        default=None,
        description="A JSON Schema of its arguments; read off the function if left out.",
    )
    approve: StrictBool = Field(default=False, description="Whether a person must allow each call.")


class Agent(Document):
    """An agent: who it is, which model answers for it, and which tools it may call."""

    role: Text | None = Field(default=None, description="Who it is.")
    goal: Text | None = Field(default=None, description="What it wants to reach.")
    backstory: Text | None = Field(default=None, description="What it knows and has done.")
    instructions: Text | None = Field(
        default=None,
        description="Its whole system prompt, in place of role, goal and backstory.",
    )
    model: str | None = Field(default=None, description="A name from `models`, or `provider/name`.")
    tools: tuple[str, ...] = Field(default=(), description="The tools it may call, from `tools`.")
    capabilities: tuple[str, ...] = Field(default=(), description="What tasks may ask of an agent.")
    max_turns: int = Field(
        default=10,
        ge=1,
        le=1000,
        strict=True,
        description="How many model calls a task may take.",
    )
    max_parallel: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        strict=True,
        description="How many tasks it does at once.",
    )
    weight: float = Field(
        default=1.0,
        gt=0,
        le=1_000_000,
        strict=True,
        description="Its share of a pool's work.",
    )
    limits: Rates | None = Field(
        default=None, description="How much of its model it may use within a minute."
    )


class Pool(Document):
    """Several agents, of which a strategy chooses one for each attempt."""

    agents: tuple[str, ...] = Field(min_length=1, description="From `agents`.")
    balance: str = Field(
        default="round_robin",
        description="The strategy by name, such as `round_robin` or `least_loaded`.",
    )


class Team(Document):
    """A manager with members, or members who hand the conversation over from `start`."""

    manager: str | None = Field(
        default=None, description="The agent that delegates to the members."
    )
    start: str | None = Field(
        default=None, description="The member that begins, where there is none."
    )
    members: tuple[str, ...] = Field(min_length=1, description="Agents or teams.")
    max_turns: int = Field(
        default=30,
        ge=1,
        le=10_000,
        strict=True,
        description="How many model calls all may take.",
    )


class Retry(Document):
    """How often an attempt is repeated, and how long to wait before each."""

    max_attempts: int = Field(
        ge=1,
        le=1000,
        strict=True,
        description="How many attempts there are, the first included.",
    )
    initial_interval: Duration = Field(
        default=1.0, description="The pause before the second attempt."
    )
    backoff_factor: float = Field(
        default=2.0,
        ge=1,
        le=1000,
        strict=True,
        description="By how much each pause grows.",
    )
    max_interval: Duration = Field(default=30.0, description="The longest pause.")
    jitter: StrictBool = Field(default=True, description="Whether pauses are shortened at random.")
    retry_on: tuple[Retried, ...] | None = Field(
        default=None, description="The types of error that are worth another attempt."
    )


class Loop(Document):
    """Repeat until a condition holds; at least once, at most `max` times."""

    until: Condition | None = Field(
        default=None,
        description="Ends the loop when true; `loop.output` is the output just made.",
    )
    max: int = Field(ge=1, le=1_000_000, strict=True, description="The most iterations.")
    exhausted: Exhausted = Field(
        default=Exhausted.FAIL, description="At `max`: fail, or keep the last output."
    )


class Limits(Document):
    """Bounds on the whole run."""

    timeout: Duration | None = Field(default=None, gt=0, description="The most time for the run.")
    max_parallel: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        strict=True,
        description="The most tasks at work at once.",
    )
    max_model_calls: int | None = Field(
        default=None, ge=0, strict=True, description="The most calls of models."
    )
    max_tokens: int | None = Field(default=None, ge=0, strict=True, description="The most tokens.")
    max_cost: float | None = Field(
        default=None, ge=0, strict=True, description="The most cost, in US dollars."
    )


class TaskModel(Document):
    """What every kind of task has."""

    kind: ClassVar[str]

    description: str | None = Field(default=None, description="What the task is for.")
    depends_on: tuple[str, ...] | None = Field(
        default=None,
        description="Tasks that come first, though none of their data is used.",
    )
    trigger: Trigger | None = Field(
        default=None,
        description="Which ends of its dependencies let it run: `all_success` if left out.",
    )
    when: Condition | None = Field(
        default=None, description="A condition; if it is false, the task is skipped."
    )
    for_each: Annotated[Expression | list[JsonValue], Either("an expression or a list")] | None = (
        Field(
            default=None,
            description="A list: the task is done for each `item` of it, in parallel.",
        )
    )
    max_parallel: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        strict=True,
        description="How many items are done at once.",
    )
    output: JsonSchema | None = Field(
        default=None, description="A JSON Schema that the output must fit."
    )
    priority: int = Field(
        default=0,
        ge=-1_000_000,
        le=1_000_000,
        strict=True,
        description="Among tasks that are ready, higher goes first.",
    )


class RepeatableTask(TaskModel):
    """What every kind but `ask` has besides."""

    fallback: Structure = Field(
        default=None,
        description="The output to succeed with if the task fails; it must fit `output`.",
    )
    loop: Loop | None = Field(default=None, description="Repeat until a condition holds.")
    retry: Retry | None = Field(default=None, description="Try again if an attempt fails.")
    timeout: Duration | None = Field(
        default=None, gt=0, description="The most time for one attempt."
    )
    on_resume: OnResume = Field(
        default=OnResume.RERUN,
        description="What to do if the run was killed while the task ran.",
    )

    @property
    def has_fallback(self) -> bool:
        """Say whether a fallback is written; one that is written as null counts."""
        return "fallback" in self.model_fields_set

    def __eq__(self, other: object) -> bool:
        # A fallback of null and none at all are the same to pydantic.
        return (
            super().__eq__(other)
            and isinstance(other, RepeatableTask)
            and self.has_fallback == other.has_fallback
        )

    __hash__ = None  # type: ignore[assignment]


class AgentTask(RepeatableTask):
    """An agent answers a prompt, calling its tools as it needs."""

    kind = "agent"
    agent: str | None = Field(default=None, description="The agent that does it.")
    pool: str | None = Field(default=None, description="The pool that an agent is chosen from.")
    capabilities: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Any agent that has all of these does it.",
    )
    prompt: Text = Field(description="What the agent is asked.")
    context: tuple[str, ...] = Field(default=(), description="Tasks whose outputs it is given.")
    expected_output: Text | None = Field(default=None, description="What a good answer looks like.")

    @model_validator(mode="after")
    def _has_one_doer(self) -> AgentTask:
        # By its keys a task has one already; but one may be null, or the task built in Python.
        if [self.agent, self.pool, self.capabilities].count(None) != 2:
            raise Refused(
                "an agent task has exactly one of agent, pool and capabilities",
                "name the agent, or a pool of them, or what it must be capable of",
            )
        return self


class ToolTask(RepeatableTask):
    """Call a tool directly, without a model."""

    kind = "tool"
    tool: str = Field(description="The tool to call, from `tools`.")
    with_: dict[str, Structure] = Field(
        default_factory=dict, alias="with", description="Its arguments."
    )


class ValueTask(RepeatableTask):
    """Compute plain data."""

    kind = "value"
    value: Structure = Field(description="The output.")


class WorkflowTask(RepeatableTask):
    """Run another workflow: one of `workflows:`, or a file below the document's folder."""

    kind = "workflow"
    workflow: str = Field(description="A name from `workflows`, or a relative file.")
    with_: dict[str, Structure] = Field(
        default_factory=dict, alias="with", description="Its inputs."
    )


class BlockTask(RepeatableTask):
    """Several tasks as one: repeat or map them together."""

    kind = "tasks"
    tasks: dict[Id, Task] = Field(min_length=1, description="The tasks inside.")
    outputs: dict[str, Structure] | None = Field(
        default=None,
        description="Its output; the outputs of all its tasks by id if left out.",
    )
    process: Process = Field(default=Process.GRAPH, description="How its tasks are ordered.")
    on_failure: OnFailure | None = Field(
        default=None,
        description="What a failure does to the rest; as outside if left out.",
    )


def team_form(data: Any) -> str:
    """Tell whether a team is named or written out."""
    return "id" if isinstance(data, str) else "inline"


class TeamTask(RepeatableTask):
    """A manager delegates to members, or members hand over, until there is an answer."""

    kind = "team"
    team: Annotated[
        Annotated[str, Tag("id")] | Annotated[Team, Tag("inline")],
        Discriminator(team_form),
    ] = Field(description="A name from `teams`, or a team written out.")
    prompt: Text = Field(description="What the team is asked.")
    context: tuple[str, ...] = Field(default=(), description="Tasks whose outputs it is given.")
    expected_output: Text | None = Field(default=None, description="What a good answer looks like.")


class AskTask(TaskModel):
    """Wait for a person's answer."""

    kind = "ask"
    ask: Text = Field(description="What the person is asked.")


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

_KIND_LIST = ", ".join(KIND_KEYS)


def task_kind(data: Any) -> str | None:
    """Tell a task's kind by its keys; None if there is none, or more than one."""
    if isinstance(data, TaskModel):
        return data.kind
    if not isinstance(data, dict):
        return None
    found = KIND_KEYS.keys() & data
    return KIND_KEYS[found.pop()] if len(found) == 1 else None


Task = Annotated[
    Annotated[AgentTask, Tag("agent")]
    | Annotated[ToolTask, Tag("tool")]
    | Annotated[ValueTask, Tag("value")]
    | Annotated[WorkflowTask, Tag("workflow")]
    | Annotated[BlockTask, Tag("tasks")]
    | Annotated[TeamTask, Tag("team")]
    | Annotated[AskTask, Tag("ask")],
    Discriminator(
        task_kind,
        custom_error_type="task_kind",
        custom_error_message=f"a task is a mapping with exactly one of {_KIND_LIST}",
    ),
]


class InlineWorkflow(Document):
    """A workflow inside a document: it sees the root's tools and agents, and its own inputs."""

    description: str | None = Field(default=None, description="What the workflow is for.")
    inputs: dict[Id, JsonSchema] = Field(
        default_factory=dict[str, Any],
        description="A JSON Schema for each input; `default` makes one optional.",
    )
    tasks: dict[Id, Task] = Field(min_length=1, description="The tasks by id.")
    outputs: dict[str, Structure] = Field(
        default_factory=dict[str, Any],
        description="What the workflow gives when it has ended.",
    )
    process: Process = Field(default=Process.GRAPH, description="How its tasks are ordered.")
    manager: str | None = Field(
        default=None, description="The agent that leads a hierarchical process."
    )
    on_failure: OnFailure = Field(
        default=OnFailure.STOP, description="What a failure does to the rest."
    )
    metadata: dict[str, JsonValue] = Field(
        default_factory=dict[str, Any], description="Anything; talea does not read it."
    )


class Workflow(InlineWorkflow):
    """A whole document."""

    talea: Annotated[Literal[1], BeforeValidator(known_version)] = Field(
        default=LANGUAGE_VERSION, description="The version of the language."
    )
    name: str = Field(min_length=1, max_length=200, description="The workflow's name.")
    model: str | None = Field(default=None, description="The model of agents that name none.")
    models: dict[Id, Model] = Field(
        default_factory=dict[str, Any],
        description="Models by id, with their parameters.",
    )
    tools: dict[ToolId, Tool] = Field(
        default_factory=dict[str, Any], description="Every tool that is used, by id."
    )
    agents: dict[Id, Agent] = Field(default_factory=dict[str, Any], description="Agents by id.")
    pools: dict[Id, Pool] = Field(
        default_factory=dict[str, Any], description="Pools of agents by id."
    )
    teams: dict[Id, Team] = Field(
        default_factory=dict[str, Any], description="Teams of agents by id."
    )
    workflows: dict[Id, InlineWorkflow] = Field(
        default_factory=dict[str, Any],
        description="Workflows that tasks here run, by id.",
    )
    limits: Limits = Field(default=Limits(), description="Bounds on the whole run.")

    _source: Any = PrivateAttr(default=None)
    """The `source.Source` it was read from, for positions; None if it was built in Python."""
    _plan: Any = PrivateAttr(default=None)
    """The `plan.Plan` once it has been made: the document is frozen, so it is made once."""
    _files: dict[str, Workflow] = PrivateAttr(default_factory=dict[str, Any])
    """The workflows of other files that its tasks run, by reference; see `load.workflow_file`."""

    def __eq__(self, other: object) -> bool:
        # Where a document came from, and what was made of it, is no part of what it says.
        if not isinstance(other, Workflow):
            return NotImplemented
        return self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]
