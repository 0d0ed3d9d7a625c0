"""What a job is on a real cluster, what it costs, and which rights pman needs for it."""

from pathlib import Path

import pytest

from backends._kubernetes import connection
from pman_core.backend import Absent, JobRef, Observed
from pman_core.errors import Rejected, Unavailable
from pman_core.job import JobSpec
from pman_core.states import TERMINAL, State
from tests.engines.kube import Cluster, Counted, look, ref, seen
from tests.engines.kube_system import poor_access, wait_may

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]


# What it is


def test_a_job_has_no_rights_and_no_token(kube: Cluster) -> None:
    backend = kube.backend({"shm_size": 8, "enable_home_workaround": True})
    look_around = (
        'cd "$0"; grep -E "^(CapEff|NoNewPrivs|Seccomp):" /proc/self/status > rights;'
        ' ls /var/run/secrets > secrets 2>&1; df -k /dev/shm | tail -1 > shm; echo "$HOME" > home'
    )
    spec = kube.spec(look_around)
    backend.submit(spec)
    seen(backend, spec)
    output = kube.store_base / spec.request.output_dir
    rights = dict(line.split(":\t") for line in (output / "rights").read_text().splitlines())
    assert rights == {"CapEff": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"}
    assert "No such file" in (output / "secrets").read_text()
    assert (output / "shm").read_text().split()[1] == "8192"
    assert (output / "home").read_text() == "/tmp\n"


def test_a_job_that_is_too_large_is_refused_by_us(kube: Cluster) -> None:
    backend = kube.backend()
    with pytest.raises(Rejected, match="too large for Kubernetes"):
        backend.submit(kube.spec("exit 0", args=("x" * 100_000,) * 3))
    largest = kube.spec("exit 0", args=("x" * 100_000,) * 2)
    backend.submit(largest)
    backend.end(largest.jid, largest.generation)
    seen(backend, largest)


def test_an_overlay_is_shown_to_the_server_before_the_first_job(kube: Cluster, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("spec: {tolerations: [{kee: x}]}")
    with pytest.raises(Rejected, match=r"KUBE_POD_OVERLAY: .*tolerations"):
        kube.backend(kube_pod_overlay=overlay)
    overlay.write_text("spec: {hostAliases: [{ip: 10.1.2.3, hostnames: [pacs.example.org]}]}")
    backend = kube.backend(kube_pod_overlay=overlay)
    spec = kube.spec("grep -q pacs.example.org /etc/hosts")
    backend.submit(spec)
    assert seen(backend, spec).state is State.SUCCEEDED


# What it costs


@pytest.mark.parametrize("script", ["echo out", "exit 3"])
def test_a_job_costs_four_calls(kube: Cluster, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(connection, "Api", Counted)
    monkeypatch.setattr(Counted, "calls", calls := [], raising=False)
    backend = kube.backend()
    spec = kube.spec(script)
    calls.clear()
    handle = backend.submit(spec)
    own = len(calls)
    ended = seen(backend, spec)
    calls.clear()
    backend.logs(JobRef(spec.jid, spec.generation, handle), 100, 1000)
    assert backend.remove(spec.jid, spec.generation), "and to verify it costs nothing"
    own += len(calls)
    assert own == 4, calls
    assert look(backend, spec) == Absent()
    assert ended.state in TERMINAL


def test_a_listing_costs_two_calls_for_any_number_of_jobs(kube: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "Api", Counted)
    monkeypatch.setattr(connection, "PAGE", 2)
    monkeypatch.setattr(Counted, "calls", calls := [], raising=False)
    backend = kube.backend({"pman_instance": "many"})
    specs = [JobSpec(spec.generation, "many", spec.request) for spec in (kube.spec("exit 0") for _ in range(3))]
    for spec in specs:
        backend.submit(spec)
    for spec in specs:
        seen(backend, spec)
    calls.clear()
    found = backend.observe([ref(spec) for spec in specs])
    assert len(calls) == 4, "two pages each"
    assert {sighting.state for sighting in found.values() if isinstance(sighting, Observed)} == {State.SUCCEEDED}


# Rights


def test_missing_rights_are_told_as_a_rule(kube: Cluster, tmp_path: Path) -> None:
    config = poor_access(kube, tmp_path, "poor")
    kube.kubectl("create", "role", "poor", "--verb=get,list,watch", "--resource=jobs.batch")
    kube.kubectl("create", "rolebinding", "poor", "--role=poor", f"--serviceaccount={kube.namespace}:poor")
    wait_may(kube, "poor", "list", "jobs.batch")
    backend = kube.backend(kubeconfig=str(config), kube_context="poor")
    health = backend.health()
    assert not health.ok
    assert '- apiGroups: ["batch"]\n  resources: ["jobs"]\n  verbs: [create, patch, delete]' in health.message
    with pytest.raises(Unavailable, match='cannot create resource "jobs"'):
        backend.submit(kube.spec("exit 0"))
    with pytest.raises(Unavailable, match='cannot list resource "pods"'):
        look(backend, kube.spec("exit 0"))
    assert kube.backend().health().ok


def test_a_namespace_that_is_not_there_is_not_taken_for_an_empty_one(kube: Cluster, tmp_path: Path) -> None:
    backend = kube.backend({"job_namespace": "pman-no-such-namespace"})
    with pytest.raises(Unavailable, match='JOB_NAMESPACE: namespaces "pman-no-such-namespace" not found'):
        look(backend, kube.spec("exit 0"))
    assert "pman-no-such-namespace" in backend.health().message
    config = poor_access(kube, tmp_path, "modest")
    kube.kubectl("create", "role", "modest", "--verb=list", "--resource=jobs.batch,pods")
    kube.kubectl("create", "rolebinding", "modest", "--role=modest", f"--serviceaccount={kube.namespace}:modest")
    wait_may(kube, "modest", "list", "pods")
    assert look(kube.backend(kubeconfig=str(config), kube_context="modest"), kube.spec("exit 0")) == Absent()
