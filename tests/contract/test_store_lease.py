"""What every store promises of claims: who may submit, enqueue, read a log, lead, and call a job absent."""

import pytest
from store_cases import BACKEND, JID, POLICY, TOKEN, Clock, bring, claim, move, post, record_of, request_of

from pman_core.job import mint_generation
from pman_core.states import TERMINAL, State
from pman_core.store.protocol import Claim, Moved, Store

pytest_plugins = ("store_fixtures",)

LEASE_S = POLICY.lease_ms / 1000

# The submit lease


def test_a_claim_counts_the_attempt_before_the_call(store: Store, clock: Clock) -> None:
    record = post(store)
    assert claim(store, record, host="node-1", message="submitting") is Moved.OK
    seen = record_of(store)
    assert (seen.state, seen.attempts, seen.host, seen.message) == (State.SUBMITTING, 1, "node-1", "submitting")
    assert seen.lease_until_ms == clock.ms + POLICY.lease_ms


def test_a_claim_repeated_with_the_same_token_counts_once(store: Store, clock: Clock) -> None:
    """The client library may send a command twice."""
    record = post(store)
    claim(store, record)
    first = record_of(store)
    clock.advance(1)
    assert claim(store, record) is Moved.OK
    assert record_of(store) == first


def test_a_live_lease_is_not_taken_over(store: Store, clock: Clock) -> None:
    record = post(store)
    claim(store, record)
    clock.advance(LEASE_S - 0.001)
    assert claim(store, record, "another") is Moved.LEASED


def test_an_expired_lease_is_taken_over(store: Store, clock: Clock) -> None:
    record = post(store)
    claim(store, record)
    clock.advance(LEASE_S)
    assert claim(store, record, "another") is Moved.OK
    assert record_of(store).attempts == 2
    for state in (State.QUEUED, State.PENDING, State.FAILED):
        assert move(store, record, state, token=TOKEN) is Moved.STALE
    assert record_of(store).state is State.SUBMITTING


def test_an_expired_lease_that_nobody_wanted_still_serves_its_holder(store: Store, clock: Clock) -> None:
    record = post(store)
    claim(store, record)
    clock.advance(LEASE_S * 3)
    assert move(store, record, State.PENDING, token=TOKEN, handle_json="{}") is Moved.OK


@pytest.mark.parametrize("state", [State.PENDING, State.RUNNING, *sorted(TERMINAL)])
def test_there_is_nothing_left_to_submit_once_the_observer_was_quicker(store: Store, state: State) -> None:
    record = post(store)
    claim(store, record)
    assert move(store, record, state) is Moved.OK


def test_only_the_holder_of_the_lease_puts_a_job_back(store: Store) -> None:
    record = bring(store, State.SUBMITTING)
    assert move(store, record, State.QUEUED) is Moved.STALE
    assert move(store, record, State.QUEUED, token="another") is Moved.STALE
    assert record_of(store) == record


def test_a_job_put_back_is_early_until_its_time(store: Store, clock: Clock) -> None:
    record = post(store)
    claim(store, record)
    assert move(store, record, State.QUEUED, token=TOKEN, delay_s=8, message="not now") is Moved.OK
    seen = record_of(store)
    assert (seen.state, seen.next_attempt_at_ms, seen.message) == (State.QUEUED, clock.ms + 8000, "not now")
    assert (seen.attempts, seen.retries) == (1, 0)
    clock.advance(7.999)
    assert claim(store, record) is Moved.EARLY
    clock.advance(0.001)
    assert claim(store, record) is Moved.OK
    assert record_of(store).attempts == 2


def test_an_unavailable_scheduler_never_uses_up_the_attempts(store: Store) -> None:
    record = post(store)
    for tries in range(1, 3 * POLICY.attempts_max):
        assert claim(store, record) is Moved.OK
        assert move(store, record, State.QUEUED, token=TOKEN, uncounted=True) is Moved.OK
        assert move(store, record, State.QUEUED, token=TOKEN, uncounted=True) is Moved.STALE
        seen = record_of(store)
        assert (seen.attempts, seen.retries) == (0, tries)


def test_attempts_that_never_come_back_are_exhausted(store: Store, clock: Clock) -> None:
    record = post(store)
    for attempt in range(POLICY.attempts_max):
        assert claim(store, record, f"t{attempt}") is Moved.OK
        clock.advance(LEASE_S)
    before = record_of(store)
    assert claim(store, record, "one more") is Moved.EXHAUSTED
    assert record_of(store) == before
    assert move(store, record, State.FAILED, reason="POISON") is Moved.OK


def test_a_job_waits_behind_its_earlier_generation(store: Store) -> None:
    old = bring(store, State.RUNNING)
    obligation = store.delete(JID).obligation
    new = post(store)
    assert new.generation > old.generation
    assert claim(store, new) is Moved.BLOCKED
    assert record_of(store) == new
    assert obligation is not None
    assert store.settle(BACKEND, obligation)
    assert claim(store, new) is Moved.OK


def test_nothing_is_submitted_before_a_complete_sweep(empty_store: Store) -> None:
    store = empty_store
    record = post(store)
    assert not store.epoch(BACKEND)
    assert claim(store, record) is Moved.SWEEPING
    assert record_of(store) == record
    store.begin_epoch("another")
    assert claim(store, record) is Moved.SWEEPING
    store.begin_epoch(BACKEND)
    assert store.epoch(BACKEND)
    assert claim(store, record) is Moved.OK


def test_what_waited_for_the_sweep_is_due_by_age(empty_store: Store, clock: Clock) -> None:
    jids = [f"job-{letter}" for letter in "dbeca"]
    for jid in jids:
        post(empty_store, jid)
        clock.advance(1)
    assert list(empty_store.due(BACKEND, 10)) == []
    empty_store.begin_epoch(BACKEND)
    assert list(empty_store.due(BACKEND, 10)) == jids
    assert list(empty_store.due(BACKEND, 2)) == jids[:2]


# Enqueueing


def test_a_due_job_is_enqueued_by_one_and_again_later(store: Store, clock: Clock) -> None:
    record = post(store)
    assert not store.claim_enqueue(JID, record.generation, 20)
    clock.advance(POLICY.requeue_ms / 1000)
    assert store.claim_enqueue(JID, record.generation, 20)
    assert not store.claim_enqueue(JID, record.generation, 20)
    clock.advance(20)
    assert store.claim_enqueue(JID, record.generation, 20)
    assert record_of(store).enqueues == 2


def test_what_does_not_wait_is_not_enqueued(store: Store, clock: Clock) -> None:
    record = bring(store, State.PENDING)
    queued = post(store, "queued")
    clock.advance(3600)
    assert not store.claim_enqueue(JID, record.generation, 1)
    assert not store.claim_enqueue("queued", record.generation, 1)
    assert not store.claim_enqueue("none", record.generation, 1)
    assert store.claim_enqueue("queued", queued.generation, 1)


# Live logs


def test_the_log_of_a_running_job_is_read_once_per_period(store: Store, clock: Clock) -> None:
    record = bring(store, State.RUNNING)
    assert store.claim_refresh(JID, record.generation, 15)
    clock.advance(14.999)
    assert not store.claim_refresh(JID, record.generation, 15)
    clock.advance(0.001)
    assert store.claim_refresh(JID, record.generation, 15)
    assert not store.claim_refresh(JID, mint_generation(), 15)
    assert not store.claim_refresh("none", record.generation, 15)


@pytest.mark.parametrize("state", [s for s in State if s is not State.RUNNING])
def test_no_other_log_is_asked_for(store: Store, state: State) -> None:
    assert not store.claim_refresh(JID, bring(store, state).generation, 0)


# The leader


def test_one_leads_a_scope_until_its_lease_is_out(store: Store, clock: Clock) -> None:
    assert store.lead("mock", "a", 6)
    assert not store.lead("mock", "b", 6)
    assert store.lead("another", "b", 6)
    clock.advance(5)
    assert store.lead("mock", "a", 6)
    clock.advance(5.999)
    assert not store.lead("mock", "b", 6)
    clock.advance(0.001)
    assert store.lead("mock", "b", 6)
    assert not store.lead("mock", "a", 6)


def test_a_leader_that_resigns_is_followed_at_once(store: Store) -> None:
    store.lead("mock", "a", 6)
    store.resign("mock", "b")
    assert not store.lead("mock", "b", 6)
    store.resign("mock", "a")
    store.resign("mock", "a")
    assert store.lead("mock", "b", 6)


# Absence


def test_complete_listings_without_the_job_are_counted(store: Store, clock: Clock) -> None:
    record = bring(store, State.RUNNING)
    store.lead("mock", "a", 3600)
    counts = []
    for _ in range(3):
        clock.advance(2)
        counts.append(store.note_absent(JID, record.generation, "mock", "a", clock.ms))
    assert counts == [(1, 0), (2, 2000), (3, 4000)]


def test_a_listing_counts_once_however_often_it_is_told(store: Store, clock: Clock) -> None:
    """The client library may send a command twice."""
    record = bring(store, State.RUNNING)
    store.lead("mock", "a", 3600)
    clock.advance(2)
    for _ in range(2):
        assert store.note_absent(JID, record.generation, "mock", "a", clock.ms) == (1, 0)


def test_only_the_leader_counts_absences(store: Store, clock: Clock) -> None:
    record = bring(store, State.RUNNING)
    clock.advance(1)
    assert store.note_absent(JID, record.generation, "mock", "a", clock.ms) == (0, 0)
    store.lead("mock", "a", 6)
    assert store.note_absent(JID, record.generation, "mock", "b", clock.ms) == (0, 0)
    assert store.note_absent(JID, record.generation, "another", "a", clock.ms) == (0, 0)
    clock.advance(6)
    assert store.note_absent(JID, record.generation, "mock", "a", clock.ms) == (0, 0)
    store.lead("mock", "a", 6)
    assert store.note_absent(JID, record.generation, "mock", "a", clock.ms) == (1, 0)
    assert record_of(store).absent == 1
    assert store.create(request_of(), BACKEND).record.absent == 1


def test_a_new_leader_counts_anew_what_it_lists_itself(store: Store, clock: Clock) -> None:
    """The one before may have seen the job since, and sleep before it could say so."""
    record = bring(store, State.RUNNING)
    for token in ("a", "b", "a"):
        clock.advance(7)
        before_ms = clock.ms - 1
        store.lead("mock", token, 6)
        clock.advance(1)
        assert store.note_absent(JID, record.generation, "mock", token, before_ms) == (0, 0)
        assert store.note_absent(JID, record.generation, "mock", token, clock.ms) == (1, 0)
        clock.advance(1)
        assert store.note_absent(JID, record.generation, "mock", token, clock.ms) == (2, 1000)


def test_a_listing_from_before_the_handle_proves_nothing(store: Store, clock: Clock) -> None:
    store.lead("mock", "a", 3600)
    listed_at_ms = clock.ms
    record = bring(store, State.PENDING)
    assert store.note_absent(JID, record.generation, "mock", "a", listed_at_ms) == (0, 0)
    clock.advance(1)
    assert store.note_absent(JID, record.generation, "mock", "a", listed_at_ms) == (0, 0)
    assert store.note_absent(JID, record.generation, "mock", "a", clock.ms) == (1, 0)


@pytest.mark.parametrize("state", [State.QUEUED, State.SUBMITTING, *sorted(TERMINAL)])
def test_only_a_job_that_the_scheduler_had_can_be_absent(store: Store, clock: Clock, state: State) -> None:
    store.lead("mock", "a", 3600)
    record = bring(store, state)
    clock.advance(1)
    assert store.note_absent(JID, record.generation, "mock", "a", clock.ms) == (0, 0)


def test_a_job_that_was_seen_again_is_counted_anew(store: Store, clock: Clock) -> None:
    store.lead("mock", "a", 3600)
    record = bring(store, State.PENDING)
    for see_again in (
        lambda: move(store, record, State.RUNNING),
        lambda: move(store, record, State.RUNNING),
        lambda: store.note_present(JID, record.generation),
    ):
        clock.advance(1)
        assert store.note_absent(JID, record.generation, "mock", "a", clock.ms) == (1, 0)
        see_again()
    clock.advance(1)
    store.note_absent(JID, record.generation, "mock", "a", clock.ms)
    store.note_present(JID, mint_generation())
    store.note_present("none", record.generation)
    clock.advance(1)
    assert store.note_absent(JID, record.generation, "mock", "a", clock.ms) == (2, 1000)


# Claim and read in one call


def test_a_claim_brings_the_whole_record_with_it(store: Store, clock: Clock) -> None:
    record = post(store)
    first = store.claim(JID, record.generation, TOKEN, "node-1")
    assert first == Claim(Moved.OK, record_of(store))
    assert first.record is not None
    assert first.record.spec("pman") == record.spec("pman")
    assert (first.record.state, first.record.attempts, first.record.host) == (State.SUBMITTING, 1, "node-1")
    clock.advance(1)
    assert store.claim(JID, record.generation, TOKEN, "node-1") == first


def test_a_claim_empties_the_message_of_the_last_attempt(store: Store, clock: Clock) -> None:
    record = post(store)
    claim(store, record)
    move(store, record, State.QUEUED, token=TOKEN, message="the scheduler was not available")
    claimed = store.claim(JID, record.generation, TOKEN, "").record
    assert claimed is not None
    assert claimed.message == ""


def test_a_refused_claim_brings_nothing(empty_store: Store, clock: Clock) -> None:
    store = empty_store
    assert store.claim(JID, mint_generation(), TOKEN, "") == Claim(Moved.NO_RECORD)
    record = post(store)
    assert store.claim(JID, record.generation, TOKEN, "") == Claim(Moved.SWEEPING)
    store.begin_epoch(BACKEND)
    assert store.claim(JID, mint_generation(), TOKEN, "") == Claim(Moved.OTHER_GENERATION)
    store.claim(JID, record.generation, TOKEN, "")
    assert store.claim(JID, record.generation, "another", "") == Claim(Moved.LEASED)
    move(store, record, State.FAILED, token=TOKEN)
    assert store.claim(JID, record.generation, TOKEN, "") == Claim(Moved.FORBIDDEN)
