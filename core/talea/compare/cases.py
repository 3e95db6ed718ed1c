"""The cases of a comparison: sets of inputs, what people answer in them, and what is expected.

A `.jsonl` file has an object a line; a YAML or JSON file has a list of objects, or one. An object
with the key `inputs` is a case (`id`, `inputs`, `answers`, `expect`); any other one is the inputs
themselves. All of it is checked against the workflow before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from pydantic import Field, JsonValue, ValidationError

from talea.compare.checks import Compiler
from talea.compare.places import Given, Part
from talea.compare.record import Case
from talea.compare.scope import meant
from talea.errors import DocumentError, Issue
from talea.ir import Document
from talea.kernel.questions import complaint_about_answer
from talea.plan import Plan, check_inputs, complaints_about
from talea.source import Bounds, Source, blanks, parse, read_model
from talea.source.text import MAX_ISSUES, Steps, decode, describe, shown

_BOUNDS = Bounds(max_bytes=100_000_000, max_nodes=5_000_000)
"""Data of the caller's, which may be large."""
_LINES = (".jsonl", ".ndjson")
_KEYS = ("id", "answers", "expect")


class CaseForm(Document):
    """A case as it is written."""

    id: str | None = Field(default=None, min_length=1, max_length=100)
    inputs: dict[str, JsonValue]
    answers: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    expect: tuple[JsonValue, ...] = ()


def read_cases(
    path: str | Path,
    plan: Plan,
    *,
    functions: Collection[str] = (),
    expectations: Iterable[Any] = (),
) -> list[Case]:
    """Read cases from a file. Inputs that are left out have their defaults.

    `functions` are the names of those that checks may call; `expectations`, from
    `read_expectations`, are added to every case. Raises DocumentError with every problem.
    """
    reading = _Reading(plan, functions, str(path))
    text = _text_of(path, "the cases")
    if Path(path).suffix.lower() in _LINES:
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
            if line.strip():
                reading.take(partial(_line, line, number, str(path)), again=number > 1)
    else:
        source = _parse(text, str(path))
        single = isinstance(source.data, dict)
        for steps in [()] if single else _elements(source, "cases are a list of objects, or one"):
            reading.take(lambda _, steps=steps: Part(source, steps))
    return reading.cases(expectations)


def make_cases(
    given: Iterable[Mapping[str, Any] | Case],
    plan: Plan,
    *,
    functions: Collection[str] = (),
    expectations: Iterable[Any] = (),
) -> list[Case]:
    """Make cases of data, each as an object of a file would be; see `read_cases`."""
    reading = _Reading(plan, functions, "the cases")
    for number, one in enumerate(given, 1):
        unset = set[str]() if not isinstance(one, Case) or one.id else {"id"}
        data = one.model_dump(exclude=unset) if isinstance(one, Case) else one
        reading.take(lambda _, data=data, number=number: Given(data, f"case {number}"))
    return reading.cases(expectations)


def read_expectations(
    path: str | Path, plan: Plan, *, functions: Collection[str] = ()
) -> tuple[Any, ...]:
    """Read the checks of every case from a file, which lists them. Raises DocumentError."""
    source = _parse(_text_of(path, "the expectations"), str(path))
    compiler = Compiler(source, plan, functions)
    _elements(source, "expectations are a list of checks")
    compiler.all((), source.data)
    if compiler.issues:
        raise DocumentError(compiler.issues[:MAX_ISSUES])
    return tuple(source.data)


@dataclass(slots=True, frozen=True)
class _Draft:
    """A case that has been read, and the way back to where it stands."""

    form: CaseForm
    inputs: dict[str, Any]
    source: Callable[[bool], Source]


class _Reading:
    """Cases so far, and all that is wrong with them."""

    def __init__(self, plan: Plan, functions: Collection[str], name: str) -> None:
        self._plan = plan
        self._functions = functions
        self._name = name
        self._drafts: list[_Draft] = []
        self._issues: list[Issue] = []
        self._more = 0

    def take(self, source: Callable[[bool], Source], *, again: bool = False) -> None:
        """Read a case. `source` gives its text, with its lines counted from the whole file's start
        where that is asked for: with `again` this is done for one that is wrong."""
        draft, issues = self._read(source)
        if issues and len(self._issues) >= MAX_ISSUES:
            self._more += len(issues)
            return
        if issues and again:
            _, issues = self._read(lambda _: source(True))
        self._issues += issues
        if draft is not None:
            self._drafts.append(draft)

    def cases(self, expectations: Iterable[Any]) -> list[Case]:
        """Give the cases. Raises DocumentError."""
        self._check_ids()
        added = tuple(expectations)
        shared = Given(list(added), "what is expected of all cases")
        compiler = Compiler(shared, self._plan, self._functions)
        compiler.all((), added)
        self._issues += compiler.issues
        if not self._drafts and not self._issues:
            self._issues.append(Issue("there are no cases", file=self._name))
        if self._issues:
            rest = self._more + max(0, len(self._issues) - MAX_ISSUES)
            self._issues.sort(key=lambda issue: (issue.line or 0, issue.col or 0))
            issues = self._issues[:MAX_ISSUES]
            more = [Issue(f"and {rest:,} more problems", file=self._name)] if rest else []
            raise DocumentError([*issues, *more])
        return [
            Case(
                id=name,
                inputs=draft.inputs,
                answers=dict(draft.form.answers),
                expect=(*draft.form.expect, *added),
            )
            for name, draft in zip(self._ids(), self._drafts, strict=True)
        ]

    def _read(self, source_of: Callable[[bool], Source]) -> tuple[_Draft | None, list[Issue]]:
        try:
            source = source_of(False)
            form, place = _form(source)
        except DocumentError as error:
            return None, list(error.issues)
        issues = [*self._of_inputs(source, form, place), *self._of_answers(source, form)]
        compiler = Compiler(source, self._plan, self._functions)
        compiler.all(("expect",), form.expect)
        issues += compiler.issues
        inputs = {} if issues else check_inputs(self._plan, form.inputs)
        return _Draft(form, inputs, source_of), issues

    def _of_inputs(self, source: Source, form: CaseForm, place: Steps) -> Iterator[Issue]:
        declared = self._plan.inputs
        for name, complaint in complaints_about(self._plan, form.inputs):
            hint = None
            if not place and name in _KEYS:
                hint = "a case says `inputs` as well: {inputs: {…}, expect: […]}"
            elif name not in declared:
                hint = meant(name, declared) or f"{self._plan.name!r} declares none"
            yield source.issue(complaint, (*place, name), key=name not in declared, hint=hint)

    def _of_answers(self, source: Source, form: CaseForm) -> Iterator[Issue]:
        for address, answer in form.answers.items():
            complaint = complaint_about_answer(self._plan, address, answer)
            if complaint is not None:
                message, hint = complaint
                yield source.issue(message, ("answers", address), key=True, hint=hint)

    def _check_ids(self) -> None:
        seen: set[str] = set()
        for draft in self._drafts:
            name = draft.form.id
            if name in seen:
                message = f"there is a case {shown(name)} already"
                self._issues.append(draft.source(True).issue(message, ("id",)))
            elif name is not None:
                seen.add(name)

    def _ids(self) -> Iterator[str]:
        """Give each case its id; those without one are counted."""
        taken = {draft.form.id for draft in self._drafts}
        for number, draft in enumerate(self._drafts, 1):
            name = draft.form.id or f"case-{number}"
            while draft.form.id is None and name in taken:
                name += "'"
            yield name


def _form(source: Source) -> tuple[CaseForm, Steps]:
    """Read an object as a case; give where its inputs stand as well. Raises DocumentError."""
    data: object = source.data
    if not isinstance(data, Mapping):
        message = f"a case is an object, not {describe(data)}"
        hint = "its inputs by name, or {inputs: {…}, expect: […]}"
        raise DocumentError([source.issue(message, (), hint=hint)])
    if "inputs" in data:
        return read_model(CaseForm, source), ("inputs",)
    inputs = cast("dict[str, Any]", data)
    try:
        return CaseForm.model_validate({"inputs": inputs}), ()
    except ValidationError as error:
        places = {str(detail["loc"][1]): None for detail in error.errors(include_url=False)}
        raise DocumentError(
            [source.issue(f"the input {name!r} is no JSON data", (name,)) for name in places]
        ) from error


def _text_of(path: str | Path, what: str) -> str:
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        problem = Issue(f"{what} cannot be read: {error.strerror}", file=str(path))
        raise DocumentError([problem]) from error
    return decode(raw, str(path))


def _line(line: str, number: int, name: str, in_place: bool) -> Source:
    """Parse a line of a file: in its place if someone is to be told of it."""
    if not line.lstrip().startswith("{"):
        message, hint = "a line is one JSON object", 'such as {"topic": "tea"}'
        raise DocumentError([Issue(message, hint=hint, file=name, line=number)])
    return _parse("\n" * (number - 1) * in_place + line, name)


def _parse(text: str, name: str) -> Source:
    source = parse(text, name, _BOUNDS)
    if cut := [source.issue(b.message, b.path, key=True, hint=b.hint) for b in blanks(source)]:
        raise DocumentError(cut[:MAX_ISSUES])
    return source


def _elements(source: Source, form: str) -> Sequence[Steps]:
    """Give the place of each element of a document. Raises DocumentError for what is no list."""
    data: object = source.data
    if not isinstance(data, list):
        raise DocumentError([source.issue(f"{form}, not {describe(data)}", ())])
    return [(at,) for at in range(len(cast("list[Any]", data)))]
