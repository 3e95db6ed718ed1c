"""A cassette: what models answered, turn by turn and task by task, and the player that repeats it.

A turn is found by address, agent and number, never by prompt: frameworks phrase prompts differently,
and that difference is a result, not a mismatch.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    JsonValue,
    StrictBool,
    Tag,
    ValidationError,
    model_validator,
)

from talea.errors import DocumentError, Issue
from talea.gateway.chat import Call, Rejection
from talea.ir import Document, parse_duration

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from talea.load import Source

_ITERATION = re.compile(r"#\d+")
_ITEM = re.compile(r"\[\d+\]")
_SEGMENT = r"[a-z][a-z0-9_]{0,63}(\[\d+\])?(#\d+)?"


def _read_seconds(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


Seconds = Annotated[
    float, BeforeValidator(_read_seconds), Field(ge=0, le=86_400, allow_inf_nan=False)
]
"""A number of seconds, as in HTTP's own header, or a duration such as `1.5s`."""
Address = Annotated[str, Field(pattern=rf"^{_SEGMENT}(/{_SEGMENT})*$")]


class TokenUsage(Document):
    """What a call used; tokens that are not given are estimated. `cost` is in US dollars."""

    input_tokens: int | None = Field(None, ge=0, strict=True)
    output_tokens: int | None = Field(None, ge=0, strict=True)
    cost: float | None = Field(None, ge=0, allow_inf_nan=False)


class ToolCall(Document):
    """A call of a tool; `arguments` as text are sent as they are, valid JSON or not."""

    name: str
    arguments: Annotated[
        dict[str, JsonValue] | str,
        Field(union_mode="left_to_right"),
    ] = Field(default_factory=dict[str, JsonValue])

    @property
    def arguments_text(self) -> str:
        """The arguments as they travel."""
        return self.arguments if isinstance(self.arguments, str) else _to_json(self.arguments)


class Fault(Document):
    """How a call goes wrong. A `delay` goes with any answer, all others stand alone."""

    delay: Seconds = Field(0.0, description="Seconds before anything is sent.")
    status: int | None = Field(None, ge=400, le=599, strict=True)
    retry_after: Seconds | None = Field(None, description="With `status`: the header of that name.")
    hang: StrictBool = Field(False, description="Nothing is ever sent.")
    drop: StrictBool = Field(False, description="The connection ends in the midst of the answer.")
    garbage: StrictBool = Field(False, description="An answer that is no JSON.")
    empty: StrictBool = Field(False, description="An answer without text.")
    refusal: str | None = Field(None, description="The model refuses, in these words.")

    @property
    def kind(self) -> str | None:
        """The fault's name; None for a mere delay."""
        kinds = ("status", "hang", "drop", "garbage", "empty", "refusal")
        return next((kind for kind in kinds if getattr(self, kind) not in (None, False)), None)

    @model_validator(mode="after")
    def _check(self) -> Fault:
        named = self.model_fields_set - {"delay", "retry_after"}
        if len(named) > 1:
            raise ValueError(f"faults exclude each other: {', '.join(sorted(named))}")
        if self.kind is None and not self.delay:
            raise ValueError("a fault names what goes wrong, such as `status: 500`")
        if self.retry_after is not None and self.status is None:
            raise ValueError("retry_after goes with a status")
        return self


class Delegate(Document):
    """A manager gives a piece of work to a member."""

    to: str
    task: str


class Handoff(Document):
    """An agent hands the conversation over to another."""

    to: str


class Turn(Document):
    """One answer of a model, or what comes in its place."""

    content: JsonValue = Field(None, description="Text, or a structure that is sent as JSON.")
    tool_calls: tuple[ToolCall, ...] = ()
    usage: TokenUsage = TokenUsage()
    fault: Fault | None = None
    delegate: Delegate | None = None
    handoff: Handoff | None = None

    @property
    def text(self) -> str | None:
        """The content as it travels."""
        if self.content is None or isinstance(self.content, str):
            return self.content
        return _to_json(self.content)

    @model_validator(mode="after")
    def _check(self) -> Turn:
        kind = self.fault.kind if self.fault else None
        found = [name for name in ("delegate", "handoff") if getattr(self, name) is not None]
        if self.model_fields_set & {"content", "tool_calls"}:
            found.append("content or tool_calls")
        if kind is not None and (kind != "drop" or not found):
            found.append(f"the fault {kind!r}")
        if not found:
            raise ValueError("a turn needs content, tool_calls, delegate, handoff or a fault")
        if len(found) > 1:
            raise ValueError(f"a turn cannot have both {found[0]} and {found[1]}")
        return self


def _turns_form(value: object) -> str:
    return "agents" if isinstance(value, Mapping) else "turns"


Turns = Annotated[
    Annotated[tuple[Turn, ...], Tag("turns")]
    | Annotated[dict[str, tuple[Turn, ...]], Tag("agents")],
    Discriminator(_turns_form),
]
"""A task's turns: one list for all its agents in the order of their calls, or a list for each."""


class Cassette(Document):
    """What models answered in a run, by task address."""

    talea_cassette: Literal[1]
    tasks: dict[Address, Turns]


def load_cassette(path: str | Path) -> Cassette:
    """Read a cassette from a YAML or JSON file.

    Raises DocumentError with every problem that was found, each with its place in the file.
    """
    from talea.load import parse

    try:
        text = Path(path).read_bytes()
    except OSError as error:
        problem = Issue(f"the cassette cannot be read: {error.strerror}", file=str(path))
        raise DocumentError([problem]) from error
    source = parse(text, str(path))
    try:
        return Cassette.model_validate(source.data)
    except ValidationError as error:
        raise DocumentError(_issue(source, detail) for detail in error.errors()) from None


def _issue(source: Source, detail: ErrorDetails) -> Issue:
    message = _MESSAGES.get(detail["type"], "{msg}").format(
        msg=detail["msg"].removeprefix("Value error, "), key=detail["loc"][-1] if detail["loc"] else ""
    )
    return source.issue(message, _path(detail["loc"]), key=detail["type"] in _AT_KEY)


_MESSAGES = {
    "extra_forbidden": "unknown key {key!r}",
    "missing": "{key!r} is missing",
    "string_pattern_mismatch": "not a task address, such as notes, notes[0] or polish#1/brief",
}
_AT_KEY = {"extra_forbidden", "string_pattern_mismatch"}


def _path(loc: Sequence[str | int]) -> tuple[str | int, ...]:
    """Leave out of a pydantic location what is not in the document: tags of unions, `[key]`."""
    tagged = len(loc) > 2 and loc[2] in ("turns", "agents")
    places = (*loc[:2], *loc[3:]) if tagged else tuple(loc)
    return tuple(place for place in places if place != "[key]")


class Player:
    """Answers from a cassette; every run plays it from the start."""

    def __init__(self, cassette: Cassette) -> None:
        self._tasks = cassette.tasks
        self._played: Counter[tuple[str | None, str, str, str | None]] = Counter()

    def answer(self, call: Call) -> Turn:
        """Give the next turn; raises Rejection, of status 409, where none was recorded."""
        key, place = self._find(call.address)
        entry = self._tasks[key]
        agent = call.agent if isinstance(entry, dict) else None
        turns = entry.get(call.agent) if isinstance(entry, dict) else entry
        if turns is None:
            raise _exhausted(
                f"the cassette has no turns of agent {call.agent!r} at {key!r}", call.agent, entry
            )
        position = self._played[call.run, key, place, agent]
        self._played[call.run, key, place, agent] += 1
        if position >= len(turns):
            raise _exhausted(
                f"{call.address!r} (agent {call.agent!r}) asked for turn {position + 1}, and"
                f" {len(turns)} are recorded at {key!r}: the framework made an extra model call"
            )
        return turns[position]

    def _find(self, address: str) -> tuple[str, str]:
        """Find the key that speaks for an address, and the place whose turns are counted.

        Without `#n` the turns run on over a loop's iterations; without `[i]` each item has its own
        count of the same turns.
        """
        over_iterations = _ITERATION.sub("", address)
        for place in (address, over_iterations):
            if place in self._tasks:
                return place, place
        for place in (address, over_iterations):
            if (key := _ITEM.sub("", place)) in self._tasks:
                return key, place
        raise _exhausted(f"the cassette has nothing for {address!r}", address, self._tasks)


def _exhausted(problem: str, name: str = "", known: Iterable[str] = ()) -> Rejection:
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    listed = f" It has: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}" if names else ""
    return Rejection(409, "replay_exhausted", f"{problem}{hint}{listed}")


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
