"""The logs of a job's pods: the end of one, or of several in sections.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#get-read-log-of-the-specified-pod
"""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from backends._kubernetes.connection import Api
from backends._kubernetes.errors import NotThere
from backends._kubernetes.identity import WORKERS, Object
from backends._kubernetes.init_containers import failed_init_container
from backends._kubernetes.job import CONTAINER
from pman_core.errors import Unavailable
from pman_core.log_tail import tail

INDEX = "batch.kubernetes.io/job-completion-index"
NUMBER = re.compile(r"[0-9]{1,9}")
ENTRY_BYTES = 16 * 1024
"""A container runtime cuts longer lines into pieces, and the kubelet counts each of them as a line:
https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md"""

NO_LOG = re.compile(
    rb'failed to (?:try resolving symlinks in path|open log file) "[^"\n]*": [^\n]*'
    rb"|unable to retrieve container logs for [a-z0-9.-]+://[0-9a-f]+"
)
"""What a kubelet answers, with 200, instead of a log that has been deleted on its node: nothing else, and no line end.
https://github.com/kubernetes/cri-client/blob/v0.35.0/pkg/logs/logs.go (ReadLogs) and
https://github.com/kubernetes/kubernetes/blob/v1.35.0/pkg/kubelet/kuberuntime/kuberuntime_container.go"""


@dataclass(frozen=True, slots=True, order=True)
class Worker:
    """Where one worker's log is."""

    index: int
    """From 0."""
    pod_name: str
    count: int = 1
    """How many there are of its job, whichever of their pods are left."""
    container: str = CONTAINER
    """Whose log it is: that of the job, or of what has kept it from being started."""


def workers_of(pods: Iterable[Object]) -> tuple[Worker, ...]:
    """Return the workers of a job, in order."""
    return tuple(sorted(_worker_of(pod) for pod in pods))


def logs_of(
    api: Api,
    path: str,
    workers: Iterable[Worker],
    tail_lines: int,
    max_bytes: int,
    *,
    timeout_s: float,
    kept: Mapping[Worker, str] = MappingProxyType({}),
) -> str:
    """Return the end of the logs of ``workers``; ``path`` is that of the pods of their namespace.

    ``kept`` has what was read of workers whose pods may be gone by now.

    Raises:
        Unavailable: not one of them can be read now, and nothing was kept.
    """
    workers = sorted({*workers, *kept})
    if not workers:
        return ""
    count = max(len(workers), *(worker.count for worker in workers))
    if count == 1:
        return log_of(api, path, workers[0], tail_lines, max_bytes, timeout_s=timeout_s)
    sections, failures = [], []
    until_s = time.monotonic() + timeout_s
    for worker in workers:
        head = f"--- worker {worker.index + 1} of {count} ---\n"
        share = max(0, max_bytes // len(workers) - len(head) - 1)
        words = tail(kept.get(worker, "").encode(), tail_lines, share)
        try:
            text = log_of(api, path, worker, tail_lines, share, timeout_s=max(0.1, until_s - time.monotonic())) or words
        except Unavailable as error:
            if not words:
                failures.append(error)
            text = words or f"(its log cannot be read: {error})"
        sections.append(f"{head}{text}" if text.endswith("\n") or not text else f"{head}{text}\n")
    if failures and len(failures) == len(workers):
        raise failures[0]
    return tail("".join(sections).encode(), tail_lines, max_bytes)


def _worker_of(pod: Object) -> Worker:
    metadata = pod["metadata"]
    annotations = metadata.get("annotations") or {}
    failed = failed_init_container(pod)
    return Worker(
        _number(annotations.get(INDEX), 0),
        str(metadata["name"]),
        _number(annotations.get(WORKERS), 1),
        CONTAINER if failed is None else str(failed["name"]),
    )


def _number(text: object, default: int) -> int:
    """Somebody may have written anything into an annotation: that must not hide all other jobs."""
    return int(str(text)) if NUMBER.fullmatch(str(text)) else default


def log_of(api: Api, path: str, worker: Worker, tail_lines: int, max_bytes: int, *, timeout_s: float) -> str:
    """Return the end of the log of one worker; ``""`` if it has none, or none any more.

    That of a container that is not the job's own has a first line which says so.

    Raises:
        Unavailable: it cannot be read now.
    """
    # One byte more than asked for tells a log that is cut from one that is not.
    head = "" if worker.container == CONTAINER else f"--- init container {worker.container} ---\n"
    max_bytes = max(0, max_bytes - len(head))
    end, wanted = bytearray(), max_bytes + 1
    until_s = time.monotonic() + timeout_s
    query = {"container": worker.container, "tailLines": str(tail_lines + wanted // ENTRY_BYTES + 2)}
    try:
        with api.stream(f"{path}/{worker.pod_name}/log", query, timeout_s) as response:
            for chunk in response.stream(65536, decode_content=True):
                if time.monotonic() > until_s:
                    raise Unavailable(f"the log is too long to be read within {timeout_s:g} s")
                end += chunk
                if len(end) > 2 * wanted:
                    del end[:-wanted]
    except NotThere:
        return ""
    if NO_LOG.fullmatch(end):
        return ""
    text = tail(bytes(end[-wanted:]), max(0, tail_lines - bool(head)), max_bytes)
    return f"{head}{text}" if text else ""
