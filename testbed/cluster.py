"""Where the Kubernetes cluster is that tests may use: one's own, by the environment, or that of ``testbed/kube/up.sh``.

Test cases ask here before they say that this machine lacks something.
"""

import os
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config

TIMEOUT_S = 5
BUSY_TIMEOUT_S = 60
SCRIPT = "testbed/kube/up.sh"
LEASES = "kube-node-lease"
"""The namespace of the signs of life: https://kubernetes.io/docs/concepts/architecture/leases/#node-heart-beats"""
OF_NODES = "node.kubernetes.io/"
"""So begin the taints that say what is wrong with a node."""
NODE_IMAGES_MAX = 50
"""A kubelet tells of so many of its images, the largest (its setting ``nodeStatusMaxImages``)."""


def kubeconfig() -> Path | None:
    """Return the file of KUBECONFIG, or else of the first cluster of the testbed that answers, if any does."""
    own = os.environ.get("KUBECONFIG")
    return next(filter(answers, [Path(own)] if own else candidates()), None)


def candidates() -> list[Path]:
    """Return where ``testbed/kube/up.sh`` leaves the access to what it has started."""
    home = Path(os.environ.get("KUBE_HOME", "/var/lib/pman-kube"))
    return [home / f"{name}.kubeconfig" for name in ("kind", "k3s", "admin")]


def lack(path: Path | None, image: str) -> str:
    """Say what is missing to run ``image`` (with its tag) on the cluster of ``path``, or ``""``.

    ``path`` is an answer of :func:`kubeconfig`.
    """
    if path is None:
        return f"no cluster answers; {SCRIPT} starts one"
    try:
        nodes = _nodes(path)
    except (client.ApiException, urllib3.exceptions.HTTPError) as error:
        return f"the nodes of {path} cannot be listed: {error}"
    ready = [node for node in nodes if any(_is_ready(condition) for condition in node.status.conditions or ())]
    if not ready:
        return f"no node of {path} is ready; see {SCRIPT}"
    without = [node.metadata.name for node in ready if not _may_have(node, image)]
    return f"no image {image} on {', '.join(without)}; {SCRIPT} says how it comes there" if without else ""


def is_well(path: Path, since: datetime) -> bool:
    """Whether all nodes have given a sign of life since then, are Ready and take pods.

    A node that was away for some time is called Ready until the cluster has noticed, and then is not for a while.
    """
    try:
        leases = _ask(path, _list_leases)
        nodes = _nodes(path)
    except (client.ApiException, urllib3.exceptions.HTTPError):
        return False
    renewed_at = {lease.metadata.name: lease.spec.renew_time for lease in leases}
    return all(
        renewed_at.get(node.metadata.name, since) > since
        and any(map(_is_ready, node.status.conditions or ()))
        and not [taint for taint in node.spec.taints or () if taint.key.startswith(OF_NODES)]
        for node in nodes
    )


def answers(path: Path) -> bool:
    """Whether a cluster tells its version there; one that is silent, not absent, is asked for a minute: it is busy."""
    if not path.is_file():
        return False
    until_s = time.monotonic() + BUSY_TIMEOUT_S
    while (began_s := time.monotonic()) < until_s:
        try:
            _ask(path, lambda api: client.VersionApi(api).get_code(_request_timeout=TIMEOUT_S))
        except (client.ApiException, config.ConfigException, urllib3.exceptions.HTTPError):
            if time.monotonic() - began_s < TIMEOUT_S:
                return False
        else:
            return True
    return False


def _list_leases(api: client.ApiClient) -> list[client.V1Lease]:
    listed = client.CoordinationV1Api(api).list_namespaced_lease(LEASES, _request_timeout=BUSY_TIMEOUT_S)
    found: list[client.V1Lease] = listed.items
    return found


def _nodes(path: Path) -> list[client.V1Node]:
    nodes: list[client.V1Node] = _ask(
        path, lambda api: client.CoreV1Api(api).list_node(_request_timeout=BUSY_TIMEOUT_S).items
    )
    return nodes


def _ask(path: Path, question: Callable[[client.ApiClient], Any]) -> Any:
    settings = client.Configuration()
    config.load_kube_config(str(path), client_configuration=settings, persist_config=False)
    settings.retries = False  # the SDK's own are three, each with the whole time-out
    with closing(client.ApiClient(settings)) as api:
        return question(api)


def _is_ready(condition: client.V1NodeCondition) -> bool:
    return (condition.type, condition.status) == ("Ready", "True")


def _may_have(node: client.V1Node, image: str) -> bool:
    images = node.status.images or ()
    names = [name for known in images for name in known.names or ()]
    return len(images) >= NODE_IMAGES_MAX or any(name == image or name.endswith(f"/{image}") for name in names)
