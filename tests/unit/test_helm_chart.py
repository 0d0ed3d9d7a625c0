"""The Helm chart and the kustomize overlays make the same objects; what only one of them has is named here."""

import copy
import json
import re
import subprocess

import pytest
import yaml

from tests.unit.manifests import (
    DEPLOY,
    Key,
    Object,
    key_of,
    kustomized,
    one,
    require,
    settings_of,
    templated,
    workloads,
)

CHART = str(DEPLOY / "helm" / "pman")
ONLY_THE_CHART_HAS = {("Secret", "pman", "pman")}
VALUES = {
    "pvc": (),
    "nfs": ("settings.STORAGE_TYPE=nfs", "settings.NFS_SERVER=nfs.example.org", "settings.STOREBASE=/srv/chris"),
    "hostpath": ("settings.STORAGE_TYPE=host", "settings.STOREBASE=/var/lib/pman/storebase"),
    "keda": ("keda.enabled=true",),
}


@pytest.fixture(autouse=True)
def _commands(request: pytest.FixtureRequest) -> None:
    for command in ("kubectl", "helm"):
        require(command, request.config)


def values_of(overlay: str) -> tuple[str, ...]:
    sets = VALUES[overlay]
    if any(value.startswith("settings.STORAGE_TYPE=") for value in sets):
        sets = (*sets, "settings.VOLUME_NAME=null")
    return tuple(word for value in sets for word in ("--set", value))


def comparable(objects: tuple[Object, ...]) -> dict[Key, Object]:
    """Return the objects by their key, without how each tool restarts pods when a ConfigMap has changed.

    kustomize gives such a ConfigMap a new name, the chart gives the pods its checksum.
    """
    text = re.sub(r"\b(pman-(?:settings|redis))-[0-9a-z]{10}\b", r"\1", json.dumps(objects))
    found = {}
    for item in copy.deepcopy(json.loads(text)):
        item["metadata"].setdefault("namespace", "pman")
        item["metadata"].pop("annotations", None)
        template = item["spec"].get("template", {}) if "spec" in item else {}
        template.get("metadata", {}).pop("annotations", None)
        found[key_of(item)] = item
    return found


@pytest.mark.parametrize("overlay", VALUES)
def test_the_chart_makes_what_the_overlay_makes(overlay: str) -> None:
    ours, charts = comparable(kustomized(overlay)), comparable(templated(*values_of(overlay)))
    assert charts.keys() - ours.keys() == ONLY_THE_CHART_HAS
    assert ours.keys() - charts.keys() == set()
    for key, item in ours.items():
        assert yaml.safe_dump(charts[key]) == yaml.safe_dump(item), key


def test_the_secret_has_what_the_pods_ask_for_and_another_one_can_be_given() -> None:
    secret = one(templated(), "Secret", "pman")
    assert secret["data"].keys() == {"SECRET_KEY", "REDIS_PASSWORD", "FLOWER_BASIC_AUTH"}
    assert secret["data"] != one(templated("--set", "worker.replicas=3"), "Secret", "pman")["data"], "it is random"
    own = templated("--set", "secret.existing=mine")
    assert not [item for item in own if item["kind"] == "Secret"]
    asked = re.findall(r'"secretKeyRef": \{[^}]*"name": "(\w+)"', json.dumps(own))
    assert set(asked) == {"mine"}


def test_a_changed_setting_restarts_whoever_reads_it() -> None:
    def sums(*options: str) -> dict[str, str]:
        return {
            name: item["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
            for name, item in workloads(templated(*options)).items()
        }

    before, after = sums(), sums("--set", "settings.JOB_LOGS_TAIL=50")
    assert {name for name in before if before[name] != after[name]} == before.keys() - {"redis"}
    after = sums("--set", "redis.maxmemory=1gb")
    assert {name for name in before if before[name] != after[name]} == {"redis"}


def test_two_releases_have_nothing_in_common() -> None:
    objects = templated("--set", "jobs.namespace=other-jobs", release="other")
    assert settings_of(objects)["PMAN_INSTANCE"] == "other"
    assert not {key_of(item) for item in objects} & {key_of(item) for item in templated()}
    assert "pman-redis" not in json.dumps(objects)


def test_images_come_from_the_registry_and_with_the_secret_that_are_given() -> None:
    values = ("image.registry=registry.example.org/chris/", "image.tag=7.0.0", "image.pullSecrets={pull}")
    parts = workloads(templated(*(word for value in values for word in ("--set", value))))
    for name, item in parts.items():
        spec = item["spec"]["template"]["spec"]
        image = {"api": "api", "flower": "flower", "redis": ""}.get(name, "worker")
        expected = f"registry.example.org/chris/pman-{image}:7.0.0" if image else "redis:7-alpine"
        assert spec["containers"][0]["image"] == expected
        assert spec["imagePullSecrets"] == [{"name": "pull"}]


def test_openshift_may_choose_the_user_of_redis() -> None:
    redis = workloads(templated("--set", "redis.user=null"))["redis"]
    assert redis["spec"]["template"]["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_helm_finds_no_fault_in_the_chart() -> None:
    done = subprocess.run(["helm", "lint", "--strict", CHART], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout
    assert "[ERROR]" not in done.stdout
