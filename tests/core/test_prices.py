"""What a model call costs: known figures, and nothing where nothing is known."""

from __future__ import annotations

import subprocess
import sys

import pytest

from talea import prices
from talea.events import Usage
from talea.prices import price

pytest.importorskip("genai_prices", reason="the extra talea[prices] is not installed")

USED = Usage(1, 12_000, 800)
QUIET = """
import sys, threading

def refuse(event, arguments):
    if event.startswith("socket."):
        raise AssertionError(f"{event} {arguments}")

sys.addaudithook(refuse)
import talea.run
from talea.events import Usage
from talea.prices import price

assert "genai_prices" not in sys.modules
assert price("openai", "gpt-4o", Usage(1, 10, 10)) is not None
assert "genai_prices" in sys.modules
assert threading.active_count() == 1
"""


@pytest.mark.parametrize(
    ("provider", "model", "usage", "dollars"),
    [
        # Dollars for a million tokens, in and out.
        ("openai", "gpt-4o", USED, (12_000 * 2.5 + 800 * 10) / 1e6),
        ("openai", "gpt-4o-2024-08-06", USED, (12_000 * 2.5 + 800 * 10) / 1e6),
        ("openai", "gpt-4.1-mini", USED, (12_000 * 0.4 + 800 * 1.6) / 1e6),
        ("anthropic", "claude-sonnet-4-5", USED, (12_000 * 3 + 800 * 15) / 1e6),
        # A long prompt is another tier, for all of its tokens.
        ("anthropic", "claude-sonnet-4-5", Usage(1, 300_000, 800), (300_000 * 6 + 800 * 22.5) / 1e6),
        ("google", "gemini-2.5-flash", USED, (12_000 * 0.3 + 800 * 2.5) / 1e6),
        ("xai", "grok-3", USED, (12_000 * 3 + 800 * 15) / 1e6),
        ("XAI", "grok-3", USED, (12_000 * 3 + 800 * 15) / 1e6),
        ("openai", "text-embedding-3-small", Usage(1, 12_000, 0), 12_000 * 0.02 / 1e6),
        # A request has a price of its own there.
        ("perplexity", "sonar-pro", USED, (12_000 * 3 + 800 * 15) / 1e6 + 14 / 1000),
        (
            "huggingface",
            "meta-llama/Llama-3.3-70B-Instruct:fireworks-ai",
            USED,
            (12_000 * 0.9 + 800 * 0.9) / 1e6,
        ),
    ],
)  # fmt: skip
def test_known_prices(provider: str, model: str, usage: Usage, dollars: float) -> None:
    assert price(provider, model, usage) == pytest.approx(dollars, rel=1e-9)


def test_what_was_cached_costs_less() -> None:
    dollars = (8_000 * 2.5 + 4_000 * 1.25 + 800 * 10) / 1e6
    found = price("openai", "gpt-4o", USED, cached_input_tokens=4_000)
    assert found == pytest.approx(dollars, rel=1e-9)


@pytest.mark.parametrize(
    ("provider", "model", "usage"),
    [
        ("openai", "a-model-of-tomorrow", USED),
        ("nobody", "gpt-4o", USED),
        ("my-openai-proxy", "gpt-4o", USED),
        ("ollama", "llama3.2", USED),
        ("vllm", "openai/gpt-4o", USED),
        ("lmstudio", "gpt-4o", USED),
        ("talea", "offline", USED),
        ("huggingface", "meta-llama/Llama-3.3-70B-Instruct", USED),
        ("huggingface", "meta-llama/Llama-3.3-70B-Instruct:nobody", USED),
        ("openai", "gpt-4o", Usage(1)),
        ("cerebras", "qwen-3-coder-480b", USED),
        ("openai", "text-embedding-3-small", USED),
    ],
)
def test_what_is_unknown_has_no_price(provider: str, model: str, usage: Usage) -> None:
    assert price(provider, model, usage) is None


def test_counts_that_cannot_be_have_no_price() -> None:
    assert price("openai", "gpt-4o", USED, cached_input_tokens=12_001) is None


def test_a_model_without_prices_is_listed_with_them_missing() -> None:
    # What the None above rests on: the package itself makes a zero of it.
    from genai_prices import calc_price

    used = {"input_tokens": 12_000, "output_tokens": 800}
    assert calc_price(used, "qwen-3-coder-480b", provider_id="cerebras").total_price == 0


def test_without_the_extra_nothing_has_a_price(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    prices._calculator.cache_clear()
    try:
        assert price("openai", "gpt-4o", USED) is None
    finally:
        prices._calculator.cache_clear()


def test_nothing_is_fetched_and_nothing_is_imported_before_it_is_needed() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", QUIET], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
