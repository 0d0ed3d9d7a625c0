"""The fake API server says what a real one was recorded to say, so that it cannot drift away from it unnoticed.

Lives of jobs are compared object by object: what of one object comes before or after what of another is chance.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.kube_api import FakeCluster
from tests.recorded.kube_jobs import LABEL, PLAIN, SLEEP, job_of, sh
from tests.unit.kube_client import JOBS, PODS, Client, ended, gone, has, of, runs
from tests.unit.kube_shapes import Json, difference, lives, shape, vocabulary

pytestmark = pytest.mark.exhaustive

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
        events = client.life(lambda events: not any(differences(events)))
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


def test_replies_about_a_job(client: Client, tmp_path: Path) -> None:
    go = tmp_path / "go"
    wanted = {"labelSelector": f"{LABEL}=answers"}
    same_shape("list of nothing", client.ask("GET", JOBS, params=wanted))
    command = sh(f"seq 5; until [ -e {go} ]; do sleep 0.02; done")
    same_shape("create", client.ask("POST", JOBS, job_of("answers", command)))
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
    go.touch()
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


def test_a_job_that_is_deleted_without_a_policy_leaves_its_pods(client: Client) -> None:
    assert "preserved by default" in ERRORS["409 Conflict, delete"]["headers"]["Warning"]
    client.create("x", STUBBORN)
    client.life(runs)
    delete(client)
    assert client.cluster.jobs() == []
    assert [pod["metadata"].get("ownerReferences") for pod in client.cluster.pods()] == [None]
