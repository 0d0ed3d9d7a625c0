"""The launcher's watch: it says that it is there, and ends what the control folder says is over, and nothing else."""

import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from backends._hpc.launcher import OWN_FAULT
from backends._hpc.outcome import Verdict
from pman_core.job import JobSpec
from pman_core.states import Reason, State
from testbed.processes import children_named
from testbed.system import PATIENCE_S, wait_for
from tests.unit.hpc_harness import Node

pytestmark = pytest.mark.exhaustive  # each waits for the launcher to look again, once or more

SLEEP = ("sh", "-c", "exec sleep 60")
STUBBORN = ("sh", "-c", "trap '' TERM; sleep 60 & exec sleep 60")
ORPHANED = ("sh", "-c", "(trap '' TERM; sleep 60) & exec sleep 60")
GENTLE = ("sh", "-c", "trap 'echo told; exit 9' TERM; sleep 60 & wait")
CANCELLED = Verdict(State.CANCELLED, Reason.CANCELLED)


@pytest.fixture
def bare(tmp_path: Path, bash: str) -> Node:
    """Nodes without containers, whose launchers look ten times a second."""
    return Node(tmp_path, bash, hpc_runtime="none", hpc_any_image=True)


def sleeping(launcher: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """Return the launcher's job, if it has begun."""
    return children_named(launcher.pid, "sleep")


def beaten_at_s(node: Node, spec: JobSpec) -> float:
    return node.control.folder(spec.generation).beat_at_s() or 0.0


def test_a_launcher_says_that_it_is_there_as_long_as_it_is(bare: Node) -> None:
    spec = bare.prepare(*SLEEP)
    launcher = bare.start(spec)
    wait_for("a first sign", lambda: beaten_at_s(bare, spec) > 0)
    first = beaten_at_s(bare, spec)
    wait_for("another sign", lambda: beaten_at_s(bare, spec) > first)
    wait_for("the job runs", lambda: sleeping(launcher))
    (job,) = sleeping(launcher)
    wait_for("nobody else is there", lambda: len(psutil.Process(launcher.pid).children()) == 2)
    (beat,) = [one for one in psutil.Process(launcher.pid).children() if one != job]
    for process in (launcher, beat):  # as a batch system does it
        process.send_signal(signal.SIGTERM)
    second = beaten_at_s(bare, spec)
    wait_for("a sign after they were told to end", lambda: beaten_at_s(bare, spec) > second)
    job.terminate()
    launcher.communicate(timeout=PATIENCE_S)
    assert launcher.returncode == 128 + signal.SIGTERM
    wait_for("nobody is left", lambda: not beat.is_running())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_job_that_ends_in_the_instant_of_a_signal_has_its_own_exit_code(bare: Node, number: signal.Signals) -> None:
    """As it is told to end by a batch system, which tells all at once. One launcher alone may be lucky."""
    specs = [bare.prepare(*SLEEP, jid=f"job-{turn}") for turn in range(8)]
    launchers = [bare.start(spec) for spec in specs]
    for launcher in launchers:
        wait_for("the job runs", lambda launcher=launcher: sleeping(launcher))
    for launcher in launchers:
        (job,) = sleeping(launcher)
        job.terminate()
        launcher.send_signal(number)
    for launcher, spec in zip(launchers, specs, strict=True):
        launcher.communicate(timeout=PATIENCE_S)
        assert bare.end(spec) == ("exited", 128 + signal.SIGTERM, "")


def test_a_signal_of_somebody_else_ends_nobody(bare: Node) -> None:
    """SIGUSR1 is what sites send to jobs as a warning; it is also what the watch sends."""
    spec = bare.prepare(*SLEEP)
    launcher = bare.start(spec)
    wait_for("the job runs", lambda: sleeping(launcher))
    (job,) = sleeping(launcher)
    wait_for("nobody else is there", lambda: len(psutil.Process(launcher.pid).children()) == 2)
    for process in psutil.Process(launcher.pid).children():
        if process != job:
            process.send_signal(signal.SIGUSR1)
    launcher.send_signal(signal.SIGUSR1)
    beaten = beaten_at_s(bare, spec)
    wait_for("it says again that it is there", lambda: beaten_at_s(bare, spec) > beaten)
    with pytest.raises(subprocess.TimeoutExpired):
        launcher.wait(timeout=0.7)
    job.kill()
    launcher.communicate(timeout=PATIENCE_S)
    assert bare.end(spec) == ("exited", 128 + signal.SIGKILL, "")


def test_the_signs_of_a_launcher_that_is_killed_stop(bare: Node) -> None:
    spec = bare.prepare(*SLEEP)
    launcher = bare.start(spec)
    wait_for("a first sign", lambda: beaten_at_s(bare, spec) > 0)
    wait_for("the job runs", lambda: sleeping(launcher))
    family = psutil.Process(launcher.pid).children(recursive=True)
    (job,) = sleeping(launcher)
    launcher.kill()
    job.kill()
    launcher.communicate(timeout=PATIENCE_S)
    wait_for("nobody is left", lambda: not any(process.is_running() for process in family))


def test_a_launcher_makes_nothing_anew_in_a_folder_that_was_emptied(bare: Node) -> None:
    spec = bare.prepare(*SLEEP)
    launcher = bare.start(spec)
    wait_for("the job runs", lambda: sleeping(launcher))
    (bare.control.base / spec.generation / "alive").unlink()
    with pytest.raises(subprocess.TimeoutExpired):
        launcher.wait(timeout=0.5)
    assert beaten_at_s(bare, spec) == 0
    sleeping(launcher)[0].kill()
    launcher.communicate(timeout=PATIENCE_S)


def over(node: Node, spec: JobSpec, how: str) -> None:
    """Let the control folder say that the job is over."""
    if how == "verdict":
        node.control.put_verdict(spec.generation, CANCELLED)
        return
    node.control.mark_removed(spec.generation)
    if how in {"entombed", "swept"}:
        node.control.entomb(spec.generation)
    if how == "swept":
        assert list(node.control.folders(sweep_before=float("inf"))) == []


@pytest.mark.parametrize("how", ["verdict", "removed", "entombed", "swept"])
def test_what_is_over_is_ended_by_its_launcher(bare: Node, how: str) -> None:
    spec = bare.prepare(*SLEEP)
    launcher = bare.start(spec)
    wait_for("the job runs", lambda: sleeping(launcher))
    family = psutil.Process(launcher.pid).children(recursive=True)
    over(bare, spec, how)
    _, said = launcher.communicate(timeout=PATIENCE_S)
    assert launcher.returncode == 128 + signal.SIGTERM
    assert b"is over" in said
    wait_for("nobody is left", lambda: not any(process.is_running() for process in family))
    if how == "swept":
        assert not (bare.control.base / spec.generation).exists()
    else:
        assert bare.end(spec) == ("exited", 128 + signal.SIGTERM, "")


def test_a_job_that_ends_itself_when_told_has_its_own_exit_code(bare: Node) -> None:
    spec = bare.prepare(*GENTLE)
    launcher = bare.start(spec)
    wait_for("the job runs", lambda: children_named(launcher.pid, "sleep", recursive=True))
    over(bare, spec, "verdict")
    launcher.communicate(timeout=PATIENCE_S)
    assert bare.end(spec) == ("exited", 9, "")
    assert bare.log(spec) == "told\n"


def test_a_job_that_ignores_it_is_killed_with_all_that_it_has_started(bare: Node) -> None:
    bare.watch = replace(bare.watch, grace_s=1)
    spec = bare.prepare(*STUBBORN)
    launcher = bare.start(spec)
    wait_for("the job runs", lambda: [one for one in sleeping(launcher) if one.children()])
    family = psutil.Process(launcher.pid).children(recursive=True)
    over(bare, spec, "removed")
    launcher.communicate(timeout=PATIENCE_S)
    assert launcher.returncode == 128 + signal.SIGKILL
    wait_for("nobody is left", lambda: not any(process.is_running() for process in family))


def test_whoever_has_lost_its_parent_on_the_way_is_ended_too(bare: Node) -> None:
    bare.watch = replace(bare.watch, grace_s=3)
    spec = bare.prepare(*ORPHANED)
    launcher = bare.start(spec)
    wait_for("the job runs", lambda: [one for one in sleeping(launcher) if one.children()])
    wait_for("its child, too", lambda: sleeping(launcher)[0].children()[0].name() == "sleep")
    family = psutil.Process(launcher.pid).children(recursive=True)
    over(bare, spec, "removed")
    launcher.communicate(timeout=PATIENCE_S)
    assert launcher.returncode == 128 + signal.SIGTERM
    wait_for("nobody is left", lambda: not any(process.is_running() for process in family))


def test_a_fetch_of_a_job_that_is_over_is_ended_and_the_job_never_begins(tmp_path: Path, bash: str) -> None:
    fetching = tmp_path / "bin/apptainer"
    fetching.parent.mkdir()
    fetching.write_text("#!/bin/sh\nexec sleep 60\n")
    fetching.chmod(0o755)
    node = Node(tmp_path, bash, hpc_path=f"{tmp_path}/bin:/usr/bin:/bin")
    first, second = node.prepare("true"), node.prepare("true", jid="other")
    for spec in (first, second):  # one fetches, the other one waits for it
        launcher = node.start(spec)
        wait_for("it is noted", lambda spec=spec: (node.control.base / spec.generation / "fetching").exists())
        family = psutil.Process(launcher.pid).children(recursive=True)
        over(node, spec, "verdict")
        launcher.communicate(timeout=PATIENCE_S)
        assert launcher.returncode == OWN_FAULT
        assert node.end(spec)[0] == "start_failed"
        assert node.log(spec) == ""
        wait_for("nobody is left", lambda family=family: not any(process.is_running() for process in family))


@pytest.mark.parametrize("how", ["unmounted", "another store", "not readable"])
def test_a_store_that_is_away_ends_nobody(bare: Node, how: str) -> None:
    spec = bare.prepare(*SLEEP)
    launcher = bare.start(spec)
    wait_for("the job runs", lambda: sleeping(launcher))
    base, aside = bare.control.base, bare.store / "aside"
    base.rename(aside)
    if how == "another store":
        base.mkdir()
    elif how == "not readable":
        base.symlink_to(base.name)  # "Too many levels of symbolic links", as an answer that is none
    with pytest.raises(subprocess.TimeoutExpired):
        launcher.wait(timeout=0.7)
    if how == "not readable":
        base.unlink()
    elif how == "another store":
        base.rmdir()
    aside.rename(base)
    beaten = beaten_at_s(bare, spec)
    wait_for("it says again that it is there", lambda: beaten_at_s(bare, spec) > beaten)
    over(bare, spec, "removed")
    launcher.communicate(timeout=PATIENCE_S)
    assert launcher.returncode == 128 + signal.SIGTERM


def test_an_answer_that_is_no_answer_ends_nobody(bare: Node) -> None:
    """The marker is there, the folder cannot be asked for."""
    spec = bare.prepare(*SLEEP)
    launcher = bare.start(spec)
    wait_for("the job runs", lambda: sleeping(launcher))
    folder, aside = bare.control.base / spec.generation, bare.store / "aside"
    folder.rename(aside)
    folder.symlink_to(folder.name)
    with pytest.raises(subprocess.TimeoutExpired):
        launcher.wait(timeout=0.7)
    folder.unlink()
    aside.rename(folder)
    sleeping(launcher)[0].kill()
    launcher.communicate(timeout=PATIENCE_S)
    assert bare.end(spec) == ("exited", 128 + signal.SIGKILL, "")
    shutil.rmtree(folder)
