"""Where the engines answer that tests may use: one's own, by the environment, or those of the testbed.

Test cases ask here before they say that this machine lacks something.
"""

import contextlib
import os
import time

import docker
import requests
from docker.errors import DockerException, ImageNotFound
from docker.tls import TLSConfig
from docker.utils import kwargs_from_env

TIMEOUT_S = 2
SILENCES_MAX = 15
BUSY_TIMEOUT_S = 20
TRIES = 5
API_VERSION = "1.41"
"""Given, so that a client does not ask for it; the question itself goes without."""
DOCKER = "unix:///var/run/docker.sock"


def docker_url() -> str | None:
    """Return the URL of the Docker engine at DOCKER_HOST, or else at the usual socket, if it answers."""
    url = os.environ.get("DOCKER_HOST") or DOCKER
    return url if answers(url, kwargs_from_env().get("tls", False)) else None


def podman_url() -> str | None:
    """Return the URL of the Podman service at PODMAN_HOST, or else at the first usual socket where one answers."""
    own = os.environ.get("PODMAN_HOST")
    return next(filter(answers, [own] if own else podman_candidates()), None)


def podman_candidates() -> list[str]:
    """Return the testbed's socket, that of root's own service, and that of the user's."""
    return [
        "unix:///var/lib/pman-podman/podman.sock",
        "unix:///run/podman/podman.sock",
        f"unix:///run/user/{os.getuid()}/podman/podman.sock",
    ]


def lack(url: str | None, image: str, script: str) -> str:
    """Say what is missing to run ``image`` at ``url``, an answer of this module, or ``""``; ``script`` brings it up."""
    if url is None:
        return f"no engine answers; {script} starts one"
    lacking = ""
    for _ in range(TRIES):  # a Podman fails (500) to show any image while another test removes one
        try:
            tls = kwargs_from_env().get("tls", False) if url.startswith("tcp:") else False
            with contextlib.closing(docker.APIClient(url, timeout=BUSY_TIMEOUT_S, tls=tls)) as client:
                client.inspect_image(image)  # type: ignore[no-untyped-call]
        except (DockerException, requests.RequestException) as error:
            lacking = f"no image {image} at {url} ({error}); {script} makes it"
            if isinstance(error, ImageNotFound):
                break
        else:
            return ""
    return lacking


def lack_of_swarm(url: str | None, image: str, script: str) -> str:
    """The same of a swarm whose manager is at ``url``."""
    if (lacking := lack(url, image, script)) or url is None:
        return lacking
    with contextlib.closing(docker.APIClient(url, timeout=BUSY_TIMEOUT_S)) as client:
        is_manager = client.info()["Swarm"]["ControlAvailable"]
    return "" if is_manager else f"the engine at {url} is no manager of a swarm; {script} makes it one"


def answers(url: str, tls: TLSConfig | bool = False) -> bool:
    """Whether an engine answers there; one that is absent says so at once, one that is silent has half a minute.

    So a busy one does not pass for none, which fails the tests that need it where it is required. It is pinged: to tell
    its version, a Podman starts programs, which takes seconds on a busy machine.
    """
    for _ in range(SILENCES_MAX):
        began_s = time.monotonic()
        try:
            with contextlib.closing(docker.APIClient(url, version=API_VERSION, timeout=TIMEOUT_S, tls=tls)) as client:
                client.get(f"{client.base_url}/_ping", timeout=TIMEOUT_S).raise_for_status()
        except (DockerException, requests.RequestException, OSError):
            if time.monotonic() - began_s < TIMEOUT_S:
                return False
        else:
            return True
    return False
