"""One listing of Slurm for all who ask at once, and for each one that is not older than what he asks about."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from backends._slurm.survey import Survey
from backends._slurm.transport import NativeJob
from pman_core.errors import Unavailable
from testbed.system import wait_for


class Slow:
    """A Slurm whose every answer waits to be let go, and shows as many jobs as it was asked times."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = threading.Semaphore(0)
        self.fails = False

    def jobs(self) -> Sequence[NativeJob]:
        self.asked += 1
        shown = [NativeJob(number, "RUNNING", f"pman-x-{'0' * 26}") for number in range(self.asked)]
        assert self.go.acquire(timeout=20)
        if self.fails:
            raise Unavailable("slurmctld is away")
        return shown


class Counted:
    """A lock that counts who has come to it, whether they have got it or not."""

    def __init__(self) -> None:
        self.came: list[None] = []
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self.came.append(None)
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@pytest.fixture
def slurm() -> Slow:
    return Slow()


@pytest.fixture
def survey(slurm: Slow) -> Survey:
    return Survey(slurm, "pman", 3600.0)  # type: ignore[arg-type]


def test_two_hundred_who_ask_at_once_are_two_questions(slurm: Slow, survey: Survey) -> None:
    survey._lock = lock = Counted()  # type: ignore[assignment]
    with ThreadPoolExecutor(200) as pool:
        first = pool.submit(survey.take, fresh=True)
        wait_for("the first has asked", lambda: slurm.asked == 1)
        others = [pool.submit(survey.take, fresh=True) for _ in range(199)]
        wait_for("all have called", lambda: len(lock.came) == 200)
        slurm.go.release()
        assert len(first.result(20).by_id) == 1
        slurm.go.release(199)
        found = [other.result(20) for other in others]
    assert slurm.asked == 2
    assert all(len(listing.by_id) >= 2 for listing in found), "nobody is told what began before he called"


def test_a_fresh_listing_is_new_to_who_was_told_before(slurm: Slow, survey: Survey) -> None:
    slurm.go.release(3)
    assert [len(survey.take(fresh=True).by_id) for _ in range(2)] == [1, 2]
    assert len(survey.take().by_id) == 2, "others are told the same within the period"


def test_a_question_that_failed_fails_for_all_who_wait_for_it(slurm: Slow, survey: Survey) -> None:
    slurm.fails = True
    slurm.go.release(200)
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(survey.take, fresh=True) for _ in range(8)]
        assert all(isinstance(call.exception(20), Unavailable) for call in calls)
