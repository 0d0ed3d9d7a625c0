"""``watch`` tells every change after its cursor, gives signs of life and ends when told. Only where it is declared."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from cases import LASTING_S, BackendCase, seen, until

from pman_core.backend import Backend, Observed, WatchEvent
from pman_core.errors import Unavailable
from pman_core.job import JobSpec
from pman_core.states import TERMINAL, State

TRIES = 3
"""A stream that goes on when it is told to end is slow each time; what else the machine is at passes."""


@pytest.fixture
def watching(backend: Backend) -> Backend:
    if not backend.capabilities.watches:
        pytest.skip("the backend is polled")
    return backend


class Listener:
    """Follows one stream until something is heard; remembers the last cursor, and goes on there if the stream breaks.

    Podman's now and then ends by itself, beside many writers of its log of events; a watcher of pman resumes it.
    """

    def __init__(self, case: BackendCase, backend: Backend, cursor: str) -> None:
        self.cursor = cursor
        self.heard: list[Observed] = []
        self._timeout_s = case.patience_s
        self._backend = backend

    def until(self, is_it: Callable[[Observed], bool]) -> Observed:
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return self._listen(is_it, deadline)
            except Unavailable:
                assert time.monotonic() < deadline, f"heard only {self.heard}"

    def _listen(self, is_it: Callable[[Observed], bool], deadline: float) -> Observed:
        stop = threading.Event()
        for event in self._backend.watch(self.cursor, stop):
            self.cursor = event.cursor
            if event.observed:
                self.heard.append(event.observed)
                if is_it(event.observed):
                    stop.set()
                    return event.observed
            assert time.monotonic() < deadline, f"heard only {self.heard}"
        raise AssertionError(f"the stream ended after {self.heard}")

    def until_end_of(self, spec: JobSpec) -> Observed:
        return self.until(lambda seen: seen.generation == spec.generation and seen.state in TERMINAL)


def test_a_backend_that_does_not_watch_says_so(backend: Backend) -> None:
    if backend.capabilities.watches:
        pytest.skip("the backend watches")
    with pytest.raises(TypeError):
        backend.cursor()
    with pytest.raises(TypeError):
        backend.watch("", threading.Event())


def test_the_end_of_a_job_is_heard(case: BackendCase, watching: Backend) -> None:
    listener = Listener(case, watching, watching.cursor())
    spec = case.spec(case.exit_with(3))
    case.make().submit(spec)
    heard = listener.until_end_of(spec)
    assert heard == seen(watching, spec), "the stream tells another story than the listing"


def test_what_happened_while_nobody_listened_is_heard(case: BackendCase, watching: Backend) -> None:
    cursor = watching.cursor()
    specs = [case.spec(case.exit_with(code)) for code in range(3)]
    for spec in specs:
        watching.submit(spec)
        seen(watching, spec)
    listener = Listener(case, case.make(), cursor)
    for spec in specs:
        if spec.generation not in {seen.generation for seen in listener.heard if seen.state in TERMINAL}:
            listener.until_end_of(spec)


def test_a_stream_is_resumed_at_its_cursor(case: BackendCase, watching: Backend) -> None:
    listener = Listener(case, watching, watching.cursor())
    first, second = case.spec(case.exit_with(0)), case.spec(case.exit_with(0))
    watching.submit(first)
    listener.until_end_of(first)
    watching.submit(second)
    resumed = Listener(case, case.make(), listener.cursor)
    resumed.until_end_of(second)


def test_a_job_that_ends_between_two_streams_is_heard(case: BackendCase, watching: Backend) -> None:
    listener = Listener(case, watching, watching.cursor())
    spec = case.spec(case.run_for(LASTING_S))
    watching.submit(spec)
    listener.until(lambda seen: seen.state is State.RUNNING)
    watching.end(spec.jid, spec.generation)
    assert Listener(case, case.make(), listener.cursor).until_end_of(spec).state is State.CANCELLED


def test_states_are_heard_in_order(case: BackendCase, watching: Backend) -> None:
    listener = Listener(case, watching, watching.cursor())
    spec = case.spec(case.run_for(0.2))
    watching.submit(spec)
    listener.until_end_of(spec)
    order = [State.PENDING, State.RUNNING, State.SUCCEEDED]
    ranks = [order.index(seen.state) for seen in listener.heard]
    assert ranks == sorted(ranks)


def test_other_instances_are_not_heard(case: BackendCase, watching: Backend) -> None:
    listener = Listener(case, watching, watching.cursor())
    other = f"{case.instance}-other"
    case.make(pman_instance=other).submit(case.spec(case.exit_with(0), instance=other))
    spec = case.spec(case.exit_with(0))
    watching.submit(spec)
    listener.until_end_of(spec)
    assert {seen.generation for seen in listener.heard} == {spec.generation}


def first_sign(case: BackendCase, watching: Backend, stop: threading.Event) -> tuple[WatchEvent, Iterator[WatchEvent]]:
    """Return the first event of a stream, and the stream: of one that does not break before, and is prompt.

    One whose signs of life are slow is so each time; what else the machine is at passes.
    """

    def opened() -> tuple[WatchEvent, Iterator[WatchEvent]] | None:
        stream = iter(watching.watch(watching.cursor(), stop))
        began_s = time.monotonic()
        with suppress(Unavailable):
            sign = next(stream)
            if time.monotonic() - began_s < case.prompt_s:
                return sign, stream
        return None

    return until(opened, case.patience_s, "a prompt sign of life")


def test_a_quiet_stream_gives_signs_of_life(case: BackendCase, watching: Backend) -> None:
    sign, _ = first_sign(case, watching, stop := threading.Event())
    stop.set()
    assert sign == WatchEvent(sign.cursor, None)
    assert sign.cursor


def test_a_stream_ends_when_told(case: BackendCase, watching: Backend) -> None:
    took_s = []
    for _ in range(TRIES):
        _, stream = first_sign(case, watching, stop := threading.Event())
        stop.set()
        began_s = time.monotonic()
        assert list(stream) == []
        took_s.append(time.monotonic() - began_s)
        if took_s[-1] < case.prompt_s:
            break
    assert min(took_s) < case.prompt_s
