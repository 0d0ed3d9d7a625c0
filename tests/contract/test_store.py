"""What every store promises of one record: its birth, the one way in which it changes, and what is never changed.

Leases are in ``test_store_lease.py``, deletes in ``test_store_delete.py``, lists in ``test_store_lists.py``.
"""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from store_cases import BACKEND, JID, TOKEN, Clock, bring, claim, move, post, record_of, request_of

from pman_core.job import mint_generation
from pman_core.queues import Message
from pman_core.states import NATIVE, SOURCES, TERMINAL, WAITING, Reason, State
from pman_core.store.protocol import LOG_BYTES_MAX, MESSAGE_CHARS_MAX, Change, Created, Moved, Store

pytest_plugins = ("store_fixtures",)

# Birth


def test_a_new_job_is_queued_and_readable_at_once(store: Store, clock: Clock) -> None:
    creation = store.create(request_of(), BACKEND)
    record = creation.record
    assert creation.outcome is Created.NEW
    assert (record.jid, record.state, record.backend) == (JID, State.QUEUED, BACKEND)
    assert record.created_at_ms == clock.ms
    assert record.cmd.startswith("python3 /usr/local/bin/simplefsapp --prefix 'le file'")
    assert record_of(store) == record
    assert record.spec("pman").request == request_of()


def test_the_same_body_again_is_the_same_job(store: Store, clock: Clock) -> None:
    record = bring(store, State.RUNNING, message="running")
    clock.advance(5)
    creation = store.create(request_of(), BACKEND)
    assert creation.outcome is Created.SAME
    assert creation.record == record_of(store) == record


def test_another_body_is_refused_and_changes_nothing(store: Store) -> None:
    record = post(store)
    creation = store.create(request_of(cpu_limit=2000), BACKEND)
    assert creation.outcome is Created.OTHER
    assert creation.record == record_of(store) == record


def test_a_job_is_announced_in_the_step_that_makes_it_and_only_then(store: Any) -> None:
    told: list[tuple[str, str]] = []

    def announce(jid: str, generation: str) -> Message:
        told.append((jid, generation))
        return Message("pman.mock.submit", f"{jid} {generation}")

    record = store.create(request_of(), BACKEND, announce).record
    assert told == [(JID, record.generation)]
    assert store.length("pman.mock.submit") == 1
    store.create(request_of(), BACKEND, announce)
    store.create(request_of(cpu_limit=2000), BACKEND, announce)
    assert store.length("pman.mock.submit") == 1


def test_a_job_that_cannot_be_announced_is_made_all_the_same(store: Any) -> None:
    assert store.create(request_of(), BACKEND, lambda *_: None).outcome is Created.NEW


def test_after_a_tombstone_from_the_future_the_right_generation_is_announced(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = "7" + "0" * 9 + "z" * 16
    monkeypatch.setattr(f"{type(store).__module__}.mint_generation", lambda not_before="": far)
    store.delete(JID)
    monkeypatch.undo()
    told: list[str] = []
    record = store.create(request_of(), BACKEND, lambda _, generation: told.append(generation)).record
    assert told[-1] == record.generation


def test_ten_clients_that_post_one_jid_make_one_job(store: Store) -> None:
    ready = Barrier(10)

    def create(_: int) -> tuple[Created, str]:
        ready.wait(10)
        creation = store.create(request_of(), BACKEND)
        return creation.outcome, creation.record.generation

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(create, range(10)))
    assert sorted(outcome for outcome, _ in answers) == [Created.NEW] + [Created.SAME] * 9
    assert len({generation for _, generation in answers}) == 1


@pytest.mark.parametrize("ahead", ["", "7zzzzzzzzz"])
def test_a_generation_is_always_after_the_tombstone(store: Store, ahead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the host that deleted has a clock that is years ahead."""
    if ahead:
        far = "7" + "0" * 9 + "z" * 16
        monkeypatch.setattr(f"{type(store).__module__}.mint_generation", lambda not_before="": far)
    store.delete(JID)
    monkeypatch.undo()
    first = post(store).generation
    if ahead:
        assert first > far
    store.delete(JID)
    assert post(store).generation > first


# The ways of reading


def test_a_jid_that_was_never_posted_is_none(store: Store) -> None:
    assert store.get(JID) is None
    assert store.read(JID) is None
    assert store.get_many([JID, "b"]) == [None, None]
    assert store.get_many([]) == []


def test_what_a_reader_is_shown_leaves_out_only_what_is_ours(store: Store) -> None:
    record = bring(store, State.FAILED, exit_code=3, reason=Reason.NONZERO_EXIT, logs="a\nb", handle_json="{}")
    shown = store.read(JID)
    assert shown is not None
    assert (shown.request_json, shown.handle_json) == ("", "")
    for name in ("jid", "generation", "state", "exit_code", "reason", "logs", "cmd", "image", "finished_at_ms"):
        assert getattr(shown, name) == getattr(record, name)


def test_many_are_read_in_the_order_asked_and_without_their_logs(store: Store) -> None:
    post(store, "a")
    record = bring(store, State.RUNNING, "b", logs="long", handle_json="{}")
    first, missing, second = store.get_many(["b", "none", "a"])
    assert missing is None
    assert first is not None
    assert (first.logs, first.handle_json, first.request_json) == ("", "{}", record.request_json)
    assert second is not None
    assert second.jid == "a"


# The table of states


@pytest.mark.parametrize("source", list(State))
def test_exactly_the_moves_of_the_table_are_made(store: Store, source: State) -> None:
    row = {}
    for target in State:
        jid = f"{source}-{target}"
        record = bring(store, source, jid)
        token = TOKEN if target is State.SUBMITTING or source is State.SUBMITTING else ""
        row[target] = move(store, record, target, token=token, message="moved")
        if row[target] is not Moved.OK:
            assert record_of(store, jid) == record
    assert row == {target: Moved.OK if source in SOURCES[target] else Moved.FORBIDDEN for target in State}


@pytest.mark.parametrize("state", [s for s in State if s not in WAITING])
def test_a_forbidden_move_writes_none_of_its_fields(store: Store, state: State) -> None:
    record = bring(store, state)
    change = Change(
        JID, record.generation, State.SUBMITTING, token="t", host="h", message="no", reason="X", native_state="N",
        handle_json="{}", exit_code=9, started_at_ms=1, finished_at_ms=2, logs="no", logs_missing=True,
    )  # fmt: skip
    assert store.advance(change) is Moved.FORBIDDEN
    assert record_of(store) == record


def test_an_unknown_job_and_another_generation_are_told_apart(store: Store) -> None:
    change = Change(JID, mint_generation(), State.RUNNING)
    assert store.advance(change) is Moved.NO_RECORD
    record = post(store)
    assert store.advance(change) is Moved.OTHER_GENERATION
    assert record_of(store) == record


def test_many_changes_stand_each_for_itself(store: Store) -> None:
    a, b = post(store, "a"), bring(store, State.SUCCEEDED, "b")
    moved = store.advance_many(
        [
            Change("a", a.generation, State.RUNNING, message="1"),
            Change("none", a.generation, State.RUNNING),
            Change("b", b.generation, State.RUNNING),
            Change("a", a.generation, State.FAILED, message="2"),
            Change("a", a.generation, State.RUNNING, message="3"),
        ]
    )
    assert moved == [Moved.OK, Moved.NO_RECORD, Moved.FORBIDDEN, Moved.OK, Moved.FORBIDDEN]
    assert record_of(store, "a").message == "2"
    assert store.advance_many([]) == []


# What a move writes


def test_the_handle_has_its_time_once(store: Store, clock: Clock) -> None:
    record = bring(store, State.PENDING, handle_json='{"v": 1}', host="node-1")
    stored_at_ms = clock.ms
    clock.advance(3)
    move(store, record, State.PENDING, message="still", native_state="pulling")
    move(store, record, State.RUNNING, started_at_ms=clock.ms - 500)
    seen = record_of(store)
    assert (seen.handle_at_ms, seen.handle_json, seen.host) == (stored_at_ms, '{"v": 1}', "node-1")
    assert (seen.message, seen.native_state, seen.started_at_ms) == ("still", "pulling", clock.ms - 500)


def test_a_message_may_be_emptied_and_is_kept_when_nothing_is_said(store: Store) -> None:
    record = bring(store, State.PENDING, message="pulling the image")
    move(store, record, State.PENDING)
    assert record_of(store).message == "pulling the image"
    move(store, record, State.PENDING, message="")
    assert record_of(store).message == ""


@pytest.mark.parametrize("state", sorted(TERMINAL))
@pytest.mark.parametrize("source", sorted(NATIVE | WAITING))
def test_an_end_has_all_its_fields(store: Store, clock: Clock, source: State, state: State) -> None:
    record = bring(store, source)
    clock.advance(2)
    end = {"message": "why", "reason": "R", "native_state": "dead", "exit_code": 0, "logs": "out"}
    assert move(store, record, state, **end) is Moved.OK
    seen = record_of(store)
    assert seen.state is state
    assert {name: getattr(seen, name) for name in end} == end
    assert seen.finished_at_ms == clock.ms
    assert not seen.logs_missing


def test_the_end_is_when_the_scheduler_says_it_was(store: Store, clock: Clock) -> None:
    bring(store, State.SUCCEEDED, finished_at_ms=clock.ms - 7000)
    assert record_of(store).finished_at_ms == clock.ms - 7000


# Logs


def test_logs_that_were_missing_are_filled_in_once_and_nothing_else_changes(store: Store, clock: Clock) -> None:
    record = bring(store, State.FAILED, logs_missing=True, message="why")
    assert record.logs_missing
    clock.advance(60)
    assert store.fill_logs(JID, record.generation, "late")
    assert not store.fill_logs(JID, record.generation, "again")
    seen = record_of(store)
    assert (seen.logs, seen.logs_missing, seen.logs_at_ms) == ("late", False, clock.ms)
    assert (seen.state, seen.message, seen.finished_at_ms) == (State.FAILED, "why", record.finished_at_ms)


def test_the_logs_of_a_running_job_may_be_written_again_and_again(store: Store) -> None:
    record = bring(store, State.RUNNING)
    assert store.fill_logs(JID, record.generation, "1")
    assert store.fill_logs(JID, record.generation, "12")
    assert record_of(store).logs == "12"


@pytest.mark.parametrize("state", [s for s in State if s is not State.RUNNING])
def test_no_other_record_takes_logs(store: Store, state: State) -> None:
    record = bring(store, state)
    assert not store.fill_logs(JID, record.generation, "no")
    assert record_of(store) == record


def test_logs_of_another_generation_are_refused(store: Store) -> None:
    bring(store, State.RUNNING)
    assert not store.fill_logs(JID, mint_generation(), "no")
    assert not store.fill_logs("none", mint_generation(), "no")
    assert record_of(store).logs == ""


def test_missing_logs_are_a_matter_of_terminal_records_only(store: Store) -> None:
    assert not bring(store, State.PENDING, logs_missing=True).logs_missing


# Texts


def test_a_long_message_keeps_its_beginning(store: Store) -> None:
    text = "é" * MESSAGE_CHARS_MAX + "the rest"
    assert bring(store, State.FAILED, message=text).message == text[:MESSAGE_CHARS_MAX]


@pytest.mark.parametrize("character", ["x", "é", "€", "😀"])
def test_long_logs_keep_their_end_and_whole_characters(store: Store, character: str) -> None:
    size = len(character.encode())
    logs = character * (LOG_BYTES_MAX // size) + "ab"
    ended = bring(store, State.SUCCEEDED, "ended", logs=logs).logs
    running = bring(store, State.RUNNING, "running")
    store.fill_logs("running", running.generation, logs)
    assert ended == record_of(store, "running").logs
    assert logs.endswith(ended)
    assert LOG_BYTES_MAX - size < len(ended.encode()) <= LOG_BYTES_MAX


def test_text_that_is_no_unicode_cannot_stop_a_change(store: Store) -> None:
    """A scheduler's own words may hold anything, half a surrogate pair too."""
    bad = "caf\udce9 \0 \ud83d"
    record = bring(store, State.FAILED, message=bad, native_state=bad, logs=bad)
    assert (record.message, record.native_state, record.logs) == ("caf? \0 ?",) * 3


def test_a_claim_of_a_job_without_a_host_leaves_it_without(store: Store) -> None:
    record = post(store)
    claim(store, record)
    assert record_of(store).host == ""


def test_of_many_jobs_each_has_its_own_answer_in_its_place(store: Store) -> None:
    """More than go to Redis together."""
    jids = [f"job-{number}" for number in range(120)]
    records = [post(store, jid) for jid in jids]
    asked = [jid for pair in zip(jids, (f"none-{jid}" for jid in jids), strict=True) for jid in pair]
    found = store.get_many(asked)
    assert [record and record.jid for record in found] == [None if jid.startswith("none-") else jid for jid in asked]
    changes = [
        Change(record.jid, record.generation if number % 2 else mint_generation(), State.RUNNING)
        for number, record in enumerate(records)
    ]
    expected = [Moved.OK if number % 2 else Moved.OTHER_GENERATION for number in range(120)]
    assert store.advance_many(changes) == expected
