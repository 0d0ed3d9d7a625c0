"""Jobs for a system on a real engine: programs for the shell of busybox, and what a client does with them."""

from contextlib import closing, suppress
from typing import Any

import docker
import requests
from docker.errors import DockerException

from testbed.engines import API_VERSION
from testbed.system import System, wait_for

IMAGE = "busybox:test"
FAST = {"RECONCILE_S": "2", "REQUEUE_S": "1", "SUBMIT_LEASE_S": "45", "LOST_GRACE_S": "5"}
"""Settings of a pman that need not be patient."""
FINISHED = {"finishedSuccessfully", "finishedWithError", "undefined"}
PATIENCE_S = 120.0
"""So long whatever must happen may take: the machine may have other work, and the scheduler other jobs."""
LOGLESS = "the log could not be read when the job ended"
"""So a record says that nobody could read its log for ten seconds, as on a busy machine; then that comes later."""
UNTIL_TOLD = 'while [ ! -e "$1/go" ]; do sleep 0.1; done'
"""Work that ends when it is told to, so that it surely goes on while something is done to it; see :func:`go`."""
REPLY_S = 30.0
"""The API answers in milliseconds; a busy machine may let it wait for its turn."""
TRACED = 'echo ran >> "$1/runs"; echo working; {}; echo ended >> "$1/ends"; exit {}'


def body(jid: str, script: str, **fields: Any) -> dict[str, Any]:
    """Return the request of a job that runs ``script``; ``$1`` is the output folder."""
    return {
        "jid": jid,
        "args": [],
        "auid": "cube",
        "number_of_workers": "1",
        "cpu_limit": "1000",
        "memory_limit": "200",
        "gpu_limit": "0",
        "image": IMAGE,
        "entrypoint": ["sh", "-c", script, "job"],
        "type": "fs",
        "input_dir": f"{jid}/in",
        "output_dir": f"{jid}/out",
    } | fields


def traced(jid: str, work: str = "true", code: int = 0, **fields: Any) -> dict[str, Any]:
    """Return a job that leaves a line in ``runs`` when it begins and in ``ends`` when it comes to its own end."""
    return body(jid, TRACED.format(work, code), **fields)


def post(system: System, request: dict[str, Any]) -> dict[str, Any]:
    for name in ("input_dir", "output_dir"):
        folder = system.store_base / request[name]
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
    reply = requests.post(f"{system.url}/api/v1/", json=request, timeout=REPLY_S)
    assert reply.status_code == 201, reply.text
    record: dict[str, Any] = reply.json()
    return record


def get(system: System, jid: str) -> dict[str, Any]:
    reply = requests.get(f"{system.url}/api/v1/{jid}/", timeout=REPLY_S)
    assert reply.status_code == 200, reply.text
    record: dict[str, Any] = reply.json()
    return record


def delete(system: System, jid: str) -> None:
    assert requests.delete(f"{system.url}/api/v1/{jid}/", timeout=REPLY_S).status_code == 204


def wait_status(system: System, jid: str, *statuses: str, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
    def ask() -> dict[str, Any] | None:
        record = get(system, jid)
        return record if record["status"] in statuses else None

    return wait_for(f"{jid} is {' or '.join(statuses)}", ask, timeout_s)


def wait_end(system: System, jid: str, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
    return wait_status(system, jid, *FINISHED, timeout_s=timeout_s)


def traces(system: System, jid: str, name: str = "runs") -> int:
    path = system.store_base / jid / "out" / name
    return len(path.read_text().splitlines()) if path.exists() else 0


def running(system: System, *jids: str, code: int = 0, **fields: Any) -> None:
    """Post jobs that end with ``code`` when they are told to, and wait until their programs have begun."""
    for jid in jids:
        post(system, traced(jid, UNTIL_TOLD, code, **fields))
    for jid in jids:
        wait_status(system, jid, "started")
        wait_for(f"the program of {jid} has begun", lambda jid=jid: traces(system, jid), PATIENCE_S)  # type: ignore[misc]


def go(system: System, *jids: str) -> None:
    """Let them end."""
    for jid in jids:
        (system.store_base / jid / "out" / "go").touch()


def connect(url: str) -> docker.APIClient:
    """Connect as an administrator does, who waits for an engine that is busy."""
    return docker.APIClient(url, version=API_VERSION, timeout=int(PATIENCE_S))


def containers(url: str, system: System) -> list[dict[str, Any]]:
    """Return what the engine itself knows of this instance."""
    with closing(connect(url)) as client:
        return _of(client, system)


def remove_all(url: str, system: System) -> None:
    """Remove what a test has left on the engine, if it is still there."""
    with suppress(DockerException, OSError), closing(connect(url)) as client:
        for container in _of(client, system):
            client.remove_container(container["Id"], force=True)


def _of(client: docker.APIClient, system: System) -> list[dict[str, Any]]:
    label = f"org.chrisproject.pman.instance={system.env['PMAN_INSTANCE']}"
    found: list[dict[str, Any]] = client.containers(all=True, filters={"label": [label]})
    return found
