"""What Slurm's commands are called with, and what their answers mean, by programs that write down their calls."""

import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backends._slurm import commands
from backends._slurm.commands import IDS_PER_CALL, CommandTransport
from backends._slurm.settings import SlurmSettings
from backends._slurm.transport import SbatchOrder
from pman_core.errors import Unavailable

NOW = datetime(2026, 11, 26, tzinfo=UTC)
ARGUMENT_BYTES_MAX = 128 * 1024
"""``MAX_ARG_STRLEN`` of Linux: of one argument, however much room there is for all."""
ORDER = SbatchOrder("#!/bin/sh\n", "pman-job", "comment", "/", "/out")
FAIL_OVER = "printf '%s\\n' 'Slurmctld(primary) at a is DOWN' 'Slurmctld(backup) at b is UP'; exit 1"


def transport(folder: Path, **programs: str) -> CommandTransport:
    for name, script in programs.items():
        calls = shlex.quote(str(folder / "calls"))
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {calls}\n{script}\n')
        (folder / name).chmod(0o755)
    return CommandTransport(SlurmSettings(slurm_path=f"{folder}:/usr/bin:/bin"))


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().split("\n")[:-1]


def test_many_ids_go_into_several_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "IDS_PER_CALL", 2)
    slurm = transport(tmp_path, sacct="", scancel="")
    assert slurm.accounted(range(1, 6), NOW) == []
    assert [call.rpartition("--jobs=")[2] for call in calls(tmp_path)] == ["1,2", "3,4", "5"]
    slurm.cancel(range(1, 6))
    assert calls(tmp_path)[3:] == [f"scancel --signal=KILL {ids}" for ids in ("1 2", "3 4", "5")]


def test_the_ids_of_one_call_fit_into_one_argument() -> None:
    longest = str(2**32 - 1)
    assert len(",".join([longest] * IDS_PER_CALL)) < ARGUMENT_BYTES_MAX


def test_who_is_to_be_ended_gently_is_so_with_his_batch_script(tmp_path: Path) -> None:
    transport(tmp_path, scancel="").cancel({7}, gently=True)
    assert calls(tmp_path) == ["scancel --full 7"]


def test_while_a_backup_controller_answers_slurm_is_there(tmp_path: Path) -> None:
    version = '[ "$1" = --version ] && { echo slurm 22.05.8; exit; }'
    slurm = transport(tmp_path, scontrol=f"{version}\n{FAIL_OVER}")
    assert slurm.ping() == "Slurmctld(backup) at b is UP, slurm 22.05.8"


def test_while_no_controller_answers_slurm_is_away(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no slurmctld answers"):
        transport(tmp_path, scontrol="echo 'Slurmctld(primary) at a is DOWN'; exit 1").ping()


@pytest.mark.parametrize(
    "said",
    [
        "Socket timed out on send/recv operation",
        "Slurm backup controller in standby mode",
        "Unable to contact slurm controller (connect failure)",
        "Zero Bytes were transmitted or received",
        "Connection refused",
    ],
)
@pytest.mark.parametrize(
    ("command", "call"),
    [
        ("sbatch", lambda slurm: slurm.submit(ORDER)),
        ("squeue", lambda slurm: slurm.jobs()),
        ("sacct", lambda slurm: slurm.accounted([1], NOW)),
        ("scancel", lambda slurm: slurm.cancel([1])),
        ("sdiag", lambda slurm: slurm.unaccounted()),
    ],
)
def test_a_slurm_that_cannot_answer_now_says_nothing_of_any_job(
    tmp_path: Path, command: str, call: Callable[[CommandTransport], object], said: str
) -> None:
    slurm = transport(tmp_path, **{command: f"echo '{command}: error: {said}' >&2; exit 1"})
    with pytest.raises(Unavailable, match=said.partition("(")[0].strip()):
        call(slurm)
    assert len(calls(tmp_path)) == 1, "whoever waits with it asks again, not the transport"


def test_a_listing_with_a_complaint_is_none(tmp_path: Path) -> None:
    """A controller that goes away in the middle of its answer: squeue has printed something, and exits with 0."""
    with pytest.raises(Unavailable):
        transport(tmp_path, squeue="echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2").jobs()
