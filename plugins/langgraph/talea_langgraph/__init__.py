"""The framework `langgraph`: workflows as LangGraph's own graphs, agents by LangChain.

Importing this package imports neither the adapter nor LangGraph.
"""

from __future__ import annotations

from talea.hookspecs import AdapterSpec, hookimpl


@hookimpl
def talea_adapters() -> list[AdapterSpec]:
    """Name the framework."""
    summary = "A StateGraph that draws, streams and resumes, with create_agent for agents."
    needs = ("langgraph", "langchain", "langchain_openai")
    return [
        AdapterSpec("langgraph", "talea_langgraph.adapter:LangGraphAdapter", summary, needs=needs)
    ]
