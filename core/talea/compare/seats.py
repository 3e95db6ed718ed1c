"""A contender's seat: who it is, and its process while there is one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from talea.compare.contenders import Entry, distribution_of
from talea.compare.driver import Driver, WorkerEnded
from talea.compare.environments import held_back, package_of, place
from talea.compare.functions import Answer
from talea.compare.record import Contender, RunRecord, Startup
from talea.errors import UsageError

STARTUP_TIMEOUT = 120.0
"""Seconds in which a framework has to be imported and the workflow compiled for it."""
_DEATHS = 3
"""So many runs in a row whose process ended, and a framework takes part no longer."""
_OF_PYTHON = frozenset({"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"})


class Seat:
    """One that takes part. What goes wrong with its process is told, never raised."""

    def __init__(self, entry: Entry, entries: Sequence[Entry]) -> None:
        self.entry = entry
        self.contender = Contender(
            key=entry.key,
            framework=entry.framework,
            agents=entry.agents,
            options=entry.options,
            isolated=entry.isolated or entry.python is not None,
            held_back=tuple(_held_back(entry, entries)),
        )
        self.mistake: UsageError | None = None
        """What is wrong with what the caller gave, found where it was to be loaded."""
        self._driver: Driver | None = None
        self._deaths = 0

    @property
    def key(self) -> str:
        """How it is called in this comparison."""
        return self.entry.key

    @property
    def takes_part(self) -> bool:
        """Whether it has not been refused."""
        return self.contender.refused is None

    @property
    def is_up(self) -> bool:
        """Whether its process is there."""
        return self._driver is not None

    def place(self, taken: Collection[str]) -> None:
        """Give it an environment of its own, and a key that is not taken; if it cannot have one, it
        is refused."""
        named = "@".join([self.entry.key, *self.entry.requirements])
        try:
            placed = place(self.entry)
            # Two requirements may come to the same version.
            self.entry = replace(placed, key=named) if placed.key in taken else placed
        except UsageError as error:
            self.entry = replace(self.entry, key=named)
            self._note(refused=str(error))
        self._note(key=self.entry.key)

    def start(
        self, environment: Mapping[str, str], settings: Mapping[str, Any], **given: Any
    ) -> None:
        """Start its process, and load the framework and the workflow there. One that cannot take
        part is refused."""
        entry = self.entry
        if entry.python is not None:
            # What the caller's own environment adds is not for another one.
            environment = {k: v for k, v in environment.items() if k not in _OF_PYTHON}
        try:
            self._driver = driver = Driver(environment, entry.python)
            told = driver.ask(
                "load",
                STARTUP_TIMEOUT,
                framework=entry.framework,
                options=entry.options,
                packages=[package_of(one) for one in entry.requirements],
                settings={**settings, "agents": entry.agents},
                **given,
            )
        except WorkerEnded as ended:
            self._driver = None
            self._note(refused=ended.message)
            return
        if "mistake" in told:
            self.mistake = UsageError(*told["mistake"])
        refused = told.get("problem") or told.get("refused")
        if "startup" in told and self.contender.startup is None:
            self._note(startup=Startup.model_validate(told["startup"]))
        known = {name: told[name] for name in ("versions", "python", "emulated") if name in told}
        self._note(**known, refused=refused)
        if refused:
            self.end()

    def run(self, timeout: float, **given: Any) -> dict[str, Any]:
        """Have it make a run; give what it tells of it, as the parts of a `RunRecord`."""
        assert self._driver is not None
        try:
            told = self._driver.ask("run", timeout, **given)
        except WorkerEnded as ended:
            self._driver, self._deaths = None, self._deaths + 1
            if self._deaths >= _DEATHS:
                why = f"{self._deaths} runs in a row ended its process: {ended.message}"
                self._note(refused=why)
            return failed(ended.type, ended.message)
        self._deaths = 0
        return told.get("run") or failed("worker_failed", told["problem"])

    def check(self, timeout: float, function: str, value: Any) -> Answer:
        """Have a function of the caller's judge a value."""
        if self._driver is None:
            return False, "the function could not be called: the framework's process is gone"
        try:
            told = self._driver.ask("check", timeout, function=function, value=value)
        except WorkerEnded as ended:
            self._driver = None
            return False, f"the function could not be called to its end: {ended.message}"
        return (False, told["problem"]) if "problem" in told else (told["passed"], told["why"])

    def note_first(self, run: RunRecord) -> None:
        """Keep how long the first run took."""
        startup = self.contender.startup
        if startup is not None and startup.first_run is None and run.succeeded:
            self._note(startup=startup.model_copy(update={"first_run": run.duration}))

    def end(self) -> None:
        """End its process, if there is one."""
        if self._driver is not None:
            self._driver.kill()
            self._driver = None

    def _note(self, **known: Any) -> None:
        self.contender = self.contender.model_copy(update=known)


def failed(type: str, message: str) -> dict[str, Any]:
    """Give a run of which its process could tell nothing."""
    return {"status": "failed", "error": {"type": type, "message": message}}


def _held_back(entry: Entry, entries: Sequence[Entry]) -> list[str]:
    """Say what those that share an environment with one do to it."""
    if entry.isolated or entry.python is not None:
        return []
    own = distribution_of(entry.framework)
    shared = {
        distribution_of(one.framework)
        for one in entries
        if not (one.isolated or one.python is not None)
    }
    return held_back(own, sorted(shared - {own}))
