"""Several workers of a job on a real cluster, and containers that the site puts beside them."""

import json
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from backends._kubernetes import last_words
from backends._kubernetes.identity import KEPT_END, job_name
from backends._kubernetes.state import moment
from backends._kubernetes.storage import storage_of
from backends.kubernetes import KubernetesBackend
from pman_core.backend import Absent
from pman_core.job import JobSpec
from pman_core.states import TERMINAL, Reason, State
from testbed.system import wait_for
from tests.engines.kube import IMAGE, LONG, PATIENCE_S, Cluster, look, ref, seen

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

END_GRACE_S = 30.0
"""So long workers that are told to go may stay, here: time enough to read what they have said, on any machine."""


def test_all_workers_run_and_each_has_its_log(kube: Cluster) -> None:
    backend = kube.backend()
    spec = kube.spec('echo "it is number $JOB_COMPLETION_INDEX"', number_of_workers=3, jid="x" * 253)
    backend.submit(spec)
    assert seen(backend, spec).state is State.SUCCEEDED
    assert kube.runs(spec) == 3
    for reader in (backend, kube.backend()):
        assert reader.logs(ref(spec), 100, 10_000) == "".join(
            f"--- worker {number + 1} of 3 ---\nit is number {number}\n" for number in range(3)
        )


def test_one_worker_that_fails_ends_the_others_and_none_begins_anew(kube: Cluster) -> None:
    backend = kube.backend()
    script = f'if [ $JOB_COMPLETION_INDEX = 1 ]; then until [ -e "$0/go" ]; do sleep 0.1; done; exit 9; fi; {LONG}'
    spec = kube.spec(script, number_of_workers=3)
    backend.submit(spec)
    wait_for("all have begun", lambda: kube.runs(spec) == 3, PATIENCE_S)
    (kube.store_base / spec.request.output_dir / "go").touch()
    found = seen(backend, spec)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, 9)
    assert kube.runs(spec) == 3


@pytest.mark.parametrize("when_told_to_go", ["", "exit 0"])
def test_the_stream_keeps_what_the_workers_said_that_a_failure_takes_down(
    kube: Cluster, when_told_to_go: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a race with the kubelet, which is lost on a machine that is busy enough: here the others stay a while."""
    monkeypatch.setattr(last_words, "READ_S", END_GRACE_S)
    backend = kube.backend(kube_end_grace_s=int(END_GRACE_S))
    cursor, stop = backend.cursor(), threading.Event()
    script = (
        f"trap 'until [ -e \"$0/heard\" ]; do sleep 0.1; done; {when_told_to_go}' TERM; "
        'echo "I am $JOB_COMPLETION_INDEX"; until [ -e "$0/go" ]; do sleep 0.1; done; '
        "[ $JOB_COMPLETION_INDEX = 1 ] && exit 9; while :; do sleep 0.1; done"
    )
    spec = kube.spec(script, number_of_workers=3)
    backend.submit(spec)
    # Whose program has begun may not have said anything yet, nor be told to run: then there is nothing to be heard.
    are_running = ("--field-selector", "status.phase=Running")
    wait_for("all are told to run", lambda: len(kube.pods(spec, *are_running)) == 3, PATIENCE_S)
    said = "".join(f"--- worker {number + 1} of 3 ---\nI am {number}\n" for number in range(3))
    wait_for("all have said it", lambda: backend.logs(ref(spec), 100, 10_000) == said, PATIENCE_S)
    folder = kube.store_base / spec.request.output_dir

    def let_go() -> None:
        wait_for("the others are heard", lambda: len(backend._last_words.of(spec.generation)) == 2, PATIENCE_S)
        (folder / "heard").touch()

    listener = threading.Thread(target=let_go)
    listener.start()
    (folder / "go").touch()
    for event in backend.watch(cursor, stop):
        observed = event.observed
        if observed is not None and observed.generation == spec.generation and observed.state in TERMINAL:
            stop.set()
    listener.join()
    wait_for("the pods of the others are gone", lambda: len(kube.pods(spec)) == 1, PATIENCE_S)
    assert backend.logs(ref(spec), 100, 10_000) == said


def create_beside(kube: Cluster, backend: KubernetesBackend, spec: JobSpec, other: str, **more: Any) -> None:
    """Submit a job as if a webhook of the site had put a container into its pod."""
    body = backend._build(spec, storage_of(kube.settings()).volumes(spec, None))
    pod = body["spec"]["template"]["spec"]
    pod["containers"].append({"name": "proxy", "image": IMAGE, "command": ["sh", "-c", other]})
    pod |= more
    kube.kubectl("create", "-f", "-", given=body)


@pytest.mark.parametrize(("own", "other"), [("exit 0", LONG), ("exit 3", LONG), ("exit 0", "exit 1")])
def test_a_container_that_the_site_puts_beside_does_not_decide(kube: Cluster, own: str, other: str) -> None:
    backend, spec = kube.backend(), kube.spec(own)
    create_beside(kube, backend, spec, other)
    found = seen(backend, spec)
    code = int(own[-1])
    assert (found.state, found.exit_code) == (State.FAILED if code else State.SUCCEEDED, code)
    backend.remove(spec.jid, spec.generation)
    wait_for("it is gone", lambda: look(backend, spec) == Absent(), PATIENCE_S)


@pytest.mark.parametrize("first_to_go", ["", "0", "1"])
def test_a_worker_that_fails_beside_a_proxy_ends_the_others(kube: Cluster, first_to_go: str) -> None:
    """Told to go, both pods go at their own pace; the Job controller deletes the one that is slower."""
    backend = kube.backend()
    both_have_begun = 'until [ "$(wc -l < "$0/runs")" = 2 ]; do sleep 0.1; done'
    go_at_once = f'[ $JOB_COMPLETION_INDEX = "{first_to_go}" ] && trap "exit 1" TERM'
    go_on = f"{go_at_once}; sleep 1000 & wait; {LONG}"
    spec = kube.spec(f"{both_have_begun}; [ $JOB_COMPLETION_INDEX = 1 ] && exit 9; {go_on}", number_of_workers=2)
    create_beside(kube, backend, spec, go_on)
    found = seen(backend, spec)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, 9)
    assert kube.runs(spec) == 2
    assert "9" in found.message


def bring_deadline(kube: Cluster, spec: JobSpec) -> None:
    """Give the first pod a time limit that is over in a moment; it counts from when its node took it."""
    name = kube.pods(spec)[0]
    began_at = moment(json.loads(kube.kubectl("get", name, "-o", "json"))["status"]["startTime"])
    assert began_at is not None
    limit_s = int((datetime.now(UTC) - began_at).total_seconds()) + 2
    kube.kubectl("patch", name, "--type=merge", "-p", json.dumps({"spec": {"activeDeadlineSeconds": limit_s}}))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_that_ended_before_its_proxy_ran_into_the_time_limit_has_ended_so(kube: Cluster, workers: int) -> None:
    """Whoever looks only then, as after a wipe, must tell the end that others have told before. Of two workers the Job
    controller deletes the pod that is slower, so it is kept in the Job.
    """
    backend, spec = kube.backend(), kube.spec("exit 0", number_of_workers=workers)
    create_beside(kube, backend, spec, LONG)
    found = seen(backend, spec)
    assert (found.state, found.exit_code) == (State.SUCCEEDED, 0)
    name = job_name(spec.jid, spec.generation)
    if workers > 1:
        wait_for("it is kept", lambda: KEPT_END in kube.kubectl("get", "job", name, "-o", "yaml"), PATIENCE_S)
    bring_deadline(kube, spec)
    kube.kubectl("wait", "job", name, "--for=condition=Failed", f"--timeout={PATIENCE_S}s")
    late = seen(kube.backend(), spec)
    assert (late.state, late.exit_code, late.finished_at) == (State.SUCCEEDED, 0, found.finished_at)
