"""What a run keeps of itself while it goes on, and what it finds when it is resumed.

    Run ── Journal ──▶ rows: (address, status, data) ── Past ──▶ the Run that goes on

A row is at one full address and takes the place of an earlier one there:

    began, retry            an attempt at work; one that failed, and another one follows
    asked, answered         a question that was shown to a person, and what was answered there
    done                    an item (`a[1]`) or an iteration (`a#2`) that has come to something
    succeeded, failed, …    a task that has ended
    stale                   it was inside an attempt that is over: only its counts are kept
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

from talea.events import Event, InnerStarted, Status, TaskEnded, Usage
from talea.kernel.snapshots import read_error, read_usage
from talea.result import plain_address

BEGAN, RETRY, ASKED, ANSWERED, DONE, STALE = (
    "began", "retry", "asked", "answered", "done", "stale",
)  # fmt: skip
Durability = Literal["normal", "full"]
"""What a journal outlives: the end of the process, or a loss of power as well."""
_ENDS = frozenset(
    {
        Status.SUCCEEDED,
        Status.FAILED,
        Status.SKIPPED,
        Status.UPSTREAM_FAILED,
        Status.CANCELLED,
    }
)
_NAME = re.compile(r"(\w+)(?:\[(\d+)\])?(?:#(\d+))?")
_OF_A_LIMIT = "limit"


@dataclass(slots=True)
class Totals:
    """What a task inside others came to over all its executions at one address without `#n`."""

    attempts: int = 0
    usage: Usage | None = None


class Stand(NamedTuple):
    """How far a run is: seconds since it began, seconds of its time limit, and what it has used, as
    a whole and by agent."""

    elapsed: float
    used: float
    usage: Usage
    agents: Mapping[str, Usage]


class Journal(Protocol):
    """What is told of a run so that it can go on later. It must not raise; `now` lets it return
    only when what it was told is safe."""

    def began(self, address: str, failed: int, so_far: Totals, *, now: bool) -> None:
        """An attempt begins, after so many that failed."""
        ...

    def retries(self, address: str, failed: int, so_far: Totals) -> None:
        """An attempt failed and another one follows: what was inside it counts no more."""
        ...

    def asked(self, address: str, text: str, schema: Any) -> None:
        """A question is shown to a person."""
        ...

    def answered(self, address: str, text: str, answer: Any) -> None:
        """A person has answered a question that is no task of its own."""
        ...

    def done(self, address: str, saved: Mapping[str, Any], so_far: Totals) -> None:
        """An item or an iteration has come to something."""
        ...

    def ended(self, ended: TaskEnded, items: int | None) -> None:
        """A task has ended; `items` is how many a task with `for_each` has."""
        ...


class Row(NamedTuple):
    """One thing that is known of a run."""

    address: str
    status: str
    data: Mapping[str, Any]


class Past:
    """What an earlier execution of a run came to, from its rows in the order they were written.

    `elapsed` is how long it took, `used` how much of the run's time limit that was, in seconds.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        *,
        elapsed: float = 0.0,
        used: float = 0.0,
        usage: Usage | None = None,
        agents: dict[str, Usage] | None = None,
    ) -> None:
        self.elapsed = elapsed
        self.used = used
        self.usage = usage or Usage()
        self.agents = agents or {}
        self.totals: dict[str, Totals] = {}
        """By address without `#n`."""
        self.questions: dict[str, tuple[str, Any]] = {}
        """What was asked and is not answered: its text and schema, by address."""
        self.answers: list[tuple[str, str, Any]] = []
        """What was answered within attempts: the address, the question's text, and the answer."""
        self._inside: dict[str, dict[str, Mapping[str, Any]]] = {}
        """By the address of what is around: what has ended or is done in it, by `id` or `id[k]`."""
        self._rounds: dict[str, list[str]] = {}
        """By task, and by item: the addresses of all that had something in it."""
        self._attempts: dict[str, tuple[bool, int]] = {}
        """Whether an attempt was at work, and how many had failed before."""
        self._loops: dict[str, tuple[int, Any]] = {}
        """The last iteration of a loop that has not ended, and its output."""
        self._taken: set[str] = set()
        for row in rows:
            self._take(row)
        for around, names in self._inside.items():
            for name, saved in names.items():
                self._put_together(around, name, saved)
        for address in [one for one in self.questions if self._is_over(one)]:
            del self.questions[address]
        self._add_up()

    def used_before(self) -> tuple[dict[str, Usage], dict[str, Usage]]:
        """Give what was used so far: by the addresses of tasks without `#n`, and at "" by the run;
        and by agents."""
        known = {address: total.usage for address, total in self.totals.items()}
        used = {address: replace(usage) for address, usage in known.items() if usage is not None}
        agents = {name: replace(usage) for name, usage in self.agents.items()}
        return used | {"": replace(self.usage)}, agents

    # While it goes on -------------------------------------------------------------------------

    def take_inside(self, address: str) -> Mapping[str, Mapping[str, Any]]:
        """Give what has ended or is done in an attempt that goes on, for `Run.adopt`. Once only."""
        if address in self._taken:
            return {}
        self._taken.add(address)
        return self._inside.get(address, {})

    def take_failed(self, address: str) -> int:
        """Give how many attempts had failed. Once only."""
        began, failed = self._attempts.get(address, (False, 0))
        if failed:
            self._attempts[address] = (began, 0)
        return failed

    def take_running(self, address: str) -> bool:
        """Say whether an attempt was at work when the run was cut off. Once only."""
        began, failed = self._attempts.get(address, (False, 0))
        if began:
            self._attempts[address] = (False, failed)
        return began

    def take_iteration(self, address: str) -> tuple[int, Any] | None:
        """Give the last iteration that is done, and its output. Once only."""
        return self._loops.pop(address, None)

    def forget_inside(self, address: str) -> None:
        """An attempt has failed: what is inside begins anew."""
        for known in (self._inside, self._attempts, self._loops):
            for key in [key for key in known if key.startswith(f"{address}/")]:
                del known[key]

    def is_shown(self, address: str, text: str) -> bool:
        """Say whether a question is what was shown to the person, if one was at all."""
        return address not in self.questions or self.questions[address][0] == text

    # What is told again -----------------------------------------------------------------------

    def events(self, address: str = "") -> Iterator[Event]:
        """Tell again of all that ended inside a task or an item of it; "" is the whole run."""
        for around in self._rounds.get(address, ()) if address else ("",):
            names = self._inside.get(around, {})
            if around:
                yield InnerStarted(0.0, around, 1, None)
            for name, saved in names.items():
                place = f"{around}/{name}" if around else name
                if not name.endswith("]"):
                    yield ended_of(place, saved)
                    yield from self.events(place)
                elif name.partition("[")[0] not in names:
                    yield from self.events(place)

    # Reading ----------------------------------------------------------------------------------

    def _take(self, row: Row) -> None:
        address, status, data = row
        if status in (ASKED, ANSWERED):
            self.answers += [(address, text, answer) for text, answer in data.get("answers", ())]
            if status == ASKED:
                self.questions[address] = (data["text"], data["schema"])
            return
        around, _, name = address.rpartition("/")
        found = _NAME.fullmatch(name)
        if found is None:
            return  # A tool's: what was asked there in an attempt that is over.
        task = f"{around}/{found[1]}" if around else found[1]
        if (attempts := data.get("attempts")) is not None:
            self.totals[plain_address(task)] = Totals(attempts, read_usage(data))
        if status in (BEGAN, RETRY):
            self._attempts[address] = (status == BEGAN, data.get("failed", 0))
        elif status == DONE and found[3] is not None:
            loop = address[: address.rindex("#")]
            if self._loops.get(loop, (-1,))[0] < int(found[3]):
                self._loops[loop] = (int(found[3]), data["output"])
        elif status == DONE or status in _ENDS:
            names = self._inside.setdefault(around, {})
            if not names and around:
                self._note(around)
            names[name] = data if status == DONE else {"status": status, **data}

    def _note(self, around: str) -> None:
        """Note that something is in `around`: at its item, and at its task."""
        item = around[: around.rindex("#")] if "#" in around.rpartition("/")[2] else around
        for key in {item, item.removesuffix("]").rpartition("[")[0] if item[-1] == "]" else item}:
            self._rounds.setdefault(key, []).append(around)

    def _is_over(self, address: str) -> bool:
        """Say whether a task, or one around it, has ended."""
        while address:
            around, _, name = address.rpartition("/")
            item = name.partition("#")[0]
            if not self._inside.get(around, {}).keys().isdisjoint({item, item.partition("[")[0]}):
                return True
            address = around
        return False

    def _put_together(self, around: str, name: str, saved: Mapping[str, Any]) -> None:
        """Give a task with `for_each` its output, which is stored with its items."""
        items = saved.get("items")
        if items is not None and saved["status"] == Status.SUCCEEDED:
            names = self._inside[around]
            assert isinstance(saved, dict)
            saved["output"] = [names[f"{name}[{k}]"]["output"] for k in range(items)]

    def _add_up(self) -> None:
        """Count what was used inside tasks that have not ended for these as well."""
        used: dict[str, Usage] = {}
        for address in sorted(self.totals, key=lambda one: -one.count("/")):
            total = self.totals[address]
            inner = used.get(address)
            own = total.usage
            if inner is not None and (own is None or own.model_calls < inner.model_calls):
                total.usage = inner
            around, _, _ = address.rpartition("/")
            if around and total.usage is not None:
                task = around.removesuffix("]").rpartition("[")[0] if around[-1] == "]" else around
                counted = used.setdefault(task, Usage())
                counted.model_calls += total.usage.model_calls
                counted.end_call(total.usage)


def is_of_a_limit(row: Row) -> bool:
    """Say whether a task ended since a limit was crossed: what such a run came to is for it to say
    once more, if it goes on."""
    error = row.data.get("error")
    return row.data.get("reason") == _OF_A_LIMIT or (
        error is not None and error["type"] == "limit_exceeded"
    )


def ended_of(address: str, saved: Mapping[str, Any]) -> TaskEnded:
    """Give the event of a task's end that was kept."""
    return TaskEnded(
        saved.get("time", 0.0),
        address,
        Status(saved["status"]),
        saved.get("reason"),
        saved.get("output"),
        read_error(saved),
        saved.get("recovered", False),
        saved.get("attempts", 0),
        saved.get("agent"),
        saved.get("started"),
        read_usage(saved),
    )
