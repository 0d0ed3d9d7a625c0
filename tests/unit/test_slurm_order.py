"""What Slurm and its nodes are given for a job: whole orders and files against ``tests/golden/slurm``."""

import csv
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from backends._hpc.files import Folders, cache_name, files_of
from backends._hpc.runtime import build_container
from backends._slurm.commands import sacct_argv, sbatch_argv
from backends._slurm.order import build_order
from backends._slurm.settings import SlurmSettings
from backends._slurm.transport import SbatchOrder
from pman_core.errors import Rejected
from pman_core.job import JobSpec
from pman_core.request import JobRequest
from pman_core.settings import Settings
from tests.unit.payloads import GENERATION, check_golden, request

GOLDEN = Path(__file__).parents[1] / "golden/slurm"
BODY = request("it's $HOME $(id) `id` %j", "A=1", "B=x=$(A)", "C=cr\r\nlf", "PATH=/theirs", "a.b=2")


def spec(**wish: Any) -> JobSpec:
    return JobSpec(GENERATION, "site", JobRequest(**(BODY | wish)))


def common(**settings: Any) -> Settings:
    return Settings(container_env="slurm", storebase=Path("/store"), **settings)


def made(
    wish: dict[str, Any] | None = None, settings: dict[str, Any] | None = None, own: dict[str, Any] | None = None
) -> dict[str, Any]:
    job, site, asked = spec(**(wish or {})), common(**(settings or {})), SlurmSettings(**(own or {}))
    folder = f"/store/.pman/site/slurm/{GENERATION}"
    order = build_order(job, asked, site, "/store/.pman/site/slurm/launcher.0.bash", folder)
    folders = Folders(Path("/store"), Path("job/in"), Path("job/out"))
    files = files_of(job, asked, site, folders)
    return {
        "sbatch": sbatch_argv(order),
        "script": order.script.splitlines(),
        "files": {name: data.decode().split("\0")[:-1] for name, data in files.items()},
    }


ORDERS: dict[str, dict[str, Any]] = {
    "default": made(),
    "everything": made(
        {"gpu_limit": 2, "number_of_workers": 3, "time_limit": 90},
        {"timelimit_minutes": 30, "timelimit_max_minutes": 120, "enable_home_workaround": True},
        {
            "slurm_partition": "gpu,long",
            "slurm_account": "chris",
            "slurm_qos": "high",
            "slurm_constraint": "a100&ib",
            "slurm_gpu_gres": "gpu:a100",
            "slurm_options": "--reservation=pman --exclude=n1,n2 --exclusive",
            "hpc_runtime_options": "--writable-tmpfs --no-privs",
            "hpc_images": "/images",
            "hpc_image_cache": "/cache",
            "image_pull_policy": "always",
        },
    ),
    "no-limits": made(settings={"ignore_limits": True}),
    "singularity": made(own={"hpc_runtime": "singularity"}),
    "podman": made(settings={"shm_size": 256}, own={"hpc_runtime": "podman"}),
    "none": made(own={"hpc_runtime": "none", "hpc_any_image": True}),
}


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_is_as_it_was_recorded(name: str) -> None:
    check_golden(GOLDEN / f"{name}.json", ORDERS[name])


def test_the_script_is_the_same_for_every_job_but_for_the_path() -> None:
    script = ORDERS["default"]["script"]
    assert script == ORDERS["everything"]["script"]
    assert not [line for line in script if "$(id)" in line or "it's" in line]


def test_a_per_cent_sign_in_a_path_is_no_pattern() -> None:
    order = SbatchOrder("", "n", "c", "/", "/100%/j%j/slurm", {"PATH": "/bin"})
    assert "--output=/100%%/j%%j/slurm" in sbatch_argv(order)


@pytest.mark.parametrize(
    ("asked", "default", "most", "minutes"),
    [(None, None, None, None), (None, 30, None, 30), (10, 30, None, 10), (90, 30, 60, 60), (90, None, None, 90)],
)
def test_the_time_limit_is_the_jobs_the_sites_or_the_most(
    asked: int | None, default: int | None, most: int | None, minutes: int | None
) -> None:
    site = common(timelimit_minutes=default, timelimit_max_minutes=most)
    order = build_order(spec(time_limit=asked), SlurmSettings(), site, "/l", "/f")
    assert order.time_limit_minutes == minutes


@pytest.mark.parametrize(
    "options",
    ["--wrap=id", "--export=ALL", "--output=/x", "--requeue", "--uid=0", "reservation=x", "-p x", "--array=1-9", "--"],
)
def test_options_that_make_another_job_of_it_are_refused(options: str) -> None:
    with pytest.raises(ValidationError, match="is not one of"):
        SlurmSettings(slurm_options=options)  # type: ignore[arg-type]


@pytest.mark.parametrize("setting", ["slurm_partition", "slurm_account", "slurm_qos", "slurm_gpu_gres"])
def test_names_that_are_none_are_refused(setting: str) -> None:
    with pytest.raises(ValidationError):
        SlurmSettings(**{setting: "a b --wrap=x"})


def test_accounting_is_asked_for_many_at_once_in_utc() -> None:
    since = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    argv = sacct_argv([1, 22], since)
    assert "--starttime=2025-12-31T23:00:00" in argv
    assert since.astimezone(UTC).hour == 23
    assert "--jobs=1,22" in argv


@pytest.mark.parametrize("folder", ["a,b", 'a"b', " a", "a\nb", "a:b", "a=b,ro"])
def test_a_folder_of_any_name_is_mounted_as_one_field(folder: str) -> None:
    container = build_container(SlurmSettings(), common(), spec(), Path("/store/in"), Path("/store") / folder)
    options = [container.runtime[at + 1] for at, word in enumerate(container.runtime) if word == "--mount"]
    assert next(csv.reader([options[1]])) == ["type=bind", f"source=/store/{folder}", "destination=/share/outgoing"]
    assert next(csv.reader([options[0]]))[-1] == "ro"


def test_what_apptainer_would_change_is_set_by_env() -> None:
    container = build_container(SlurmSettings(), common(), spec(), Path("/in"), Path("/out"))
    assert list(container.argv[:5]) == ["env", "--", "C=cr\r\nlf", "PATH=/theirs", "a.b=2"]
    assert list(container.env) == ["APPTAINERENV_A=1", "APPTAINERENV_B=x=$(A)"]
    with pytest.raises(Rejected, match=r"C, PATH, a\.b cannot be set"):
        build_container(SlurmSettings(), common(), spec(entrypoint=["x=y"]), Path("/in"), Path("/out"))


@pytest.mark.parametrize("runtime", ["apptainer", "podman"])
def test_an_image_is_never_an_option_of_the_runtime(runtime: str) -> None:
    job = spec(image="docker://--volume=/:/host")
    folders = Folders(Path("/store"), Path("job/in"), Path("job/out"))
    with pytest.raises(Rejected, match="image"):
        files_of(job, SlurmSettings(hpc_runtime=runtime), common(), folders)


def test_images_of_the_cache_have_names_of_their_own() -> None:
    names = {cache_name(image) for image in ("a/b:1", "a-b:1", "a/b-1", "A/b:1", "x" * 500, "../../etc")}
    assert len(names) == 6
    assert all("/" not in name and len(name) < 100 and not name.startswith(".") for name in names)
