"""Follows all Jobs and pods of an instance and tells how each job is whenever that has changed.

A stream begins with a listing, of which only what is newer than the cursor is told: so nothing that happened while
nobody listened is missed, however old the cursor is, and ended jobs are not told again and again.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

from backends._kubernetes.connection import Api
from backends._kubernetes.identity import Object, generation_of
from backends._kubernetes.survey import Survey
from backends._kubernetes.watch import SIGN_OF_LIFE_S, Streams
from pman_core.backend import Observed, Sighting, WatchEvent
from pman_core.errors import Unavailable
from pman_core.states import TERMINAL

BEHIND_S = 1.0
"""So long an end waits for the watch of its pods; then they are listed."""

Judge = Callable[[Observed, Object, Sequence[Object]], Sighting]
Remember = Callable[[str, list[Object]], None]


def to_cursor(jobs_version: str, pods_version: str) -> str:
    return f"{jobs_version}.{pods_version}"


def from_cursor(cursor: str) -> tuple[int, int]:
    """Return the resource versions of Jobs and of pods.

    Raises:
        Unavailable: it is not a cursor of this backend.
    """
    jobs_version, _, pods_version = cursor.partition(".")
    if not (jobs_version.isdecimal() and pods_version.isdecimal()):
        raise Unavailable(f"not a cursor of Kubernetes: {cursor!r}")
    return int(jobs_version), int(pods_version)


class Follower:
    """One stream. ``judge`` may end a job that is in trouble; ``relist`` lists one job anew."""

    def __init__(
        self,
        api: Api,
        selector: str,
        paths: dict[str, str],
        *,
        judge: Judge,
        remember: Remember,
        relist: Callable[[str], Survey],
    ) -> None:
        self._api = api
        self._selector = selector
        self._paths = paths
        self._judge = judge
        self._remember = remember
        self._relist = relist
        self._survey = Survey()
        self._versions: dict[str, str] = {}
        self._told: dict[str, Observed] = {}
        self._unended: set[str] = set()
        self._behind_since_s: dict[str, float] = {}
        self._cursor = ""

    def follow(self, cursor: str, stop: threading.Event) -> Iterator[WatchEvent]:
        """Yield what has changed since ``cursor``; see :meth:`pman_core.backend.Backend.watch`."""
        since, self._cursor = from_cursor(cursor), cursor
        self._list()
        for generation in self._survey.generations():
            is_news = self._survey.is_newer_than(generation, since)
            for observed in self._tell_observed(generation, self._survey, is_news=is_news):
                yield WatchEvent(self._cursor, observed)
        self._proceed()
        with Streams(self._api, self._selector, self._paths, dict(self._versions)) as streams:
            looked_s = time.monotonic()
            while not stop.is_set():
                event = streams.take()
                news = [] if event is None else list(self._take(*event))
                yield from (WatchEvent(self._cursor, observed) for observed in news)
                if event is None or time.monotonic() - looked_s > SIGN_OF_LIFE_S:
                    looked_s = time.monotonic()
                    yield WatchEvent(self._cursor, None)
                    yield from (WatchEvent(self._cursor, observed) for observed in self._look_again())

    def _list(self) -> None:
        for kind, path in self._paths.items():  # Jobs first: see `backends.kubernetes`
            for number, page in enumerate(self._api.pages(path, self._selector)):
                if number == 0:
                    self._versions[kind] = str(page["metadata"]["resourceVersion"])
                for item in page["items"]:
                    self._note(kind, "ADDED", item)

    def _proceed(self) -> None:
        """Let what is told from now on be resumed here: there is nothing before it that is not told."""
        if not self._behind_since_s:
            self._cursor = to_cursor(self._versions["jobs"], self._versions["pods"])

    def _take(self, kind: str, change: str, item: Object) -> Iterator[Observed]:
        self._versions[kind] = str(item["metadata"]["resourceVersion"])
        generation = "" if change == "BOOKMARK" else self._note(kind, change, item)
        told = list(self._tell(generation)) if generation else []
        self._proceed()
        yield from told

    def _note(self, kind: str, change: str, item: Object) -> str:
        ended = self._told.get(generation_of(item))
        if ended is not None and ended.state in TERMINAL and change != "DELETED":
            return ""
        generation = self._survey.note(kind, change, item)
        if generation and kind == "jobs" and change == "DELETED":
            self._told.pop(generation, None)
            self._unended.discard(generation)
            self._behind_since_s.pop(generation, None)
        elif generation:
            self._remember(generation, self._survey.pods(generation))
        return generation

    def _tell(self, generation: str) -> Iterator[Observed]:
        """Tell how a job is, unless that has been told or cannot be known yet."""
        if self._survey.is_behind(generation):
            self._behind_since_s.setdefault(generation, time.monotonic())
            return
        self._behind_since_s.pop(generation, None)
        yield from self._tell_observed(generation, self._survey)

    def _tell_observed(self, generation: str, survey: Survey, *, is_news: bool = True) -> Iterator[Observed]:
        observed, job = survey.observed(generation), survey.job(generation)
        told = self._told.get(generation)
        if observed is None or job is None or (told is not None and told.state in TERMINAL):
            return
        if observed.state in TERMINAL:
            self._unended.discard(generation)
        else:
            self._unended.add(generation)
        sighting = self._judge(observed, job, survey.pods(generation))
        if isinstance(sighting, Observed) and told != sighting:
            self._told[generation] = sighting
            if sighting.state in TERMINAL:
                self._survey.forget(generation)
            if is_news:
                yield sighting

    def _look_again(self) -> Iterator[Observed]:
        """What changes with time alone: trouble that lasts, and pods that are not heard of."""
        for generation in list(self._unended):
            if generation not in self._behind_since_s:
                yield from self._tell(generation)
        for generation, since_s in list(self._behind_since_s.items()):
            if time.monotonic() - since_s > BEHIND_S:
                yield from self._tell_observed(generation, self._relist(generation))
                del self._behind_since_s[generation]
