"""What a model call costs, by published prices: the extra `talea[prices]`.

    price("openai", "gpt-5-mini", Usage(1, 12_000, 800))   → 0.0046, or None where nobody knows

The prices are those that the package `genai-prices` was released with: nothing is fetched. Reading
them takes about half a second once, at the first call that needs them. What is not known has no
price, which is not the same as costing nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from talea.events import Usage

_NAMES = {"xai": "x-ai"}
"""Providers whose name there is another one."""


def price(provider: str, model: str, usage: Usage, *, cached_input_tokens: int = 0) -> float | None:
    """Give what a call costs in US dollars, by today's prices; None where that is not known.

    It is not known without the extra, for a provider or model that is not listed, for one that is
    listed without a price for what was used (a server on this machine, a free trial), and for a
    call that used nothing, since no call does. `cached_input_tokens` are those of the input tokens
    that the provider had in its cache.
    """
    calculate = _calculator()
    if calculate is None or not (usage.input_tokens or usage.output_tokens):
        return None
    provider, model = _listed(provider.lower(), model)
    if provider not in _providers():
        return None
    try:
        found = calculate(
            {
                "input_tokens": usage.input_tokens,
                "output_tokens": usage.output_tokens,
                "cache_read_tokens": cached_input_tokens,
            },
            model,
            provider_id=provider,
        )
    except (LookupError, ValueError):  # An unknown model; counts that cannot be.
        return None
    prices = found.model_price
    if usage.input_tokens and getattr(prices, "input_mtok", None) is None:
        return None
    if usage.output_tokens and getattr(prices, "output_mtok", None) is None:
        return None
    return float(found.total_price)


def _listed(provider: str, model: str) -> tuple[str, str]:
    """Give provider and model as they are listed there.

    Hugging Face passes requests on, to the provider that is named after the model's colon.
    """
    if provider == "huggingface" and ":" in model:
        model, _, behind = model.rpartition(":")
        return f"huggingface_{behind.lower()}", model
    return _NAMES.get(provider, provider), model


def warm() -> None:
    """Read the prices ahead of the first call, which would wait for them, in a thread.

    Their HTTP client is imported before: OpenAI's takes it from `sys.modules`, where it stands half
    made while a thread imports it, and calls fail.
    """
    if find_spec("genai_prices") is None:
        return
    with suppress(ModuleNotFoundError):
        import_module("httpx2")
    threading.Thread(target=_read, name="talea-prices", daemon=True).start()


def _read() -> None:
    if _calculator() is not None:
        _providers()


@cache
def _calculator() -> Callable[..., Any] | None:
    try:
        from genai_prices import calc_price
    except ModuleNotFoundError:
        return None
    return calc_price


@cache
def _providers() -> frozenset[str]:
    """List the providers by their exact names: `my-openai-proxy` is none, though it sounds so."""
    from genai_prices.data_snapshot import get_snapshot

    return frozenset(provider.id for provider in get_snapshot().providers)
