"""The jobs of the recordings, which the fake cluster is given too: they are like those that pman makes."""

from typing import Any

IMAGE = "busybox:test"
LABEL = "org.chrisproject.pman.instance"
SLEEP = ["sleep", "1000"]
HUNGRY = ["sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=200M count=1"]
POLICY = {
    "rules": [
        {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"containerName": "plugin", "operator": "NotIn", "values": [0]}},
    ]
}
PLAIN = {"podFailurePolicy": None, "podReplacementPolicy": None}
"""A job that says nothing of how its pods may fail."""


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def job_of(
    name: str,
    command: list[str],
    container: dict[str, Any] | None = None,
    pod: dict[str, Any] | None = None,
    **job: Any,
) -> dict[str, Any]:
    """Return a job like pman's: never restarted, without a service account's token. A field ``None`` is left out."""
    labels = {LABEL: name}
    main = {"name": "plugin", "image": IMAGE, "command": command} | (container or {})
    pod_spec = {"restartPolicy": "Never", "automountServiceAccountToken": False, "enableServiceLinks": False}
    pod_spec |= {"terminationGracePeriodSeconds": 1, "containers": [main]} | (pod or {})
    template = {"metadata": {"labels": labels}, "spec": pod_spec}
    metadata = {"name": f"recorded-{name}", "labels": labels}
    spec = {"backoffLimit": 0, "podReplacementPolicy": "Failed", "podFailurePolicy": POLICY, "template": template} | job
    spec = {key: value for key, value in spec.items() if value is not None}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
