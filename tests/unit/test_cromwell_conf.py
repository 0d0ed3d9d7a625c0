"""The configuration shipped for Cromwell on SLURM, parsed, and its commands run before commands that only note."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest
import WDL

from testbed.system import wait_for
from tests.fakes.cromwell import DEFAULT, Site, read_site
from tests.fakes.cromwell.attributes import InvalidAttribute, evaluate

ROOT = Path(__file__).parents[2]
CONF = ROOT / "deploy/cromwell/slurm.conf"
KIT = ROOT / "tests/recorded/cromwell/site-slurm.conf"
HOSTILE = 'a\'b "c" $(touch spoiled) `touch spoiled` ; touch spoiled & \\ * # %s'
PLACES = {"job_name": "cromwell_1234abcd_job", "cwd": "/s/x", "out": "/s/x/stdout", "err": "/s/x/stderr"}
PLACES |= {"script": "/s/x/script", "docker_cwd": "/d", "job_shell": "/bin/bash"}


@pytest.fixture(scope="module")
def site() -> Site:
    """Frozen; the parser of HOCON takes longer than a test."""
    return read_site(CONF)


class Commands:
    """Commands of Slurm that write down how they were called, and answer as told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def say(self, name: str, output: str = "", code: int = 0, *, times: int = 1_000_000) -> None:
        """``name`` answers so; after so many times it succeeds silently."""
        answer = f"printf '%s\\n' {shlex.quote(output)}" if output else ":"
        text = (
            f"#!/bin/bash\nprintf '%s\\0' \"$@\" >> {self.folder}/{name}.argv\nenv -0 > {self.folder}/{name}.env\n"
            f"echo >> {self.folder}/{name}.calls\n"
            f"[ $(wc -l < {self.folder}/{name}.calls) -gt {times} ] && exit 0\n{answer}\nexit {code}\n"
        )
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)

    def argv(self, name: str) -> list[str]:
        path = self.folder / f"{name}.argv"
        return path.read_bytes().decode().split("\0")[:-1] if path.exists() else []

    def calls(self, name: str) -> int:
        path = self.folder / f"{name}.calls"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def environment(self, name: str) -> set[str]:
        pairs = (self.folder / f"{name}.env").read_bytes().decode().split("\0")[:-1]
        return {pair.partition("=")[0] for pair in pairs} - {"PWD", "SHLVL", "_"}

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        path = self.folder / "script"
        path.write_text(script)
        env = {"PATH": f"{self.folder}:{os.environ['PATH']}", "HOME": "/h", "SECRET": "of Cromwell", "SLURM_CONF": "/c"}
        return subprocess.run(
            ["/bin/bash", str(path)], cwd=self.folder, env=env, capture_output=True, text=True, timeout=20, check=False
        )


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def submit(commands: Commands, site: Site, asked: dict[str, object]) -> list[str]:
    """Run the site's `submit`; return the arguments of sbatch."""
    commands.say("sbatch", "Submitted batch job 7")
    values = evaluate(site.attributes, asked).values
    texts = {name: WDL.Value.String(text) for name, text in PLACES.items()}
    ended = commands.run(site.script(site.submit, values | texts))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "Submitted batch job 7\n", "")
    return commands.argv("sbatch")


def test_nothing_is_slower_than_in_the_configuration_of_the_recordings(site: Site) -> None:
    assert site.timing == read_site(KIT).timing
    assert site.timing != DEFAULT
    assert site.exit_code_timeout_s == 30


def test_sbatch_gets_what_the_job_asks_for(commands: Commands, site: Site) -> None:
    asked = {"cpu": 3, "memory": "5000 MB", "runtime_minutes": 90, "gpus": 2, "queue": "long", "account": "chris"}
    assert submit(commands, site, asked) == [
        "--export=ALL",
        "--no-requeue",
        "--nodes=1",
        "--ntasks=1",
        "--cpus-per-task=3",
        "--mem=5000M",
        "--time=90",
        "--job-name=cromwell_1234abcd_job",
        "--chdir=/s/x",
        "--output=/s/x/stdout",
        "--error=/s/x/stderr",
        "--gres=gpu:2",
        "--partition=long",
        "--account=chris",
        "--wrap=exec /bin/bash '/s/x/script'",
    ]


def test_what_is_not_asked_for_is_left_to_the_cluster(commands: Commands, site: Site) -> None:
    argv = submit(commands, site, {})
    assert argv[4:7] == ["--cpus-per-task=1", "--mem=1024M", "--time=60"]
    names = {option.partition("=")[0] for option in argv}
    assert names.isdisjoint({"--gres", "--partition", "--account", "--qos", "--constraint"})


@pytest.mark.parametrize("name", ["queue", "account", "qos", "constraint"])
def test_no_text_of_a_workflow_is_read_by_the_shell(commands: Commands, site: Site, name: str) -> None:
    option = {"queue": "partition"}.get(name, name)
    assert f"--{option}={HOSTILE}" in submit(commands, site, {name: HOSTILE})
    assert not (commands.folder / "spoiled").exists()


def test_cromwells_own_environment_does_not_reach_the_job(commands: Commands, site: Site) -> None:
    submit(commands, site, {})
    assert commands.environment("sbatch") == {"PATH", "HOME", "LANG", "SLURM_CONF"}


def test_a_refusal_of_sbatch_is_one_of_submit(commands: Commands, site: Site) -> None:
    commands.say("sbatch", "sbatch: error: invalid partition specified: nope", 1)
    texts = {name: WDL.Value.String(text) for name, text in PLACES.items()}
    assert commands.run(site.script(site.submit, evaluate(site.attributes, {}).values | texts)).returncode == 1


ALIVE = ["PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED", "STAGE_OUT", "SPECIAL_EXIT"]
ENDED = ["BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"]
ENDED += ["REVOKED", "TIMEOUT"]
AWAY = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
UNKNOWN = "slurm_load_jobs error: Invalid job id specified"


def is_alive(commands: Commands, site: Site) -> bool:
    return commands.run(site.script(site.check_alive, {"job_id": WDL.Value.String("7")})).returncode == 0


@pytest.mark.parametrize("state", ALIVE)
def test_a_job_is_alive(commands: Commands, site: Site, state: str) -> None:
    commands.say("squeue", state)
    assert is_alive(commands, site)
    assert commands.argv("squeue") == ["--noheader", "--states=all", "--jobs=7", "--format=%T"]


@pytest.mark.parametrize("state", ENDED)
def test_a_job_has_ended(commands: Commands, site: Site, state: str) -> None:
    commands.say("squeue", state)
    assert not is_alive(commands, site)


def test_a_job_that_slurm_does_not_know_has_ended(commands: Commands, site: Site) -> None:
    commands.say("sacct", "RUNNING")  # accounting of a job that slurmctld has lost says so for ever
    commands.say("squeue", UNKNOWN, 1)
    assert not is_alive(commands, site)
    commands.say("squeue")
    assert not is_alive(commands, site)


def test_nobody_is_dead_because_slurm_does_not_answer(commands: Commands, site: Site) -> None:
    commands.say("squeue", AWAY, 1)
    commands.say("sacct", "Slurm accounting storage is disabled", 1)
    assert is_alive(commands, site)
    commands.say("sacct", "")
    assert is_alive(commands, site)
    commands.say("sacct", "RUNNING")
    assert is_alive(commands, site)
    commands.say("sacct", "CANCELLED by 1001")
    assert not is_alive(commands, site)


def test_a_job_is_killed_when_slurm_answers_again(commands: Commands, site: Site) -> None:
    commands.say("scancel", "scancel: error: Unable to contact slurm controller", 1, times=1)
    commands.run(site.script(site.kill, {"job_id": WDL.Value.String("7")}))
    wait_for("a second scancel", lambda: commands.calls("scancel") == 2)
    assert commands.argv("scancel") == ["7", "7"]


def test_attributes_that_a_site_does_not_know_do_no_harm() -> None:
    kit = read_site(KIT)
    found = evaluate(kit.attributes, {"cpu": 2, "memory": "512 MB", "gpus": 1, "memory_mb": 9, "account": "x"})
    assert found.unrecognized == ["account", "gpus", "memory_mb"]
    assert {name: value.value for name, value in found.values.items()} == {
        "cpu": 2,
        "memory_mb": 512,
        "runtime_minutes": 60,
        "queue": "debug",
    }


def test_an_attribute_of_the_wrong_type_is_refused(site: Site) -> None:
    with pytest.raises(InvalidAttribute, match="runtime_minutes"):
        evaluate(site.attributes, {"runtime_minutes": "an hour"})
