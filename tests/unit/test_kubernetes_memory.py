"""What a process remembers of jobs that it looks at one by one, as workers do, has a bound."""

from typing import cast

import pytest

from backends._kubernetes.namespace import Namespace
from backends._kubernetes.settings import KubernetesSettings
from backends._kubernetes.survey import Survey
from backends.kubernetes import KubernetesBackend
from pman_core.backend import JobRef
from pman_core.job import mint_generation
from tests.unit.kube_objects import common, job, pod, running, spec


class EveryJobRuns:
    def now(self) -> None:
        return None

    def survey(self, generation: str) -> Survey:
        of = spec(generation)
        return Survey([job(of=of, active=1)], [pod("Running", running(), of=of)])


def test_looks_at_one_job_after_the_other_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.kubernetes.LOOKS_MAX", 10)
    backend = KubernetesBackend(common(), KubernetesSettings())
    backend._namespace = cast(Namespace, EveryJobRuns())
    for _ in range(35):
        backend.observe([JobRef(spec().jid, mint_generation())])
    assert 0 < len(backend._workers) <= 10
    assert 0 < len(backend._watchdog._patience._memories) <= 10
