"""Runtime attributes: what the task's `runtime` section asks for, as far as the site's `.conf` declares it.

An attribute that the site does not declare is passed over with a warning in Cromwell's log. `memory_mb` (or
`memory_gb`) in the `.conf` is fed by `memory: "512 MB"` of the task, and by nothing else:
https://github.com/broadinstitute/cromwell/blob/92/supportedBackends/sfs/src/main/scala/cromwell/backend/impl/sfs/config/MemoryDeclarationValidation.scala
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import WDL

ALWAYS = {"failOnStderr": "false", "continueOnReturnCode": "0", "maxRetries": "0"}
KNOWN = {*ALWAYS, "docker", "cpu", "memory"}
UNITS = {"b": 1, "kb": 2**10, "kib": 2**10, "mb": 2**20, "mib": 2**20, "gb": 2**30, "gib": 2**30, "tb": 2**40}
MEMORY = re.compile(r"memory(?:_(?P<unit>[a-z]+))?")
SIZE = re.compile(r"\s*(?P<amount>[0-9.]+)\s*(?P<unit>[A-Za-z]+)\s*")


class InvalidAttribute(Exception):
    """The task asks for something of the wrong type, or leaves out what the site requires."""


@dataclass(frozen=True)
class Attributes:
    """The attributes of one call."""

    values: dict[str, WDL.Value.Base]
    """For the site's templates."""
    shown: dict[str, str]
    """As the metadata tell them."""
    unrecognized: list[str]

    @property
    def fail_on_stderr(self) -> bool:
        return self.shown["failOnStderr"] == "true"

    def accepts(self, return_code: int) -> bool:
        """Whether ``continueOnReturnCode`` takes it for a success."""
        accepted = self.shown["continueOnReturnCode"]
        return accepted == "true" or str(return_code) in re.findall(r"-?\d+", accepted)


def evaluate(declared: str, asked: dict[str, Any]) -> Attributes:
    """Match the plain values that a task asks for with the site's declarations.

    Raises:
        InvalidAttribute: Cromwell fails the workflow before anything runs.
    """
    shown = ALWAYS | {name: _text(asked[name]) for name in ALWAYS if name in asked}
    values: dict[str, WDL.Value.Base] = {}
    keys = set()
    for declaration in _declarations(declared):
        name = declaration.name
        memory = MEMORY.fullmatch(name)
        if memory and (memory["unit"] or "b") in UNITS:
            keys.add("memory")
            unit = UNITS[memory["unit"] or "b"]
            size = _size(asked["memory"]) if "memory" in asked else None
            value = _default(declaration) if size is None else size / unit
            if value is not None:
                shown["memory"] = f"{value * unit / 2**30:g} GB"
        else:
            keys.add(name)
            value = asked.get(name, _default(declaration))
            if value is not None:
                shown[name] = _text(value)
        values[name] = _coerced(declaration, value)
    if "cpu" not in keys:
        shown["cpu"] = _text(asked.get("cpu", 1))
    return Attributes(values, shown, sorted(asked.keys() - keys - KNOWN))


def _coerced(declaration: WDL.Tree.Decl, value: Any) -> WDL.Value.Base:
    wanted = declaration.type
    if value is None:
        if not wanted.optional:
            raise InvalidAttribute(f"Runtime attribute validation failed: {declaration.name} is required")
        return WDL.Value.Null()
    is_text = isinstance(wanted, WDL.Type.String)
    try:
        if isinstance(wanted, WDL.Type.Int):
            return WDL.Value.Int(int(value))
        if isinstance(wanted, WDL.Type.Float):
            return WDL.Value.Float(float(value))
    except ValueError:
        kind = "an Integer" if isinstance(wanted, WDL.Type.Int) else "a Float"
        raise InvalidAttribute(f"Expecting {declaration.name} runtime attribute to be {kind}") from None
    return WDL.Value.String(_text(value)) if is_text else WDL.Value.Boolean(_text(value) == "true")


def _size(value: Any) -> float:
    if isinstance(value, int):
        return value
    found = SIZE.fullmatch(str(value))
    if found is None or found["unit"].lower() not in UNITS:
        raise InvalidAttribute(
            "Expecting memory runtime attribute to be an Integer or String with format '8 GB'."
            f" Exception: {value} should be of the form 'X Unit' where X is a number, e.g. 8 GB"
        )
    return float(found["amount"]) * UNITS[found["unit"].lower()]


def _default(declaration: WDL.Tree.Decl) -> Any:
    if declaration.expr is None:
        return None
    return declaration.expr.eval(WDL.Env.Bindings(), WDL.StdLib.Base("draft-2")).value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@lru_cache
def _declarations(text: str) -> tuple[WDL.Tree.Decl, ...]:
    document = WDL.parse_document(f"task attributes {{\n{text}\ncommand {{ }}\n}}\n", version="draft-2")
    document.typecheck()
    task = document.tasks[0]
    return tuple(task.inputs or ()) + tuple(task.postinputs)
