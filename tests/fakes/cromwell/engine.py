"""What Cromwell does without being asked: it polls its table of workflows, gives out tokens, scans for aborts, writes.

One thread does it all, so commands of the site run one after the other.
"""

import threading
import time
import uuid
from collections.abc import Callable
from queue import SimpleQueue

from tests.fakes.cromwell.run import Phase, Run
from tests.fakes.cromwell.site import Site
from tests.fakes.cromwell.store import Store, Workflow

TICK_S = 0.01


class Engine:
    """One life of a Cromwell: it is started once and ended once."""

    def __init__(self, store: Store, site: Site) -> None:
        self.store, self.site = store, site
        self.cromwell_id = f"cromid-{uuid.uuid4().hex[:7]}"
        self.started: list[tuple[float, str]] = []
        """When which workflow was started (``time.monotonic``)."""
        self._runs: dict[str, Run] = {}
        self._last_hog_group = ""
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        calls = {
            "new_workflow_poll_s": self._poll_workflows,
            "token_period_s": self._give_tokens,
            "abort_scan_s": self._scan_for_aborts,
            "heartbeat_s": self._beat,
            "key_value_flush_s": self._keep_job_ids,
            "metadata_flush_s": store.flush,
            "metadata_summary_s": store.summarize,
        }
        self._timers = {period: _Timer(getattr(site.timing, period), call) for period, call in calls.items()}
        self._hurried: SimpleQueue[tuple[str, threading.Event]] = SimpleQueue()

    def start(self) -> None:
        self._thread.start()

    def hurry(self, period: str) -> None:
        """Let be done at once what is done every ``period``, a field of the timing; return when it has been done.

        So a test need not be quick: it sets the period so long that nothing is done before it says so.
        """
        done = threading.Event()
        self._hurried.put((period, done))
        while not done.wait(TICK_S):
            if not self._thread.is_alive():
                raise RuntimeError("this engine has ended")

    def kill(self) -> None:
        """End at once; what was not written is lost."""
        self._is_over.set()
        self._thread.join()

    def stop(self) -> None:
        """End as after SIGTERM: write everything, and let go of the workflows."""
        self.kill()
        self._keep_job_ids()
        with self.store.changed:
            for workflow in self.store.all():
                if workflow.owner == self.cromwell_id:
                    workflow.owner, workflow.heartbeat_at = "", 0.0
                    self.store.write(workflow)
            self.store.flush()
            self.store.summarize()

    def _work(self) -> None:
        while not self._is_over.wait(TICK_S):
            while not self._hurried.empty():
                period, done = self._hurried.get()
                self._timers[period].hurry()
                done.set()
            for timer in self._timers.values():
                timer.tick()
            for run in list(self._runs.values()):
                if self._is_over.is_set():
                    return
                self._step(run)

    def _step(self, run: Run) -> None:
        if run.phase is Phase.WAITING or time.monotonic() < run.due_at:
            return
        run.step()
        self._note(run)

    def _note(self, run: Run) -> None:
        """Write the row, and forget a run that is over."""
        if run.phase is Phase.OVER:
            del self._runs[run.workflow.id]
        self._write(run)

    # What is done from time to time

    def _poll_workflows(self) -> None:
        """Start workflows of one hog group: that of the oldest one that waits, but another than last time."""
        with self.store.changed:
            waiting = sorted((one for one in self.store.all() if self._can_start(one)), key=lambda one: one.number)
            groups = list(dict.fromkeys(one.hog_group for one in waiting))
            if len(groups) > 1 and groups[0] == self._last_hog_group:
                del groups[0]
            if not groups:
                return
            self._last_hog_group = groups[0]
            chosen = [one for one in waiting if one.hog_group == groups[0]][: self.site.timing.max_launch_count]
            for workflow in chosen:
                if workflow.state == "Submitted":
                    workflow.state = "Running"
                workflow.owner, workflow.heartbeat_at = self.cromwell_id, time.time()
                run = self._runs[workflow.id] = Run(workflow, self.store, self.site, self.cromwell_id)
                self.started.append((time.monotonic(), workflow.id))
                run.start()
                self._note(run)

    def _can_start(self, workflow: Workflow) -> bool:
        if workflow.state == "Submitted":
            return True
        is_stale = time.time() - workflow.heartbeat_at > self.site.timing.heartbeat_ttl_s
        return workflow.state in {"Running", "Aborting"} and workflow.id not in self._runs and is_stale

    def _give_tokens(self) -> None:
        waiting = [run for run in self._runs.values() if run.phase is Phase.WAITING]
        for run in waiting[: self.site.timing.tokens]:
            if self._is_over.is_set():
                return
            run.begin()
            self._note(run)

    def _scan_for_aborts(self) -> None:
        for run in list(self._runs.values()):
            if run.workflow.state == "Aborting":
                run.abort()

    def _keep_job_ids(self) -> None:
        for run in self._runs.values():
            if run.workflow.job_id != run.job_id:
                run.workflow.job_id = run.job_id
                self._write(run)

    def _beat(self) -> None:
        for run in self._runs.values():
            run.workflow.heartbeat_at = time.time()
            self._write(run)

    def _write(self, run: Run) -> None:
        with self.store.changed:
            self.store.write(run.workflow)


class _Timer:
    """Calls something again and again; the first time after one period."""

    def __init__(self, period_s: float, call: Callable[[], None]) -> None:
        self._period_s, self._call = period_s, call
        self._due_at = time.monotonic() + period_s

    def tick(self) -> None:
        if time.monotonic() >= self._due_at:
            self.hurry()

    def hurry(self) -> None:
        self._due_at = time.monotonic() + self._period_s
        self._call()
