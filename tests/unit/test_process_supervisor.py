"""The supervisor with real processes: start, limits, the end of the whole tree, and the truth about it."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from backends.process import SUPERVISOR
from pman_core.backend import JobRef
from pman_core.states import Reason, State
from tests.unit.process_harness import Site, is_living, look, run, seen, site, until

__all__ = ["site"]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
ESCAPING = """
import os, sys, time
def stay(name):
    with open(f"{sys.argv[1]}/{name}.tmp", "w") as file:
        file.write(str(os.getpid()))
    os.rename(f"{sys.argv[1]}/{name}.tmp", f"{sys.argv[1]}/{name}.pid")
    time.sleep(600)
if os.fork() == 0:
    stay("child")
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 3)
        stay("daemon")
    os._exit(0)
"""
"""Leaves behind a child, and a daemon with a session of its own and no standard streams."""


def pids(folder: Path) -> list[int]:
    names = ("child.pid", "daemon.pid")
    until(lambda: all((folder / name).exists() for name in names), "the tree has grown")
    return [int((folder / name).read_text()) for name in names]


def test_streams_folder_and_session_of_a_job(site: Site) -> None:
    backend = site.backend()
    code = (
        "import os,sys;print(os.getcwd(),os.getsid(0)==os.getpid(),repr(sys.stdin.read()),oct(os.umask(0)),flush=True)"
    )
    spec = site.python(f"{code};print('error',file=sys.stderr)")
    assert run(backend, spec).state is State.SUCCEEDED
    expected = f"{site.output(spec)} True '' 0o22\nerror\n"
    assert backend.logs(JobRef(spec.jid, spec.generation), 10, 1000) == expected


def test_a_job_may_open_its_streams_by_name(site: Site) -> None:
    backend = site.backend()
    spec = site.shell("echo out >>/dev/stdout; echo err >>/dev/stderr")
    assert run(backend, spec).state is State.SUCCEEDED
    assert backend.logs(JobRef(spec.jid, spec.generation), 10, 1000) == "out\nerr\n"


def test_no_signal_is_ignored_or_blocked_in_a_job(site: Site) -> None:
    spec = site.shell('grep -E "Sig(Blk|Ign)" /proc/self/status >"$0/signals"')
    assert run(site.backend(), spec).state is State.SUCCEEDED
    masks = [int(line.split()[1], 16) for line in (site.output(spec) / "signals").read_text().splitlines()]
    # Signals 32 and 33 belong to the C library: a process inherits them as they are and can change nothing.
    assert [mask & ~(0b11 << 31) for mask in masks] == [0, 0]


def test_no_file_of_worker_or_supervisor_is_open_in_a_job(site: Site) -> None:
    spec = site.python("import os,sys;open(sys.argv[1]+'/fds','w').write(str(len(os.listdir('/proc/self/fd'))))")
    with (site.folder / "of the worker").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        assert run(site.backend(), spec).state is State.SUCCEEDED
    assert (site.output(spec) / "fds").read_text() == "5", "three streams, the file itself, and the listing"


def test_nothing_of_the_worker_is_in_the_environment(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:secret@db")
    spec = site.shell('env >"$0/env"; cat /proc/$PPID/environ >"$0/supervisor"', env=("ASKED=yes",))
    assert run(site.backend(enable_home_workaround=True), spec).state is State.SUCCEEDED
    names = {line.split("=")[0] for line in (site.output(spec) / "env").read_text().splitlines()}
    assert names - {"_", "PWD", "OLDPWD", "SHLVL"} == {"PATH", "LANG", "HOME", "PMAN_GENERATION", "ASKED"}
    assert "HOME=/tmp\n" in (site.output(spec) / "env").read_text()
    assert b"secret" not in (site.output(spec) / "supervisor").read_bytes()


@pytest.mark.parametrize(
    ("program", "exit_code", "message"),
    [
        ("no-such-command", 127, "cannot run 'no-such-command': No such file or directory"),
        ("/no/such/command", 127, "cannot run '/no/such/command': No such file or directory"),
        ("{base}/plain", 126, "plain': Permission denied"),
        ("{base}/garbage", 126, "garbage': Exec format error"),
        ("/tmp", 126, "cannot run '/tmp': Permission denied"),
    ],
)
def test_a_program_that_cannot_be_run(site: Site, program: str, exit_code: int, message: str) -> None:
    (site.base / "plain").write_text("not executable")
    (site.base / "garbage").write_bytes(b"\x00\x01garbage")
    (site.base / "garbage").chmod(0o755)
    ended = run(site.backend(), site.spec(program.format(base=site.base)))
    assert (ended.state, ended.reason, ended.exit_code) == (State.FAILED, Reason.START_FAILED, exit_code)
    assert message in ended.message
    assert ended.started_at is None


def test_more_arguments_than_the_kernel_takes(site: Site) -> None:
    ended = run(site.backend(), site.spec("true", *["x" * 100_000] * 70))
    assert (ended.reason, ended.message) == (Reason.START_FAILED, "cannot run 'true': Argument list too long")


def test_the_tree_ends_with_its_first_process(site: Site) -> None:
    backend = site.backend()
    spec = site.python(
        ESCAPING + "while len([f for f in os.listdir(sys.argv[1]) if f[-4:]=='.pid'])<2: pass\nos._exit(5)"
    )
    ended = run(backend, spec)
    assert (ended.exit_code, ended.reason) == (5, Reason.NONZERO_EXIT)
    assert not any(map(is_living, pids(site.output(spec))))


def test_orphans_of_a_running_job_are_buried(site: Site) -> None:
    backend = site.backend()
    spec = site.shell('for i in 1 2 3; do (true &) ; done; echo >"$0/ready"; sleep 600')
    backend.submit(spec)
    until((site.output(spec) / "ready").exists, "orphans")
    supervisor = site.supervisor(spec)
    until(lambda: len(supervisor.children()) == 1, "only the shell, no zombies")


def test_the_time_limit_ends_the_tree(site: Site) -> None:
    backend = site.backend(timelimit_s=1.5)
    spec = site.python(ESCAPING + "time.sleep(600)")
    ended = run(backend, spec)
    assert (ended.state, ended.reason, ended.exit_code) == (State.FAILED, Reason.TIME_LIMIT, 137)
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert 1.5 <= (ended.finished_at - ended.started_at).total_seconds() < 60
    assert not any(map(is_living, pids(site.output(spec))))


def test_a_job_within_its_time_limit_is_left_alone(site: Site) -> None:
    assert run(site.backend(timelimit_s=60), site.spec("true")).state is State.SUCCEEDED


def test_remove_ends_the_tree(site: Site) -> None:
    backend = site.backend()
    spec = site.python(ESCAPING + "time.sleep(600)")
    backend.submit(spec)
    tree = pids(site.output(spec))
    backend.end(spec.jid, spec.generation)
    assert not any(map(is_living, tree))
    ended = seen(backend, spec)
    assert (ended.state, ended.reason, ended.exit_code) == (State.CANCELLED, Reason.CANCELLED, 137)


def test_a_stopped_supervisor_can_be_removed(site: Site) -> None:
    backend = site.backend()
    spec = site.shell("exec sleep 600")
    backend.submit(spec)
    site.supervisor(spec).suspend()
    backend.end(spec.jid, spec.generation)
    assert seen(backend, spec).state is State.CANCELLED


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGQUIT, signal.SIGUSR1])
def test_a_supervisor_outlives_stray_signals(site: Site, number: signal.Signals) -> None:
    backend = site.backend()
    spec = site.shell('until [ -e "$0/go" ]; do sleep 0.01; done')
    backend.submit(spec)
    site.supervisor(spec).send_signal(number)
    (site.output(spec) / "go").touch()
    assert seen(backend, spec).state is State.SUCCEEDED


def test_a_supervisor_is_detached_and_small(site: Site) -> None:
    spec = site.shell("exec sleep 600")
    site.backend().submit(spec)
    supervisor = site.supervisor(spec)
    assert os.getsid(supervisor.pid) == supervisor.pid != os.getsid(0)
    assert supervisor.parent() != psutil.Process()
    assert {Path(f"/proc/{supervisor.pid}/fd/{fd}").readlink() for fd in (0, 1, 2)} == {Path(os.devnull)}
    assert supervisor.cwd() == "/"
    assert supervisor.memory_info().rss < 32 * 2**20


def test_memory_beyond_the_limit_is_refused_by_the_kernel(site: Site) -> None:
    spec = site.python("bytearray(300 << 20)", memory_limit=200)
    backend = site.backend()
    assert run(backend, spec).reason is Reason.NONZERO_EXIT
    assert "MemoryError" in backend.logs(JobRef(spec.jid, spec.generation), 10, 1000)


def test_memory_within_the_limit_is_granted(site: Site) -> None:
    assert run(site.backend(), site.python("bytearray(100 << 20)", memory_limit=300)).state is State.SUCCEEDED


def test_a_memory_limit_too_small_to_start_with_still_ends(site: Site) -> None:
    assert run(site.backend(), site.python("", memory_limit=1)).state is State.FAILED


def test_limits_are_set_exactly(site: Site) -> None:
    code = "import os,resource as r;print(r.getrlimit(r.RLIMIT_AS),len(os.sched_getaffinity(0)))"
    backend = site.backend()
    spec = site.python(code, memory_limit=500, cpu_limit=1)
    run(backend, spec)
    assert backend.logs(JobRef(spec.jid, spec.generation), 10, 1000) == f"({500 << 20}, {500 << 20}) 1\n"


def test_limits_can_be_ignored(site: Site) -> None:
    code = "import os,resource as r;print(r.getrlimit(r.RLIMIT_AS),len(os.sched_getaffinity(0)))"
    backend = site.backend(ignore_limits=True)
    spec = site.python(code, memory_limit=1, cpu_limit=1)
    run(backend, spec)
    expected = f"{resource.getrlimit(resource.RLIMIT_AS)} {len(os.sched_getaffinity(0))}\n"
    assert backend.logs(JobRef(spec.jid, spec.generation), 10, 1000) == expected


@as_root
def test_a_job_becomes_its_user_and_can_write(site: Site) -> None:
    backend = site.backend(container_user="12345:23456")
    spec = site.shell('id -u >"$0/id"; id -G >>"$0/id"; echo again >>/dev/stdout; exec sleep 0')
    assert run(backend, spec).state is State.SUCCEEDED
    assert (site.output(spec) / "id").read_text() == "12345\n23456\n"
    assert site.output(spec).stat().st_uid == 12345
    assert backend.logs(JobRef(spec.jid, spec.generation), 10, 1000) == "again\n"


@as_root
def test_a_job_of_a_user_dies_with_its_supervisor(site: Site) -> None:
    backend = site.backend(container_user="12345:23456")
    spec = site.shell("exec sleep 600")
    backend.submit(spec)
    child = until(lambda: site.state(spec).child_pid, "a start")
    assert child is not None
    site.supervisor(spec).kill()
    until(lambda: not is_living(child), "the end of the job")


@as_root
def test_an_output_folder_that_the_user_may_not_enter(site: Site) -> None:
    spec = site.spec("true")
    site.output(spec).mkdir(mode=0o700)
    ended = run(site.backend(container_user="12345:23456"), spec)
    assert (ended.reason, ended.exit_code) == (Reason.START_FAILED, 126)
    assert ended.message == f"cannot run in the folder {site.output(spec)}: Permission denied"


def test_a_supervisor_cancelled_before_the_start_starts_nothing(site: Site) -> None:
    """The claim is made and SIGTERM is there before the job: the state is constructed by a stopped launcher."""
    backend = site.backend()
    spec = site.shell('echo >"$0/ran"')
    prepared = site.prepare(spec)
    launcher = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", TERMINATED_BEFORE_THE_START, str(SUPERVISOR), str(prepared)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env={}, start_new_session=True,
    )  # fmt: skip
    assert launcher.communicate(timeout=20)[0] == b"claimed"
    assert seen(backend, spec).state is State.CANCELLED
    assert not (site.output(spec) / "ran").exists()


TERMINATED_BEFORE_THE_START = """
import os, runpy, signal, sys
supervisor = runpy.run_path(sys.argv[1])
tell = supervisor["tell"]
def tell_and_be_told(answer):
    tell(answer)
    os.kill(os.getpid(), signal.SIGTERM)
supervisor["main"].__globals__["tell"] = tell_and_be_told
supervisor["main"](supervisor["Path"](sys.argv[2]))
"""


def test_a_supervisor_that_fails_ends_the_job_and_says_so(site: Site) -> None:
    backend = site.backend()
    spec = site.spec("true")
    prepared = site.prepare(spec)
    launch = json.loads((prepared / "launch.json").read_text())
    del launch["time_limit_s"]
    (prepared / "launch.json").write_text(json.dumps(launch))
    subprocess.run([sys.executable, "-I", "-S", str(SUPERVISOR), str(prepared)], check=True, capture_output=True)
    ended = seen(backend, spec)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.NODE_FAIL)
    assert "KeyError" in ended.message


def test_a_removed_folder_ends_its_supervisor(site: Site) -> None:
    backend = site.backend()
    spec = site.shell('until [ -e "$0/go" ]; do sleep 0.01; done')
    backend.submit(spec)
    seen(backend, spec, State.RUNNING)
    supervisor = site.supervisor(spec)
    folder = site.control / spec.generation
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    (site.output(spec) / "go").touch()
    until(lambda: not is_living(supervisor.pid), "the end of the supervisor")
    assert look(backend, spec).__class__.__name__ == "Absent"
