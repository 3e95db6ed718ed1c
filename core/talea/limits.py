"""The limits of a whole run that rest on what its model calls use."""

from __future__ import annotations

from talea.events import Usage
from talea.ir import Limits


def refuses_model_call(limits: Limits, used: Usage) -> str | None:
    """Say why no further model call may be made; None if one may."""
    if limits.max_model_calls is not None and used.model_calls >= limits.max_model_calls:
        return f"max_model_calls is {limits.max_model_calls}"
    tokens = used.input_tokens + used.output_tokens
    if limits.max_tokens is not None and tokens > limits.max_tokens:
        return f"max_tokens is {limits.max_tokens}, and {tokens} are used"
    if limits.max_cost is not None and (used.cost or 0.0) > limits.max_cost:
        return f"max_cost is {limits.max_cost:g}, and {used.cost:g} is used"
    return None


def more_of(one: Usage, other: Usage) -> Usage:
    """Give the more of two counts of the same calls, figure by figure."""
    costs = [used.cost for used in (one, other) if used.cost is not None]
    return Usage(
        max(one.model_calls, other.model_calls),
        max(one.input_tokens, other.input_tokens),
        max(one.output_tokens, other.output_tokens),
        max(costs, default=None),
    )
