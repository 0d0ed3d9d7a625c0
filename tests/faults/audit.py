"""The judgement: three sources in, findings out. Pure functions; the unit tests have a doctored night for each.

The sources are what the jobs themselves have written, what the scheduler shows, and what pman has said: at the end,
and to every client on the way. What is excused is excused here, by a rule with its reason, and nowhere else.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.faults.evidence import Body, Call, Effect, Evidence, Native, Traces, Verb, written_s
from tests.faults.history import History

RECOVERY_S = {Effect.STORE_AWAY: 10.0, Effect.NO_ANSWER: 12.0}
"""So long after a fault its effect may still be felt: time-outs and their repeats run out, a server starts."""
RANK = {"notstarted": 0, "started": 1, "finishedSuccessfully": 2, "finishedWithError": 2, "undefined": 2}
WRITTEN_ONCE = ("status", "state", "timestamp", "exit_code", "reason")


class Kind(StrEnum):
    """What can be found. Each is expected 0 times."""

    LOST = "lost: accepted, not deleted, no record at the end"
    STUCK = "stuck: accepted, not deleted, not at an end"
    NOT_QUIET = "not quiet: records, obligations, leases or messages that did not go"
    RAN_TWICE = "run twice"
    WRONG_END = "wrong terminal state"
    CHANGED_END = "terminal state that changed"
    REGRESSED = "status that went back"
    UNDEFINED = "`undefined` shown"
    VANISHED = "404 between 201 and DELETE"
    RESURRECTED = "200 after DELETE"
    TWO_GENERATIONS = "one body, two generations"
    BAD_REPLY = "reply that the contract does not know"
    ORPHAN = "orphan in the scheduler"
    SURVIVOR = "process that outlived its job"
    KEY_LEFT = "key left in Redis"
    DIED = "process of pman that ended by itself"


@dataclass(frozen=True, slots=True)
class Finding:
    kind: Kind
    jid: str
    """Empty where it is about no job."""
    detail: str

    def __str__(self) -> str:
        return f"{self.kind.name}{f' jid={self.jid}' if self.jid else ''}: {self.detail}"


def audit(evidence: Evidence) -> list[Finding]:
    """Return all that is wrong with a night."""
    history = History(evidence)
    return [finding for look in LOOKS for finding in look(evidence, history)]


def replies(evidence: Evidence, history: History) -> Iterator[Finding]:
    """Every reply is one of the contract's; 503 and silence only while a fault can be their cause."""
    allowed = {Verb.POST: {201}, Verb.GET: {200, 404}, Verb.DELETE: {204}}
    for call in evidence.calls:
        if call.code == (409 if call.conflicts else -1) or (not call.conflicts and call.code in allowed[call.verb]):
            continue
        effect = {503: Effect.STORE_AWAY, 0: Effect.NO_ANSWER}.get(call.code)
        if effect is None or not history.is_disturbed(call, effect, RECOVERY_S[effect]):
            detail = (
                f"{call.verb} at {call.began_s:.3f} took {call.ended_s - call.began_s:.1f} s: {call.code} {call.error}"
            )
            yield Finding(Kind.BAD_REPLY, call.jid, detail)


def presence(evidence: Evidence, history: History) -> Iterator[Finding]:
    """A record is there from its 201 to the DELETE, and not after it."""
    for call in history.gets:
        if call.code == 404 and (body := history.must_be_there(call)) and not _may_miss(body, call, evidence, history):
            yield Finding(Kind.VANISHED, call.jid, f"404 at {call.began_s:.3f} for body {body.number}")
        # A wipe forgets tombstones, too: what was not removed yet has a native object and comes back (rule 10).
        if call.code == 200 and history.must_be_gone(call) and not history.deleted_before_wipe(call):
            yield Finding(Kind.RESURRECTED, call.jid, f"200 at {call.began_s:.3f}: {call.record}")


def _may_miss(body: Body, call: Call, evidence: Evidence, history: History) -> bool:
    """After a wipe all are missing until the sweep is done, and those without a native object for ever (rule 10)."""
    return history.was_wiped_during(call) or _may_be_wiped(body, evidence, history)


def _may_be_wiped(body: Body, evidence: Evidence, history: History) -> bool:
    """Whether the store was wiped after the last 201, of a job that has never run: it need not have had an object."""
    return history.wipe_after_accepted(body) is not None and not evidence.traces.get(body.tag, Traces()).begins


def progress(evidence: Evidence, history: History) -> Iterator[Finding]:
    """What was said of one generation goes forward, and its end is said once."""
    for generation, calls in history.told.items():
        ended: Call | None = None
        for call in calls:
            said = call.record or {}
            if said["status"] == "undefined":
                yield Finding(Kind.UNDEFINED, call.jid, f"{generation} at {call.began_s:.3f}: {said}")
            # A record that is rebuilt after a wipe begins as QUEUED; what its object shows is written next.
            went_back = RANK[said["status"]] < history.rank_before(generation, call, RANK)
            if went_back and not history.was_wiped_during(call):
                yield Finding(Kind.REGRESSED, call.jid, f"{generation} at {call.began_s:.3f} is {said['status']} again")
            if RANK[said["status"]] == 2:
                before = (ended or call).record or {}
                changed = {name: (before[name], said[name]) for name in WRITTEN_ONCE if before[name] != said[name]}
                if changed:
                    yield Finding(Kind.CHANGED_END, call.jid, f"{generation} at {call.began_s:.3f}: {changed}")
                ended = call


def identity(evidence: Evidence, history: History) -> Iterator[Finding]:
    """One accepted body is one generation, and every record is of a body that was sent."""
    for body in evidence.bodies:
        generations = history.generations[body.tag]
        # A POST that is repeated between a wipe and the sweep makes a record, which the object then takes over.
        if len(generations) > 1 and not history.is_deleted(body) and history.wipe_after(body) is None:
            yield Finding(Kind.TWO_GENERATIONS, body.jid, f"body {body.number}: {sorted(generations)}")


def executions(evidence: Evidence, history: History) -> Iterator[Finding]:
    """No body is run twice, by what its executions have written."""
    for body in evidence.bodies:
        begins = evidence.traces.get(body.tag, Traces()).begins
        if len(begins) > 1:
            yield Finding(Kind.RAN_TWICE, body.jid, f"body {body.number} has begun {len(begins)} times: {list(begins)}")


def ends(evidence: Evidence, history: History) -> Iterator[Finding]:
    """What was accepted and not deleted has a record with the job's true end."""
    natives = {(native.jid, native.generation): native for native in evidence.natives}
    for body in evidence.bodies:
        if not history.is_accepted(body) or history.is_deleted(body):
            continue
        final = evidence.final.get(body.jid)
        if final is not None and final.code == 404 and _may_be_wiped(body, evidence, history):
            continue
        if final is None or final.code == 404 or final.record is None:
            yield Finding(Kind.LOST, body.jid, f"body {body.number}: {final.code if final else 'never asked'}")
            continue
        said = final.record
        if RANK[said["status"]] < 2:
            yield Finding(Kind.STUCK, body.jid, f"{said['state']} {said['message']} attempts={said['attempts']}")
            continue
        native = natives.get((body.jid, said["generation"]))
        traces = evidence.traces.get(body.tag, Traces())
        for fault in _faults_of_end(body, said, traces, native, history.hit_s.get(said["generation"])):
            yield Finding(Kind.WRONG_END, body.jid, f"body {body.number}: {fault}; record: {said}, scheduler: {native}")


def _faults_of_end(
    body: Body, said: "dict[str, object]", traces: Traces, native: Native | None, hit_s: float | None
) -> Iterator[str]:
    if body.tag not in str(said["cmd"]):
        yield "the record is of another body"
    if not said["timestamp"]:
        yield "an end without a time"
    if native is None:
        yield "the scheduler does not know it"
    elif (native.state, native.exit_code) != ("ended", said["exit_code"]):
        yield f"the scheduler says {native.state} with {native.exit_code}"
    # Its supervisor was killed: this end is the documented one, also where the job had just ended and nobody was left
    # to say how. One that has come to its own end in a later second has lived on.
    has_lived_on = hit_s is None or any(written_s(line) > hit_s for line in traces.ends)
    if said["reason"] == "NODE_FAIL" and said["state"] == "FAILED" and not has_lived_on:
        return
    expected = ("finishedSuccessfully", "SUCCEEDED") if body.exit_code == 0 else ("finishedWithError", "FAILED")
    if (said["status"], said["state"], said["exit_code"]) != (*expected, body.exit_code):
        yield f"the job exits with {body.exit_code}"
    if (len(traces.begins), len(traces.ends)) != (1, 1):
        yield f"it has begun {len(traces.begins)} times and come to its own end {len(traces.ends)} times"


def leftovers(evidence: Evidence, history: History) -> Iterator[Finding]:
    """When all is quiet nothing is pending, and the scheduler has what the records say and no more."""
    for left in evidence.left_in_store:
        yield Finding(Kind.NOT_QUIET, "", left)
    if not evidence.quiet and not evidence.left_in_store:
        yield Finding(Kind.NOT_QUIET, "", "it took too long until all was quiet")
    known = {(call.jid, call.record["generation"]) for call in evidence.final.values() if call.record}
    for native in evidence.natives:
        if (native.jid, native.generation) not in known:
            yield Finding(Kind.ORPHAN, native.jid, f"{native}, no record")
    for native in evidence.natives_at_end:
        yield Finding(Kind.ORPHAN, native.jid, f"{native}, after everything was deleted")
    for process in evidence.processes_at_end:
        yield Finding(Kind.SURVIVOR, "", process)
    for death in evidence.deaths:
        yield Finding(Kind.DIED, "", death)
    for key in evidence.keys_at_end:
        yield Finding(Kind.KEY_LEFT, "", key)


Look = Callable[[Evidence, History], Iterator[Finding]]
LOOKS: Sequence[Look] = (replies, presence, progress, identity, executions, ends, leftovers)
