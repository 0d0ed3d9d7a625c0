"""What is read of workers that are about to be deleted: once, soon, and not from a node that does not answer."""

import pytest

from backends._kubernetes import last_words
from backends._kubernetes.last_words import LastWords
from backends._kubernetes.logs import Worker
from pman_core.errors import Unavailable
from tests.unit.kube_objects import Object, pod, running, spec, terminated

JOBS = last_words.JOBS_MAX + 10


class Nodes:
    """Their logs, and who was asked for one."""

    def __init__(self, *silent: str) -> None:
        self.silent = silent
        self.asked: list[str] = []

    def read(self, worker: Worker, timeout_s: float) -> str:
        assert timeout_s > 0
        self.asked.append(worker.pod_name)
        if any(worker.pod_name.startswith(name) for name in self.silent):
            raise Unavailable("the API server does not answer")
        return "words"


def of(number: int) -> str:
    return f"{number:026d}"


def pods_of(number: int, node: str = "node1") -> list[Object]:
    """One worker has failed, the other runs on."""
    job = spec(of(number), number_of_workers=2)
    failed, living = pod("Failed", terminated(9), of=job), pod("Running", running(), of=job, index=1, node=node)
    living["metadata"]["name"] = f"{node}-{number}"
    return [failed, living]


def test_each_worker_is_asked_once_however_many_jobs_fail_and_are_seen_again() -> None:
    """Every look at all jobs sees them again, and each reading may take seconds."""
    words, nodes = LastWords(), Nodes()
    for _ in range(3):
        for number in range(JOBS):
            words.hear(of(number), pods_of(number), nodes.read)
    assert len(nodes.asked) == JOBS
    assert list(words.of(of(JOBS - 1)).values()) == ["words"]
    assert len([number for number in range(JOBS) if words.of(of(number))]) == last_words.JOBS_MAX


def test_a_worker_that_is_known_to_run_only_after_the_failure_is_asked_too() -> None:
    """The kubelets of several nodes tell of their pods in any order."""
    job = spec(of(1), number_of_workers=3)
    failed, living = pod("Failed", terminated(9), of=job), pod("Running", running(), of=job, index=1)
    waits, begun = pod(of=job, index=2), pod("Running", running(), of=job, index=2)
    words, nodes = LastWords(), Nodes()
    for shown in (waits, waits, begun, begun):
        words.hear(of(1), [failed, living, shown], nodes.read)
    assert nodes.asked == [living["metadata"]["name"], begun["metadata"]["name"]]
    assert len(words.of(of(1))) == 2


def test_a_node_that_does_not_answer_is_not_asked_for_every_job() -> None:
    """Its jobs all fail together, and the others are not to wait for each of them."""
    now_s = 0.0
    words, nodes = LastWords(clock_s=lambda: now_s), Nodes("lost")
    for number in range(JOBS):
        words.hear(of(number), pods_of(number, node="lost" if number % 2 else "well"), nodes.read)
    assert len([name for name in nodes.asked if name.startswith("lost")]) == 1
    assert len([name for name in nodes.asked if name.startswith("well")]) == JOBS / 2
    now_s = last_words.SILENT_S
    nodes.silent = ()
    words.hear(of(JOBS), pods_of(JOBS, node="lost"), nodes.read)
    assert list(words.of(of(JOBS)).values()) == ["words"], "it is back"


@pytest.mark.parametrize("shown", [[pod("Failed", terminated(9))], [pod("Running", running())], []])
def test_nobody_is_asked_without_a_failure_and_somebody_who_lives(shown: list[Object]) -> None:
    nodes = Nodes()
    LastWords().hear(of(1), shown, nodes.read)
    assert nodes.asked == []


def test_nobody_is_asked_when_a_job_is_deleted() -> None:
    """Its pods are told to go together and end one after the other: nobody will ask for its log."""

    def asked(*told_to_go: int, **status: object) -> int:
        nodes, shown = Nodes(), pods_of(1)
        for number in told_to_go:
            shown[number]["metadata"]["deletionTimestamp"] = "2026-11-25T12:00:00Z"
        shown[0]["status"] |= status
        LastWords().hear(of(1), shown, nodes.read)
        return len(nodes.asked)

    drained = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    assert asked(0, 1) == 0
    assert asked(0) == 1, "its pod was deleted by hand, and that has failed the job"
    assert asked(1) == 1, "the other one is told to go because of it"
    assert asked(0, 1, conditions=[drained]) == 1
