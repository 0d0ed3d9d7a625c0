"""What a worker finds out before its first job: settings that cannot be, a server that is not there, what it can do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.cromwell import CromwellBackend, CromwellSettings
from pman_core.errors import Rejected, Unavailable
from pman_core.settings import Settings
from tests.unit.cromwell_server import Scripted, serving


@pytest.fixture
def server() -> Iterator[Scripted]:
    with serving(Scripted()) as scripted:
        yield scripted


def backend(url: str, store: Path | None, own: dict[str, Any] | None = None, **common: Any) -> CromwellBackend:
    values = {"container_env": "process", "cromwell_url": url, "storebase": store}
    if store is None:
        values |= {"storage_type": "kubernetes_pvc", "volume_name": "v"}
    return CromwellBackend(Settings(**(values | common)), CromwellSettings(**(own or {})))


def test_a_site_without_an_address_is_told_the_setting(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="CROMWELL_URL"):
        backend("", tmp_path).open()


def test_a_site_without_shared_storage_is_told_the_setting(server: Scripted) -> None:
    with pytest.raises(Rejected, match="STOREBASE"):
        backend(server.url, None).open()


def test_labels_that_every_job_would_be_refused_for_are_refused_at_the_start(tmp_path: Path, server: Scripted) -> None:
    with pytest.raises(Rejected, match="JOB_LABELS"):
        backend(server.url, tmp_path, job_labels=(("k", "x" * 256),)).open()


def test_an_address_of_something_else_is_told(tmp_path: Path, server: Scripted) -> None:
    server.says_recorded("GET", "/version", "26-unknown-path")
    with pytest.raises(Unavailable, match="CROMWELL_URL does not lead to the API of a Cromwell server"):
        backend(server.url, tmp_path).open()


def test_its_wdl_is_shown_with_the_attributes_of_the_site(tmp_path: Path, server: Scripted) -> None:
    backend(server.url, tmp_path, {"cromwell_runtime_attributes": "queue=long,nodes=1"}).open()
    shown = next(body for _, path, body in server.asked if path.endswith("/describe"))
    for line in (b"queue: queue", b"nodes: nodes", b"gpus: gpus", b"runtime_minutes: runtime_minutes"):
        assert line in shown


def test_health_has_the_version(tmp_path: Path, server: Scripted) -> None:
    opened = backend(server.url, tmp_path)
    opened.open()
    assert (opened.health().ok, opened.health().message) == (True, "Cromwell 92")


@pytest.mark.parametrize(("gpus", "can"), [("auto", False), ("no", False), ("yes", True)])
def test_gpus_are_what_the_site_says_of_them(tmp_path: Path, gpus: str, can: bool) -> None:
    assert backend("http://h", tmp_path, {"gpus": gpus}).capabilities.gpus is can


def test_bare_commands_are_run_only_by_permission(tmp_path: Path) -> None:
    refusing = backend("http://h", tmp_path, {"hpc_runtime": "none"}).capabilities
    assert (refusing.any_image, "HPC_ANY_IMAGE" in refusing.any_image_hint) == (False, True)
    allowed = backend("http://h", tmp_path, {"hpc_runtime": "none", "hpc_any_image": True}).capabilities
    assert (allowed.any_image, allowed.rewrites_paths, allowed.read_only_incoming) == (True, True, False)
    contained = backend("http://h", tmp_path).capabilities
    assert (contained.any_image, contained.rewrites_paths, contained.read_only_incoming) == (True, False, True)
