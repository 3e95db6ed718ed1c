"""One workflow on every framework that is installed, side by side.

    python examples/07_compare.py
    python examples/07_compare.py examples/03_sequential --rounds 5

The folder holds workflow.yaml and, where they are needed, tools.py and cassette.yaml. All
frameworks are answered by the same cassette, at once: so the times are what framework and talea
cost, not what a model takes, and equal outputs are no wonder. The first run imports the framework;
`later` is the median of the others. Times come from one process on whatever else the machine does:
read ratios. Tokens are what the framework reports; a cassette that gives none has them estimated
from the prompts, which frameworks phrase differently.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import talea
from talea.tools import load_tools

ANSWERS = {"approve": True}


def measure(folder: Path, framework: str, rounds: int) -> tuple[list[float], talea.Result]:
    """Run the workflow in a folder several times; give the seconds of each, and the last result."""
    tools, cassette = folder / "tools.py", folder / "cassette.yaml"
    settings: dict[str, Any] = {
        "framework": framework,
        "tools": load_tools(str(tools)) if tools.exists() else None,
        "replay": cassette if cassette.exists() else None,
        "answers": ANSWERS,
    }
    times: list[float] = []
    while True:
        began = perf_counter()
        result = talea.run(folder / "workflow.yaml", **settings)
        times.append(perf_counter() - began)
        if len(times) == rounds:
            return times, result


def main() -> None:
    """Compare, and print a table."""
    parser = argparse.ArgumentParser(description="Run a workflow on every installed framework.")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path(__file__).parent / "01_market_brief"
    )
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()

    outputs: dict[str, Any] = {}
    print(f"{'framework':<12}{'status':<12}{'first':>9}{'later':>9}{'calls':>7}{'tokens':>15}")
    for info in talea.frameworks():
        if info.status != "ready":
            print(f"{info.name:<12}{info.status}: {info.hint or info.reason}")
            continue
        try:
            times, result = measure(arguments.folder, info.name, max(2, arguments.rounds))
        except talea.UnsupportedError as error:
            print(f"{info.name:<12}refused: {', '.join(lack.feature for lack in error.lacks)}")
            continue
        outputs[info.name] = result.outputs
        used = result.usage
        print(
            f"{info.name:<12}{result.status:<12}{times[0]:>8.2f}s{median(times[1:]):>8.3f}s"
            f"{used.model_calls:>7}{f'{used.input_tokens:,}+{used.output_tokens:,}':>15}"
        )
        if result.error is not None:
            print(f"{'':<12}{result.error.address}: {result.error.type}: {result.error.message}")
    if len(outputs) > 1:
        first = next(iter(outputs.values()))
        same = all(one == first for one in outputs.values())
        print(f"\noutputs are {'the same' if same else 'different'}")


if __name__ == "__main__":
    main()
