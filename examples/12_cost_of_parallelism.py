"""What does parallelism gain on each framework, and what does it cost?

    python examples/12_cost_of_parallelism.py --items 8

Eight summaries by a model that takes 0.1 s for each, one, two, … at a time. The ideal is the time
that the model alone would take; the rest is what the framework adds.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import talea

WORKFLOW = """
talea: 1
name: summaries
model: openai/gpt-5-mini
inputs: {{texts: {{type: array}}}}
agents: {{reader: {{}}}}
tasks:
  read:
    agent: reader
    for_each: inputs.texts
    max_parallel: {parallel}
    prompt: "Summarise: {{{{ item }}}}"
outputs: {{summaries: "{{{{ tasks.read.output }}}}"}}
"""
SLOW = "talea_faults: 1\nrules: [{fault: {delay: 100ms}}]\n"
DELAY = 0.1


def main() -> None:
    """Compare with more and more at a time, and print a table."""
    parser = argparse.ArgumentParser(description="Measure what parallelism gains and costs.")
    parser.add_argument("--items", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    texts = [f"text {number}" for number in range(arguments.items)]
    with tempfile.TemporaryDirectory() as folder:
        faults = Path(folder, "faults.yaml")
        faults.write_text(SLOW)
        parallel = 1
        while parallel <= arguments.items:
            comparison = talea.compare(
                talea.loads(WORKFLOW.format(parallel=parallel)),
                {"texts": texts},
                offline=True,
                faults=faults,
                repeat=arguments.repeat,
            )
            ideal = -(-arguments.items // parallel) * DELAY
            print(f"\n{parallel} at a time (the model alone: {ideal:.1f} s)")
            for one in comparison.rows:
                if one.duration is None or one.cpu is None:
                    print(f"  {one.key:<12}no run succeeded")
                    continue
                wall, cpu = one.duration.p50, one.cpu.p50
                print(
                    f"  {one.key:<12}{wall:.2f} s, {wall / ideal:.2f} × the model, CPU {cpu:.2f} s"
                )
            parallel *= 2


if __name__ == "__main__":
    main()
