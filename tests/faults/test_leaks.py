"""Nothing grows with the number of jobs: a short soak for CI, and the measuring itself."""

import dataclasses
from pathlib import Path

import pytest

from tests.faults.leaks import measure, soak
from tests.faults.leaks.measure import Kind, Room, Sample
from tests.faults.leaks.soak import Outcome

KIB_PER_1000_MAX = 1536.0
"""In a short run caches still fill and threads still start; a record kept for each job would be more than that."""


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_a_short_soak_leaves_nothing_behind(tmp_path: Path) -> None:
    outcome = soak.run(tmp_path / "pman", 2_500, warm=1_500)
    assert soak.faults(outcome, KIB_PER_1000_MAX) == []
    assert set(outcome.growths) == {"worker", "control", "observer", "api 1", "api 2"}
    assert outcome.after["tomb"].keys == 2_500


def test_the_slope_is_that_of_what_comes_after_the_warm_up() -> None:
    cold = [Sample(jobs, 1_000.0 * jobs, fds=jobs, threads=jobs) for jobs in range(10)]
    warm = [Sample(jobs, 50_000 + 0.5 * jobs, fds=20 + jobs // 20, threads=7) for jobs in range(10, 30)]
    grown = measure.growth(cold + warm, warm_jobs=10)
    assert grown.kib_per_1000 == pytest.approx(500)
    assert (grown.more_fds, grown.more_threads) == (1, 0)
    assert (grown.first, grown.last) == (cold[0], warm[-1])


def test_a_pool_that_fills_late_is_no_growth_but_what_comes_on_top_of_it_is() -> None:
    filling = [Sample(jobs, 50_000.0, fds=min(9 + jobs // 2, 23), threads=min(3 + jobs // 2, 17)) for jobs in range(30)]
    leaking = [Sample(jobs, 50_000.0, fds=9 + jobs, threads=3 + jobs) for jobs in range(30)]
    room = Room(threads=17, fds=23)
    late, lost = measure.growth(filling, 10, room), measure.growth(leaking, 10, room)
    assert (late.more_threads, late.more_fds) == (0, 0)
    assert (lost.more_threads, lost.more_fds) == (10, 10)


def test_one_stroke_is_no_slope_and_many_are() -> None:
    def kib_per_1000(*strokes: int) -> float:
        grown = {jobs: 600.0 * sum(jobs >= at for at in strokes) for jobs in range(0, 1000, 12)}
        samples = [Sample(jobs, 50_000.0 + kib, fds=20, threads=7) for jobs, kib in grown.items()]
        return measure.growth(samples, warm_jobs=0).kib_per_1000

    assert kib_per_1000(480) == pytest.approx(0)
    assert kib_per_1000(300, 600) == pytest.approx(0)
    assert kib_per_1000(*range(100, 1000, 100)) > 4_000


@pytest.mark.parametrize("highs", [range(504, 505), range(300, 400)])
def test_memory_that_is_given_back_hides_no_slope(highs: range) -> None:
    leak = [(jobs, 50_000.0 + 3 * jobs + 6_000 * (jobs in highs)) for jobs in range(0, 1000, 12)]
    samples = [Sample(jobs, kib, fds=20, threads=7) for jobs, kib in leak]
    assert measure.growth(samples, warm_jobs=0).kib_per_1000 > 1_000


FLAT = measure.growth([Sample(jobs, 50_000.0, 20, 7) for jobs in range(10)], warm_jobs=0)
QUIET = Outcome(
    seconds=1.0,
    growths={"worker": FLAT},
    before={"leader:mock": Kind(keys=1, lasting=1), "queue": Kind(keys=1, members=2, lasting=1)},
    after={
        "leader:mock": Kind(keys=1, lasting=1),
        "queue": Kind(keys=1, members=2, lasting=1),
        "ping": Kind(keys=1),
        "tomb": Kind(keys=1_000),
    },
    native={"jobs": 0},
)


def test_what_is_flat_is_no_fault() -> None:
    assert soak.faults(QUIET, kib_per_1000_max=1.0) == []


@pytest.mark.parametrize(
    ("grown", "fault"),
    [
        ({"kib_per_1000": 1.1}, "worker grows by 1 KiB"),
        ({"more_fds": 5}, "5 more file descriptors"),
        ({"more_threads": 3}, "3 more threads"),
    ],
)
def test_a_process_that_grows_is_named(grown: dict[str, float], fault: str) -> None:
    outcome = dataclasses.replace(QUIET, growths={"worker": dataclasses.replace(FLAT, **grown)})  # type: ignore[arg-type]
    assert [fault in found for found in soak.faults(outcome, kib_per_1000_max=1.0)] == [True]


@pytest.mark.parametrize(
    ("kind", "left", "fault"),
    [
        ("job", Kind(keys=1, lasting=1), "1 keys job"),
        ("queue", Kind(keys=1, members=3, lasting=1), "with 3 members, before: 1 with 2"),
        ("tomb", Kind(keys=2, lasting=1), "1 last for ever"),
        ("tomb", Kind(keys=2, blocked=1), "1 name an object"),
    ],
)
def test_what_is_left_in_redis_is_named(kind: str, left: Kind, fault: str) -> None:
    outcome = dataclasses.replace(QUIET, after=QUIET.after | {kind: left})
    assert [fault in found for found in soak.faults(outcome, kib_per_1000_max=1.0)] == [True]


def test_what_is_left_on_the_scheduler_is_named() -> None:
    outcome = dataclasses.replace(QUIET, native={"jobs": 2})
    assert soak.faults(outcome, kib_per_1000_max=1.0) == ["the scheduler still has 2 jobs"]
