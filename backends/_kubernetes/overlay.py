"""The site's own additions to every job's pod: a file that is merged into the pod template. Pure, but for `read`.

    metadata:
      annotations: {cluster-autoscaler.kubernetes.io/safe-to-evict: "false"}
    spec:
      priorityClassName: plugins
      tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}]
      containers:
      - name: plugin
        env: [{name: HTTPS_PROXY, value: "http://proxy:3128"}]

Mappings are merged, lists are joined (with ``name``, an entry of the same name is merged), anything else is replaced.
What the truth about a job rests on cannot be touched: only what is listed here is taken, and a file with anything else
is refused at start. What a job asks for itself (a variable, a label of pman) comes before the file.
"""

from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

import yaml

from backends._kubernetes.identity import LABEL_NAME, LABEL_VALUE, PREFIX
from backends._kubernetes.job import CONTAINER, SHM_VOLUME
from pman_core.errors import Fault, Rejected
from pman_core.job import JobSpec, mint_generation
from pman_core.request import parse_request

Body = dict[str, Any]

METADATA = frozenset({"labels", "annotations"})
POD = frozenset(
    {
        "affinity",
        "containers",
        "dnsConfig",
        "dnsPolicy",
        "hostAliases",
        "hostNetwork",
        "hostUsers",
        "imagePullSecrets",
        "nodeSelector",
        "preemptionPolicy",
        "priorityClassName",
        "resourceClaims",
        "runtimeClassName",
        "schedulerName",
        "securityContext",
        "serviceAccountName",
        "tolerations",
        "topologySpreadConstraints",
        "volumes",
    }
)
CONTAINER_FIELDS = frozenset(
    {"name", "env", "envFrom", "imagePullPolicy", "resources", "securityContext", "volumeMounts", "volumeDevices"}
)
VOLUMES = frozenset({"incoming", "outgoing", "store", SHM_VOLUME})
"""Names of our volumes."""
MOUNTS = ("/share", "/dev/shm")  # noqa: S108 - inside the container
OURS = (PREFIX, "batch.kubernetes.io/", "job-name", "controller-uid")
"""What labels and annotations begin with that are pman's or the Job controller's."""


def read(path: Path) -> Body:
    """Return the overlay in a file of YAML or JSON.

    Raises:
        Rejected: it cannot be read, or holds what an overlay may not; with every fault at once.
    """
    try:
        overlay: Body | None = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise Rejected(f"KUBE_POD_OVERLAY: {error}") from error
    if faults := faults_of(overlay):
        raise Rejected("; ".join(map(str, faults)))
    return overlay or {}


def faults_of(overlay: object) -> list[Fault]:
    """Return everything in an overlay that is not allowed, and every form that is not right."""
    if overlay is None:
        return []
    look = _Look()
    top = look.mapping("", overlay, {"metadata", "spec"})
    metadata = look.mapping("metadata", top.get("metadata"), METADATA)
    for kind in sorted(METADATA & metadata.keys()):
        look.labels(f"metadata.{kind}", metadata[kind], are_values_short=kind == "labels")
    pod = look.mapping("spec", top.get("spec"), POD)
    for where, volume in look.entries("spec.volumes", pod.get("volumes")):
        if volume.get("name") in VOLUMES:
            look.fault(f"{where}.name", f"{volume['name']} is a volume of pman")
    containers = look.entries("spec.containers", pod.get("containers"))
    if len(containers) > 1 or any(container.get("name") != CONTAINER for _, container in containers):
        look.fault("spec.containers", f"may hold the container {CONTAINER} alone")
    for where, container in containers:
        look.mapping(where, container, CONTAINER_FIELDS)
        look.entries(f"{where}.env", container.get("env"))
        for at, mount in look.entries(f"{where}.volumeMounts", container.get("volumeMounts")):
            if mount["name"] in VOLUMES:
                look.fault(f"{at}.name", f"{mount['name']} is a volume of pman")
            path = PurePosixPath(normpath("/" + str(mount.get("mountPath") or "").lstrip("/")))
            if path == PurePosixPath("/") or any(path.is_relative_to(taken) for taken in MOUNTS):
                look.fault(f"{at}.mountPath", f"{path} is not free")
    return look.faults


def merged(template: Body, overlay: Mapping[str, Any]) -> Body:
    """Return a job's pod template with the overlay in it; what the job itself asks for comes before."""
    result: Body = _merge(template, overlay)
    for kind in METADATA:
        result["metadata"][kind] = result["metadata"].get(kind, {}) | template["metadata"].get(kind, {})
    container, own = result["spec"]["containers"][0], template["spec"]["containers"][0]
    taken = {entry["name"] for entry in own["env"]}
    container["env"] = [*own["env"], *(entry for entry in container["env"] if entry["name"] not in taken)]
    return result


def sample(instance: str) -> JobSpec:
    """Return a job that the server is shown, with the overlay in it, and never runs."""
    request = {"jid": "check", "auid": "pman", "image": "check", "type": "fs", "entrypoint": ["check"]}
    limits = {"number_of_workers": 1, "cpu_limit": 1000, "memory_limit": 100, "gpu_limit": 0}
    folders = {"input_dir": "check", "output_dir": "check"}
    return JobSpec(mint_generation(), instance, parse_request(request | limits | folders))


class _Look:
    """Collects what is wrong."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def fault(self, where: str, message: str) -> None:
        self.faults.append(Fault(f"KUBE_POD_OVERLAY {where}".rstrip(), message))

    def mapping(self, where: str, value: object, known: Collection[str]) -> Body:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.fault(where, "must be a mapping")
            return {}
        for name in sorted(map(str, value.keys() - set(known))):
            self.fault(f"{where}.{name}".lstrip("."), f"may not be set; allowed are {', '.join(sorted(known))}")
        return value

    def entries(self, where: str, value: object) -> list[tuple[str, Body]]:
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            self.fault(where, "must be a list of mappings")
            return []
        entries = [(f"{where}[{number}]", entry) for number, entry in enumerate(value)]
        for at, entry in entries:
            if not isinstance(entry.get("name"), str):
                self.fault(f"{at}.name", "must be there, and be text")
        return [(at, entry) for at, entry in entries if isinstance(entry.get("name"), str)]

    def labels(self, where: str, value: object, *, are_values_short: bool) -> None:
        if not isinstance(value, dict):
            self.fault(where, "must be a mapping")
            return
        for name, text in value.items():
            if not isinstance(text, str) or not isinstance(name, str):
                self.fault(f"{where}.{name}", "must be text: put it into quotes")
            elif name.startswith(OURS):
                self.fault(f"{where}.{name}", "is pman's own, or the Job controller's")
            elif not LABEL_NAME.fullmatch(name) or (are_values_short and not LABEL_VALUE.fullmatch(text)):
                self.fault(f"{where}.{name}", "is no name or value that Kubernetes takes")


def _merge(mine: Any, other: Any) -> Any:
    if other is None:  # a key of the file with nothing behind it
        return mine
    if isinstance(mine, dict) and isinstance(other, Mapping):
        return mine | {name: _merge(mine[name], value) if name in mine else value for name, value in other.items()}
    if isinstance(mine, list) and isinstance(other, list):
        named = {name: entry for entry in other if (name := _name_of(entry)) is not None}
        kept = [_merge(entry, named.pop(name)) if (name := _name_of(entry)) in named else entry for entry in mine]
        return kept + [entry for entry in other if _name_of(entry) is None or _name_of(entry) in named]
    return other


def _name_of(entry: object) -> str | None:
    # The name of a mount is that of its volume, which may be mounted twice.
    return entry.get("name") if isinstance(entry, dict) and "mountPath" not in entry else None
