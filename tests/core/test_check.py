"""What is told of a wrong document: the place (marked by ▶), the words, and the hint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from random import Random
from textwrap import dedent
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talea import ir
from talea.errors import DocumentError, Issue, Severity
from talea.load import load, loads
from talea.plan import make_plan
from talea.plan.check import check
from talea.source import parse

MARK = "▶"
HEAD = "talea: 1\nname: test\n"


class Case(NamedTuple):
    """A document with a mark before the place of its one problem."""

    id: str
    text: str
    message: str
    hint: str | None = None
    severity: Severity = Severity.ERROR


ERRORS = [
    # Names that lead nowhere.
    Case(
        "unknown agent",
        """
        agents: {analyst: {}}
        tasks: {a: {agent: ▶analist, prompt: hi}}
        """,
        "unknown agent 'analist'",
        "did you mean 'analyst'?",
    ),
    Case(
        "unknown pool",
        """
        agents: {a: {}}
        pools: {writers: {agents: [a]}}
        tasks: {a: {pool: ▶writer, prompt: hi}}
        """,
        "unknown pool 'writer'",
        "did you mean 'writers'?",
    ),
    Case(
        "unknown agent in a pool",
        """
        agents: {one: {}}
        pools: {p: {agents: [one, ▶two]}}
        tasks: {a: {pool: p, prompt: hi}}
        """,
        "unknown agent 'two'",
        "there is 'one'",
    ),
    Case(
        "unknown capability",
        """
        agents: {a: {capabilities: [research]}}
        tasks: {a: {capabilities: ▶[reserch], prompt: hi}}
        """,
        "no agent has the capabilities 'reserch'",
        "did you mean 'research'?",
    ),
    Case(
        "no agent has both capabilities",
        """
        agents: {a: {capabilities: [x]}, b: {capabilities: [y]}}
        tasks: {a: {capabilities: ▶[x, y], prompt: hi}}
        """,
        "no agent has the capabilities 'x', 'y'",
        "'a' lacks only 'y'",
    ),
    Case(
        "an agent twice in a pool",
        """
        agents: {one: {}, two: {}}
        pools: {p: {agents: [one, two, ▶one]}}
        tasks: {a: {pool: p, prompt: hi}}
        """,
        "'one' is in this pool already",
        "its `weight` says how much of the work it gets",
    ),
    Case(
        "unknown team",
        """
        agents: {a: {}}
        teams: {crew: {manager: a, members: [a]}}
        tasks: {a: {team: ▶crow, prompt: hi}}
        """,
        "unknown team 'crow'",
        "did you mean 'crew'?",
    ),
    Case(
        "unknown member of a team",
        """
        agents: {boss: {}}
        tasks: {a: {team: {manager: boss, members: [▶bos]}, prompt: hi}}
        """,
        "unknown agent or team 'bos'",
        "did you mean 'boss'?",
    ),
    Case(
        "unknown manager of a team",
        """
        agents: {a: {}}
        teams: {t: {manager: ▶boss, members: [a]}}
        tasks: {a: {team: t, prompt: hi}}
        """,
        "unknown agent 'boss'",
    ),
    Case(
        "start that is no member",
        """
        agents: {a: {}, b: {}}
        teams: {t: {start: ▶b, members: [a]}}
        tasks: {a: {team: t, prompt: hi}}
        """,
        "'b' is not one of the members",
    ),
    Case(
        "team inside itself",
        """
        agents: {a: {}}
        teams:
          ▶one: {manager: a, members: [two]}
          two: {manager: a, members: [leaf, one]}
          leaf: {manager: a, members: [a]}
        tasks: {a: {team: one, prompt: hi}}
        """,
        "a team is inside itself: one → two → one",
    ),
    Case(
        "team named like an agent",
        """
        agents: {a: {}}
        teams: {▶a: {manager: a, members: [a]}}
        tasks: {t: {team: a, prompt: hi}}
        """,
        "agents and teams share one name space",
    ),
    Case(
        "unknown tool of a task",
        """
        tools: {search: {}}
        tasks: {a: {tool: ▶serch}}
        """,
        "unknown tool 'serch'",
        "did you mean 'search'?",
    ),
    Case(
        "unknown tool of an agent",
        """
        agents: {a: {tools: [▶search]}}
        tasks: {t: {agent: a, prompt: hi}}
        """,
        "unknown tool 'search'",
        "name it under `tools:`",
    ),
    Case(
        "unknown model of an agent",
        """
        models: {careful: {model: openai/x}}
        agents: {a: {model: ▶carful}}
        tasks: {t: {agent: a, prompt: hi}}
        """,
        "unknown model 'carful'",
        "did you mean 'careful'?",
    ),
    Case(
        "unknown model of the document",
        """
        model: ▶gpt
        tasks: {t: {value: 1}}
        """,
        "unknown model 'gpt'",
        "provider/name",
    ),
    Case(
        "unknown workflow",
        """
        workflows: {brief: {tasks: {v: {value: 1}}}}
        tasks: {t: {workflow: ▶breif}}
        """,
        "unknown workflow 'breif'",
        "did you mean 'brief'?",
    ),
    Case(
        "unknown task in a prompt",
        """
        agents: {a: {}}
        tasks:
          notes: {value: 1}
          t:
            agent: a
            prompt: "Use {{ ▶tasks.note.output }} well"
        """,
        "unknown task 'note'",
        "did you mean 'notes'?",
    ),
    Case(
        "unknown task in depends_on",
        """
        tasks:
          notes: {value: 1}
          t: {value: 2, depends_on: [notes, ▶noted]}
        """,
        "unknown task 'noted'",
        "did you mean 'notes'?",
    ),
    Case(
        "unknown task in context",
        """
        agents: {a: {}}
        tasks: {t: {agent: a, prompt: hi, context: [▶other]}}
        """,
        "unknown task 'other'",
    ),
    Case(
        "unknown task in outputs",
        """
        tasks: {t: {value: 1}}
        outputs:
          x: "{{ ▶tasks.tt.output }}"
        """,
        "unknown task 'tt'",
        "did you mean 't'?",
    ),
    Case(
        "a task inside a block is not seen from outside",
        """
        tasks:
          block: {tasks: {inner: {value: 1}}}
          t: {value: "{{ ▶tasks.inner.output }}"}
        """,
        "task 'inner' is inside the block 'block'",
        "tasks.block.output",
    ),
    Case(
        "depends_on in a block names an outer task",
        """
        tasks:
          first: {value: 1}
          block: {tasks: {inner: {value: 1, depends_on: [▶first]}}}
        """,
        "task 'first' is not in this block",
        "the block itself may depend on it",
    ),
    Case(
        "an inline workflow sees its own tasks only",
        """
        workflows: {w: {tasks: {inner: {value: "{{ ▶tasks.first.output }}"}}}}
        tasks: {first: {value: 1}, t: {workflow: w}}
        """,
        "unknown task 'first'",
    ),
    Case(
        "unknown input",
        """
        inputs: {topic: {type: string}}
        tasks: {t: {value: "{{ ▶inputs.topc }}"}}
        """,
        "unknown input 'topc'",
        "did you mean 'topic'?",
    ),
    Case(
        "an inline workflow sees its own inputs only",
        """
        inputs: {topic: {type: string}}
        workflows:
          w: {inputs: {x: {type: string}}, tasks: {v: {value: "{{ ▶inputs.topic }}"}}}
        tasks: {t: {workflow: w, with: {x: a}}}
        """,
        "unknown input 'topic'",
        "there is 'x'",
    ),
    Case(
        "unknown function",
        "tasks: {t: {value: '{{ ▶length(inputs) }}'}}",
        "length",
    ),
    Case(
        "unknown name",
        """
        inputs: {topic: {type: string}}
        tasks: {t: {value: "{{ ▶input.topic }}"}}
        """,
        "unknown name 'input'",
        "did you mean 'inputs'?",
    ),
    # Names that do not apply.
    Case(
        "item without for_each",
        "tasks: {t: {value: '{{ ▶item }}'}}",
        "there is no `item` here",
        "for_each",
    ),
    Case(
        "item in when",
        """
        tasks:
          t:
            for_each: [1, 2]
            when: ▶item == 1
            value: "{{ item }}"
        """,
        "there is no `item` here",
        "when",
    ),
    Case(
        "loop outside of a loop",
        "tasks: {t: {value: '{{ ▶loop.index }}'}}",
        "there is no `loop` here",
        "loop",
    ),
    Case(
        "loop in the fallback around it",
        """
        tasks:
          t:
            value: 1
            loop: {max: 2, exhausted: keep}
            fallback: "{{ ▶loop.index }}"
        """,
        "there is no `loop` here",
    ),
    Case(
        "error outside of fallback",
        "tasks: {t: {value: '{{ ▶error.message }}'}}",
        "there is no `error` here",
        "fallback",
    ),
    Case(
        "tasks in an agent's text",
        """
        agents: {a: {goal: "{{ ▶tasks.t.output }}"}}
        tasks: {t: {agent: a, prompt: hi}}
        """,
        "there are no `tasks` here",
        "inputs",
    ),
    # Paths that cannot exist.
    Case(
        "undeclared property of an output",
        """
        agents: {a: {}}
        tasks:
          risk:
            agent: a
            prompt: hi
            output: {type: object, properties: {level: {type: string}}}
          t: {when: ▶tasks.risk.output.lvel == "high", value: 1}
        """,
        "there is no property 'lvel'; did you mean 'level'?",
    ),
    Case(
        "a property of a list of outputs",
        """
        agents: {a: {}}
        tasks:
          risk:
            agent: a
            prompt: hi
            for_each: [1, 2]
            output: {type: object, properties: {level: {type: string}}}
          t: {when: ▶tasks.risk.output.level == "high", value: 1}
        """,
        "a list",
    ),
    Case(
        "a step into an agent's text",
        """
        agents: {a: {}}
        tasks:
          risk: {agent: a, prompt: hi}
          t: {value: "{{ ▶tasks.risk.output.level }}"}
        """,
        "the key 'level' cannot be a step into text",
    ),
    Case(
        "a key that a value does not write",
        """
        tasks:
          v: {value: {title: x, text: y}}
          t: {value: "{{ ▶tasks.v.output.titel }}"}
        """,
        "there is no 'titel' there; it has title, text",
    ),
    Case(
        "a task that a block does not have",
        """
        tasks:
          block: {tasks: {brief: {value: 1}}}
          t: {value: "{{ ▶tasks.block.output.breif }}"}
        """,
        "there is no 'breif' there; it has brief",
    ),
    Case(
        "an output that a block does not write",
        """
        tasks:
          block: {tasks: {brief: {value: 1}}, outputs: {text: "{{ tasks.brief.output }}"}}
          t: {value: "{{ ▶tasks.block.output.brief }}"}
        """,
        "there is no 'brief' there; it has text",
    ),
    Case(
        "an output that a workflow does not write",
        """
        workflows: {w: {tasks: {v: {value: 1}}, outputs: {x: "{{ tasks.v.output }}"}}}
        tasks:
          call: {workflow: w}
          t: {value: "{{ ▶tasks.call.output.y }}"}
        """,
        "there is no 'y' there; it has x",
    ),
    Case(
        "a workflow without outputs",
        """
        workflows: {w: {tasks: {v: {value: 1}}}}
        tasks:
          call: {workflow: w}
          t: {value: "{{ ▶tasks.call.output.y }}"}
        """,
        "there is no 'y' there",
    ),
    Case(
        "undeclared property of an input",
        """
        inputs: {who: {type: object, properties: {name: {type: string}}}}
        tasks: {t: {value: "{{ ▶inputs.who.nam }}"}}
        """,
        "there is no property 'nam'; did you mean 'name'?",
    ),
    Case(
        "undeclared property of an item",
        """
        inputs: {list: {type: array, items: {type: object, properties: {name: {type: string}}}}}
        tasks: {t: {for_each: inputs.list, value: "{{ ▶item.nam }}"}}
        """,
        "there is no property 'nam'; did you mean 'name'?",
    ),
    Case(
        "a step into an item that is text",
        """
        tasks: {t: {for_each: [EU, US], value: "{{ ▶item.name }}"}}
        """,
        "the key 'name' cannot be a step into text",
    ),
    Case(
        "undeclared property of the last iteration",
        """
        agents: {a: {}}
        tasks:
          t:
            agent: a
            prompt: "Mend {{ ▶loop.output.remark }}"
            output: {type: object, properties: {remarks: {type: string}, good: {type: boolean}}}
            loop: {until: loop.output.good, max: 3}
        """,
        "there is no property 'remark'; did you mean 'remarks'?",
    ),
    Case(
        "what a loop does not have",
        """
        tasks: {t: {value: "{{ ▶loop.count }}", loop: {max: 2, exhausted: keep}}}
        """,
        "there is no 'count' there; it has index, output",
    ),
    Case(
        "what an error does not have",
        """
        tasks: {t: {value: 1, fallback: "{{ ▶error.kind }}"}}
        """,
        "there is no 'kind' there; it has type, message",
    ),
    Case(
        "what a task does not have",
        """
        tasks:
          v: {value: 1}
          t: {value: "{{ ▶tasks.v.result }}"}
        """,
        "a task has no 'result', but output, status, error and recovered",
        "tasks.v.output",
    ),
    Case(
        "a step into a status",
        """
        tasks:
          v: {value: 1}
          t: {value: "{{ ▶tasks.v.status.name }}"}
        """,
        "the key 'name' cannot be a step into text",
    ),
    Case(
        "for_each over what is never a list",
        """
        inputs: {topic: {type: string}}
        tasks: {t: {for_each: ▶inputs.topic, value: 1}}
        """,
        "for_each needs",
    ),
    # Order.
    Case(
        "self-dependence by depends_on",
        "tasks: {t: {value: 1, depends_on: [▶t]}}",
        "task 't' depends on itself",
    ),
    Case(
        "self-dependence by a mention",
        """
        tasks: {t: {value: "{{ ▶tasks.t.output }}", loop: {max: 2, exhausted: keep}}}
        """,
        "task 't' depends on itself",
        "loop.output",
    ),
    Case(
        "a block waits for itself",
        """
        tasks: {block: {tasks: {inner: {value: "{{ ▶tasks.block.output }}"}}}}
        """,
        "this stands inside the block 'block'",
    ),
    Case(
        "a cycle",
        """
        tasks:
          first: {value: 1}
          ▶a: {value: "{{ tasks.c.output }}", depends_on: [first]}
          b: {value: 1, depends_on: [a]}
          c: {value: "{{ tasks.b.output }}"}
          last: {value: 1, depends_on: [c]}
        """,
        "tasks wait for each other: a → c → b → a",
    ),
    Case(
        "a cycle because of the sequence",
        """
        process: sequential
        tasks:
          ▶a: {value: "{{ tasks.b.output }}"}
          b: {value: 1}
        """,
        "a → b → a ('b' comes after 'a' because process is sequential)",
    ),
    Case(
        "a cycle through a block",
        """
        tasks:
          ▶block: {tasks: {inner: {value: "{{ tasks.after.output }}"}}}
          after: {value: "{{ tasks.block.output.inner }}"}
        """,
        "tasks wait for each other: block → after → block",
    ),
    Case(
        "a dependency where process is parallel",
        """
        process: parallel
        tasks:
          a: {value: 1}
          ▶b: {value: 1, depends_on: [a]}
        """,
        "process is parallel, but 'b' depends on 'a'",
    ),
    Case(
        "one_failed without dependencies",
        "tasks: {a: {value: 1}, t: {value: 1, trigger: ▶one_failed}}",
        "one_failed can never be met",
        "depends_on",
    ),
    Case(
        "one_success that looks at nothing",
        """
        tasks:
          a: {value: 1}
          t: {value: "{{ tasks.a.status }}", depends_on: [], trigger: ▶one_success}
        """,
        "one_success can never be met",
    ),
    Case(
        "hierarchical without a manager",
        """
        process: ▶hierarchical
        agents: {a: {}}
        tasks: {t: {agent: a, prompt: hi}}
        """,
        "process hierarchical needs a manager",
    ),
    Case(
        "an unknown manager",
        """
        process: hierarchical
        manager: ▶bos
        agents: {boss: {}}
        tasks: {t: {agent: boss, prompt: hi}}
        """,
        "unknown agent 'bos'",
        "did you mean 'boss'?",
    ),
    Case(
        "an id of the block around",
        """
        tasks:
          a: {value: 1}
          block: {tasks: {▶a: {value: 1}}}
        """,
        "there is a task 'a' around this block already",
    ),
    Case(
        "a workflow that calls itself",
        """
        workflows:
          one: {tasks: {x: {workflow: two}}}
          two: {tasks: {y: {workflow: ▶one}}}
        tasks: {t: {workflow: one}}
        """,
        "a workflow calls itself: one → two → one",
    ),
    Case(
        "a loop that can only fail",
        "tasks: {t: {value: 1, ▶loop: {max: 3}}}",
        "this loop can only fail",
        "until",
    ),
    # Schemas and constants.
    Case(
        "a default that does not fit",
        "inputs: {n: {type: integer, default: ▶many}}\ntasks: {t: {value: 1}}",
        "the default does not fit: ",
    ),
    Case(
        "an invalid schema of an input",
        "inputs: {n: {type: ▶int}}\ntasks: {t: {value: 1}}",
        "'int'",
    ),
    Case(
        "an invalid schema of an output",
        "tasks: {t: {value: 1, output: {minimum: ▶low}}}",
        "low",
    ),
    Case(
        "a schema of a tool that refers elsewhere",
        """
        tools: {x: {parameters: {$ref: ▶"https://example.org/schema"}}}
        tasks: {t: {value: 1}}
        """,
        "must stay inside the schema",
    ),
    Case(
        "a fallback that does not fit",
        """
        agents: {a: {}}
        tasks: {t: {agent: a, prompt: hi, output: {type: integer}, fallback: ▶none}}
        """,
        "the fallback does not fit `output`: ",
    ),
    Case(
        "a tool without a required argument",
        """
        tools: {s: {parameters: {type: object, properties: {q: {type: string}}, required: [q]}}}
        tasks: {▶t: {tool: s}}
        """,
        "tool 's' needs 'q'",
        "`with`",
    ),
    Case(
        "a tool with an unknown argument",
        """
        tools: {s: {parameters: {type: object, properties: {query: {type: string}}}}}
        tasks: {t: {tool: s, with: {▶qery: x}}}
        """,
        "unknown argument 'qery'",
        "did you mean 'query'?",
    ),
    Case(
        "a tool with a constant that does not fit",
        """
        tools:
          s:
            parameters:
              {type: object, properties: {q: {$ref: "#/$defs/t"}}, $defs: {t: {type: string}}}
        tasks: {t: {tool: s, with: {q: ▶5}}}
        """,
        "'q' does not fit: ",
    ),
    Case(
        "a workflow without a required input",
        """
        workflows: {w: {inputs: {x: {type: string}}, tasks: {v: {value: 1}}}}
        tasks: {▶t: {workflow: w}}
        """,
        "workflow 'w' needs the input 'x'",
    ),
    Case(
        "a workflow with an unknown input",
        """
        workflows: {w: {inputs: {topic: {default: a}}, tasks: {v: {value: 1}}}}
        tasks: {t: {workflow: w, with: {▶topc: 1}}}
        """,
        "unknown input 'topc'",
        "did you mean 'topic'?",
    ),
    Case(
        "a workflow with a constant that does not fit",
        """
        workflows: {w: {inputs: {x: {type: string}}, tasks: {v: {value: 1}}}}
        tasks: {t: {workflow: w, with: {x: ▶5}}}
        """,
        "'x' does not fit: ",
    ),
    Case(
        "instructions beside what they stand in for",
        """
        agents: {w: {role: R, backstory: B, ▶instructions: I}}
        tasks: {t: {agent: w, prompt: hi}}
        """,
        "`role` and `backstory` would be lost",
        "write all of it in `instructions`",
    ),
    Case(
        "a hierarchical block without a manager around it",
        "tasks: {b: {process: ▶hierarchical, tasks: {v: {value: 1}}}}",
        "process hierarchical needs a manager",
        "in the workflow around this block",
    ),
    Case(
        "a fallback that is no text, of an agent that gives text",
        """
        agents: {w: {}}
        tasks: {t: {agent: w, prompt: hi, fallback: ▶3}}
        """,
        "the fallback must be text",
        "quote it, or declare `output`",
    ),
    # Names that lack what stands before them.
    Case(
        "an input that is named alone",
        """
        inputs: {topic: {type: string}}
        tasks: {t: {value: "{{ ▶topic }}"}}
        """,
        "unknown name 'topic'",
        "did you mean `inputs.topic`?",
    ),
    Case(
        "an input that is named alone in an agent's text",
        """
        inputs: {topic: {type: string}}
        agents: {w: {goal: "{{ ▶topic }}"}}
        tasks: {t: {value: 1}}
        """,
        "unknown name 'topic'",
        "did you mean `inputs.topic`?",
    ),
    Case(
        "a task that is named alone, from inside a block",
        """
        tasks:
          notes: {value: [1]}
          b: {tasks: {t: {for_each: ▶notes, value: 1}}}
        """,
        "unknown name 'notes'",
        "did you mean `tasks.notes.output`?",
    ),
    Case(
        "a boolean of YAML 1.1",
        "tasks: {t: {value: 1, when: ▶no}}",
        "unknown name 'no'",
        "write false",
    ),
    # Expressions that cannot be parsed.
    Case(
        "a condition in braces",
        "tasks: {t: {value: 1, when: '▶{{ 1 == 1 }}'}}",
        "",
        "`when` is an expression already: write it without {{ }}",
    ),
    Case(
        "a list in braces",
        "tasks: {t: {for_each: '▶{{ [1] }}', value: 1}}",
        "",
        "`for_each` is an expression already",
    ),
    Case(
        "a broken condition",
        "tasks: {t: {value: 1, when: 'true ▶&& false'}}",
        "",
    ),
    Case(
        "a hole that never ends",
        "tasks: {t: {value: 'so ▶{{ inputs.x'}}",
        "this hole never ends",
    ),
    Case(
        "a broken hole deep in a structure",
        """
        tasks:
          t:
            value:
              fine: "{{ 1 }}"
              list: [a, "{{ ▶tasks }}"]
        """,
        "a task must be named",
        "tasks.",
    ),
]

TOLD_ONLY = [
    Case(
        "a text that a comma cut, in data of any form",
        "tasks: {t: {value: {remark: Say who, ▶and log it., all of it}}}",
        "'and log it.' is a key without a value: the comma before it ended the text",
        'quote the text: remark: "Say who, and log it."',
    ),
    Case(
        "a colon without a space in braces",
        "tasks: {t: {value: 1, fallback: [{▶level:1}]}}",
        "'level:1' is a key without a value",
        "write a space after the colon",
    ),
    Case(
        "a name alone in braces",
        "tasks: {t: {value: 1}}\nmetadata: {▶draft}",
        "'draft' is a key without a value",
        "if that is meant: draft: null",
    ),
    Case(
        "a manager with nothing to manage",
        """
        ▶manager: w
        agents: {w: {}}
        tasks: {t: {agent: w, prompt: hi}}
        """,
        "this manager manages nothing",
        "process: hierarchical",
    ),
    Case(
        "max_parallel without for_each",
        "tasks: {t: {value: 1, ▶max_parallel: 2}}",
        "there is none",
    ),
    Case(
        "a list that looks like a template",
        "tasks: {t: {for_each: ▶['{{ inputs.x'], value: '{{ item }}'}}",
        "a list stands for itself here",
        "as an expression",
    ),
    Case(
        "an input in single braces",
        """
        inputs: {topic: {type: string}}
        agents: {a: {}}
        tasks:
          t:
            agent: a
            prompt: "Write on ▶{topic}, {this} and {{ {'topic': inputs.topic} }}"
        """,
        "{topic} is plain text here",
        "{{ inputs.topic }}",
    ),
    Case(
        "a skipped task in text",
        """
        agents: {a: {}}
        tasks:
          maybe: {when: 1 == 2, value: 1}
          after: {value: 1, depends_on: [maybe]}
          t:
            agent: a
            depends_on: [after]
            trigger: none_failed
            prompt: "Given {{ ▶tasks.after.output }} and {{ default(tasks.maybe.output, 1) }}"
        """,
        "'after' may be skipped, and this text then says `null`",
        "default(tasks.after.output",
    ),
    Case(
        "a skipped task in the text of outputs",
        """
        tasks: {maybe: {when: 1 == 2, value: 1}}
        outputs: {whole: "{{ tasks.maybe.output }}", text: "so {{ ▶tasks.maybe.output }}"}
        """,
        "'maybe' may be skipped",
    ),
    Case(
        "a guarded path that cannot exist",
        """
        tasks:
          v: {value: {title: x}}
          t: {value: "{{ exists(▶tasks.v.output.titel) }}"}
        """,
        "there is no 'titel' there",
    ),
]
WARNINGS = [case._replace(severity=Severity.WARNING) for case in TOLD_ONLY]


def _unmarked(text: str) -> tuple[str, int, int]:
    """Give a text without its mark, and the line and column where it stood."""
    text = HEAD + dedent(text).strip() + "\n"
    before, found, after = text.partition(MARK)
    assert found, "the case has no mark"
    return before + after, before.count("\n") + 1, len(before) - before.rfind("\n")


@pytest.mark.parametrize("case", ERRORS + WARNINGS, ids=lambda case: case.id)
def test_problem_is_told_at_its_place(case: Case) -> None:
    text, line, col = _unmarked(case.text)
    (issue,) = check(loads(text, name="flow.yaml"))
    assert case.message in issue.message
    assert (issue.file, issue.line, issue.col) == ("flow.yaml", line, col), str(issue)
    assert issue.severity is case.severity
    if case.hint is not None:
        assert case.hint in (issue.hint or "")


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case.id)
def test_error_refuses_the_plan(case: Case) -> None:
    text, _, _ = _unmarked(case.text)
    workflow = loads(text)
    with pytest.raises(DocumentError):
        make_plan(workflow)
    with pytest.raises(DocumentError):
        make_plan(workflow)


@pytest.mark.parametrize("case", WARNINGS, ids=lambda case: case.id)
def test_warning_is_kept_by_the_plan(case: Case) -> None:
    text, _, _ = _unmarked(case.text)
    plan = make_plan(loads(text))
    assert [issue.severity for issue in plan.warnings] == [Severity.WARNING]


FINE = {
    "null where it is written": """
        tasks: {t: {value: {a: null, b: ~, c: , d: [~], "e" : }}}
        metadata:
          empty:
        """,
    "instructions alone": """
        agents: {w: {instructions: I}}
        tasks: {t: {agent: w, prompt: hi, fallback: none}}
        """,
    "the manager of a block": """
        manager: w
        agents: {w: {}}
        tasks: {b: {process: hierarchical, tasks: {t: {agent: w, prompt: hi}}}}
        """,
    "a fallback of any form where the output is declared": """
        agents: {w: {}}
        tasks: {t: {agent: w, prompt: hi, output: {type: integer}, fallback: 3}}
        """,
    "names of the task around, in a block": """
        tasks:
          first: {value: {a: 1}}
          block:
            for_each: [1, 2]
            loop: {until: loop.output.x == item, max: 3}
            tasks:
              x:
                value: "{{ item + index + loop.index + tasks.first.output.a }}"
              y:
                when: item == 1
                for_each: "[item, 2]"
                value: "{{ [item, tasks.x.output] }}"
            outputs: {x: "{{ tasks.x.output }}", item: "{{ item }}"}
    """,
    "a path that one alternative has": """
        agents: {a: {}}
        tasks:
          v:
            agent: a
            prompt: hi
            output: {anyOf: [{type: string}, {type: object, properties: {a: {}}}]}
          t: {value: "{{ tasks.v.output.a }}"}
    """,
    "a path into what a fallback gives": """
        agents: {a: {}}
        tasks:
          v: {agent: a, prompt: hi, fallback: {why: "{{ error.message }}"}}
          t: {value: "{{ default(tasks.v.output.why, 'fine') }}"}
    """,
    "a path into what is not known": """
        tools: {x: {}}
        tasks:
          v: {tool: x, with: {any: thing}}
          w: {value: {a: "{{ tasks.v.output }}"}}
          t: {value: "{{ [tasks.v.output.a.b[3], tasks.w.output.a.b, tasks.v.error.address] }}"}
    """,
    "a comprehension over a list of unlike things": """
        tasks:
          v: {value: [{a: 1}, {a: 2, b: 3}]}
          e: {value: []}
          some: {value: "{{ [x.b for x in tasks.v.output if exists(x.b)] }}"}
          none: {value: "{{ [x.c for x in tasks.e.output] }}"}
    """,
    "a recursive schema": """
        inputs:
          tree:
            $ref: "#/$defs/node"
            $defs: {node: {type: object, properties: {next: {$ref: "#/$defs/node"}}}}
        tasks: {t: {value: "{{ default(inputs.tree.next.next.next, 1) }}"}}
    """,
    "a skipped task in text, where the task is skipped with it": """
        agents: {a: {}}
        tasks:
          maybe: {when: 1 == 2, value: 1}
          t: {agent: a, prompt: "Given {{ tasks.maybe.output }}"}
    """,
    "a mention of an outer task where the block is parallel": """
        tasks:
          first: {value: 1}
          block: {process: parallel, tasks: {a: {value: "{{ tasks.first.output }}"}, b: {value: 2}}}
    """,
    "braces in text that are no input": """
        agents: {a: {role: "{role} of JSON"}}
        tasks: {t: {agent: a, prompt: "Give {name} as {}"}}
    """,
    "a member that is a team": """
        agents: {a: {}, b: {}}
        teams: {inner: {start: a, members: [a, b]}, outer: {manager: a, members: [b, inner]}}
        tasks: {t: {team: outer, prompt: hi}}
    """,
}


@pytest.mark.parametrize("text", FINE.values(), ids=FINE.keys())
def test_what_is_right_is_left_alone(text: str) -> None:
    assert check(loads(HEAD + dedent(text))) == []


def test_all_problems_are_told_in_document_order() -> None:
    text = HEAD + dedent(
        """
        agents: {a: {model: nowhere}}
        tasks:
          one: {agent: b, prompt: "{{ item }}", when: inputs.x, depends_on: [three]}
          two: {tool: t}
          three: {value: "{{ 1 + }}", output: {type: strang}}
        outputs: {x: "{{ tasks.four.output }}"}
        """
    )
    issues = check(loads(text))
    places = [(issue.line or 0, issue.col or 0) for issue in issues]
    assert places == sorted(places)
    assert [issue.path for issue in issues] == [
        "agents.a.model",
        "tasks.one.agent",
        "tasks.one.prompt",
        "tasks.one.when",
        "tasks.two.tool",
        "tasks.three.value",
        "tasks.three.output.type",
        "outputs.x",
    ]


def test_a_workflow_built_in_python_has_paths() -> None:
    workflow = ir.Workflow(
        name="built",
        tasks={"a": ir.ValueTask(value={"x": ["{{ tasks.b.output }}"]}, depends_on=("c",))},
    )
    assert [(issue.path, issue.message, issue.line) for issue in check(workflow)] == [
        ("tasks.a.depends_on[0]", "unknown task 'c'", None),
        ("tasks.a.value.x[0]", "unknown task 'b'", None),
    ]


def test_many_problems_are_counted() -> None:
    tasks = "\n".join(f"  t{i}: {{value: '{{{{ tasks.x{i}.output }}}}'}}" for i in range(150))
    issues = check(loads(f"{HEAD}tasks:\n{tasks}\n"))
    assert len(issues) == 101
    assert issues[-1] == Issue("and 50 more problems like these")


def test_deep_nesting_is_refused() -> None:
    chain = {
        f"w{i}": ir.InlineWorkflow(tasks={"t": ir.WorkflowTask(workflow=f"w{i + 1}")})
        for i in range(300)
    }
    chain["w300"] = ir.InlineWorkflow(tasks={"t": ir.ValueTask(value=1)})
    workflow = ir.Workflow(
        name="deep", tasks={"t": ir.WorkflowTask(workflow="w0")}, workflows=chain
    )
    assert "nested more than 50 deep" in check(workflow)[0].message


def test_problems_of_a_file_are_told_in_that_file(tmp_path: Path) -> None:
    (tmp_path / "main.yaml").write_text(
        f"{HEAD}tasks:\n  t: {{workflow: ./part.yaml, with: {{y: 1}}}}\n"
    )
    (tmp_path / "part.yaml").write_text(
        f"{HEAD}inputs: {{x: {{}}}}\ntasks:\n  t: {{agent: nobody, prompt: hi}}\n"
    )
    issues = check(load(tmp_path / "main.yaml"))
    found = [((issue.file or "").rpartition("/")[2], issue.line, issue.message) for issue in issues]
    assert found == [
        ("main.yaml", 4, "workflow 'test' needs the input 'x'"),
        ("main.yaml", 4, "unknown input 'y'"),
        ("part.yaml", 5, "unknown agent 'nobody'"),
    ]


def _places(data: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the place of everything inside data, but not of the whole."""
    steps: list[Any] = []
    if isinstance(data, dict):
        steps += cast("dict[str, Any]", data)
    elif isinstance(data, list):
        steps += range(len(cast("list[Any]", data)))
    for step in steps:
        yield (*place, step)
        yield from _places(data[step], (*place, step))


def _at(data: Any, place: tuple[Any, ...]) -> Any:
    for step in place:
        data = data[step]
    return data


DOCUMENTS = [
    parse(text, "<text>").data
    for text in (
        *(_unmarked(case.text)[0] for case in ERRORS + WARNINGS),
        *(HEAD + dedent(text) for text in FINE.values()),
    )
]
PARTS = [_at(data, place) for data in DOCUMENTS for place in _places(data)]


@given(st.randoms(use_true_random=False))
def test_whatever_is_wrong_is_told(random: Random) -> None:
    """Documents with parts of others in odd places are refused or planned, and nothing else."""
    data = deepcopy(random.choice(DOCUMENTS))
    for _ in range(random.randint(1, 3)):
        *around, last = random.choice(list(_places(data)))
        _at(data, tuple(around))[last] = deepcopy(random.choice(PARTS))
    try:
        workflow = loads(json.dumps(data))
    except DocumentError:
        return
    wrong = [issue for issue in check(workflow) if issue.severity is Severity.ERROR]
    if wrong:
        with pytest.raises(DocumentError):
            make_plan(workflow)
        return
    plan = make_plan(workflow)
    assert sorted(plan.order) == list(range(len(plan.steps)))
    assert {need.task.partition("/")[0] for need in plan.needs} - {""} == set(plan.ids)
