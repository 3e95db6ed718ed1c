"""A cassette: what models answered, turn by turn and task by task, and the player that repeats it.

A turn is found by address, agent and number, never by prompt: frameworks phrase them differently,
and that difference is a result, not a mismatch.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    JsonValue,
    StrictBool,
    Tag,
    model_validator,
)

from talea.delegation import DELEGATE
from talea.errors import ErrorType
from talea.gateway.chat import Call, Rejection
from talea.gateway.reading import read_file, read_text
from talea.ir import Document, Refused, parse_duration

if TYPE_CHECKING:
    from talea.source.text import Source

_SEGMENT = re.compile(r"([a-z][a-z0-9_]{0,63})(\[\d+\])?(#\d+)?")


def _read_seconds(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _check_address(address: str) -> str:
    if not split_address(address):
        raise Refused(
            f"{address[:80]!r} is not a task address", "such as notes, notes[0] or polish#1/brief"
        )
    return address


Seconds = Annotated[
    float, BeforeValidator(_read_seconds), Field(ge=0, le=86_400, allow_inf_nan=False)
]
"""A number of seconds, as in HTTP's own header, or a duration such as `1.5s`."""
Address = Annotated[str, AfterValidator(_check_address)]


class TokenUsage(Document):
    """What a call used; tokens that are not given are estimated. `cost` is in US dollars."""

    input_tokens: int | None = Field(default=None, ge=0, strict=True)
    output_tokens: int | None = Field(default=None, ge=0, strict=True)
    cost: float | None = Field(default=None, ge=0, allow_inf_nan=False)


class ToolCall(Document):
    """A call of a tool; `arguments` as text are sent as they are, valid JSON or not."""

    name: str
    arguments: dict[str, JsonValue] | str = Field(default_factory=dict[str, JsonValue])

    @property
    def arguments_text(self) -> str:
        """The arguments as they travel."""
        return self.arguments if isinstance(self.arguments, str) else _to_json(self.arguments)


class Fault(Document):
    """How a call goes wrong. `delay`, `drip` and `content_type` go with any answer; of the others
    there is one."""

    delay: Seconds = Field(default=0.0, description="Seconds before anything is sent.")
    drip: Seconds = Field(default=0.0, description="Seconds between the pieces of the answer.")
    content_type: str | None = Field(
        default=None,
        pattern=r"^[!-~]+( [!-~]+)*$",
        description="What the answer is said to be, such as `text/html`.",
    )
    status: int | None = Field(
        default=None, ge=400, le=599, strict=True, description="An HTTP error."
    )
    code: str | None = Field(
        default=None, description="With `status`: the error's code, as programs read it."
    )
    message: str | None = Field(
        default=None, description="With `status`: the error's words, as people read them."
    )
    retry_after: Seconds | None = Field(
        default=None, description="With `status`: the header of that name."
    )
    hang: StrictBool = Field(default=False, description="Nothing is ever sent.")
    reset: StrictBool = Field(
        default=False, description="The connection ends before anything is sent."
    )
    drop: StrictBool = Field(default=False, description="The connection ends within the answer.")
    truncated: StrictBool = Field(default=False, description="JSON that ends too early.")
    garbage: StrictBool = Field(default=False, description="An answer that is no JSON.")
    empty: StrictBool = Field(default=False, description="An answer without text.")
    refusal: str | None = Field(default=None, description="The model refuses, in these words.")
    bad_arguments: StrictBool = Field(
        default=False, description="A call of the first tool, with arguments that are no JSON."
    )
    unknown_tool: StrictBool = Field(
        default=False, description="A call of a tool that nobody has offered."
    )
    endless_tools: StrictBool = Field(
        default=False,
        description="A call of the first tool, each time: the model never comes to an answer.",
    )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of what comes in an answer's place or breaks it; none for a mere slowness."""
        return tuple(name for name in _KINDS if getattr(self, name) not in (None, False))

    @property
    def name(self) -> str:
        """What to call the fault in a word."""
        slow = [name for name in ("drip", "content_type") if getattr(self, name)]
        return (*self.kinds, *slow, "delay")[0]

    @model_validator(mode="after")
    def _check(self) -> Fault:
        if len(self.kinds) > 1:
            raise ValueError(f"faults exclude each other: {', '.join(self.kinds)}")
        if self.name == "delay" and not self.delay:
            raise ValueError("a fault names what goes wrong, such as `status: 500`")
        for name in ("code", "message", "retry_after"):
            if getattr(self, name) is not None and self.status is None:
                raise ValueError(f"{name} goes with a status")
        for name in ("drip", "content_type"):
            if getattr(self, name) and (self.hang or self.reset):
                raise ValueError(f"{name} goes with an answer, and none is sent")
        if self.drip and self.status is not None:
            raise ValueError("an error is sent at once: drip goes with an answer")
        return self


_KINDS = (
    "status", "hang", "reset", "drop", "truncated", "garbage", "empty", "refusal", "bad_arguments",
    "unknown_tool", "endless_tools",
)  # fmt: skip


class Delegate(Document):
    """A manager gives a piece of work to a member."""

    to: str
    task: str


class Handoff(Document):
    """An agent hands the conversation over to another."""

    to: str
    message: str | None = Field(default=None, description="What the next one has to know.")


class Turn(Document):
    """One answer of a model, or what comes in its place."""

    content: JsonValue = Field(
        default=None, description="Text, or a structure that is sent as JSON."
    )
    tool_calls: tuple[ToolCall, ...] = ()
    usage: TokenUsage = TokenUsage()
    fault: Fault | None = None
    delegate: Delegate | None = None
    handoff: Handoff | None = None
    repeat: StrictBool = Field(
        default=False, description="On the last turn: every further call is answered with it."
    )

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls of tools, those of a team's own among them (`talea.kernel.team`)."""
        if self.delegate is not None:
            return (ToolCall(name=DELEGATE, arguments=self.delegate.model_dump()),)
        if self.handoff is not None:
            told = self.handoff.model_dump(exclude_none=True)
            return (ToolCall(name="hand_over", arguments=told),)
        return self.tool_calls

    @property
    def text(self) -> str | None:
        """The content as it travels."""
        if self.content is None or isinstance(self.content, str):
            return self.content
        return _to_json(self.content)

    @property
    def repeats(self) -> bool:
        """Whether every further call is answered with it."""
        return self.repeat or (self.fault is not None and self.fault.endless_tools)

    @model_validator(mode="after")
    def _check(self) -> Turn:
        kinds = self.fault.kinds if self.fault else ()
        answers = bool(self.model_fields_set & {"content", "tool_calls"})
        found = ["content or tool_calls"] if answers else []
        found += [name for name in ("delegate", "handoff") if getattr(self, name) is not None]
        # An answer that breaks off may say what it would have been.
        found += [f"the fault {kind!r}" for kind in kinds if not (answers and kind in _BREAKS)]
        if not found:
            raise ValueError("a turn needs content, tool_calls, delegate, handoff or a fault")
        if len(found) > 1:
            raise ValueError(f"a turn cannot have both {found[0]} and {found[1]}")
        return self


_BREAKS = ("drop", "truncated")


def _check_repeat(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    for turn in turns[:-1]:
        if turn.repeats:
            name = "repeat" if turn.repeat else "endless_tools"
            raise ValueError(
                f"only the last turn can have `{name}`: those after it would never come"
            )
    return turns


def _turns_form(value: object) -> str:
    return "agents" if isinstance(value, Mapping) else "turns"


TurnList = Annotated[tuple[Turn, ...], AfterValidator(_check_repeat)]
Turns = Annotated[
    Annotated[TurnList, Tag("turns")] | Annotated[dict[str, TurnList], Tag("agents")],
    Discriminator(_turns_form),
]
"""A task's turns: one list for all its agents in the order of their calls, or a list for each."""


class ToolFailure(Document):
    """How a call of a tool failed."""

    type: ErrorType = ErrorType.TOOL_ERROR
    message: str


class ToolResult(Document):
    """What one call of a tool came to."""

    name: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    result: JsonValue = None
    error: ToolFailure | None = None

    @model_validator(mode="after")
    def _check(self) -> ToolResult:
        if self.error is not None and self.result is not None:
            raise ValueError("a call of a tool has either a result or an error")
        return self


class Cassette(Document):
    """What models answered in a run, by task address; and what tools gave, where that is kept."""

    talea_cassette: Literal[1]
    tasks: dict[Address, Turns]
    tools: dict[Address, tuple[ToolResult, ...]] | None = Field(
        default=None, description="In a replay these stand in for the tools themselves."
    )


def load_cassette(path: str | Path) -> Cassette:
    """Read a cassette from a YAML or JSON file.

    Raises DocumentError with every problem that was found, each with its place in the file.
    """
    return read_cassette(path)[0]


def loads_cassette(text: str, *, name: str = "<text>") -> Cassette:
    """Read a cassette from YAML or JSON; `name` stands for it in errors. Raises DocumentError."""
    return read_text(Cassette, text, name)[0]


def read_cassette(path: str | Path) -> tuple[Cassette, Source]:
    """Read a cassette as `load_cassette` does, with the text that says where each thing stands."""
    return read_file(Cassette, path, "the cassette")


class Keys:
    """The keys of a cassette, and which of them speaks for an address."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = frozenset(keys)
        self._forms: dict[str, list[_Form]] = {}
        for key in self._keys:
            form = tuple((bool(item), bool(turn)) for _, item, turn in split_address(key))
            forms = self._forms.setdefault("/".join(name for name, _, _ in split_address(key)), [])
            if form not in forms:
                forms.append(form)
        for forms in self._forms.values():
            forms.sort(key=lambda form: (-sum(map(sum, form)), form))

    def find(self, address: str) -> tuple[str, str] | None:
        """Find the key that speaks for an address, and the place whose turns are counted.

        Of several keys the one with the most marks wins. Where a key leaves out `#n` its turns run
        on over the iterations; where it leaves out `[i]` each item has its own count of them.
        """
        parts = split_address(address)
        for form in self._forms.get("/".join(name for name, _, _ in parts), ()):
            key = place = ""
            for (name, item, turn), (has_item, has_turn) in zip(parts, form, strict=True):
                if (has_item and not item) or (has_turn and not turn):
                    break
                key += f"/{name}{item if has_item else ''}{turn if has_turn else ''}"
                place += f"/{name}{item}{turn if has_turn else ''}"
            else:
                if key[1:] in self._keys:
                    return key[1:], place
        return None


class Player:
    """Answers from a cassette; every run plays it from the start."""

    def __init__(self, cassette: Cassette) -> None:
        self._tasks = cassette.tasks
        self._keys = Keys(cassette.tasks)
        self._played: Counter[tuple[str | None, str, str, str]] = Counter()

    def answer(self, call: Call) -> Turn:
        """Give the next turn; raises Rejection, of status 409, where none was recorded."""
        found = self._keys.find(call.address)
        if found is None:
            raise _missing(f"nothing is recorded for {call.address!r}", call.address, self._tasks)
        key, place = found
        entry = self._tasks[key]
        by_agent = isinstance(entry, dict)
        turns = entry.get(call.agent) if by_agent else entry
        if turns is None:
            problem = f"nothing is recorded for agent {call.agent!r} at {key!r}"
            raise _missing(problem, call.agent, entry if by_agent else ())
        whose = (call.run, key, place, call.agent if by_agent else "")
        position = self._played[whose]
        self._played[whose] += 1
        if position < len(turns):
            return turns[position]
        if turns and turns[-1].repeats:
            return turns[-1]
        raise _exhausted(
            f"{call.address!r} (agent {call.agent!r}) asked for turn {position + 1}, and"
            f" {len(turns)} are recorded at {key!r}: the framework made an extra model call"
        )


_Form = tuple[tuple[bool, bool], ...]
"""Of each segment of a key: whether it names an item, and whether an iteration."""


def split_address(address: str) -> list[tuple[str, str, str]]:
    """Give name, `[i]` and `#n` of each segment; nothing for what is no address."""
    found = [_SEGMENT.fullmatch(segment) for segment in address.split("/")]
    return [(part[1], part[2] or "", part[3] or "") for part in found if part] if all(found) else []


def _missing(problem: str, name: str, known: Iterable[str]) -> Rejection:
    close = get_close_matches(name, list(known), n=1)
    return _exhausted(f"{problem} (did you mean {close[0]!r}?)" if close else problem)


def _exhausted(problem: str) -> Rejection:
    return Rejection(409, "replay_exhausted", problem)


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
