"""Carries out runs in processes of their own, each of which may be killed: for `test_killed`.

It reads requests from standard input, a JSON object a line, and forks for each one, so that the
framework is imported once. It answers with the process's number and, to a further line, with how
the process ended: until then the number is that process's alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import warnings
from typing import Any

warnings.simplefilter("ignore")

import talea  # noqa: E402
from talea.gateway.cassette import loads_cassette  # noqa: E402

TASKS = """
talea: 1
name: tasks
tools: {slow: {}, blocking: {}}
workflows:
  inner:
    inputs: {n: {type: integer}}
    tasks:
      x: {tool: slow, with: {n: "{{ inputs.n }}"}}
      y: {tool: blocking, with: {n: "{{ tasks.x.output + 1 }}"}}
    outputs: {y: "{{ tasks.y.output }}"}
tasks:
  a: {tool: slow, with: {n: 1}}
  b: {for_each: [1, 2, 3, 4, 5, 6], max_parallel: 2, tool: slow, with: {n: "{{ item + tasks.a.output }}"}}
  c: {depends_on: [a], for_each: [10, 20, 30], max_parallel: 1, workflow: inner, with: {n: "{{ item }}"}}
  d:
    depends_on: [a]
    loop: {max: 4, until: loop.output.q > 40, exhausted: keep}
    tasks:
      p: {tool: slow, with: {n: "{{ 10 * loop.index + default(loop.output.q, 0) }}"}}
      q: {tool: blocking, with: {n: "{{ tasks.p.output + 1 }}"}}
      r: {tool: slow, with: {n: 3}}
  e: {depends_on: [b, c], tool: blocking, with: {n: "{{ len(tasks.b.output) + len(tasks.c.output) }}"}}
  f: {depends_on: [d], trigger: all_done, tool: slow, retry: {max_attempts: 50, initial_interval: 1ms}, with: {n: -1}}
  g: {value: ["{{ tasks.b.output }}", "{{ tasks.c.output }}", "{{ tasks.d.output }}", "{{ tasks.e.output }}", "{{ tasks.f.output }}"]}
outputs: {all: "{{ tasks.g.output }}"}
"""  # fmt: skip

TEAM = """
talea: 1
name: team
model: openai/gpt-5-mini
tools: {slow: {}, blocking: {}}
agents:
  lead: {role: Lead}
  writer: {role: Writer, tools: [slow]}
  editor: {role: Editor}
  critic: {role: Critic, tools: [blocking]}
teams:
  desk: {manager: lead, members: [writer, review]}
  review: {manager: editor, members: [critic]}
tasks:
  a: {tool: slow, with: {n: 1}}
  b: {for_each: [1, 2, 3, 4], max_parallel: 1, tool: slow, with: {n: "{{ item }}"}}
  plan: {depends_on: [a], team: desk, prompt: "Make {{ tasks.a.output }} plan"}
  each: {depends_on: [a], for_each: [1, 2], max_parallel: 1, team: desk, prompt: "Make part {{ item }}"}
  alone: {depends_on: [plan], agent: writer, prompt: "Read {{ tasks.plan.output }}"}
  c: {depends_on: [plan, each], tool: blocking, with: {n: "{{ len(tasks.each.output) }}"}}
  g: {value: ["{{ tasks.b.output }}", "{{ tasks.plan.output }}", "{{ tasks.each.output }}", "{{ tasks.alone.output }}", "{{ tasks.c.output }}"]}
outputs: {all: "{{ tasks.g.output }}"}
"""  # fmt: skip
_WORK = """
    lead:
    - {delegate: {to: writer, task: Draft it}}
    - {delegate: {to: review, task: See that it is good}}
    - {content: "NAME is done."}
    writer:
    - {tool_calls: [{name: slow, arguments: {n: 1}}]}
    - {content: A draft.}
    editor: [{delegate: {to: critic, task: Judge it}}, {content: It is good.}]
    critic: [{tool_calls: [{name: blocking, arguments: {n: 2}}]}, {content: Good.}]
"""
CASSETTE = "talea_cassette: 1\ntasks:\n  alone: [{content: I read it.}]\n" + "".join(
    f"  {name}:{_WORK.replace('NAME', name)}" for name in ("plan", "each[0]", "each[1]")
)
DOCUMENTS = {"tasks": TASKS, "team": TEAM}


class Tools:
    """Tools that note each call of theirs, before and after, in a file."""

    def __init__(self, notes: str) -> None:
        self._file = os.open(notes, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def note(self, what: str, context: talea.ToolContext) -> None:
        os.write(self._file, f"{what} {context.idempotency_key.partition('/')[2]}\n".encode())

    async def slow(self, n: int, context: talea.ToolContext) -> int:
        """Take some time, and fail now and then."""
        self.note("begin", context)
        await asyncio.sleep(random.uniform(0.001, 0.02))
        self.note("end", context)
        if n < 0 and random.random() < 0.3:
            raise talea.TaskError("tool_error", "now and then")
        return n

    def blocking(self, n: int, context: talea.ToolContext) -> int:
        """Take some time on a thread."""
        import time

        self.note("begin", context)
        time.sleep(random.uniform(0.001, 0.01))
        self.note("end", context)
        return n


def carry_out(request: dict[str, Any]) -> None:
    """Begin or resume a run, and write down what it came to."""
    tools = Tools(request["notes"])
    given: dict[str, Any] = {
        "journal": request["journal"],
        "durability": request["durability"],
        "framework": request["framework"],
        "tools": [tools.slow, tools.blocking],
        "replay": loads_cassette(CASSETTE) if request["document"] == "team" else None,
    }
    if request["resume"]:
        result = talea.resume("one", **given)
    else:
        result = talea.run(talea.loads(DOCUMENTS[request["document"]]), run_id="one", **given)
    with open(request["result"], "w", encoding="utf-8") as file:
        json.dump(result.as_json(), file)


def say(what: object) -> None:
    """Answer with a line."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main() -> None:
    """Serve requests until there are no more."""
    for framework in sys.argv[1:]:
        for document in DOCUMENTS.values():
            talea.compile(talea.loads(document), framework)
    say("ready")
    while line := sys.stdin.readline():
        process = os.fork()
        if not process:
            random.seed()
            try:
                carry_out(json.loads(line))
                os._exit(0)
            except BaseException as error:
                sys.stderr.write(f"{error!r}\n")
                sys.stderr.flush()
                os._exit(1)
        say(process)
        sys.stdin.readline()
        say(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    main()
