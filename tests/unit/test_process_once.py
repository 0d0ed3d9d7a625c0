"""A generation runs at most once: concurrent submits, sleeping launchers, and kills at every point."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from backends import process
from backends._process_control import Control
from backends.process import SUPERVISOR
from pman_core.backend import Absent
from pman_core.errors import Conflict, Rejected, Unavailable, Unparseable
from pman_core.job import JobSpec, mint_generation
from pman_core.states import Reason, State
from tests.unit.process_harness import HOST, Site, dead, is_living, look, run, seen, site, until

__all__ = ["site"]

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
FORK = multiprocessing.get_context("fork")
COUNT = 'echo ran >>"$0/runs"'


def runs(site: Site, spec: JobSpec) -> int:
    path = site.output(spec) / "runs"
    return len(path.read_text().splitlines()) if path.exists() else 0


def launch(prepared: Path) -> str:
    """Start a supervisor as submit does; return its answer."""
    command = [sys.executable, "-I", "-S", str(SUPERVISOR), str(prepared)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env={}, check=True, text=True)
    return done.stdout


def in_process(action: Callable[[], object]) -> multiprocessing.process.BaseProcess:
    def body() -> None:
        action()
        os._exit(0)  # without the end of a test run

    started = FORK.Process(target=body, daemon=True)
    started.start()
    return started


def test_eight_processes_submit_at_once(site: Site) -> None:
    spec = site.shell(COUNT)
    backend = site.backend()
    gate = FORK.Barrier(8)

    def submit() -> None:
        gate.wait(20)
        handle = site.backend().submit(spec)
        (site.folder / f"handle-{os.getpid()}").write_text(handle.to_json())

    submitters = [in_process(submit) for _ in range(8)]
    for submitter in submitters:
        submitter.join(30)
    handles = [path.read_text() for path in site.folder.glob("handle-*")]
    assert [submitter.exitcode for submitter in submitters] == [0] * 8
    assert (len(handles), len(set(handles))) == (8, 1)
    assert seen(backend, spec).state is State.SUCCEEDED
    assert runs(site, spec) == 1
    until(lambda: leftovers(site) == [], "the losers' folders are gone")


def leftovers(site: Site) -> list[str]:
    return [path.name for path in site.control.iterdir() if "." in path.name.lstrip(".")]


def test_eight_launchers_start_at_once(site: Site) -> None:
    spec = site.shell(COUNT)
    prepared = [site.prepare(spec) for _ in range(8)]
    launchers = [
        subprocess.Popen(
            [sys.executable, "-I", "-S", str(SUPERVISOR), str(folder)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        for folder in prepared
    ]
    answers = sorted(launcher.communicate(timeout=30)[0] for launcher in launchers)
    assert answers == [b"claimed"] + [b"not claimed: Directory not empty"] * 7
    assert seen(site.backend(), spec).state is State.SUCCEEDED
    assert runs(site, spec) == 1
    assert leftovers(site) == []


def test_a_job_outlives_a_killed_submitter(site: Site) -> None:
    spec = site.shell(f'{COUNT}; until [ -e "$0/go" ]; do sleep 0.01; done')

    def submit_and_stay() -> None:
        site.backend().submit(spec)
        time.sleep(600)

    submitter = in_process(submit_and_stay)
    until(lambda: runs(site, spec), "the job")
    submitter.kill()
    submitter.join(20)
    backend = site.backend()
    assert backend.submit(spec) == backend.submit(spec)
    (site.output(spec) / "go").touch()
    assert seen(backend, spec).state is State.SUCCEEDED
    assert runs(site, spec) == 1


@pytest.mark.parametrize("kill_at", ["before it prepares", "when it has prepared", "when it has launched"])
def test_a_submitter_killed_at_any_point_is_repeated(site: Site, monkeypatch: pytest.MonkeyPatch, kill_at: str) -> None:
    spec = site.shell(COUNT)
    real_prepare, real_start = Control.prepare, process._start_supervisor

    def prepare(*args: object) -> Path:
        if kill_at == "before it prepares":
            os.kill(os.getpid(), signal.SIGKILL)
        return real_prepare(*args)  # type: ignore[arg-type]

    def start(prepared: Path) -> str:
        if kill_at == "when it has launched":
            real_start(prepared)
        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    with monkeypatch.context() as patch:
        patch.setattr(Control, "prepare", prepare)
        patch.setattr(process, "_start_supervisor", start)
        submitter = in_process(lambda: site.backend().submit(spec))
        submitter.join(20)
    assert submitter.exitcode == -signal.SIGKILL
    backend = site.backend()
    assert run(backend, spec).state is State.SUCCEEDED
    backend.submit(spec)
    assert runs(site, spec) == 1


def test_a_launcher_that_slept_finds_the_name_taken(site: Site) -> None:
    spec = site.shell(COUNT)
    slept = site.prepare(spec)
    backend = site.backend()
    run(backend, spec)
    assert launch(slept) == "not claimed: Directory not empty"
    assert runs(site, spec) == 1
    assert not slept.exists()


@pytest.mark.parametrize("was_run", [True, False])
def test_a_launcher_that_slept_over_a_removal_runs_nothing(site: Site, was_run: bool) -> None:
    spec = site.shell(COUNT)
    slept = site.prepare(spec)
    backend = site.backend()
    if was_run:
        run(backend, spec)
    backend.remove(spec.jid, spec.generation)
    assert look(backend, spec) == Absent()
    assert launch(slept) == "not claimed: Directory not empty"
    assert look(backend, spec) == Absent()
    assert runs(site, spec) == was_run
    with pytest.raises(Rejected, match="has been removed"):
        backend.submit(spec)


def test_the_tombstone_is_swept_away_after_the_fence(site: Site) -> None:
    spec = site.shell(COUNT)
    backend = site.backend()
    run(backend, spec)
    backend.remove(spec.jid, spec.generation)
    (tombstone,) = site.control.glob(spec.generation)
    assert [path.name for path in tombstone.iterdir()] == ["state.json"]
    assert list(backend.owned()) == []
    assert tombstone.exists()
    sweeper = site.backend(submit_lease_s=0.01, submit_fence_s=0.01)

    def is_swept() -> bool:
        assert list(sweeper.owned()) == []
        return not tombstone.exists()

    until(is_swept, "the name free again")


def test_what_was_prepared_and_never_launched_is_swept_away_after_the_fence(site: Site) -> None:
    prepared = site.prepare(site.shell(COUNT))
    backend = site.backend()
    assert list(backend.owned()) == []
    assert prepared.exists()
    os.utime(prepared, (0, 0))
    assert list(backend.owned()) == []
    assert leftovers(site) == []


def test_a_launcher_whose_folder_was_swept_away_runs_nothing(site: Site) -> None:
    spec = site.shell(COUNT)
    slept = site.prepare(spec)
    answer = run_stopped_before_the_claim(slept, while_stopped=lambda: slept.rename(slept.with_suffix(".swept")))
    assert answer.startswith(b"not claimed: ")
    assert look(site.backend(), spec) == Absent()
    assert runs(site, spec) == 0


def run_stopped_before_the_claim(prepared: Path, while_stopped: Callable[[], object]) -> bytes:
    """SIGSTOP a launcher when it has read its folder and not yet claimed the name; then let it go on."""
    launcher = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", STOPPED_BEFORE_THE_CLAIM, str(SUPERVISOR), str(prepared)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert launcher.stdout is not None
    pid = int(launcher.stdout.readline())
    until(
        lambda: f"{pid} (" in (stat := Path(f"/proc/{pid}/stat").read_text()) and ") T " in stat, "a stopped launcher"
    )
    while_stopped()
    os.kill(pid, signal.SIGCONT)
    return launcher.communicate(timeout=20)[0]


STOPPED_BEFORE_THE_CLAIM = """
import os, runpy, signal, sys
supervisor = runpy.run_path(sys.argv[1])
def stop_and_claim(*args):
    print(os.getpid(), flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
    return supervisor["claim"](*args)
supervisor["main"].__globals__["claim"] = stop_and_claim
supervisor["main"](supervisor["Path"](sys.argv[2]))
"""


def test_a_launcher_stopped_before_the_claim_loses_to_the_next(site: Site) -> None:
    spec = site.shell(COUNT)
    backend = site.backend()
    answer = run_stopped_before_the_claim(site.prepare(spec), while_stopped=lambda: run(backend, spec))
    assert answer == b"not claimed: Directory not empty"
    assert runs(site, spec) == 1


@pytest.mark.parametrize("has_started", [True, False])
def test_a_supervisor_killed_after_the_claim_ends_the_job_for_good(site: Site, has_started: bool) -> None:
    """A crash between the claim and the start leaves a claim of a dead process: the state is put on the disk."""
    spec = site.shell(COUNT)
    backend = site.backend()
    site.write_state(dead(spec, started_at=1.0 if has_started else None))
    ended = look(backend, spec)
    handle = backend.submit(spec)
    assert handle.host == HOST
    assert ended == look(backend, spec) == look(site.backend(), spec), "the verdict is written down"
    state = seen(backend, spec)
    assert (state.state, state.reason) == (State.FAILED, Reason.NODE_FAIL)
    assert ("whether it had begun is not known" in state.message) != has_started
    assert runs(site, spec) == 0


def test_a_killed_supervisor_takes_its_job_with_it(site: Site) -> None:
    spec = site.shell(f"{COUNT}; (env -i sleep 601 &); (setsid sleep 602 >/dev/null 2>&1 &); exec sleep 600")
    backend = site.backend()
    backend.submit(spec)
    supervisor = site.supervisor(spec)
    tree = until(lambda: three_sleepers(supervisor), "a tree")
    supervisor.kill()
    until(lambda: not is_living(supervisor.pid), "its end")
    ended = seen(backend, spec)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.NODE_FAIL)
    assert f"process {supervisor.pid} on {HOST}" in ended.message
    until(lambda: not any(map(is_living, tree)), "the end of the tree")
    assert runs(site, spec) == 1


def three_sleepers(supervisor: psutil.Process) -> list[int]:
    tree = supervisor.children(recursive=True)
    try:
        return [process.pid for process in tree] if [process.name() for process in tree] == ["sleep"] * 3 else []
    except psutil.NoSuchProcess:  # one of the shells in between has just ended
        return []


def test_another_job_under_the_generation_is_a_conflict(site: Site) -> None:
    spec = site.shell(COUNT)
    backend = site.backend()
    run(backend, spec)
    with pytest.raises(Conflict, match=spec.jid):
        backend.submit(site.shell(COUNT, generation=spec.generation))


def test_a_job_of_another_host_is_adopted_with_its_host(site: Site) -> None:
    spec = site.shell(COUNT)
    site.write_state(dead(spec, host="host-b"))
    assert site.backend().submit(spec).host == "host-b"


def test_a_damaged_state_is_not_taken_for_a_free_name(site: Site) -> None:
    spec = site.shell(COUNT)
    (site.backend()._control.base / spec.generation).mkdir()
    (site.control / spec.generation / "state.json").write_text("{")
    with pytest.raises(Unparseable):
        site.backend().submit(spec)


def test_a_supervisor_that_cannot_start_is_no_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = site.backend()
    monkeypatch.setattr(sys, "executable", str(site.base / "no python"))
    with pytest.raises(Unavailable, match="cannot be started"):
        backend.submit(site.shell(COUNT))


def test_a_supervisor_that_says_nothing_is_no_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = site.folder / "silent.py"
    silent.write_text("import time; time.sleep(600)")
    monkeypatch.setattr(process, "SUPERVISOR", silent)
    monkeypatch.setattr(process, "CLAIM_TIMEOUT_S", 0.05)
    with pytest.raises(Unavailable, match="no answer"):
        site.backend().submit(site.shell(COUNT))


def test_a_generation_is_never_a_path(site: Site) -> None:
    assert mint_generation().isalnum()
    with pytest.raises(Rejected, match="generation"):
        site.backend().submit(site.shell(COUNT, generation="../x"))
