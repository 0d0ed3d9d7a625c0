"""Plain HTTP to the fake API server, as the recorder speaks it to a real one."""

import json
import time
from collections.abc import Callable
from typing import Any

import requests

from tests.fakes.kube_api import ADMIN, FakeCluster
from tests.recorded.kube_jobs import job_of
from tests.unit.kube_shapes import Json

JOBS, PODS = "/apis/batch/v1/namespaces/default/jobs", "/api/v1/namespaces/default/pods"


class Client:
    """One user."""

    def __init__(self, cluster: FakeCluster, token: str = ADMIN) -> None:
        self.cluster = cluster
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> requests.Response:
        return self.session.request(method, self.cluster.url + path, json=body, timeout=10, **more)

    def create(self, name: str, *args: Any, **more: Any) -> Json:
        answer = self.ask("POST", JOBS, job_of(name, *args, **more))
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def merge(self, path: str, change: Json) -> requests.Response:
        return self.ask("PATCH", path, change, headers={"Content-Type": "application/merge-patch+json"})

    def life(self, until: Callable[[list[Json]], bool], timeout_s: float = 40) -> list[Json]:
        """Return everything that a watch from the beginning tells, once that is the case."""
        end_s = time.monotonic() + timeout_s
        while not until(found := self._told()):
            assert time.monotonic() < end_s, json.dumps([event["object"]["status"] for event in found])
            time.sleep(0.01)
        return found

    def _told(self) -> list[Json]:
        lines: list[Json] = []
        for path in (JOBS, PODS):
            query = {"watch": "1", "resourceVersion": "1000", "timeoutSeconds": "0.001"}
            lines += map(json.loads, self.ask("GET", path, params=query).text.splitlines())
        return sorted(lines, key=lambda event: int(event["object"]["metadata"]["resourceVersion"]))


def of(events: list[Json], kind: str) -> list[Json]:
    """Return the objects of a kind, as they were at each event."""
    return [event["object"] for event in events if event["object"]["kind"] == kind]


def has(*kinds: str, status: str = "True") -> Callable[[list[Json]], bool]:
    """Whether the job has one of these conditions."""

    def is_it(events: list[Json]) -> bool:
        jobs = of(events, "Job")
        listed = jobs[-1]["status"].get("conditions", ()) if jobs else ()
        return any(one["type"] in kinds and one["status"] == status for one in listed)

    return is_it


def ended(events: list[Json]) -> bool:
    return has("Complete", "Failed")(events)


def runs(events: list[Json]) -> bool:
    jobs = of(events, "Job")
    return bool(jobs) and jobs[-1]["status"].get("ready", 0) > 0


def gone(events: list[Json]) -> bool:
    """Whether the job and its pod have been deleted."""
    return sum(event["type"] == "DELETED" for event in events) == 2
