"""What does each framework do when the model misbehaves? One workflow, one fault after the other.

    python examples/11_compare_faults.py

A stand-in answers, and the gateway makes calls of it fail. What a fault does to a task is the same
on every framework, for the kernel retries and no client does; what may differ is what it costs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import talea

WORKFLOW = """
talea: 1
name: resilient
model: openai/gpt-5-mini
agents: {writer: {}}
tasks:
  draft:
    agent: writer
    prompt: Write a line on the weather.
    retry: {max_attempts: 3, initial_interval: 100ms, jitter: false}
  title:
    agent: writer
    prompt: "A title for: {{ tasks.draft.output }}"
    fallback: Untitled
outputs: {title: "{{ tasks.title.output }}"}
"""
FAULTS = {
    "none": "rules: []",
    "the first draft meets a rate limit": "rules: [{at: draft, first: 1, fault: {status: 429}}]",
    "two drafts break off": "rules: [{at: draft, first: 2, fault: {drop: true}}]",
    "no draft ever comes": "rules: [{at: draft, fault: {status: 500}}]",
    "titles are garbage": "rules: [{at: title, fault: {garbage: true}}]",
}


def main() -> None:
    """Compare under each fault, and print a table."""
    workflow = talea.loads(WORKFLOW)
    with tempfile.TemporaryDirectory() as folder:
        for name, rules in FAULTS.items():
            file = Path(folder, "faults.yaml")
            file.write_text(f"talea_faults: 1\n{rules}\n")
            comparison = talea.compare(workflow, offline=True, faults=file, repeat=1)
            print(f"\n{name}")
            for run in comparison.runs:
                end = run.status if run.error is None else f"{run.status}: {run.error.type}"
                print(
                    f"  {run.framework:<12}{end:<24}{run.used.model_calls} calls,"
                    f" {run.retries} retries, {run.duration:.2f} s"
                )


if __name__ == "__main__":
    main()
