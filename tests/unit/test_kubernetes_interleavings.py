"""Every order in which a Job of two workers may fail, as a model: whoever looks, and whenever, is told the same end.

Steps of the real parts: a container ends by itself, or because its pod was told to go; the Job controller sees some of
the pods that have ended (its cache may be late), writes ``FailureTarget``, names one that has failed and deletes those
that it takes to be active; a person, or a drain, deletes a pod; a deleted pod that has ended goes; when none is active
the Job is ``Failed``. In between a second passes, or not. The nodes' clocks differ.
https://github.com/kubernetes/kubernetes/blob/v1.35.0/pkg/controller/job/job_controller.go (syncJob, deleteActivePods)

Who looks sees the pods that are not gone yet: both, one, or none.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest

from backends._kubernetes.identity import VERDICT
from backends._kubernetes.state import observed_from
from backends._kubernetes.verdict import Verdict
from pman_core.backend import Observed
from pman_core.states import Reason, State
from tests.unit.kube_objects import Object, job, pod, spec, terminated
from tests.unit.kube_objects import running as runs

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
SECONDS_MAX = 1
GRACE_S = 30
TOLD_TO_GO = 143
TWO = spec(number_of_workers=2)


@dataclass(frozen=True, slots=True)
class Worker:
    """A pod. Times are seconds: of the API server, or of the node where a container ended."""

    index: int
    code: int | None = None
    ended_at_s: int = 0
    told_at_s: int | None = None
    is_drained: bool = False
    is_gone: bool = False

    @property
    def has_failed(self) -> bool:
        return self.code is not None and self.code != 0

    @cache  # noqa: B019 - a few hundred, as long as the tests run
    def shown(self) -> Object:
        """The pod, as its API server shows it."""
        ended = terminated(self.code or 0, finished=clock(self.ended_at_s))
        phase = "Running" if self.code is None else "Failed" if self.code else "Succeeded"
        disruption = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "lastTransitionTime": clock(self.told_at_s or 0),
        }
        shown = pod(
            phase,
            runs() if self.code is None else ended,
            of=TWO,
            index=self.index,
            conditions=[disruption] if self.is_drained else [],
        )
        if self.told_at_s is not None:
            shown["metadata"] |= {
                "deletionTimestamp": clock(self.told_at_s + GRACE_S),
                "deletionGracePeriodSeconds": GRACE_S,
            }
        return shown


Workers = tuple[Worker, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """``codes`` are those with which the workers end by themselves, ``None`` for one that goes on until it is told."""

    codes: tuple[int | None, int | None]
    skews_s: tuple[int, int]
    workers: Workers = (Worker(0), Worker(1))
    now_s: int = 0
    culprit: Worker | None = None
    """The one that the Job controller has named."""
    is_failed: bool = False
    by_hand: str = ""
    """Whether somebody deletes a pod, or drains its node; once."""

    def steps(self) -> Iterator["Model"]:
        if self.now_s < SECONDS_MAX and not self.is_failed:
            yield replace(self, now_s=self.now_s + 1)
        for worker in self.workers:
            if worker.code is None and (code := self.codes[worker.index]) is not None:
                yield self._ended(worker, code)
            if worker.code is None and worker.told_at_s is not None:
                yield self._ended(worker, TOLD_TO_GO)
            if self.by_hand and worker.code is None and worker.told_at_s is None:
                told = replace(worker, told_at_s=self.now_s, is_drained=self.by_hand == "drain")
                yield replace(self._with(told), by_hand="")
            has_gone_on = worker.told_at_s is not None and worker.code is not None and not worker.is_gone
            if self.culprit is not None and has_gone_on:
                yield self._with(replace(worker, is_gone=True))
        if self.culprit is None:
            yield from self._controller()
        elif not self.is_failed and all(worker.code is not None for worker in self.workers):
            yield replace(self, is_failed=True)

    def _controller(self) -> Iterator["Model"]:
        ended = [worker for worker in self.workers if worker.code is not None]
        for seen in (ended, *([worker] for worker in ended if len(ended) > 1)):
            told = tuple(
                worker if worker in seen or worker.told_at_s is not None else replace(worker, told_at_s=self.now_s)
                for worker in self.workers
            )
            for culprit in seen:
                if culprit.has_failed:
                    yield replace(self, culprit=culprit, workers=told)

    def _ended(self, worker: Worker, code: int) -> "Model":
        at_s = self.now_s + self.skews_s[worker.index]
        return self._with(replace(worker, code=code, ended_at_s=at_s))

    def _with(self, changed: Worker) -> "Model":
        return replace(
            self, workers=tuple(changed if worker.index == changed.index else worker for worker in self.workers)
        )


def clock(second: int) -> str:
    return (NOON + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")


@cache
def failed_job(culprit: Worker, failed: int, *, is_cancelled: bool) -> Object:
    name = culprit.shown()["metadata"]["name"]
    said = f"Container plugin for pod p/{name} failed with exit code {culprit.code}"
    if culprit.is_drained:
        said = f"Pod p/{name} has condition DisruptionTarget"
    verdict = Verdict(Reason.CANCELLED, "ended on request", NOON).to_json()
    return job(
        ("Failed", "PodFailurePolicy", f"{said} matching FailJob rule at index 0"),
        of=TWO,
        failed=failed,
        annotations={VERDICT: verdict} if is_cancelled else {},
    )


@cache
def told(culprit: Worker, workers: Workers, *, is_cancelled: bool) -> tuple[State, Reason | None, int | None]:
    """Return what a Job that has failed and these pods tell."""
    shown = failed_job(culprit, sum(worker.has_failed for worker in workers), is_cancelled=is_cancelled)
    observed = observed_from(shown, [worker.shown() for worker in workers if not worker.is_gone])
    assert isinstance(observed, Observed)
    return observed.state, observed.reason, observed.exit_code


@pytest.mark.parametrize("by_hand", ["", "delete", "drain"])
@pytest.mark.parametrize("skews_s", [(0, 0), (-2, 0)])
@pytest.mark.parametrize("codes", [(None, 9), (9, None), (7, 9), (0, 9)])
def test_the_end_is_the_same_whoever_looks_when(
    codes: tuple[int | None, int | None], skews_s: tuple[int, int], by_hand: str
) -> None:
    """An exit code may be lost with its pod, and nothing else takes its place."""
    looks: dict[Model, set[tuple[Worker, Workers]]] = {}
    for last in reached(Model(codes, skews_s, by_hand=by_hand)):
        if last.is_failed and last.culprit is not None:
            left = tuple(replace(worker, is_gone=worker.told_at_s is not None) for worker in last.workers)
            looks.setdefault(replace(last, workers=left, now_s=0), set()).add((last.culprit, last.workers))
    assert looks
    for life, seen in looks.items():
        for is_cancelled in (False, True):
            ends = {told(culprit, workers, is_cancelled=is_cancelled) for culprit, workers in seen}
            assert len({(state, reason) for state, reason, _ in ends}) == 1, (life, ends)
            assert len({code for *_, code in ends} - {None}) <= 1, (life, ends)


def reached(first: Model) -> set[Model]:
    """Return all that may come of it."""
    found, left = {first}, [first]
    while left:
        new = set(left.pop().steps()) - found
        found |= new
        left += new
    return found
