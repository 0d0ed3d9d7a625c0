"""How a job is ended and kept, step by step, over a cluster of one job."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from backends._kubernetes.connection import Api
from backends._kubernetes.ending import CHANGES_MAX, FindLost, end_job, keep_end
from backends._kubernetes.errors import NotThere, OutOfDate
from backends._kubernetes.identity import VERDICT
from backends._kubernetes.namespace import Namespace
from backends._kubernetes.settings import KubernetesSettings
from backends._kubernetes.state import observed_from
from backends._kubernetes.survey import Survey
from backends._kubernetes.trouble import may_be_stuck
from backends._kubernetes.verdict import Verdict
from backends._kubernetes.watchdog import Watchdog
from pman_core.backend import Observed
from pman_core.errors import BackendError, Unavailable
from pman_core.states import Reason
from testbed.system import wait_for
from tests.unit.kube_objects import Object, beside, job, pod, running, spec, terminated, waiting
from tests.unit.payloads import GENERATION

CANCELLED = Verdict(Reason.CANCELLED, "ended on request", datetime(2026, 11, 25, tzinfo=UTC))


class OneJob:
    def __init__(self, shown: Object | None, *pods: Object, refusals: list[BackendError] | None = None) -> None:
        self._survey = Survey([] if shown is None else [shown], pods)
        self._refusals = refusals or []
        self.done: list[str] = []
        self.verdicts: list[Verdict] = []

    def survey(self, generation: str) -> Survey:
        assert generation == GENERATION
        return self._survey

    def now(self) -> datetime:
        return datetime.now(UTC)

    def judge(self, job: Object, verdict: Verdict, *, stop: bool) -> None:
        if self._refusals:
            raise self._refusals.pop()
        self.verdicts.append(verdict)
        self.done.append("judge and stop" if stop else "judge")

    def keep_end(self, job: Object, end: Verdict) -> None:
        if self._refusals:
            raise self._refusals.pop()
        self.verdicts.append(end)
        self.done.append("keep")

    def end_pod(self, pod: Object, secrets: Iterable[str]) -> None:
        self.done.append(f"end {pod['metadata']['name'][-1]}")

    def forsake(self, pod: Object, secrets: Iterable[str]) -> None:
        self.done.append(f"forsake {pod['metadata']['name'][-1]}")


def done(shown: Object | None, *pods: Object, refusals: list[BackendError] | None = None) -> list[str]:
    cluster = OneJob(shown, *pods, refusals=refusals)
    end_job(cluster, spec().jid, GENERATION, CANCELLED)
    assert set(cluster.verdicts) <= {CANCELLED}
    return cluster.done


def test_pods_that_run_are_ended_after_the_verdict() -> None:
    shown = [pod("Running", running()), pod(state=waiting("ErrImagePull"), index=1), pod("Running", running(), index=2)]
    assert done(job(active=3), *shown) == ["judge", "end 0", "end 2"]


@pytest.mark.parametrize(
    "shown",
    [
        [],
        [pod()],
        [pod(state=waiting("ErrImagePull"))],
        [pod("Succeeded", terminated(0)), pod(state=waiting("ErrImagePull"), index=1)],
    ],
    ids=["no pod", "not placed", "no image", "one has ended, the other has no image"],
)
def test_where_nothing_runs_nothing_is_let_begin(shown: list[Object]) -> None:
    assert done(job(active=1), *shown) == ["judge and stop"]


def on_lost_node(*indexes: int) -> FindLost:
    return lambda pods: [pod for pod in pods if int(pod["metadata"]["name"][-1]) in indexes]


def let_go(shown: Object, *pods: Object, lost: FindLost) -> list[str]:
    cluster = OneJob(shown, *pods)
    end_job(cluster, spec().jid, GENERATION, CANCELLED, find_lost=lost)
    return cluster.done


def test_what_is_lost_goes_only_when_its_job_can_make_no_other() -> None:
    """Else the Job controller would put another pod in its place, and the argv would run twice."""
    said, lost = {VERDICT: CANCELLED.to_json()}, on_lost_node(0)
    alone, beside = pod("Running", running()), pod("Running", running(), index=1)
    assert let_go(job(), alone, lost=lost) == ["judge and stop"]
    assert let_go(job(parallelism=0, annotations=said), alone, lost=lost) == [], "the controller has not read it yet"
    assert let_go(job("Suspended", annotations=said, parallelism=0), alone, lost=lost) == ["forsake 0"]
    assert let_go(job("Suspended"), alone, lost=lost) == ["judge and stop"], "it may be resumed"
    assert let_go(job(), alone, beside, lost=lost) == ["judge", "end 1"]
    assert let_go(job(annotations=said), alone, pod("Succeeded", terminated(0), index=1), lost=lost) == [
        "judge and stop"
    ]
    assert let_go(job("FailureTarget"), alone, pod("Failed", terminated(9), index=1), lost=lost) == ["forsake 0"]


@pytest.mark.parametrize("shown", [None, job("Complete"), job("Failed"), job(of=spec(jid="another"))])
def test_what_has_ended_or_is_not_there_is_left_alone(shown: Object | None) -> None:
    assert done(shown, pod("Failed", terminated(3))) == []


def test_who_was_interrupted_is_followed_by_another() -> None:
    assert done(job(annotations={VERDICT: CANCELLED.to_json()}), pod("Running", running())) == ["end 0"]


def test_a_verdict_that_came_to_nothing_is_carried_out() -> None:
    """The pods that lived have ended well, and others wait."""
    said = {VERDICT: CANCELLED.to_json()}
    assert done(job(annotations=said), pod("Succeeded", terminated(0)), pod(index=1)) == ["judge and stop"]
    assert done(job(annotations=said)) == ["judge and stop"]
    assert done(job(annotations=said, parallelism=0, active=1), pod()) == []
    assert done(job("Suspended", annotations=said, active=1), pod()) == ["judge and stop"], "by somebody else"


def test_what_is_stopped_has_no_pods_to_make_and_no_time_left() -> None:
    sent: list[tuple[str, str, Object]] = []

    class Recorder:
        def call(self, method: str, path: str, **options: Any) -> Object:
            sent.append((method, path, options["body"]))
            return {}

    namespace = Namespace(cast(Api, Recorder()), "plugins", "site", 1.0)
    namespace.judge(job(version=7), CANCELLED, stop=True)
    namespace.judge(job(version=7), CANCELLED, stop=False)
    metadata = {"resourceVersion": "7", "annotations": {VERDICT: CANCELLED.to_json()}}
    path = f"/apis/batch/v1/namespaces/plugins/jobs/{job()['metadata']['name']}"
    assert sent == [
        ("PATCH", path, {"metadata": metadata, "spec": {"activeDeadlineSeconds": 1, "parallelism": 0}}),
        ("PATCH", path, {"metadata": metadata}),
    ]


def test_what_was_in_trouble_and_runs_by_now_is_left_alone() -> None:
    """A watch may be silent for a minute and a quarter; who has lost patience by what it told last looks again."""
    started, stuck = pod("Running", running()), pod(state=waiting("ErrImagePull"))
    for pods, expected in (([started], []), ([stuck], ["judge and stop"]), ([pod()], ["judge and stop"])):
        cluster = OneJob(job(active=1), *pods)
        end_job(cluster, spec().jid, GENERATION, CANCELLED, is_due=may_be_stuck)
        assert cluster.done == expected


def test_a_job_that_has_changed_is_read_again() -> None:
    assert done(job(), pod("Running", running()), refusals=[OutOfDate(""), OutOfDate("")]) == ["judge", "end 0"]
    assert done(job(), refusals=[NotThere("")]) == []
    with pytest.raises(Unavailable, match="changes all the time"):
        done(job(), refusals=[OutOfDate("")] * CHANGES_MAX)


def test_the_verdict_on_a_worker_that_failed_beside_a_proxy_holds_its_exit_code() -> None:
    """Its pod may be the first to be gone when all are ended; then nobody else knows it."""
    two = spec(number_of_workers=2)
    failed = beside(terminated(9), running(), of=two)
    runs = beside(running(), running(), of=two, index=1)
    shown, cluster, watchdog = (
        job(of=two, active=2),
        OneJob(job(of=two, active=2), failed, runs),
        Watchdog(KubernetesSettings()),
    )
    observed = observed_from(shown, [failed, runs])
    assert isinstance(observed, Observed)
    watchdog.look(cast(Namespace, cluster), observed, shown, [failed, runs])
    wait_for("both are ended", lambda: cluster.done == ["judge", "end 0", "end 1"])
    [verdict] = cluster.verdicts
    assert (verdict.reason, verdict.exit_code) == (Reason.NONZERO_EXIT, 9)


def test_the_end_of_several_workers_beside_proxies_is_kept_by_whoever_sees_it() -> None:
    """Kubernetes does not know of it, and may delete any of the pods when the proxies end."""
    two = spec(number_of_workers=2)
    ended = [beside(terminated(index), running(), of=two, index=index) for index in range(2)]
    shown, watchdog = job(of=two, active=2), Watchdog(KubernetesSettings())
    cluster = OneJob(shown, *ended, refusals=[OutOfDate("")])
    observed = observed_from(shown, ended)
    assert isinstance(observed, Observed)
    assert watchdog.look(cast(Namespace, cluster), observed, shown, ended) is observed
    wait_for("its end is kept", lambda: cluster.done == ["keep"])
    [end] = cluster.verdicts
    assert (end.reason, end.exit_code, end.at) == (Reason.NONZERO_EXIT, 1, observed.finished_at)


@pytest.mark.parametrize("gone", ["pod", "Job"])
def test_an_end_is_not_kept_when_what_tells_it_is_gone(gone: str) -> None:
    two = spec(number_of_workers=2)
    ended = [beside(terminated(0), running(), of=two, index=index) for index in range(2)]
    shown, pods = (None, ended) if gone == "Job" else (job(of=two), ended[:1])
    cluster = OneJob(shown, *pods)
    keep_end(cluster, spec().jid, GENERATION)
    assert cluster.done == []
