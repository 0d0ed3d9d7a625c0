"""The fake API server says what a real one was recorded to say, so that it cannot drift away from it unnoticed.

Lives of jobs are compared object by object: what of one object comes before or after what of another is chance.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.kube_api import FakeCluster
from tests.recorded.kube_jobs import LABEL, PLAIN, SLEEP, job_of, sh
from tests.unit.kube_client import JOBS, PODS, Client, ended, gone, has, of, runs
from tests.unit.kube_shapes import Json, difference, lives, shape, vocabulary

RECORDED = Path(__file__).parents[1] / "recorded" / "kubernetes"
LIVES, ANSWERS, ERRORS = (
    json.loads((RECORDED / f"{name}.json").read_text()) for name in ("lives", "answers", "errors")
)
JOB = f"{JOBS}/recorded-x"
STUBBORN = sh("trap '' TERM; sleep 1000 & wait")
INDEXED = {"completionMode": "Indexed", "parallelism": 3, "completions": 3}
GRACE = {"terminationGracePeriodSeconds": 3}
UNREACHABLE = "registry.invalid/none:1"
Act = Callable[[Client], object]


@pytest.fixture
def client() -> Iterator[Client]:
    with FakeCluster() as cluster:
        cluster.node.second_s = 0.02
        cluster.node.images[UNREACHABLE] = ("ErrImagePull", "no such host")
        made = Client(cluster)
        yield made
        made.session.close()


# Lives


KNOWN = {
    kind: vocabulary([life for events in LIVES.values() for life in lives(events, kind)]) for kind in ("Job", "Pod")
}
"""All that a real server has ever told of an object."""


def same_life(client: Client, name: str, until: Callable[[list[Json]], bool]) -> None:
    """Compare what the watches tell with the recording; of a life that goes on, its beginning."""
    are_over = until in {ended, gone}

    def differences(events: list[Json]) -> list[str]:
        return [difference(lives(LIVES[name], kind), lives(events, kind), are_over=are_over) for kind in KNOWN]

    client.life(until)
    try:
        events = client.life(lambda events: not any(differences(events)), timeout_s=2)
    except AssertionError:
        assert differences(client.life(until)) == ["", ""]
        raise
    for kind, known in KNOWN.items():
        assert vocabulary(lives(events, kind)) - known == set()
        real, fake = ([shape(found["status"]) for found in of(one, kind)] for one in (LIVES[name], events))
        assert fake[:1] == real[:1]
        assert not are_over or fake[-1] in real


BY_ITSELF: dict[str, tuple[Any, Json]] = {
    "complete": (sh("sleep 0.1"), {}),
    "exit 7": (sh("sleep 0.1; exit 7"), {}),
    "exit 7, plain job": (sh("sleep 0.1; exit 7"), PLAIN),
    "no such command": (["/no/such"], {}),
    "three complete": (sh("sleep 0.2"), INDEXED),
    "one of three fails": (sh('test "$JOB_COMPLETION_INDEX" = 1 && sleep 0.2 && exit 9; sleep 1000'), INDEXED),
    "deadline of the job": (STUBBORN, {"activeDeadlineSeconds": 1}),
    "deadline of the pod": (STUBBORN, {"pod": {"activeDeadlineSeconds": 2}}),
}


@pytest.mark.parametrize("name", BY_ITSELF)
def test_a_job_that_ends_by_itself(client: Client, name: str) -> None:
    command, more = BY_ITSELF[name]
    client.create("x", command, **more)
    same_life(client, name, ended)


WAITING: dict[str, tuple[Json, Callable[[list[Json]], bool]]] = {
    "suspended": ({"suspend": True}, has("Suspended")),
    "unschedulable": ({"pod": {"nodeSelector": {"disk": "none"}}}, lambda events: len(of(events, "Pod")) > 1),
    "image pull refused": ({"container": {"image": UNREACHABLE}}, lambda events: len(of(events, "Pod")) > 3),
}


@pytest.mark.parametrize("name", WAITING)
def test_a_job_that_waits(client: Client, name: str) -> None:
    more, until = WAITING[name]
    client.create("x", SLEEP, **more)
    same_life(client, name, until)


def delete_pod(client: Client, **query: str) -> None:
    client.ask("DELETE", f"{PODS}/{client.cluster.pods()[-1]['metadata']['name']}", params=query)


def delete(client: Client, **query: str) -> None:
    client.ask("DELETE", JOB, params=query)


def suspend(client: Client) -> None:
    client.merge(JOB, {"spec": {"suspend": True}})


def suspend_and_resume(client: Client) -> None:
    suspend(client)
    client.life(lambda events: any(event["type"] == "DELETED" for event in events))
    client.life(lambda events: of(events, "Job")[-1]["status"]["terminating"] == 0)
    client.merge(JOB, {"spec": {"suspend": False}})


ENDED: dict[str, tuple[Act, Callable[[list[Json]], bool], Json]] = {
    "pod deleted": (delete_pod, ended, {}),
    "pod deleted at once": (lambda client: delete_pod(client, gracePeriodSeconds="0"), ended, {}),
    "pod deleted, plain job": (delete_pod, ended, PLAIN),
    "suspended while running": (suspend, has("Suspended"), {}),
    "resumed": (suspend_and_resume, has("Suspended", status="False"), {}),
    "evicted by the api": (
        lambda client: client.cluster.disrupt(client.cluster.pods()[0], "EvictionByEvictionAPI", "evicted"), ended, {}),
    "deleted in the background": (
        lambda client: delete(client, propagationPolicy="Background"), gone, {"pod": GRACE}),
    "deleted in the foreground": (
        lambda client: delete(client, propagationPolicy="Foreground"), gone, {"pod": GRACE}),
    "deleted at once": (
        lambda client: delete(client, propagationPolicy="Background", gracePeriodSeconds="0"), gone, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDED)
def test_a_job_that_is_ended(client: Client, name: str) -> None:
    act, until, more = ENDED[name]
    client.create("x", STUBBORN, **more)
    client.life(runs)
    act(client)
    same_life(client, name, until)


def test_a_process_out_of_memory(client: Client) -> None:
    """Recorded of one that is killed before it is seen to run, so only the end of both can be the same."""
    client.create("x", STUBBORN, {"resources": {"limits": {"memory": "64Mi"}}})
    client.life(runs)
    client.cluster.node.run_out_of_memory(client.cluster.pods()[0])
    told = client.life(ended)
    for kind in ("Job", "Pod"):
        known = lives(LIVES["out of memory"], kind)[0]
        assert {side: values[-1] for side, values in lives(told, kind)[0].items() if side != "numbers"} == {
            side: values[-1] for side, values in known.items() if side != "numbers"
        }
        assert shape(of(told, kind)[-1]["status"]) == shape(of(LIVES["out of memory"], kind)[-1]["status"])


# Replies


def same_shape(name: str, answer: Any) -> None:
    recorded = ANSWERS[name]
    assert answer.status_code == recorded["status"]
    if isinstance(recorded["body"], str):
        assert answer.text == recorded["body"]
    else:
        assert shape(answer.json()) == shape(recorded["body"])


def test_replies_about_a_job(client: Client) -> None:
    wanted = {"labelSelector": f"{LABEL}=answers"}
    same_shape("list of nothing", client.ask("GET", JOBS, params=wanted))
    same_shape("create", client.ask("POST", JOBS, job_of("answers", sh("seq 5; sleep 0.3"))))
    client.life(runs)
    for name, path, query in (
        ("get", f"{JOBS}/recorded-answers", {}),
        ("list", JOBS, wanted),
        ("list, cached", JOBS, wanted | {"resourceVersion": "0"}),
        ("list of pods", PODS, wanted),
    ):
        same_shape(name, client.ask("GET", path, params=query))
    change = {"metadata": {"annotations": {"a": "b"}}}
    same_shape("merge patch", client.merge(f"{JOBS}/recorded-answers", change))
    client.life(ended)
    log = f"{PODS}/{client.cluster.pods()[0]['metadata']['name']}/log"
    same_shape("log", client.ask("GET", log))
    same_shape("log, tail", client.ask("GET", log, params={"tailLines": "2"}))
    same_shape("log, bytes", client.ask("GET", log, params={"limitBytes": "3"}))
    same_shape("log, tail and bytes", client.ask("GET", log, params={"tailLines": "2", "limitBytes": "3"}))
    client.create("second", SLEEP, suspend=True)
    same_shape("first page", client.ask("GET", JOBS, params={"limit": "1"}))
    background, foreground = {"propagationPolicy": "Background"}, {"propagationPolicy": "Foreground"}
    same_shape("delete", client.ask("DELETE", f"{JOBS}/recorded-answers", params=background))
    same_shape("delete, foreground", client.ask("DELETE", f"{JOBS}/recorded-second", params=foreground))
    client.life(lambda _: not client.cluster.pods())
    same_shape("deletecollection", client.ask("DELETE", PODS, params=wanted))


def test_a_watch_that_ends_in_time(client: Client) -> None:
    client.create("answers", ["true"])
    client.life(ended)
    query = {"watch": "1", "resourceVersion": "1000", "allowWatchBookmarks": "true", "timeoutSeconds": "0.01"}
    lines = [json.loads(line) for line in client.ask("GET", JOBS, params=query).text.splitlines()]
    recorded = {line["type"]: line for line in ANSWERS["watch"]["body"]}
    assert {line["type"] for line in lines} == recorded.keys()
    assert shape(lines[-1]) == shape(recorded["BOOKMARK"])


@pytest.mark.parametrize("name", ["version", "readyz"])
def test_replies_about_the_server(client: Client, name: str) -> None:
    answer, recorded = client.ask("GET", f"/{name}"), ANSWERS[name]["body"]
    if isinstance(recorded, str):
        assert answer.text == recorded
    else:
        assert answer.json().keys() <= recorded.keys()
        assert (answer.json()["major"], answer.json()["minor"]) == (recorded["major"], recorded["minor"])


@pytest.mark.parametrize(("name", "denied"), [("allowed", ()), ("not allowed", ("create jobs",))])
def test_reviews_of_rights(client: Client, name: str, denied: tuple[str, ...]) -> None:
    client.cluster.add_user("somebody", *denied)
    wanted = {"namespace": "default", "verb": "create", "group": "batch", "resource": "jobs"}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    body = review | {"spec": {"resourceAttributes": wanted}}
    answer = Client(client.cluster, "somebody").ask("POST", path, body)
    assert answer.status_code == 201
    assert answer.json()["status"]["allowed"] is ANSWERS[name]["body"]["status"]["allowed"]


# Refusals


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
