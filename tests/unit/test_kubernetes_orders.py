"""A call that changes something and hangs, as under a webhook that does not answer: nobody who looks at jobs waits."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends._kubernetes import patience, watchdog
from backends._kubernetes.identity import GENERATION
from backends._kubernetes.lost_nodes import TAINT_MANAGER
from backends._kubernetes.orders import AT_ONCE_MAX, Orders
from pman_core.backend import JobRef, Observed, Unknown
from pman_core.job import JobSpec
from pman_core.states import Reason, State
from testbed.system import wait_for
from tests.fakes.kube_api import FakeCluster
from tests.fakes.kube_api.events import tell
from tests.fakes.kube_api.job_controller import key_of
from tests.unit.kube_backend import COUNT, STUBBORN, World, look, seen

JOBS = 100
HANGS_S = 10
"""As long as a call may take: nothing here waits for it."""
IMAGE = "case/nowhere:1"
LONG_AGO = "2020-01-01T00:00:00Z"


class Gate:
    """Orders that hang until they are let go, and who was ordered."""

    def __init__(self) -> None:
        self.orders = Orders()
        self.begun: list[str] = []
        self.ended: list[str] = []
        self._open = threading.Event()

    def give(self, *names: str) -> None:
        for name in names:
            self.orders.give(name, lambda name=name: self._hang(name))  # type: ignore[misc]

    def let_go(self) -> None:
        self._open.set()

    def _hang(self, name: str) -> None:
        self.begun.append(name)
        assert self._open.wait(60)
        self.ended.append(name)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.orders.forget()
    made.let_go()


NAMES = [str(number) for number in range(JOBS)]


def test_who_gives_orders_that_hang_does_not_wait_and_few_are_under_way(gate: Gate) -> None:
    gate.give(*NAMES)
    wait_for("the first have begun", lambda: len(gate.begun) == AT_ONCE_MAX)
    gate.let_go()
    wait_for("all have had their turn", lambda: len(gate.ended) == JOBS)
    assert sorted(gate.begun) == sorted(NAMES), "once each"


def test_turns_are_fair(gate: Gate) -> None:
    """Who has waited is not passed by those who come again and again."""
    gate.give(*NAMES[:AT_ONCE_MAX])
    wait_for("all threads hang", lambda: len(gate.begun) == AT_ONCE_MAX)
    gate.give("waits")
    for _ in range(3):
        gate.give(*NAMES[:AT_ONCE_MAX], "waits")
    gate.give("last")
    gate.let_go()
    wait_for("all have had their turn", lambda: {"waits", "last"} <= set(gate.ended))
    assert sorted(gate.begun[AT_ONCE_MAX:]) == ["last", "waits"], "nobody had a second one meanwhile"
    gate.give("waits")
    wait_for("later it has", lambda: gate.ended.count("waits") == 2)


def test_an_order_that_fails_takes_no_turn_from_the_others(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    gate.let_go()
    for number in range(2 * AT_ONCE_MAX):
        gate.orders.give(f"fails {number}", lambda: 1 / 0)
    gate.give("good")
    wait_for("it had its turn", lambda: gate.ended == ["good"])
    wait_for("who failed is told", lambda: caplog.text.count("ZeroDivisionError") == 2 * AT_ONCE_MAX)


def test_a_host_without_threads_to_give_is_asked_again(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a limit of processes: who looks at jobs does not fail by that, and later orders are given."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    gate.let_go()
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        gate.give(*NAMES[: 2 * AT_ONCE_MAX])
    assert not gate.begun
    gate.give(*NAMES)
    wait_for("all have had their turn", lambda: len(gate.ended) == JOBS)
    assert sorted(gate.begun) == sorted(NAMES), "once each"


def test_what_waits_is_forgotten_when_the_backend_is_closed(gate: Gate) -> None:
    gate.give(*NAMES)
    wait_for("the first have begun", lambda: len(gate.begun) == AT_ONCE_MAX)
    gate.orders.forget()
    gate.let_go()
    wait_for("these have ended", lambda: len(gate.ended) == AT_ONCE_MAX)
    gate.give("new")
    wait_for("and it may be used again", lambda: gate.ended[AT_ONCE_MAX:] == ["new"])


# All of it


@pytest.fixture
def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(patience, "AGAIN_S", 0.05)
    with FakeCluster() as cluster:
        cluster.node.second_s = cluster.controller.second_s = 0.02
        cluster.node.images[IMAGE] = ("ErrImagePull", "not found")
        made = World(cluster, tmp_path)
        yield made
        cluster.faults.release()
        made.close()


def in_trouble(kube: World, number: int) -> list[JobSpec]:
    """Return so many jobs that are to be ended, as soon as somebody looks."""
    patient, specs = kube.worker(), [kube.spec(COUNT, jid=f"stuck-{one}", image=IMAGE) for one in range(number)]
    for spec in specs:
        patient.submit(spec)
    for spec in specs:
        seen(patient, spec, lambda found: found.native_state == "ErrImagePull")
    return specs


def refs(specs: list[JobSpec]) -> list[JobRef]:
    return [JobRef(spec.jid, spec.generation) for spec in specs]


def test_jobs_whose_end_hangs_keep_nobody_from_hearing_of_the_others(kube: World) -> None:
    """By a listing and by a watch; counted is what hung meanwhile, for each of it takes as long as a call may."""
    stuck = in_trouble(kube, 3 * AT_ONCE_MAX)
    observer = kube.worker(kube_timeout_s=HANGS_S, kube_start_grace_s=0)
    kube.cluster.faults.hang("patch jobs")
    listed, watched, stop = kube.spec(COUNT, jid="listed"), kube.spec(COUNT, jid="watched"), threading.Event()
    cursor = observer.cursor()
    observer.submit(listed)
    wait_for(
        "the listing tells its end",
        lambda: (
            isinstance(found := observer.observe(refs([*stuck, listed]))["listed", listed.generation], Observed)
            and found.state is State.SUCCEEDED
        ),
    )
    observer.submit(watched)
    for event in observer.watch(cursor, stop):
        if event.observed is not None and (event.observed.jid, event.observed.state) == ("watched", State.SUCCEEDED):
            stop.set()
    assert kube.cluster.faults.count("patch jobs") == AT_ONCE_MAX, "the first are not over yet"


def test_all_are_ended_when_the_webhook_answers_again(kube: World) -> None:
    stuck = in_trouble(kube, 3 * AT_ONCE_MAX)
    observer = kube.worker(kube_timeout_s=1, kube_start_grace_s=0)
    kube.cluster.faults.hang("patch jobs", times=2 * AT_ONCE_MAX)

    def are_ended() -> bool:
        found = observer.observe(refs(stuck)).values()
        return all(isinstance(one, Observed) and one.state is State.FAILED for one in found)

    wait_for("all have ended", are_ended)
    ends = [seen(observer, spec) for spec in stuck]
    assert {(end.reason, end.message) for end in ends} == {(Reason.IMAGE_PULL, "ErrImagePull: not found")}
    assert not [spec for spec in stuck if kube.runs(spec)]


def test_a_job_whose_trouble_has_passed_before_its_turn_is_not_ended(
    kube: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its image is being pulled by now, of which its pod says nothing: it is as silent as one in trouble."""
    monkeypatch.setattr(patience, "SILENT_S", 0.0)
    monkeypatch.setattr(watchdog, "FRESH_S", 0.0)
    stuck, mended = in_trouble(kube, AT_ONCE_MAX), kube.spec(COUNT, jid="mended", image="case/big:1")
    observer = kube.worker(kube_timeout_s=HANGS_S, kube_start_grace_s=0)
    kube.cluster.faults.hang("patch jobs", times=AT_ONCE_MAX)
    observer.observe(refs(stuck))
    wait_for("the first hang", lambda: kube.cluster.faults.count("patch jobs") == AT_ONCE_MAX)
    kube.cluster.controller.pod_refusal = 'violates PodSecurity "restricted:latest"'
    observer.submit(mended)
    seen(observer, mended, lambda found: found.native_state == "FailedCreate")
    kube.cluster.node.images["case/big:1"] = ("ContainerCreating", "")
    kube.cluster.controller.pod_refusal = ""

    def pods() -> list[Any]:
        return [pod for pod in kube.cluster.pods() if pod["metadata"]["labels"][GENERATION] == mended.generation]

    [pod] = wait_for("its pod is let in", pods)
    tell(kube.cluster.storage, pod, "Normal", "Pulling", "Pulling image")
    kube.cluster.faults.release()
    wait_for("all have had their turn", lambda: not observer._watchdog._orders._given)
    kube.cluster.node.images.clear()
    assert seen(kube.worker(), mended).state is State.SUCCEEDED


def test_a_deletion_that_hangs_keeps_nobody_waiting(kube: World) -> None:
    """That of a pod on a node that is lost, whose Job is gone."""
    backend, spec = kube.worker(), kube.spec(STUBBORN)
    backend.submit(spec)
    seen(backend, spec, lambda found: found.state is State.RUNNING)
    kube.cluster.node.is_silent = True
    assert backend.remove(spec.jid, spec.generation) is False
    wait_for("the Job is gone", lambda: not kube.cluster.jobs())
    [pod] = kube.cluster.pods()
    kube.cluster.disrupt(pod, TAINT_MANAGER, "deleting")
    kube.cluster.storage.update(key_of(pod), lambda found: found["metadata"].update(deletionTimestamp=LONG_AGO))
    observer, before = kube.worker(kube_timeout_s=HANGS_S), kube.cluster.faults.count("deletecollection pods")
    kube.cluster.faults.hang("deletecollection pods")

    def hanging() -> int:
        assert isinstance(look(observer, spec), Unknown), "its pod may still run"
        return kube.cluster.faults.count("deletecollection pods") - before

    wait_for("it hangs", hanging)
    assert [hanging() for _ in range(5)] == [1] * 5, "and nobody else does"
