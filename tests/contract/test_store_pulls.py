"""What every store promises of pulls: one holder for each image, news for all who wait, no job that is forgotten."""

import pytest
import redis
from store_cases import BACKEND, JID, POLICY, TOKEN, Clock, bring, claim, move, post, record_of

from pman_core.job import JobRecord
from pman_core.states import Reason, State
from pman_core.store.protocol import MESSAGE_CHARS_MAX, Change, Moved, Store
from pman_core.store.pulls import Joined, Pull, Waiter
from pman_core.store.redis import RedisStore

pytest_plugins = ("store_fixtures",)

LEASE_S = 30.0
IMAGE = "fnndsc/pl-simplefsapp"
PULL = Pull(BACKEND, IMAGE, "p1")
OTHER = Pull(BACKEND, IMAGE, "p2")


def ask(store: Store, jid: str = JID, **fields: object) -> JobRecord:
    """Post a job and have its submit find that the image is not there."""
    record = post(store, jid, **fields)
    return ask_again(store, record)


def ask_again(store: Store, record: JobRecord) -> JobRecord:
    assert claim(store, record) is Moved.OK
    fields = {"token": TOKEN, "uncounted": True, "delay_s": LEASE_S, "image_missing": True}
    assert move(store, record, State.QUEUED, message="waiting", **fields) is Moved.OK
    return record_of(store, record.jid)


def join(store: Store, record: JobRecord, pull: Pull = PULL) -> Joined:
    return store.join_pull(pull, record.jid, record.generation, LEASE_S)


def waiter(record: JobRecord) -> Waiter:
    return Waiter(record.jid, record.generation)


def fail(store: Store, record: JobRecord, pull: Pull = PULL) -> Moved:
    change = Change(
        record.jid, record.generation, State.FAILED, reason=Reason.IMAGE_PULL, message="no access", pull=pull.token
    )
    return store.advance(change)


# Joining


def test_the_first_holds_the_lease_and_the_others_wait(store: Store) -> None:
    first, second = ask(store, "a"), ask(store, "b")
    assert join(store, first) is Joined.HOLDS
    assert join(store, second, OTHER) is Joined.WAITS
    assert join(store, first, OTHER) is Joined.WAITS
    assert set(store.tell_pull(PULL, "", LEASE_S) or ()) == {waiter(first), waiter(second)}


def test_joining_again_with_the_same_token_holds_it_still(store: Store) -> None:
    """The client library may send a command twice."""
    record = ask(store)
    assert [join(store, record), join(store, record)] == [Joined.HOLDS] * 2


def test_another_image_or_another_backend_is_another_pull(store: Store) -> None:
    first = ask(store, "a")
    second = ask(store, "b", image="fnndsc/another")
    assert join(store, first) is Joined.HOLDS
    assert join(store, second, Pull(BACKEND, "fnndsc/another", "p2")) is Joined.HOLDS
    assert join(store, first, Pull("docker", IMAGE, "p3")) is Joined.HOLDS


def test_an_expired_lease_is_taken_over_with_all_who_wait(store: Store, clock: Clock) -> None:
    first, second = ask(store, "a"), ask(store, "b")
    join(store, first)
    join(store, second, OTHER)
    clock.advance(LEASE_S)
    assert join(store, second, OTHER) is Joined.HOLDS
    assert store.tell_pull(PULL, "old news", LEASE_S) is None
    assert set(store.tell_pull(OTHER, "news", LEASE_S) or ()) == {waiter(first), waiter(second)}
    assert record_of(store, "a").message == "news"


@pytest.mark.parametrize("state", [State.SUBMITTING, State.PENDING, State.RUNNING, State.FAILED])
def test_only_a_queued_job_waits(store: Store, state: State) -> None:
    assert join(store, bring(store, state)) is Joined.GONE


def test_an_unknown_or_an_older_generation_does_not_wait(store: Store) -> None:
    record = ask(store)
    assert store.join_pull(PULL, JID, "0" * 26, LEASE_S) is Joined.GONE
    assert store.join_pull(PULL, "nobody", record.generation, LEASE_S) is Joined.GONE
    assert join(store, record, OTHER) is Joined.HOLDS, "they have taken nothing"


# Telling


def test_telling_renews_the_lease_and_puts_off_those_who_wait(store: Store, clock: Clock) -> None:
    record = ask(store)
    join(store, record)
    for percent in range(0, 100, 10):
        clock.advance(LEASE_S - 1)
        assert store.tell_pull(PULL, f"{percent} %", LEASE_S) == [waiter(record)]
        seen = record_of(store)
        assert (seen.state, seen.message) == (State.QUEUED, f"{percent} %")
        assert seen.next_attempt_at_ms == clock.ms + LEASE_S * 1000
    assert join(store, record, OTHER) is Joined.WAITS
    assert claim(store, record) is Moved.EARLY
    assert store.due(BACKEND, 10) == []
    clock.advance(LEASE_S)
    assert store.due(BACKEND, 10) == [JID]
    assert claim(store, record) is Moved.OK


def test_an_empty_message_leaves_the_one_that_is_there(store: Store) -> None:
    record = ask(store)
    join(store, record)
    store.tell_pull(PULL, "", LEASE_S)
    assert record_of(store).message == "waiting"


def test_a_message_is_clipped_and_made_of_characters(store: Store) -> None:
    record = ask(store)
    join(store, record)
    store.tell_pull(PULL, "\udcff" + "x" * 5000, LEASE_S)
    assert record_of(store).message == "?" + "x" * (MESSAGE_CHARS_MAX - 1)


def test_an_expired_lease_that_nobody_wanted_still_serves_its_holder(store: Store, clock: Clock) -> None:
    record = ask(store)
    join(store, record)
    clock.advance(LEASE_S * 3)
    assert store.tell_pull(PULL, "awake", LEASE_S) == [waiter(record)]


def test_who_is_deleted_or_submitted_has_left(store: Store, clock: Clock) -> None:
    deleted, submitted = ask(store, "a"), ask(store, "b")
    join(store, deleted)
    join(store, submitted)
    clock.advance(LEASE_S)
    store.delete("a")
    claim(store, submitted)
    assert store.tell_pull(PULL, "news", LEASE_S) == []
    assert record_of(store, "b").message == "waiting"
    again = post(store, "a")
    assert again.generation != deleted.generation
    assert store.tell_pull(PULL, "news", LEASE_S) == []
    assert record_of(store, "a").message == ""


def test_without_the_lease_there_is_nothing_to_tell(store: Store) -> None:
    assert store.tell_pull(PULL, "news", LEASE_S) is None


# The end


def test_a_fetched_image_wakes_all_who_wait(store: Store, clock: Clock) -> None:
    first, second = ask(store, "a"), ask(store, "b")
    join(store, first)
    join(store, second)
    store.tell_pull(PULL, "90 %", LEASE_S)
    clock.advance(1)
    assert set(store.end_pull(PULL, fetched=True)) == {waiter(first), waiter(second)}
    for jid in ("a", "b"):
        seen = record_of(store, jid)
        assert (seen.state, seen.message, seen.image_at_ms, seen.next_attempt_at_ms) == (State.QUEUED, "", clock.ms, 0)
    assert store.get_many(["a"])[0].image_at_ms == clock.ms  # type: ignore[union-attr]
    assert store.due(BACKEND, 10) == []
    clock.advance(POLICY.requeue_ms / 1000)
    assert set(store.due(BACKEND, 10)) == {"a", "b"}, "if the messages were lost"
    assert claim(store, first) is Moved.OK
    assert store.end_pull(PULL, fetched=True) == []


def test_who_was_served_does_not_wait_again_until_the_image_is_missed_again(store: Store, clock: Clock) -> None:
    record = ask(store)
    join(store, record)
    store.end_pull(PULL, fetched=True)
    assert join(store, record, OTHER) is Joined.GONE, "a message that came twice"
    clock.advance(1)
    assert ask_again(store, record).image_at_ms == 0
    assert join(store, record, OTHER) is Joined.HOLDS


def test_the_mark_outlives_an_attempt_that_found_the_scheduler_away(store: Store) -> None:
    record = ask(store)
    join(store, record)
    store.end_pull(PULL, fetched=True)
    marked_ms = record_of(store).image_at_ms
    claim(store, record)
    move(store, record, State.QUEUED, token=TOKEN, uncounted=True)
    assert record_of(store).image_at_ms == marked_ms != 0


def test_a_job_that_joins_when_the_image_has_just_come_is_ready(store: Store, clock: Clock) -> None:
    first, second = ask(store, "a"), ask(store, "b")
    join(store, first)
    clock.advance(1)
    store.end_pull(PULL, fetched=True)
    assert join(store, second, OTHER) is Joined.READY
    assert record_of(store, "b").image_at_ms == clock.ms
    assert claim(store, second) is Moved.OK
    clock.advance(1)
    assert join(store, ask(store, "c"), OTHER) is Joined.HOLDS, "it has asked for it later, so it is not there any more"


def test_what_cannot_be_fetched_now_is_put_off(store: Store, clock: Clock) -> None:
    record = ask(store)
    join(store, record)
    assert store.end_pull(PULL, fetched=False, delay_s=7, message="no engine") == [waiter(record)]
    seen = record_of(store)
    assert (seen.state, seen.message, seen.image_at_ms) == (State.QUEUED, "no engine", 0)
    assert (seen.retries, seen.attempts) == (record.retries + 1, 0)
    assert seen.next_attempt_at_ms == clock.ms + 7000
    assert join(store, record, OTHER) is Joined.HOLDS, "the lease was given back"


def test_a_pull_that_is_given_up_leaves_the_message_and_lets_all_try_at_once(store: Store) -> None:
    record = ask(store)
    join(store, record)
    store.end_pull(PULL, fetched=False)
    assert record_of(store).message == "waiting"
    assert store.due(BACKEND, 10) == [JID]


def test_who_has_lost_the_lease_can_only_tell_that_the_image_is_there(store: Store, clock: Clock) -> None:
    record = ask(store)
    join(store, record)
    clock.advance(LEASE_S)
    assert join(store, record, OTHER) is Joined.HOLDS
    before = record_of(store)
    assert store.end_pull(PULL, fetched=False, delay_s=60, message="old news") == []
    assert fail(store, record) is Moved.STALE
    assert record_of(store) == before
    assert store.end_pull(PULL, fetched=True) == [waiter(record)]
    assert store.tell_pull(OTHER, "50 %", LEASE_S) == [], "the lease is still the other's, and nobody waits"


# A refusal


def test_a_refusal_ends_those_who_wait(store: Store) -> None:
    first, second = ask(store, "a"), ask(store, "b")
    join(store, first)
    join(store, second)
    assert [fail(store, record) for record in (first, second)] == [Moved.OK, Moved.OK]
    seen = record_of(store, "b")
    assert (seen.state, seen.reason, seen.message) == (State.FAILED, Reason.IMAGE_PULL, "no access")
    assert store.counts(BACKEND)["waiting"] == 0
    assert store.end_pull(PULL, fetched=False) == []


def test_a_refusal_ends_nobody_else(store: Store, clock: Clock) -> None:
    stranger, submitted = ask(store, "a"), ask(store, "b")
    join(store, submitted)
    assert fail(store, stranger) is Moved.STALE
    clock.advance(LEASE_S)
    claim(store, submitted)
    assert fail(store, submitted) is Moved.STALE
    assert record_of(store, "b").state is State.SUBMITTING
    move(store, submitted, State.PENDING, token=TOKEN)
    assert fail(store, submitted) is Moved.STALE


def test_a_refusal_does_not_end_who_was_told_that_the_image_is_there(store: Store, clock: Clock) -> None:
    """Another one, that had lost its lease, was quicker."""
    record = ask(store)
    join(store, record)
    clock.advance(LEASE_S)
    join(store, record, OTHER)
    store.end_pull(PULL, fetched=True)
    assert fail(store, record, OTHER) is Moved.STALE
    assert record_of(store).state is State.QUEUED


# Nothing stays for ever


def test_every_key_of_a_pull_goes_by_itself(server: "redis.Redis") -> None:
    store = RedisStore(server, "pman", POLICY)
    store.begin_epoch(BACKEND)

    def lifetimes() -> dict[str, int]:
        keys = [f"pman:pman:{kind}:{BACKEND}:{IMAGE}" for kind in ("pull", "waiters")]
        return {key.split(":")[2]: int(server.pttl(key)) for key in keys if server.exists(key)}  # type: ignore[arg-type]

    record = ask(store)
    join(store, record)
    assert set(lifetimes()) == {"pull", "waiters"}
    for key in server.keys("pman:pman:[pw]*:mock:*"):  # type: ignore[union-attr]
        server.pexpire(key, int(LEASE_S * 500))
    store.tell_pull(PULL, "news", LEASE_S)
    assert all(LEASE_S * 1000 < left <= 10 * LEASE_S * 1000 for left in lifetimes().values()), lifetimes()
    store.end_pull(PULL, fetched=True)
    assert 0 < lifetimes().pop("pull") <= 300_000
    assert set(lifetimes()) == {"pull"}
