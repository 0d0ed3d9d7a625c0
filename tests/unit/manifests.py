"""The objects of ``deploy/`` as plain data, rendered by the commands that administrators use: kubectl and Helm."""

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
OVERLAYS = ("pvc", "nfs", "hostpath", "keda")
Object = dict[str, Any]
Key = tuple[str, str, str]
"""Kind, namespace and name."""


def require(command: str, config: pytest.Config) -> None:
    """Skip without ``command``; fail if ``--require kubernetes`` was given."""
    if shutil.which(command) is None:
        why = f"no {command} command; .ci/kubernetes installs it"
        (pytest.fail if "kubernetes" in config.getoption("--require") else pytest.skip)(why)


@cache
def kustomized(overlay: str) -> tuple[Object, ...]:
    """Return what ``kubectl apply -k deploy/kubernetes/overlays/OVERLAY`` sends."""
    return _objects("kubectl", "kustomize", str(DEPLOY / "kubernetes" / "overlays" / overlay))


@cache
def templated(*options: str, release: str = "pman") -> tuple[Object, ...]:
    """Return what ``helm install`` sends."""
    chart = str(DEPLOY / "helm" / "pman")
    return _objects("helm", "template", release, chart, "--namespace", "pman", *options)


def _objects(*argv: str) -> tuple[Object, ...]:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(item for item in yaml.safe_load_all(done.stdout) if item)


def key_of(item: Object) -> Key:
    meta = item["metadata"]
    return item["kind"], meta.get("namespace", "pman"), meta["name"]


def one(objects: tuple[Object, ...], kind: str, name: str) -> Object:
    return next(item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name))


def settings_of(objects: tuple[Object, ...]) -> dict[str, str]:
    """Return the data of the ConfigMap of settings, whatever hash is behind its name."""
    found = (item for item in objects if item["kind"] == "ConfigMap" and "CONTAINER_ENV" in item["data"])
    data: dict[str, str] = next(found)["data"]
    return data


def workloads(objects: tuple[Object, ...]) -> dict[str, Object]:
    """Return everything that makes pods, by its component."""
    return {
        item["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]: item
        for item in objects
        if item["kind"] in {"Deployment", "StatefulSet"}
    }
