"""Values of a job's variables are in no line of the log of pman, at any level, whatever Kubernetes quotes of them."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pman_core.errors import BackendError
from pman_core.states import State
from testbed.system import wait_for
from tests.fakes.kube_api.refusals import status
from tests.unit.kube_backend import COUNT, STUBBORN, World, impatient_world, look, seen

IMAGE = "case/image:1"
WORDS = 'admission webhook "policy.example.org" denied the request: SECRET=hunter22 is not allowed'


@pytest.fixture
def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    caplog.set_level(logging.DEBUG)
    with impatient_world(tmp_path, monkeypatch) as made:
        yield made


def test_a_job_that_is_refused(kube: World, caplog: pytest.LogCaptureFixture) -> None:
    backend, spec = kube.worker(), kube.spec(COUNT)
    kube.cluster.faults.refuse("create jobs", status(403, "Forbidden", WORDS), times=1)
    with suppress(BackendError):
        backend.submit(spec)
    assert kube.cluster.faults.count("create jobs") == 1
    assert "hunter22" not in caplog.text


def test_a_job_that_does_not_start_and_cannot_be_ended(kube: World, caplog: pytest.LogCaptureFixture) -> None:
    kube.cluster.node.images[IMAGE] = ("CreateContainerError", "no such thing: SECRET=hunter22")
    backend, spec = kube.worker(kube_start_grace_s=0), kube.spec(COUNT)
    kube.cluster.faults.refuse("patch jobs", status(403, "Forbidden", WORDS))
    backend.submit(spec)
    seen(backend, spec, lambda found: found.native_state == "CreateContainerError")

    def is_told() -> bool:
        look(backend, spec)
        return "not ended yet" in caplog.text

    wait_for("the log tells it", is_told)
    assert "SECRET=*** is not allowed" in caplog.text
    assert "hunter22" not in caplog.text


def test_a_job_that_runs_and_is_removed(kube: World, caplog: pytest.LogCaptureFixture) -> None:
    backend, spec = kube.worker(), kube.spec(STUBBORN)
    backend.submit(spec)
    seen(backend, spec, lambda found: found.state is State.RUNNING)
    backend.end(spec.jid, spec.generation)
    seen(backend, spec)
    backend.remove(spec.jid, spec.generation)
    assert "hunter22" not in caplog.text
