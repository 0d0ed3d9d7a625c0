"""The launcher that runs on the nodes, run by a real bash: once, verbatim, and with an end that says what happened."""

import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backends._hpc.control import Control
from backends._hpc.launcher import LAUNCHER_NAME, NOT_MOUNTED, NOT_OURS, OWN_FAULT, batch_script
from backends._hpc.outcome import End, Verdict, verdict_of
from pman_core.errors import Unavailable
from pman_core.states import Reason, State
from testbed.processes import children_named
from testbed.system import PATIENCE_S, wait_for
from tests.contract.corpus import ARGUMENTS, ENVIRONMENT
from tests.fakes.slurm import install
from tests.unit.hpc_harness import Node

COUNT = ("sh", "-c", 'echo ran >> "$1/runs"', "-")
SLEEP = ("sh", "-c", "exec sleep 60")
SHOW = ("sh", "-c", 'printf "%s\\0" "$@" > "${FAKE_MOUNT__share_outgoing:-$OUT}/argv"; env -0 > "$OUT/env"', "-")


@pytest.fixture
def bare(tmp_path: Path, bash: str) -> Node:
    """Nodes without containers."""
    return Node(tmp_path, bash, hpc_runtime="none", hpc_any_image=True)


@pytest.fixture
def node(tmp_path: Path, bash: str) -> Node:
    """Nodes with the fake Apptainer, and an archive of the image."""
    made = Node(tmp_path, bash)
    archive = tmp_path / "images/case/image:1.tar"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"an archive")
    return made


def runs(node: Node) -> int:
    counted = node.store / "out/runs"
    return len(counted.read_text().splitlines()) if counted.exists() else 0


def cached(node: Node) -> list[str]:
    return sorted(path.name for path in (node.store / ".pman/images").glob("*.sif"))


@pytest.mark.parametrize("code", [0, 3, 113, 255])
def test_the_exit_code_of_the_job_is_the_launchers(bare: Node, code: int) -> None:
    spec = bare.prepare("sh", "-c", f"echo said; exit {code}")
    assert bare.run(spec) == code
    assert bare.end(spec) == ("exited", code, "")
    assert bare.log(spec) == "said\n"


def test_a_job_runs_once_however_many_runs_there_are(bare: Node) -> None:
    spec = bare.prepare(*COUNT)
    started = [bare.start(spec, str(number)) for number in range(8)]
    codes = [(process.communicate(timeout=PATIENCE_S), process.returncode)[1] for process in started]
    assert sorted(codes) == [0] + [NOT_OURS] * 7
    assert runs(bare) == 1
    claim = bare.control.folder(spec.generation).claim()
    assert claim is not None
    assert claim.native_id == str(codes.index(0))


def test_a_requeued_run_is_refused_and_says_so(bare: Node) -> None:
    spec = bare.prepare(*COUNT)
    folder = bare.control.folder(spec.generation)
    (folder.path / "claim").mkdir()
    (folder.path / "claim/facts").write_bytes(b"native_id=7\0nonce=the first run\0host=n1\0at=1\0")
    assert bare.run(spec, "7", SLURM_RESTART_COUNT="1") == NOT_OURS
    assert bare.end(spec)[0] == "requeued"
    assert runs(bare) == 0


def test_a_bash_that_is_too_old_is_named_and_nothing_begins(bare: Node) -> None:
    launcher = bare.control.base / LAUNCHER_NAME
    launcher.write_text(launcher.read_text().replace("BASH_MIN=404", "BASH_MIN=9904"))
    spec = bare.prepare(*COUNT)
    assert bare.run(spec) == OWN_FAULT
    cause, code, text = bare.end(spec)
    assert (cause, code) == ("start_failed", None)
    assert f"needs bash 4.4, and {bare.bash} on" in text
    assert runs(bare) == 0
    assert bare.run(spec, "8") == NOT_OURS, "it has claimed the job all the same"


def test_a_job_whose_log_cannot_be_written_has_no_exit_code(bare: Node) -> None:
    """A store without room; here there is something else in its place."""
    spec = bare.prepare(*COUNT)
    (bare.control.folder(spec.generation).path / "log").mkdir()
    assert bare.run(spec) == OWN_FAULT
    cause, code, text = bare.end(spec)
    assert (cause, code) == ("start_failed", None)
    assert text.startswith("the log of the job cannot be written on ")
    assert runs(bare) == 0


def test_an_end_that_is_there_is_not_overwritten(bare: Node) -> None:
    spec = bare.prepare("sh", "-c", "exit 3")
    bare.run(spec)
    assert bare.run(spec, "7", SLURM_RESTART_COUNT="1") == NOT_OURS
    assert bare.end(spec) == ("exited", 3, "")


@pytest.mark.parametrize("how", ["verdict", "removed", "entombed", "swept"])
def test_what_has_been_ended_or_removed_never_begins(bare: Node, how: str) -> None:
    spec = bare.prepare(*COUNT)
    if how == "verdict":
        bare.control.put_verdict(spec.generation, Verdict(State.CANCELLED, Reason.CANCELLED))
    else:
        bare.control.mark_removed(spec.generation)
    if how in {"entombed", "swept"}:
        bare.control.entomb(spec.generation)
    if how == "swept":
        assert list(bare.control.folders(sweep_before=float("inf"))) == []
    assert bare.run(spec) == NOT_OURS
    assert runs(bare) == 0
    if how != "swept":
        assert not bare.control.take(spec, {}), "and it cannot be handed over anew"


def test_arguments_and_variables_reach_a_bare_command_verbatim(bare: Node) -> None:
    env = (f"OUT={bare.store / 'out'}", *(f"{name}={value}" for name, value in ENVIRONMENT.items()))
    spec = bare.prepare(*SHOW, *ARGUMENTS, env=env)
    assert bare.run(spec, SECRET="of the node") == 0
    argv = (bare.store / "out/argv").read_bytes().decode().split("\0")[:-1]
    assert tuple(argv[:-1]) == ARGUMENTS
    seen = dict(item.split("=", 1) for item in (bare.store / "out/env").read_bytes().decode().split("\0")[:-1])
    assert {name: seen.get(name) for name in ENVIRONMENT} == ENVIRONMENT
    assert "SECRET" not in seen


def test_no_command_line_on_the_node_shows_a_variable(tmp_path: Path, bash: str) -> None:
    path, spy, seen = install(tmp_path / "mine"), tmp_path / "spy", tmp_path / "seen"
    spy.mkdir()
    for name in ("env", "apptainer"):
        program = spy / name
        program.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" >> {seen}\nPATH={path} exec {name} "$@"\n')
        program.chmod(0o755)
    node = Node(tmp_path, bash, hpc_path=f"{spy}:{path}")
    (tmp_path / "images/case").mkdir(parents=True)
    (tmp_path / "images/case/image:1.sif").touch()
    spec = node.prepare("sh", "-c", 'echo "$PASSWORD" > "$FAKE_MOUNT__share_outgoing/said"', env=("PASSWORD=a secret",))
    assert node.run(spec) == 0
    assert (node.store / "out/said").read_text() == "a secret\n"
    assert "/share/outgoing" in seen.read_text()
    assert "a secret" not in seen.read_text()


@pytest.mark.parametrize("argv", [("/no/such/command",), ("--version",), ("a=b",)])
def test_a_command_that_is_not_there_is_told(bare: Node, argv: tuple[str, ...]) -> None:
    spec = bare.prepare(*argv)
    assert bare.run(spec) == 127
    cause, _, text = bare.end(spec)
    assert cause == "start_failed"
    assert argv[0] in text


def test_the_end_of_a_job_that_is_told_to_end_is_written_down(bare: Node) -> None:
    spec = bare.prepare("sh", "-c", "trap 'exit 9' TERM; echo ready; sleep 60 & wait")
    process = bare.start(spec)
    wait_for("the job", lambda: bool(bare.log(spec)))
    (job,) = children_named(process.pid, "sh")
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)  # it goes on until its job has ended
    job.terminate()
    process.communicate(timeout=PATIENCE_S)
    assert bare.end(spec) == ("exited", 9, "")


def test_files_of_a_job_are_readable_as_usual(bare: Node) -> None:
    spec = bare.prepare("sh", "-c", 'touch "$1/made"', "-")
    assert bare.run(spec) == 0
    assert (bare.store / "out/made").stat().st_mode & 0o777 == 0o644
    assert (bare.control.base / spec.generation / "log").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_became_a_link_is_not_followed(bare: Node, tmp_path: Path) -> None:
    spec = bare.prepare(*COUNT)
    (bare.store / "out").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (bare.store / "out").symlink_to(tmp_path / "elsewhere")
    assert bare.run(spec) == OWN_FAULT
    cause, _, text = bare.end(spec)
    assert cause == "start_failed"
    assert "outgoing" in text


def test_a_node_without_the_store_says_so(tmp_path: Path) -> None:
    script = batch_script(str(tmp_path / "it's/launcher"), str(tmp_path / "x"), '"$SLURM_JOB_ID"')
    done = subprocess.run(["/bin/bash"], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == NOT_MOUNTED
    assert "is the store mounted?" in done.stderr


def test_an_image_from_an_archive_is_fetched_once(node: Node) -> None:
    first, second = node.prepare("true"), node.prepare("true", jid="other")
    processes = [node.start(spec, str(number)) for number, spec in enumerate((first, second))]
    assert [(process.communicate(timeout=PATIENCE_S), process.returncode)[1] for process in processes] == [0, 0]
    (image,) = cached(node)
    assert image.startswith("case-image-1-")
    assert (node.store / ".pman/images" / image).read_bytes() == b"an archive"


def test_a_sif_of_the_site_is_taken_as_it_is(node: Node, tmp_path: Path) -> None:
    (tmp_path / "images/case/image:1.sif").write_bytes(b"a sif")
    assert node.run(node.prepare("true")) == 0
    assert cached(node) == []


def test_a_new_archive_is_a_new_image(node: Node, tmp_path: Path) -> None:
    assert node.run(node.prepare("true")) == 0
    (tmp_path / "images/case/image:1.tar").write_bytes(b"another archive")
    assert node.run(node.prepare("true", jid="other")) == 0
    assert len(cached(node)) == 2


@pytest.mark.parametrize("image", ["nobody/has:it", "../../etc/passwd", "/etc/passwd", "a/../../b"])
def test_an_image_that_cannot_be_fetched_fails_the_job_and_says_why(node: Node, image: str) -> None:
    spec = node.prepare(*COUNT, image=image)
    assert node.run(spec) == OWN_FAULT
    cause, code, text = node.end(spec)
    assert (cause, code) == ("image_pull", None)
    assert f"docker://{image}" in text
    assert "no registry is reached from here" in text
    assert (runs(node), cached(node)) == (0, [])


def test_a_policy_of_never_fetches_nothing(tmp_path: Path, bash: str) -> None:
    node = Node(tmp_path, bash, image_pull_policy="never")
    spec = node.prepare("true")
    assert node.run(spec) == OWN_FAULT
    assert "IMAGE_PULL_POLICY is never" in node.end(spec)[2]


@pytest.mark.exhaustive  # the launcher counts in whole seconds
def test_a_fetch_that_takes_too_long_is_given_up(tmp_path: Path, bash: str) -> None:
    sleeper = tmp_path / "bin/apptainer"
    sleeper.parent.mkdir()
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n")
    sleeper.chmod(0o755)
    node = Node(tmp_path, bash, image_pull_timeout_s=1, hpc_path=f"{tmp_path}/bin:/usr/bin:/bin")
    spec = node.prepare("true")
    assert node.run(spec) == OWN_FAULT
    assert "after 1 s" in node.end(spec)[2]


def test_the_scratch_folder_is_gone_after_the_job(node: Node, tmp_path: Path) -> None:
    assert node.run(node.prepare("true")) == 0
    assert list(tmp_path.glob("pman.*")) == []


@pytest.mark.parametrize(("gpus", "told"), [(2, "2,3"), (0, "")])
@pytest.mark.parametrize("runtime", ["apptainer", "none"])
def test_a_job_is_told_which_gpus_of_the_node_are_its_own(
    tmp_path: Path, bash: str, runtime: str, gpus: int, told: str
) -> None:
    (tmp_path / "images/case").mkdir(parents=True)
    (tmp_path / "images/case/image:1.sif").write_bytes(b"a sif")
    node = Node(tmp_path, bash, hpc_runtime=runtime, hpc_any_image=True)
    spec = node.prepare("sh", "-c", 'printf %s "$CUDA_VISIBLE_DEVICES"', gpu_limit=gpus)
    process = node.start(spec, CUDA_VISIBLE_DEVICES="2,3")
    process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, node.log(spec)) == (0, told)


def test_several_workers_are_tasks_of_srun(node: Node) -> None:
    spec = node.prepare("sh", "-c", 'echo ran >> "$FAKE_MOUNT__share_outgoing/runs"', number_of_workers=3)
    assert node.run(spec) == 0
    assert runs(node) == 3


def test_of_several_workers_that_slurm_has_ended_no_success_is_told(node: Node, tmp_path: Path) -> None:
    """A real srun ends with 0 when its job is requeued."""
    (tmp_path / "programs/srun").write_text("#!/bin/sh\nexit 0\n")
    spec = node.prepare("true", number_of_workers=3)
    assert node.run(spec) == 143
    assert node.end(spec) == ("exited", 143, "")


def test_of_several_workers_the_code_of_the_first_that_failed_is_told(node: Node) -> None:
    """srun kills the others, and tells the highest code of all."""
    script = (
        'cd "$FAKE_MOUNT__share_outgoing" && mkdir first 2>/dev/null && exit 6\n'
        "until [ -d ../.pman/pman/slurm/*/failed ]; do sleep 0.05; done; exit 137"
    )
    spec = node.prepare("sh", "-c", script, number_of_workers=3)
    assert node.run(spec) == 6
    assert node.end(spec) == ("exited", 6, "")


def test_a_worker_that_cannot_begin_tells_why_for_all_of_them(tmp_path: Path, bash: str) -> None:
    node = Node(tmp_path, bash, hpc_runtime="none", hpc_any_image=True)
    spec = node.prepare("true", number_of_workers=2)
    (node.store / "out").rmdir()
    launcher = node.start(spec)
    _, said = launcher.communicate(timeout=PATIENCE_S)
    assert launcher.returncode == OWN_FAULT
    cause, code, text = node.end(spec)
    assert (cause, code) == ("start_failed", None)
    assert "the outgoing folder is not what it was" in text
    assert b"could not be written down" not in said + node.log(spec).encode()


def test_several_workers_whose_command_is_not_there_have_not_started(node: Node) -> None:
    spec = node.prepare("/no/such/command", number_of_workers=2)
    srun = Path(node.own.hpc_path.split(":")[0]) / "srun"
    program = srun.read_text().replace("exec ", "")
    srun.write_text(f"{program}code=$?\necho srun: error: n1: task 0: Exited >&2; exit $code\n")
    assert node.run(spec) == 255
    cause, _, text = node.end(spec)
    assert cause == "start_failed"
    assert "/no/such/command" in text


@pytest.mark.parametrize(
    ("cause", "code", "state", "reason"),
    [
        ("exited", 0, State.SUCCEEDED, None),
        ("exited", 137, State.FAILED, Reason.SIGNALLED),
        ("image_pull", None, State.FAILED, Reason.IMAGE_PULL),
        ("requeued", None, State.FAILED, Reason.REQUEUED),
    ],
)
def test_what_the_launcher_says_has_a_meaning(cause: str, code: int | None, state: State, reason: Any) -> None:
    verdict = verdict_of(End(cause, code, "text", "7", "n1", None, None))
    assert verdict is not None
    assert (verdict.state, verdict.reason) == (state, reason)
    assert verdict_of(End("of a newer release", 0, "", "7", "n1", None, None)) is None


@pytest.mark.parametrize(("cause", "code"), [("image_pull", None), ("start_failed", None), ("start_failed", 255)])
def test_only_what_has_an_exit_code_has_begun(cause: str, code: int | None) -> None:
    moment = datetime(2026, 11, 26, tzinfo=UTC)
    verdict = verdict_of(End(cause, code, "text", "7", "n1", moment, moment))
    assert verdict is not None
    assert (verdict.started_at, verdict.finished_at) == (None if code is None else moment, moment)


def test_a_store_that_is_not_mounted_is_no_answer(tmp_path: Path) -> None:
    store = tmp_path / "store"
    control = Control(store, store, "pman", "slurm")
    with pytest.raises(Unavailable):
        control.create()
    store.mkdir()
    with pytest.raises(Unavailable):
        control.check()
    control.create()
    control.probe()
