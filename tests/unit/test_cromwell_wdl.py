"""The WDL is checked by a real WDL engine, and its command rendered by that engine and run, with hostile arguments."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import WDL

from backends._cromwell.settings import CromwellSettings
from backends._cromwell.workflow import NOT_MOUNTED, WORKFLOW, Task, build_attributes, build_inputs, build_wdl
from backends._hpc.control import Control
from backends._hpc.files import Folders, files_of
from backends._hpc.launcher import NOT_OURS
from pman_core.job import JobSpec, mint_generation
from pman_core.request import JobRequest
from pman_core.settings import Settings
from tests.contract.corpus import ARGUMENTS, ENVIRONMENT, LONG_ARGUMENT

DUMP = r"""
import json, os, sys
with open(sys.argv[-1] + "/dump.json", "w") as file:
    json.dump({"args": sys.argv[1:-1], "env": dict(os.environ)}, file)
"""
VARIANTS: list[dict[str, int | str]] = [
    {},
    {"cpu": 1, "memory_mb": 512},
    {"cpu": 1, "memory_mb": 512, "gpus": 2, "runtime_minutes": 60, "queue": "debug", "nodes": 1},
]


@pytest.mark.parametrize("attributes", VARIANTS, ids=lambda attributes: f"{len(attributes)} attributes")
def test_a_wdl_engine_accepts_it(attributes: dict[str, int | str]) -> None:
    document = WDL.parse_document(build_wdl(attributes))
    document.typecheck()
    assert document.workflow is not None
    assert document.workflow.name == WORKFLOW
    assert {f"{WORKFLOW}.{item.name}" for item in document.workflow.available_inputs} == set(
        build_inputs(Task("l", "f", b"a", b"e"), attributes)
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize("attributes", VARIANTS, ids=lambda attributes: f"{len(attributes)} attributes")
def test_miniwdl_check_has_nothing_against_it(tmp_path: Path, attributes: dict[str, int | str]) -> None:
    (tmp_path / "pman.wdl").write_text(build_wdl(attributes))
    # Those of the site, and ``gpus``, are no part of the specification.
    options = ["--strict", "--no-shellcheck", "--suppress", "UnknownRuntimeKey"]
    command = [sys.executable, "-m", "WDL", "check", *options, str(tmp_path / "pman.wdl")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("attributes", "runtime"),
    [
        ({}, {"maxRetries": 0, "continueOnReturnCode": 0, "failOnStderr": False}),
        ({"cpu": 2, "memory_mb": 512, "queue": "d"}, {"cpu": 2, "memory": "512 MB", "queue": "d"}),
    ],
)
def test_the_runtime_attributes_are_what_was_asked_for(
    attributes: dict[str, int | str], runtime: dict[str, Any]
) -> None:
    document = parsed(attributes)
    values = bindings(Task("l", "f", b"a", b"e"), attributes)
    library = WDL.StdLib.Base("1.0")
    found = {name: expression.eval(values, library).json for name, expression in document.tasks[0].runtime.items()}
    assert found | runtime == found
    assert not found.keys() & {"docker", "container", "memory_mb"}, "it runs on the node itself"


class Node:
    """A node that sees the store: the command of a job as a WDL engine renders it, and bash."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / 'it\'s a "store" ~{x} $HOME'
        self.store.mkdir()
        self.control = Control(self.store, self.store, "pman", "cromwell")
        self.control.create()
        self.common = Settings(container_env="process", storebase=self.store)
        self.own = CromwellSettings(hpc_runtime="none", hpc_any_image=True)

    def spec(self, *args: str, env: tuple[str, ...] = (), entrypoint: tuple[str, ...] = ()) -> JobSpec:
        (self.store / "in").mkdir(exist_ok=True)
        (self.store / "out").mkdir(exist_ok=True)
        request = JobRequest(
            jid="job", auid="a", number_of_workers=1, cpu_limit=1000, memory_limit=64, gpu_limit=0, image="x",
            type="fs", entrypoint=entrypoint or (sys.executable, "-I", "-S", "-c", DUMP), args=args, env=env,
            input_dir="in", output_dir="out",
        )  # fmt: skip
        return JobSpec(mint_generation(), "pman", request)

    def command(self, spec: JobSpec) -> str:
        """Make the control folder as a submit does, and return the command that the engine renders of the WDL."""
        files = files_of(spec, self.own, self.common, Folders(self.store, Path("in"), Path("out")))
        argv, env = files.pop("argv"), files.pop("env")
        assert self.control.take(spec, files)
        task = Task(self.control.node_launcher(), self.control.node_folder(spec.generation), argv, env)
        attributes = build_attributes(spec, self.common, ())
        values = bindings(task, attributes)
        return "".join(
            part if isinstance(part, str) else part.eval(values, WDL.StdLib.Base("1.0")).value
            for part in parsed(attributes).tasks[0].command.parts
        )

    def run(self, command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command as Cromwell's script does, in a subshell of bash."""
        script = self.folder / "script"
        script.write_text(f"#!/bin/bash\ncd {self.folder}\n(\n{command}\n)\nexit $?\n")
        return subprocess.run(
            ["/bin/bash", str(script)], capture_output=True, text=True, check=False, timeout=60, env=os.environ | env
        )

    @property
    def dump(self) -> Any:
        return json.loads((self.store / "out" / "dump.json").read_text())


def parsed(attributes: dict[str, int | str]) -> WDL.Tree.Document:
    document = WDL.parse_document(build_wdl(attributes))
    document.typecheck()
    return document


def bindings(task: Task, attributes: dict[str, int | str]) -> WDL.Env.Bindings[WDL.Value.Base]:
    found: WDL.Env.Bindings[WDL.Value.Base] = WDL.Env.Bindings()
    for name, value in build_inputs(task, attributes).items():
        made = WDL.Value.Int(value) if isinstance(value, int) else WDL.Value.String(value)
        found = found.bind(name.removeprefix(f"{WORKFLOW}."), made)
    return found


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_the_hostile_corpus_arrives_as_arguments_and_environment(node: Node) -> None:
    spec = node.spec(*ARGUMENTS, LONG_ARGUMENT, env=tuple(f"{name}={value}" for name, value in ENVIRONMENT.items()))
    ran = node.run(node.command(spec), SECRET_KEY="of the service")
    assert ran.returncode == 0, ran.stderr
    assert node.dump["args"] == [*ARGUMENTS, LONG_ARGUMENT]
    assert {name: node.dump["env"].get(name) for name in ENVIRONMENT} == ENVIRONMENT
    assert "SECRET_KEY" not in node.dump["env"]


def test_the_exit_code_and_the_log_are_where_pman_looks(node: Node) -> None:
    spec = node.spec(entrypoint=("/bin/sh", "-c", "echo said; exit 7"))
    ran = node.run(node.command(spec), SLURM_JOB_ID="42")
    folder = node.control.folder(spec.generation)
    end, claim = folder.end(), folder.claim()
    assert end is not None
    assert claim is not None
    assert (ran.returncode, end.exit_code, claim.native_id, folder.log_end(100)) == (7, 7, "42", b"said\n")


def test_a_second_run_of_a_generation_does_nothing(node: Node) -> None:
    spec = node.spec(entrypoint=("/bin/sh", "-c", 'echo ran >> "$0/runs"'))
    command = node.command(spec)
    assert node.run(command, SLURM_JOB_ID="1").returncode == 0
    assert node.run(command, SLURM_JOB_ID="2").returncode == NOT_OURS
    assert (node.store / "out" / "runs").read_text() == "ran\n"


def test_a_removed_job_is_given_nothing_and_runs_nothing(node: Node) -> None:
    spec = node.spec(env=("PASSWORD=secret",))
    command = node.command(spec)
    node.control.mark_removed(spec.generation)
    node.control.entomb(spec.generation)
    assert node.run(command).returncode == NOT_OURS
    assert not (node.store / "out" / "dump.json").exists()
    left = [path for path in node.control.folder(spec.generation).path.rglob("*") if path.is_file()]
    assert not any(b"secret" in path.read_bytes() for path in left)


def test_a_node_without_the_store_says_so(node: Node) -> None:
    command = node.command(node.spec())
    node.store.rename(node.folder / "elsewhere")
    ran = node.run(command)
    assert ran.returncode == NOT_MOUNTED
    assert "is the store mounted?" in ran.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_as_another_account_nothing_begins_and_the_call_says_why(tmp_path: Path) -> None:
    node = Node(tmp_path)
    spec = node.spec()
    command = node.command(spec)
    folder = node.control.folder(spec.generation).path
    os.chown(folder, 12345, 12345)
    done = node.run(command)
    assert done.returncode == NOT_MOUNTED
    assert "let Cromwell submit as pman's own account" in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["launch", "native", "runtime", "spec.json"]
