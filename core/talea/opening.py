"""The first words of an agent's conversation, where its framework has no form of its own for them.

Plugins share them, so that what is compared is frameworks, and not how their plugins put things.
"""

from __future__ import annotations

from talea.adapter import AgentCall


def opening(call: AgentCall) -> tuple[str, str]:
    """Say who the agent is, "" where nothing is known, and what it is asked."""
    agent = call.agent
    parts = [
        f"You are {agent.role}." if agent.role else None,
        f"Your goal: {agent.goal}" if agent.goal else None,
        agent.backstory,
    ]
    system = agent.instructions or "\n\n".join(part for part in parts if part)
    asked = [f'<context task="{task}">\n{text}\n</context>' for task, text in call.context]
    asked.append(call.prompt)
    if call.expected_output:
        asked.append(f"Expected output: {call.expected_output}")
    return system, "\n\n".join(asked)
