"""The workflows that a Cromwell knows: what is in its database at once, and the metadata, which come later.

Each workflow is a file in a folder, so that another Cromwell can take over after ``kill -9``. What is told of a
workflow (:attr:`Workflow.live`) is written with the next flush (:attr:`Workflow.flushed`): that is what ``metadata``,
``logs`` and ``outputs`` answer from. ``status`` and ``query`` know it after the next summary, until then all say 404.
"""

import json
import threading
import time
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Json = dict[str, Any]
TERMINAL = {"Succeeded", "Failed", "Aborted"}
SUMMARY = ("id", "name", "status", "submission", "start", "end")


class AlreadyThere(Exception):
    """The row violates the table's unique constraint: another request was faster."""


@dataclass
class Workflow:
    """One workflow. Its fields are in the database at once, but for :attr:`live`."""

    id: str
    source: str
    inputs: str
    options: str
    labels: str
    kind: str
    """``workflowType``; ``""``: WDL."""
    state: str
    """In the table of workflows to run: Submitted, On Hold, Running, Aborting; ``""``: not in it any more."""
    number: int
    hog_group: str
    job_id: str = ""
    """Of its one call; it comes here with the next flush of the key-value store."""
    owner: str = ""
    """The Cromwell that has picked it up."""
    heartbeat_at: float = 0.0
    flushed: Json = field(default_factory=dict)
    summary: Json = field(default_factory=dict)
    summary_number: int = 0
    live: Json = field(default_factory=dict)

    @property
    def call(self) -> Json:
        """The metadata of its one call; ``{}`` before it has any."""
        for calls in self.live["calls"].values():
            return calls[0]  # type: ignore[no-any-return]
        return {}

    def to_json(self) -> str:
        return json.dumps({name: value for name, value in vars(self).items() if name != "live"})


class Store:
    """All workflows. Whoever reads or changes one holds :attr:`changed`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.changed = threading.Condition(threading.RLock())
        self.lost_races = 0
        """So many of the next submissions do not see that their id is taken, until they write it."""
        self.flushes = 0
        self._workflows: dict[str, Workflow] = {}
        self._summaries = 0
        self.load()

    def load(self) -> None:
        """Read what a Cromwell before this one has left; all that it had not written is lost."""
        self._workflows.clear()
        for path in self.folder.glob("*.json"):
            found = Workflow(**json.loads(path.read_text()))
            # Of a workflow whose first metadata were lost there is still its row.
            found.live = {"id": found.id, "calls": {}, "outputs": {}, "inputs": {}} | deepcopy(found.flushed)
            self._workflows[found.id] = found
        self._summaries = max((found.summary_number for found in self._workflows.values()), default=0)

    def has(self, workflow_id: str) -> bool:
        """Whether the id is taken, as a submission sees it."""
        with self.changed:
            if self.lost_races:
                self.lost_races -= 1
                return False
            return workflow_id in self._workflows

    def add(self, workflow: Workflow) -> None:
        """Raises :class:`AlreadyThere`."""
        with self.changed:
            if workflow.id in self._workflows:
                raise AlreadyThere
            workflow.number = len(self._workflows)
            self._workflows[workflow.id] = workflow
            self.write(workflow)
            self.changed.notify_all()

    def find(self, workflow_id: str) -> Workflow | None:
        return self._workflows.get(workflow_id)

    def summarized(self, workflow_id: str) -> Workflow | None:
        """Return the workflow if ``status`` and the others know it already."""
        found = self._workflows.get(workflow_id)
        return found if found is not None and found.summary else None

    def all(self) -> list[Workflow]:
        return list(self._workflows.values())

    def write(self, workflow: Workflow) -> None:
        path = self.folder / f"{workflow.id}.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(workflow.to_json())
        temporary.replace(path)

    def flush(self) -> None:
        """Write what has been told since the last time."""
        with self.changed:
            for workflow in self._workflows.values():
                if workflow.flushed != workflow.live:
                    workflow.flushed = deepcopy(workflow.live)
                    self.write(workflow)
            self.flushes += 1
            self.changed.notify_all()

    def summarize(self) -> None:
        with self.changed:
            for workflow in self._workflows.values():
                told = workflow.flushed
                summary = {"name": told.get("workflowName")} | {key: told.get(key) for key in SUMMARY if key != "name"}
                summary = {key: value for key, value in summary.items() if value is not None}
                summary["labels"] = told.get("labels", {})
                if "status" in told and workflow.summary != summary:
                    if not workflow.summary:
                        self._summaries += 1
                        workflow.summary_number = self._summaries
                    workflow.summary = deepcopy(summary)
                    self.write(workflow)


def stamp(at: float | None = None) -> str:
    """Return a time as Cromwell writes it: ``2026-11-23T00:52:01.454Z``."""
    moment = datetime.fromtimestamp(time.time() if at is None else at, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
