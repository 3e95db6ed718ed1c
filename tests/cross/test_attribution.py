"""Whose call is it? In random workflows each model call is counted where it belongs."""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from random import Random
from typing import Any

import pytest

import talea
from talea.gateway.cassette import Fault, TokenUsage, Turn
from talea.gateway.chat import Call
from talea.result import Result
from talea.run import prepare

from .ways import WAYS, Way, params

RUNS = int(os.environ.get("TALEA_FUZZ", "8"))
"""Random workflows for each way, from seed 0 on."""
_ID = re.compile(r"<(\w+) (\S+) (\S+)>")
_LAST = re.compile(r"(?:.*/)?(\w+?)(?:\[(\d+)\])?(?:#(\d+))?")


def workflow(random: Random) -> talea.Workflow:
    """Build a workflow of agents: side by side, nested, mapped, repeated, retried."""
    count = iter(range(100))

    def tasks(depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for _ in range(random.randint(1, 4)):
            name = f"t{next(count)}"
            task: dict[str, Any]
            if depth < 2 and random.random() < 0.3:
                task = {"tasks": tasks(depth + 1)}
            else:
                task = {"agent": random.choice(("ann", "bob"))}
            item = loop = "-"
            if random.random() < 0.4:
                task["for_each"] = list(range(random.randint(1, 3)))
                item = "{{ index }}"
            if random.random() < 0.3:
                task["loop"] = {"max": random.randint(1, 3), "exhausted": "keep"}
                loop = "{{ loop.index }}"
            if "agent" in task:
                task["prompt"] = f"<{name} {item} {loop}>"
                task["retry"] = {"max_attempts": 3, "initial_interval": "1ms"}
            if made and random.random() < 0.4:
                task["depends_on"] = [random.choice(list(made))]
            made[name] = task
        return made

    return talea.Workflow.model_validate(
        {
            "name": "attribution",
            "model": "openai/test",
            "agents": {"ann": {}, "bob": {}},
            "tasks": tasks(0),
        }
    )


class Witness:
    """Answers with tokens that tell the calls apart, and notes what is asked in a wrong name."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.calls: list[tuple[str, str, int]] = []
        self.wrong: list[str] = []

    def answer(self, call: Call) -> Turn:
        """Answer; now and then by an error that is worth another attempt."""
        said = " ".join(message.text for message in call.request.messages)
        found = _ID.findall(said)[-1]
        last = _LAST.fullmatch(call.address)
        assert last is not None
        if found != tuple("-" if part is None else part for part in last.groups()):
            self.wrong.append(f"{call.address}: {found}")
        if call.turn % 3 == 1 and self.random.random() < 0.2:
            self.calls.append((call.address, call.agent, 0))
            return Turn(fault=Fault(status=500))
        tokens = len(self.calls) + 1
        self.calls.append((call.address, call.agent, tokens))
        return Turn(content="yes", usage=TokenUsage(input_tokens=tokens, output_tokens=1))


@pytest.mark.parametrize("way", params(WAYS))
def test_every_call_is_counted_where_it_belongs(way: Way) -> None:
    for seed in range(RUNS):
        random = Random(seed)
        made = workflow(random)
        prepared = prepare(made, framework=way.framework, options=way.options, offline=True)
        witness = Witness(random)
        prepared.route.source = witness
        result = asyncio.run(prepared.run()).raise_for_failure()
        assert not witness.wrong, seed
        assert _counted(result) == _expected(result, witness), seed
        assert result.reported == result.usage, seed


def _counted(result: Result) -> dict[str, tuple[int, int]]:
    found = {
        address: (task.usage.model_calls, task.usage.input_tokens)
        for address, task in result.tasks.items()
        if task.usage is not None and task.usage.model_calls
    }
    return {**found, "": (result.usage.model_calls, result.usage.input_tokens)}


def _expected(result: Result, witness: Witness) -> dict[str, tuple[int, int]]:
    """Count by prefixes of the addresses that the server saw."""
    calls, tokens = Counter[str](), Counter[str]()
    for address, _, used in witness.calls:
        plain = re.sub(r"#\d+", "", address)
        around = [
            "",
            *(re.sub(r"\[\d+\]$", "", plain[: m.end()]) for m in re.finditer(r"[^/]+", plain)),
        ]
        for place in dict.fromkeys(around):
            calls[place] += 1
            tokens[place] += used
    return {
        place: (calls[place], tokens[place])
        for place in calls
        if not place or place in result.tasks
    }
