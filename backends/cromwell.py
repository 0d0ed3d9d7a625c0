"""Runs each job as a workflow of a Cromwell server, which hands it to the batch system of a cluster.

Cromwell 85 and later: https://cromwell.readthedocs.io/en/stable/api/RESTAPI/

* The id of a workflow follows from instance, jid and generation: a repeated submit is refused, and adopted.
* A workflow is one call of our launcher (``_hpc/launcher.bash``), on the node and outside of any container. The
  launcher lets a generation run once and writes its exit code to the job's control folder on the shared storage. That
  is the truth: it is there seconds before Cromwell notices an end, and Cromwell's own exit codes may be invented.
* For seconds after its submit a workflow is unknown to queries, and so is one that never was. The control folder knows
  better: what was accepted is PENDING, what has not been is QUEUED, which only another submit brings on.
* An abort is carried out by a scan, seconds later, and the sbatch of the call may come before it. So the control folder
  is marked first: a launcher that begins after that leaves at once.
* One query by label answers for all active jobs; those that have left it are asked for by their ids, all at once. A job
  itself costs three calls: submit, and at its removal abort and metadata (for its execution folder).
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from backends._cromwell.client import Client
from backends._cromwell.ending import Ending
from backends._cromwell.errors import NotThere
from backends._cromwell.execution import notes
from backends._cromwell.facts import CANCELLED, OVERDUE, FactReader, Facts
from backends._cromwell.looks import HANDLE_VERSION, NOTES_BYTES_MAX, Looks, handle_of
from backends._cromwell.replies import INSTANCE, JID, LISTED_STATUSES, Workflow
from backends._cromwell.settings import CromwellSettings
from backends._cromwell.submit import Submitter
from backends._cromwell.workflow import (
    build_site_attributes,
    build_wdl,
    label_faults,
    workflow_id,
)
from backends._hpc.control import Control
from backends._hpc.outcome import Verdict
from backends._time_limit import describe_time_limit
from pman_core.backend import Backend, Capabilities, Handle, Health, JobRef, Owned, Sighting, Unknown
from pman_core.errors import BackendError, Rejected, Unavailable, Unparseable
from pman_core.job import JobSpec
from pman_core.log_tail import tail
from pman_core.settings import Settings as CommonSettings
from pman_core.states import Reason, State

FEW = 20
"""So many jobs are asked for by their ids; for more, all active ones are listed."""
ANY_IMAGE_HINT = "HPC_RUNTIME is none, so the image is not used: set HPC_ANY_IMAGE=yes on the worker to accept that"
SAMPLE = {"cpu": 1, "memory_mb": 1, "gpus": 1, "runtime_minutes": 1}
"""Every runtime attribute that a job may have: the WDL with all of them is shown to the server once."""


class CromwellBackend(Backend):
    """See the text of the module."""

    name = "cromwell"
    Settings = CromwellSettings
    submit_timeout_s = 45.0
    own: CromwellSettings

    def __init__(self, common: CommonSettings, own: CromwellSettings) -> None:
        super().__init__(common, own)
        store_base = common.storebase or Path()
        self._control = Control(store_base, own.hpc_storebase or store_base, common.pman_instance, self.name)
        self._reader = FactReader(self._control)
        self._client = Client(common.cromwell_url.get_secret_value(), own.cromwell_timeout_s)
        self._submitter = Submitter(self._control, self._reader, self._client, own, common)
        self._ending = Ending(self._control, self._reader, self._client, common.pman_instance)
        is_bare = own.hpc_runtime == "none"
        self.capabilities = Capabilities(
            any_image=not is_bare or own.hpc_any_image,
            any_image_hint=ANY_IMAGE_HINT if is_bare and not own.hpc_any_image else "",
            gpus=own.gpus == "yes",
            cpu_unit="core",
            reports_oom=False,
            read_only_incoming=not is_bare,
            rewrites_paths=is_bare,
            sets_user=False,
            ends_overdue=False,
        )

    def open(self) -> None:
        if not self.common.cromwell_url.get_secret_value():
            raise Rejected("the cromwell backend needs CROMWELL_URL, such as http://cromwell.example.org:8000")
        if self.common.storebase is None:
            raise Rejected("the cromwell backend needs STOREBASE, a folder that the nodes see, too")
        if faults := label_faults(self.common.job_labels):
            raise Rejected("; ".join(map(str, faults)))
        self._control.create()
        self._client.version()
        if wrong := self._client.faults_of(self._sample_wdl()):
            raise Rejected(f"this Cromwell does not take pman's WDL: {' '.join(wrong[0].split())}")

    def _sample_wdl(self) -> str:
        return build_wdl(SAMPLE | build_site_attributes(self.own.cromwell_runtime_attributes))

    def close(self) -> None:
        self._client.close()

    def health(self) -> Health:
        try:
            self._control.probe()
            return Health(ok=True, message=f"Cromwell {self._client.version()}")
        except BackendError as error:
            return Health(ok=False, message=str(error))

    # Submit

    def submit(self, spec: JobSpec) -> Handle:
        self._control.check()
        if not self._submitter.is_taken(spec):
            if faults := self.capabilities.refusals(spec.request):
                raise Rejected("; ".join(map(str, faults)))
            self._submitter.check_user()
            self._submitter.hand_over(spec)
        return handle_of(self._id(spec.jid, spec.generation))

    # Look

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        self._control.check()
        facts, unreadable = {}, {}
        for ref in refs:
            try:
                facts[ref.jid, ref.generation] = self._reader.read(ref.generation)
            except Unavailable as error:  # one damaged folder says nothing of the others
                unreadable[ref.jid, ref.generation] = Unknown(str(error))
        asked = [key for key, found in facts.items() if not found.is_settled]
        looks = self._look(asked, with_labels=any(facts[key].spec is None for key in asked))
        seen = {key: looks.sight(*key, found) for key, found in facts.items()}
        newer = Unknown("the handle was written by a newer release")
        newer_ones = {(ref.jid, ref.generation): newer for ref in refs if ref.is_newer_than(HANDLE_VERSION)}
        return seen | unreadable | newer_ones

    def owned(self) -> Iterator[Owned]:
        folders = list(self._control.folders(sweep_before=time.time() - self.common.submit_fence_s))
        facts = {folder.generation: self._reader.read(folder.generation) for folder in folders}
        listed = {one.id: one for one in self._listed(with_labels=True)}
        strays = {one.identity.generation: one.labels[JID] for one in listed.values() if one.identity is not None}
        jids = {
            generation: strays.get(generation, "") if found.spec is None else found.spec.jid
            for generation, found in facts.items()
            if found.is_there and not found.is_removed
        }
        looks = self._look(
            [(jid, one) for one, jid in jids.items() if not facts[one].is_settled], listed, with_labels=True
        )
        for generation, jid in jids.items():
            yield Owned(looks.observed(jid, generation, facts[generation]), facts[generation].spec)
        for generation, jid in strays.items():
            # Its control folder is lost, so its launcher leaves at once, if it has not begun.
            if generation not in jids and not self._control.folder(generation).exists():
                yield Owned(looks.observed(jid, generation, Facts()), None)

    def _listed(self, *, with_labels: bool) -> Iterator[Workflow]:
        label = (INSTANCE, self.common.pman_instance)
        return self._client.with_label(*label, LISTED_STATUSES, with_labels=with_labels)

    def _look(
        self,
        keys: Sequence[tuple[str, str]],
        listed: Mapping[str, Workflow] | None = None,
        *,
        with_labels: bool,
    ) -> Looks:
        """Ask Cromwell for all of these jobs; for their labels only where no control folder says whose they are."""
        ids = {self._id(*key) for key in keys}
        found = dict(listed or {})
        if listed is None and len(ids) > FEW:
            found = {one.id: one for one in self._listed(with_labels=with_labels)}
        # Those that have left the list, or have come to it since: so nobody slips through between the two questions.
        missed = self._client.with_ids(sorted(ids - found.keys()), with_labels=with_labels)
        found |= {one.id: one for one in missed}
        return Looks(self.common, self._client, self._control, self._reader, found)

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        if ref.is_newer_than(HANDLE_VERSION):
            raise Unavailable("the handle was written by a newer release")
        self._control.check()
        facts, folder = self._reader.read(ref.generation), self._control.folder(ref.generation)
        if facts.spec is None or facts.spec.jid != ref.jid:
            return ""
        # One byte more than asked for tells a log that is cut, perhaps in a character, from one that is not.
        data = folder.log_end(max_bytes + 1)
        if facts.verdict is not None and not facts.has_log:
            data = self._notes(self._id(ref.jid, ref.generation)).encode()
        return tail(data, tail_lines, max_bytes)

    def _notes(self, native_id: str) -> str:
        """Return what was said of a job that has ended before its launcher made a log."""
        try:
            return notes(native_id, self._client.account(native_id), NOTES_BYTES_MAX)
        except (NotThere, Unparseable):
            return ""

    # End

    def end(self, jid: str, generation: str) -> None:
        ordered = Verdict(State.CANCELLED, Reason.CANCELLED, "ended on request", CANCELLED)
        self._ending.end(jid, generation, ordered)

    def end_overdue(self, jid: str, generation: str) -> None:
        spec = self._reader.read(generation).spec
        limit_s = None if spec is None else self.common.time_limit_s(spec.request.time_limit_minutes)
        ordered = Verdict(State.FAILED, Reason.TIME_LIMIT, describe_time_limit(limit_s), OVERDUE)
        self._ending.end(jid, generation, ordered)

    def remove(self, jid: str, generation: str) -> bool:
        return self._ending.remove(jid, generation)

    def _id(self, jid: str, generation: str) -> str:
        return workflow_id(self.common.pman_instance, jid, generation)
