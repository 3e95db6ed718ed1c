"""The contract between the core and a framework's plugin. Read this file to write one.

A plugin turns a plan into its framework's own objects (`compile`), drives a run through them
(`execute`), and lets one agent answer (`answer`). What a task *means* is not its business: a node's
body is one call, `await run.task(i)`, which comes back to the plugin for the agent alone.

    plan ── compile ──▶ native object ── execute(compiled, run) ──▶ run.task(i) for every task
                                                                      │ agent tasks
                                                                      ▼
                                                                 answer(call)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from talea import ir
from talea.events import Failure, Status, Usage
from talea.plan import Feature, Plan
from talea.schema import Schema

API_VERSION = 1
"""The version of this contract. A plugin that names another one is refused, not guessed at."""

Compiled = TypeVar("Compiled")
Options = Mapping[str, str]
"""What the caller gives with `--option KEY=VALUE`; an adapter refuses a key it does not know."""


class Level(StrEnum):
    """How far a framework supports a feature."""

    NATIVE = "native"
    EMULATED = "emulated"
    NOT_YET = "not_yet"
    NEVER = "never"


@dataclass(slots=True, frozen=True)
class Support:
    """How far a framework supports a feature, and what carries it or stands against it."""

    level: Level
    reason: str

    @property
    def runs(self) -> bool:
        """Say whether a workflow that needs the feature can run."""
        return self.level in (Level.NATIVE, Level.EMULATED)


@dataclass(slots=True, frozen=True)
class Endpoint:
    """Where one agent's model is asked.

    `key` gives the secret when it is called, and is never stored. `parameters` go to the provider
    as they are (temperature, max_tokens, …).
    """

    provider: str
    model: str
    base_url: str | None
    key: Callable[[], str | None] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    is_gateway: bool = False
    """Whether talea's gateway is asked, which has to know in what words a framework delegates
    (`talea.delegation`)."""


class AgentTool(Protocol):
    """A tool as an agent gets it: bound, checked, counted, and with its failures told as text."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of the arguments, an object."""

    async def call(self, arguments: Mapping[str, Any] | str) -> str:
        """Call the tool and give its answer as text for the model.

        Text arguments are parsed as JSON first. Bad arguments and whatever the tool raises come
        back as text. Calls that the model makes at once are to be made at once: each may wait for
        a person. Raises where the attempt must end instead: `TaskError` when no turns are left to
        read the answer, `Unanswered` when a person must allow the call and nobody is there.
        """
        ...


class AgentCall(Protocol):
    """One attempt of one agent at one task: all that an adapter needs to have it answered."""

    address: str
    """The task's full address, such as `notes[0]` or `polish#1/brief`."""
    attempt: int
    """From 1."""
    name: str
    """The agent's id."""
    agent: ir.Agent
    """The agent with its texts rendered."""
    prompt: str
    context: Sequence[tuple[str, str]]
    """Outputs of earlier tasks as (task id, text), to be given in the framework's own way."""
    expected_output: str | None
    tools: Sequence[AgentTool]
    """Of a manager, the last one is `delegate`."""
    members: Mapping[str, ir.Agent | ir.Team]
    """Those to whom a manager delegates, by id, the texts of agents rendered; none for others."""
    schema: Schema | None
    """What the output must fit; None where any text will do."""
    max_turns: int
    endpoint: Endpoint
    deadline: float | None
    """On the event loop's clock; the kernel cancels the call by then."""
    idempotency_key: str
    feedback: str | None
    """Why the last output was refused; to be said as a user message in the same conversation."""
    conversation: Any
    """What `AgentAnswer.conversation` was when the output was refused; None for a fresh one."""
    session: Any
    """What the adapter's `session` gave for this run."""
    streams: bool
    """Whether somebody listens to pieces of text, so that streaming is worth its cost."""

    async def begin_turn(self) -> None:
        """Announce a model call, and wait for as long as rates hold it up.

        Raises `TaskError` where it must not be made: a limit, a turn too many; `Unanswered` where a
        call of a tool waits for a person.
        """
        ...

    def end_turn(self, usage: Usage | None) -> None:
        """Report what the model call used, as the framework tells it; None if it does not."""
        ...

    def stream_text(self, text: str) -> None:
        """Pass a piece of the answer on to whoever listens."""
        ...

    def unknown_tool(self, name: str) -> str:
        """Give the text that tells the model that it called a tool it does not have."""
        ...


@dataclass(slots=True)
class AgentAnswer:
    """What an agent came to.

    `output` is the raw text; the kernel parses and checks it. `refusal` is the model's own word
    that it will not answer. `conversation` is handed back with `feedback` if the output is refused.
    """

    output: str | None
    refusal: str | None = None
    conversation: Any = None


Asker = Callable[["AskCall"], Awaitable[Any]]
"""Answers a question, or raises `Unanswered`."""


@dataclass(slots=True, frozen=True)
class Approval:
    """A call of a tool that a person must allow: what the question is about."""

    tool: str
    arguments: Mapping[str, Any]
    agent: str | None
    """Who wants to call it; None for a tool task."""


@dataclass(slots=True, frozen=True)
class AskCall:
    """A question to a person: of an `ask` task, or whether a tool may be called."""

    address: str
    text: str
    schema: Schema | None
    """What the answer must fit; None for text."""
    asker: Asker
    """How the run itself would have the question answered."""
    approval: Approval | None = None
    """The call that is to be allowed, with `true`, `{arguments: …}` or `{refuse: text}`; None where
    a task asks."""


class Unanswered(Exception):
    """Nobody is there to answer. The task waits, and the run goes on with what it can."""


class Via(Protocol):
    """What does a task's outward work: the adapter, or a stand-in for it for one task."""

    async def answer(self, call: AgentCall) -> AgentAnswer:
        """Let one agent answer."""
        ...

    async def ask(self, call: AskCall) -> Any:
        """Put a question to a person. Raises `Unanswered` where nobody is there."""
        ...

    async def nested(self, child: Run) -> None:
        """Drive the run of a block or sub-workflow to its end."""
        ...


class Record(Protocol):
    """How one task of a run stands."""

    @property
    def status(self) -> Status:
        """Its status: pending where it could not begin, since something before it waits."""
        ...

    @property
    def ended(self) -> bool:
        """Whether it has ended; one that waits for a person has not."""
        ...


class Run(Protocol):
    """One execution of a plan, as an adapter drives it.

    Every method may be called again for a task that has begun or ended: frameworks re-run nodes.
    All calls are made on the run's event loop.
    """

    plan: Plan
    inputs: dict[str, Any]
    session: Any
    """What the adapter's `session` gave for this run."""
    ready: deque[int]
    """Tasks whose dependencies have ended, in the order in which that came about. A scheduler takes
    them from here; a framework with joins of its own leaves it alone."""

    async def task(self, i: int, via: Via | None = None) -> Record:
        """Do the whole of task `i`, whose dependencies have ended. A failed task does not raise."""
        ...

    def open(self, i: int) -> Sequence[Any] | None:
        """Begin task `i`: its trigger, condition and list. Gives the items (`[None]` where it has
        no `for_each`); None if it has ended with this."""
        ...

    async def item(self, i: int, k: int, via: Via | None = None) -> None:
        """Do one item of an opened task. A failure is stored, not raised."""
        ...

    def close(self, i: int) -> Record:
        """End an opened task whose items are all done, or leave it waiting for a person."""
        ...

    @property
    def id(self) -> str:
        """The run's id, which nested runs share."""
        ...

    def snapshot(self, i: int, k: int | None = None) -> dict[str, Any] | None:
        """Give a task that has ended, or an item that is done, as JSON data for `adopt`."""
        ...

    def adopt(self, snapshots: Mapping[str, Mapping[str, Any]]) -> None:
        """Take over what an earlier execution came to, by `id`, or `id[k]` for an item: what the
        framework's own checkpoint holds. What has begun here already stays as it is."""
        ...

    def outcome(self) -> tuple[Status, Any, Failure | None]:
        """Say how the run stands once all has been done: (status, outputs, error)."""
        ...

    def stop(self, reason: str) -> None:
        """Cancel all that has not ended; `execute` then comes to its end by itself."""
        ...


class Adapter(ABC, Generic[Compiled]):
    """One framework. `compile` is pure, and holds no state of a run: two may use it at once."""

    name: ClassVar[str]
    features: ClassVar[Mapping[Feature, Support]]
    options: ClassVar[Mapping[str, str]] = {}
    """The options it knows, each with a line of help."""
    passes: ClassVar[tuple[type[BaseException], ...]] = ()
    """The framework's own control flow, which the kernel lets through."""
    delays: ClassVar[str | None] = None
    """Why a task may begin later than the language lets it, if the framework holds it up."""

    @abstractmethod
    def compile(self, plan: Plan, options: Options) -> Compiled:
        """Build the framework's own object for a plan."""

    @abstractmethod
    async def execute(self, compiled: Compiled, run: Run) -> None:
        """Drive every task of the run to its end: each once its dependencies have ended."""

    @abstractmethod
    async def answer(self, call: AgentCall) -> AgentAnswer:
        """Let one agent answer. It may be cancelled; what would outlive it is stopped here.

        Raises `TaskError`, or the model client's own error, which the kernel maps.
        """

    async def ask(self, call: AskCall) -> Any:
        """Put a question to a person the framework's own way; the default leaves it to the run.

        Raises `Unanswered` where nobody is there.
        """
        return await call.asker(call)

    async def nested(self, child: Run) -> None:
        """Run a block or sub-workflow; by default in its own compiled form."""
        await self.execute(self.compile(child.plan, {}), child)

    def describe(self, plan: Plan, options: Options) -> Mapping[str, str]:
        """Say what each task becomes, by id, and under `""` what the whole does and costs."""
        return {}

    def load(self) -> None:
        """Import now what a run would otherwise import where it first needs it, so that a
        comparison can tell what that costs from what a run costs."""

    def settle(self) -> None:
        """Wait until the framework's own threads are done with what they were given, if it has any.

        The conformance kit calls it before it lets virtual time pass.
        """

    def session(self, run: Run) -> AbstractAsyncContextManager[Any]:
        """Open what all agents of a run share (an HTTP pool, one TLS context)."""
        return _no_session()


@asynccontextmanager
async def _no_session() -> AsyncGenerator[None, None]:
    yield None
