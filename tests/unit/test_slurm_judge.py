"""What is true of a job of Slurm, from a table of everything that may be known of it; and every state of the manual."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backends._hpc.job_folder import Noted
from backends._hpc.outcome import Claim, End, Verdict
from backends._slurm.identity import comment_of, generation_from, identity_from
from backends._slurm.judge import Known, Present, judge
from backends._slurm.sight import quick_sighting
from backends._slurm.state import SHORT, STATES, Stage, cancelled_by, chief_state, meaning_of, why_it_waits, word_of
from backends._slurm.survey import Survey, listing_of
from backends._slurm.transport import NativeJob
from pman_core.backend import Absent, Unknown
from pman_core.errors import Unavailable
from pman_core.states import Reason, State
from tests.unit.kube_objects import spec

MANUALS = """BOOT_FAIL CANCELLED COMPLETED COMPLETING CONFIGURING DEADLINE EXPEDITING FAILED LAUNCH_FAILED NODE_FAIL
OUT_OF_MEMORY PENDING POWER_UP_NODE PREEMPTED RECONFIG_FAIL REQUEUED REQUEUE_FED REQUEUE_HOLD RESIZING RESV_DEL_HOLD
REVOKED RUNNING SIGNALING SPECIAL_EXIT STAGE_OUT STOPPED SUSPENDED TIMEOUT UPDATE_DB"""
"""The states that squeue(1), sacct(1) and job_state_codes.html name, of 22.05 and of 25.05."""
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
LONG_AGO = (NOW - timedelta(hours=1)).timestamp()


def native(state: str, job_id: int = 7, **fields: Any) -> NativeJob:
    times = {"started_at": NOW - timedelta(minutes=9), "finished_at": NOW - timedelta(minutes=5)}
    return NativeJob(job_id, state, **({"nodes": "n1"} | times | fields))


def end(cause: str = "exited", code: int | None = 0, native_id: str = "7", text: str = "") -> End:
    return End(cause, code, text, native_id, "n1", NOW - timedelta(minutes=9), NOW - timedelta(minutes=5))


def known(*listed: NativeJob, claimed: str = "7", **fields: Any) -> Known:
    claim = Claim(claimed, "n1", NOW - timedelta(minutes=9)) if claimed else None
    return Known(noted=(Noted("7", LONG_AGO),), claim=claim, listed=listed, **fields)


@pytest.mark.parametrize(
    ("facts", "state", "reason", "code"),
    [
        (known(native("COMPLETED", exit_status=0), end=end()), State.SUCCEEDED, None, 0),
        (known(native("FAILED", exit_status=3), end=end(code=3)), State.FAILED, Reason.NONZERO_EXIT, 3),
        (known(native("FAILED", exit_status=143), end=end(code=143)), State.FAILED, Reason.SIGNALLED, 143),
        (known(native("FAILED", exit_status=114), end=end("image_pull", None)), State.FAILED, Reason.IMAGE_PULL, None),
        (known(native("FAILED", exit_status=9), end=end("start_failed", 9)), State.FAILED, Reason.START_FAILED, 9),
        (known(native("FAILED", exit_status=113), end=end("requeued", None)), State.FAILED, Reason.REQUEUED, None),
        # The launcher could write nothing
        (known(native("COMPLETED", exit_status=0)), State.SUCCEEDED, None, 0),
        (known(native("FAILED", exit_status=3)), State.FAILED, Reason.NONZERO_EXIT, 3),
        (known(native("FAILED", exit_status=0, signal=9)), State.FAILED, Reason.SIGNALLED, 137),
        (known(native("FAILED", exit_status=0, signal=53), claimed=""), State.FAILED, Reason.START_FAILED, None),
        (known(native("FAILED", exit_status=112), claimed=""), State.FAILED, Reason.START_FAILED, None),
        (known(native("FAILED", exit_status=114)), State.FAILED, Reason.START_FAILED, None),
        # What only Slurm knows
        (known(native("OUT_OF_MEMORY", signal=125), end=end(code=137)), State.FAILED, Reason.OOM_KILLED, 137),
        (known(native("OUT_OF_MEMORY", signal=125)), State.FAILED, Reason.OOM_KILLED, 137),
        (known(native("TIMEOUT", signal=15), end=end(code=0)), State.FAILED, Reason.TIME_LIMIT, 0),
        (known(native("TIMEOUT", signal=15)), State.FAILED, Reason.TIME_LIMIT, 143),
        (known(native("DEADLINE")), State.FAILED, Reason.TIME_LIMIT, None),
        (known(native("NODE_FAIL")), State.FAILED, Reason.NODE_FAIL, None),
        (known(native("NODE_FAIL", signal=1)), State.FAILED, Reason.NODE_FAIL, None),
        (known(native("NODE_FAIL", signal=126), claimed="", not_begun="n1"), State.FAILED, Reason.NODE_FAIL, None),
        (known(native("BOOT_FAIL"), claimed=""), State.FAILED, Reason.NODE_FAIL, None),
        (known(native("PREEMPTED")), State.FAILED, Reason.NODE_FAIL, None),
        (known(native("CANCELLED", signal=15)), State.CANCELLED, Reason.CANCELLED, 143),
        (known(native("CANCELLED by 1234"), end=end(code=0)), State.CANCELLED, Reason.CANCELLED, 0),
        (known(native("CA+"), claimed=""), State.CANCELLED, Reason.CANCELLED, None),
        (known(native("REVOKED"), claimed=""), State.CANCELLED, Reason.CANCELLED, None),
        # It had ended by itself before its node failed
        (known(native("NODE_FAIL"), end=end(code=0)), State.SUCCEEDED, None, 0),
        (known(native("NODE_FAIL"), end=end("image_pull", None)), State.FAILED, Reason.IMAGE_PULL, None),
        # The node of another worker has failed, or it had some time left when it was preempted: Slurm has ended it
        (known(native("NODE_FAIL"), end=end(code=143)), State.FAILED, Reason.NODE_FAIL, 143),
        (known(native("NODE_FAIL"), end=end(code=137)), State.FAILED, Reason.NODE_FAIL, 137),
        (known(native("PREEMPTED", signal=15), end=end(code=143)), State.FAILED, Reason.NODE_FAIL, 143),
        # It had not begun: Slurm makes up when it started, and the code of what it ended
        (known(native("CANCELLED"), claimed="", not_begun="no node"), State.CANCELLED, Reason.CANCELLED, None),
        (known(native("CANCELLED", signal=15), not_begun="fetching"), State.CANCELLED, Reason.CANCELLED, None),
        (known(native("CANCELLED", exit_status=1), claimed="", not_begun="n"), State.CANCELLED, Reason.CANCELLED, None),
        (known(native("TIMEOUT", signal=15), not_begun="fetching"), State.FAILED, Reason.TIME_LIMIT, None),
        (known(native("OUT_OF_MEMORY", signal=125), not_begun="fetching"), State.FAILED, Reason.OOM_KILLED, None),
        (known(native("FAILED", signal=9), not_begun="fetching"), State.FAILED, Reason.START_FAILED, None),
        (known(native("FAILED", exit_status=1), claimed="", not_begun="n1"), State.FAILED, Reason.START_FAILED, None),
        # It had not begun, and nobody has cancelled it: its node could not launch it
        (
            known(native("CANCELLED"), claimed="", not_begun="n1", said="Error running slurm prolog: 1\n"),
            State.FAILED, Reason.START_FAILED, None,
        ),
        (
            known(native("CANCELLED", restarts=1), claimed="", not_begun="n1"), State.FAILED, Reason.START_FAILED, None,
        ),
        # It was requeued before it had a node, and cancelled in the queue
        (
            known(native("CANCELLED", restarts=1, nodes=""), claimed="", not_begun="n1"),
            State.CANCELLED, Reason.CANCELLED, None,
        ),
        # It had begun, and is in the queue again
        (known(native("REQUEUED", restarts=1)), State.FAILED, Reason.REQUEUED, None),
        (known(native("PENDING", restarts=1)), State.FAILED, Reason.REQUEUED, None),
        (known(native("SPECIAL_EXIT", restarts=3)), State.FAILED, Reason.REQUEUED, None),
        # The first run was killed for it, and could write that down; the second one was refused
        (known(native("FAILED", exit_status=113, restarts=1), end=end(code=143)), State.FAILED, Reason.REQUEUED, None),
        (known(native("PENDING", restarts=1), end=end(code=143)), State.FAILED, Reason.REQUEUED, None),
        (known(accounted={7: native("F", exit_status=113)}, end=end(code=137)), State.FAILED, Reason.REQUEUED, None),
        (known(native("CANCELLED", restarts=1)), State.FAILED, Reason.REQUEUED, None),
        (known(accounted={7: native("CANCELLED by 0", nodes="")}), State.FAILED, Reason.REQUEUED, None),
        # It had ended by itself before it was requeued
        (known(native("PENDING", restarts=1), end=end(code=0)), State.SUCCEEDED, None, 0),
        (known(native("CANCELLED", restarts=1), end=end(code=0)), State.SUCCEEDED, None, 0),
        (
            known(accounted={7: native("CANCELLED by 0", nodes="", exit_status=3)}, end=end(code=3)), State.FAILED,
            Reason.NONZERO_EXIT, 3,
        ),
        (known(native("FAILED", exit_status=113, restarts=1), end=end(code=3)), State.FAILED, Reason.NONZERO_EXIT, 3),
        # A command with an exit code of the launcher's
        (known(native("FAILED", exit_status=113), end=end(code=113)), State.FAILED, Reason.NONZERO_EXIT, 113),
        (known(native("FAILED", exit_status=112)), State.FAILED, Reason.NONZERO_EXIT, 112),
        # Slurm has forgotten it
        (known(end=end(code=3)), State.FAILED, Reason.NONZERO_EXIT, 3),
        (known(end=end(code=0), accounting_failed="away"), State.SUCCEEDED, None, 0),
        (known(end=end(code=143)), State.FAILED, Reason.SIGNALLED, 143),
        (known(accounted={7: native("OUT_OF_MEMORY")}, end=end(code=137)), State.FAILED, Reason.OOM_KILLED, 137),
        (known(accounted={7: native("COMPLETED", exit_status=0)}), State.SUCCEEDED, None, 0),
        # Two jobs of Slurm for one of ours: only the one that has claimed it counts
        (known(native("COMPLETED", exit_status=0), native("FAILED", 8, exit_status=113)), State.SUCCEEDED, None, 0),
        (known(native("F", 6, exit_status=113), native("F", exit_status=3)), State.FAILED, Reason.NONZERO_EXIT, 3),
        (known(native("CANCELLED", 6), native("CANCELLED"), claimed=""), State.CANCELLED, Reason.CANCELLED, None),
    ],
)  # fmt: skip
def test_an_end_is_told_as_it_was(facts: Known, state: State, reason: Reason | None, code: int | None) -> None:
    verdict = judge(facts, NOW)
    assert isinstance(verdict, Verdict)
    assert (verdict.state, verdict.reason, verdict.exit_code) == (state, reason, code)
    assert verdict.message or state is State.SUCCEEDED or facts.end is not None
    assert verdict.finished_at is not None


@pytest.mark.parametrize("state", ["CANCELLED", "TIMEOUT", "FAILED"])
def test_what_never_began_has_no_start(state: str) -> None:
    """Slurm tells when it had a node; of a job that it cancels in the queue, when that was."""
    verdict = judge(known(native(state, signal=15), claimed="", not_begun="n1 has not begun with it yet"), NOW)
    assert isinstance(verdict, Verdict)
    assert (verdict.started_at, verdict.finished_at) == (None, NOW - timedelta(minutes=5))


def test_a_job_that_is_ended_to_be_requeued_does_not_start_at_every_look() -> None:
    present = judge(known(native("COMPLETING", restarts=1, started_at=NOW)), NOW)
    assert isinstance(present, Present)
    assert (present.state, present.started_at) == (State.RUNNING, NOW - timedelta(minutes=9))


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (known(native("PENDING", reason="Priority"), claimed=""), State.PENDING),
        (known(native("CONFIGURING"), claimed=""), State.PENDING),
        (known(native("REQUEUE_HOLD"), claimed=""), State.PENDING),
        (known(native("RUNNING")), State.RUNNING),
        (known(native("RUNNING"), end=end()), State.RUNNING),
        (known(native("COMPLETING"), end=end()), State.RUNNING),
        (known(native("SUSPENDED")), State.RUNNING),
        (known(native("RESIZING")), State.RUNNING),
        (known(native("PENDING", 6), native("RUNNING")), State.RUNNING),
        (known(native("FAILED", 6, exit_status=113), native("PENDING"), claimed=""), State.PENDING),
        (known(native("RUNNING"), verdict=Verdict(State.CANCELLED)), State.RUNNING),
        # The listing is older than what the launcher has written
        (known(native("PENDING")), State.PENDING),
        (known(native("CONFIGURING", restarts=0)), State.PENDING),
        (Known(noted=(Noted("7", NOW.timestamp()),), end=end(code=137)), State.PENDING),
        (Known(), State.QUEUED),
        (Known(claim=Claim("7", "n1", NOW)), State.RUNNING),
        (Known(noted=(Noted("7", NOW.timestamp()),)), State.PENDING),
    ],
)
def test_what_has_not_ended_is_not_told_as_an_end(facts: Known, state: State) -> None:
    present = judge(facts, NOW)
    assert isinstance(present, Present)
    assert present.state is state


@pytest.mark.parametrize(
    "facts",
    [
        known(native("A_NEW_STATE")),
        known(accounting_failed="slurmdbd is away"),
        # Slurm may have killed it at its time limit, or for an administrator
        known(end=end(code=143), accounting_failed="slurmdbd is away"),
        known(end=end(code=137), accounting_failed="slurmdbd is away", beat_at_s=NOW.timestamp() - 5),
        # The launcher may have found that the runtime could not start the command
        known(native("FAILED", exit_status=127, finished_at=NOW)),
        known(native("FAILED", exit_status=114, finished_at=NOW)),
        known(native("FAILED", exit_status=1, finished_at=NOW), claimed="", not_begun="its claim is not there yet"),
        known(native("FAILED", exit_status=113, finished_at=NOW), claimed=""),
        known(native("FAILED", signal=9, finished_at=NOW), not_begun="its log is not there yet"),
    ],
)
def test_what_is_not_known_is_not_made_up(facts: Known) -> None:
    assert isinstance(judge(facts, NOW), Unknown)


def test_only_what_nobody_knows_any_more_is_absent() -> None:
    assert judge(known(), NOW) == Absent()


def test_a_verdict_stays() -> None:
    verdict = Verdict(State.FAILED, Reason.OOM_KILLED, "ended for want of memory", "OUT_OF_MEMORY", 137, NOW, NOW)
    assert judge(known(verdict=verdict, end=end(code=0)), NOW) == verdict
    assert judge(known(native("COMPLETED", 8, exit_status=0), verdict=verdict), NOW) == verdict
    assert Verdict.from_json(verdict.to_json()) == verdict


@pytest.mark.parametrize(
    ("minutes", "message"), [(90, "ended at its time limit of 90 min"), (None, "ended at its time limit")]
)
def test_a_job_that_ran_into_its_time_limit_says_how_long_that_was(minutes: int | None, message: str) -> None:
    facts = known(native("TIMEOUT", signal=15, time_limit_minutes=minutes), end=end(code=143))
    verdict = judge(facts, NOW)
    assert isinstance(verdict, Verdict)
    assert (verdict.reason, verdict.message) == (Reason.TIME_LIMIT, message)


def test_messages_say_who_and_why() -> None:
    lost = judge(known(native("NODE_FAIL"), claimed="", not_begun="n1 has not begun with it yet"), NOW)
    assert isinstance(lost, Verdict)
    assert lost.message == "its node has failed (n1) before n1 had launched it"
    for nodes, when in (("", "before it began"), ("n1", "before n1 had launched it")):
        facts = known(native("CANCELLED by 1234", nodes=nodes), claimed="", not_begun="n1 has not begun with it yet")
        cancelled = judge(facts, NOW)
        assert isinstance(cancelled, Verdict)
        assert cancelled.message == f"cancelled in Slurm by user 1234 {when}"
    assert why_it_waits("ReqNodeNotAvail, UnavailableNodes:n1") == (
        "waiting in Slurm: ReqNodeNotAvail, UnavailableNodes:n1 (a node it needs is not available)"
    )
    assert why_it_waits("(Priority)") == "waiting in Slurm: Priority (jobs of higher priority come first)"
    assert why_it_waits("QOSMaxNewThing") == "waiting in Slurm: QOSMaxNewThing"


def test_every_state_is_known_long_and_short() -> None:
    assert set(SHORT.values()) == set(STATES) == set(MANUALS.split())
    for short, long in SHORT.items():
        assert meaning_of(short) == meaning_of(f"{short}+") == meaning_of(long) == STATES[long]
    assert STATES["COMPLETING"].stage is Stage.RUNS
    assert word_of("CANCELLED by 1234") == "CANCELLED"
    assert cancelled_by("CANCELLED by 1234") == "1234"
    assert meaning_of("") is None


def test_of_several_states_the_one_that_is_not_over_counts() -> None:
    assert chief_state(["CANCELLED", "COMPLETING"]) == "COMPLETING"
    assert chief_state(["PENDING", "REQUEUED"]) == "REQUEUED"
    assert chief_state(["COMPLETED"]) == "COMPLETED"


def test_a_comment_says_whose_a_job_is() -> None:
    job = spec()
    identity = identity_from(comment_of(job))
    assert identity is not None
    assert (identity.jid, identity.generation, identity.instance, identity.digest) == (
        job.jid, job.generation, job.instance, job.request.digest,
    )  # fmt: skip
    assert generation_from(job.native_name) == job.generation
    assert identity_from("of somebody else") is None
    assert generation_from("pman-short") == generation_from("other-" + job.generation) == ""


def test_a_listing_leaves_out_other_instances_but_not_who_lost_its_comment() -> None:
    job = spec()
    name = job.native_name
    ours, theirs = comment_of(job), comment_of(job).replace(job.instance, "other", 1)
    jobs = [native("RUNNING", 1, name=name, comment=ours), native("RUNNING", 2, name=name, comment=theirs)]
    jobs += [native("RUNNING", 3, name=name, comment="set by a plugin"), native("RUNNING", 4, name="hello")]
    listing = listing_of(jobs, job.instance, 0.0)
    assert [found.job_id for found in listing.by_generation[job.generation]] == [1, 3]
    assert listing.by_id.keys() == {1, 3}


def test_the_listing_alone_tells_only_of_one_run_that_goes_on() -> None:
    comment = comment_of(spec())
    running = native("RUNNING", comment=comment, name=spec().native_name, finished_at=None)
    quick = quick_sighting([running])
    assert quick is not None
    assert (quick.jid, quick.state, quick.finished_at) == (spec().jid, State.RUNNING, None)
    for jobs in ([], [running, running], [native("COMPLETED", comment=comment)], [native("RUNNING")]):
        assert quick_sighting(jobs) is None
    assert quick_sighting([native("PENDING", comment=comment, restarts=1)]) is None


class Counting:
    """A transport that counts its listings."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls, self.error = 0, error

    def jobs(self) -> list[NativeJob]:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return []


def test_all_who_ask_within_a_period_share_one_listing() -> None:
    transport = Counting()
    survey = Survey(transport, "pman", 60)  # type: ignore[arg-type]
    assert survey.take() is survey.take()
    assert transport.calls == 1
    assert survey.take(fresh=True) is not None
    assert transport.calls == 2


def test_a_listing_that_failed_is_not_repeated_for_everybody() -> None:
    transport = Counting(Unavailable("away"))
    survey = Survey(transport, "pman", 60)  # type: ignore[arg-type]
    for _ in range(5):
        with pytest.raises(Unavailable, match="away"):
            survey.take()
    assert transport.calls == 1


@pytest.mark.parametrize("state", ["NODE_FAIL", "COMPLETED"])
def test_an_end_that_accounting_has_made_up_is_not_told_of_a_job_whose_launcher_is_there(state: str) -> None:
    """slurmctld was started without its state, or an administrator has put runaway jobs right."""
    accounted = {7: native(state, exit_status=0)}
    there = judge(known(accounted=accounted, beat_at_s=NOW.timestamp() - 5), NOW)
    assert isinstance(there, Present)
    assert there.state is State.RUNNING
    assert isinstance(judge(known(accounted=accounted, beat_at_s=NOW.timestamp() - 60), NOW), Verdict)
    assert isinstance(judge(known(accounted=accounted, beat_at_s=NOW.timestamp() - 5, end=end()), NOW), Verdict)
    assert isinstance(judge(known(native(state, exit_status=0), beat_at_s=NOW.timestamp() - 5), NOW), Verdict)
