"""Programs of people who have no workflow: they set a `base_url`, and are counted and replayed."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from standing import environment, standing
from talea.gateway.cassette import Cassette, Player, load_cassette
from talea.gateway.server import Gateway

LANGGRAPH = """
import os
from typing import TypedDict

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel


class Size(BaseModel):
    people: int


class State(TypedDict):
    question: str
    answer: str


def population(city: str) -> int:
    '''Give the population of a city.'''
    return {"Oslo": 717_710}[city]


model = ChatOpenAI(model="gpt-5-mini", base_url=os.environ["GATEWAY"], api_key="none", **MORE)
agent = create_agent(model, [population])


def look_up(state: State) -> dict[str, str]:
    done = agent.invoke({"messages": [{"role": "user", "content": state["question"]}]})
    return {"answer": done["messages"][-1].text}


graph = StateGraph(State).add_node("look_up", look_up)
graph.add_edge(START, "look_up").add_edge("look_up", END)
print(graph.compile().invoke({"question": "How many people live in Oslo?"})["answer"])
print("".join(chunk.text for chunk in model.stream("Say it once more.")))
print(model.with_structured_output(Size).invoke("And as an object?").people)
"""
CREWAI = """
import os

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool
from pydantic import BaseModel


class Size(BaseModel):
    people: int


@tool
def population(city: str) -> int:
    '''Give the population of a city.'''
    return {"Oslo": 717_710}[city]


llm = LLM(model="gpt-5-mini", base_url=os.environ["GATEWAY"], api_key="none")
agent = Agent(role="Writer", goal="Answer", backstory="Knows cities.", llm=llm, tools=[population])
questions = ["How many people live in Oslo?", "Say it once more."]
tasks = [Task(description=text, expected_output="A number", agent=agent) for text in questions]
for output in Crew(agents=[agent], tasks=tasks).kickoff().tasks_output:
    print(output.raw)
print(llm.call("And as an object?", response_model=Size).people)
"""
TURNS: list[dict[str, Any]] = [
    {"tool_calls": [{"name": "population", "arguments": {"city": "Oslo"}}]},
    {"content": "717,710 people.", "usage": {"input_tokens": 120, "output_tokens": 8}},
    {"content": "Some 700,000."},
    {"content": {"people": 717_710}},
]
SAID = "717,710 people.\nSome 700,000.\n717710\n"


def run(program: str, url: str, folder: Path) -> str:
    """Run a program that knows nothing but the gateway's address; give what it prints."""
    quiet = {"CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_TRACING_ENABLED": "false"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment(), **quiet, "HOME": str(folder), "GATEWAY": url},
        cwd=folder, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
        encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("needed", "program", "form"),
    [
        pytest.param("langgraph", LANGGRAPH.replace("**MORE", ""), "chat/completions", id="langgraph"),
        pytest.param(
            "langgraph", LANGGRAPH.replace("**MORE", "use_responses_api=True"), "responses",
            id="langgraph-responses",
        ),
        pytest.param("crewai", CREWAI, "chat/completions", id="crewai"),
    ],
)  # fmt: skip
def test_an_own_program_is_counted_recorded_and_replayed(
    needed: str, program: str, form: str, tmp_path: Path
) -> None:
    if not find_spec(needed):
        pytest.skip(f"{needed} is not installed")
    document = {"talea_cassette": 1, "tasks": {"call": TURNS}}
    with Gateway(Player(Cassette.model_validate(document))) as provider:
        arguments = ("--upstream", provider.open().url, "--record", "calls.yaml")
        with standing(*arguments, cwd=tmp_path) as running:
            assert run(program, running.url, tmp_path) == SAID
            code, out, _ = running.end()
    assert code == 0
    seen = provider.log
    assert [call.form for call in seen] == [form] * 4
    used = [sum(getattr(call, f"{way}put_tokens") for call in seen) for way in ("in", "out")]
    assert f"4 calls, {used[0]:,} + {used[1]:,} tokens" in out
    turns: Any = load_cassette(tmp_path / "calls.yaml").tasks["call"]
    assert [turn.usage.input_tokens for turn in turns] == [call.input_tokens for call in seen]
    with standing("--replay", "calls.yaml", cwd=tmp_path) as running:
        assert run(program, running.url, tmp_path) == SAID
        code, out, _ = running.end()
    assert code == 0
    assert f"4 calls, {used[0]:,} + {used[1]:,} tokens" in out
