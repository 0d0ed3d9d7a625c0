"""pman itself in a real cluster: deployed from ``deploy/kubernetes``, used by a client in a pod, its parts deleted.

The images are built and brought in by ``testbed/kube/images.sh``.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from testbed import cluster
from testbed.system import wait_for
from tests.engines.deployment import JOBS, PARTS, READY_S, ROOT, Deployment, run
from tests.engines.jobs import LOGLESS, body

pytestmark = [pytest.mark.e2e, pytest.mark.kubernetes, pytest.mark.timeout(3600)]

BUILD_S = 1800
TRACED = 'echo "begin $0"; echo run >> "$1/runs"; sleep {seconds}; echo "end $0"; exit {code}'
EVERY_S, PATIENCE_S = 2, 3000
JOBS_MAX = PATIENCE_S // EVERY_S
"""More than are posted until all parts were deleted, however long that takes."""
WELL_S = 120


def missing() -> str:
    """Return what keeps these tests from running, or nothing."""
    for command in ("docker", "kubectl"):
        if not shutil.which(command):
            return f"no {command} command"
    if subprocess.run(["docker", "version"], capture_output=True, timeout=60, check=False).returncode != 0:
        return "no Docker engine that builds the images; testbed/docker/up.sh starts one"
    return cluster.lack(cluster.kubeconfig(), "busybox:test")


@pytest.fixture(scope="module")
def pman(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Deployment]:
    if why := missing():
        (pytest.fail if "kubernetes" in request.config.getoption("--require") else pytest.skip)(why)
    access = cluster.kubeconfig()
    assert access is not None
    folder = tmp_path_factory.mktemp("cluster")
    for above in (folder, folder.parent):
        above.chmod(0o755)
    built = run(str(ROOT / "testbed" / "kube" / "images.sh"), timeout_s=BUILD_S)
    deployment = Deployment(access, folder, dict(line.split("=") for line in built.splitlines()))
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.close()


@pytest.fixture(autouse=True)
def _logs(pman: Deployment, request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    report = getattr(request.node, "report_call", None)
    if report is None or report.failed:
        sys.stdout.write(pman.logs())


def job(pman: Deployment, jid: str, seconds: int = 0, code: int = 0) -> dict[str, Any]:
    """Return a job that leaves a line in ``runs`` each time it is run; its folders are made as pfcon makes them."""
    script = TRACED.format(seconds=seconds, code=code)
    request = body(jid, "", entrypoint=["sh", "-c", script, jid], cpu_limit="50", memory_limit="32")
    for name in ("input_dir", "output_dir"):
        made = pman.store_base / request[name]
        made.mkdir(parents=True)
        made.chmod(0o777)
    return request


def assert_true(pman: Deployment, request: dict[str, Any], record: dict[str, Any]) -> None:
    """Compare what pman says with what the job has done, and with its Job."""
    jid, code = request["jid"], int(request["entrypoint"][2].rsplit(" ", 1)[1])
    status = "finishedSuccessfully" if code == 0 else "finishedWithError"
    assert (record["status"], record["exit_code"]) == (status, code), record
    if LOGLESS in record["message"]:
        path = f"/api/v1/{jid}/"
        wait_for(f"the log of {jid}", lambda: json.loads(pman.ask("GET", path)[1])["logs"], READY_S)
        record = json.loads(pman.ask("GET", path)[1])
    assert record["logs"] == f"begin {jid}\nend {jid}\n", record
    assert runs_of(pman, jid) == ["run"], "once"


def runs_of(pman: Deployment, jid: str) -> list[str]:
    return (pman.store_base / jid / "out" / "runs").read_text().split()


def remains(pman: Deployment) -> list[str]:
    return [item["metadata"]["name"] for item in pman.get("jobs,pods", pman.jobs, JOBS)]


def test_a_job_sent_through_the_service_runs_to_its_end(pman: Deployment) -> None:
    jobs = [job(pman, "good"), job(pman, "bad", code=3)]
    records = pman.run_jobs(jobs)
    for request in jobs:
        assert_true(pman, request, records[request["jid"]])
    assert len(pman.get("jobs", pman.jobs, JOBS)) == 2
    for request in jobs:
        assert pman.ask("DELETE", f"/api/v1/{request['jid']}/")[0] == 204
        assert pman.ask("GET", f"/api/v1/{request['jid']}/")[0] == 404
    wait_for("their Jobs and pods are gone", lambda: not remains(pman), READY_S)


def test_doctor_finds_all_well(pman: Deployment) -> None:
    """It may first find that what was just deleted is not verified gone yet."""
    found: list[dict[str, str]] = []

    def is_well() -> bool:
        found[:] = pman.doctor()
        return {finding["verdict"] for finding in found} == {"ok"}

    with suppress(TimeoutError):
        wait_for("all is well", is_well, WELL_S)
    assert {finding["verdict"] for finding in found} == {"ok"}, found


def test_only_who_must_can_speak_to_the_api_server_and_only_of_jobs(pman: Deployment) -> None:
    who = f"--as=system:serviceaccount:{pman.name}:pman-worker"

    def may(verb: str, what: str, namespace: str) -> bool:
        argv = ["kubectl", "auth", "can-i", verb, what, who, "-n", namespace]
        done = subprocess.run(argv, env=pman.env, capture_output=True, text=True, timeout=120, check=False)
        return done.stdout.strip() == "yes"

    assert may("create", "jobs.batch", pman.jobs)
    assert not may("create", "jobs.batch", pman.name)
    for verb, what in (("create", "pods"), ("create", "pods/exec"), ("get", "secrets"), ("update", "jobs.batch")):
        assert not may(verb, what, pman.jobs), f"{verb} {what}"
    token = ["sh", "-c", "ls /var/run/secrets/kubernetes.io/serviceaccount 2>/dev/null | wc -l; id -u; touch /x 2>&1"]
    for part, workload in PARTS.items():
        text = pman.inside(pman.name, workload, *token[:2], f"{token[2]}; true")
        files, uid, refusal = text.splitlines()
        assert (int(files) > 0) == (part in {"worker", "control", "observer"}), f"{part} has a token: {files}"
        assert uid != "0"
        assert "Read-only file system" in refusal, part


@pytest.mark.parametrize("how", ["gently", "abruptly"])
def test_every_part_may_be_deleted_while_jobs_run(how: str, pman: Deployment) -> None:
    """Gently, a process has the time to end that its pod gives it; abruptly, one second, and then SIGKILL."""
    grace = ["--grace-period=1"] if how == "abruptly" else []
    jobs = [job(pman, f"{how}-{number}", seconds=10, code=3 * (number % 3 == 2)) for number in range(JOBS_MAX)]
    client = pman.begin_jobs(jobs, every_s=EVERY_S, patience_s=PATIENCE_S)
    try:
        for part, workload in PARTS.items():
            wait_for(f"jobs run, before {part} is deleted", lambda: len(running(pman)) >= 2, READY_S)
            delete_pods(pman, part, *grace)
            made = len(pman.get("jobs", pman.jobs, JOBS))
            pman.kubectl(
                "rollout", "status", "-n", pman.name, workload, f"--timeout={READY_S}s", timeout_s=READY_S + 10
            )
            wait_for(f"new Jobs, after {part}", lambda n=made: len(pman.get("jobs", pman.jobs, JOBS)) >= n + 2, READY_S)  # type: ignore[misc]
        pman.post_no_more()
        records = pman.records(client, READY_S)
    finally:
        client.kill()
        client.wait()
    sent = [request for request in jobs if request["jid"] in records]
    assert len(sent) > 2 * len(PARTS), "it was under load"
    for request in sent:
        assert_true(pman, request, records[request["jid"]])
    assert len(pman.get("jobs", pman.jobs, JOBS)) == len(sent), "one Job for each"
    for request in sent:
        assert pman.ask("DELETE", f"/api/v1/{request['jid']}/")[0] == 204
    wait_for("nothing is left", lambda: not remains(pman), READY_S)


def delete_pods(pman: Deployment, part: str, *options: str) -> None:
    """Delete all pods of a part at once, and wait until they are gone."""
    selector = f"app.kubernetes.io/component={part}"

    def uids() -> set[str]:
        return {item["metadata"]["uid"] for item in pman.get("pods", pman.name, selector)}

    before = uids()
    pman.kubectl("delete", "pod", "-n", pman.name, "-l", selector, "--wait=false", *options)
    wait_for(f"the pods of {part} are gone", lambda: not before & uids(), READY_S)


def running(pman: Deployment) -> list[str]:
    return [
        item["metadata"]["name"] for item in pman.get("pods", pman.jobs, JOBS) if item["status"]["phase"] == "Running"
    ]
