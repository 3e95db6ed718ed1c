"""Which framework, for this workflow? One workflow on every framework that is installed.

    python examples/07_compare.py
    python examples/07_compare.py examples/03_sequential --repeat 10 --out report.html

The folder holds workflow.yaml and, where they are needed, tools.py and cassette.yaml. All
frameworks are answered by the same cassette, at once: so the times are what framework and talea
cost, not what a model takes, and equal outputs are no wonder. Without one a stand-in answers.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import talea

ANSWERS = {"01_market_brief": {"approve": True}}
"""What people answer in place of those who would be asked, by folder."""


def main() -> None:
    """Compare, and say what came of it."""
    parser = argparse.ArgumentParser(description="Run a workflow on every installed framework.")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path(__file__).parent / "01_market_brief"
    )
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--out", type=Path, help="Write the report to this file.")
    arguments = parser.parse_args()
    tools, cassette = arguments.folder / "tools.py", arguments.folder / "cassette.yaml"

    comparison = talea.compare(
        arguments.folder / "workflow.yaml",
        tools=tools if tools.exists() else None,
        replay=cassette if cassette.exists() else None,
        offline=not cassette.exists(),
        answers=ANSWERS.get(arguments.folder.name),
        repeat=arguments.repeat,
    )
    for one in comparison.rows:
        if one.duration is not None and one.split is not None:
            print(
                f"{one.key:<12}{one.succeeded}/{one.runs}"
                f"{one.duration.p50:>9.3f} s, of which {one.split.framework:.3f} s framework"
            )
    for sentence in comparison.answer:
        print(sentence)
    if arguments.out is not None:
        arguments.out.write_text(comparison.to_html(), encoding="utf-8")
        print(f"The report: {arguments.out}")
    if not all(run.succeeded for run in comparison.runs):
        sys.exit("not every run succeeded")


if __name__ == "__main__":
    main()
