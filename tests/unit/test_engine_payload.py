"""What an engine is sent for a job: whole bodies against ``tests/golden/engine``, rewritten by REWRITE_GOLDEN=yes."""

from pathlib import Path
from typing import Any

import pytest

from backends._engine.container import Gpus, build_container
from backends._engine.dialect import DOCKER, PODMAN
from backends._engine.labels import identity_of, spec_of
from backends._engine.mounts import NfsFolders, Volume, VolumeFolders, refuse_what_podman_splits, storage_of
from backends._engine.settings import ContainerSettings, podman_sockets, tls_folder
from pman_core.errors import Rejected
from pman_core.job import JobSpec
from pman_core.request import JobRequest
from pman_core.settings import Settings, load_settings
from pman_core.states import Reason
from tests.unit.payloads import GENERATION, check_golden, request

GOLDEN = Path(__file__).parents[1] / "golden" / "engine"
MOUNTS = [
    {"Type": "bind", "Source": "/store/job/in", "Target": "/share/incoming", "ReadOnly": True},
    {"Type": "bind", "Source": "/store/job/out", "Target": "/share/outgoing", "ReadOnly": False},
]
BODY = request("it's {{.Name}} $HOME", "A=1", "B=x=y")


def spec(**fields: Any) -> JobSpec:
    return JobSpec(GENERATION, "site", JobRequest(**(BODY | fields)))


def common(**values: Any) -> Settings:
    return load_settings(**({"container_env": "docker", "storebase": "/store"} | values))


def body(
    wish: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    own: dict[str, Any] | None = None,
    gpus: Gpus = "none",
) -> dict[str, Any]:
    return build_container(spec(**wish or {}), common(**settings or {}), ContainerSettings(**own or {}), MOUNTS, gpus)


CASES: dict[str, dict[str, Any]] = {
    "docker-default": body(),
    "docker-everything": body(
        {"gpu_limit": 2},
        {
            "container_user": "1000:2000",
            "enable_home_workaround": True,
            "shm_size": 64,
            "job_labels": "site=here,org.chrisproject.job_type=other",
        },
        {"drop_capabilities": True, "pids_limit": 100},
        "requests",
    ),
    "docker-soft-memory": body(own={"memory_limit_soft": True}),
    "docker-no-limits": body(settings={"ignore_limits": True}, own={"pids_limit": None}),
    "podman-gpus": body({"gpu_limit": 2}, gpus="cdi"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_whole_body(name: str) -> None:
    check_golden(GOLDEN / f"{name}.json", CASES[name])


def test_the_labels_give_the_job_back() -> None:
    labels = body()["Labels"]
    assert spec_of(labels) == spec()
    identity = identity_of(labels)
    assert identity is not None
    assert (identity.jid, identity.instance, identity.digest) == ("chris-jid-4", "site", spec().request.digest)


def test_job_labels_cannot_replace_ours() -> None:
    labels = body(settings={"job_labels": "org.chrisproject.pman.jid=another"})["Labels"]
    assert labels["org.chrisproject.pman.jid"] == "chris-jid-4"


@pytest.mark.parametrize("labels", [None, {}, {"org.chrisproject.pman.jid": "alone"}])
def test_what_is_not_ours_has_no_identity(labels: dict[str, str] | None) -> None:
    assert identity_of(labels) is None


def test_a_spec_that_cannot_be_read_is_none() -> None:
    assert spec_of({"org.chrisproject.pman.spec": "{}"}) is None
    assert (
        spec_of({"org.chrisproject.pman.spec": '{"v": 1, "generation": "g", "instance": "i", "request": "{}"}'}) is None
    )


def test_what_no_exec_takes_is_refused() -> None:
    with pytest.raises(Rejected, match="argument 2 has 200000 bytes") as refused:
        body({"args": ["x" * 200_000]})
    assert refused.value.reason is Reason.START_FAILED


def test_every_user_of_a_range_is_taken_for_good() -> None:
    users = {body(settings={"container_user": "1000-1005:7"})["User"] for _ in range(3)}
    assert len(users) == 1
    uid, gid = users.pop().split(":")
    assert 1000 <= int(uid) <= 1005
    assert gid == "7"


# Storage


def made(base: Path) -> Path:
    for folder in ("job/in", "job/out"):
        (base / folder).mkdir(parents=True)
    return base


def test_host_folders_are_bound_incoming_read_only(tmp_path: Path) -> None:
    storage = storage_of(common(storebase=made(tmp_path)), None, has_subpath=False)
    assert storage.mounts(spec(), None) == [
        {"Type": "bind", "Source": f"{tmp_path}/job/in", "Target": "/share/incoming", "ReadOnly": True},
        {"Type": "bind", "Source": f"{tmp_path}/job/out", "Target": "/share/outgoing", "ReadOnly": False},
    ]


@pytest.mark.parametrize("name", ["a,src=/etc", 'q"q', "line\nbreak", "b,readonly=false"])
def test_podman_is_given_no_folder_that_it_would_take_apart(tmp_path: Path, name: str) -> None:
    storage = storage_of(common(storebase=made(tmp_path)), None, has_subpath=False)
    with pytest.raises(Rejected, match="output_dir: Podman takes no folder"):
        refuse_what_podman_splits(storage.mounts(spec(output_dir=name), None))
    refuse_what_podman_splits(storage.mounts(spec(), None))


def test_a_link_in_the_store_is_not_followed(tmp_path: Path) -> None:
    (made(tmp_path) / "evil").symlink_to("/etc")
    storage = storage_of(common(storebase=tmp_path), None, has_subpath=False)
    with pytest.raises(Rejected, match="input_dir: 'evil' is a symbolic link"):
        storage.mounts(spec(input_dir="evil"), None)


def test_a_store_base_that_is_itself_a_link_is_the_administrators(tmp_path: Path) -> None:
    made(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    storage = storage_of(common(storebase=tmp_path / "link"), None, has_subpath=False)
    assert storage.mounts(spec(), None)[0]["Source"] == f"{tmp_path}/link/job/in"


def test_a_volume_is_mounted_below_its_root_where_the_engine_can() -> None:
    volume = Volume("chris_files", Path("/var/lib/docker/volumes/chris_files/_data"))
    settings = common(storage_type="docker_local_volume", storebase=None)
    storage = storage_of(settings, volume, has_subpath=True)
    assert storage == VolumeFolders("chris_files", None)
    assert storage.mounts(spec(), None)[0] == {
        "Type": "volume",
        "Source": "chris_files",
        "Target": "/share/incoming",
        "ReadOnly": True,
        "VolumeOptions": {"Subpath": "job/in"},
    }


def test_an_older_engine_gets_the_volumes_folder_checked_where_pman_sees_it(tmp_path: Path) -> None:
    volume = Volume("chris_files", Path("/engine/volumes/chris_files/_data"))
    settings = common(storage_type="docker_local_volume", storebase=made(tmp_path))
    storage = storage_of(settings, volume, has_subpath=False)
    assert [mount["Source"] for mount in storage.mounts(spec(), None)] == [
        "/engine/volumes/chris_files/_data/job/in",
        "/engine/volumes/chris_files/_data/job/out",
    ]
    (tmp_path / "evil").symlink_to("/etc")
    with pytest.raises(Rejected):
        storage.mounts(spec(input_dir="evil"), None)


def test_nfs_is_a_volume_of_the_jobs_own() -> None:
    settings = common(storage_type="nfs", nfs_server="nas.example.org", storebase="/export/chris")
    storage = storage_of(settings, None, has_subpath=False)
    assert storage == NfsFolders("nas.example.org", Path("/export/chris"))
    incoming, outgoing = storage.mounts(spec(), None)
    assert incoming == {
        "Type": "volume",
        "Source": "",
        "Target": "/share/incoming",
        "ReadOnly": True,
        "VolumeOptions": {
            "DriverConfig": {
                "Name": "local",
                "Options": {"type": "nfs", "o": "addr=nas.example.org,ro", "device": ":/export/chris/job/in"},
            }
        },
    }
    assert outgoing["VolumeOptions"]["DriverConfig"]["Options"]["o"] == "addr=nas.example.org,rw"


# Engines and where they are


def test_engines_are_told_apart_by_their_components() -> None:
    docker = {"Components": [{"Name": "Engine"}, {"Name": "containerd"}]}
    podman = {"Components": [{"Name": "Podman Engine"}, {"Name": "Conmon"}]}
    assert [dialect.is_spoken_by(docker) for dialect in (DOCKER, PODMAN)] == [True, False]
    assert [dialect.is_spoken_by(podman) for dialect in (DOCKER, PODMAN)] == [False, True]
    assert not PODMAN.is_spoken_by({})


def test_subpaths_come_with_version_1_45() -> None:
    assert [DOCKER.has_subpath(version) for version in ("1.41", "1.44", "1.45", "1.52")] == [False, False, True, True]


def test_gpus_are_what_the_engine_says() -> None:
    assert DOCKER.has_gpus({"Runtimes": {"runc": {}, "nvidia": {}}})
    assert DOCKER.has_gpus({"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]})
    assert not DOCKER.has_gpus({"Runtimes": {"runc": {}}})
    assert not PODMAN.has_gpus({"Runtimes": {"nvidia": {}}})


def test_certificates_are_where_the_docker_command_looks() -> None:
    assert tls_folder(common(docker_cert_path="/certs"), Path("/home/me")) is None
    assert tls_folder(common(docker_tls_verify=True, docker_cert_path="/certs"), Path("/home/me")) == Path("/certs")
    assert tls_folder(common(docker_tls_verify=True), Path("/home/me")) == Path("/home/me/.docker")


def test_podman_listens_for_root_or_for_its_user() -> None:
    assert podman_sockets({}, 0)[0] == Path("/run/podman/podman.sock")
    assert podman_sockets({}, 1000)[0] == Path("/run/user/1000/podman/podman.sock")
    assert podman_sockets({"XDG_RUNTIME_DIR": "/run/x"}, 1000)[0] == Path("/run/x/podman/podman.sock")
