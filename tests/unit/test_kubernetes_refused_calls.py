"""Calls that the API server refuses, loses or does not answer, over real HTTP: what the backend makes of them.

The refusals are those of a real server. Whatever happens, a job is made at most once, and nothing is lost or made up.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backends._kubernetes import connection
from backends._kubernetes.errors import Busy
from backends.kubernetes import KubernetesBackend
from pman_core.backend import Absent, JobRef, Observed
from pman_core.errors import BackendError, Conflict, Rejected, Unavailable, Unparseable
from pman_core.job import JobSpec
from pman_core.states import State
from tests.fakes.kube_api import FakeCluster, recorded
from tests.fakes.kube_api.refusals import status
from tests.unit.kube_backend import COUNT, STUBBORN, World, look, seen

ERRORS = json.loads((Path(__file__).parents[1] / "recorded" / "kubernetes" / "errors.json").read_text())
CREATE: dict[str, type[BackendError]] = {
    "401": Unavailable,
    "403, create jobs": Unavailable,
    "403, quota of jobs": Unavailable,
    "403, namespace terminating": Unavailable,
    "403, pod security of a pod": Rejected,
    "404, namespace absent": Unavailable,
    "413": Rejected,
    "400, quantity": Rejected,
    "400, not JSON": Rejected,
    "422, name": Rejected,
    "422, mounts": Rejected,
    "422, node selector": Rejected,
    "422, limits below requests": Rejected,
    "422, annotations too long": Rejected,
    "422, admission policy": Rejected,
    "too large for etcd": Rejected,
    "429": Busy,
    "500, webhook away": Unavailable,
    "503, nobody serves this API": Unavailable,
}
NOT_NOW = ["401", "503, nobody serves this API"]


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[World]:
    with FakeCluster() as cluster:
        cluster.node.second_s = 0.02
        made = World(cluster, tmp_path)
        yield made
        cluster.faults.release()
        made.close()


@pytest.mark.parametrize("name", CREATE)
def test_a_job_that_is_refused(kube: World, name: str) -> None:
    backend, spec = kube.worker(), kube.spec(COUNT)
    kube.cluster.faults.refuse("create jobs", recorded(name), times=1)
    with pytest.raises(CREATE[name]) as refused:
        backend.submit(spec)
    assert "hunter22" not in str(refused.value)
    assert kube.cluster.jobs() == []
    if CREATE[name] is Unavailable:
        backend.submit(spec)
        assert seen(backend, spec).state is State.SUCCEEDED
        assert kube.runs(spec) == 1


def test_who_is_asked_for_patience_leaves_the_server_alone_and_comes_back(
    kube: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, spec = kube.worker(), kube.spec(COUNT)
    now_s = 1000.0
    monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=lambda: now_s))
    kube.cluster.faults.refuse("create jobs", recorded("429"), times=1)
    with pytest.raises(Busy):
        backend.submit(spec)
    for call in (lambda: backend.submit(spec), lambda: look(backend, spec)):
        with pytest.raises(Unavailable, match="left alone"):
            call()
    assert kube.cluster.faults.count("create jobs") == 1
    now_s += 1.05  # the server's own Retry-After
    backend.submit(spec)
    assert seen(backend, spec).state is State.SUCCEEDED


def test_an_answer_that_is_lost_makes_no_second_job(kube: World) -> None:
    backend, spec = kube.worker(), kube.spec(COUNT)
    kube.cluster.faults.lose_answer("create jobs")
    with pytest.raises(Unavailable):
        backend.submit(spec)
    handle = backend.submit(spec)
    assert len(kube.cluster.jobs()) == 1
    found = seen(backend, spec)
    assert (found.state, found.handle) == (State.SUCCEEDED, handle)
    assert kube.runs(spec) == 1


def test_a_job_of_another_body_under_the_name_is_a_conflict(kube: World) -> None:
    backend, spec = kube.worker(), kube.spec(STUBBORN)
    kube.cluster.faults.lose_answer("create jobs")
    with pytest.raises(Unavailable):
        backend.submit(spec)
    other = JobSpec(spec.generation, spec.instance, kube.spec(COUNT).request)
    with pytest.raises(Conflict):
        backend.submit(other)


QUESTIONS: dict[str, tuple[str, Callable[[KubernetesBackend, JobSpec], Any]]] = {
    "observe, jobs": ("list jobs", look),
    "observe, pods": ("list pods", look),
    "owned, jobs": ("list jobs", lambda backend, _: list(backend.owned())),
    "owned, pods": ("list pods", lambda backend, _: list(backend.owned())),
    "logs": ("get pods/log", lambda backend, spec: backend.logs(JobRef(spec.jid, spec.generation), 10, 1000)),
    "end": ("patch *", lambda backend, spec: backend.end(spec.jid, spec.generation)),
    "remove, job": ("delete jobs", lambda backend, spec: backend.remove(spec.jid, spec.generation)),
    "remove, pods": ("deletecollection pods", lambda backend, spec: backend.remove(spec.jid, spec.generation)),
    "cursor": ("list *", lambda backend, _: backend.cursor()),
}


@pytest.fixture
def running(kube: World) -> tuple[World, KubernetesBackend, JobSpec]:
    backend, spec = kube.worker(), kube.spec(STUBBORN)
    backend.submit(spec)
    seen(backend, spec, lambda found: found.state is State.RUNNING)
    return kube, backend, spec


@pytest.mark.parametrize("refusal", NOT_NOW)
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_refused_question_is_no_answer(
    running: tuple[World, KubernetesBackend, JobSpec], question: str, refusal: str
) -> None:
    kube, backend, spec = running
    asked, ask = QUESTIONS[question]
    kube.cluster.faults.refuse(asked, recorded(refusal))
    with pytest.raises(Unavailable):
        ask(backend, spec)
    assert kube.cluster.pods()[0]["status"]["phase"] == "Running"


@pytest.mark.parametrize("asked", ["patch jobs", "patch pods"])
def test_what_a_refused_end_quotes_of_a_variable_is_struck_out(
    running: tuple[World, KubernetesBackend, JobSpec], asked: str
) -> None:
    kube, backend, spec = running
    words = 'admission webhook "policy.example.org" denied the request: SECRET=hunter22 is not allowed'
    kube.cluster.faults.refuse(asked, status(403, "Forbidden", words))
    with pytest.raises(Unavailable, match=r"SECRET=\*\*\* is not allowed"):
        backend.end(spec.jid, spec.generation)


@pytest.mark.parametrize(
    "how",
    [
        "drop",
        pytest.param("hang", marks=pytest.mark.exhaustive),  # waits for time-outs, which are whole seconds
    ],
)
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_without_an_answer(
    running: tuple[World, KubernetesBackend, JobSpec], question: str, how: str
) -> None:
    kube, backend, spec = running
    asked, ask = QUESTIONS[question]
    hasty = kube.worker(kube_timeout_s=1)
    getattr(kube.cluster.faults, how)(asked, times=1)
    began_s = time.monotonic()
    with pytest.raises(Unavailable):
        ask(hasty, spec)
    assert time.monotonic() - began_s < 5
    kube.cluster.faults.clear()
    ask(backend, spec)  # and now it is answered


@pytest.mark.parametrize("body", [b"<html>Welcome to the captive portal</html>", b"[]", b'{"kind": "JobList"}'])
@pytest.mark.parametrize("question", [name for name in QUESTIONS if name not in {"logs", "end", "remove, job"}])
def test_garbage_is_no_answer(running: tuple[World, KubernetesBackend, JobSpec], question: str, body: bytes) -> None:
    kube, backend, spec = running
    asked, ask = QUESTIONS[question]
    kube.cluster.faults.say(asked, body)
    with pytest.raises((Unparseable, Unavailable)):
        ask(backend, spec)


def test_a_right_that_is_missing_is_named_and_nothing_is_lost(kube: World) -> None:
    kube.cluster.add_user("poor", "create jobs", "get pods/log", "deletecollection pods")
    poor, spec = kube.worker("poor"), kube.spec(COUNT)
    with pytest.raises(Unavailable, match='cannot create resource "jobs"'):
        poor.submit(spec)
    health = poor.health()
    assert not health.ok
    assert all(word in health.message for word in ("create", "pods/log", "deletecollection"))
    rich = kube.worker()
    rich.submit(spec)
    seen(rich, spec)
    with pytest.raises(Unavailable, match="pods/log"):
        poor.logs(JobRef(spec.jid, spec.generation), 10, 1000)
    assert rich.logs(JobRef(spec.jid, spec.generation), 10, 1000) == "said\n"


# Pages


@pytest.fixture
def many(kube: World, monkeypatch: pytest.MonkeyPatch) -> tuple[World, KubernetesBackend, list[JobSpec]]:
    monkeypatch.setattr(connection, "PAGE", 2)
    backend, specs = kube.worker(), [kube.spec(COUNT, jid=f"job-{number}") for number in range(5)]
    for spec in specs:
        backend.submit(spec)
    for spec in specs:
        seen(backend, spec)
    return kube, backend, specs


def test_a_list_is_read_to_its_last_page(many: tuple[World, KubernetesBackend, list[JobSpec]]) -> None:
    _, backend, specs = many
    assert {item.observed.generation for item in backend.owned()} == {spec.generation for spec in specs}


@pytest.mark.parametrize("resource", ["jobs", "pods"])
def test_a_list_that_expires_between_its_pages_is_not_taken_for_whole(
    many: tuple[World, KubernetesBackend, list[JobSpec]], resource: str
) -> None:
    kube, backend, specs = many
    real, calls = kube.cluster.api._list, []

    def expire_before_the_second(call: Any, target: Any) -> Any:
        if target.resource == resource and "continue" in call.query:
            calls.append(call)
            if len(calls) == 1:
                kube.cluster.expire_watches()
        return real(call, target)

    kube.cluster.api._list = expire_before_the_second  # type: ignore[method-assign]
    refs = [JobRef(spec.jid, spec.generation) for spec in specs]
    try:
        answers = backend.observe(refs)
    except Unavailable:
        answers = backend.observe(refs)  # a new listing, which nothing disturbs
    assert calls
    assert all(isinstance(answer, Observed) and answer.state is State.SUCCEEDED for answer in answers.values())
    assert Absent() not in answers.values()


# The server goes and comes back


def test_a_job_ends_while_the_server_is_away(running: tuple[World, KubernetesBackend, JobSpec]) -> None:
    kube, backend, _ = running
    spec = kube.spec(COUNT, jid="second")
    backend.submit(spec)
    kube.cluster.server.stop()
    for call in (lambda: look(backend, spec), lambda: list(backend.owned()), backend.cursor):
        with pytest.raises(Unavailable):
            call()
    assert not backend.health().ok
    kube.cluster.server.start()
    assert seen(backend, spec).state is State.SUCCEEDED
    assert kube.runs(spec) == 1
    assert backend.health().ok
