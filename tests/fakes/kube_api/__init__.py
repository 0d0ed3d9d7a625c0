"""A Kubernetes cluster of one node for tests: a real HTTP server, and behind it a controller and a node that run jobs.

It behaves as a real one was recorded (``tests/recorded/kubernetes``); ``tests/unit/test_kube_api_fidelity.py`` holds it
to that. Containers are processes of this machine, see :mod:`tests.fakes.kube_api.containers`. What is to go wrong is
ordered by :class:`Faults` and by the attributes of the node and of the controller.
"""

import threading
import time
from pathlib import Path

import yaml

from testbed.ports import give_back
from tests.fakes.kube_api.api import Api, User
from tests.fakes.kube_api.conditions import condition
from tests.fakes.kube_api.deletion import delete_pod
from tests.fakes.kube_api.faults import Faults
from tests.fakes.kube_api.job_controller import JobController, key_of, release
from tests.fakes.kube_api.node import NODE, Node
from tests.fakes.kube_api.refusals import recorded
from tests.fakes.kube_api.server import Server
from tests.fakes.kube_api.storage import Json, Storage

__all__ = ["FakeCluster", "Faults", "recorded"]

ADMIN = "admin-token"
TICK_S = 0.02
"""So often the parts of the cluster look at what the storage does not tell: processes and clocks."""
COLLECTED_AFTER_S = 0.05
"""So long after their job pods are deleted."""


class FakeCluster:
    """A whole cluster; use it as a context manager."""

    def __init__(self) -> None:
        self.storage = Storage()
        self.faults = Faults()
        self.node = Node(self.storage)
        self.controller = JobController(self.storage)
        self.api = Api(self.storage, self.node.log)
        self.api.users[ADMIN] = User("admin")
        self.api.nodes.append(_node_object(self.node.labels))
        self.server = Server(self.api, self.faults)
        self._orphans: dict[str, float] = {}
        self._is_over = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> "FakeCluster":
        self.server.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the server, all processes, and everybody who hangs."""
        self.faults.release()
        self.server.stop()
        with self.storage.changed:
            self._is_over = True
            self.storage.changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self.node.close()
        give_back(self.server.port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def kubeconfig(self, path: Path, token: str = ADMIN) -> Path:
        """Write the access of a user; without the cluster running it names an address at which nobody answers."""
        user = {"name": "user", "user": {"token": token}}
        cluster = {"name": "fake", "cluster": {"server": self.url}}
        context = {"name": "fake", "context": {"cluster": "fake", "user": "user"}}
        access = {"apiVersion": "v1", "kind": "Config", "current-context": "fake"}
        access |= {"clusters": [cluster], "users": [user], "contexts": [context]}
        path.write_text(yaml.safe_dump(access))
        return path

    def add_user(self, token: str, *denied: str) -> None:
        """Make a user who may do everything but these, as ``create jobs`` or ``get pods/log``."""
        self.api.users[token] = User(f"system:serviceaccount:default:{token}", denied)

    # What an administrator or another program does

    def jobs(self) -> list[Json]:
        return self.storage.all("jobs")

    def pods(self) -> list[Json]:
        return self.storage.all("pods")

    def delete_pod(self, pod: Json, grace_s: int | None = None) -> None:
        delete_pod(self.storage, key_of(pod), grace_s)

    def disrupt(self, pod: Json, reason: str, message: str) -> None:
        """Preempt or evict a pod: it is told why, and deleted."""
        told = condition("DisruptionTarget", (True, reason, message))
        self.storage.update(key_of(pod), lambda found: found["status"]["conditions"].append(told))
        self.delete_pod(pod)

    def expire_watches(self) -> None:
        """Forget what has changed: whoever asks for it gets 410, as after a compaction."""
        self.storage.forget()

    def restart(self) -> None:
        """Kill the API server and start another one, which has an empty watch cache."""
        self.server.stop()
        self.storage.forget()
        self.server.start()

    # The controllers and the kubelet

    def _work(self) -> None:
        while True:
            with self.storage.changed:
                if self._is_over:
                    return
                if not self._step():
                    self.storage.changed.wait(TICK_S)

    def _step(self) -> bool:
        """Let every part do one thing; whether any did."""
        self.node.forget()
        did = [self.node.step(pod) for pod in self.storage.all("pods")]
        did += [self.controller.step(key_of(job)) for job in self.storage.all("jobs")]
        did += [self._collect_orphan(pod) for pod in self.storage.all("pods")]
        return any(did)

    def _collect_orphan(self, pod: Json) -> bool:
        """Delete a pod whose job is gone."""
        owners = [owner["uid"] for owner in pod["metadata"].get("ownerReferences", ())]
        jobs = {job["metadata"]["uid"] for job in self.storage.all("jobs")}
        if not owners or jobs.intersection(owners):
            return False
        uid = pod["metadata"]["uid"]
        if time.monotonic() < self._orphans.setdefault(uid, time.monotonic() + COLLECTED_AFTER_S):
            return False
        before = self.storage.version
        release(self.storage, pod)
        if "deletionTimestamp" not in pod["metadata"]:
            delete_pod(self.storage, key_of(pod), None)
        return self.storage.version != before


def _node_object(labels: dict[str, str]) -> Json:
    capacity = {"cpu": "2", "memory": "8Gi", "pods": "110"}
    status = {"capacity": capacity, "allocatable": capacity, "conditions": [{"type": "Ready", "status": "True"}]}
    return {"kind": "Node", "apiVersion": "v1", "metadata": {"name": NODE, "labels": labels}, "status": status}
