"""The whole of a small framework: each task begins when what it depends on has ended."""

from asyncio import TaskGroup

from talea.adapter import Adapter, AgentAnswer, Feature, Level, Support

ALL = Support(Level.NATIVE, "a schedule")


class EchoAdapter(Adapter):
    name = "echo"
    features = {feature: ALL for feature in Feature if feature is not Feature.TEAM} | {
        Feature.TEAM: Support(Level.NEVER, "an echo has nobody to delegate to")
    }

    def compile(self, plan, options):
        return [(-step.priority, step.index) for step in plan.steps]

    async def execute(self, compiled, run):
        def take():
            ready = sorted(run.ready, key=compiled.__getitem__)
            run.ready.clear()
            return ready

        async def work(i):
            await run.task(i)
            while ready := take():
                for other in ready[1:]:
                    group.create_task(work(other))
                await run.task(ready[0])

        async with TaskGroup() as group:
            for i in take():
                group.create_task(work(i))

    async def answer(self, call):
        await call.begin_turn()
        call.end_turn(None)
        return AgentAnswer(call.prompt)
