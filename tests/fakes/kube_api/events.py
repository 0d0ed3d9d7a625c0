"""Events: what parts of the cluster tell of an object beside its status.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

import time

from tests.fakes.kube_api.storage import Json, Key, Storage, now


def tell(storage: Storage, about: Json, kind: str, reason: str, message: str) -> None:
    """Write an event, or count it again if it has been told already."""
    metadata = about["metadata"]
    key = Key("events", metadata["namespace"], f"{metadata['name']}.{time.time_ns():x}")
    with storage.changed:
        for known in storage.all("events", metadata["namespace"]):
            if (known["involvedObject"]["uid"], known["reason"]) == (metadata["uid"], reason):
                there = Key("events", metadata["namespace"], known["metadata"]["name"])
                if known["message"] == message:
                    storage.update(there, lambda event: event.update(count=event["count"] + 1, lastTimestamp=now()))
                    return
                storage.delete(there)
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
