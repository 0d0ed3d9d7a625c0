"""Reads a workflow with a real WDL engine, and evaluates what Cromwell evaluates: inputs, the command, the outputs.

A workflow here has exactly one call of one task, as pman's has and those of the recordings.
https://github.com/openwdl/wdl/blob/main/versions/1.0/SPEC.md, https://miniwdl.readthedocs.io/en/latest/WDL.html
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import WDL

Bindings = WDL.Env.Bindings
OF_WDL_1_1 = {"container", "gpu"}
"""Runtime attributes that Cromwell takes out of a WDL 1.0, whatever the site's configuration declares:
https://github.com/broadinstitute/cromwell/blob/92/wdl/transforms/draft3/src/main/scala/wdl/draft3/transforms/wdlom2wom/package.scala
"""


class CannotRun(Exception):
    """The workflow does not parse, or its inputs do not fit: Cromwell finds out when it has started it."""


@dataclass(frozen=True)
class Prepared:
    """A workflow with its inputs."""

    workflow: WDL.Tree.Workflow
    inputs: Bindings

    @property
    def name(self) -> str:
        return str(self.workflow.name)

    @property
    def call(self) -> WDL.Tree.Call:
        return next(node for node in self.workflow.body if isinstance(node, WDL.Tree.Call))

    def shown_inputs(self) -> dict[str, Any]:
        return {binding.name: binding.value.json for binding in self.inputs}

    def call_inputs(self, folder: Path) -> Bindings:
        """Evaluate what the call passes to its task, and the task's own defaults."""
        library = _Library(folder)
        task, bound = self.call.callee, Bindings()
        for name, expression in self.call.inputs.items():
            bound = bound.bind(name, expression.eval(self.inputs, library))
        for declaration in (*(task.inputs or ()), *task.postinputs):
            if not bound.has_binding(declaration.name):
                expression = declaration.expr
                value = WDL.Value.Null() if expression is None else expression.eval(bound, library)
                bound = bound.bind(declaration.name, value)
            coerced = bound.resolve(declaration.name).coerce(declaration.type)
            bound = bound.subtract(Bindings().bind(declaration.name, coerced)).bind(declaration.name, coerced)
        return bound

    def command(self, inputs: Bindings, folder: Path) -> str:
        """Render the task's command; files of ``write_lines`` and its like come into ``folder``."""
        return str(self.call.callee.command.eval(inputs, _Library(folder)).value)

    def runtime(self, inputs: Bindings, folder: Path) -> dict[str, Any]:
        """Evaluate the task's section ``runtime``, without what Cromwell takes out of a WDL 1.0."""
        section = {name: found for name, found in self.call.callee.runtime.items() if name not in OF_WDL_1_1}
        return {name: expression.eval(inputs, _Library(folder)).json for name, expression in section.items()}

    def outputs(self, inputs: Bindings, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the outputs of the task by name, and those of the workflow by full name."""
        library = _OutputLibrary(folder)
        seen = inputs
        task: dict[str, Any] = {}
        for declaration in self.call.callee.outputs:
            value = declaration.expr.eval(seen, library).coerce(declaration.type)
            seen = seen.bind(declaration.name, value)
            task[declaration.name] = value.json
        called = Bindings()
        for declaration in self.call.callee.outputs:
            called = called.bind(f"{self.call.name}.{declaration.name}", seen.resolve(declaration.name))
        wanted = self.workflow.outputs or ()
        everything = WDL.Env.merge(called, self.inputs)
        return task, {f"{self.name}.{one.name}": one.expr.eval(everything, library).json for one in wanted}


def prepare(source: str, inputs: dict[str, Any]) -> Prepared:
    """Parse the workflow and bind its inputs.

    Raises:
        CannotRun: with what Cromwell's metadata give as the cause.
    """
    workflow = _parsed(source)
    name = f"{workflow.name}."
    missing = [
        f"Required workflow input '{name}{binding.name}' not specified"
        for binding in workflow.required_inputs
        if f"{name}{binding.name}" not in inputs
    ]
    if missing:
        raise CannotRun("\n".join(missing))
    try:
        bound = WDL.values_from_json(inputs, workflow.available_inputs, None, namespace=str(workflow.name))
    except (WDL.Error.InputError, WDL.Error.RuntimeError) as error:
        raise CannotRun(str(error)) from error
    library = WDL.StdLib.Base("1.0")
    for declaration in workflow.inputs or ():
        if not bound.has_binding(declaration.name):
            value = WDL.Value.Null() if declaration.expr is None else declaration.expr.eval(bound, library)
            bound = bound.bind(declaration.name, value)
    return Prepared(workflow, bound)


@lru_cache
def _parsed(source: str) -> WDL.Tree.Workflow:
    try:
        document = WDL.parse_document(source)
        document.typecheck()
    except (WDL.Error.SyntaxError, WDL.Error.ValidationError, WDL.Error.MultipleValidationErrors) as error:
        raise CannotRun(f"ERROR: {error}") from error
    if document.workflow is None:
        raise CannotRun("Namespace contains no workflow")
    return document.workflow


def check(source: str) -> str:
    """Return what is wrong with a workflow, or ``""``."""
    try:
        _parsed(source)
    except CannotRun as error:
        return str(error)
    return ""


class _Library(WDL.StdLib.Base):
    """Functions that write, write into the execution folder; those that read, read where they are told."""

    def __init__(self, folder: Path) -> None:
        super().__init__("1.0", write_dir=str(folder))
        self.folder = folder

    def _devirtualize_filename(self, filename: str) -> str:
        return str(self.folder / filename)


class _OutputLibrary(_Library):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for name in ("stdout", "stderr"):
            path = str(folder / name)
            function = WDL.StdLib.StaticFunction(name, [], WDL.Type.File(), lambda path=path: WDL.Value.File(path))
            setattr(self, name, function)
