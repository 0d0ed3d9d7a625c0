"""What is asked of pman while its cluster suffers, and a pman for one test alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import requests

from testbed.system import System, wait_for
from tests.engines.jobs import FAST, PATIENCE_S, REPLY_S, delete, get
from tests.engines.kube import Cluster
from tests.engines.kube_system import start_system, wait_nothing_left


def health(system: System) -> tuple[bool, str]:
    """Return what the API tells of the backend."""
    backend = requests.get(f"{system.url}/api/v1/", timeout=REPLY_S).json().get("backend") or {}
    return bool(backend.get("ok")), str(backend.get("message"))


def wait_message(system: System, jid: str, part: str) -> None:
    """Wait until a job that waits says why."""
    wait_for(f"{part!r} is the message of {jid}", lambda: part in get(system, jid)["message"], PATIENCE_S)
    assert get(system, jid)["status"] == "notstarted"


def delete_all(kube: Cluster, system: System, *jids: str) -> None:
    for jid in jids:
        delete(system, jid)
    wait_nothing_left(kube, system)


@contextmanager
def private_pman(kube: Cluster, name: str, **env: str) -> Iterator[System]:
    """All of pman, that need not be well yet, for one test."""
    system = start_system(kube, name, is_ready=False, **FAST | env)
    try:
        wait_for("the API answers", lambda: answers(system), PATIENCE_S)
        yield system
    finally:
        system.close()


def answers(system: System) -> bool:
    try:
        return requests.get(f"{system.url}/api/v1/", timeout=REPLY_S).ok
    except requests.RequestException:
        return False
