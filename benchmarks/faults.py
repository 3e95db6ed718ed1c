"""What each framework does by itself when its model misbehaves, and what it does under talea.

A LangGraph `create_agent` and a CrewAI crew, written by hand with their own clients as they come,
meet the faults of the gateway; then the same agent as a task of a workflow meets them. The gateway
says how many calls were made. It takes some minutes, most of them spent in waiting for retries.

    python benchmarks/faults.py            print the tables
    python benchmarks/faults.py --write    put them into docs/faults.md
"""

from __future__ import annotations

import logging
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from talea.gateway.cassette import Turn
from talea.gateway.chat import Call
from talea.gateway.faults import FaultRules
from talea.gateway.server import Gateway

PAGE = Path(__file__).parents[1] / "docs" / "faults.md"
MARK = re.compile(r"(<!-- measured -->\n).*(<!-- end -->)", re.DOTALL)
"""The place of the tables on it."""
PATIENCE = 30.0
"""Seconds after which a run is left alone."""
TIMEOUT = 5.0
"""Seconds that an attempt may take under talea."""
AT_ONCE = 4
ANSWER = "The report is in order, and it may be published as it is."
PROMPT = "Look at the report, and say whether it is in order."
PACKAGES = ("langgraph", "langchain", "langchain-openai", "crewai", "openai")

FAULTS: dict[str, dict[str, Any]] = {
    "429": {"status": 429},
    "429, retry after 2 s": {"status": 429, "retry_after": 2},
    "500": {"status": 500},
    "503": {"status": 503},
    "401": {"status": 401},
    "400, context too long": {
        "status": 400,
        "code": "context_length_exceeded",
        "message": "This model's maximum context length is 8192 tokens.",
    },
    "nothing is sent": {"hang": True},
    "1 s between pieces": {"drip": 1},
    "cut within the answer": {"drop": True},
    "cut before the answer": {"reset": True},
    "no JSON": {"garbage": True},
    "an HTML page": {"garbage": True, "content_type": "text/html"},
    "JSON that ends too early": {"truncated": True},
    "the answer, as `text/html`": {"content_type": "text/html"},
    "empty text": {"empty": True},
    "a refusal": {"refusal": "I cannot help with that."},
    "arguments that are no JSON": {"bad_arguments": True},
    "a tool that is not there": {"unknown_tool": True},
    "tool calls without end": {"endless_tools": True},
}


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    words: str
    calls: int
    seconds: float

    def __str__(self) -> str:
        calls = f"{self.calls:,} call{'' if self.calls == 1 else 's'}"
        return f"{self.words}; {calls}, {self.seconds:.1f} s"


Agent = Callable[[str], str]
"""Has an agent answer, by the model at an address; gives its answer, or raises."""


class Model:
    """A model that always knows the answer."""

    def answer(self, call: Call) -> Turn:
        """Answer."""
        return Turn(content=ANSWER)


def search(query: str) -> str:
    """Search the archive."""
    return f"Nothing is known of {query[:40]!r}."


def langgraph_by_hand(base_url: str) -> str:
    """Ask LangChain's agent, as its own documentation begins."""
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="gpt-5-mini", base_url=base_url, api_key="none")
    agent: Any = create_agent(model, [search], system_prompt="You are an editor.")
    messages = agent.invoke({"messages": [{"role": "user", "content": PROMPT}]})["messages"]
    return str(messages[-1].text)


def crewai_by_hand(base_url: str) -> str:
    """Ask a crew of one, as CrewAI's own documentation begins."""
    from crewai import LLM, Agent, Crew, Task
    from crewai.tools import tool

    llm = LLM(model="openai/gpt-5-mini", base_url=base_url, api_key="none")
    editor = Agent(
        role="Editor", goal="Judge", backstory="You are strict.", llm=llm, tools=[tool(search)]
    )
    task = Task(description=PROMPT, expected_output="A verdict.", agent=editor)
    return str(Crew(agents=[editor], tasks=[task]).kickoff().raw)


def under_talea(framework: str) -> Agent:
    """Give what asks a task's agent, which has two attempts."""
    import talea

    def ask(base_url: str) -> str:
        workflow = talea.Workflow.model_validate(
            {
                "name": "verdict",
                "models": {"model": {"model": "local/gpt-5-mini", "base_url": base_url}},
                "tools": {"search": {}},
                "agents": {"editor": {"role": "Editor", "model": "model", "tools": ["search"]}},
                "tasks": {
                    "judge": {
                        "agent": "editor",
                        "prompt": PROMPT,
                        "retry": {"max_attempts": 2},
                        "timeout": f"{TIMEOUT:g}s",
                    }
                },
            }
        )
        result = talea.run(workflow, framework=framework, tools={"search": search})
        if result.error is not None:
            raise _Failed(result.error.type)
        return str(result.tasks["judge"].output)

    return ask


class _Failed(Exception):
    """A run under talea that failed; its text is the error's type."""


def meet(agent: Agent, rule: dict[str, Any]) -> Outcome:
    """Have an agent meet a fault."""
    rules = FaultRules.model_validate({"talea_faults": 1, "rules": [rule]})
    with Gateway(Model(), faults=rules) as gateway:
        base_url = gateway.base_url("task", "agent")
        answered = queue.SimpleQueue[str]()

        def work() -> None:
            from talea_crewai.framework import quiet

            try:
                with quiet():
                    text = agent(base_url)
                words = "answers" if text == ANSWER else f"**“succeeds”** with {_shown(text)}"
            except _Failed as error:
                words = f"fails `{error}`"
            except BaseException as error:  # noqa: BLE001
                words = f"raises `{type(error).__name__}`"
            answered.put(words)

        began = time.perf_counter()
        # A thread that nobody waits for: some clients would hold it for ten minutes.
        threading.Thread(target=work, daemon=True).start()
        try:
            words = answered.get(timeout=PATIENCE)
        except queue.Empty:
            words = "**still at it**"
        return Outcome(words, len(gateway.log), time.perf_counter() - began)


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return f"`{line[:40]}{'…' if line[40:] else ''}`" if line else "an empty text"


AGENTS: dict[str, Agent] = {
    "LangGraph by hand": langgraph_by_hand,
    "LangGraph under talea": under_talea("langgraph"),
    "CrewAI by hand": crewai_by_hand,
    "CrewAI under talea": under_talea("crewai"),
}


def tables() -> Iterator[str]:
    """Measure; give the words and tables in Markdown."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    yield f"With {versions}; left alone after {PATIENCE:g} s."
    for title, when in (
        ("A fault that passes: the first call alone", {"first": 1}),
        ("A fault that stays: every call", {}),
    ):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = {
                (fault, name): pool.submit(meet, agent, {"fault": FAULTS[fault], **when})
                for fault in FAULTS
                for name, agent in AGENTS.items()
            }
        rows = [["fault", *AGENTS], ["---"] * (1 + len(AGENTS))]
        rows += [
            [fault, *(str(found[fault, name].result()) for name in AGENTS)] for fault in FAULTS
        ]
        yield f"### {title}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(arguments: list[str]) -> None:
    """Print the tables, or write them into their page."""
    os.environ.update(CREWAI_DISABLE_TELEMETRY="true", CREWAI_TRACING_ENABLED="false")
    logging.disable(logging.CRITICAL)
    for agent in AGENTS.values():
        meet(agent, {"turns": [99], "fault": {"empty": True}})  # What comes first takes longer.
    text = "\n\n".join(tables())
    print(text)
    if "--write" in arguments:
        page = PAGE.read_text("utf-8")
        written, places = MARK.subn(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page)
        if not places:
            sys.exit(f"{PAGE} has no place for the tables")
        PAGE.write_text(written, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # The threads of those that are still at it would keep the process.
