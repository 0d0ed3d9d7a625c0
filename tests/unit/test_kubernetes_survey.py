"""What a listing and a stream make of Jobs and pods, in whatever order they are heard of."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pytest

from backends._kubernetes.connection import Api
from backends._kubernetes.errors import Expired
from backends._kubernetes.follower import Follower, from_cursor, to_cursor
from backends._kubernetes.identity import JOB_NAME as JOB_LABEL
from backends._kubernetes.identity import WORKERS, job_name
from backends._kubernetes.state import JOB_UID, handle_of
from backends._kubernetes.survey import Survey
from pman_core.backend import Absent, JobRef, Observed, Unknown
from pman_core.errors import Unavailable
from pman_core.states import State
from tests.unit.kube_objects import Object, job, pod, running, spec, terminated
from tests.unit.payloads import GENERATION

REF = JobRef(spec().jid, GENERATION)
JOB_NAME = job_name(spec().jid, GENERATION)
OTHER = spec("01jzzzzzzzzzzzzzzzzzzzzzzx", jid="other")


def test_what_is_nowhere_is_absent() -> None:
    assert Survey().sight(REF) == Absent()
    assert Survey([job(of=OTHER)], [pod(of=OTHER)]).sight(REF) == Absent()


def test_pods_without_their_job_are_unknown() -> None:
    assert isinstance(Survey([], [pod()]).sight(REF), Unknown)
    assert Survey([], [pod()]).sight(JobRef("another", GENERATION)) == Absent()


@pytest.mark.parametrize(
    ("pods", "state", "exit_code"),
    [
        ([pod("Succeeded", terminated(0)), pod("Succeeded", terminated(0), index=1)], State.SUCCEEDED, 0),
        ([pod("Succeeded", terminated(0)), pod("Failed", terminated(3), index=1)], State.FAILED, 3),
        ([pod("Failed", terminated(3))], State.FAILED, 3),
        ([pod("Succeeded", terminated(0))], None, None),
        ([pod("Succeeded", terminated(0)), pod("Running", running(), index=1)], None, None),
        ([pod("Failed", terminated(3)), pod("Running", running(), index=1)], None, None),
    ],
)
def test_orphaned_pods_end_a_job_when_nothing_of_it_can_go_on(
    pods: list[Object], state: State | None, exit_code: int | None
) -> None:
    for orphan in pods:
        orphan["metadata"]["annotations"][WORKERS] = "2"
        orphan["metadata"]["labels"][JOB_UID] = "uid-of-the-job"
    sighting = Survey([], pods).sight(REF)
    if state is None:
        assert isinstance(sighting, Unknown)
        return
    assert isinstance(sighting, Observed)
    assert (sighting.state, sighting.exit_code) == (state, exit_code)
    assert sighting.handle == handle_of({"metadata": {"uid": "uid-of-the-job", "name": JOB_NAME}})


@pytest.mark.parametrize("said", ["many", None])
def test_orphaned_pods_whose_number_somebody_has_changed_are_unknown_and_no_fault_of_pmans(
    caplog: pytest.LogCaptureFixture, said: str | None
) -> None:
    orphan = pod("Succeeded", terminated(0))
    annotations = {name: text for name, text in orphan["metadata"]["annotations"].items() if name != WORKERS}
    orphan["metadata"]["annotations"] = annotations | ({} if said is None else {WORKERS: said})
    assert isinstance(Survey([], [orphan]).sight(REF), Unknown)
    assert caplog.records == [], "it would be written with every listing"


def test_a_generation_of_another_jid_is_absent() -> None:
    assert Survey([job()], [pod()]).sight(JobRef("another", GENERATION)) == Absent()


def test_a_copy_by_hand_does_not_pass_for_the_job() -> None:
    copied, pod_of_copy = job("Complete", succeeded=1), pod("Succeeded", terminated(0), index=7)
    copied["metadata"]["name"] = "zz-copy"
    pod_of_copy["metadata"]["labels"] = pod_of_copy["metadata"]["labels"] | {JOB_LABEL: "zz-copy"}
    survey = Survey([job(active=1), copied], [pod("Running", running()), pod_of_copy])
    sighting = survey.sight(REF)
    assert isinstance(sighting, Observed)
    assert sighting.state is State.RUNNING
    assert len(survey.pods(GENERATION)) == 1
    assert survey.note("jobs", "DELETED", copied) == ""
    assert survey.job(GENERATION) is not None


def test_one_that_cannot_be_read_does_not_hide_the_others() -> None:
    spoiled = job("Complete", of=OTHER)
    spoiled["status"]["conditions"][0].pop("type")
    survey = Survey([spoiled, job()])
    assert isinstance(survey.sight(JobRef(OTHER.jid, OTHER.generation)), Unknown)
    assert isinstance(survey.sight(REF), Observed)
    assert survey.observed(OTHER.generation) is None


def test_a_sweep_hears_of_a_job_of_which_nothing_can_be_told_now() -> None:
    """Its pods are gone, and its controller has not said how it ended; or nobody can read it."""
    unread = job(active=1)
    for shown, pods in ((job(failed=1), []), (unread, [{**pod(), "status": {"conditions": 7}}])):
        survey = Survey([shown], pods)
        assert survey.observed(GENERATION) is None
        owned = survey.as_owned(GENERATION)
        assert owned is not None
        assert (owned.jid, owned.digest, owned.state) == (spec().jid, spec().request.digest, State.PENDING)
    going = job(failed=1)
    going["metadata"]["deletionTimestamp"] = "2026-11-25T12:00:00Z"
    assert Survey([going], []).as_owned(GENERATION) is None
    assert Survey([job("Complete")], []).as_owned(GENERATION) == Survey([job("Complete")], []).observed(GENERATION)


def test_an_end_is_told_when_its_pods_are_heard_of() -> None:
    survey = Survey([job("Failed", failed=2)], [pod("Failed", terminated(3))])
    assert survey.is_behind(GENERATION)
    survey.note("pods", "ADDED", pod("Running", running(), index=1))
    assert survey.is_behind(GENERATION)
    survey.note("pods", "MODIFIED", pod("Failed", terminated(3), index=1))
    assert not survey.is_behind(GENERATION)
    assert not Survey([job()]).is_behind(GENERATION)
    assert not Survey().is_behind(GENERATION)


# The stream


@pytest.fixture(autouse=True)
def _without_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("follower", "watch"):
        monkeypatch.setattr(f"backends._kubernetes.{module}.SIGN_OF_LIFE_S", 0.02)
    monkeypatch.setattr("backends._kubernetes.watch.PAUSE_S", 0.01)


class Server:
    """Two lists, and one batch of events for each watch; then it is silent, or says what it has to say."""

    def __init__(self, jobs: Sequence[Object] = (), pods: Sequence[Object] = (), version: int = 100) -> None:
        self.lists = {"/jobs": list(jobs), "/pods": list(pods)}
        self.version = version
        self.events: dict[str, list[bytes]] = {"/jobs": [], "/pods": []}
        self.errors: list[Exception] = []
        self.queries: list[Mapping[str, str]] = []
        self.closed = threading.Event()

    def pages(self, path: str, _selector: str) -> Iterator[Object]:
        yield {"metadata": {"resourceVersion": str(self.version)}, "items": self.lists[path]}

    @contextmanager
    def stream(self, path: str, query: Mapping[str, str], _silence_s: float) -> Iterator[Any]:
        self.queries.append(query)
        if self.errors:
            raise self.errors.pop()
        chunks, self.events[path] = self.events[path], []
        yield Response(chunks, self.closed)

    def tell(self, path: str, kind: str, item: Object) -> None:
        line = json.dumps({"type": kind, "object": item}).encode() + b"\n"
        self.events[path] += [line[:20], line[20:]]


class Response:
    def __init__(self, chunks: list[bytes], closed: threading.Event) -> None:
        self._chunks, self._closed = chunks, closed

    def stream(self, _amount: int, *, decode_content: bool) -> Iterator[bytes]:
        assert decode_content
        yield from self._chunks
        self._closed.wait(10)

    def shutdown(self) -> None:
        self._closed.set()


def follow(server: Server, cursor: str = "100.100", listed: Survey | None = None) -> Iterator[Observed | None]:
    follower = Follower(
        cast(Api, server),
        "selector",
        {"jobs": "/jobs", "pods": "/pods"},
        judge=lambda observed, _job, _pods: observed,
        remember=lambda _generation, _pods: None,
        relist=lambda _generation: listed or Survey(),
    )
    stop = threading.Event()
    try:
        for event in follower.follow(cursor, stop):
            yield event.observed
    finally:
        stop.set()


def first(events: Iterator[Observed | None], *states: State) -> list[State]:
    """Return the states that are told, up to the last of ``states``."""
    found: list[State] = []
    for observed in events:
        if observed is not None:
            found.append(observed.state)
        if found and found[-1] is states[-1]:
            break
    return found


def test_what_is_newer_than_the_cursor_is_told_at_once() -> None:
    server = Server(
        [job("Complete", version=150), job("Complete", of=OTHER, version=90)], [pod(version=90, of=OTHER)], 200
    )
    events = follow(server, "100.100")
    told = next(events)
    assert told is not None
    assert told.generation == GENERATION
    assert next(events) is None, "the other one is old"
    assert {query["resourceVersion"] for query in server.queries} == {"200"}


def test_a_job_is_told_when_only_its_pod_is_newer() -> None:
    server = Server([job(version=50, active=1)], [pod("Running", running(), version=120)], 200)
    assert first(follow(server), State.RUNNING) == [State.RUNNING]


def test_states_come_in_order_and_once() -> None:
    server = Server()
    server.tell("/jobs", "ADDED", job(version=101))
    server.tell("/jobs", "MODIFIED", job(version=102))
    events = follow(server)
    assert first(events, State.PENDING) == [State.PENDING]
    assert next(event for event in events if event is None) is None


@pytest.mark.parametrize("faster", ["/jobs", "/pods"])
def test_an_end_has_its_exit_code_whichever_watch_is_faster(faster: str) -> None:
    server = Server([job(version=90, active=1)], [pod("Running", running(), version=90)])
    told = {"/jobs": job("Failed", version=102, failed=1), "/pods": pod("Failed", terminated(3), version=101)}
    server.tell(faster, "MODIFIED", told.pop(faster))
    events = follow(server)
    while (found := next(events)) is not None:
        assert found.state is State.RUNNING
    [(slower, item)] = told.items()
    server.closed.set()  # both watches end, and are resumed where they were
    server.tell(slower, "MODIFIED", item)
    ended = next(event for event in events if event is not None and event.state is not State.RUNNING)
    assert (ended.state, ended.exit_code) == (State.FAILED, 3)


def test_pods_that_are_never_heard_of_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends._kubernetes.follower.BEHIND_S", 0.0)
    server = Server([job(version=90, active=1)])
    server.tell("/jobs", "MODIFIED", job("Failed", version=101, failed=1))
    listed = Survey([job("Failed", failed=1)], [pod("Failed", terminated(4))])
    ended = next(event for event in follow(server, listed=listed) if event is not None)
    assert ended.exit_code == 4


def test_an_end_that_is_not_told_yet_is_not_behind_the_cursor() -> None:
    server = Server([job(version=90, active=1)], [pod("Running", running(), version=90)])
    server.tell("/jobs", "MODIFIED", job("Failed", version=150, failed=1))
    follower = Follower(
        cast(Api, server), "", {"jobs": "/jobs", "pods": "/pods"},
        judge=lambda observed, _job, _pods: observed, remember=lambda *_: None, relist=lambda _: Survey(),
    )  # fmt: skip
    events = follower.follow("80.80", threading.Event())
    cursors = {next(events).cursor for _ in range(2)}
    assert all(int(cursor.split(".")[0]) < 150 for cursor in cursors)


def test_a_bookmark_moves_the_cursor() -> None:
    server = Server()
    server.tell("/jobs", "BOOKMARK", {"metadata": {"resourceVersion": "170"}})
    follower = Follower(
        cast(Api, server), "", {"jobs": "/jobs", "pods": "/pods"},
        judge=lambda observed, _job, _pods: observed, remember=lambda *_: None, relist=lambda _: Survey(),
    )  # fmt: skip
    event = next(follower.follow("80.80", threading.Event()))
    assert event.cursor == "170.100"


def test_a_watch_that_is_too_old_is_told() -> None:
    server = Server()
    server.tell("/pods", "ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
    with pytest.raises(Expired, match="too old"):
        list(follow(server))


@pytest.mark.parametrize("error", [Unavailable("gone"), RuntimeError("a bug")])
def test_no_error_of_a_watch_is_lost(error: Exception) -> None:
    server = Server()
    server.errors = [error]
    with pytest.raises(Unavailable, match=str(error)):
        list(follow(server))


def test_garbage_in_a_watch_is_told() -> None:
    server = Server()
    server.events["/jobs"] = [b"{\n"]
    with pytest.raises(Unavailable, match="JSONDecodeError"):
        list(follow(server))


def test_threads_end_with_their_stream() -> None:
    events = follow(Server())
    next(events)
    watching = [thread for thread in threading.enumerate() if thread.name.startswith("watch-")]
    assert len(watching) == 2
    cast(Any, events).close()
    for thread in watching:
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.parametrize("cursor", ["", "1", "1.", ".1", "a.b", "1.2.3", "-1.2"])
def test_a_cursor_of_somebody_else_is_refused(cursor: str) -> None:
    with pytest.raises(Unavailable, match="not a cursor of Kubernetes"):
        from_cursor(cursor)


def test_a_cursor_comes_back() -> None:
    assert from_cursor(to_cursor("12", "34")) == (12, 34)
