"""The framework `simple`: workflows run in process, with agents on the openai SDK.

Importing this package imports neither the adapter nor the SDK.
"""

from __future__ import annotations

from talea.hookspecs import AdapterSpec, hookimpl


@hookimpl
def talea_adapters() -> list[AdapterSpec]:
    """Name the framework."""
    summary = "A fast scheduler in process, with a plain agent loop on the openai SDK."
    return [AdapterSpec("simple", "talea_simple.adapter:SimpleAdapter", summary, needs=("openai",))]
