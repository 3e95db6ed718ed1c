"""The adapter: a plan becomes a graph of LangGraph's, and an agent one of LangChain's."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, ClassVar

from talea.adapter import (
    Adapter,
    AgentAnswer,
    AgentCall,
    AskCall,
    Feature,
    Level,
    Options,
    Run,
    Support,
    Unanswered,
)
from talea.plan import Plan
from talea_langgraph.driver import Driver, place
from talea_langgraph.options import HELP, Choices

# Before LangGraph is imported: its serializer would else load any type that a checkpoint names.
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")


def _native(reason: str) -> Support:
    return Support(Level.NATIVE, reason)


def _kernel(reason: str) -> Support:
    return Support(Level.EMULATED, reason)


class _ControlFlow:
    """LangGraph's own control flow, its interrupts: imported when a run asks for it."""

    def __get__(self, instance: object, owner: type) -> tuple[type[BaseException], ...]:
        from langgraph.errors import GraphBubbleUp

        return (GraphBubbleUp,)


class LangGraphAdapter(Adapter[Any]):
    """Run workflows as LangGraph's graphs."""

    name = "langgraph"
    options: ClassVar[Mapping[str, str]] = HELP
    delays = (
        "in a graph, the nodes of a superstep wait for its slowest one; and LangGraph begins what"
        " comes after a task some turns of the event loop later"
    )
    passes = _ControlFlow()  # pyright: ignore[reportAssignmentType, reportIncompatibleVariableOverride]
    features: ClassVar[Mapping[Feature, Support]] = {
        Feature.AGENT: _native("create_agent, called by the task's node"),
        Feature.AGENT_TOOLS: _native("a StructuredTool for each, in create_agent's own loop"),
        Feature.CONTEXT: _native("in the agent's first message; LangGraph has no form for it"),
        Feature.OUTPUT: _native("the model's response_format; checked by the kernel"),
        Feature.TASKS: _native("a subgraph, invoked by the task's node"),
        Feature.WORKFLOW: _native("a subgraph, invoked by the task's node"),
        Feature.SEQUENTIAL: _native("edges"),
        Feature.PARALLEL: _native("edges from START"),
        Feature.TOOL: _native("a node"),
        Feature.VALUE: _native("a node"),
        Feature.FOR_EACH: _native("a Send for each item, and a join"),
        Feature.ASK: _native("interrupt() under a checkpointer; else the run asks"),
        Feature.TRIGGER: _kernel(
            "judged in the node; a join never fires if one parent did not run"
        ),
        Feature.WHEN: _kernel("judged in the node; a join never fires if one parent did not run"),
        Feature.LOOP: _kernel("repeated within the node"),
        Feature.FALLBACK: _kernel("LangGraph has none"),
        Feature.RETRY: _kernel("LangGraph's RetryPolicy knows no retry-after and no error types"),
        Feature.TIMEOUT: _kernel("LangGraph's timeout cannot stand still while a person is asked"),
        Feature.APPROVE: _kernel(
            "asked within the tool's call, a tool task's by interrupt() under a checkpointer"
        ),
        Feature.PRIORITY: _kernel("LangGraph has none"),
        Feature.MAX_PARALLEL: _kernel("LangGraph's max_concurrency counts nodes of all kinds"),
        Feature.ON_FAILURE: _kernel("LangGraph gives up the whole graph at the first error"),
        Feature.LIMITS: _kernel("counted before each model call"),
        Feature.TEAM: _native("create_agent for each; a tool delegates to a member, or hands over"),
        Feature.HIERARCHICAL: _native("create_agent for each; the manager's tool delegates"),
        Feature.POOL: _kernel("chosen by talea's kernel when the attempt gets its place"),
        Feature.CAPABILITIES: _kernel("chosen by talea's kernel when the attempt gets its place"),
        Feature.ON_RESUME: _kernel("judged when the run goes on, from the journal"),
    }

    def load(self) -> None:
        """Import the framework, and what asks models."""
        for room in ("graph", "dataflow", "agent", "model"):
            import_module(f"talea_langgraph.{room}")
        import_module("openai.resources.chat.completions")

    def compile(self, plan: Plan, options: Options) -> Any:
        """Build a compiled StateGraph, or the entrypoint of a functional workflow.

        Raises `UsageError` for options that it does not know.
        """
        from talea_langgraph.compiling import compile_plan

        return compile_plan(plan, Choices.read(options))

    async def execute(self, compiled: Any, run: Run) -> None:
        """Drive the run by the compiled object."""
        await compiled.carry_out(run)

    async def nested(self, child: Run) -> None:
        """Run a block or sub-workflow by the subgraph of the node that it is in."""
        around = place.get()
        assert around is not None
        assert around.part is not None
        outer = around.driver
        driver = Driver(child, resumed=outer.resumed, interrupts=outer.interrupts)
        await around.part.drive(driver)

    async def answer(self, call: AgentCall) -> AgentAnswer:
        """Let an agent of LangChain's answer."""
        from talea_langgraph.agent import answer

        return await answer(call)

    async def ask(self, call: AskCall) -> Any:
        """Ask whoever the run knows; where nobody is there, interrupt a graph that can resume.

        Not for an agent's calls of tools: a node that is resumed takes LangGraph's answers in their
        order, and a model that is asked anew may have chosen to call something else.
        """
        around = place.get()
        of_agent = call.approval is not None and call.approval.agent is not None
        try:
            return await call.asker(call)
        except Unanswered:
            if of_agent or around is None or not around.driver.interrupts:
                raise
        from langgraph.types import interrupt

        schema = {"type": "string"} if call.schema is None else call.schema.schema
        return interrupt({"address": call.address, "ask": call.text, "schema": schema})

    def describe(self, plan: Plan, options: Options) -> Mapping[str, str]:
        """Say what each task becomes, and what it costs."""
        from talea_langgraph.describing import describe

        return describe(plan, Choices.read(options))

    @asynccontextmanager
    async def session(self, run: Run) -> AsyncGenerator[Any]:
        """Share one HTTP pool among all agents of a run; it is made when the first one asks."""
        from talea_langgraph.clients import Clients

        async with Clients() as clients:
            yield clients
