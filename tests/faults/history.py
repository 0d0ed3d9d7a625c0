"""What the clients' calls mean when put in order: what was accepted, what was deleted, what must be there when.

Two calls that overlap have no order: then whatever could be true is allowed. Nothing else is.
"""

from collections import defaultdict
from collections.abc import Mapping

from tests.faults.evidence import Body, Call, Effect, Evidence, Injected, Verb

REMOVAL_S = 90.0
"""So long an ended object may keep its name after the DELETE: the fence, and a removal that is tried again."""


class History:
    """Indexes over the calls of one night."""

    def __init__(self, evidence: Evidence) -> None:
        self._faults = evidence.faults
        self._silences = list(evidence.silences)
        self.hit_s = {generation: fault.ended_s for fault in evidence.faults for generation in fault.hit}
        """When a fault had ended the job of a generation by force."""
        self._posts: dict[str, list[Call]] = defaultdict(list)
        self._deletes: dict[str, list[Call]] = defaultdict(list)
        self.gets: list[Call] = []
        self.told: dict[str, list[Call]] = defaultdict(list)
        """All that was said of one generation, in order."""
        self.generations: dict[str, set[str]] = defaultdict(set)
        """The generations that were told for one body, by its tag."""
        self._bodies = {(body.jid, body.number): body for body in evidence.bodies}
        for call in sorted(evidence.calls, key=lambda call: call.began_s):
            {Verb.POST: self._posts[call.jid], Verb.DELETE: self._deletes[call.jid], Verb.GET: self.gets}[
                call.verb
            ].append(call)
            if call.record is not None and call.code in {200, 201}:
                self.told[call.record["generation"]].append(call)
                if call.code == 201 and not call.conflicts:
                    self.generations[f"{call.jid}#{call.number}"].add(call.record["generation"])

    def is_disturbed(self, call: Call, effect: Effect, recovery_s: float) -> bool:
        """Whether a fault that has this effect was there during the call, or shortly before it."""
        times = [(fault.began_s, fault.ended_s) for fault in self._faults if effect in fault.effects]
        times += self._silences if effect is Effect.NO_ANSWER else []
        return any(began_s <= call.ended_s and call.began_s <= ended_s + recovery_s for began_s, ended_s in times)

    def is_accepted(self, body: Body) -> bool:
        return any(call.code == 201 for call in self._posts_of(body))

    def is_deleted(self, body: Body) -> bool:
        """Whether a DELETE may have met this body: it ended after the first POST of the body had begun."""
        posts = self._posts_of(body)
        return bool(posts) and any(call.ended_s >= posts[0].began_s for call in self._deletes[body.jid])

    def wipe_after(self, body: Body) -> Injected | None:
        """Return the last wipe of the store that may have met what this body had made of itself."""
        return self._wipe_since(body, 0)

    def wipe_after_accepted(self, body: Body) -> Injected | None:
        """Return the last wipe after which no client was told 201 for this body."""
        accepted = [n for n, call in enumerate(self._posts_of(body)) if call.code == 201]
        return self._wipe_since(body, accepted[-1]) if accepted else None

    def _wipe_since(self, body: Body, number: int) -> Injected | None:
        posts = self._posts_of(body)[number:]
        wipes = [fault for fault in self._faults if fault.is_wipe and posts and posts[0].began_s <= fault.began_s]
        return wipes[-1] if wipes else None

    def was_wiped_during(self, call: Call) -> bool:
        """Whether the store was wiped, and the sweep not surely done, while this call was under way."""
        return any(f.is_wipe and f.began_s <= call.ended_s and call.began_s <= f.ended_s for f in self._faults)

    def deleted_before_wipe(self, get: Call) -> bool:
        """Whether the last DELETE of this jid came just before a wipe: its object may still have been there."""
        done = [d.began_s for d in self._deletes[get.jid] if d.code == 204 and d.ended_s < get.began_s]
        wipes = [fault.began_s for fault in self._faults if fault.is_wipe and fault.began_s <= get.ended_s]
        return any(at_s - REMOVAL_S < max(done) < at_s for at_s in wipes)

    def must_be_there(self, get: Call) -> Body | None:
        """Return the body whose record this call had to find: accepted before it, no DELETE before its end."""
        accepted = [p for p in self._posts[get.jid] if p.code == 201 and not p.conflicts and p.ended_s < get.began_s]
        if not accepted:
            return None
        body = self._bodies[get.jid, accepted[-1].number]
        first_s = self._posts_of(body)[0].began_s
        is_deleted = any(first_s <= d.ended_s and d.began_s <= get.ended_s for d in self._deletes[get.jid])
        return None if is_deleted else body

    def must_be_gone(self, get: Call) -> bool:
        """Whether a DELETE was confirmed before this call, and nothing was posted since that DELETE began."""
        done = [d for d in self._deletes[get.jid] if d.code == 204 and d.ended_s < get.began_s]
        if not done:
            return False
        since_s = max(done, key=lambda d: d.began_s).began_s
        return not any(p.ended_s >= since_s and p.began_s <= get.ended_s for p in self._posts[get.jid])

    def rank_before(self, generation: str, call: Call, ranks: Mapping[str, int]) -> int:
        """Return the furthest status told of this generation by a call that had ended when this one began."""
        told = (c for c in self.told[generation] if c.ended_s < call.began_s and c.record is not None)
        return max((ranks[c.record["status"]] for c in told if c.record is not None), default=0)

    def _posts_of(self, body: Body) -> list[Call]:
        return [call for call in self._posts[body.jid] if call.number == body.number and not call.conflicts]
