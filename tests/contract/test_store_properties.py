"""Any interleaving of any number of writers: two stores driven in lockstep, and what must be true after every step.

Clients post and delete, submitters sleep over their leases, pulls of the image end anyhow, observers tell old news,
sweeps find objects of every generation there ever was, records expire, the clock jumps. The store in memory and the one
in Redis must give the same answer to every call, which makes each the oracle of the other; the invariants say what no
answer may ever break.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar
from unittest import TestCase, mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from store_cases import BACKEND, POLICY, Clock, fake_client, request_of

from pman_core.job import JobRecord, JobSpec
from pman_core.states import NATIVE, SOURCES, TERMINAL, WAITING, State
from pman_core.store import memory, redis
from pman_core.store.memory import MemoryStore
from pman_core.store.protocol import Adopted, Change, Created, Moved, Obligation, Store
from pman_core.store.pulls import Joined, Pull
from pman_core.store.redis import RedisStore

pytestmark = pytest.mark.timeout(300)  # a failure takes its time to be made short and readable

Answer = TypeVar("Answer")
JIDS = ("a", "b")
ALL = 1000

jids = st.sampled_from(["a", "a", "a", "b"])
ages = st.sampled_from([0, 0, 0, 1, 1, 2])  # of the generations of a jid: mostly the last one is spoken of
bodies = st.sampled_from([1000, 1000, 2000])  # the limit of CPU
tokens = st.sampled_from(["s1", "s2"])
hosts = st.sampled_from(["", "node-1"])
pulls = st.sampled_from([Pull(BACKEND, request_of().image, token) for token in ("p1", "p2")])
outcomes = st.sampled_from([State.QUEUED, State.QUEUED, State.PENDING, State.PENDING, State.RUNNING, State.FAILED])
news = st.sampled_from([State.PENDING, State.PENDING, State.RUNNING, State.RUNNING, *sorted(TERMINAL), State.QUEUED])
jumps = st.sampled_from([0.001, 1.0, 10.0, POLICY.lease_ms / 1000, POLICY.fence_ms / 1000])


class Writers(RuleBasedStateMachine):
    """Each rule is one call of one writer. ``known`` are the generations that writers may speak of, dead ones too."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.stores: tuple[Store, ...] = (
            MemoryStore("pman", POLICY, self.clock),
            RedisStore(fake_client(), "pman", POLICY, now_ms=self.clock),
        )
        self.minted = self.skew = 0
        self.patches = [mock.patch.object(module, "mint_generation", self.mint) for module in (memory, redis)]
        for patch in self.patches:
            patch.start()
        self.both(lambda store: store.begin_epoch(BACKEND))
        self.both(lambda store: store.lead("mock", "leader", 1e9))
        self.bodies: dict[str, int] = {}
        self.known: dict[str, list[str]] = {jid: [] for jid in JIDS}
        for number, jid in enumerate(JIDS):  # an object from before the store was wiped
            self.know(jid, f"{number:026d}", 1000)
        self.before: dict[str, JobRecord | None] = dict.fromkeys(JIDS)
        self.dead: set[str] = set()
        self.leases: dict[str, tuple[str, int]] = {}
        self.puller = ("", 0)

    def teardown(self) -> None:
        for patch in self.patches:
            patch.stop()

    def mint(self, not_before: str = "") -> str:
        """Both stores get the same generation in one step, unique, and from a host whose clock may be behind."""
        number = max((100 + self.minted - self.skew) * 1000 + self.minted, int(not_before or 0) + 1)
        return f"{number:026d}"

    def both(self, call: Callable[[Store], Answer]) -> Answer:
        ours, theirs = (call(store) for store in self.stores)
        assert ours == theirs
        return ours

    def know(self, jid: str, generation: str, body: int) -> None:
        self.known[jid].append(generation)
        self.bodies[generation] = body

    def pick(self, jid: str, age: int) -> str:
        """Return the generation that a writer speaks of; the last one has a record, so that most steps matter."""
        if age == 0 and self.before[jid] is None:
            self.post(jid, 1000, 0)
        return self.known[jid][-1 - min(age, len(self.known[jid]) - 1)]

    def advance(self, change: Change) -> Moved:
        moved = self.both(lambda store: store.advance(change))
        if moved in {Moved.OK, Moved.FORBIDDEN} and change.state is not State.SUBMITTING and change.token:
            self.leases.pop(change.generation, None)
        return moved

    # Clients

    @rule(jid=jids, body=bodies, skew=st.sampled_from([0, 0, 50]))
    def post(self, jid: str, body: int, skew: int) -> None:
        self.minted, self.skew = self.minted + 1, skew
        creation = self.both(lambda store: store.create(request_of(jid, cpu_limit=body), BACKEND))
        if creation.outcome is Created.NEW:
            assert self.before[jid] is None
            assert all(creation.record.generation > dead for dead in self.dead & set(self.known[jid]))
            self.know(jid, creation.record.generation, body)
            self.before[jid] = creation.record

    @rule(jid=jids, claim_s=st.sampled_from([0, 0, 5]))
    def delete(self, jid: str, claim_s: float) -> None:
        self.minted, self.skew = self.minted + 1, 0
        record = self.before[jid]
        deletion = self.both(lambda store: store.delete(jid, claim_s))
        expected = record and Obligation(jid, record.generation, record.host)
        assert deletion.obligation == expected
        self.dead.update(self.known[jid])

    # Submitters

    @rule(jid=jids, age=ages, token=tokens, host=hosts, outcome=outcomes | st.none())
    def submit(self, jid: str, age: int, token: str, host: str, outcome: State | None) -> None:
        """Claim the job and come back with the outcome of the call, or fall asleep before that (``None``)."""
        generation = self.pick(jid, age)
        moved = self.advance(Change(jid, generation, State.SUBMITTING, token=token, host=host))
        if moved is not Moved.OK:
            return
        holder, until_ms = self.leases.get(generation, (token, 0))
        assert holder == token or until_ms <= self.clock.ms, "two live leases"
        if until_ms <= self.clock.ms:
            self.leases[generation] = (token, self.clock.ms + POLICY.lease_ms)
        if outcome is not None:
            self.wake_up(jid, age, token, outcome)

    @rule(jid=jids, age=ages, token=tokens, outcome=outcomes)
    def wake_up(self, jid: str, age: int, token: str, outcome: State) -> None:
        """End the call of a submitter that was awake, or had slept for however long."""
        generation = self.pick(jid, age)
        misses = outcome is State.QUEUED and token == "s1"
        change = Change(
            jid, generation, outcome, token=token, delay_s=5, uncounted=misses, image_missing=misses, handle_json="{}"
        )
        if self.advance(change) in {Moved.NO_RECORD, Moved.OTHER_GENERATION}:
            self.both(lambda store: store.release(jid, generation))
            self.leases.pop(generation, None)

    # Who pulls the image, which is one for all

    @rule(jid=jids, age=ages, pull=pulls)
    def join(self, jid: str, age: int, pull: Pull) -> None:
        generation = self.pick(jid, age)
        joined = self.both(lambda store: store.join_pull(pull, jid, generation, 30))
        if joined is Joined.HOLDS:
            holder, until_ms = self.puller
            assert holder in {"", pull.token} or until_ms <= self.clock.ms, "two pull at once"
            self.puller = (pull.token, self.clock.ms + 30_000)

    @rule(pull=pulls)
    def tell(self, pull: Pull) -> None:
        waiters = self.both(lambda store: store.tell_pull(pull, "on its way", 30))
        if waiters is None:
            return
        assert self.puller[0] == pull.token, "who has lost the lease speaks"
        self.puller = (pull.token, self.clock.ms + 30_000)
        for jid, generation in waiters:
            record = self.before[jid]
            assert record is not None
            assert (record.generation, record.state, record.image_at_ms) == (generation, State.QUEUED, 0)

    @rule(pull=pulls, is_fetched=st.booleans(), message=st.sampled_from(["", "not now"]))
    def end(self, pull: Pull, is_fetched: bool, message: str) -> None:
        waiters = self.both(lambda store: set(store.end_pull(pull, fetched=is_fetched, delay_s=5, message=message)))
        assert not waiters or is_fetched or self.puller[0] == pull.token
        if self.puller[0] == pull.token:
            self.puller = ("", 0)

    @rule(jid=jids, age=ages, pull=pulls)
    def refuse(self, jid: str, age: int, pull: Pull) -> None:
        change = Change(jid, self.pick(jid, age), State.FAILED, reason="IMAGE_PULL", pull=pull.token)
        if self.advance(change) is Moved.OK:
            assert self.puller[0] == pull.token, "who has lost the lease fails a job"

    # The observer

    @rule(jid=jids, age=ages, state=news, message=st.sampled_from([None, "", "why"]), logs_missing=st.booleans())
    def observe(self, jid: str, age: int, state: State, message: str | None, logs_missing: bool) -> None:
        change = Change(jid, self.pick(jid, age), state, message=message, logs="x", logs_missing=logs_missing)
        self.both(lambda store: store.advance_many([change, replace(change, logs="twice")]))

    @rule(jid=jids, age=ages, ago_s=st.sampled_from([0, 5]))
    def miss(self, jid: str, age: int, ago_s: int) -> None:
        generation, listed_at_ms = self.pick(jid, age), self.clock.ms - ago_s * 1000
        self.both(lambda store: store.note_absent(jid, generation, "mock", "leader", listed_at_ms))

    @rule(jid=jids, age=ages)
    def claim_what_is_due(self, jid: str, age: int) -> None:
        generation = self.pick(jid, age)
        self.both(lambda store: store.claim_enqueue(jid, generation, 10))
        self.both(lambda store: store.claim_refresh(jid, generation, 10))

    @rule(jid=jids, age=ages)
    def fill_logs(self, jid: str, age: int) -> None:
        self.both(lambda store: store.fill_logs(jid, self.pick(jid, age), "filled in"))

    @rule(jid=jids, age=ages, host=hosts, is_terminal=st.booleans())
    def sweep(self, jid: str, age: int, host: str, is_terminal: bool) -> None:
        generation = self.known[jid][-1 - min(age, len(self.known[jid]) - 1)]
        spec = JobSpec(generation, "pman", request_of(jid, cpu_limit=self.bodies[generation]))
        record = self.before[jid]
        adopted = self.both(lambda store: store.adopt(spec, BACKEND, host, is_terminal=is_terminal))
        assert adopted in {Adopted.REMOVE} or generation not in self.dead
        if adopted is Adopted.TAKEN_OVER:
            assert record is not None
            assert record.state in WAITING
            assert record.digest == spec.request.digest
            self.leases.pop(record.generation, None)
            self.dead.add(record.generation)

    @rule(jid=jids, age=ages)
    def expire(self, jid: str, age: int) -> None:
        generation = self.pick(jid, age)
        if self.both(lambda store: store.expire(jid, generation)):
            self.dead.update(known for known in self.known[jid] if known <= generation)

    @rule(is_kept=st.booleans())
    def fulfil(self, is_kept: bool) -> None:
        for due in self.both(lambda store: store.obligations(BACKEND, 1)):
            self.both(lambda store, o=due: store.standing(o.jid, o.generation))
            if is_kept:
                self.both(lambda store, o=due: store.postpone(BACKEND, o, 5))
            else:
                self.both(lambda store, o=due: store.settle(BACKEND, o))

    @rule(seconds=jumps)
    def jump(self, seconds: float) -> None:
        self.clock.advance(seconds)

    # What is always true

    @invariant()
    def every_step_is_allowed(self) -> None:
        for jid in JIDS:
            now, before = self.both(lambda store, jid=jid: store.get(jid)), self.before[jid]
            self.before[jid] = now
            if now is None:
                continue
            assert now.generation not in self.dead, "resurrected"
            assert 0 <= now.attempts <= POLICY.attempts_max
            if before is None or before.generation != now.generation:
                assert now.state in WAITING
            elif before.is_terminal:
                filled = replace(before, logs=now.logs, logs_at_ms=now.logs_at_ms, logs_missing=False)
                allowed = [before, filled] if before.logs_missing else [before]
                # The lease is the submitter's to give back when it comes too late; no reader sees it.
                assert now in [replace(record, lease_until_ms=now.lease_until_ms) for record in allowed]
            else:
                # An observer's two changes may be two steps, but the second repeats the state of the first.
                assert now.state is before.state or before.state in SOURCES[now.state]

    @invariant()
    def the_lists_are_those_of_the_records(self) -> None:
        records = [record for record in self.before.values() if record]
        groups = {"waiting": WAITING, "running": NATIVE, "terminal": TERMINAL}
        expected = {name: {r.jid for r in records if r.state in states} for name, states in groups.items()}
        counts = self.both(lambda store: store.counts(BACKEND))
        assert {name: counts[name] for name in groups} == {name: len(group) for name, group in expected.items()}
        assert self.both(lambda store: set(store.running(BACKEND))) == expected["running"]
        assert self.both(lambda store: set(store.active(BACKEND))) == expected["waiting"] | expected["running"]
        ended = self.both(lambda store: set(store.ended_before(BACKEND, self.clock.ms, ALL)))
        assert ended == expected["terminal"]
        assert self.both(lambda store: set(store.due(BACKEND, ALL))) <= expected["waiting"]
        self.both(lambda store: set(store.obligations(BACKEND, ALL)))
        page = self.both(lambda store: store.page("", ALL))
        assert [r.generation for r in page.records] == sorted((r.generation for r in records), reverse=True)


def _machine(examples: int, steps: int) -> type[TestCase]:
    """Return the machine as a test: the same examples in every run."""

    class Case(Writers.TestCase):  # type: ignore[name-defined, misc]
        settings = settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        )

    return Case


TestWriters = _machine(examples=10, steps=25)
TestManyWriters = pytest.mark.exhaustive(_machine(examples=200, steps=50))
