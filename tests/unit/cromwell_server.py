"""A Cromwell that says what a test wants it to say, over real HTTP; and the control folder of a job beside it.

The fake of ``tests/fakes/cromwell`` lives as a real one does; this one is for single answers, recorded ones above all.
"""

import json
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from backends._cromwell.replies import DIGEST, GENERATION, INSTANCE, JID
from backends._cromwell.workflow import workflow_id
from backends.cromwell import CromwellBackend, CromwellSettings
from pman_core.backend import JobRef, Sighting
from pman_core.job import JobSpec, mint_generation
from pman_core.request import JobRequest
from pman_core.settings import Settings
from testbed.system import PATIENCE_S
from tests.unit.cromwell_recordings import read

API = "/api/workflows/v1"
SUBMITTED = (201, '{"id":"x","status":"Submitted"}')
NOT_THERE = (404, '{"status":"fail","message":"Unrecognized workflow ID: x"}')
NOT_IN_PROGRESS = (
    404,
    '{"status":"error","message":"Couldn\'t abort x because no workflow with that ID is in progress"}',
)


@dataclass
class Scripted:
    """The answers to the next requests, by method and the end of the path; the last one of a list stays."""

    answers: dict[tuple[str, str], list[tuple[int, str]]] = field(default_factory=dict)
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self.says("GET", "/version", (200, '{"cromwell":"92"}'))
        self.says("POST", "/describe", (200, '{"valid":true,"errors":[]}'))
        self.says("POST", "/abort", NOT_IN_PROGRESS)
        self.says("GET", "/metadata", NOT_THERE)
        self.shows()

    def says(self, method: str, path: str, *answers: tuple[int, str]) -> None:
        self.answers[method, path] = list(answers)

    def says_recorded(self, method: str, path: str, *names: str) -> None:
        self.says(method, path, *((read(name).code, read(name).body) for name in names))

    def shows(self, *rows: dict[str, Any]) -> None:
        """Answer every query with these rows."""
        page = (200, json.dumps({"results": rows, "totalResultsCount": len(rows)}))
        self.says("POST", "/query", page)
        self.says("GET", "/query", page)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str]:
        self.asked.append((method, path, body))
        plain = path.partition("?")[0]
        for (wanted, ending), answers in self.answers.items():
            if wanted == method and plain.endswith(ending):
                code, text = answers.pop(0) if len(answers) > 1 else answers[0]
                asked_for = re.search(rb'name="requestedWorkflowId"\r\n(?:[^\r]+\r\n)*\r\n([^\r]+)', body)
                return code, text.replace('"id":"x"', f'"id":"{asked_for[1].decode()}"') if asked_for else text
        raise AssertionError(f"nobody expected {method} {path}")

    def count(self, method: str, path: str) -> int:
        return sum(asked == method and path in where for asked, where, _ in self.asked)


@contextmanager
def serving(scripted: Scripted) -> Iterator[Scripted]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 64 * 1024  # one packet for an answer

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            code, text = scripted.answer(self.command, self.path, body)
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    scripted.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield scripted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Site:
    """One worker's backend, its store, and its jobs."""

    def __init__(self, folder: Path, url: str, *, own: dict[str, Any] | None = None, **common: Any) -> None:
        self.store = folder / "store"
        self.store.mkdir(exist_ok=True)
        values = {"container_env": "process", "storebase": self.store, "cromwell_url": url} | common
        settings = CromwellSettings(**({"hpc_runtime": "none", "hpc_any_image": True} | (own or {})))
        # What a busy machine does not answer in time, pman would ask again; the tests ask once.
        patient = settings.model_copy(update={"cromwell_timeout_s": PATIENCE_S})
        self.backend = CromwellBackend(Settings(**values), patient)
        self.control = self.backend._control

    def spec(self, *entrypoint: str, jid: str = "job", **fields: Any) -> JobSpec:
        values: dict[str, Any] = {
            "jid": jid, "auid": "a", "number_of_workers": 1, "cpu_limit": 1000, "memory_limit": 64, "gpu_limit": 0,
            "image": "x", "type": "fs", "entrypoint": entrypoint or ("true",), "input_dir": f"{jid}/in",
            "output_dir": f"{jid}/out",
        }  # fmt: skip
        return JobSpec(mint_generation(), "pman", JobRequest(**(values | fields)))

    def look(self, spec: JobSpec) -> Sighting:
        return self.backend.observe([JobRef(spec.jid, spec.generation)])[spec.jid, spec.generation]

    def folder(self, spec: JobSpec) -> Path:
        return self.control.base / spec.generation

    def claim(self, spec: JobSpec, at: datetime, *, has_image: bool = True) -> None:
        """Write what the launcher writes when it begins."""
        self._facts(spec, "claim", f"native_id=30\0nonce=n\0host=n1\0at={int(at.timestamp())}\0")
        if has_image:
            (self.folder(spec) / "log").touch()

    def beat(self, spec: JobSpec, seconds_ago: float) -> None:
        """Let the launcher have said so long ago that it is there."""
        (self.folder(spec) / "alive").touch()
        moment = time.time() - seconds_ago
        os.utime(self.folder(spec) / "alive", (moment, moment))

    def end(self, spec: JobSpec, exit_code: int, at: datetime) -> None:
        """Write what the launcher writes when the job has exited."""
        moment = int(at.timestamp())
        text = f"cause=exited\0exit_code={exit_code}\0text=\0native_id=30\0host=n1\0started_at={moment}\0"
        self._facts(spec, "end", f"{text}finished_at={moment}\0")

    def age(self, spec: JobSpec, seconds: float) -> None:
        """Let it be so long ago that the workflow was accepted, or the job removed."""
        for path in [*(self.folder(spec) / "native").glob("*"), *self.folder(spec).glob("removed")]:
            moment = path.stat().st_mtime - seconds
            os.utime(path, (moment, moment))

    def _facts(self, spec: JobSpec, name: str, text: str) -> None:
        (self.folder(spec) / name).mkdir()
        (self.folder(spec) / name / "facts").write_bytes(text.encode())


def row(spec: JobSpec, status: str, *, ended_at: datetime | None = None, digest: str = "") -> dict[str, Any]:
    """Return a line of a query about the workflow of a job."""
    native_id = workflow_id(spec.instance, spec.jid, spec.generation)
    labels = {INSTANCE: spec.instance, JID: spec.jid, GENERATION: spec.generation}
    labels |= {DIGEST: digest or spec.request.digest, "cromwell-workflow-id": f"cromwell-{native_id}"}
    found = {"id": native_id, "status": status, "labels": labels, "metadataArchiveStatus": "Unarchived"}
    found |= {"submission": "2026-11-23T00:55:19.717Z", "start": "2026-11-23T00:55:19.797Z", "name": "pman"}
    return found | ({"end": ended_at.isoformat()} if ended_at else {})


def metadata(spec: JobSpec, status: str, messages: Sequence[str] = (), **call: Any) -> tuple[int, str]:
    """Return an answer to a question for metadata."""
    failures = [{"message": text, "causedBy": []} for text in messages]
    top = {"id": workflow_id(spec.instance, spec.jid, spec.generation), "status": status, "failures": failures}
    top |= {"calls": {"pman.job": [{"attempt": 1, "shardIndex": -1, **call}]}, "end": datetime.now(UTC).isoformat()}
    return 200, json.dumps(top)
