"""Questions to people: one is put until an answer fits it, and some calls of tools are questions.

A question has an address and a text, and an answer belongs to both: what a person said to one text
is never taken for an answer to another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from talea.adapter import Approval, AskCall, Unanswered, Via
from talea.errors import ErrorType, TaskError
from talea.events import Answered, Asked, AttemptFailed, Event
from talea.expr import parse_json, to_text
from talea.kernel.wording import approval_text
from talea.kernel.work import count_busy
from talea.schema import Schema, SchemaError, compile_schema

if TYPE_CHECKING:
    from talea.kernel.execution import Execution
    from talea.kernel.work import Cell
    from talea.tools import BoundTool

_REFUSALS = 100
"""Unfit answers after which a question counts as one that nobody answers."""
_LOOP_TURNS = 10
"""Turns of the event loop in which a framework begins all tool calls of one answer of a model."""
_ANOTHER = "the question is another one now than the one that was answered"
_FORMS = 'answer true, {"arguments": {…}} to call it otherwise, or {"refuse": "why"}'


class Earlier:
    """What people answered before the run was cut off, for attempts that are made again.

    Each answer is used once, for the same text at the same address, in the order in which they were
    given.
    """

    def __init__(self, answers: Iterable[tuple[str, str, Any]] = ()) -> None:
        self._answers: dict[str, list[tuple[str, Any]]] = {}
        for address, text, answer in answers:
            self.add(address, text, answer)

    def add(self, address: str, text: str, answer: Any) -> None:
        """Keep an answer."""
        self._answers.setdefault(address, []).append((text, answer))

    def take(self, address: str, text: str) -> tuple[bool, Any]:
        """Give (True, answer) if there is one, and use it up."""
        kept = self._answers.get(address, ())
        for at, (asked, answer) in enumerate(kept):
            if asked == text:
                del self._answers[address][at]
                return True, answer
        return False, None

    def forget(self, address: str) -> None:
        """Drop what was answered within an attempt at an address that has failed: in the next one
        the same call is a call once more."""
        for other in [one for one in self._answers if one.startswith(f"{address}/")]:
            del self._answers[other]

    def hear(self, event: Event) -> None:
        """Take in an event of the run that was cut off; hear all of them, in their order."""
        match event:
            case Answered(refusal=None, again=False):
                self.add(event.address, event.text, event.answer)
            case AttemptFailed():
                self.forget(event.address)
            case _:
                pass


Read = Callable[[Any], tuple[Any, str | None]]
"""Reads an answer: (value, None), or (None, why it is refused)."""


async def put(execution: Execution, via: Via, call: AskCall, read: Read) -> Any:
    """Put a question until an answer fits. Raises `Unanswered` where nobody is there."""
    if execution.sinks:
        schema = call.schema.schema if call.schema else None
        tool = call.approval.tool if call.approval else None
        execution.tell(Asked(execution.now, call.address, call.text, schema, tool))
    for _ in range(_REFUSALS):
        again, answer = execution.earlier.take(call.address, call.text)
        if not again:
            prepared, answer = execution.prepared_answer(call.address)
            if not prepared:
                _keep_question(execution, call)
                answer = await via.ask(call)
            elif execution.past is not None and not execution.past.is_shown(
                call.address, call.text
            ):
                _tell_answered(execution, call, answer, _ANOTHER)
                continue
        value, refusal = read(answer)
        _tell_answered(execution, call, answer, refusal, again=again)
        if refusal is None:
            if execution.journal is not None and call.approval is not None and not again:
                execution.journal.answered(call.address, call.text, answer)
            return value
        await asyncio.sleep(0)
    raise Unanswered


def _keep_question(execution: Execution, call: AskCall) -> None:
    """Let the journal know what a person is shown: an answer that comes later is bound to it."""
    if execution.journal is not None:
        schema = call.schema.schema if call.schema else None
        execution.journal.asked(call.address, call.text, schema)
    if execution.past is not None:
        execution.past.questions.pop(call.address, None)


def _tell_answered(
    execution: Execution, call: AskCall, answer: Any, refusal: str | None, *, again: bool = False
) -> None:
    if execution.sinks:
        told = Answered(execution.now, call.address, refusal, call.text, answer, again)
        execution.tell(told)


# Approval of a tool's calls --------------------------------------------------------------------


async def allow(
    cell: Cell, via: Via, tool: BoundTool, arguments: Mapping[str, Any], agent: str | None = None
) -> Mapping[str, Any]:
    """Have a person allow a call, and give the arguments for it: those given, or changed ones.

    Arguments that do not fit are nothing to ask about: the call itself will say so.
    Raises `TaskError` of type `denied`, and `Unanswered` where nobody is there.
    """
    if tool.problem(arguments) is not None:
        return arguments
    execution, schema = cell.run.execution, approval_schema(tool.parameters)
    call = AskCall(
        f"{cell.address}/{tool.name}",
        approval_text(tool.name, arguments),
        schema,
        execution.ask_person,
        Approval(tool.name, arguments, agent),
    )
    read = partial(read_approval, schema=schema, tool=tool)
    answer: Any = await put(execution, via, call, read)
    if answer is True:
        return arguments
    if "refuse" in answer:
        why = f": {answer['refuse']}" if answer["refuse"].strip() else ""
        raise TaskError(ErrorType.DENIED, f"a person refused this call of {tool.name!r}{why}")
    return answer["arguments"]


def read_approval(
    answer: Any, schema: Schema, tool: BoundTool | None = None
) -> tuple[Any, str | None]:
    """Read a person's word on a call: (value, None), or (None, why it is refused).

    Text is parsed as JSON. `schema` is that of the question.
    """
    if isinstance(answer, str):
        try:
            answer = parse_json(answer)
        except ValueError:
            return None, _FORMS
    if not _is_word(answer):
        return None, _FORMS
    if answer is not True and "arguments" in answer:
        problem = tool.problem(answer["arguments"]) if tool else None
        if problem is None and schema.check(answer) is not None:
            problem = "they are not as the tool declares them"
        if problem is not None:
            return None, f"arguments: {problem}"
    return answer, None


def _is_word(answer: Any) -> bool:
    """Say whether an answer has one of the three forms."""
    match answer:
        case True:
            return answer is True  # 1 is equal to it.
        case {"arguments": dict(), **others} | {"refuse": str(), **others}:
            return not others
        case _:
            return False


def approval_schema(parameters: Mapping[str, Any]) -> Schema:
    """Give what the answer to a question on a call must fit, by the tool's parameters."""

    def only(key: str, schema: Any) -> dict[str, Any]:
        one = {"type": "object", "properties": {key: schema}, "required": [key]}
        return one | {"additionalProperties": False}

    inner = {key: part for key, part in parameters.items() if key != "$defs"}
    # Where the parameters refer to their parts, these stand at the root, as they did there.
    shared = {"$defs": parameters["$defs"]} if "$defs" in parameters else {}
    refuse = only("refuse", {"type": "string"})
    try:
        forms = [{"const": True}, only("arguments", inner), refuse]
        return compile_schema({"anyOf": forms, **shared})
    except SchemaError:
        return compile_schema({"anyOf": [{"const": True}, only("arguments", True), refuse]})


class Approvals:
    """The questions of one attempt, in which a person must allow some calls of tools.

    Calls that a model makes at once are asked about at once, but for those of one tool: they share
    an address, and are asked about one after the other. The attempt's clock stands still while all
    that goes on in it waits for a person. Where one call is not answered all else goes on to its
    end, and then the attempt is over.
    """

    def __init__(self, cell: Cell, via: Via) -> None:
        self.unanswered = False
        """Whether the attempt is over, since it cannot go on without an answer."""
        self._cell = cell
        self._via = via
        self._going_on = 0
        """Calls of tools, and agents of a team that are not at a call; those that wait as well."""
        self._asking = 0
        self._left = 0
        self._stands = False
        self._open: set[str] = set()
        """Tools with a question that nobody answers."""
        self._turns: dict[str, asyncio.Lock] = {}
        self._over = asyncio.Event()

    def count(self, going_on: int = 0, asking: int = 0) -> None:
        """Count what begins and ends, and let clocks run or stand still."""
        self._going_on += going_on
        self._asking += asking
        stands = self._asking > 0 and self._asking >= self._going_on
        execution = self._cell.run.execution
        if stands is not self._stands and execution.counts_people:
            self._stands = stands
            change = 1 if stands else -1
            count_busy(execution, self._cell, -change, change)
        if self._left and self._left >= self._going_on:
            self.unanswered = True
            self._over.set()

    async def allow(
        self, tool: BoundTool, arguments: Mapping[str, Any], agent: str
    ) -> Mapping[str, Any]:
        """Have a person allow a call that has begun; see `allow`."""
        self.count(asking=1)
        try:
            async with self._turns.setdefault(tool.name, asyncio.Lock()):
                try:
                    if tool.name in self._open:
                        raise Unanswered
                    return await allow(self._cell, self._via, tool, arguments, agent)
                except Unanswered:
                    self._open.add(tool.name)
            for _ in range(_LOOP_TURNS):
                await asyncio.sleep(0)
            self._left += 1
            self.count()
            await self._over.wait()
            raise Unanswered
        finally:
            self.count(asking=-1)


class Permits:
    """The calls of one agent's tools in an attempt; `tools` are those that a person must allow."""

    def __init__(self, approvals: Approvals, agent: str, tools: frozenset[str]) -> None:
        self.approvals = approvals
        self._agent = agent
        self._tools = tools
        self._calls = 0
        self._works = False

    @contextmanager
    def work(self) -> Generator[None, None, None]:
        """Work as one agent of several: as long as it is at no call, it goes on."""
        self._works = True
        self.approvals.count(going_on=1)
        try:
            yield
        finally:
            self._works = False
            self.approvals.count(going_on=-1)

    @contextmanager
    def call(self, *, delegates: bool = False) -> Generator[None, None, None]:
        """Carry out a call, of whatever tool; one that delegates waits for others at work.

        Raises `Unanswered` once the attempt is over.
        """
        approvals, own = self.approvals, 0 if delegates else 1
        if approvals.unanswered:
            raise Unanswered
        self._calls += 1
        approvals.count(going_on=own - (self._works and self._calls == 1))
        try:
            yield
        finally:
            self._calls -= 1
            approvals.count(going_on=(self._works and self._calls == 0) - own)

    async def allow(self, tool: BoundTool, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Have a person allow a call if the tool needs it; see `allow`."""
        if tool.name not in self._tools:
            return arguments
        return await self.approvals.allow(tool, arguments, self._agent)


def changed_note(arguments: Mapping[str, Any]) -> str:
    """Say to a model, behind a tool's result, with what arguments the tool was called instead."""
    return f"\n\n(A person changed the arguments of this call to {to_text(arguments)})"
