"""What every store promises of its lists, its counts, and of what workers publish."""

from store_cases import BACKEND, JID, POLICY, TOKEN, Clock, bring, claim, move, post, record_of

from pman_core.states import NATIVE, TERMINAL, WAITING, State
from pman_core.store.protocol import BackendReport, Store

pytest_plugins = ("store_fixtures",)


def test_every_job_is_in_the_lists_of_its_state(store: Store, clock: Clock) -> None:
    for state in State:
        bring(store, state, state.lower())
    names = {group: {state.lower() for state in group} for group in (WAITING, NATIVE, TERMINAL)}
    clock.advance(3600)
    assert set(store.due(BACKEND, 100)) == names[WAITING]
    assert set(store.running(BACKEND)) == names[NATIVE]
    assert set(store.ended_before(BACKEND, clock.ms, 100)) == names[TERMINAL]
    assert sorted(store.active(BACKEND)) == sorted(names[WAITING] | names[NATIVE])
    assert store.counts(BACKEND) == {"waiting": 2, "running": 2, "terminal": 4, "obligations": 1}
    assert store.counts("another") == {"waiting": 0, "running": 0, "terminal": 0, "obligations": 0}
    assert list(store.active("another")) == []


def test_a_deleted_job_is_in_no_list(store: Store, clock: Clock) -> None:
    for state in State:
        bring(store, state, state.lower())
        store.delete(state.lower())
    clock.advance(3600)
    assert store.due(BACKEND, 100) == store.running(BACKEND) == []
    assert store.ended_before(BACKEND, clock.ms, 100) == []
    assert store.counts(BACKEND) == {"waiting": 0, "running": 0, "terminal": 0, "obligations": len(State)}


def test_running_jobs_come_in_the_order_in_which_they_were_handed_over(store: Store, clock: Clock) -> None:
    for jid in ("c", "a", "b"):
        bring(store, State.PENDING, jid)
        clock.advance(1)
    move(store, record_of(store, "c"), State.RUNNING)
    assert store.running(BACKEND) == ["c", "a", "b"]


def test_a_job_is_due_when_its_first_message_must_be_lost(store: Store, clock: Clock) -> None:
    for jid in ("b", "a", "c"):
        post(store, jid)
        clock.advance(1)
    clock.advance(POLICY.requeue_ms / 1000 - 3)
    assert store.due(BACKEND, 10) == ["b"]
    clock.advance(2)
    assert store.due(BACKEND, 10) == ["b", "a", "c"]
    assert store.due(BACKEND, 2) == ["b", "a"]


def test_a_submitting_job_is_due_when_its_lease_ends_and_a_postponed_one_at_its_time(
    store: Store, clock: Clock
) -> None:
    record = post(store)
    claim(store, record)
    clock.advance(POLICY.lease_ms / 1000 - 0.001)
    assert store.due(BACKEND, 10) == []
    clock.advance(0.001)
    assert store.due(BACKEND, 10) == [JID]
    move(store, record, State.QUEUED, token=TOKEN, delay_s=100)
    clock.advance(99)
    assert store.due(BACKEND, 10) == []
    clock.advance(1)
    assert store.due(BACKEND, 10) == [JID]


def test_retention_counts_from_when_the_store_was_told_of_the_end(store: Store, clock: Clock) -> None:
    """A scheduler's clock may be wrong by years."""
    ends = {}
    for jid in ("b", "a"):
        bring(store, State.SUCCEEDED, jid, finished_at_ms=1)
        ends[jid] = clock.ms
        clock.advance(10)
    assert store.ended_before(BACKEND, ends["b"] - 1, 10) == []
    assert store.ended_before(BACKEND, ends["b"], 10) == ["b"]
    assert store.ended_before(BACKEND, clock.ms, 10) == ["b", "a"]
    assert store.ended_before(BACKEND, clock.ms, 1) == ["b"]


# Pages


def test_no_jobs_are_one_empty_page(store: Store) -> None:
    page = store.page("", 10)
    assert (list(page.records), page.cursor) == ([], "")


def test_pages_are_newest_first_and_end(store: Store) -> None:
    newest_first = sorted((post(store, f"j{i}") for i in range(6)), key=lambda r: r.generation, reverse=True)
    seen, cursor = [], ""
    for size in (2, 3, 1):
        page = store.page(cursor, size)
        assert len(page.records) == size
        seen += [record.jid for record in page.records]
        cursor = page.cursor
        assert bool(cursor) is (len(seen) < 6)
    assert seen == [record.jid for record in newest_first]
    assert len(store.page("", 6).records) == 6


def test_a_listed_job_has_no_logs_and_nothing_that_is_only_ours(store: Store) -> None:
    record = bring(store, State.FAILED, message="why", logs="long", handle_json="{}", exit_code=1)
    (shown,) = store.page("", 10).records
    assert (shown.logs, shown.request_json, shown.handle_json) == ("", "", "")
    assert (shown.jid, shown.state, shown.message, shown.exit_code) == (JID, State.FAILED, "why", 1)
    assert shown.finished_at_ms == record.finished_at_ms


def test_a_walk_through_hundreds_of_jobs_shows_each_once_while_others_come_and_go(store: Store) -> None:
    staying = {f"stay-{i}" for i in range(120)}
    for i in range(120):
        post(store, f"stay-{i}")
        if i % 2:
            post(store, f"go-{i}")
    seen: list[str] = []
    cursor, step = "", 0
    while True:
        page = store.page(cursor, 11)
        seen += [record.jid for record in page.records]
        cursor = page.cursor
        if not cursor:
            break
        post(store, f"come-{step}")
        for gone in (f"go-{2 * step + 1}", seen[-1] if seen[-1].startswith("go") else "none"):
            store.delete(gone)
        if f"go-{2 * step + 1}" in seen:
            post(store, f"go-{2 * step + 1}")  # the same jid again is a new, later job
        step += 1
    assert step > 10
    assert len(seen) == len(set(seen))
    assert staying <= set(seen)


# What workers publish


def test_a_report_is_read_back_with_its_time(store: Store, clock: Clock) -> None:
    assert store.report(BACKEND) is None
    report = BackendReport(BACKEND, {"scope": "host", "gpus": False, "number_of_workers_max": None}, True, "")
    store.publish(report)
    clock.advance(3)
    read = store.report(BACKEND)
    assert read is not None
    assert (read.name, read.capabilities, read.ok) == (BACKEND, report.capabilities, True)
    assert read.reported_at_ms == clock.ms - 3000
    store.publish(BackendReport(BACKEND, {}, False, "connection refused: é"))
    read = store.report(BACKEND)
    assert read is not None
    assert (read.capabilities, read.ok, read.message, read.reported_at_ms) == (
        {},
        False,
        "connection refused: é",
        clock.ms,
    )
    assert store.report("another") is None


def test_a_store_that_is_there_answers_a_ping_and_has_a_clock(store: Store, clock: Clock) -> None:
    store.ping()
    assert store.now_ms() == clock.ms
    assert store.instance == "pman"
