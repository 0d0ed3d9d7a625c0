"""One client of a campaign, in a process of its own: what it sends, and what it thinks of the replies."""

import http.client
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.faults.fuzz import bad_http, bad_json, from_document
from tests.faults.fuzz.exchange import Connection, Reply, Shot, fire
from tests.faults.fuzz.good import Good

GOOD_SHARE = 25
DOCUMENT_SHARE = 0.03
SHOWN_MAX = 20


@dataclass
class Report:
    """What one client has seen; reports add up."""

    requests: int = 0
    replies: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By kind and status; 0 for a connection that was closed without a reply."""
    accepted: set[str] = field(default_factory=set)
    slowest_s: float = 0.0
    faults: list[str] = field(default_factory=list)

    def add(self, other: "Report") -> None:
        self.requests += other.requests
        self.replies += other.replies
        self.accepted |= other.accepted
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.faults += other.faults


class Client:
    """Sends ``count`` shots. The seed decides all of them."""

    def __init__(self, port: int, name: str, seed: int) -> None:
        self._port = port
        self._chance = random.Random(seed)
        self._seed = seed
        self._good = Good(self._chance, name)
        self._kept: Connection | None = None
        self.report = Report()

    def run(self, count: int) -> Report:
        from_document.generate(int(count * DOCUMENT_SHARE), self._seed, self._send_case)
        mutations = {**bad_json.MUTATIONS, **bad_http.MUTATIONS}
        makers = [lambda good: good.shot(), *mutations]
        weights = [GOOD_SHARE, *mutations.values()]
        while self.report.requests < count:
            shot = self._chance.choices(makers, weights)[0](self._good)
            self.judge(shot)
        self.close()
        return self.report

    def judge(self, shot: Shot) -> None:
        """Send one shot; what is wrong with the replies goes into the report."""
        # What has a name, and so comes back under it, can share a connection with others.
        self._judge(shot, self._send(shot, keep=bool(shot.request_id)))

    def _send_case(self, shot: Shot, operation: dict[str, Any]) -> None:
        replies = self._send(shot, keep=True)
        self._judge(shot, replies)
        for reply in replies or []:
            if what := from_document.untold(reply, operation):
                self._blame(shot, what)

    def _send(self, shot: Shot, *, keep: bool) -> list[Reply] | None:
        """Return the replies; ``None`` in their place where the fault is told already."""
        began_s = time.monotonic()
        try:
            return self._send_kept(shot) if keep else fire(self._port, shot)
        except TimeoutError:
            self._blame(shot, "no reply and no end: it hangs")
        except (http.client.HTTPException, OSError) as error:
            self._blame(shot, f"not a whole reply: {error!r}")
        finally:
            self.report.requests += max(1, shot.at_most)
            self.report.slowest_s = max(self.report.slowest_s, time.monotonic() - began_s)
        self.close()
        return None

    def _send_kept(self, shot: Shot) -> list[Reply]:
        for _ in range(2):
            is_new = self._kept is None
            self._kept = self._kept or Connection(self._port)
            try:
                self._kept.send(shot.raw)
                reply = self._kept.read(shot.method)
            except (BrokenPipeError, ConnectionResetError):
                if is_new:
                    raise
                reply = None
            if not self._kept.is_open or reply is None:
                self.close()
            if reply is not None:
                return [reply]
            if is_new:
                break  # else the server has closed it in the meantime, as it may
        return []

    def close(self) -> None:
        """Close the connection that is kept for the next shot, if there is one."""
        if self._kept is not None:
            self._kept.close()
        self._kept = None

    def _judge(self, shot: Shot, replies: list[Reply] | None) -> None:
        report = self.report
        if replies is None:
            return
        report.replies[shot.kind, 0] += not replies
        if not shot.at_least <= len(replies) <= shot.at_most:
            self._blame(shot, f"{len(replies)} replies, not {shot.at_least} to {shot.at_most}")
        for reply in replies:
            report.replies[shot.kind, reply.status] += 1
            if what := self._fault(shot, reply):
                self._blame(shot, what)

    def _fault(self, shot: Shot, reply: Reply) -> str:
        if reply.status >= 500:
            return f"{reply.status}: {reply.body[:300]!r}"
        request_id = reply.headers.get("X-Request-ID")
        if not request_id or (shot.request_id and request_id != shot.request_id):
            return f"the reply to another request: {request_id}"
        if reply.status >= 400 and shot.method != "HEAD":
            if reply.headers.get("Content-Type") != "application/problem+json":
                return f"{reply.status} is no problem: {reply.body[:300]!r}"
            if not reply.json()["message"] or reply.json()["status"] != reply.status:
                return f"{reply.status} does not say what is wrong: {reply.body[:300]!r}"
        if reply.status == 201:
            self.report.accepted.add(reply.json()["jid"])
            if not shot.may_create:
                return f"a job was made: {reply.body[:300]!r}"
        return ""

    def _blame(self, shot: Shot, what: str) -> None:
        if len(self.report.faults) < SHOWN_MAX:
            self.report.faults.append(f"{shot.kind}: {what}\n    sent: {shot.raw[:600]!r}")


def run(port: int, name: str, seed: int, count: int) -> Report:
    """Be one client; this is what a process of a campaign does."""
    return Client(port, name, seed).run(count)
