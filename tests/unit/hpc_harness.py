"""A control folder, and the launcher run in it as a node runs it, by this machine's bash or one of another release."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from backends._hpc.control import Control
from backends._hpc.files import Folders, Watch, files_of
from backends._hpc.settings import HpcSettings
from pman_core.job import JobSpec, mint_generation
from pman_core.request import JobRequest
from pman_core.settings import Settings
from testbed.system import PATIENCE_S
from tests.fakes.slurm import install

OTHERS = sorted(Path(os.environ.get("BASH_HOME", "/var/lib/pman-bash")).glob("[45].*"))
"""What ``testbed/bash.sh`` has fetched."""
BASHES = [
    pytest.param("/bin/bash", id="bash"),
    *(pytest.param(str(path), id=f"bash-{path.name}", marks=pytest.mark.exhaustive) for path in OTHERS),
]


class Node:
    """One store and its nodes, with the fake Apptainer or none."""

    def __init__(self, folder: Path, bash: str = "/bin/bash", **own: Any) -> None:
        self.bash = bash
        self.watch = Watch(heartbeat_s=0.1, grace_s=int(2 * PATIENCE_S))  # nobody is killed for being slow
        self.store = folder / "store"
        self.store.mkdir()
        path = install(folder / "programs")
        self.own = HpcSettings(**({"hpc_path": path, "hpc_scratch": folder, "hpc_images": folder / "images"} | own))
        self.common = Settings(storebase=self.store, container_env="slurm")
        self.control = Control(self.store, self.store, "pman", "slurm")
        self.control.create()

    def prepare(self, *argv: str, env: tuple[str, ...] = (), **fields: Any) -> JobSpec:
        """Make the control folder of a job; its outgoing folder is the last argument."""
        values: dict[str, Any] = {
            "jid": "job", "auid": "me", "number_of_workers": 1, "cpu_limit": 1, "memory_limit": 1, "gpu_limit": 0,
            "image": "case/image:1", "type": "fs", "input_dir": "in", "output_dir": "out",
        }  # fmt: skip
        request = JobRequest(entrypoint=argv, env=env, **(values | fields))
        spec = JobSpec(mint_generation(), "pman", request)
        for name in ("in", "out"):
            (self.store / name).mkdir(exist_ok=True)
        folders = Folders(self.store, Path("in"), Path("out"))
        assert self.control.take(spec, files_of(spec, self.own, self.common, folders, self.watch))
        return spec

    def start(self, spec: JobSpec, native_id: str = "7", **env: str) -> subprocess.Popen[bytes]:
        argv = [self.bash, self.control.node_launcher(), self.control.node_folder(spec.generation), native_id]
        return subprocess.Popen(
            argv, env={"PATH": os.defpath, **env}, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )

    def run(self, spec: JobSpec, native_id: str = "7", **env: str) -> int:
        """Run the launcher to its end and return its exit code."""
        process = self.start(spec, native_id, **env)
        process.communicate(timeout=PATIENCE_S)
        return process.returncode

    def log(self, spec: JobSpec) -> str:
        return self.control.folder(spec.generation).log_end(10_000).decode()

    def end(self, spec: JobSpec) -> tuple[str, int | None, str]:
        """Return the end as the launcher wrote it: cause, exit code, text."""
        end = self.control.folder(spec.generation).end()
        assert end is not None
        return end.cause, end.exit_code, end.text
