"""The framework `crewai`: workflows run as CrewAI's own crews and flows.

Importing this package imports neither the adapter nor CrewAI, which takes seconds.
"""

from __future__ import annotations

from talea.hookspecs import AdapterSpec, hookimpl


@hookimpl
def talea_adapters() -> list[AdapterSpec]:
    """Name the framework."""
    summary = "CrewAI: a Crew where the plan is a sequence of agents, else a Flow."
    return [AdapterSpec("crewai", "talea_crewai.adapter:CrewAIAdapter", summary, needs=("crewai",))]
