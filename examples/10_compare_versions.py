"""Two versions of one framework, side by side: is it safe to upgrade?

    python examples/10_compare_versions.py langgraph "langgraph==1.2.20" "langgraph>=1.2.24"

Each version gets an environment of its own, which uv makes once and keeps; so the first time takes
as long as installing takes. Without arguments, `simple` is tried with two versions of openai's SDK.
"""

from __future__ import annotations

import sys
from pathlib import Path

import talea

BRIEF = Path(__file__).parent / "01_market_brief"


def main() -> None:
    """Compare the versions that the arguments name, and say what came of it."""
    framework, *versions = sys.argv[1:] or ["simple", "openai==2.54.0", "openai>=3"]
    comparison = talea.compare(
        BRIEF / "workflow.yaml",
        frameworks=[framework],
        requirements=[(framework, version) for version in versions],
        tools=BRIEF / "tools.py",
        replay=BRIEF / "cassette.yaml",
        answers={"approve": True},
        progress=print,
    )
    for one in comparison.contenders:
        told = ", ".join(f"{name} {version}" for name, version in one.versions.items())
        print(f"{one.key}: {one.refused or told}")
    for sentence in comparison.answer:
        print(sentence)


if __name__ == "__main__":
    main()
