"""Watches that are cut, repeated, late, too old or full of garbage, over real HTTP: every end is heard all the same.

A stream that breaks says so (then the observer lists, and resumes at its cursor); none ends the loop, none tells twice.
"""

import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from backends._kubernetes.connection import connect
from backends._kubernetes.watch import Streams
from backends.kubernetes import KubernetesBackend, KubernetesSettings
from pman_core.backend import Observed
from pman_core.errors import Unavailable
from pman_core.job import JobSpec
from pman_core.states import TERMINAL, State
from testbed.system import wait_for
from tests.fakes.kube_api import FakeCluster, recorded
from tests.fakes.kube_api.job_controller import key_of
from tests.fakes.kube_api.refusals import status
from tests.recorded.kube_jobs import sh
from tests.unit.kube_backend import COUNT, STUBBORN, World, seen
from tests.unit.kube_client import JOBS

GATED = sh('until test -e "$FAKE_MOUNT__share_outgoing/go"; do sleep 0.02; done')


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[World]:
    with FakeCluster() as cluster:
        cluster.node.second_s = 0.02
        made = World(cluster, tmp_path)
        yield made
        cluster.faults.release()
        made.close()


def have_begun(kube: World) -> bool:
    """Whether both streams have been asked for."""
    return all(map(kube.cluster.faults.count, ("watch jobs", "watch pods")))


def submit_gated(kube: World) -> JobSpec:
    """Submit a job that goes on until both streams have begun: its end comes by them, not by a listing."""
    spec = kube.spec(GATED)
    kube.worker().submit(spec)

    def open_gate() -> None:
        wait_for("both streams have begun", lambda: have_begun(kube))
        (kube.folder / spec.request.output_dir / "go").touch()

    threading.Thread(target=open_gate, daemon=True).start()
    return spec


class Observer:
    """Follows the stream as pman's observer does: at each break it goes on at its cursor, and counts it."""

    def __init__(self, backend: KubernetesBackend) -> None:
        self.backend = backend
        self.cursor = backend.cursor()
        self.heard: list[Observed] = []
        self.breaks = 0

    def until_end_of(self, spec: JobSpec, timeout_s: float = 40) -> Observed:
        end_s = time.monotonic() + timeout_s
        while True:
            stop = threading.Event()
            try:
                for event in self.backend.watch(self.cursor, stop):
                    self.cursor = event.cursor
                    if event.observed is not None:
                        self.heard.append(event.observed)
                        if event.observed.generation == spec.generation and event.observed.state in TERMINAL:
                            stop.set()
                            return event.observed
                    assert time.monotonic() < end_s, f"heard only {self.heard}, {self.breaks} breaks"
            except Unavailable:
                assert time.monotonic() < end_s, f"heard only {self.heard}, {self.breaks} breaks"
                self.breaks += 1
                time.sleep(0.02)

    def ends(self, spec: JobSpec) -> list[Observed]:
        return [one for one in self.heard if one.generation == spec.generation and one.state in TERMINAL]


@pytest.fixture
def observer(kube: World) -> Observer:
    return Observer(kube.worker())


@pytest.mark.parametrize("resource", ["jobs", "pods"])
def test_a_stream_that_is_cut_in_a_line(kube: World, observer: Observer, resource: str) -> None:
    kube.cluster.faults.cut(f"watch {resource}", times=2)
    spec = submit_gated(kube)
    assert observer.until_end_of(spec).state is State.SUCCEEDED
    assert observer.breaks >= 1
    assert len(observer.ends(spec)) == 1


@pytest.mark.parametrize("name", ["410, continue", "500, webhook away"])
def test_a_stream_that_the_server_ends_with_an_error(kube: World, observer: Observer, name: str) -> None:
    kube.cluster.faults.interrupt("watch *", recorded(name))
    spec = submit_gated(kube)
    assert observer.until_end_of(spec).state is State.SUCCEEDED
    assert observer.breaks >= 1


def test_a_cursor_that_is_too_old(kube: World, observer: Observer) -> None:
    spec = kube.spec(COUNT)
    worker = kube.worker()
    worker.submit(spec)
    seen(worker, spec)
    kube.cluster.expire_watches()
    assert observer.until_end_of(spec).state is State.SUCCEEDED


def test_a_server_that_is_killed_and_comes_back_with_an_empty_cache(kube: World, observer: Observer) -> None:
    worker, spec = kube.worker(), kube.spec(sh("sleep 0.3; exit 3"))
    worker.submit(spec)
    killer = threading.Timer(0.1, kube.cluster.restart)
    killer.start()
    ended = observer.until_end_of(spec)
    killer.join()
    assert (ended.state, ended.exit_code) == (State.FAILED, 3)
    assert len(observer.ends(spec)) == 1


def test_a_server_that_is_away_for_a_while(kube: World, observer: Observer) -> None:
    worker, spec = kube.worker(), kube.spec(COUNT)
    worker.submit(spec)
    kube.cluster.server.stop()
    back = threading.Thread(target=start_when_missed, args=(kube, observer))
    back.start()
    assert observer.until_end_of(spec).state is State.SUCCEEDED
    back.join()


def start_when_missed(kube: World, observer: Observer) -> None:
    wait_for("it was missed", lambda: observer.breaks)
    kube.cluster.server.start()


@pytest.mark.parametrize("name", ["429", "503, nobody serves this API", "401", "403, watch jobs"])
def test_a_watch_that_is_refused(kube: World, observer: Observer, name: str) -> None:
    kube.cluster.faults.refuse("watch *", recorded(name), times=1)
    spec = submit_gated(kube)
    assert observer.until_end_of(spec).state is State.SUCCEEDED
    assert observer.breaks >= 1


def test_a_stream_that_is_ended_for_want_of_patience_is_not_followed_at_once(kube: World) -> None:
    backend = kube.worker()
    watching = backend.watch(backend.cursor(), threading.Event())
    details = {"retryAfterSeconds": 29}
    kube.cluster.faults.interrupt("watch jobs", status(429, "TooManyRequests", "later", details))
    with pytest.raises(Unavailable, match="later"):
        list(watching)
    with pytest.raises(Unavailable, match=r"left alone for another 2\d s"):
        backend.cursor()
    assert kube.worker().cursor(), "another process has to find out itself"


@pytest.mark.parametrize(
    "line", [b"garbage\n", b"{}\n", b'{"type": "MODIFIED"}\n', b'{"type": "SURPRISE", "object": {"metadata": {}}}\n']
)
def test_garbage_in_a_stream(kube: World, observer: Observer, line: bytes) -> None:
    kube.cluster.faults.insert("watch *", line)
    spec = submit_gated(kube)
    assert observer.until_end_of(spec).state is State.SUCCEEDED


def test_lines_that_come_twice_are_told_once(kube: World, observer: Observer) -> None:
    """Each change is told once. (A job that waits is told anew with each thing that it waits for.)"""
    kube.cluster.faults.repeat("watch *", times=1000)
    kube.cluster.node.full = "1 Insufficient cpu"  # until both streams have begun: what is listed comes once
    spec = kube.spec(COUNT)
    kube.worker().submit(spec)

    def make_room() -> None:
        wait_for("both streams have begun", lambda: have_begun(kube))
        kube.cluster.node.full = ""

    room = threading.Thread(target=make_room)
    room.start()
    observer.until_end_of(spec)
    room.join()
    assert observer.breaks == 0
    assert all(one != after for one, after in pairwise(observer.heard))
    assert len(observer.ends(spec)) == 1


@pytest.mark.parametrize("late", ["jobs", "pods"])
def test_one_stream_that_is_late_changes_nothing(kube: World, observer: Observer, late: str) -> None:
    kube.cluster.faults.delay(f"watch {late}", 0.05, times=1000)
    spec = kube.spec(sh("exit 7"))
    kube.worker().submit(spec)
    ended = observer.until_end_of(spec)
    assert (ended.state, ended.exit_code) == (State.FAILED, 7)
    order = [State.PENDING, State.RUNNING, State.FAILED]
    ranks = [order.index(one.state) for one in observer.heard]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("resource", ["jobs", "pods"])
def test_lines_that_are_lost_do_not_lose_the_end(kube: World, observer: Observer, resource: str) -> None:
    """A real server loses none; a proxy may. The end is heard by the stream, or seen by the next listing."""
    kube.cluster.faults.skip(f"watch {resource}", times=1000)
    worker, spec = kube.worker(), kube.spec(COUNT)
    worker.submit(spec)
    assert seen(worker, spec).state is State.SUCCEEDED
    kube.cluster.faults.clear()
    again = Observer(observer.backend)
    again.cursor = observer.cursor
    assert again.until_end_of(spec).state is State.SUCCEEDED


def test_a_bookmark_moves_the_cursor_and_tells_nothing(kube: World, observer: Observer) -> None:
    kube.cluster.server.bookmark_s = 0.05
    before, stop = observer.cursor, threading.Event()
    kube.cluster.storage.forget()  # the version goes on without an object of ours
    for event in observer.backend.watch(before, stop):
        assert event.observed is None
        if event.cursor != before:
            stop.set()
    assert stop.is_set()


def test_no_thread_outlives_its_stream(kube: World) -> None:
    """Not even one that was about to ask when the stream ended: it would hold its connection for a minute."""
    version = str(kube.cluster.storage.version)
    api = connect(KubernetesSettings(kubeconfig=str(kube.cluster.kubeconfig(kube.folder / "access"))))
    for _ in range(20):
        with Streams(api, "", {"jobs": JOBS}, {"jobs": version}):
            pass
    wait_for("the threads end", lambda: not [one for one in threading.enumerate() if one.name == "watch-jobs"])
    api.close()


def test_a_job_that_is_deleted_by_hand_ends_no_stream(kube: World, observer: Observer) -> None:
    worker, lost, spec = kube.worker(), kube.spec(STUBBORN, jid="lost"), kube.spec(COUNT)
    worker.submit(lost)
    seen(worker, lost, lambda found: found.state is State.RUNNING)
    for job in kube.cluster.jobs():
        kube.cluster.storage.delete(key_of(job))
    worker.submit(spec)
    assert observer.until_end_of(spec).state is State.SUCCEEDED
    assert observer.ends(lost) == []
