"""What every store promises of removals: deleting, expiring, adopting, and the obligations that they leave."""

from collections.abc import Callable

import pytest
from store_cases import (
    BACKEND,
    JID,
    KEEPING,
    POLICY,
    TOKEN,
    Clock,
    bring,
    claim,
    fake_client,
    move,
    post,
    record_of,
    request_of,
    spec_of,
)

from pman_core.job import JobRecord, JobSpec, mint_generation
from pman_core.states import NATIVE, TERMINAL, WAITING, State
from pman_core.store.memory import MemoryStore
from pman_core.store.protocol import Adopted, Change, Deletion, Moved, Obligation, Standing, Store
from pman_core.store.redis import RedisStore

pytest_plugins = ("store_fixtures",)

LEASE_S, FENCE_S = POLICY.lease_ms / 1000, POLICY.fence_ms / 1000


def of(record: JobRecord) -> Obligation:
    return Obligation(record.jid, record.generation, record.host)


def adopt(store: Store, spec: JobSpec, host: str = "", *, is_terminal: bool = False) -> Adopted:
    return store.adopt(spec, BACKEND, host, is_terminal=is_terminal)


# Deleting


@pytest.mark.parametrize("state", list(State))
def test_a_deleted_job_is_hidden_at_once_and_cannot_come_back(store: Store, state: State) -> None:
    record = bring(store, state, host="node-1")
    assert store.delete(JID) == Deletion(of(record), BACKEND)
    assert store.get(JID) is None
    assert store.page("", 10).records == []
    for target in State:
        assert store.advance(Change(JID, record.generation, target, token=TOKEN)) is Moved.NO_RECORD
    assert not store.fill_logs(JID, record.generation, "no")
    assert store.obligations(BACKEND, 10) == [of(record)]
    assert store.unsettled(JID)


def test_an_unknown_job_leaves_a_tombstone_and_no_obligation(store: Store) -> None:
    generation = mint_generation()
    assert store.delete(JID) == Deletion(None)
    assert not store.unsettled(JID)
    assert adopt(store, spec_of(generation=generation)) is Adopted.REMOVE


def test_the_one_who_deletes_may_claim_the_obligation_in_the_same_step(store: Store, clock: Clock) -> None:
    earlier = bring(store, State.RUNNING)
    store.delete(JID)
    record = post(store)
    store.delete(JID, claim_s=10)
    assert store.obligations(BACKEND, 10) == [of(earlier)]
    clock.advance(10)
    assert store.obligations(BACKEND, 10) == [of(earlier), of(record)]


def test_a_second_delete_changes_nothing(store: Store) -> None:
    record = bring(store, State.RUNNING)
    store.delete(JID)
    assert store.delete(JID) == Deletion(None)
    assert store.obligations(BACKEND, 10) == [of(record)]
    assert store.unsettled(JID)


def test_a_new_job_may_be_posted_and_deleted_behind_the_old_one(store: Store) -> None:
    old = bring(store, State.RUNNING)
    store.delete(JID)
    new = post(store)
    assert claim(store, new) is Moved.BLOCKED
    assert store.delete(JID).obligation == of(new)
    third = post(store)
    assert store.settle(BACKEND, of(new))
    assert claim(store, third) is Moved.BLOCKED
    assert store.settle(BACKEND, of(old))
    assert claim(store, third) is Moved.OK


def test_a_delete_while_submitting_is_final_only_when_the_submitter_is_done(store: Store, clock: Clock) -> None:
    record = bring(store, State.SUBMITTING)
    store.delete(JID)
    assert store.standing(JID, record.generation) == Standing(is_leased=True, is_fenced=True)
    assert not store.settle(BACKEND, of(record))
    assert store.unsettled(JID)
    assert store.obligations(BACKEND, 10) == [of(record)]
    store.release(JID, record.generation)
    assert store.standing(JID, record.generation) == Standing(is_leased=False, is_fenced=False)
    assert store.settle(BACKEND, of(record))
    assert not store.unsettled(JID)
    assert store.obligations(BACKEND, 10) == []


def test_a_lease_that_is_never_returned_has_its_fence_behind_it(store: Store, clock: Clock) -> None:
    """Its holder may only be asleep."""
    record = bring(store, State.SUBMITTING)
    store.delete(JID)
    clock.advance(LEASE_S)
    assert store.standing(JID, record.generation) == Standing(is_leased=False, is_fenced=True)
    assert store.settle(BACKEND, of(record))
    assert not store.unsettled(JID)
    assert store.standing(JID, record.generation) == Standing(is_leased=False, is_fenced=True)
    assert store.obligations(BACKEND, 10) == []
    clock.advance(FENCE_S)
    assert store.obligations(BACKEND, 10) == [of(record)]
    assert store.standing(JID, record.generation) == Standing(is_leased=False, is_fenced=False)


def test_a_sweep_leaves_an_ended_object_behind_its_fence_alone(store: Store, clock: Clock) -> None:
    record = bring(store, State.SUBMITTING)
    store.delete(JID)
    clock.advance(LEASE_S)
    store.settle(BACKEND, of(record))
    assert adopt(store, record.spec("pman"), is_terminal=True) is Adopted.KEPT
    assert not store.unsettled(JID)
    assert adopt(store, record.spec("pman")) is Adopted.REMOVE
    assert store.unsettled(JID)
    clock.advance(FENCE_S)
    assert adopt(store, record.spec("pman"), is_terminal=True) is Adopted.REMOVE


def test_a_submitter_that_finds_its_job_deleted_releases_it(store: Store) -> None:
    record = bring(store, State.SUBMITTING)
    assert not store.release(JID, record.generation)
    store.delete(JID)
    assert store.release(JID, record.generation)
    assert store.settle(BACKEND, of(record))
    assert claim(store, post(store)) is Moved.OK


def test_a_submitter_that_slept_through_it_all_still_learns_that_its_job_was_deleted(store: Store) -> None:
    record = bring(store, State.RUNNING)
    store.delete(JID)
    store.settle(BACKEND, of(record))
    later = post(store)
    assert store.release(JID, record.generation)
    assert not store.release(JID, later.generation)
    assert not store.unsettled(JID)


def test_a_submitter_that_slept_through_a_wipe_is_not_told_to_remove_the_job_that_came_back(store: Store) -> None:
    """Its object took over the record of a later POST."""
    spec = spec_of()
    post(store)
    assert adopt(store, spec) is Adopted.TAKEN_OVER
    assert not store.release(JID, spec.generation)


def test_a_fence_keeps_the_name_taken_but_frees_the_jid(store: Store, clock: Clock) -> None:
    """The holder of a lease that was taken over may only be asleep."""
    record = post(store)
    claim(store, record, "asleep")
    clock.advance(LEASE_S)
    claim(store, record, TOKEN)
    move(store, record, State.RUNNING, token=TOKEN)
    store.delete(JID)
    assert store.standing(JID, record.generation) == Standing(is_leased=False, is_fenced=True)
    assert store.settle(BACKEND, of(record))
    assert not store.unsettled(JID)
    assert store.obligations(BACKEND, 10) == []
    assert store.counts(BACKEND)["obligations"] == 1
    clock.advance(FENCE_S)
    assert store.obligations(BACKEND, 10) == [of(record)]
    assert store.standing(JID, record.generation) == Standing(is_leased=False, is_fenced=False)
    assert store.settle(BACKEND, of(record))
    assert store.counts(BACKEND)["obligations"] == 0


def test_nothing_stands_against_the_removal_of_what_is_unknown(store: Store) -> None:
    assert store.standing(JID, mint_generation()) == Standing(is_leased=False, is_fenced=False)


# Obligations


def test_obligations_are_due_in_turn(store: Store, clock: Clock) -> None:
    deleted = []
    for jid in ("c", "a", "b"):
        deleted.append(of(bring(store, State.PENDING, jid)))
        store.delete(jid)
        clock.advance(1)
    assert store.obligations(BACKEND, 10) == deleted
    assert store.obligations(BACKEND, 2) == deleted[:2]
    assert store.obligations("another", 10) == []
    store.postpone(BACKEND, deleted[0], 30)
    assert store.obligations(BACKEND, 10) == deleted[1:]
    clock.advance(30)
    assert store.obligations(BACKEND, 10) == [*deleted[1:], deleted[0]]


def test_what_is_settled_cannot_be_postponed(store: Store) -> None:
    store.postpone(BACKEND, Obligation(JID, mint_generation()), 1)
    assert store.counts(BACKEND)["obligations"] == 0


def test_settling_twice_is_settling_once(store: Store) -> None:
    record = bring(store, State.PENDING)
    store.delete(JID)
    assert store.settle(BACKEND, of(record))
    assert store.settle(BACKEND, of(record))
    assert store.counts(BACKEND)["obligations"] == 0


def test_an_obligation_from_before_the_job_had_a_host_is_settled_by_its_host(store: Store) -> None:
    record = post(store)
    store.delete(JID)
    assert store.settle(BACKEND, Obligation(JID, record.generation, "node-1"))
    assert store.counts(BACKEND)["obligations"] == 0


def test_a_lost_job_leaves_an_obligation_and_no_tombstone(store: Store) -> None:
    record = bring(store, State.LOST)
    assert store.obligations(BACKEND, 10) == [of(record)]
    assert not store.unsettled(JID)
    assert store.settle(BACKEND, of(record))
    assert record_of(store) == record


def test_deleting_a_lost_job_brings_its_removal_forward(store: Store) -> None:
    record = bring(store, State.LOST)
    store.postpone(BACKEND, of(record), 60)
    store.delete(JID)
    assert store.obligations(BACKEND, 10) == [of(record)]


# Expiring


@pytest.mark.parametrize("state", list(State))
def test_only_terminal_records_expire(store: Store, state: State) -> None:
    record = bring(store, state)
    assert not store.expire(JID, mint_generation())
    assert store.expire(JID, record.generation) is (state in TERMINAL)
    assert store.get(JID) == (None if state in TERMINAL else record)
    assert not store.expire("none", record.generation)


def test_an_expired_job_is_not_adopted_again_and_its_jid_is_free(store: Store) -> None:
    record = bring(store, State.SUCCEEDED)
    spec = record.spec("pman")
    assert store.expire(JID, record.generation)
    assert adopt(store, spec, is_terminal=True) is Adopted.REMOVE
    assert store.settle(BACKEND, of(record))
    again = post(store)
    assert again.generation > record.generation
    assert claim(store, again) is Moved.OK


# Adopting


@pytest.mark.parametrize("state", list(State))
def test_an_object_of_the_record_is_known(store: Store, state: State) -> None:
    record = bring(store, state)
    assert adopt(store, record.spec("pman"), is_terminal=True) is Adopted.KNOWN
    assert record_of(store) == record


def test_an_object_without_a_record_rebuilds_it(empty_store: Store, clock: Clock) -> None:
    store, spec = empty_store, spec_of()
    assert adopt(store, spec, "node-1") is Adopted.CREATED
    record = record_of(store)
    assert (record.generation, record.state, record.host) == (spec.generation, State.QUEUED, "node-1")
    assert (record.digest, record.cmd) == (spec.request.digest, post(store, "like").cmd)
    assert record.spec("pman") == spec
    assert record.created_at_ms == clock.ms
    assert adopt(store, spec, "node-1") is Adopted.KNOWN
    assert move(store, record, State.RUNNING) is Moved.OK


def requeued(store: Store) -> None:
    record = post(store)
    claim(store, record)
    move(store, record, State.QUEUED, token=TOKEN, delay_s=60)


def lease_expired(store: Store) -> None:
    claim(store, post(store))


@pytest.mark.parametrize("wait", [post, requeued, lease_expired])
def test_a_waiting_record_of_the_same_body_takes_the_object_over(
    store: Store, clock: Clock, wait: Callable[[Store], object]
) -> None:
    spec = spec_of()
    wait(store)
    waiting = record_of(store)
    clock.advance(LEASE_S)
    assert adopt(store, spec, "node-1") is Adopted.TAKEN_OVER
    record = record_of(store)
    assert (record.generation, record.host, record.state) == (spec.generation, "node-1", waiting.state)
    assert (record.lease_until_ms, record.next_attempt_at_ms) == (0, 0)
    assert [shown.generation for shown in store.page("", 10).records] == [spec.generation]
    assert store.advance(Change(JID, waiting.generation, State.RUNNING)) is Moved.OTHER_GENERATION
    assert move(store, record, State.RUNNING) is Moved.OK
    assert not store.unsettled(JID)


def test_a_job_of_another_body_waits_until_the_object_has_ended(store: Store) -> None:
    spec = spec_of(cpu_limit=2000)
    record = post(store)
    assert adopt(store, spec) is Adopted.HOLDS_BACK
    assert store.counts(BACKEND)["obligations"] == 0
    assert record_of(store) == record
    assert claim(store, record) is Moved.BLOCKED
    assert not store.release(JID, spec.generation)
    assert adopt(store, spec, is_terminal=True) is Adopted.REMOVE
    obligation = Obligation(JID, spec.generation)
    assert store.obligations(BACKEND, 10) == [obligation]
    assert store.settle(BACKEND, obligation)
    assert claim(store, record) is Moved.OK


@pytest.mark.parametrize("state", sorted(NATIVE | TERMINAL | {State.SUBMITTING}))
def test_a_double_of_a_job_that_has_its_own_object_is_removed(store: Store, state: State) -> None:
    spec = spec_of()
    record = bring(store, state)
    assert adopt(store, spec, "node-1") is Adopted.REMOVE
    assert record_of(store) == record
    assert Obligation(JID, spec.generation, "node-1") in store.obligations(BACKEND, 10)


@pytest.mark.parametrize("state", sorted(WAITING | NATIVE | TERMINAL))
def test_an_object_under_a_tombstone_is_removed(store: Store, state: State) -> None:
    record = bring(store, state)
    spec = record.spec("pman")
    store.delete(JID)
    store.release(JID, record.generation)
    store.settle(BACKEND, of(record))
    new = post(store)
    assert adopt(store, spec) is Adopted.REMOVE
    assert store.unsettled(JID)
    assert record_of(store) == new
    assert store.obligations(BACKEND, 10) == [of(record)]


def test_a_sweep_does_not_bring_a_removal_forward(store: Store) -> None:
    record = bring(store, State.RUNNING)
    store.delete(JID)
    store.postpone(BACKEND, of(record), 60)
    assert adopt(store, record.spec("pman")) is Adopted.REMOVE
    assert store.obligations(BACKEND, 10) == []


def test_a_sweep_does_not_end_the_lease_of_a_deleted_job(store: Store) -> None:
    record = bring(store, State.SUBMITTING)
    store.delete(JID)
    assert adopt(store, record.spec("pman")) is Adopted.REMOVE
    assert not store.settle(BACKEND, of(record))


@pytest.mark.parametrize("kind", ["memory", "fakeredis"])
def test_ended_objects_of_deleted_jobs_stay_if_the_site_keeps_them(clock: Clock, kind: str) -> None:
    """REMOVE_JOBS=no."""
    store: Store = MemoryStore("pman", KEEPING, clock)
    if kind == "fakeredis":
        store = RedisStore(fake_client(), "pman", KEEPING, now_ms=clock)
    spec = spec_of()
    store.delete(JID)
    assert adopt(store, spec, is_terminal=True) is Adopted.KEPT
    assert not store.unsettled(JID)
    assert adopt(store, spec) is Adopted.REMOVE
    assert store.create(request_of(), BACKEND).record.generation > spec.generation


def test_a_generation_that_was_taken_over_does_not_outlive_the_delete_of_its_job(store: Store) -> None:
    spec = spec_of()
    superseded = post(store)
    assert adopt(store, spec) is Adopted.TAKEN_OVER
    assert adopt(store, superseded.spec("pman")) is Adopted.REMOVE
    assert store.release(JID, superseded.generation)
    store.delete(JID)
    assert adopt(store, superseded.spec("pman")) is Adopted.REMOVE
    assert adopt(store, spec) is Adopted.REMOVE
    assert store.get(JID) is None
    assert post(store).generation > superseded.generation
