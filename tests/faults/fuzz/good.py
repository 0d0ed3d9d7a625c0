"""Requests as they should be, in all variety: the ground that mutations start from, and a job now and then."""

import json
import random
from collections.abc import Sequence
from typing import Any

from tests.faults.fuzz import sentinels
from tests.faults.fuzz.exchange import Shot

HOST = "Host: pman.example\r\n"
JSON = "Content-Type: application/json\r\n"
JIDS_KEPT = 50


def request(method: str, target: str, head: str = "", body: bytes = b"") -> bytes:
    """Return a request; one with a body says how long it is."""
    length = f"Content-Length: {len(body)}\r\n" if body or method in {"POST", "PUT", "PATCH"} else ""
    return f"{method} {target} HTTP/1.1\r\n{HOST}{head}{length}\r\n".encode("latin-1") + body


def post(body: bytes, head: str = JSON) -> bytes:
    return request("POST", "/api/v1/", head, body)


class Good:
    """The good requests of one client, which has jids of its own."""

    def __init__(self, chance: random.Random, name: str) -> None:
        self.chance = chance
        self._name = name
        self._count = 0
        self.jids: list[str] = []

    def new_jid(self) -> str:
        self._count += 1
        jid = f"fuzz-{self._name}-{self._count}"
        self.jids = [*self.jids[-JIDS_KEPT:], jid]
        return jid

    def known_jid(self) -> str:
        return self.chance.choice(self.jids) if self.jids else self.new_jid()

    def body(self, jid: str = "") -> dict[str, Any]:
        """Return the body of a job that can run, in one of its spellings."""
        pick = self.chance
        number = pick.choice([int, str, lambda n: f"{n:010}"])
        slash = pick.choice(["", "/", "//"])
        fields = {
            "number_of_workers": number(1),
            "cpu_limit": number(pick.choice([1, 1000, 2**31 - 1])),
            "args": pick.choice([[], ["--dir", "x", "ü", "a b", "$(reboot)", "'"], ["x" * pick.choice([1, 5000])]]),
            "args_path_flags": pick.choice([[], None, ["--dir"], ["--dir", "--dir", "x"]]),
            "env": pick.choice([[], None, ["A=b", "A=c=d"], ["MOCK_EXIT_CODE=1"], ["MOCK_RUN_FOR_S=0.2"]]),
            "type": pick.choice(["ds", "fs", "ts"]),
            "unknown": pick.choice([None, {"deep": [1]}, "x" * 200]),
        }
        chosen = {key: value for key, value in fields.items() if pick.random() < 0.5}
        whole = sentinels.body(jid or self.new_jid())
        return whole | {"jid": slash + whole["jid"] + slash} | chosen

    def raw_body(self) -> bytes:
        return json.dumps(self.body()).encode()

    def shot(self) -> Shot:
        """Return any good request but a DELETE of a job of somebody else."""
        kinds = [self._post, self._post_again, self._read, self._delete, self._list, self._service, self._read_sentinel]
        return self.chance.choices(kinds, [4, 2, 5, 2, 1, 2, 2])[0]()

    def _named(self, kind: str, method: str, target: str, body: bytes = b"", *, may_create: bool = False) -> Shot:
        request_id = f"{self._name}-{self.chance.getrandbits(48):x}"
        head = f"X-Request-ID: {request_id}\r\n" + (JSON if body else "")
        raw = request(method, target, head, body)
        return Shot(kind, raw, method=method, request_id=request_id, may_create=may_create)

    def _post(self) -> Shot:
        return self._named("POST", "POST", self._slash("/api/v1"), self.raw_body(), may_create=True)

    def _post_again(self) -> Shot:
        body = json.dumps(self.body(self.known_jid())).encode()
        return self._named("POST, known jid", "POST", "/api/v1/", body, may_create=True)

    def _read(self) -> Shot:
        method = self.chance.choice(["GET", "GET", "HEAD"])
        return self._named("GET of a job", method, self._slash(f"/api/v1/{self.known_jid()}"))

    def _read_sentinel(self) -> Shot:
        jid = self.chance.choice([*sentinels.JIDS, sentinels.DELETED])
        return self._named("GET of a job", self.chance.choice(["GET", "HEAD"]), f"/api/v1/{jid}/")

    def _delete(self) -> Shot:
        return self._named("DELETE", "DELETE", self._slash(f"/api/v1/{self.known_jid()}"))

    def _list(self) -> Shot:
        return self._named("GET of the list", "GET", f"/jobs/?limit={self.chance.randint(1, 20)}")

    def _service(self) -> Shot:
        paths = ["/api/v1", "/health", "/ready", "/openapi.json"]
        method = self.chance.choice(["GET", "GET", "HEAD", "OPTIONS"])
        return self._named("GET of the rest", method, self._slash(self.chance.choice(paths)))

    def _slash(self, path: str) -> str:
        return path + self.chance.choice(["", "/"])


def pipelined(shots: Sequence[Shot]) -> Shot:
    """Return all of ``shots`` in one breath."""
    return Shot(
        "pipelined",
        b"".join(shot.raw for shot in shots),
        at_least=len(shots),
        at_most=len(shots),
        may_create=any(shot.may_create for shot in shots),
    )
