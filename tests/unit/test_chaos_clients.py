"""The lives of jobs, lived against a pman without a fault: all come to their end, and the audit has nothing to say."""

from itertools import count
from random import Random
from typing import Any

import pytest

from tests.faults.audit import audit
from tests.faults.clients import LIVES, Client, Clients
from tests.faults.evidence import Body, Call, Evidence, Native, Traces, Verb

POLLS = 3


class FaultlessClient(Client):
    """Answers by itself; a job ends when it is looked at for the third time. Every call takes one second."""

    def __init__(self) -> None:
        super().__init__("http://nowhere.invalid", self._request_of)
        self._clock = count()
        self._bodies: dict[str, Body] = {}
        self._polls: dict[str, int] = {}

    def _request_of(self, body: Body) -> dict[str, Any]:
        self._sent = body
        return {"cpu_limit": 1000}

    def _call(self, verb: Verb, jid: str, number: int = -1, request: Any = None, *, conflicts: bool = False) -> Call:
        code = {Verb.POST: 409 if conflicts else 201, Verb.DELETE: 204}.get(verb, 200 if jid in self._bodies else 404)
        if code == 201 and jid not in self._bodies:
            self._bodies[jid], self._polls[jid] = self._sent, 0
        if verb is Verb.DELETE:
            self._bodies.pop(jid, None)
        if verb is Verb.GET and code == 200:
            self._polls[jid] += 1
        began_s = float(next(self._clock))
        record = self._record(jid) if code in {200, 201} else None
        call = Call(began_s, began_s + 0.5, verb, jid, number, code, record, conflicts=conflicts)
        self.calls.append(call)
        return call

    def _record(self, jid: str) -> dict[str, Any]:
        body = self._bodies[jid]
        ended = self._polls[jid] >= POLLS
        status, state = (
            ("finishedSuccessfully", "SUCCEEDED") if body.exit_code == 0 else ("finishedWithError", "FAILED")
        )
        return {
            "status": status if ended else "notstarted",
            "state": state if ended else "QUEUED",
            "timestamp": "2026-01-01T00:00:00.000+00:00" if ended else "",
            "exit_code": body.exit_code if ended else None,
            "reason": "",
            "message": "",
            "generation": f"g-{body.tag}",
            "cmd": body.tag,
            "started_at": None,
            "attempts": 1,
        }


def live_through(kind: str, seed: int) -> tuple[FaultlessClient, Clients]:
    client = FaultlessClient()
    clients = Clients(client, "seed", 0, 1.0, lambda _: None)
    clients.at_once = lambda *actions: [action() for action in actions]  # type: ignore[method-assign]
    for wait_s in LIVES[kind][1](clients, f"{kind}-1", Random(seed)):
        assert 0 <= wait_s < 30
    return client, clients


@pytest.mark.parametrize("kind", LIVES)
@pytest.mark.parametrize("seed", range(5))
def test_a_life_under_a_faultless_pman_ends_and_the_audit_has_nothing_to_say(kind: str, seed: int) -> None:
    client, clients = live_through(kind, seed)
    jid = f"{kind}-1"
    while (last := client.get(jid)).record is not None and not last.record["timestamp"]:
        pass
    kept = client._bodies.get(jid)
    evidence = Evidence(
        bodies=clients.bodies,
        calls=client.calls,
        traces={body.tag: Traces(["1"], ["1"]) for body in clients.bodies},
        final={jid: last},
        natives=[Native(jid, f"g-{kept.tag}", "ended", kept.exit_code)] if kept else [],
    )
    assert audit(evidence) == []


def test_the_same_seed_lives_the_same_lives() -> None:
    one, another = (Clients(FaultlessClient(), "7", 200, 4.0, lambda _: None).kinds for _ in range(2))
    assert one == another
    assert set(one) == set(LIVES)


def test_no_two_bodies_share_a_folder_and_contradictions_are_left_out_where_redis_is_wiped() -> None:
    _, clients = live_through("reposted", 1)
    assert len({body.output_dir for body in clients.bodies}) == len(clients.bodies) >= 2
    assert "conflict" not in Clients(FaultlessClient(), "7", 200, 4.0, lambda _: None, wiped=True).kinds
