"""The mock's case: nothing runs there, so its programs are scripts, and what lives is what its folder says."""

import json
import os
import time
from pathlib import Path

from backends._mock_folder import Folder, Job
from backends._mock_script import condition_at, parse_script
from backends.mock import MockBackend, MockSettings
from cases import BackendCase, Dump, Program
from pman_core.job import JobSpec
from pman_core.settings import Settings
from pman_core.states import State


class MockCase(BackendCase):
    name = "mock"

    def __init__(self, folder: Path, instance: str) -> None:
        super().__init__(folder, instance)
        self.scheduler = folder / "scheduler"
        self.scheduler.mkdir()

    def build(self, common: Settings) -> MockBackend:
        return MockBackend(common, MockSettings(mock_dir=self.scheduler))

    def unreachable(self) -> MockBackend:
        return MockBackend(self.common(), MockSettings(mock_dir=self.folder / "nowhere"))

    def alive(self, spec: JobSpec) -> bool:
        found = Folder(self.scheduler).load(spec.generation)
        return found is not None and condition_at(found[1], time.time()).state is State.RUNNING

    def runs(self, spec: JobSpec) -> int:
        return Folder(self.scheduler).runs()[spec.jid, spec.generation]

    def half_submit(self, spec: JobSpec) -> bool:
        job = Job(
            jid=spec.jid,
            generation=spec.generation,
            instance=spec.instance,
            digest=spec.request.digest,
            spec_json=spec.to_json(),
            script=parse_script(spec.env),
            submitted_at_s=time.time(),
            time_limit_s=None,
            is_started=False,
        )
        return Folder(self.scheduler).claim(job)

    def dump(self) -> Program:
        return Program(("mock-dump",))

    def read_dump(self, spec: JobSpec) -> Dump:
        seen = json.loads((self.output(spec) / "dump.json").read_text())
        return Dump(args=tuple(seen["argv"][1:-1]), env=seen["env"], uid=os.getuid(), gid=os.getgid())

    def exit_with(self, code: int) -> Program:
        return Program(("mock-exit",), env=(f"MOCK_EXIT_CODE={code}",))

    def kill_self(self, signal_number: int) -> Program:
        return Program(("mock-kill",), env=(f"MOCK_SIGNAL={signal_number}",))

    def run_for(self, seconds: float, say: bytes = b"") -> Program:
        return Program(("mock-run",), env=(f"MOCK_RUN_FOR_S={seconds}", f"MOCK_LOG_HEX={say.hex()}"))

    def say(self, data: bytes, times: int = 1) -> Program:
        return Program(("mock-say",), env=(f"MOCK_LOG_HEX={data.hex()}", f"MOCK_LOG_TIMES={times}"))

    def count_run(self) -> Program:
        return Program(("mock-count",))

    def copy(self) -> Program:
        return Program(("mock-copy",))

    def no_such_command(self) -> Program:
        return Program(("mock-missing",), env=("MOCK_REASON=START_FAILED",))
