"""The audit must find what it is there to find: a true night is clean, and each doctored one has its finding."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.audit import Kind, audit
from tests.faults.evidence import Body, Call, Effect, Evidence, Injected, Native, Traces, Verb

KEPT = Body("kept", 0, 1.0, 3)
GONE, AGAIN = Body("gone", 0, 1.0, 0), Body("gone", 1, 1.0, 0)


def record(body: Body, status: str, **more: Any) -> dict[str, Any]:
    state = {"notstarted": "QUEUED", "started": "RUNNING", "finishedSuccessfully": "SUCCEEDED"}.get(status, "FAILED")
    ended = {"timestamp": "2026-01-01T00:00:00.000+00:00", "exit_code": body.exit_code, "reason": ""}
    open_ = {"timestamp": "", "exit_code": None, "reason": ""}
    return {
        "status": status,
        "state": state,
        "message": "",
        "generation": f"g-{body.tag}",
        "cmd": f"sh -c job {body.tag} /share/outgoing",
        "started_at": None,
        "attempts": 1,
        **(ended if status.startswith("finished") else open_),
        **more,
    }


def post(at_s: float, body: Body, code: int = 201, **more: Any) -> Call:
    said = record(body, "notstarted") if code == 201 else None
    return Call(at_s, at_s + 0.1, Verb.POST, body.jid, body.number, code, said, **more)


def get(at_s: float, body: Body, status: str = "", code: int = 200, **more: Any) -> Call:
    return Call(at_s, at_s + 0.1, Verb.GET, body.jid, -1, code, record(body, status, **more) if status else None)


def delete(at_s: float, body: Body, code: int = 204) -> Call:
    return Call(at_s, at_s + 0.1, Verb.DELETE, body.jid, -1, code)


def night(*more: Call, **changes: Any) -> Evidence:
    """Return a night in which all is well: one job is kept, one is deleted and posted anew."""
    calls = [
        post(0, KEPT),
        get(1, KEPT, "notstarted"),
        get(2, KEPT, "started"),
        get(4, KEPT, "finishedWithError"),
        post(10, GONE),
        delete(11, GONE),
        get(12, GONE, code=404),
        post(13, AGAIN),
        get(14, AGAIN, "finishedSuccessfully"),
    ]
    sound = Evidence(
        bodies=[KEPT, GONE, AGAIN],
        calls=[*calls, *more],
        traces={KEPT.tag: Traces(["1"], ["1"]), GONE.tag: Traces(["2"]), AGAIN.tag: Traces(["3"], ["3"])},
        final={"kept": get(50, KEPT, "finishedWithError"), "gone": get(50, AGAIN, "finishedSuccessfully")},
        natives=[Native("kept", "g-kept#0", "ended", 3), Native("gone", "g-gone#1", "ended", 0)],
    )
    return replace(sound, **changes)


def final(body: Body, status: str, **more: Any) -> dict[str, Call]:
    """Return the last GETs, that of ``body`` doctored."""
    return dict(night().final) | {body.jid: get(50, body, status, **more)}


def kinds(evidence: Evidence) -> set[Kind]:
    return {finding.kind for finding in audit(evidence)}


def test_a_night_in_which_all_is_well_has_no_finding() -> None:
    assert audit(night()) == []


DOCTORED: dict[str, tuple[Kind, Callable[[], Evidence]]] = {
    "accepted and not there at the end": (
        Kind.LOST,
        lambda: night(final=dict(night().final) | {"kept": get(50, KEPT, code=404)}),
    ),
    "accepted and never asked for": (Kind.LOST, lambda: night(final={"gone": night().final["gone"]})),
    "never at its end": (Kind.STUCK, lambda: night(final=final(KEPT, "started"))),
    "begun twice": (Kind.RAN_TWICE, lambda: night(traces=dict(night().traces) | {KEPT.tag: Traces("12", "1")})),
    "a deleted one begun twice": (
        Kind.RAN_TWICE,
        lambda: night(traces=dict(night().traces) | {GONE.tag: Traces("12")}),
    ),
    "another exit code than the job's": (
        Kind.WRONG_END,
        lambda: night(final=final(KEPT, "finishedWithError", exit_code=4)),
    ),
    "success of a job that fails": (
        Kind.WRONG_END,
        lambda: night(final=final(KEPT, "finishedSuccessfully", exit_code=0)),
    ),
    "success that was never run": (
        Kind.WRONG_END,
        lambda: night(traces=dict(night().traces) | {AGAIN.tag: Traces()}),
    ),
    "success without an end": (
        Kind.WRONG_END,
        lambda: night(traces=dict(night().traces) | {AGAIN.tag: Traces("3")}),
    ),
    "cancelled and not deleted": (
        Kind.WRONG_END,
        lambda: night(final=final(KEPT, "finishedWithError", state="CANCELLED")),
    ),
    "failed for a node that did not": (
        Kind.WRONG_END,
        lambda: night(final=final(KEPT, "finishedWithError", reason="NODE_FAIL", exit_code=None)),
    ),
    "the scheduler shows another end": (
        Kind.WRONG_END,
        lambda: night(natives=[Native("kept", "g-kept#0", "ended", 9), night().natives[1]]),
    ),
    "the scheduler shows no end": (
        Kind.WRONG_END,
        lambda: night(natives=[Native("kept", "g-kept#0", "running", 3), night().natives[1]]),
    ),
    "the scheduler does not know it": (Kind.WRONG_END, lambda: night(natives=night().natives[1:])),
    "an end without a time": (
        Kind.WRONG_END,
        lambda: night(final=final(KEPT, "finishedWithError", timestamp="")),
    ),
    "the record of the body before": (
        Kind.WRONG_END,
        lambda: night(final=final(AGAIN, "finishedSuccessfully", cmd=GONE.tag)),
    ),
    "an end that changed": (
        Kind.CHANGED_END,
        lambda: night(get(6, KEPT, "finishedWithError", exit_code=4)),
    ),
    "a time of the end that changed": (
        Kind.CHANGED_END,
        lambda: night(get(6, KEPT, "finishedWithError", timestamp="2026-01-01T00:00:01.000+00:00")),
    ),
    "started and then not": (Kind.REGRESSED, lambda: night(get(3, KEPT, "notstarted"))),
    "ended and then not": (Kind.REGRESSED, lambda: night(get(5, KEPT, "started"))),
    "undefined": (Kind.UNDEFINED, lambda: night(get(3, KEPT, "undefined"))),
    "gone before it was deleted": (Kind.VANISHED, lambda: night(get(3, KEPT, code=404))),
    "gone after it was posted anew": (Kind.VANISHED, lambda: night(get(15, AGAIN, code=404))),
    "there after it was deleted": (Kind.RESURRECTED, lambda: night(get(12.5, GONE, "notstarted"))),
    "one body, two generations": (
        Kind.TWO_GENERATIONS,
        lambda: night(replace(post(5, KEPT), record=record(KEPT, "finishedWithError", generation="another"))),
    ),
    "a server error": (Kind.BAD_REPLY, lambda: night(get(3, KEPT, code=500))),
    "503 without a cause": (Kind.BAD_REPLY, lambda: night(post(3, KEPT, 503))),
    "silence without a cause": (Kind.BAD_REPLY, lambda: night(delete(20, Body("x", 0, 0, 0), 0))),
    "409 for the same body": (Kind.BAD_REPLY, lambda: night(post(3, KEPT, 409))),
    "201 for another body": (Kind.BAD_REPLY, lambda: night(post(3, KEPT, 201, conflicts=True))),
    "404 for a DELETE": (Kind.BAD_REPLY, lambda: night(delete(20, GONE, 404))),
    "an object without a record": (
        Kind.ORPHAN,
        lambda: night(natives=[*night().natives, Native("gone", "g-gone#0", "running")]),
    ),
    "an object after everything was deleted": (
        Kind.ORPHAN,
        lambda: night(natives_at_end=[Native("kept", "g-kept#0", "ended", 3)]),
    ),
    "a process after everything was deleted": (Kind.SURVIVOR, lambda: night(processes_at_end=["7: sleep 8"])),
    "an obligation that stays": (Kind.NOT_QUIET, lambda: night(left_in_store=["obligations: gone g host-a"])),
    "no end in time": (Kind.NOT_QUIET, lambda: night(quiet=False)),
    "a worker that died of a fault": (Kind.DIED, lambda: night(deaths=["worker-1 has ended by itself with 1"])),
    "a key that stays": (Kind.KEY_LEFT, lambda: night(keys_at_end=["pman:chaos:job:kept"])),
}


@pytest.mark.parametrize("name", DOCTORED)
def test_what_is_wrong_is_found(name: str) -> None:
    kind, doctor = DOCTORED[name]
    assert kind in kinds(doctor())


def test_every_kind_of_finding_has_its_doctored_night() -> None:
    assert {kind for kind, _ in DOCTORED.values()} == set(Kind)


def test_503_and_silence_are_excused_by_a_fault_that_explains_them_and_no_other() -> None:
    calls = [post(20, KEPT, 503), get(21, KEPT, code=0)]
    away = Injected("redis-stop", "redis", 19, 22, frozenset({Effect.STORE_AWAY}))
    silent = Injected("api-kill", "api", 15, 16, frozenset({Effect.NO_ANSWER}))
    assert kinds(night(*calls, faults=[away, silent])) == set()
    assert kinds(night(*calls, faults=[away])) == {Kind.BAD_REPLY}
    assert kinds(night(*calls, faults=[silent])) == {Kind.BAD_REPLY}
    assert kinds(night(*calls, faults=[away], silences=[(15, 16)])) == set()
    assert kinds(night(*calls, faults=[away], silences=[(1, 2)])) == {Kind.BAD_REPLY}
    long_ago = replace(away, began_s=1, ended_s=2)
    assert kinds(night(*calls, faults=[long_ago, silent])) == {Kind.BAD_REPLY}


def test_node_fail_is_the_end_of_a_job_whose_supervisor_was_killed() -> None:
    hit = Injected("supervisor-kill", "supervisors", 2, 2, hit=frozenset({"g-kept#0"}))
    told = {"reason": "NODE_FAIL", "exit_code": None}
    calls = [call for call in night().calls if not (call.jid == "kept" and call.began_s == 4)]
    killed = night(
        calls=calls,
        final=final(KEPT, "finishedWithError", **told),
        natives=[Native("kept", "g-kept#0", "ended", None), night().natives[1]],
        traces=dict(night().traces) | {KEPT.tag: Traces(["1"])},
    )
    assert kinds(replace(killed, faults=[hit])) == set()
    assert kinds(killed) == {Kind.WRONG_END}
    # Killed between the end of its job and the word of it, or a job that goes on without its supervisor.
    for ended_s, found in ((2, set()), (3, {Kind.WRONG_END})):
        ended = dict(night().traces) | {KEPT.tag: Traces(["1 1 g"], [f"1 {ended_s} g"])}
        assert kinds(replace(killed, faults=[hit], traces=ended)) == found
        assert kinds(replace(killed, traces=ended)) == {Kind.WRONG_END}


def test_calls_that_overlap_with_a_delete_may_go_either_way() -> None:
    racing = replace(delete(20, KEPT), ended_s=25)
    for call in (get(21, KEPT, code=404), get(22, KEPT, "finishedWithError")):
        evidence = night(racing, call, natives=night().natives[1:], final={"gone": night().final["gone"]})
        assert kinds(evidence) == set()


def wiped(at_s: float) -> Injected:
    return Injected("redis-wipe", "redis", at_s, at_s + 20, is_wipe=True)


def test_a_wipe_may_lose_what_has_never_run_and_nothing_else() -> None:
    traces = dict(night().traces) | {KEPT.tag: Traces()}
    missing = dict(night().final) | {"kept": get(50, KEPT, code=404)}
    calls = [call for call in night().calls if not (call.jid == "kept" and call.began_s > 1)]
    lost = night(calls=calls, traces=traces, final=missing, natives=night().natives[1:])
    assert kinds(lost) == {Kind.LOST}
    assert kinds(replace(lost, faults=[wiped(5)])) == set()
    assert kinds(replace(lost, faults=[wiped(-30)])) == {Kind.LOST}, "accepted after it"
    assert kinds(replace(lost, faults=[wiped(5)], traces=night().traces)) == {Kind.LOST}, "it had an object"
    again = [*calls, post(7, KEPT)]
    assert kinds(replace(lost, faults=[wiped(5)], calls=again)) == {Kind.LOST}, "accepted once more after it"
    assert Kind.STUCK in kinds(replace(lost, faults=[wiped(5)], final=final(KEPT, "notstarted"))), "it is there"


def test_after_a_wipe_a_job_may_be_missing_until_the_sweep_is_done() -> None:
    assert kinds(night(get(25, KEPT, code=404), faults=[wiped(20)])) == set()
    assert kinds(night(get(41, KEPT, code=404), faults=[wiped(20)])) == {Kind.VANISHED}


def test_a_wipe_may_bring_back_what_was_deleted_just_before_it() -> None:
    back = get(12.8, GONE, "finishedSuccessfully")
    assert kinds(night(back, faults=[wiped(12.5)])) == set()
    assert kinds(night(back, faults=[wiped(11)])) == {Kind.RESURRECTED}, "deleted after it"
