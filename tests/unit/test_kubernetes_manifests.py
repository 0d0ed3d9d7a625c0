"""The manifests of ``deploy/kubernetes`` are what pman needs and no more: rights, tokens, doors, names of queues."""

import json
from typing import Any

import pytest
from jsonschema import validate
from pydantic import SecretStr

from backends._kubernetes.rights import NEEDED
from pman_core.queues import Purpose, key_prefix, queue_name
from pman_core.settings import Settings
from tests.unit.manifests import OVERLAYS, Object, kustomized, one, require, settings_of, workloads

COMPONENTS = {"api", "worker", "control", "observer", "redis", "flower"}
DOORS = {
    ("pfcon", "api", 5010): True,
    ("job", "api", 5010): False,
    ("job", "redis", 6379): False,
    ("pfcon", "redis", 6379): False,
    ("pfcon", "flower", 5555): False,
    **{(part, "redis", 6379): True for part in COMPONENTS - {"redis"}},
    ("flower", "api", 5010): False,
}
STRANGERS = {
    "pfcon": ("elsewhere", {"org.chrisproject.role": "pfcon"}),
    "job": ("pman-jobs", {"chrisproject.org/role": "plugininstance"}),
    "keda": ("keda", {"app": "keda-operator"}),
}


@pytest.fixture(autouse=True)
def _kubectl(request: pytest.FixtureRequest) -> None:
    require("kubectl", request.config)


def pod(item: Object) -> dict[str, Any]:
    spec: dict[str, Any] = item["spec"]["template"]["spec"]
    return spec


def container(item: Object) -> dict[str, Any]:
    (found,) = pod(item)["containers"]
    assert isinstance(found, dict)
    return found


def environment(item: Object) -> dict[str, Any]:
    return {entry["name"]: entry for entry in container(item)["env"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_is_a_whole_pman_and_deletes_no_data_when_it_is_deleted(overlay: str) -> None:
    objects = kustomized(overlay)
    assert workloads(objects).keys() == COMPONENTS
    assert not [item for item in objects if item["kind"] in {"Namespace", "PersistentVolumeClaim", "Secret"}]


def test_only_who_speaks_to_the_api_server_has_a_token() -> None:
    parts = workloads(kustomized("pvc"))
    with_token = {name for name, item in parts.items() if pod(item)["automountServiceAccountToken"]}
    assert with_token == {"worker", "control", "observer"}
    assert {pod(parts[name])["serviceAccountName"] for name in with_token} == {"pman-worker"}
    assert not [name for name in COMPONENTS - with_token if "serviceAccountName" in pod(parts[name])]


def test_the_role_is_what_the_backend_does_and_nothing_else() -> None:
    objects = kustomized("pvc")
    given = {
        (group, resource, verb)
        for rule in one(objects, "Role", "pman-worker")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert given == {(right.group, right.resource, right.verb) for right in NEEDED}
    assert not [item for item in objects if item["kind"].startswith("ClusterRole")]
    binding = one(objects, "RoleBinding", "pman-worker")
    assert binding["metadata"]["namespace"] == settings_of(objects)["JOB_NAMESPACE"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "pman-worker", "namespace": "pman"}]


def test_every_pod_keeps_to_the_level_restricted_and_writes_nowhere_but_where_it_must() -> None:
    for item in workloads(kustomized("pvc")).values():
        security, own = pod(item)["securityContext"], container(item)["securityContext"]
        assert security["runAsNonRoot"]
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container(item)["resources"].keys() == {"requests", "limits"}
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container(item).keys()
        assert not pod(item)["enableServiceLinks"], "PMAN_REDIS_PORT=tcp://... is no setting"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_settings_are_settings_that_pman_accepts(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings_of(kustomized(overlay))
    monkeypatch.setattr("pman_core.registry.names", lambda: ["kubernetes"])
    assert {name.lower() for name in given} <= Settings.model_fields.keys()
    for name, text in given.items():
        monkeypatch.setenv(name, text)
    read = Settings()
    assert (read.container_env, read.job_namespace) == ("kubernetes", "pman-jobs")


def test_every_process_reads_the_same_settings_and_the_same_secret() -> None:
    for name, item in workloads(kustomized("pvc")).items():
        keys = {
            (entry["valueFrom"]["secretKeyRef"]["name"], entry["valueFrom"]["secretKeyRef"]["key"])
            for entry in container(item)["env"]
            if "valueFrom" in entry
        }
        more = {"api": {"SECRET_KEY"}, "flower": {"FLOWER_BASIC_AUTH"}}.get(name, set())
        assert keys == {("pman", key) for key in {"REDIS_PASSWORD", *more}}
        if name == "redis":
            continue
        (source,) = container(item)["envFrom"]
        assert source["configMapRef"]["name"].startswith("pman-settings-"), "a new name for new settings"
        names = list(environment(item))
        assert names.index("REDIS_PASSWORD") < names.index("REDIS_URL"), "else it is not expanded"
        Settings(redis_url=SecretStr(environment(item)["REDIS_URL"]["value"]), storebase="/x")  # type: ignore[arg-type]


def test_deletes_have_a_worker_of_their_own_and_the_queue_is_named_as_it_is() -> None:
    args = container(workloads(kustomized("pvc"))["control"])["args"]
    assert args[args.index("-Q") + 1] == queue_name("kubernetes", Purpose.CONTROL)


def test_redis_forgets_nothing() -> None:
    objects = kustomized("pvc")
    (conf,) = (item["data"]["redis.conf"] for item in objects if "redis.conf" in item.get("data", {}))
    lines = dict(line.split(" ", 1) for line in conf.splitlines() if line and not line.startswith("#"))
    assert lines["appendonly"] == "yes"
    assert lines["appendfsync"] == "everysec"
    assert lines["maxmemory-policy"] == "noeviction"
    redis = workloads(objects)["redis"]
    assert (redis["kind"], redis["spec"]["replicas"]) == ("StatefulSet", 1)
    (claim,) = redis["spec"]["volumeClaimTemplates"]
    assert {"name": claim["metadata"]["name"], "mountPath": lines["dir"]} in container(redis)["volumeMounts"]
    limit_mib = int(container(redis)["resources"]["limits"]["memory"].removesuffix("Mi"))
    assert 2 * int(lines["maxmemory"].removesuffix("mb")) <= limit_mib, "while it rewrites its file it needs more"


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}, "this test understands no more"
    return selector.get("matchLabels", {}).items() <= labels.items()


def is_open(objects: tuple[Object, ...], source: str, target: str, port: int) -> bool:
    """Whether the policies let ``source`` in at ``target``: https://kubernetes.io/docs/concepts/services-networking/network-policies/"""
    parts = workloads(objects)
    labels = {name: item["spec"]["template"]["metadata"]["labels"] for name, item in parts.items()}
    namespace, own = STRANGERS.get(source) or ("pman", labels[source])
    names = {entry["name"]: entry["containerPort"] for entry in container(parts[target])["ports"]}
    policies = [item["spec"] for item in objects if item["kind"] == "NetworkPolicy"]
    for policy in (found for found in policies if selects(found["podSelector"], labels[target])):
        for rule in policy.get("ingress", ()):
            if port not in {names.get(entry["port"], entry["port"]) for entry in rule["ports"]}:
                continue
            for peer in rule["from"]:
                there = {"kubernetes.io/metadata.name": namespace}
                is_there = (
                    selects(peer["namespaceSelector"], there) if "namespaceSelector" in peer else namespace == "pman"
                )
                if is_there and selects(peer.get("podSelector", {}), own):
                    return True
    return False


@pytest.mark.parametrize(("source", "target", "port"), DOORS)
def test_who_gets_in_where(source: str, target: str, port: int) -> None:
    assert is_open(kustomized("pvc"), source, target, port) == DOORS[source, target, port]


def test_everything_in_the_namespace_is_shut_to_begin_with() -> None:
    policies = [item["spec"] for item in kustomized("pvc") if item["kind"] == "NetworkPolicy"]
    assert {"podSelector": {}, "policyTypes": ["Ingress"]} in policies


def test_selectors_select_and_ports_are_there() -> None:
    objects = kustomized("pvc")
    pods = [(item["spec"]["template"]["metadata"]["labels"], container(item)) for item in workloads(objects).values()]
    for item in objects:
        if item["kind"] == "Service":
            (target,) = (found for labels, found in pods if item["spec"]["selector"].items() <= labels.items())
            names = {entry["name"] for entry in target["ports"]}
            assert {entry["targetPort"] for entry in item["spec"]["ports"]} <= names
        if item["kind"] in {"Deployment", "StatefulSet", "PodDisruptionBudget"}:
            assert len([labels for labels, _ in pods if selects(item["spec"]["selector"], labels)]) == 1
    budgets = {item["metadata"]["name"] for item in objects if item["kind"] == "PodDisruptionBudget"}
    several = {item["metadata"]["name"] for item in workloads(objects).values() if item["spec"]["replicas"] > 1}
    assert budgets == several
    for item in objects:
        if item["kind"] == "PodDisruptionBudget":
            assert item["spec"]["maxUnavailable"] == 1, "KEDA may leave one, and a drain must not wait for it for ever"


KEDA = {
    # What is used of https://keda.sh/docs/latest/reference/scaledobject-spec/ and .../scalers/redis-lists/
    "type": "object",
    "additionalProperties": False,
    "required": ["scaleTargetRef", "triggers"],
    "properties": {
        "scaleTargetRef": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
        "minReplicaCount": {"type": "integer", "minimum": 1},
        "maxReplicaCount": {"type": "integer"},
        "pollingInterval": {"type": "integer"},
        "cooldownPeriod": {"type": "integer"},
        "triggers": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["type", "metadata"],
                "properties": {
                    "type": {"const": "redis"},
                    "metadata": {
                        "type": "object",
                        "required": ["address", "listName", "listLength"],
                        "additionalProperties": False,
                        "properties": {
                            name: {"type": "string"}
                            for name in ("address", "listName", "listLength", "passwordFromEnv")
                        },
                    },
                },
            },
        },
    },
}


def test_keda_asks_the_queue_that_workers_empty() -> None:
    objects = kustomized("keda")
    scaled = one(objects, "ScaledObject", "pman-worker")
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    validate(scaled["spec"], KEDA)
    (trigger,) = scaled["spec"]["triggers"]
    asked = trigger["metadata"]
    instance = settings_of(objects)["PMAN_INSTANCE"]
    assert asked["listName"] == key_prefix(instance) + queue_name("kubernetes", Purpose.SUBMIT)
    redis = one(objects, "Service", "pman-redis")
    assert asked["address"] == f"pman-redis.{redis['metadata']['namespace']}.svc.cluster.local:6379"
    worker = one(objects, "Deployment", scaled["spec"]["scaleTargetRef"]["name"])
    assert asked["passwordFromEnv"] in environment(worker)
    assert "replicas" not in worker["spec"], "it is KEDA's"
    assert is_open(objects, "keda", "redis", 6379)
    assert not is_open(kustomized("pvc"), "keda", "redis", 6379)


def test_nothing_secret_is_written_in_any_file() -> None:
    for overlay in OVERLAYS:
        text = json.dumps(kustomized(overlay))
        assert "stringData" not in text
        assert "redis://:$(REDIS_PASSWORD)@" in text
