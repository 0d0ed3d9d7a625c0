"""Events: what parts of the cluster tell of an object beside its status.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from tests.fakes.kube_api.storage import Json, Key, Storage, now


def tell(storage: Storage, about: Json, kind: str, reason: str, message: str) -> None:
    """Write an event, or count it again if it has been told already."""
    metadata = about["metadata"]
    name = f"{metadata['name']}.{reason.lower()}"
    key = Key("events", metadata["namespace"], name)
    with storage.changed:
        known = storage.get(key)
        if known is not None and known["message"] == message:
            storage.update(key, lambda event: event.update(count=event["count"] + 1, lastTimestamp=now()))
            return
        storage.delete(key)
        involved = {
            "kind": about["kind"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "apiVersion": about["apiVersion"],
            "resourceVersion": metadata["resourceVersion"],
        }
        event = {"kind": "Event", "apiVersion": "v1", "metadata": {}, "involvedObject": involved, "reason": reason}
        event |= {"message": message, "source": {"component": "fake"}, "type": kind, "count": 1}
        event |= {"firstTimestamp": now(), "lastTimestamp": now(), "eventTime": None}
        event |= {"reportingComponent": "fake", "reportingInstance": ""}
        storage.create(key, event)
