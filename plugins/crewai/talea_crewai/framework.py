"""CrewAI, imported so that nothing else in the process notices: every other module imports it here.

By itself the import loads the working directory's `.env` into `os.environ`, replaces
`warnings.warn` and makes folders and a key in the user's home, and later CrewAI sends telemetry and
asks on the terminal whether traces may be shared. The switches against the last stay set, since it
reads them at every run; all else is put back. (crewai 1.15.30;
`tests/adapters/test_crewai_guards.py`
says when one of these can go.)
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Generator
from contextlib import contextmanager

_OFF = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
}


@contextmanager
def _undisturbed() -> Generator[None]:
    """Put the environment and `warnings.warn` back as they were, but for the switches."""
    for name, value in _OFF.items():
        # A user who has turned tracing on in so many words keeps it on.
        if os.environ.get(name, "").lower() not in ("true", "1", "false", "0"):
            os.environ[name] = value
    before, warn = dict(os.environ), warnings.warn
    with tempfile.TemporaryDirectory(prefix="talea-crewai-") as folder, warnings.catch_warnings():
        # What it warns of while it is imported, nobody who uses talea can mend.
        warnings.simplefilter("ignore")
        os.environ.update(CREWAI_STORAGE_DIR=folder, HOME=folder)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
            warnings.warn = warn


with _undisturbed():
    from crewai import Agent, Crew, Process, Task, TaskOutput

    try:
        from crewai.agents.agent_executor import AgentExecutor, AgentExecutorState
    except ImportError:  # Before 1.15.29.
        from crewai.experimental.agent_executor import (  # pyright: ignore[reportMissingImports]
            AgentExecutor,  # pyright: ignore[reportUnknownVariableType]
            AgentExecutorState,  # pyright: ignore[reportUnknownVariableType]
        )
    from crewai.crews.crew_output import CrewOutput
    from crewai.events import crewai_event_bus
    from crewai.events.types.llm_events import LLMCallType
    from crewai.events.utils.console_formatter import (
        set_suppress_console_output,
        should_suppress_console_output,
    )
    from crewai.flow.flow import Flow, and_, listen, start
    from crewai.llms.base_llm import llm_call_context
    from crewai.llms.providers.openai.completion import OpenAICompletion
    from crewai.tools import BaseTool
    from crewai.tools.agent_tools.agent_tools import AgentTools
    from crewai.tools.agent_tools.ask_question_tool import AskQuestionTool
    from crewai.tools.agent_tools.base_agent_tools import BaseAgentTool
    from crewai.tools.agent_tools.delegate_work_tool import DelegateWorkTool
    from crewai.utilities.i18n import I18N_DEFAULT

MANAGER_REQUEST = I18N_DEFAULT.slice("manager_request")
"""What CrewAI has a manager expect of its members."""

# What its replacement of `warnings.warn` was for, said of CrewAI's own code alone.
warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"crewai\b")

__all__ = [
    "MANAGER_REQUEST",
    "Agent",
    "AgentExecutor",
    "AgentExecutorState",
    "AgentTools",
    "AskQuestionTool",
    "BaseAgentTool",
    "BaseTool",
    "Crew",
    "CrewOutput",
    "DelegateWorkTool",
    "Flow",
    "LLMCallType",
    "OpenAICompletion",
    "Process",
    "Task",
    "TaskOutput",
    "and_",
    "crewai_event_bus",
    "listen",
    "llm_call_context",
    "quiet",
    "start",
]


def _is_loud(_: logging.LogRecord) -> bool:
    """Let CrewAI's own word on a failed call pass, but not from where talea tells of it."""
    return not should_suppress_console_output()


logging.getLogger("crewai.flow.runtime").addFilter(_is_loud)


@contextmanager
def quiet() -> Generator[None]:
    """Keep CrewAI's panels off the terminal in this context."""
    before = should_suppress_console_output()
    set_suppress_console_output(True)
    try:
        yield
    finally:
        set_suppress_console_output(before)
