"""What is expected of a run: checks as they are written, compiled, and the verdicts they give.

    - len(outputs.notes) == 3                            an expression
    - {path: outputs.brief, matches: "^# "}              a path, and what is asked of its value
    - {judge: Is it polite?, path: outputs.brief}        a model is asked
    - {status: failed, error: timeout}                   the run is to end like this

All of them are compiled, and their names followed, before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, NamedTuple, cast

from pydantic import Field, JsonValue

from talea.compare.functions import Answer
from talea.compare.places import Given, Part
from talea.compare.record import Case, RunRecord, Used, Verdict
from talea.compare.scope import Scope, meant, names_of
from talea.compare.values import difference, lacking, show
from talea.errors import DocumentError, ErrorType, ExpressionError, Issue, TaleaError
from talea.expr import Expression, compile_expression, type_name
from talea.gateway.judges import judge_address
from talea.ir import Document, Either, JsonSchema
from talea.plan import Plan
from talea.plan.shape import UNKNOWN, Shape
from talea.schema import SchemaError, compile_schema
from talea.source import Source, read_model
from talea.source.text import Steps

_KINDS = ("equals", "contains", "matches", "schema", "is", "check", "judge", "status")
_VALUE = "value"
_TRUE = Either("an expression, in quotes")

EndType = Annotated[
    ErrorType | Literal["worker_died", "worker_hung", "worker_failed"], Either("a type of error")
]
"""Why a run failed: as a task does, or because its process did."""
CallFunction = Callable[[str, Any], Answer]
"""Has a function of the caller's, by name, judge a value."""


@dataclass(slots=True, frozen=True)
class Question:
    """What a model is asked about a value. `address` is the place of its answer in a cassette."""

    text: str
    value: Any
    model: str | None
    address: str


class Opinion(NamedTuple):
    """What a model says of a value, and what it used."""

    passed: bool
    why: str | None
    used: Used | None = None


AskJudge = Callable[[Question], Opinion]
"""Has a model answer; raises `TaleaError` where it gives no verdict."""


class WrittenCheck(Document):
    """A check that is written as a mapping: one thing that is asked of a value, or of the end."""

    name: str | None = Field(default=None, min_length=1, max_length=200)
    path: str | None = Field(default=None, description="Whose value; `outputs` if left out.")
    equals: JsonValue = None
    contains: JsonValue = None
    matches: str | None = Field(default=None, description="A regular expression, found anywhere.")
    schema_: JsonSchema | None = Field(default=None, alias="schema")
    is_: Annotated[str | None, _TRUE] = Field(default=None, alias="is")
    check: str | None = Field(default=None, description="A function of the caller's.")
    judge: str | None = Field(default=None, min_length=1, description="A question to a model.")
    model: str | None = Field(default=None, description="Who is asked.")
    status: Literal["succeeded", "failed", "cancelled", "waiting"] | None = None
    error: EndType | None = None

    @property
    def kinds(self) -> list[str]:
        """What is asked."""
        given = {name.removesuffix("_") for name in self.model_fields_set}
        return [kind for kind in _KINDS if kind in given]


@dataclass(slots=True, frozen=True)
class Scene:
    """What a check is made of: a run, the names over it, and who can be asked."""

    run: RunRecord
    names: Mapping[str, Any]
    call_function: CallFunction | None
    ask_judge: AskJudge | None
    used: list[Used] = field(default_factory=list[Used])
    """Is added to by a model that judges."""


@dataclass(slots=True, frozen=True)
class Check:
    """A compiled check. `decide` raises `ExpressionError` and others of `TaleaError`."""

    name: str
    decide: Callable[[Scene], Answer]
    of_end: bool = False

    def verdict(self, scene: Scene) -> Verdict:
        """Give the verdict on a run."""
        scene = replace(scene, used=[])
        try:
            passed, why = self.decide(scene)
        except ExpressionError as error:
            passed, why = False, error.message
        except TaleaError as error:
            passed, why = False, f"it could not be made: {error}"
        used = scene.used[0] if scene.used else None
        return Verdict(check=self.name, passed=passed, why=why, of_end=self.of_end, used=used)


class Judge:
    """Gives the verdicts on runs, by the checks of their cases.

    `models` are those that are asked: None for questions that name none.
    """

    def __init__(
        self, checks: Mapping[str, Sequence[Check]], models: frozenset[str | None]
    ) -> None:
        self.models = models
        self._checks = checks

    def __call__(
        self,
        run: RunRecord,
        case: Case,
        call_function: CallFunction | None = None,
        ask_judge: AskJudge | None = None,
    ) -> tuple[Verdict, ...]:
        """Judge a run. A run that failed fails every check, unless one says how it is to end."""
        checks = self._checks[case.id]
        if not (run.succeeded or any(check.of_end for check in checks)):
            why = f"the run {_ending(run)}"
            return tuple(Verdict(check=each.name, passed=False, why=why) for each in checks)
        scene = Scene(run, names_of(run, case), call_function, ask_judge)
        return tuple(check.verdict(scene) for check in checks)


def judge(cases: Iterable[Case], plan: Plan, *, functions: Collection[str] = ()) -> Judge:
    """Compile what is expected of cases. Raises DocumentError, with every problem."""
    issues: list[Issue] = []
    checks: dict[str, list[Check]] = {}
    models: set[str | None] = set()
    for case in cases:
        given = Given({"expect": list(case.expect)}, f"case {case.id!r}")
        compiler = Compiler(given, plan, functions)
        checks[case.id] = compiler.all(("expect",), case.expect)
        issues += compiler.issues
        models |= compiler.models
    if issues:
        raise DocumentError(issues)
    return Judge(checks, frozenset(models))


def _ending(run: RunRecord) -> str:
    """Say how a run ended: `succeeded`, `failed with timeout: …`."""
    if run.error is None:
        return "ended as waiting" if run.status == "waiting" else run.status
    return f"{run.status} with {run.error.type}: {run.error.message}"


class Compiler:
    """Compiles checks of one document, and notes what is wrong with them."""

    def __init__(self, source: Source, plan: Plan, functions: Collection[str]) -> None:
        self.issues: list[Issue] = []
        self.models: set[str | None] = set()
        """Those that are asked; None for questions that name none."""
        self._source = source
        self._functions = functions
        self._plan = plan
        self._scope = Scope(plan)
        self._questions = 0

    def all(self, place: Steps, written: Iterable[Any]) -> list[Check]:
        """Compile a list of checks that stands at a place; those that are wrong are left out."""
        self._questions = 0
        found = [self._one((*place, at), one) for at, one in enumerate(written)]
        return [check for check in found if check is not None]

    def _one(self, place: Steps, written: Any) -> Check | None:
        if isinstance(written, str):
            decision = self._decision(place, written)
            return decision and Check(_title(written), decision)
        if not isinstance(written, Mapping):
            self._tell("a check is an expression or a mapping", place, hint=f'such as "{_EXAMPLE}"')
            return None
        try:
            form = read_model(WrittenCheck, Part(self._source, place))
        except DocumentError as error:
            self.issues += error.issues
            return None
        return self._mapping(place, form)

    def _mapping(self, place: Steps, form: WrittenCheck) -> Check | None:
        before = len(self.issues)
        kinds = form.kinds
        if len(kinds) != 1:
            self._count(place, kinds)
            return None
        kind = kinds[0]
        for key, owner in (("error", "status"), ("model", "judge")):
            if key in form.model_fields_set and kind != owner:
                self._tell(f"`{key}` goes with `{owner}`", (*place, key), key=True)
        if kind == "status":
            if form.path is not None:
                self._tell("`status` is of the run, and has no path", (*place, "path"), key=True)
            if form.error is not None and form.status != "failed":
                self._tell("only a run that failed has an error", (*place, "error"), key=True)
            decide: Callable[[Scene], Answer] | None = _ends(form)
        else:
            if form.path is None and kind in {"contains", "matches"}:
                self._tell(
                    f"`{kind}` needs a path", (*place, kind), key=True,
                    hint="say whose value: {path: outputs.…, …}",
                )  # fmt: skip
            decide = self._of_value(place, kind, form)
        if decide is None or len(self.issues) > before:
            return None
        return Check(form.name or _named(kind, form), decide, of_end=kind == "status")

    def _of_value(
        self, place: Steps, kind: str, form: WrittenCheck
    ) -> Callable[[Scene], Answer] | None:
        """Compile what is asked of the value at a path."""
        ask = self._predicate(place, kind, form)
        written = form.path if form.path is not None else "outputs"
        path = self._expression((*place, "path"), written)
        if ask is None or path is None:
            return None
        return lambda scene: ask(path.evaluate(scene.names), scene)

    def _predicate(
        self, place: Steps, kind: str, form: WrittenCheck
    ) -> Callable[[Any, Scene], Answer] | None:
        match kind:
            case "equals":
                return lambda value, _: _unless(difference(value, form.equals))
            case "contains":
                return lambda value, _: _unless(lacking(value, form.contains))
            case "matches":
                return self._matches((*place, kind), form.matches or "")
            case "schema":
                return self._schema((*place, kind), cast("JsonSchema", form.schema_))
            case "is":
                decide = self._decision((*place, kind), form.is_ or "", {_VALUE: UNKNOWN})
                return decide and (lambda value, scene: decide(_with_value(scene, value)))
            case "check":
                return self._function((*place, kind), form.check or "")
            case _:
                return self._question((*place, "model"), form)

    def _matches(self, place: Steps, pattern: str) -> Callable[[Any, Scene], Answer] | None:
        try:  # Patterns of schemas take linear time, whatever text they meet.
            schema = compile_schema({"type": "string", "pattern": pattern})
        except SchemaError as error:
            self._tell(error.message, place)
            return None

        def ask(value: Any, _scene: Scene) -> Answer:
            if not isinstance(value, str):
                return False, f"{show(value)} is {type_name(value)}, not text"
            return _unless(show(value) if schema.check(value) is not None else None)

        return ask

    def _schema(self, place: Steps, schema: Any) -> Callable[[Any, Scene], Answer] | None:
        try:
            compiled = compile_schema(schema)
        except SchemaError as error:
            self._tell(error.message, (*place, *error.path))
            return None
        return lambda value, _: _unless(compiled.check(value))

    def _function(self, place: Steps, name: str) -> Callable[[Any, Scene], Answer] | None:
        if name not in self._functions:
            hint = meant(name, self._functions) if self._functions else "give a file: --tools FILE"
            self._tell(f"unknown function {show(name)}", place, hint=hint)
            return None

        def ask(value: Any, scene: Scene) -> Answer:
            if scene.call_function is None:
                return False, "the function could not be called: the framework's process is gone"
            return scene.call_function(name, value)

        return ask

    def _question(self, place: Steps, form: WrittenCheck) -> Callable[[Any, Scene], Answer] | None:
        models = self._plan.workflow.models
        if form.model is not None and form.model not in models and "/" not in form.model:
            hint = meant(form.model, models) or f"such as {_MODEL}"
            self._tell(f"unknown model {show(form.model)}", place, hint=hint)
            return None
        self.models.add(form.model)
        self._questions += 1
        address = judge_address(self._questions, self._plan.ids)

        def ask(value: Any, scene: Scene) -> Answer:
            if scene.ask_judge is None:
                return False, "there is nobody to ask"
            opinion = scene.ask_judge(Question(form.judge or "", value, form.model, address))
            if opinion.used is not None:
                scene.used.append(opinion.used)
            return opinion.passed, opinion.why

        return ask

    # Expressions

    def _decision(
        self, place: Steps, written: str, more: Mapping[str, Shape] | None = None
    ) -> Callable[[Scene], Answer] | None:
        """Compile a condition, which says what it met where it does not hold."""
        expression = self._expression(place, written, more or {})
        if expression is None:
            return None

        def decide(scene: Scene) -> Answer:
            if expression.decide(scene.names):
                return True, None
            return False, "; ".join(_met(expression, scene.names)) or None

        return decide

    def _expression(
        self, place: Steps, written: str, more: Mapping[str, Shape] | None = None
    ) -> Expression | None:
        try:
            expression = compile_expression(written)
        except ExpressionError as error:
            hint = error.hint
            if written.lstrip().startswith("{{"):
                hint = "this is an expression already: write it without {{ }}"
            self._tell(error.message, place, start=error.start, end=error.end, hint=hint)
            return None
        fine = True
        for path in expression.paths:
            problem = self._scope.problem(path, more or {})
            if problem is not None and not path.guarded:
                message, hint = problem
                self._tell(message, place, start=path.start, end=path.end, hint=hint)
                fine = False
        return expression if fine else None

    def _count(self, place: Steps, kinds: list[str]) -> None:
        known = ", ".join(_KINDS)
        if kinds:
            message = f"a check asks one thing, but this one has {' and '.join(kinds[:2])}"
            self._tell(message, (*place, kinds[1]), key=True, hint="write two checks")
        else:
            self._tell("the check asks nothing", place, hint=f"it needs one of {known}")

    def _tell(self, message: str, place: Steps, **more: Any) -> None:
        self.issues.append(self._source.issue(message, place, **more))


_EXAMPLE = "outputs.title == 'Tea'"
_MODEL = "openai/gpt-5-mini"


def _ends(form: WrittenCheck) -> Callable[[Scene], Answer]:
    """Compile how the run is to end."""

    def decide(scene: Scene) -> Answer:
        run = scene.run
        fits = run.status == form.status
        if fits and form.error is not None:
            fits = run.error is not None and run.error.type == str(form.error)
        return _unless(None if fits else f"the run {_ending(run)}")

    return decide


def _unless(why: str | None) -> Answer:
    return why is None, why


def _with_value(scene: Scene, value: Any) -> Scene:
    return replace(scene, names={**scene.names, _VALUE: value})


def _met(expression: Expression, names: Mapping[str, Any]) -> Iterator[str]:
    """Say what the paths of an expression led to, each once."""
    for text in dict.fromkeys(
        expression.source[path.start : path.end] for path in expression.paths
    ):
        try:
            value = compile_expression(text).evaluate(names)
        except ExpressionError:
            continue  # It begins with a name that a comprehension gives.
        yield f"{_title(text)} is {show(value)}"


def _named(kind: str, form: WrittenCheck) -> str:
    """Name a check by what it asks."""
    if kind == "status":
        error = f" with {form.error}" if form.error else ""
        return f"the run ends as {form.status}{error}"
    if kind == "judge":
        return _title(form.judge or "")
    path = form.path if form.path is not None else "outputs"
    if kind == "schema":
        return _title(f"{path} fits the schema")
    asked: dict[str, str] = {
        "equals": f"equals {show(form.equals)}",
        "contains": f"contains {show(form.contains)}",
        "matches": f"matches {form.matches}",
        "is": f"is: {form.is_}",
        "check": f"passes {form.check}",
    }
    return _title(f"{path} {asked[kind]}")


def _title(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:99]}…"
