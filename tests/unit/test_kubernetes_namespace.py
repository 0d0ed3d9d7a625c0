"""A namespace that is not there lists as an empty one: that must not be the end of every job."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pman_core.backend import Absent
from pman_core.errors import Unavailable
from pman_core.job import mint_generation
from tests.fakes.kube_api import FakeCluster, recorded
from tests.unit.kube_backend import COUNT, World, look

ABSENT = 'JOB_NAMESPACE: namespaces "plugin" not found'


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[World]:
    with FakeCluster() as cluster:
        made = World(cluster, tmp_path)
        yield made
        made.close()


def test_nothing_is_said_of_jobs_in_a_namespace_that_is_not_there(kube: World) -> None:
    backend, spec = kube.worker(namespace="plugin"), kube.spec(COUNT)
    with pytest.raises(Unavailable, match=ABSENT):
        look(backend, spec)
    with pytest.raises(Unavailable, match=ABSENT):
        list(backend.owned())
    with pytest.raises(Unavailable, match=ABSENT):
        backend.remove(spec.jid, spec.generation)
    with pytest.raises(Unavailable, match=ABSENT):
        backend.end(spec.jid, spec.generation)
    assert (backend.health().ok, ABSENT in backend.health().message) == (False, True)
    kube.cluster.api.namespaces.add("plugin")
    assert look(backend, spec) == Absent()
    assert backend.remove(spec.jid, spec.generation) is True
    assert backend.health().ok


def test_it_is_asked_for_once(kube: World) -> None:
    backend = kube.worker()
    for _ in range(3):
        assert look(backend, kube.spec(COUNT)) == Absent()
        backend.remove("none", mint_generation())
    assert kube.cluster.faults.count("get namespaces") == 1
    other = kube.worker()
    other.submit(kube.spec(COUNT))
    list(other.owned())
    assert kube.cluster.faults.count("get namespaces") == 1, "a namespace with a Job in it is there"


def test_who_may_not_ask_has_a_role_in_it_and_goes_on(kube: World) -> None:
    kube.cluster.add_user("modest", "get namespaces")
    backend = kube.worker("modest")
    assert look(backend, kube.spec(COUNT)) == Absent()
    look(backend, kube.spec(COUNT))
    assert kube.cluster.faults.count("get namespaces") == 1
    assert backend.health().ok


def test_a_question_that_fails_is_no_answer(kube: World) -> None:
    backend, spec = kube.worker(), kube.spec(COUNT)
    kube.cluster.faults.refuse("get namespaces", recorded("503, nobody serves this API"), times=1)
    with pytest.raises(Unavailable):
        look(backend, spec)
    assert look(backend, spec) == Absent()
