"""The fake API server refuses what a real one was recorded to refuse, in the same words."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.kube_api import FakeCluster
from tests.recorded.kube_jobs import SLEEP, job_of
from tests.unit.kube_client import JOBS, PODS, Client, of
from tests.unit.kube_shapes import Json, shape

ERRORS = json.loads((Path(__file__).parents[1] / "recorded" / "kubernetes" / "errors.json").read_text())


@pytest.fixture
def client() -> Iterator[Client]:
    with FakeCluster() as cluster:
        made = Client(cluster)
        yield made
        made.session.close()


def bad(**more: Any) -> Json:
    return job_of("x", SLEEP, **more)


def named(name: str) -> Json:
    body = job_of("x", SLEEP)
    body["metadata"]["name"] = name
    return body


def annotated(size: int) -> Json:
    body = job_of("x", SLEEP)
    body["metadata"]["annotations"] = {"a": "x" * size}
    return body


MOUNT = {"name": "absent", "mountPath": "/m"}
OUTSIDE = {"name": "s", "mountPath": "/m", "subPath": "../x"}
CALLS: dict[str, tuple[str, str, Any, Json]] = {
    "404, job": ("GET", f"{JOBS}/recorded-absent", None, {}),
    "404, delete": ("DELETE", f"{JOBS}/recorded-absent", None, {}),
    "404, log": ("GET", f"{PODS}/recorded-absent/log", None, {}),
    "404, no such path": ("GET", "/apis/batch/v0/jobs", None, {}),
    "404, namespace absent": ("POST", JOBS.replace("default", "recorded-absent"), bad(), {}),
    "409 AlreadyExists": ("POST", JOBS, job_of("taken", SLEEP), {}),
    "409 Conflict, delete": ("DELETE", f"{JOBS}/recorded-taken",
        {"preconditions": {"uid": "00000000-0000-4000-8000-999999999999"}}, {}),
    "422, name": ("POST", JOBS, named("Bad_Name"), {}),
    "422, mounts": ("POST", JOBS, bad(container={"volumeMounts": [MOUNT]}), {}),
    "422, sub-path": ("POST", JOBS,
        bad(container={"volumeMounts": [OUTSIDE]}, pod={"volumes": [{"name": "s", "emptyDir": {}}]}), {}),
    "422, annotations too long": ("POST", JOBS, annotated(300_000), {}),
    "422, immutable": ("MERGE", f"{JOBS}/recorded-taken", {"spec": {"completions": 7}}, {}),
    "504, list of the future": ("GET", JOBS, None, {"resourceVersion": "999999999", "limit": "1"}),
    "410, watch": ("GET", JOBS, None, {"watch": "1", "resourceVersion": "1"}),
}  # fmt: skip


def told(body: Json) -> Json:
    """Return a status without what depends on where it was made."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "UID", json.dumps(body))
    text = re.sub(r"recorded-errors|default", "NAMESPACE", text)
    return dict(json.loads(re.sub(r"(version: \d+, current:|resource version: 1) \(?\d+\)?", r"\1", text)))


@pytest.mark.parametrize("name", CALLS)
def test_refusals(client: Client, name: str) -> None:
    client.create("taken", SLEEP, suspend=True)
    client.cluster.expire_watches()
    method, path, body, query = CALLS[name]
    answer = client.merge(path, body) if method == "MERGE" else client.ask(method, path, body, params=query)
    assert answer.status_code == ERRORS[name]["status"]
    assert told(answer.json()) == told(ERRORS[name]["body"])


def test_an_update_of_an_old_version(client: Client) -> None:
    old = client.create("taken", SLEEP, suspend=True)
    client.merge(f"{JOBS}/recorded-taken", {"metadata": {"annotations": {"a": "b"}}})
    answer = client.ask("PUT", f"{JOBS}/recorded-taken", old)
    assert told(answer.json()) == told(ERRORS["409 Conflict, update"]["body"])


def test_a_page_of_an_old_list(client: Client) -> None:
    for name in ("one", "two"):
        client.create(name, SLEEP, suspend=True)
    token = client.ask("GET", JOBS, params={"limit": "1"}).json()["metadata"]["continue"]
    client.cluster.expire_watches()
    answer = client.ask("GET", JOBS, params={"limit": "1", "continue": token})
    assert (answer.status_code, answer.json()) == (410, ERRORS["410, continue"]["body"])


def test_the_log_of_a_container_that_has_not_started(client: Client) -> None:
    client.create("creating", SLEEP, {"image": "UPPER case"})
    client.life(lambda events: any("containerStatuses" in pod["status"] for pod in of(events, "Pod")))
    pod = client.cluster.pods()[0]["metadata"]["name"]
    expected = ERRORS["400, log of a container that has not started"]
    answer = client.ask("GET", f"{PODS}/{pod}/log")
    assert answer.status_code == expected["status"]
    assert shape(answer.json()) == shape(expected["body"])
    assert "is waiting to start" in answer.json()["message"]


def test_nobody_in_particular(client: Client) -> None:
    answer = Client(client.cluster, "no-such-token").ask("GET", JOBS)
    assert (answer.status_code, answer.json()) == (401, ERRORS["401"]["body"])


RIGHTS = [name for name in ERRORS if re.fullmatch(r"403, \w+ (jobs|pods|pods/log|events)", name)]


@pytest.mark.parametrize("name", RIGHTS)
def test_rights_that_are_missing(client: Client, name: str) -> None:
    asked = name.removeprefix("403, ")
    verb, resource = asked.split()
    base, _, sub = resource.partition("/")
    client.cluster.add_user("nobody", asked)
    has_name = verb in {"get", "delete", "patch"}
    path = (JOBS if base == "jobs" else PODS.replace("pods", base)) + ("/recorded-x" if has_name else "")
    method = {"create": "POST", "patch": "PATCH", "delete": "DELETE", "deletecollection": "DELETE"}.get(verb, "GET")
    query = {"watch": "1"} if verb == "watch" else {}
    answer = Client(client.cluster, "nobody").ask(method, f"{path}/{sub}" if sub else path, params=query)
    assert (answer.status_code, told(answer.json())) == (403, told(ERRORS[name]["body"]))
