"""What is asked of the API server beside jobs: rights, logs, and the patience that it asks for. No network."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import kubernetes.client
import pytest

from backends._kubernetes.connection import Api, connect
from backends._kubernetes.errors import NotThere
from backends._kubernetes.identity import WORKERS
from backends._kubernetes.logs import INDEX, Worker, logs_of, workers_of
from backends._kubernetes.rights import NEEDED, Right, explain_missing, missing, review
from backends._kubernetes.settings import KubernetesSettings
from pman_core.errors import InvalidSettings, Rejected, Unavailable
from pman_core.settings import load
from tests.unit.kube_objects import Object, pod, spec

# Rights


def test_a_right_is_asked_for_as_it_is_needed() -> None:
    assert review(Right("", "pods/log", "get"), "plugins")["spec"] == {
        "resourceAttributes": {"namespace": "plugins", "resource": "pods", "subresource": "log", "verb": "get"}
    }
    assert review(Right("batch", "jobs", "create"), "plugins")["spec"]["resourceAttributes"]["group"] == "batch"


def test_every_missing_right_is_found() -> None:
    def only_batch(body: Object) -> Object:
        return {"status": {"allowed": body["spec"]["resourceAttributes"].get("group") == "batch"}}

    lacking = missing(only_batch, "plugins")
    assert lacking == [right for right in NEEDED if right.group != "batch"]
    assert missing(lambda _: {"status": {"allowed": True}}, "plugins") == []
    assert len(missing(lambda _: {}, "plugins")) == len(NEEDED)


def test_what_is_missing_can_be_pasted() -> None:
    text = explain_missing([Right("batch", "jobs", "create"), Right("batch", "jobs", "patch")], "plugins")
    assert text.endswith('\n- apiGroups: ["batch"]\n  resources: ["jobs"]\n  verbs: [create, patch]')
    assert "in the namespace plugins" in text


# Logs


class Logs:
    """Pods by name, and what their logs are: chunks, or an error."""

    def __init__(self, logs: dict[int, list[bytes] | Exception]) -> None:
        self._logs = {pod(index=index)["metadata"]["name"]: log for index, log in logs.items()}
        self.queries: list[Mapping[str, str]] = []

    @contextmanager
    def stream(self, path: str, query: Mapping[str, str], _silence_s: float) -> Iterator[Any]:
        self.queries.append(query)
        log = self._logs[path.split("/")[2]]
        if isinstance(log, Exception):
            raise log
        yield Chunks(log)


class Chunks:
    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    def stream(self, _amount: int, *, decode_content: bool) -> Iterator[bytes]:
        assert decode_content
        yield from self._chunks


def read(logs: dict[int, list[bytes] | Exception], lines: int = 100, size: int = 1000) -> str:
    workers = workers_of(pod(index=index) for index in reversed(logs))
    return logs_of(cast(Api, Logs(logs)), "/pods", workers, lines, size, timeout_s=5)


def test_one_pod_is_told_as_it_is() -> None:
    assert read({0: [b"first\nse", b"cond"]}) == "first\nsecond"
    assert read({0: [b"1\n2\n3\n"]}, lines=2) == "2\n3\n"
    assert read({0: NotThere("no such pod")}) == ""


def test_several_pods_are_sections_in_order() -> None:
    assert read({0: [b"a\n"], 1: NotThere(""), 2: [b"c"]}) == (
        "--- worker 1 of 3 ---\na\n--- worker 2 of 3 ---\n--- worker 3 of 3 ---\nc\n"
    )


def test_a_pod_that_cannot_be_read_says_so() -> None:
    text = read({0: Unavailable("its node is away"), 1: [b"b\n"]})
    assert text == "--- worker 1 of 2 ---\n(its log cannot be read: its node is away)\n--- worker 2 of 2 ---\nb\n"
    with pytest.raises(Unavailable, match="its node is away"):
        read({0: Unavailable("its node is away"), 1: Unavailable("its node is away")})
    with pytest.raises(Unavailable):
        read({0: Unavailable("its node is away")})


def test_what_was_kept_stands_for_a_log_that_is_gone_or_cannot_be_read() -> None:
    logs: dict[int, list[bytes] | Exception] = {0: [b"a\n"], 1: Unavailable("its node is away"), 2: NotThere("")}
    workers = workers_of(pod(index=index) for index in logs)
    kept = dict.fromkeys(workers, "kept\n")

    def told(of: dict[int, list[bytes] | Exception]) -> str:
        return logs_of(cast(Api, Logs(of)), "/pods", workers, 100, 1000, timeout_s=5, kept=kept)

    heads = [f"--- worker {number} of 3 ---\n" for number in (1, 2, 3)]
    assert told(logs) == f"{heads[0]}a\n{heads[1]}kept\n{heads[2]}kept\n"
    assert told(dict.fromkeys(logs, Unavailable("all away"))) == "".join(f"{head}kept\n" for head in heads)


def test_every_pod_has_its_share() -> None:
    text = read({0: [b"a" * 5000 + b"\n"], 1: [b"b" * 5000 + b"\n"]}, size=1000)
    assert len(text) <= 1000
    assert text.count("a") > 400
    assert text.count("b") > 400


def test_an_endless_log_does_not_fill_the_memory() -> None:
    assert len(read({0: [b"x" * 1000] * 10_000}, size=100)) == 100


def test_the_kubelet_is_asked_for_pieces_of_long_lines_too() -> None:
    logs = Logs({0: [b""]})
    logs_of(cast(Api, logs), "/pods", workers_of([pod()]), 10, 64 * 1024, timeout_s=5)
    assert int(logs.queries[0]["tailLines"]) >= 14


def test_the_number_of_a_worker() -> None:
    assert [worker.index for worker in workers_of([pod(index=10), pod(index=9)])] == [9, 10]
    assert workers_of([{"metadata": {"name": "x", "annotations": None}}]) == (Worker(0, "x"),)


def test_an_annotation_that_somebody_has_spoiled_hides_no_job() -> None:
    spoiled = pod()
    spoiled["metadata"]["annotations"] |= {INDEX: "first", WORKERS: "many"}
    assert workers_of([spoiled]) == (Worker(0, spoiled["metadata"]["name"]),)


@pytest.mark.parametrize("left", [[2], [0, 2]])
def test_the_sections_tell_which_pods_are_gone(left: list[int]) -> None:
    """The pods of a Job that has failed are deleted, but for those that had ended before."""
    wanted = spec(number_of_workers=3)
    logs: dict[int, list[bytes] | Exception] = {index: [b"x\n"] for index in left}
    workers = workers_of(pod(of=wanted, index=index) for index in left)
    text = logs_of(cast(Api, Logs(logs)), "/pods", workers, 100, 1000, timeout_s=5)
    assert text == "".join(f"--- worker {index + 1} of 3 ---\nx\n" for index in left)


# The connection


def test_a_kubeconfig_that_is_not_there(tmp_path: Any) -> None:
    with pytest.raises(Rejected, match="KUBECONFIG: "):
        connect(KubernetesSettings(kubeconfig=str(tmp_path / "nothing")))


def test_a_context_that_is_not_there(tmp_path: Any) -> None:
    path = tmp_path / "config"
    path.write_text("apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: []\nusers: []\ncontexts: []\n")
    with pytest.raises(Rejected, match="KUBECONFIG: "):
        connect(KubernetesSettings(kubeconfig=str(path), kube_context="b"))


# Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kube_timeout_s", 11),
        ("kube_timeout_s", 0),
        ("kube_end_grace_s", 0),
        ("kube_start_grace_s", -1),
        ("kube_request_ratio", 1.1),
        ("kube_gpu_resource", "gpu"),
        ("kube_workers_max", 100_000),
        ("kube_ttl_hours", 0),
        ("image_pull_policy", "Always"),
    ],
)
def test_settings_that_cannot_be(name: str, value: object) -> None:
    with pytest.raises(InvalidSettings) as refused:
        load(KubernetesSettings, {name: value})
    assert [fault.field for fault in refused.value.faults] == [name.upper()]


# Time


@pytest.mark.parametrize(
    "date", ["", "yesterday", f"Wed, {'9' * 30} Nov 2026 19:00:00 GMT", "Wed, 25 Nov 2026 19:00:00"]
)
def test_a_date_that_is_none_is_no_reason_to_fail(date: str) -> None:
    class Dated(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            self.send_header("Date", date)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Dated) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        configuration = kubernetes.client.Configuration()
        configuration.host = f"http://127.0.0.1:{server.server_port}"
        api = Api(configuration, 5)
        assert api.call("GET", "/version") == {}
        assert (api.now() is not None) == date.startswith("Wed, 25")
        api.close()
        server.shutdown()
