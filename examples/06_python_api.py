"""A workflow that is built in Python, run with its own functions as tools, and watched as it runs.

Shows: the document models (`Workflow`, `AgentTask`, …), tools as plain functions, events as they
happen, a question answered by a function, the result, and what `compile` gives.

    python examples/06_python_api.py

It plays a cassette, so it needs neither a model nor a key.
"""

from __future__ import annotations

import asyncio

import talea
from talea.adapter import AskCall
from talea.events import Answered, TaskEnded, TextStreamed, ToolCalled
from talea.gateway.cassette import loads_cassette

STOCK = {"oak": 12, "ash": 0, "beech": 41}


def stock(wood: str) -> int:
    """Tell how many boards of a wood are in stock."""
    return STOCK[wood]


workflow = talea.Workflow(
    name="order-boards",
    model="openai/gpt-5-mini",
    inputs={"wood": {"type": "string"}, "needed": {"type": "integer"}},
    tools={"stock": talea.Tool(description="Tell how many boards of a wood are in stock.")},
    agents={
        "buyer": talea.Agent(role="Buyer", goal="Order what is missing, no more", tools=("stock",))
    },
    tasks={
        "order": talea.AgentTask(
            agent="buyer",
            prompt="We need {{ inputs.needed }} boards of {{ inputs.wood }}. How many to order?",
            output={
                "type": "object",
                "properties": {"boards": {"type": "integer"}, "why": {"type": "string"}},
                "required": ["boards", "why"],
            },
        ),
        "confirm": talea.AskTask(
            when="tasks.order.output.boards > 20",
            ask="Order {{ tasks.order.output.boards }} boards? {{ tasks.order.output.why }}",
            output={"type": "boolean"},
        ),
        "letter": talea.AgentTask(
            depends_on=("confirm",),
            trigger=talea.Trigger.NONE_FAILED,
            when="default(tasks.confirm.output, true)",
            agent="buyer",
            prompt="Order {{ tasks.order.output.boards }} boards of {{ inputs.wood }} in a letter.",
        ),
    },
    outputs={"letter": "{{ default(tasks.letter.output, 'Nothing was ordered.') }}"},
)

CASSETTE = loads_cassette("""
talea_cassette: 1
tasks:
  order:
    - tool_calls: [{name: stock, arguments: {wood: oak}}]
    - content: {boards: 28, why: "40 are needed, and 12 are in stock."}
  letter:
    - content: "Dear sawmill, please send us 28 boards of oak, planed, by Friday. Thank you."
""")


def answer(question: AskCall) -> bool:
    """Stand in for a person: whoever needs it, orders it."""
    print(f"{question.address} asks: {question.text}")
    return True


async def main() -> None:
    """Run the workflow twice: watched, and for its result."""
    inputs = {"wood": "oak", "needed": 40}
    settings = {"tools": {"stock": stock}, "replay": CASSETTE, "ask": answer}

    async for event in talea.stream(workflow, inputs, **settings):
        match event:
            case ToolCalled():
                print(f"{event.address} called {event.tool}")
            case TextStreamed() if event.address == "letter":
                print(f"{event.address}: {event.text!r}")
            case Answered():
                print(f"{event.address} was answered")
            case TaskEnded():
                print(f"{event.address} {event.status}")
            case _:
                pass

    result = await talea.arun(workflow, inputs, **settings)
    result.raise_for_failure()
    print(f"\n{result.outputs['letter']}")
    print(f"{result.usage.model_calls} model calls, {result.tasks['order'].attempts} attempt")
    print(f"compiled for simple: {type(talea.compile(workflow)).__name__}")


if __name__ == "__main__":
    asyncio.run(main())
