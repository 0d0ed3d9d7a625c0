"""The logs of a job's pods: the end of one, or of several in sections.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#get-read-log-of-the-specified-pod
"""

import time
from collections.abc import Sequence

from backends._kubernetes.connection import Api
from backends._kubernetes.errors import NotThere
from backends._kubernetes.identity import Object
from backends._kubernetes.job import CONTAINER
from pman_core.errors import Unavailable
from pman_core.log_tail import tail

INDEX = "batch.kubernetes.io/job-completion-index"
ENTRY_BYTES = 16 * 1024
"""A container runtime cuts longer lines into pieces, and the kubelet counts each of them as a line:
https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md"""


def logs_of(api: Api, path: str, pods: Sequence[Object], tail_lines: int, max_bytes: int, *, timeout_s: float) -> str:
    """Return the end of the logs of ``pods``; ``path`` is that of the pods of their namespace.

    Raises:
        Unavailable: not one of them can be read now.
    """
    if len(pods) == 1:
        return _log_of(api, path, pods[0], tail_lines, max_bytes, timeout_s=timeout_s)
    sections, failures = [], []
    until_s = time.monotonic() + timeout_s
    for pod in sorted(pods, key=index_of):
        head = f"--- worker {index_of(pod) + 1} of {len(pods)} ---\n"
        share = max(0, max_bytes // len(pods) - len(head) - 1)
        try:
            text = _log_of(api, path, pod, tail_lines, share, timeout_s=max(0.1, until_s - time.monotonic()))
        except Unavailable as error:
            failures.append(error)
            text = f"(its log cannot be read: {error})"
        sections.append(f"{head}{text}" if text.endswith("\n") or not text else f"{head}{text}\n")
    if failures and len(failures) == len(pods):
        raise failures[0]
    return tail("".join(sections).encode(), tail_lines, max_bytes)


def index_of(pod: Object) -> int:
    """Return the number of a worker, from 0."""
    metadata = pod["metadata"]
    return int((metadata.get("annotations") or {}).get(INDEX, 0))


def _log_of(api: Api, path: str, pod: Object, tail_lines: int, max_bytes: int, *, timeout_s: float) -> str:
    # One byte more than asked for tells a log that is cut from one that is not.
    end, wanted = bytearray(), max_bytes + 1
    until_s = time.monotonic() + timeout_s
    query = {"container": CONTAINER, "tailLines": str(tail_lines + wanted // ENTRY_BYTES + 2)}
    try:
        with api.stream(f"{path}/{pod['metadata']['name']}/log", query, timeout_s) as response:
            for chunk in response.stream(65536, decode_content=True):
                if time.monotonic() > until_s:
                    raise Unavailable(f"the log is too long to be read within {timeout_s:g} s")
                end += chunk
                if len(end) > 2 * wanted:
                    del end[:-wanted]
    except NotThere:
        return ""
    return tail(bytes(end[-wanted:]), tail_lines, max_bytes)
