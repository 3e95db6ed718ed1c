"""Faults by rule: at which calls a model misbehaves, whoever would have answered them.

A rule looks at whose call it is and at its number alone, never at the clock or at other calls: so a
run meets the same faults each time, in whatever order its tasks come.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, StrictInt, model_validator

from talea.gateway.cassette import Address, Fault, TokenUsage, ToolCall, Turn, split_address
from talea.gateway.chat import Call, Function
from talea.gateway.reading import read_file, read_text
from talea.ir import Document

if TYPE_CHECKING:
    from talea.source.text import Source

ANYWHERE = "*"
UNKNOWN_TOOL = "no_such_tool"
"""What a fault calls where the tool is to be unknown, or where none is offered."""
BROKEN_ARGUMENTS = '{"query": '

_IN_PLACE = ("status", "hang", "reset", "garbage", "empty", "refusal")
_CALLING = ("bad_arguments", "unknown_tool", "endless_tools")
_TIMES = ("turns", "first", "every", "probability")


def _read_place(value: object) -> object:
    return None if value == ANYWHERE else value


Number = Annotated[StrictInt, Field(ge=1)]
Place = Annotated[Address | None, BeforeValidator(_read_place)]
"""A task address, as in a cassette; None is anywhere."""


class FaultRule(Document):
    """A fault, and the calls that it befalls: all those at a place unless it says which of them."""

    at: Place = Field(
        default=None,
        description="A task's address, or `*`. Without `#n` it means all iterations, without `[i]`"
        " all items.",
    )
    agent: str | None = Field(default=None, description="The agent that asks.")
    turns: tuple[Number, ...] | None = Field(default=None, description="The numbers of the calls.")
    first: Number | None = Field(default=None, description="So many calls from the first on.")
    every: Number | None = Field(default=None, description="Each such call: 3 is the 3rd, 6th, …")
    probability: float | None = Field(
        default=None, ge=0, le=1, description="How likely each call is to be one, by the `seed`."
    )
    fault: Fault

    @model_validator(mode="after")
    def _check(self) -> FaultRule:
        given = [name for name in _TIMES if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"a rule cannot have both {given[0]} and {given[1]}")
        if self.turns == ():
            raise ValueError("a rule with no turns never befalls a call")
        return self

    def befalls(self, call: Call, luck: float) -> bool:
        """Say whether it befalls a call; `luck`, from 0 to 1, is what a probability is held to."""
        if self.agent not in (None, call.agent):
            return False
        if self.at is not None and not _covers(self.at, call.address):
            return False
        if self.turns is not None:
            return call.turn in self.turns
        if self.first is not None:
            return call.turn <= self.first
        if self.every is not None:
            return call.turn % self.every == 0
        return self.probability is None or luck < self.probability


class FaultRules(Document):
    """What goes wrong in a run. Calls are counted from 1 for each full address and agent."""

    talea_faults: Literal[1]
    seed: StrictInt = Field(default=0, description="Another one draws other calls.")
    rules: tuple[FaultRule, ...] = Field(description="The first that befalls a call is taken.")

    def fault_for(self, call: Call) -> Fault | None:
        """Give the fault that befalls a call: the same each time, whenever it comes."""
        for number, rule in enumerate(self.rules):
            if rule.befalls(call, self._luck(number, call)):
                return rule.fault
        return None

    def _luck(self, rule: int, call: Call) -> float:
        """Draw a number from 0 to 1, the same for each run."""
        if self.rules[rule].probability is None:
            return 0.0
        whose = f"{self.seed}\n{rule}\n{call.address}\n{call.agent}\n{call.turn}"
        digest = sha256(whose.encode("utf-8", "replace")).digest()
        return int.from_bytes(digest[:8], "big") / 2**64


def load_faults(path: str | Path) -> FaultRules:
    """Read rules from a YAML or JSON file.

    Raises DocumentError with every problem that was found, each with its place in the file.
    """
    return read_faults(path)[0]


def read_faults(path: str | Path) -> tuple[FaultRules, Source]:
    """Read rules as `load_faults` does, with the text that says where each thing stands."""
    return read_file(FaultRules, path, "the fault rules")


def loads_faults(text: str, *, name: str = "<text>") -> FaultRules:
    """Read rules from YAML or JSON; `name` stands for it in errors. Raises DocumentError."""
    return read_text(FaultRules, text, name)[0]


def in_place_of_answer(fault: Fault, call: Call, usage: TokenUsage | None = None) -> Turn | None:
    """Give what a call is answered so that nobody needs to be asked; None where an answer is
    needed, which the fault then slows down or breaks."""
    (kind, *_) = fault.kinds or ("",)
    used = usage or TokenUsage()
    if kind in _IN_PLACE:
        return Turn(fault=fault, usage=used)
    if kind in _CALLING:
        rest = fault.model_dump(include={"delay", "drip", "content_type"})
        slow = Fault.model_validate(rest) if any(rest.values()) else None
        return Turn(tool_calls=(_tool_call(kind, call),), fault=slow, usage=used)
    return None


def _tool_call(kind: str, call: Call) -> ToolCall:
    offered = [tool.function for tool in call.request.tools or () if tool.function]
    name = offered[0].name if offered and kind != "unknown_tool" else UNKNOWN_TOOL
    if kind == "bad_arguments":
        return ToolCall(name=name, arguments=BROKEN_ARGUMENTS)
    if kind == "endless_tools" and offered:
        return ToolCall(name=name, arguments=_arguments(offered[0]))
    return ToolCall(name=name)


def _arguments(function: Function) -> dict[str, Any]:
    """Make arguments that the tool takes."""
    from talea.schema import minimal_instance

    schema = function.parameters
    made: Any = minimal_instance(schema) if isinstance(schema, dict) else {}
    return cast("dict[str, Any]", made) if isinstance(made, dict) else {}


def _covers(key: str, address: str) -> bool:
    """Say whether a key speaks for an address: a mark that it leaves out may be any."""
    ours, asked = split_address(key), split_address(address)
    return len(ours) == len(asked) and all(
        name == other and item in ("", this_item) and turn in ("", this_turn)
        for (name, item, turn), (other, this_item, this_turn) in zip(ours, asked, strict=True)
    )
