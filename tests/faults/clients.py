"""Many clients at a known rate. Each job has a life, written down as a generator, that depends on the seed only.

A life says what its client does and yields how long it waits meanwhile; a few threads live many lives. Every call and
every answer is kept: that is the audit's third source.
"""

import heapq
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import urllib3

from tests.faults.evidence import SHOWN, Body, Call, Verb

THREADS = 24
CROWD = 10
TIMEOUT_S = 10.0
WIPE_PATIENCE_S = 70.0
"""So long a job may be missing while the sweep after a wipe is waited for."""
FINISHED = {"finishedSuccessfully", "finishedWithError", "undefined"}

Life = Iterator[float]


class Client:
    """Speaks HTTP and writes down every word."""

    def __init__(self, url: str, request_of: Callable[[Body], dict[str, Any]]) -> None:
        self._url = f"{url}/api/v1/"
        self._request_of = request_of
        self._http = urllib3.PoolManager(maxsize=THREADS + CROWD, retries=False, timeout=TIMEOUT_S)
        self.calls: list[Call] = []
        self.accepted = 0

    def post(self, body: Body, *, conflicts: bool = False) -> Call:
        request = self._request_of(body)
        if conflicts:
            request["cpu_limit"] += 1
        return self._call(Verb.POST, body.jid, body.number, request, conflicts=conflicts)

    def get(self, jid: str) -> Call:
        return self._call(Verb.GET, jid)

    def delete(self, jid: str) -> Call:
        return self._call(Verb.DELETE, jid)

    def known_generations(self) -> list[tuple[str, str, bool]]:
        """Return jid, generation and whether it is deleted, of every job that was accepted so far."""
        deleted_at_s = {c.jid: c.began_s for c in self.calls if c.verb is Verb.DELETE and c.code == 204}
        accepted = {c.record["generation"]: c for c in self.calls if c.code == 201 and c.record is not None}
        return [(c.jid, generation, c.ended_s < deleted_at_s.get(c.jid, 0)) for generation, c in accepted.items()]

    def _call(
        self, verb: Verb, jid: str, number: int = -1, request: dict[str, Any] | None = None, *, conflicts: bool = False
    ) -> Call:
        url = self._url if request else f"{self._url}{jid}/"
        began_s, code, record, error = time.time(), 0, None, ""
        try:
            reply = self._http.request(verb, url, json=request) if request else self._http.request(verb, url)
            code = reply.status
            if code in {200, 201}:
                said = json.loads(reply.data)
                record = {name: said[name] for name in SHOWN}
            elif code != 204:
                error = reply.data.decode(errors="replace")[:300]
        except urllib3.exceptions.HTTPError as failure:
            error = f"{type(failure).__name__}: {failure}"[:300]
        call = Call(began_s, time.time(), verb, jid, number, code, record, error, conflicts)
        self.calls.append(call)
        self.accepted += code == 201
        return call


class Clients:
    """The clients of one night: ``jobs`` lives that begin at ``rate`` per second, in a random order of kinds."""

    def __init__(
        self,
        client: Client,
        seed: str,
        jobs: int,
        rate: float,
        make_folders: Callable[[Body], None],
        *,
        wiped: bool = False,
    ) -> None:
        """Prepare all lives. In a night with a wipe no body contradicts another: after it both could be accepted."""
        self._client = client
        self._make_folders = make_folders
        self._crowd = ThreadPoolExecutor(CROWD, thread_name_prefix="crowd")
        self._turn = threading.Condition()
        self._agenda: list[tuple[float, int, Life]] = []
        self._living = jobs
        self.is_given_up = False
        self.bodies: list[Body] = []
        self.kinds: Counter[str] = Counter()
        self.failures: list[str] = []
        self._patience_s = WIPE_PATIENCE_S if wiped else 0.0
        now_s, rng = time.monotonic(), Random(seed)
        lives = {name: life for name, life in LIVES.items() if not (wiped and name == "conflict")}
        for number in range(jobs):
            now_s += rng.expovariate(rate)
            kind = rng.choices(list(lives), [share for share, _ in lives.values()])[0]
            self.kinds[kind] += 1
            life = lives[kind][1](self, f"{kind}-{number}", Random(f"{seed}-{number}"))
            self._agenda.append((now_s, number, life))
        heapq.heapify(self._agenda)

    @property
    def living(self) -> int:
        return self._living

    def start(self) -> None:
        for number in range(THREADS):
            threading.Thread(target=self._work, name=f"client-{number}", daemon=True).start()

    def give_up(self) -> None:
        """Let every life end at its next step."""
        with self._turn:
            self.is_given_up = True
            self._turn.notify_all()

    def _work(self) -> None:
        while True:
            with self._turn:
                while True:
                    if self._living == 0:
                        return
                    wait_s = self._agenda[0][0] - time.monotonic() if self._agenda else 1.0
                    if self._agenda and (wait_s <= 0 or self.is_given_up):
                        break
                    self._turn.wait(max(0.0, wait_s))
                _, number, life = heapq.heappop(self._agenda)
            self._live_on(number, life)

    def _live_on(self, number: int, life: Life) -> None:
        try:
            wait_s = None if self.is_given_up else next(life, None)
        except Exception as error:  # noqa: BLE001 - a defect of the harness must not pass for a quiet night
            self.failures.append(f"life {number}: {type(error).__name__}: {error}")
            wait_s = None
        with self._turn:
            if wait_s is None:
                self._living -= 1
            else:
                heapq.heappush(self._agenda, (time.monotonic() + wait_s, number, life))
            self._turn.notify_all()

    # What lives are made of

    def body(self, jid: str, number: int, rng: Random, seconds: float | None = None) -> Body:
        """Invent a body and make its folders."""
        if seconds is None:
            seconds = rng.choice((rng.uniform(0, 0.3), rng.uniform(0.3, 2), rng.uniform(2, 8)))
        body = Body(jid, number, round(seconds, 2), rng.choice((0, 0, 0, 1, 3)))
        self._make_folders(body)
        self.bodies.append(body)
        return body

    def post(self, body: Body, rng: Random) -> Life:
        """Send the same body until it is accepted, as a client may."""
        while self._client.post(body).code in {0, 503}:
            yield rng.uniform(0.3, 1.5)

    def delete(self, jid: str, rng: Random) -> Life:
        while self._client.delete(jid).code in {0, 503}:
            yield rng.uniform(0.3, 1.5)

    def poll(self, jid: str, rng: Random) -> Life:
        """Look at the job now and then until it has ended, and once more after that."""
        seen_s = time.monotonic()
        while True:
            call = self._client.get(jid)
            if call.record is not None and call.record["status"] in FINISHED:
                break
            if call.code != 404:
                seen_s = time.monotonic()
            elif time.monotonic() - seen_s >= self._patience_s:
                break
            yield rng.uniform(0.3, 3)
        yield rng.uniform(0.5, 6)
        self._client.get(jid)

    def at_once(self, *actions: Callable[[], Call]) -> list[Call]:
        """Do all of it at the same time."""
        return [future.result() for future in [self._crowd.submit(action) for action in actions]]

    # Lives

    def plain(self, jid: str, rng: Random) -> Life:
        yield from self.post(self.body(jid, 0, rng), rng)
        yield rng.uniform(0, 1)
        yield from self.poll(jid, rng)

    def repeat(self, jid: str, rng: Random) -> Life:
        """Post the same once more, at any time: nothing may run again."""
        body = self.body(jid, 0, rng)
        yield from self.post(body, rng)
        yield rng.uniform(0, 4)
        yield from self.post(body, rng)
        yield from self.poll(jid, rng)
        yield from self.post(body, rng)

    def conflict(self, jid: str, rng: Random) -> Life:
        """Post something else under the same jid: 409, and the first job goes on."""
        body = self.body(jid, 0, rng)
        yield from self.post(body, rng)
        yield rng.uniform(0, 3)
        self._client.post(body, conflicts=True)
        yield from self.poll(jid, rng)

    def crowd(self, jid: str, rng: Random) -> Life:
        """Ten clients post the same job at once."""
        body = self.body(jid, 0, rng)
        self.at_once(*[lambda: self._client.post(body)] * CROWD)
        yield from self.post(body, rng)
        yield from self.poll(jid, rng)

    def deleted(self, jid: str, rng: Random) -> Life:
        """Delete at any moment, and look whether it stays away."""
        yield from self.post(self.body(jid, 0, rng), rng)
        yield rng.choice((0.0, rng.uniform(0, 0.3), rng.uniform(0, 5)))
        yield from self.delete(jid, rng)
        for _ in range(3):
            yield rng.uniform(0, 3)
            self._client.get(jid)

    def deleted_twice(self, jid: str, rng: Random) -> Life:
        """Two clients delete at once, then one again."""
        yield from self.post(self.body(jid, 0, rng), rng)
        yield rng.uniform(0, 3)
        self.at_once(*[lambda: self._client.delete(jid)] * 2)
        yield from self.delete(jid, rng)
        yield rng.uniform(0, 3)
        yield from self.delete(jid, rng)
        self._client.get(jid)

    def raced(self, jid: str, rng: Random) -> Life:
        """Delete while the POST is under way; whoever wins, then delete for good and post anew."""
        body = self.body(jid, 0, rng)
        self.at_once(lambda: self._client.post(body), lambda: self._client.delete(jid))
        yield from self.delete(jid, rng)
        self._client.get(jid)
        yield rng.choice((0.0, rng.uniform(0, 2)))
        yield from self.post(self.body(jid, 1, rng), rng)
        yield from self.poll(jid, rng)

    def deleted_at_end(self, jid: str, rng: Random) -> Life:
        """Delete about when the job ends by itself."""
        body = self.body(jid, 0, rng, seconds=rng.uniform(0.2, 1))
        yield from self.post(body, rng)
        yield body.seconds + rng.uniform(-0.1, 0.3)
        self._client.get(jid)
        yield from self.delete(jid, rng)
        yield rng.uniform(0, 2)
        self._client.get(jid)

    def reposted(self, jid: str, rng: Random) -> Life:
        """Delete and post another job of the same jid, several times: each waits until the one before is gone."""
        for number in range(rng.choice((2, 2, 3))):
            if number:
                yield rng.choice((0.0, rng.uniform(0, 3)))
                yield from self.delete(jid, rng)
                yield rng.choice((0.0, 0.0, rng.uniform(0, 2)))
            yield from self.post(self.body(jid, number, rng), rng)
        yield from self.poll(jid, rng)


LIVES: dict[str, tuple[float, Callable[[Clients, str, Random], Life]]] = {
    "plain": (0.48, Clients.plain),
    "repeat": (0.08, Clients.repeat),
    "conflict": (0.04, Clients.conflict),
    "crowd": (0.03, Clients.crowd),
    "deleted": (0.12, Clients.deleted),
    "deleted-twice": (0.05, Clients.deleted_twice),
    "raced": (0.07, Clients.raced),
    "deleted-at-end": (0.06, Clients.deleted_at_end),
    "reposted": (0.07, Clients.reposted),
}
"""The kinds of lives, each with its share."""
