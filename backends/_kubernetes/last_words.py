"""What the workers of a job had said when the first of them failed.

A Job that has failed deletes its other pods, and their logs with them; nothing in Kubernetes keeps these. There are
KUBE_END_GRACE_S and the time that the kubelet needs, so who sees the failure reads at once and keeps what it has read.
https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-termination-and-cleanup
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from backends._kubernetes.ends import disruption_in
from backends._kubernetes.identity import Object
from backends._kubernetes.logs import Worker, workers_of
from backends._kubernetes.state import has_begun, has_ended, phase_of
from pman_core.errors import BackendError, Unavailable

log = logging.getLogger(__name__)

JOBS_MAX = 100
"""So many jobs' words are kept, the latest: they are asked for within a second of the end."""
READ_S = 2.0
"""So long the reading for one job may take: whoever does it has other jobs to follow."""
SILENT_S = 30.0
"""So long a node is not asked again that has not answered: its jobs may all fail together."""
HEARD_MAX = 20_000
"""So many jobs are remembered, with the workers that were asked: each is seen again with every listing, until it has
ended."""

Read = Callable[[Worker, float], str]
"""Returns the end of the log of one worker, within so many seconds."""


class LastWords:
    """The logs of workers that are about to be deleted, by generation."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._kept: dict[str, dict[Worker, str]] = {}
        self._asked: dict[str, set[str]] = {}
        self._silent_until_s: dict[str, float] = {}

    def of(self, generation: str) -> Mapping[Worker, str]:
        """Return what was read of a job."""
        with self._lock:
            return dict(self._kept.get(generation, {}))

    def hear(self, generation: str, pods: Sequence[Object], read: Read) -> None:
        """Read what the others have said, if a worker of the job has just failed. Each is asked once, as soon as it is
        known to run: that may be told later than the failure.
        """
        living = [pod for pod in pods if has_begun(pod) and not has_ended(pod)]
        if not living or all(phase_of(pod) != "Failed" for pod in pods) or _is_being_deleted(pods):
            return
        nodes = {str(pod["metadata"]["name"]): str(pod["spec"].get("nodeName")) for pod in living}
        with self._lock:
            asked = self._asked.setdefault(generation, set())
            living = [pod for pod in living if pod["metadata"]["name"] not in asked]
            asked.update(nodes)
            if not living:
                return
            self._kept.setdefault(generation, {})
            for known, most in ((self._asked, HEARD_MAX), (self._kept, JOBS_MAX)):
                while len(known) > most:
                    del known[next(iter(known))]
        until_s = self._clock_s() + READ_S
        for worker in workers_of(living):
            now_s, node = self._clock_s(), nodes[worker.pod_name]
            if now_s >= until_s:
                return
            if now_s < self._silent_until_s.get(node, -math.inf):
                continue
            try:
                words = read(worker, until_s - now_s)
            except BackendError as error:
                log.info("last words not heard: pod=%s %s", worker.pod_name, error)
                if isinstance(error, Unavailable):
                    self._silent_until_s[node] = self._clock_s() + SILENT_S
                continue
            with self._lock:
                self._kept.get(generation, {})[worker] = words


def _is_being_deleted(pods: Sequence[Object]) -> bool:
    """Whether all pods were told to go, with their job: nobody will ask for its log."""
    return all(pod["metadata"].get("deletionTimestamp") for pod in pods) and not disruption_in(pods)
