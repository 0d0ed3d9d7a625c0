"""What keeps a job from starting, how that is found out, and when it has lasted too long."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from backends._kubernetes.patience import AGAIN_S, BETWEEN_S, SILENT_S, SLOW_S, Patience
from backends._kubernetes.trouble import EVENTS, WAITING, Trouble, trouble_in, trouble_of, who_is_silent
from pman_core.states import Reason
from tests.unit.kube_objects import FINISHED, LATER, STARTED, Object, event, job, pod, running, waiting

RECORDINGS = Path(__file__).parents[1] / "recorded" / "kubernetes"
RECORDED = json.loads((RECORDINGS / "refusals.json").read_text())
ERRORS = json.loads((RECORDINGS / "errors.json").read_text())
GRACE_S = 60.0


@pytest.mark.parametrize("reason", WAITING)
def test_what_a_container_waits_for_in_vain(reason: str) -> None:
    assert trouble_of([pod(), pod(state=waiting(reason, "why"))]) == Trouble(reason, WAITING[reason], f"{reason}: why")


@pytest.mark.parametrize("state", [None, waiting("ContainerCreating"), waiting("PodInitializing"), running()])
def test_what_is_no_trouble(state: Object | None) -> None:
    assert trouble_of([pod(state=state)]) is None


def test_who_must_be_asked_for_events() -> None:
    assert who_is_silent(job(), []) == job()["metadata"]["uid"]
    assert who_is_silent(job(), [pod(node="")]) == "", "its conditions tell that it has no node"
    assert who_is_silent(job(), [pod()]) == "uid-pod-0"
    assert who_is_silent(job(), [pod(state=waiting("ContainerCreating"))]) == "uid-pod-0"
    assert who_is_silent(job(), [pod(state=waiting("ErrImagePull"))]) == ""
    assert who_is_silent(job(), [pod("Running", running()), pod(index=1)]) == "uid-pod-1"
    assert who_is_silent(job(), [pod("Failed", reason="OutOfcpu")]) == ""
    assert who_is_silent(job("Suspended"), []) == ""


def initializing(init: Object, state: Object | None = None) -> Object:
    """A pod into which a webhook of the site has put an init container, as service meshes do."""
    shown = pod(state=state or waiting("PodInitializing"))
    return shown | {"status": shown["status"] | {"initContainerStatuses": [{"name": "mesh", "state": init}]}}


def test_a_pod_with_an_init_container_is_as_silent_as_others_as_long_as_it_is_being_made() -> None:
    """The kubelet's words for it are others."""
    assert who_is_silent(job(), [initializing(waiting("PodInitializing"))]) == "uid-pod-0"
    assert who_is_silent(job(), [initializing(running())]) == "uid-pod-0", "the image of the job is pulled after it"
    assert who_is_silent(job(), [initializing(waiting("ErrImagePull"))]) == ""
    assert who_is_silent(job(), [initializing(running(), running())]) == ""


def test_an_init_container_that_waits_in_vain_keeps_the_job_from_starting() -> None:
    assert trouble_of([initializing(waiting("ErrImagePull", "why"))]) == Trouble(
        "ErrImagePull", Reason.IMAGE_PULL, "ErrImagePull: why"
    )
    assert trouble_of([initializing(waiting("ErrImagePull", "why"), running())]) is None, "the job has begun"


@pytest.mark.parametrize("reason", EVENTS)
def test_what_events_tell(reason: str) -> None:
    told = trouble_in([event("Scheduled", "", "Normal", STARTED), event(reason, "why", at=FINISHED)])
    assert told == Trouble(reason, EVENTS[reason], f"{reason}: why")


def test_trouble_that_has_passed_is_none() -> None:
    events = [event("FailedMount", "why", at=FINISHED), event("Pulled", "", "Normal", LATER)]
    assert trouble_in(events) is None
    assert trouble_in(reversed(events)) is None
    assert trouble_in([]) is None
    assert trouble_in([event("Unhealthy", "a probe")]) is None


def test_an_event_that_is_repeated_is_as_young_as_its_last_time() -> None:
    again = event("FailedMount", "why", at=STARTED) | {"series": {"lastObservedTime": LATER}}
    told = trouble_in([again, event("Pulling", "", "Normal", FINISHED)])
    assert told is not None
    assert told.native == "FailedMount"


def test_an_image_that_is_pulled_is_told_and_is_no_trouble() -> None:
    """It may come in the very second in which the pod got its place."""
    placed, pulling = (
        event("Scheduled", "", "Normal", STARTED),
        event("Pulling", 'Pulling image "x"', "Normal", STARTED),
    )
    placed["metadata"]["name"], pulling["metadata"]["name"] = "pod.18b0a1", "pod.18b0a2"
    told = Trouble("Pulling", Reason.IMAGE_PULL, 'Pulling image "x"', is_lasting=False)
    assert trouble_in([placed, pulling]) == trouble_in([pulling, placed]) == told
    clock = Clock()
    clock.events = [pulling]
    clock.look(pod())
    for _ in range(10):
        assert clock.later(GRACE_S).look(pod()) == (told, False), "however long it takes"


@pytest.mark.parametrize(("name", "is_lasting"), [("pod security", True), ("limit range", True), ("pod quota", False)])
def test_pods_that_may_not_be_made(name: str, is_lasting: bool) -> None:
    told = trouble_in(RECORDED[f"event: {name}"]["events"])
    assert told is not None
    assert (told.native, told.reason, told.is_lasting) == ("FailedCreate", Reason.REJECTED, is_lasting)
    assert "is forbidden" in told.message


QUOTA_CHANGED = 'Operation cannot be fulfilled on resourcequotas "pods": the object has been modified'
QUOTA_NEW = 'pods "x" is forbidden: status unknown for quota: pods, resources: pods'
SERVER_NEW = 'pods "x" is forbidden: not yet ready to handle request'


@pytest.mark.parametrize(
    "refusal", ["500, webhook away", "504, list of the future", QUOTA_CHANGED, QUOTA_NEW, SERVER_NEW]
)
def test_pods_of_which_nobody_could_say_whether_they_may_be_made(refusal: str) -> None:
    """The same answer to pman's own POST is no reason to give a job up, either."""
    words = ERRORS[refusal]["body"]["message"] if refusal in ERRORS else refusal
    told = trouble_in([event("FailedCreate", f"Error creating: {words}")])
    assert told is not None
    assert not told.is_lasting
    assert words in told.message


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self.asked: list[str] = []
        self.events: list[Object] | None = []
        self.answer_s = 0.0
        self.patience = Patience(GRACE_S, lambda: self.now_s)

    def events_of(self, uid: str) -> Iterable[Object] | None:
        self.asked.append(uid)
        self.now_s += self.answer_s
        return self.events

    def look(self, *pods: Object, generation: str = "g") -> tuple[Trouble | None, bool]:
        return self.patience.look(generation, job(), pods, self.events_of)

    def later(self, seconds: float) -> "Clock":
        self.now_s += seconds
        return self


def test_trouble_is_borne_for_the_grace_and_no_longer() -> None:
    clock, stuck = Clock(), pod(state=waiting("ImagePullBackOff", "why"))
    assert clock.look(stuck)[1] is False
    trouble, is_over = clock.later(GRACE_S - 1).look(stuck)
    assert trouble is not None
    assert not is_over
    assert clock.later(1).look(stuck)[1] is True


def test_the_grace_begins_anew_when_the_trouble_has_passed() -> None:
    clock = Clock()
    clock.look(pod(state=waiting("ErrImagePull")))
    clock.later(GRACE_S - 1).look(pod(state=waiting("ContainerCreating")))
    assert clock.later(1).look(pod(state=waiting("ErrImagePull")))[1] is False
    assert clock.later(GRACE_S).look(pod(state=waiting("ImagePullBackOff")))[1] is True


def test_an_end_that_did_not_come_about_is_tried_again_after_a_while() -> None:
    clock, stuck = Clock(), pod(state=waiting("ErrImagePull"))
    clock.look(stuck)
    assert clock.later(GRACE_S).look(stuck)[1] is True
    assert clock.later(1).look(stuck)[1] is False
    assert clock.later(AGAIN_S).look(stuck)[1] is True


def test_one_job_is_not_blamed_for_another() -> None:
    clock, stuck = Clock(), pod(state=waiting("ErrImagePull"))
    clock.look(stuck)
    assert clock.later(GRACE_S).look(stuck, generation="other")[1] is False


def test_events_are_asked_for_seldom() -> None:
    clock = Clock()
    clock.events = [event("FailedMount", "why")]
    assert clock.look(pod()) == (None, False)
    assert clock.asked == []
    trouble, _ = clock.later(SILENT_S).look(pod())
    assert trouble is not None
    assert clock.later(1).look(pod())[0] == trouble
    assert clock.asked == ["uid-pod-0"]
    clock.events = []
    assert clock.later(AGAIN_S).look(pod()) == (None, False)
    assert len(clock.asked) == 2


def test_a_quota_is_waited_for() -> None:
    clock = Clock()
    clock.events = RECORDED["event: pod quota"]["events"]
    clock.look()
    clock.later(SILENT_S).look()
    trouble, is_over = clock.later(10 * GRACE_S).look()
    assert trouble is not None
    assert not is_over


def test_what_is_over_is_forgotten() -> None:
    clock, stuck = Clock(), pod(state=waiting("ErrImagePull"))
    clock.look(stuck)
    clock.patience.forget_all_but(["another"])
    assert clock.later(GRACE_S).look(stuck)[1] is False


def test_events_that_cannot_be_had_change_nothing() -> None:
    clock = Clock()
    clock.events = [event("FailedMount", "why")]
    clock.look(pod())
    told = clock.later(SILENT_S).look(pod())
    clock.events = None
    assert clock.later(AGAIN_S).look(pod()) == told
    assert clock.later(GRACE_S).look(pod()) == told, "the trouble may have passed: nobody can say"
    asked = len(clock.asked)
    assert clock.later(AGAIN_S - 1).look(pod()) == told
    assert len(clock.asked) == asked, "nor is that asked again at once"
    clock.events = [event("FailedMount", "why")]
    assert clock.later(1).look(pod()) == (told[0], True)


def test_what_events_told_is_asked_for_once_more_before_the_end() -> None:
    clock = Clock()
    clock.events = [event("FailedMount", "why")]
    clock.look(pod())
    clock.later(SILENT_S).look(pod())
    clock.later(GRACE_S - AGAIN_S).look(pod())
    clock.later(AGAIN_S - 1).look(pod())
    clock.events = [event("Pulled", "", "Normal", LATER)]
    assert clock.later(1).look(pod()) == (None, False)


def test_many_jobs_that_wait_are_asked_for_one_after_the_other() -> None:
    clock = Clock()
    for _ in range(2):
        for number in range(50):
            clock.look(generation=str(number))
        clock.later(SILENT_S)
    assert len(clock.asked) == 1
    clock.later(BETWEEN_S).look(generation="2")
    assert len(clock.asked) == 2


def test_a_question_that_hangs_is_not_followed_by_the_next_at_once() -> None:
    """Whoever asks has changes of other jobs to tell."""
    clock = Clock()
    clock.answer_s = 10.0
    for _ in range(2):
        for number in range(50):
            clock.look(generation=str(number))
        clock.later(SILENT_S)
    assert len(clock.asked) == 1


def test_events_that_cannot_be_had_are_not_asked_for_by_each_of_many_jobs_whose_grace_is_over() -> None:
    clock, jobs = Clock(), [str(number) for number in range(50)]
    clock.events = [event("FailedMount", "why")]
    for _ in range(100):
        for generation in jobs:
            clock.look(generation=generation)
        clock.later(0.5)
    clock.events, clock.asked, clock.answer_s = None, [], 10.0
    clock.later(GRACE_S)
    assert not [generation for generation in jobs if clock.look(generation=generation)[1]]
    assert len(clock.asked) == 1
    clock.events, clock.answer_s = [event("FailedMount", "why")], 0.0
    clock.later(AGAIN_S)
    assert [generation for generation in jobs if clock.look(generation=generation)[1]] == jobs


def test_answers_that_are_slow_are_waited_for_once_a_round_whatever_many_jobs_want_them() -> None:
    clock, jobs = Clock(), [str(number) for number in range(50)]
    clock.events = [event("FailedMount", "why")]
    for _ in range(100):
        for generation in jobs:
            clock.look(generation=generation)
        clock.later(0.5)
    clock.later(GRACE_S)
    clock.asked, clock.answer_s = [], SLOW_S
    for number, generation in enumerate(jobs):
        assert [left for left in jobs[number:] if clock.look(generation=left)[1]] == [generation]
        assert len(clock.asked) == number + 1
        clock.later(AGAIN_S)


@pytest.mark.parametrize("answer_s", [SLOW_S, 1.5 * SLOW_S, 5 * SLOW_S])
@pytest.mark.parametrize("count", [1, 10])
def test_answers_that_are_always_slow_end_each_job_within_two_rounds(count: int, answer_s: float) -> None:
    """An observer looks at all of them, twice a second. The first cannot be ended, which is nobody else's trouble."""
    clock, first_ended_at_s = Clock(), dict[str, float]()
    clock.events, clock.answer_s = [event("FailedMount", "why")], answer_s
    begun_s, round_s = clock.now_s, count * (AGAIN_S + answer_s + 1)
    until_s = begun_s + SILENT_S + round_s + GRACE_S + round_s
    while clock.now_s < until_s:
        for generation in map(str, range(count)):
            if (generation == "0" or generation not in first_ended_at_s) and clock.look(generation=generation)[1]:
                first_ended_at_s.setdefault(generation, clock.now_s)
        clock.later(0.5)
    assert sorted(first_ended_at_s) == sorted(map(str, range(count)))
    assert len(clock.asked) <= (until_s - begun_s) / AGAIN_S, "and they are not waited for more often"


def test_none_of_many_jobs_that_wait_for_long_is_left_out() -> None:
    """An observer looks at all of them, twice a second, always in the same order."""
    clock, asked, looks = Clock(), dict.fromkeys(map(str, range(40)), 0), 192
    for _ in range(looks):
        for generation in asked:
            before = len(clock.asked)
            clock.look(generation=generation)
            asked[generation] += len(clock.asked) - before
        clock.later(0.5)
    assert set(asked.values()) <= {3, 4, 5}
    assert sum(asked.values()) > looks * 0.75, "the questions are not fewer for that"


def test_a_job_that_is_gone_keeps_no_other_from_its_turn() -> None:
    clock = Clock()
    for generation in ("first", "gone"):
        clock.look(generation=generation)
    clock.later(SILENT_S)
    for generation in ("first", "gone"):
        clock.look(generation=generation)
    assert len(clock.asked) == 1, "the other one has to wait"
    for _ in range(2):
        clock.later(AGAIN_S).look(generation="first")
    assert len(clock.asked) == 3


def test_a_job_that_was_told_to_end_is_told_again_after_a_while() -> None:
    clock = Clock()
    assert not clock.patience.has_waited("g")
    assert not clock.later(AGAIN_S - 1).patience.has_waited("g")
    assert clock.later(1).patience.has_waited("g")
    assert not clock.patience.has_waited("g")


def test_what_events_told_is_forgotten_when_the_pod_itself_tells_more() -> None:
    clock, silent = Clock(), pod(state=waiting("ContainerCreating"))
    clock.events = [event("FailedMount", "no such folder")]
    clock.look(silent)
    trouble, _ = clock.later(SILENT_S).look(silent)
    assert trouble is not None
    assert clock.later(GRACE_S + AGAIN_S).look(pod("Running", running())) == (None, False)
