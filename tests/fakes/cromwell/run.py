"""A workflow that this Cromwell has picked up, from its parsing to its end, one small step at a time.

The order, the texts and the keys of the metadata are those of the recordings.
"""

import json
import logging
import time
from enum import Enum, auto
from typing import Any

import yaml

from tests.fakes.cromwell.attributes import Attributes, InvalidAttribute, evaluate
from tests.fakes.cromwell.job import CannotStart, Job
from tests.fakes.cromwell.site import Site
from tests.fakes.cromwell.store import Json, Store, Workflow, stamp
from tests.fakes.cromwell.wdl import Bindings, CannotRun, Prepared, prepare

log = logging.getLogger(__name__)

VERSION = "92"
ABORT_CODES = {"130", "137", "143"}
OUTSIDE = "The job was aborted from outside Cromwell"
WRONG_CODE = (
    "Job {name}:NA:1 exited with return code {code} which has not been declared as a valid return code."
    " See 'continueOnReturnCode' runtime attribute for more details."
)
LOST = "Unable to determine that {job} is alive, and {rc} does not exist."


class Phase(Enum):
    STARTING = auto()
    WAITING = auto()
    """For an execution token."""
    SUBMITTED = auto()
    FINISHING = auto()
    OVER = auto()


class Run:
    """Only the engine's thread calls it. The end, which an abort may race with, takes the store's lock."""

    def __init__(self, workflow: Workflow, store: Store, site: Site, cromwell_id: str) -> None:
        self.workflow, self.store, self.site, self.cromwell_id = workflow, store, site, cromwell_id
        self.job_id = workflow.job_id
        self.timing = site.timing
        self.phase = Phase.STARTING
        self.due_at = 0.0
        self.is_abort_seen = workflow.state == "Aborting"
        self.job: Job | None = None
        self._prepared: Prepared | None = None
        self._inputs: Bindings | None = None
        self._attributes: Attributes | None = None
        self._wait_s = self.timing.poll_initial_s
        self._state = ""
        self._state_at = 0.0
        self._end = ""
        self._failures: list[Json] = []

    @property
    def _live(self) -> Json:
        return self.workflow.live

    @property
    def _call_name(self) -> str:
        assert self._prepared is not None
        return f"{self._prepared.name}.{self._prepared.call.name}"

    def start(self) -> None:
        """Parse the workflow and its inputs."""
        live = self._live
        live.setdefault("workflowProcessingEvents", []).append(self._event("PickedUp"))
        live["labels"] = {"cromwell-workflow-id": f"cromwell-{self.workflow.id}"} | json.loads(
            self.workflow.labels or "{}"
        )
        live.setdefault("start", stamp())
        live["status"] = self.workflow.state
        live |= {"actualWorkflowLanguage": "WDL", "actualWorkflowLanguageVersion": "1.0"}
        if self.workflow.kind not in {"", "WDL"}:
            self._fail_input(f"Unknown workflow type: {self.workflow.kind}")
            return
        try:
            self._prepared = prepare(self.workflow.source, yaml.safe_load(self.workflow.inputs or "{}"))
        except CannotRun as error:
            self._fail_input(str(error))
            return
        call = self._prepared.call
        self.job = Job(self.site, self._prepared.name, self.workflow.id, call.name)
        live |= {
            "workflowName": self._prepared.name,
            "workflowRoot": str(self.job.workflow_root),
            "inputs": self._prepared.shown_inputs(),
        }
        self._wait(Phase.STARTING, self.timing.call_start_s)

    def step(self) -> None:
        """Do what is due."""
        if self.phase is Phase.STARTING:
            if self.is_abort_seen and not self.job_id:
                self._finish("Aborted")
                return
            self._live["calls"].setdefault(
                self._call_name,
                [{"executionStatus": "QueuedInCromwell", "shardIndex": -1, "attempt": 1, "start": stamp()}],
            )
            self.phase = Phase.WAITING
        elif self.phase is Phase.SUBMITTED:
            self._poll()
        elif self.phase is Phase.FINISHING:
            self._close()

    # The call

    def begin(self) -> None:
        """The call has got a token: submit it, or find it again."""
        assert self.job is not None
        if self.job_id:
            self._recover(self.job)
            return
        if self.is_abort_seen:
            self._end_call("Aborted")
            return
        folder = self.job.files.execution
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._describe(self.job)
        except InvalidAttribute as error:
            self._fail(str(error))
            return
        assert self._prepared is not None
        assert self._inputs is not None
        assert self._attributes is not None
        command = self._prepared.command(self._inputs, folder)
        self.workflow.call["commandLine"] = command.strip()
        try:
            self.job_id = self.job.submit(command, self._attributes)
        except CannotStart as error:
            for key in ("stdout", "stderr", "commandLine"):
                self.workflow.call.pop(key, None)
            self._fail(str(error))
            return
        self.workflow.call["jobId"] = self.job_id
        self._wait(Phase.SUBMITTED, self._wait_s)
        if self.is_abort_seen:
            self.job.kill(self.job_id)

    def abort(self) -> None:
        """A scan has seen that the workflow is Aborting."""
        if self.is_abort_seen:
            return
        self.is_abort_seen = True
        if self.phase is Phase.SUBMITTED:
            assert self.job is not None
            self.job.kill(self.job_id)

    def _describe(self, job: Job) -> None:
        assert self._prepared is not None
        folder, files = job.files.execution, job.files
        self._inputs = self._prepared.call_inputs(folder)
        self._attributes = evaluate(self.site.attributes, self._prepared.runtime(self._inputs, folder))
        if self._attributes.unrecognized:
            log.warning("Unrecognized runtime attribute keys: %s", ", ".join(self._attributes.unrecognized))
        call = self.workflow.call
        call |= {
            "executionStatus": "Running",
            "backend": self.site.backend,
            "callCaching": {"allowResultReuse": False, "effectiveCallCachingMode": "CallCachingOff"},
            "callRoot": str(files.root),
            "inputs": {binding.name: binding.value.json for binding in self._inputs},
            "runtimeAttributes": self._attributes.shown,
            "stdout": str(files.stdout),
            "stderr": str(files.stderr),
        }

    def _recover(self, job: Job) -> None:
        """Another Cromwell had submitted it."""
        self._describe(job)
        job_id = self.job_id
        if job.is_alive(job_id):
            if self.is_abort_seen and job.return_code() is None:
                job.kill(job_id)
        elif job.return_code() is None:
            self._fail(LOST.format(job=job_id, rc=job.files.return_code))
            return
        self._wait(Phase.SUBMITTED, self._wait_s)

    def _poll(self) -> None:
        """Look once, as Cromwell's own states have it: Running, WaitingForReturnCode, then Done or Failed."""
        assert self.job is not None
        timeout_s = self.site.exit_code_timeout_s
        is_stale = timeout_s is not None and time.time() > self._state_at + timeout_s
        if not self._state:
            self._become("Running")
        elif self.job.return_code() is not None:
            self._become("Done")
            self._read_end(self.job, self.job.return_code() or "")
            return
        elif is_stale and self._state == "Running":
            self._become("Running" if self.job.is_alive(self.job_id) else "WaitingForReturnCode")
        elif is_stale:
            self.job.give_up()
            self._become("Failed")
            self._read_end(self.job, self.job.return_code() or "")
            return
        self._wait_s = min(self._wait_s * self.timing.poll_factor, self.timing.poll_max_s)
        self._wait(Phase.SUBMITTED, self._wait_s)

    def _become(self, state: str) -> None:
        self._state, self._state_at = state, time.time()
        self.workflow.call["backendStatus"] = state

    def _read_end(self, job: Job, code: str) -> None:
        assert self._attributes is not None
        name = self._call_name
        if code in ABORT_CODES:
            if self.is_abort_seen:
                self._end_call("Aborted")
            else:
                self._fail(OUTSIDE)
            return
        if not code.lstrip("-").isdigit():
            self._fail(f"Could not read the return code of {name}:NA:1: {code!r}")
            return
        self.workflow.call["returnCode"] = int(code)
        if self._attributes.fail_on_stderr and job.files.stderr.stat().st_size:
            self._fail(f"stderr for job {name}:NA:1 has length {job.files.stderr.stat().st_size} and 'failOnStderr'")
        elif self._attributes.accepts(int(code)):
            self._succeed(job)
        else:
            self._fail(WRONG_CODE.format(name=name, code=code))

    def _succeed(self, job: Job) -> None:
        assert self._prepared is not None
        assert self._inputs is not None
        try:
            of_call, of_workflow = self._prepared.outputs(self._inputs, job.files.execution)
        except Exception as error:  # noqa: BLE001 (whatever the engine raises of an output)
            self._fail(f"Failed to evaluate job outputs: {error}")
            return
        self.workflow.call["outputs"] = of_call
        self._live["outputs"] = of_workflow
        self._end_call("Done")

    def _fail(self, message: str) -> None:
        failure: Json = {"message": message, "causedBy": []}
        self.workflow.call["failures"] = [failure]
        self.workflow.call["retryableFailure"] = False
        self._failures = [{"message": "Workflow failed", "causedBy": [failure]}]
        self._end_call("Failed")

    def _end_call(self, status: str) -> None:
        call = self.workflow.call
        call |= {"executionStatus": status, "end": stamp(), "executionEvents": []}
        ends = {"Done": "Succeeded", "Failed": "Failed", "Aborted": "Aborted"}
        self._finish("Aborted" if self.is_abort_seen else ends[status])

    # The workflow

    def _fail_input(self, message: str) -> None:
        cause = {"causedBy": [], "message": message}
        self._failures = [{"causedBy": [cause], "message": "Workflow input processing failed"}]
        self._end = "Failed"
        self._close()

    def _finish(self, end: str) -> None:
        self._end = end
        self._wait(Phase.FINISHING, self.timing.finish_s)

    def _close(self) -> None:
        live = self._live
        with self.store.changed:
            live["workflowProcessingEvents"].append(self._event("Finished"))
            live |= {"status": self._end, "end": stamp()}
            if self._failures and self._end == "Failed":
                live["failures"] = self._failures
            self.workflow.state = ""
            self.phase = Phase.OVER

    def _wait(self, phase: Phase, seconds: float) -> None:
        self.phase, self.due_at = phase, time.monotonic() + seconds

    def _event(self, description: str) -> dict[str, Any]:
        return {
            "cromwellId": self.cromwell_id,
            "description": description,
            "timestamp": stamp(),
            "cromwellVersion": VERSION,
        }
