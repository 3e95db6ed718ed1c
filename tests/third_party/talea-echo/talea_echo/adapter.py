"""The whole of a small framework: one task after the other, in topological order."""

from talea.adapter import Adapter, AgentAnswer, Feature, Level, Support

ALL = Support(Level.NATIVE, "one task after the other")


class EchoAdapter(Adapter):
    name = "echo"
    features = {feature: ALL for feature in Feature if feature is not Feature.TEAM} | {
        Feature.TEAM: Support(Level.NEVER, "an echo has nobody to delegate to")
    }
    options = {"shout": "true: answers in capitals"}

    def compile(self, plan, options):
        return plan.order, options

    async def execute(self, compiled, run):
        order, _ = compiled
        for index in order:
            await run.task(index)

    async def answer(self, call):
        call.begin_turn()
        call.end_turn(None)
        return AgentAnswer(call.prompt)
