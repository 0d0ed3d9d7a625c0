"""Every reply of the wire contract, whole: status, headers and body against ``tests/golden/api``.

The files are what clients rely on. To change them on purpose run this file with ``REWRITE_GOLDEN=yes`` and read the
difference. Two values are replaced before comparing: the generation, minted anew each time, and the version.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from pman_core import __version__
from pman_core.backend import Capabilities
from pman_core.states import Reason, State
from tests.unit.api_harness import PFCON_BODY, Harness

FOLDER = Path(__file__).parent.parent / "golden" / "api"
REWRITE = os.environ.get("REWRITE_GOLDEN") == "yes"

Case = Callable[[Harness], TestResponse]
CASES: dict[str, Case] = {}


def golden(case: Case) -> Case:
    CASES[case.__name__.replace("_", "-")] = case
    return case


def test_the_folder_holds_one_file_for_each_case() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*")) == sorted(CASES)


@pytest.mark.parametrize("name", CASES)
def test_reply(name: str) -> None:
    reply = CASES[name](Harness())
    text = json.dumps(_seen(reply), indent=2, ensure_ascii=False) + "\n"
    path = FOLDER / f"{name}.json"
    if REWRITE:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def _seen(reply: TestResponse) -> dict[str, Any]:
    headers = {name: value for name, value in sorted(reply.headers.items()) if name != "Content-Length"}
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
    body = json.loads(reply.data) if reply.data else None
    for record in [body, *(body.get("jobs", []) if body else [])]:
        if record and "generation" in record:
            assert len(record["generation"]) == 26
            record["generation"] = "<generation>"
    if body and "server_version" in body:
        assert body["server_version"] == __version__
        body["server_version"] = "<version>"
    return {
        "request": f"{reply.request.method} {reply.request.path}",
        "status": reply.status_code,
        "headers": headers,
        "body": body,
    }


# The description and the probes


@golden
def describe(harness: Harness) -> TestResponse:
    return harness.http.get("/api/v1/")


@golden
def describe_with_worker(harness: Harness) -> TestResponse:
    harness.report(ok=False, message="the engine does not answer")
    return harness.http.get("/api/v1/")


@golden
def describe_another_engine(harness: Harness) -> TestResponse:
    harness.report(Capabilities(engine="podman"))
    return harness.http.get("/api/v1/")


@golden
def describe_without_store(harness: Harness) -> TestResponse:
    harness.store.away = {"all"}
    return harness.http.get("/api/v1/")


@golden
def health_without_store(harness: Harness) -> TestResponse:
    harness.store.away = {"all"}
    return harness.http.get("/health/")


@golden
def ready(harness: Harness) -> TestResponse:
    harness.report()
    return harness.http.get("/ready/")


@golden
def ready_without_worker(harness: Harness) -> TestResponse:
    return harness.http.get("/ready/")


@golden
def ready_503(harness: Harness) -> TestResponse:
    harness.store.away = {"all"}
    return harness.http.get("/ready/")


# POST


@golden
def post_201(harness: Harness) -> TestResponse:
    return harness.post()


@golden
def post_201_with_arguments(harness: Harness) -> TestResponse:
    return harness.post(type="ds", args=["--dir", "x", "it's; rm -rf /", ""], args_path_flags=["--dir"], env=["A=b c"])


@golden
def post_201_unknown_keys(harness: Harness) -> TestResponse:
    return harness.post(mounts=[], priority=1)


@golden
def post_201_repeated(harness: Harness) -> TestResponse:
    harness.post()
    harness.bring_to(State.SUCCEEDED, exit_code=0, logs="done\n", native_state="exited")
    return harness.post(cpu_limit=1000, jid="/chris-jid-1/")


@golden
def post_400(harness: Harness) -> TestResponse:
    return harness.post(jid="..", cpu_limit="lots", output_dir="../../../etc", env=["A"], image=...)


@golden
def post_400_not_json(harness: Harness) -> TestResponse:
    return harness.http.post("/api/v1/", data="{", content_type="application/json")


@golden
def post_400_refused_by_backend(harness: Harness) -> TestResponse:
    harness.report(Capabilities(any_image=False, any_image_hint="is refused: this backend runs host commands"))
    return harness.post(gpu_limit=1, number_of_workers=2)


@golden
def post_409(harness: Harness) -> TestResponse:
    harness.post()
    return harness.post(image="fnndsc/pl-other")


@golden
def post_413(harness: Harness) -> TestResponse:
    return harness.http.post("/api/v1/", data=b" " * (1024 * 1024 + 1), content_type="application/json")


@golden
def post_415(harness: Harness) -> TestResponse:
    return harness.http.post("/api/v1/", data=PFCON_BODY)


@golden
def post_503(harness: Harness) -> TestResponse:
    harness.store.away = {"create"}
    return harness.post()


# GET


@golden
def get_queued(harness: Harness) -> TestResponse:
    harness.post()
    return harness.get()


@golden
def get_submitting(harness: Harness) -> TestResponse:
    harness.post()
    harness.bring_to(State.SUBMITTING, message="the image is being pulled")
    return harness.get()


@golden
def get_pending(harness: Harness) -> TestResponse:
    harness.post()
    harness.bring_to(State.PENDING)
    return harness.get()


@golden
def get_running(harness: Harness) -> TestResponse:
    harness.post()
    harness.bring_to(State.RUNNING, logs='step 1 of 2: "übung"\n')
    return harness.get()


@golden
def get_succeeded(harness: Harness) -> TestResponse:
    harness.post()
    harness.bring_to(State.SUCCEEDED, exit_code=0, logs="done\n", native_state="exited")
    return harness.get()


@golden
def get_failed(harness: Harness) -> TestResponse:
    harness.post()
    harness.bring_to(
        State.FAILED,
        exit_code=137,
        reason=Reason.OOM_KILLED,
        message="it used more than 200 MiB",
        native_state="exited",
    )
    return harness.get()


@golden
def get_cancelled(harness: Harness) -> TestResponse:
    harness.post()
    harness.bring_to(State.CANCELLED, reason=Reason.CANCELLED, message="ended by an administrator")
    return harness.get()


@golden
def get_lost(harness: Harness) -> TestResponse:
    harness.post()
    harness.bring_to(State.LOST, reason=Reason.VANISHED, message="the scheduler knows nothing of the job")
    return harness.get()


@golden
def get_404(harness: Harness) -> TestResponse:
    return harness.get("unknown")


@golden
def get_404_deleted(harness: Harness) -> TestResponse:
    harness.post()
    harness.delete()
    return harness.get()


@golden
def get_404_no_jid(harness: Harness) -> TestResponse:
    return harness.get("a%20b")


@golden
def get_503(harness: Harness) -> TestResponse:
    harness.store.away = {"all"}
    return harness.get()


# DELETE


@golden
def delete_204(harness: Harness) -> TestResponse:
    harness.post()
    return harness.delete()


@golden
def delete_204_unknown(harness: Harness) -> TestResponse:
    return harness.delete("unknown")


@golden
def delete_400(harness: Harness) -> TestResponse:
    return harness.delete("..")


@golden
def delete_503(harness: Harness) -> TestResponse:
    harness.store.away = {"all"}
    return harness.delete()


# The list


@golden
def list_empty(harness: Harness) -> TestResponse:
    return harness.http.get("/jobs/")


@golden
def list_all(harness: Harness) -> TestResponse:
    harness.post()
    harness.bring_to(State.FAILED, exit_code=1, reason=Reason.NONZERO_EXIT, logs="not shown in a list\n")
    harness.clock.at_s += 60
    harness.post(jid="chris-jid-2")
    return harness.http.get("/jobs/")


@golden
def list_400(harness: Harness) -> TestResponse:
    return harness.http.get("/jobs/?limit=0")


@golden
def list_503(harness: Harness) -> TestResponse:
    harness.store.away = {"all"}
    return harness.http.get("/jobs/")


# Anything else


@golden
def route_404(harness: Harness) -> TestResponse:
    return harness.http.get("/api/v2/")


@golden
def method_405(harness: Harness) -> TestResponse:
    return harness.http.put("/api/v1/chris-jid-1/", json=PFCON_BODY)


@golden
def defect_500(harness: Harness) -> TestResponse:
    harness.store.away = {"read"}
    harness.store.fault = ZeroDivisionError("a defect of pman")
    return harness.get()
