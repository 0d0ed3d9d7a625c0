"""The process backend's case: the jobs are real, so its programs are one small Python script."""

import json
import os
import shutil
import stat
import sys
from pathlib import Path
from tempfile import mkdtemp

import psutil

from backends.process import ProcessBackend, ProcessSettings
from cases import BackendCase, Dump, Program
from pman_core.job import JobSpec
from pman_core.settings import Settings

SCRIPT = r"""
import json, os, shutil, signal, sys, time
what, *args, outgoing = sys.argv[1:]
if what == "dump":
    seen = {"args": args, "env": dict(os.environ), "uid": os.getuid(), "gid": os.getgid(),
            "cpus": len(os.sched_getaffinity(0))}
    with open(f"{outgoing}/dump.json", "w") as file:
        json.dump(seen, file)
elif what == "exit":
    sys.exit(int(args[0]))
elif what == "kill":
    os.kill(os.getpid(), int(args[0]))
elif what == "run":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = os.fork()
    if child:
        sys.stdout.buffer.write(bytes.fromhex(args[1]))
        sys.stdout.flush()
    time.sleep(float(args[0]))
    if child:
        os.waitpid(child, 0)
elif what == "say":
    for _ in range(int(args[1])):
        sys.stdout.buffer.write(bytes.fromhex(args[0]))
elif what == "count":
    with open(f"{outgoing}/runs", "a") as file:
        file.write("ran\n")
elif what == "copy":
    shutil.copytree(args[0], outgoing, dirs_exist_ok=True)
elif what == "allocate":
    memory = bytearray(int(args[0]) << 20)
"""


class ProcessCase(BackendCase):
    name = "process"

    def __init__(self, folder: Path, instance: str) -> None:
        super().__init__(Path(mkdtemp(prefix="pman-")), instance)
        self.folder.chmod(0o755)

    def close(self) -> None:
        super().close()
        self.end_writers()
        shutil.rmtree(self.folder)

    def end_writers(self) -> None:
        """End what may still write into the folder: a job that was removed has left it."""

    def build(self, common: Settings) -> ProcessBackend:
        return ProcessBackend(common, ProcessSettings(process_any_image=True))

    def unreachable(self) -> ProcessBackend:
        return self.build(self.common(storebase=self.folder / "nowhere"))

    def alive(self, spec: JobSpec) -> bool:
        outgoing = str(self.output(spec).resolve())
        living = psutil.process_iter(["cmdline", "status"])
        return any(
            outgoing in (process.info["cmdline"] or ()) and process.info["status"] != psutil.STATUS_ZOMBIE
            for process in living
        )

    def dump(self) -> Program:
        return _program("dump")

    def read_dump(self, spec: JobSpec) -> Dump:
        seen = json.loads((self.output(spec) / "dump.json").read_text())
        return Dump(args=tuple(seen["args"]), env=seen["env"], uid=seen["uid"], gid=seen["gid"], cpus=seen["cpus"])

    def exit_with(self, code: int) -> Program:
        return _program("exit", str(code))

    def kill_self(self, signal_number: int) -> Program:
        return _program("kill", str(signal_number))

    def run_for(self, seconds: float, say: bytes = b"") -> Program:
        return _program("run", str(seconds), say.hex())

    def say(self, data: bytes, times: int = 1) -> Program:
        return _program("say", data.hex(), str(times))

    def count_run(self) -> Program:
        return _program("count")

    def copy(self) -> Program:
        return _program("copy")

    def no_such_command(self) -> Program:
        return Program(("no-such-command",))

    def allocate(self, mib: int) -> Program:
        return _program("allocate", str(mib))


def _program(*args: str) -> Program:
    """Option-like arguments of a test come after ``-c``: Python leaves them alone."""
    return Program((_interpreter(), "-I", "-S", "-c", SCRIPT), args)


def _interpreter() -> str:
    """Return a Python that every user may run: the one of the tests may be in somebody's home."""
    ours = Path(sys.executable).resolve()
    is_open = all(folder.stat().st_mode & stat.S_IXOTH for folder in ours.parents)
    return sys.executable if is_open else shutil.which("python3", path=os.defpath) or sys.executable
