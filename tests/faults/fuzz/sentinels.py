"""Jobs in known states that no request of a campaign names: whatever is sent, nothing of them may change."""

import re
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote

import requests

from backends._mock_folder import Folder
from pman_core.request import parse_request
from pman_core.store.redis import RedisStore
from testbed.system import System, wait_for

BACKEND = "mock"
BASE = "/api/v1/"
JIDS = ("sentinel-queued", "sentinel-pending", "sentinel-running", "sentinel-succeeded", "sentinel-failed")
DELETED = "sentinel-deleted"
FOR_EVER = "MOCK_PENDING_FOR_S=1000000"
ENVIRONMENTS = {
    "sentinel-pending": [FOR_EVER],
    "sentinel-running": ["MOCK_RUN_FOR_S=1000000", "MOCK_LOG=working"],
    "sentinel-succeeded": ["MOCK_LOG=done"],
    "sentinel-failed": ["MOCK_EXIT_CODE=3", "MOCK_LOG=no such file"],
    DELETED: [],
}
STATES = {
    "sentinel-queued": "QUEUED",
    "sentinel-pending": "PENDING",
    "sentinel-running": "RUNNING",
    "sentinel-succeeded": "SUCCEEDED",
    "sentinel-failed": "FAILED",
}


def body(jid: str, **fields: Any) -> dict[str, Any]:
    """Return the request of a job that ends at once, unless its environment says otherwise."""
    return {
        "jid": jid, "args": ["--a", "b"], "auid": "cube", "number_of_workers": "1", "cpu_limit": "1000",
        "memory_limit": "200", "gpu_limit": "0", "image": "fnndsc/pl-fuzz", "entrypoint": ["mock-nothing"],
        "type": "fs", "env": [], "input_dir": f"{jid}/in", "output_dir": f"{jid}/out",
    } | fields  # fmt: skip


def is_named_by(target: str) -> bool:
    """Whether a path (or a whole URL) names a sentinel, by the book: decoded, without query, fragment and slashes."""
    path = unquote(re.split("[?#]", target, maxsplit=1)[0])
    return path.startswith(BASE) and path.removeprefix(BASE).strip("/") in {*JIDS, DELETED}


@dataclass(frozen=True)
class Snapshot:
    """All that there is of the sentinels: in Redis, over HTTP, on the scheduler."""

    hashes: dict[str, dict[str, str]]
    scores: dict[str, dict[str, float]]
    replies: dict[str, tuple[int, str]]
    native: dict[str, object]

    def changes(self, later: "Snapshot") -> list[str]:
        """Return what is another in ``later``."""
        return [
            f"{name} of {key}: {before.get(key)!r} -> {after.get(key)!r}"
            for name, before, after in (
                ("Redis", self.hashes, later.hashes),
                ("index", self.scores, later.scores),
                ("GET", self.replies, later.replies),
                ("native object", self.native, later.native),
            )
            for key in sorted(before.keys() | after.keys())
            if before.get(key) != after.get(key)
        ]


def make(system: System, store: RedisStore) -> None:
    """Make them and wait until each is as it shall stay."""
    # Of another backend, for which nobody works here: it waits for ever, and neither is it tried again.
    store.create(parse_request(body("sentinel-queued")), "process")
    for jid, environment in ENVIRONMENTS.items():
        requests.post(f"{system.url}/api/v1/", json=body(jid, env=environment), timeout=10).raise_for_status()
    for jid, state in STATES.items():
        wait_for(f"{jid} is {state}", lambda jid=jid, state=state: _state(store, jid) == state)  # type: ignore[misc]
    wait_for("the job to delete has ended", lambda: _state(store, DELETED) == "SUCCEEDED")
    requests.delete(f"{system.url}/api/v1/{DELETED}/", timeout=10).raise_for_status()
    wait_for("the deleted job is gone for good", lambda: not store.unsettled(DELETED))


def _state(store: RedisStore, jid: str) -> str:
    record = store.get(jid)
    return record.state if record else ""


def look(system: System, store: RedisStore) -> Snapshot:
    redis = store._redis
    keys = [f"job:{jid}" for jid in (*JIDS, DELETED)] + [f"tomb:{DELETED}"]
    indexes = [
        index
        for kind in ("waiting", "running", "terminal", "obligations")
        for index in (f"{kind}:{BACKEND}", f"{kind}:process")
    ]
    url = f"{system.url}/api/v1"
    replies = {jid: requests.get(f"{url}/{jid}/", timeout=10) for jid in (*JIDS, DELETED)}
    folder = Folder(system.folder / "mock")
    loaded = {generation: folder.load(generation) for generation in folder.generations()}
    return Snapshot(
        hashes={key: cast("dict[str, str]", redis.hgetall(store._key(key))) for key in keys},
        scores={
            index: {
                member: score
                for member, score in cast(
                    "list[tuple[str, float]]", redis.zrange(store._key(index), 0, -1, withscores=True)
                )
                if member.startswith("sentinel-")
            }
            for index in indexes
        },
        replies={
            jid: (reply.status_code, reply.text if reply.status_code == 200 else "") for jid, reply in replies.items()
        },
        native={
            generation: found
            for generation, found in loaded.items()
            if found is not None and found[0].jid.startswith("sentinel-")
        },
    )


def _scores(members: Any) -> dict[str, float]:
    return {member: score for member, score in members if member.startswith("sentinel-")}
