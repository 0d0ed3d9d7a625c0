"""What the cases of the container engines share: programs for the shell of busybox, and a look at the host's processes.

The host is where the tests run; an engine on another machine cannot be tested this way.
"""

from pathlib import Path

import pytest

from backends._engine.backend import ContainerBackend
from cases import BackendCase, Dump, Program
from pman_core.job import JobSpec

IMAGE = "busybox:test"
# The last argument is the output folder, the one before it in a job with input the input folder. Where nothing is
# mounted (tests/fakes/kube_api/containers.py), variables say where the folders are, and what limits would be.
SCRIPT = r"""
what=$1; shift
for outgoing; do incoming=$before; before=$outgoing; done
outgoing=${FAKE_MOUNT__share_outgoing:-$outgoing} incoming=${FAKE_MOUNT__share_incoming:-$incoming}
case $what in
dump)
  cat /proc/self/cgroup > /dev/null
  cat /proc/$$/cmdline > "$outgoing/argv"
  cat /proc/$$/environ > "$outgoing/env"
  grep Cpus_allowed_list /proc/self/status > "$outgoing/cores"
  echo "${FAKE_UID:-$(id -u)} ${FAKE_GID:-$(id -g)}" > "$outgoing/ids"
  { test "$FAKE_CPU_MAX" && echo "$FAKE_CPU_MAX" || cat /sys/fs/cgroup/cpu.max ||
    cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us
  } 2> /dev/null > "$outgoing/cpus" || :;;
exit) exit "$1";;
kill) sh -c 'kill -"$0" $$' "$1";;
run) trap "" TERM; printf %b "$2"; sleep "$1" & wait;;
say) count=0; while [ $count -lt "$2" ]; do printf %b "$1"; count=$((count + 1)); done;;
count) echo ran >> "$outgoing/runs";;
copy) cp -R "$incoming/." "$outgoing/";;
spoil) : > "$incoming/spoiled";;
allocate) exec dd if=/dev/zero of=/dev/null bs="$1M" count=1;;
esac
"""
OWN_ARGUMENTS = 5
"""sh, -c, the script, its name and what to do."""


def program(*args: str) -> Program:
    return Program(("sh", "-c", SCRIPT, "case"), args)


def escaped(data: bytes) -> str:
    """Return ``data`` for ``printf %b``."""
    return "".join(f"\\0{byte:03o}" for byte in data)


class ContainerCase(BackendCase):
    """Everything but the engine."""

    image = IMAGE

    def alive(self, spec: JobSpec) -> bool:
        """A process belongs to the job if it has the job's output folder mounted."""
        folder = str(self.output(spec).resolve())
        return any(f" {folder} /share/outgoing " in mounts for mounts in map(_mounts, Path("/proc").glob("[0-9]*")))

    def half_submit(self, spec: JobSpec) -> bool:
        backend = self.make()
        assert isinstance(backend, ContainerBackend)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backend, "_start", _die)
            with pytest.raises(KeyboardInterrupt):
                backend.submit(spec)
        return True

    def dump(self) -> Program:
        return program("dump")

    def read_dump(self, spec: JobSpec) -> Dump:
        output = self.output(spec)
        argv, env = ((output / name).read_bytes().decode().split("\0")[:-1] for name in ("argv", "env"))
        uid, gid = map(int, (output / "ids").read_text().split())
        quota, period = (output / "cpus").read_text().split()
        return Dump(
            args=tuple(argv[OWN_ARGUMENTS:-1]),
            env=dict(entry.split("=", 1) for entry in env),
            uid=uid,
            gid=gid,
            cpus=int(quota) / int(period),
        )

    def exit_with(self, code: int) -> Program:
        return program("exit", str(code))

    def kill_self(self, signal_number: int) -> Program:
        return program("kill", str(signal_number))

    def run_for(self, seconds: float, say: bytes = b"") -> Program:
        return program("run", str(seconds), escaped(say))

    def say(self, data: bytes, times: int = 1) -> Program:
        return program("say", escaped(data), str(times))

    def count_run(self) -> Program:
        return program("count")

    def copy(self) -> Program:
        return program("copy")

    def no_such_command(self) -> Program:
        return Program(("/no-such-command",))

    def allocate(self, mib: int) -> Program:
        return program("allocate", str(mib))

    def write_incoming(self) -> Program:
        return program("spoil")


def _die(_: str) -> None:
    raise KeyboardInterrupt


def _mounts(process: Path) -> str:
    """Return the mount table of a process; of a zombie, and of one that has gone, there is none."""
    try:
        return (process / "mountinfo").read_text()
    except OSError:
        return ""
