"""What a site has configured: the `.conf` that Cromwell is started with, as far as one shared-filesystem backend asks.

HOCON, https://cromwell.readthedocs.io/en/stable/backends/HPC/. The commands are templates of WDL draft-2, as there.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import WDL
from pyhocon import ConfigFactory

from tests.fakes.cromwell.timing import DEFAULT, Timing

CLASSPATH = re.compile(r"^\s*include\s+required\(classpath\([^)]*\)\)\s*$", re.M)
STANDARD = ("job_name", "cwd", "docker_cwd", "out", "err", "script", "job_shell")
"""What `submit` is told besides the runtime attributes; all are strings."""


@dataclass(frozen=True)
class Site:
    """One provider of the configuration, the default one."""

    backend: str
    root: Path
    """Where the execution folders are."""
    submit: str
    kill: str
    check_alive: str
    job_id_regex: str
    attributes: str = ""
    """``runtime-attributes``: declarations in WDL."""
    run_in_background: bool = False
    exit_code_timeout_s: float | None = None
    timing: Timing = DEFAULT

    def but(self, **changes: object) -> "Site":
        return replace(self, **changes)  # type: ignore[arg-type]

    def script(self, template: str, values: dict[str, WDL.Value.Base]) -> str:
        """Render one of the commands as the script that Cromwell writes and runs with bash."""
        task = _task(template, self.attributes if template == self.submit else "")
        bindings = WDL.Env.Bindings()
        for name, value in values.items():
            bindings = bindings.bind(name, value)
        command = task.command.eval(bindings, WDL.StdLib.Base("draft-2")).value
        return f"#!/bin/bash\n{command.strip()}\n"


def read_site(path: Path) -> Site:
    """Read a `.conf`. The defaults that it includes from Cromwell's own jar are known here as well."""
    text = CLASSPATH.sub("", path.read_text())
    conf = ConfigFactory.parse_string(text, basedir=str(path.parent))
    name = conf["backend.default"]
    own = conf[f"backend.providers.{name}.config"]
    return Site(
        backend=name,
        root=Path(own.get("root", "cromwell-executions")),
        submit=own["submit"],
        kill=own.get("kill", ""),
        check_alive=own.get("check-alive", ""),
        job_id_regex=own.get("job-id-regex", ""),
        attributes=own.get("runtime-attributes", ""),
        run_in_background=own.get("run-in-background", False),
        exit_code_timeout_s=own.get("exit-code-timeout-seconds", None),
        timing=Timing.of(conf),
    )


@lru_cache
def _task(template: str, attributes: str) -> WDL.Tree.Task:
    names = STANDARD if "${script}" in template else ("job_id",)
    declared = "\n".join(f"String {name}" for name in names)
    text = f"task template {{\n{declared}\n{attributes}\ncommand {{\n{template}\n}}\n}}\n"
    document = WDL.parse_document(text, version="draft-2")
    document.typecheck()
    return document.tasks[0]
