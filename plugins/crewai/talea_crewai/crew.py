"""A sequence of agents as a CrewAI crew: a `Task` for each task, an `Agent` for each agent.

Where one manager and its members answer every task, the crew's process is hierarchical.
"""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from pydantic import PrivateAttr

from talea import ir
from talea.adapter import AgentAnswer, AgentCall, AskCall, Run
from talea.events import Status, TaskEnded
from talea.expr import to_text
from talea.plan import Plan
from talea.plan import Step as PlanStep
from talea.result import Result
from talea_crewai.agent import answer
from talea_crewai.blueprint import SETTINGS, Blueprint
from talea_crewai.clients import Clients
from talea_crewai.framework import Crew, CrewOutput, Process, Task, TaskOutput
from talea_crewai.fresh import EXPECTED, Step
from talea_crewai.hierarchy import shown_members
from talea_crewai.model import Mute
from talea_crewai.shown import NoLog, ShownAgent
from talea_crewai.styles import led_by


class CrewTask(Step):
    """A task of a crew. Its retries, timeout, condition and fallback are the kernel's."""

    _index: int = PrivateAttr()
    _owner: WorkflowCrew = PrivateAttr()
    _agent: ShownAgent = PrivateAttr()
    _is_answered: bool = PrivateAttr(default=False)

    @classmethod
    def of(cls, step: PlanStep, agent: ShownAgent, context: list[Task]) -> CrewTask:
        """Make the task of a plan's step; one of a team is nobody's, and its manager gets it."""
        task = cast("ir.AgentTask | ir.TeamTask", step.task)
        made = cls(
            name=step.id,
            description=task.prompt or "-",
            expected_output=task.expected_output or EXPECTED,
            agent=agent if step.team is None else None,
            context=context,
        )
        made._index, made._agent = step.index, agent
        return made

    def join(self, crew: WorkflowCrew) -> None:
        """Learn in which crew the task is."""
        self._owner = crew

    async def aexecute_sync(
        self, agent: Any = None, context: str | None = None, tools: Any = None
    ) -> TaskOutput:
        """Carry the task out, whatever that means; a fresh agent takes each attempt."""
        run = self._owner.current_run
        # With another framework's agents, those answer.
        via = self if isinstance(run.session, Clients) else None
        record = await run.task(self._index, via)
        if isinstance(record, TaskEnded):
            done = record.status is Status.SUCCEEDED
            text = to_text(record.output) if done else f"({record.status})"
        else:
            text = "(waiting)"
        self.agent = self._agent
        self.output = TaskOutput(
            name=self.name,
            description=self.description,
            expected_output=self.expected_output,
            raw=text or "(empty)",
            agent=self._agent.role,
        )
        return self.output

    async def answer(self, call: AgentCall) -> AgentAnswer:
        """Let a fresh agent answer, and count what it used as its that the crew shows."""
        shown = self._owner.shown.get(call.name, self._agent)
        count = cast("Mute", shown.llm).count
        if self._is_answered:
            return await answer(call, count=count)  # A member, who is asked by the manager.
        self._is_answered = True
        try:
            return await answer(call, self, count)
        finally:
            self._is_answered = False

    async def ask(self, call: AskCall) -> Any:
        """Leave questions to the run."""
        return await call.asker(call)

    async def nested(self, child: Run) -> None:
        """Have nothing inside: only agents' tasks are in a crew."""
        raise NotImplementedError


class WorkflowCrew(Crew):
    """A crew that carries out a workflow. `kickoff` takes its inputs.

    CrewAI's crews are good for one run; this one makes itself anew for each further one.
    """

    _task_output_handler: Any = PrivateAttr(default_factory=NoLog)
    _factory: CrewFactory = PrivateAttr()
    _shown: dict[str, ShownAgent] = PrivateAttr(default_factory=dict[str, ShownAgent])
    _settings: dict[str, Any] = PrivateAttr(default_factory=dict[str, Any])
    _run: Run | None = PrivateAttr(default=None)
    _used: bool = PrivateAttr(default=False)
    _output: CrewOutput | None = PrivateAttr(default=None)
    _result: Result | None = PrivateAttr(default=None)

    @classmethod
    def of(
        cls,
        factory: CrewFactory,
        shown: dict[str, ShownAgent],
        given: dict[str, Any],
        settings: dict[str, Any],
    ) -> WorkflowCrew:
        """Make a crew; with its settings the factory makes another one like it."""
        crew = cls(**given)
        crew._factory, crew._shown, crew._settings = factory, shown, settings
        for task in crew.tasks:
            cast("CrewTask", task).join(crew)
        return crew

    @property
    def blueprint(self) -> Blueprint:
        """What the crew was made from."""
        return self._factory.blueprint

    @property
    def shown(self) -> dict[str, ShownAgent]:
        """The agents that the crew shows, by id."""
        return self._shown

    @property
    def current_run(self) -> Run:
        """The run that the crew carries out."""
        assert self._run is not None
        return self._run

    @property
    def result(self) -> Result | None:
        """How the last kickoff ended: statuses, outputs and usage of every task."""
        return self._result

    def kickoff(self, inputs: Any = None, *args: Any, **more: Any) -> Any:
        """Run the workflow, from code that is not async or that has to wait."""

        def work() -> Any:
            return asyncio.run(self.akickoff(inputs))

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return work()
        context = contextvars.copy_context()
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(context.run, work).result()

    async def kickoff_async(self, inputs: Any = None, *args: Any, **more: Any) -> Any:
        """Run the workflow, as `akickoff` does."""
        return await self.akickoff(inputs)

    async def akickoff(self, inputs: Any = None, *args: Any, **more: Any) -> Any:
        """Run the workflow. Raises `RunError` if it fails."""
        if self._used:
            again = self.copy()
            try:
                return await again.akickoff(inputs)
            finally:
                self._result = again.result
        self._result = await self.blueprint.run_alone(self, inputs, self._settings)
        self._result.raise_for_failure()
        assert self._output is not None
        self._output.json_dict = self._result.outputs
        return self._output

    async def drive(self, run: Run) -> None:
        """Drive a run by the crew's tasks, in their order."""
        if self._used:
            await self.copy().drive(run)
            return
        self._used = True
        self._run = run
        # Its other kind of output is that of a crew that streams, which this one does not.
        self._output = await cast("Any", super()).akickoff()

    def copy(self) -> WorkflowCrew:  # pyright: ignore[reportIncompatibleMethodOverride] - pydantic's takes more
        """Make the crew anew."""
        return self._factory(**self._settings)


class CrewFactory:
    """Makes the crews of a plan."""

    def __init__(self, blueprint: Blueprint) -> None:
        self.blueprint = blueprint

    def __repr__(self) -> str:
        return f"<maker of crews for {self.blueprint.plan.name!r}>"

    def __call__(self, **settings: Any) -> WorkflowCrew:
        """Make a crew; the settings are those of `talea.run`, others go to CrewAI's `Crew`."""
        plan = self.blueprint.plan
        own = {name: settings.pop(name) for name in SETTINGS & settings.keys()}
        team = led_by(plan)
        agents = _agents(plan) if team is None else _team(plan.workflow, team)
        tasks: dict[str, CrewTask] = {}
        for i in plan.order:
            step = plan.steps[i]
            context: list[Task] = [tasks[other] for other in step.context if other in tasks]
            name = step.agents[0] if team is None else cast("str", team.manager)
            tasks[step.id] = CrewTask.of(step, agents[name], context)
        given: dict[str, Any] = {
            "name": plan.name,
            "agents": [agents[name] for name in (agents if team is None else team.members)],
            "tasks": list(tasks.values()),
            "process": Process.sequential if team is None else Process.hierarchical,
            "manager_agent": None if team is None else agents[cast("str", team.manager)],
            "verbose": False,
            "cache": False,
            "tracing": False,
        }
        return WorkflowCrew.of(self, agents, given | settings, own | settings)


def _agents(plan: Plan) -> dict[str, ShownAgent]:
    """Make the agents that a crew shows; fresh ones answer in their place."""
    document = plan.workflow
    found: dict[str, ShownAgent] = {}
    for i in plan.order:
        for name in plan.steps[i].agents:
            if name not in found:
                found[name] = ShownAgent.of(name, document.agents[name], _model(document, name))
    return found


def _team(document: ir.Workflow, team: ir.Team) -> dict[str, ShownAgent]:
    """Make the manager and the members that a hierarchical crew shows."""
    manager = cast("str", team.manager)
    members = {name: document.agents.get(name) or document.teams[name] for name in team.members}
    models = {name: _model(document, name) for name in team.members}
    shown = ShownAgent.of(manager, document.agents[manager], _model(document, manager))
    return {manager: shown, **shown_members(members, models)}


def _model(document: ir.Workflow, name: str) -> str:
    agent = document.agents.get(name)
    return (agent and agent.model) or document.model or "talea"
