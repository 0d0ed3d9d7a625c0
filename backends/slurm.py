"""Runs jobs as batch jobs of a Slurm cluster, ``CONTAINER_ENV=slurm``, in Apptainer, Singularity or Podman on the nodes.

Slurm 22.05 and later, by its commands (``_slurm/commands.py``) on a login node. Slurm has no unique names and forgets its
jobs after minutes, so each has a control folder on the shared storage and a launcher of ours on the node (``_hpc/``).
What Slurm says is translated by ``_slurm/state.py``, and weighed against the rest by ``_slurm/judge.py``.

https://slurm.schedmd.com/documentation.html
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backends._folders import prepare_folders
from backends._hpc.control import Control, JobFolder
from backends._hpc.files import Site, files_of
from backends._hpc.outcome import Verdict
from backends._slurm.commands import CommandTransport
from backends._slurm.identity import identity_from
from backends._slurm.judge import Judgement, Known, Present, judge, running, waiting
from backends._slurm.order import build_order
from backends._slurm.settings import SlurmSettings
from backends._slurm.state import Stage, meaning_of
from backends._slurm.survey import Listing, Survey
from backends._slurm.transport import NativeJob, NoAccounting, Transport
from pman_core.backend import (
    Absent,
    Backend,
    Capabilities,
    Handle,
    Health,
    JobRef,
    Observed,
    Owned,
    Sighting,
    Unknown,
)
from pman_core.errors import BackendError, Conflict, Rejected, Unavailable, Unparseable
from pman_core.job import JobSpec
from pman_core.log_tail import tail
from pman_core.settings import Settings as CommonSettings
from pman_core.states import Reason, State

log = logging.getLogger(__name__)

HANDLE_VERSION = 1
PEER_S = 3.0
"""So long a submitter waits for the id of another one that was faster; then it asks Slurm itself."""
ACCOUNTED_SINCE = timedelta(days=365)
ANY_IMAGE_HINT = "HPC_RUNTIME=none runs bare commands and does not use the image: set HPC_ANY_IMAGE=yes to accept that"
BY_ORDER = "ended by order"
"""The native state of a verdict that was given before Slurm had carried it out."""


class SlurmBackend(Backend):
    """See the text of the module."""

    name = "slurm"
    Settings = SlurmSettings
    submit_timeout_s = 40.0

    def __init__(self, common: CommonSettings, own: SlurmSettings) -> None:
        super().__init__(common, own)
        self._own = own
        self._store_base = common.storebase or Path()
        self._node_base = own.hpc_storebase or self._store_base
        self._control = Control(self._store_base, self._node_base, common.pman_instance, self.name)
        self._transport: Transport = CommandTransport(own)
        self.poll_s = own.slurm_poll_s  # type: ignore[misc]
        self._survey = Survey(self._transport, common.pman_instance, own.slurm_poll_s)
        has_container = own.hpc_runtime != "none"
        self.capabilities = Capabilities(
            any_image=has_container or own.hpc_any_image,
            any_image_hint="" if has_container or own.hpc_any_image else ANY_IMAGE_HINT,
            number_of_workers_max=own.slurm_workers_max,
            gpus=bool(own.slurm_gpu_gres),
            cpu_unit="core",
            read_only_incoming=has_container,
            rewrites_paths=not has_container,
            sets_user=False,
        )

    def open(self) -> None:
        if self.common.storebase is None:
            raise Rejected("the slurm backend needs STOREBASE, the folder of the shared storage")
        self._transport.open()
        self._control.create()

    def close(self) -> None:
        self._transport.close()

    def submit(self, spec: JobSpec) -> Handle:
        if self._is_there(spec):
            return _handle(spec.native_name)
        if faults := self.capabilities.refusals(spec.request):
            raise Rejected("; ".join(map(str, faults)))
        self._check_user()
        if self._is_new(spec) or not self._is_known_to_slurm(spec):
            self._hand_over(spec)
        return _handle(spec.native_name)

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        if not refs:
            return {}
        self._control.check()
        listing = self._survey.take()
        sightings: dict[tuple[str, str], Sighting] = {}
        slow: list[JobRef] = []
        for ref in refs:
            key = (ref.jid, ref.generation)
            if ref.is_newer_than(HANDLE_VERSION):
                sightings[key] = Unknown("the handle was written by a newer release")
            elif (quick := _from_listing(listing.by_generation.get(ref.generation, ()))) is not None:
                sightings[key] = quick if quick.jid == ref.jid else Absent()
            else:
                slow.append(ref)
        found = self._look([ref.generation for ref in slow], listing)
        return sightings | {(ref.jid, ref.generation): found[ref.generation].sighting(ref.jid) for ref in slow}

    def owned(self) -> Iterator[Owned]:
        self._control.check()
        listing = self._survey.take()
        before = time.time() - self.common.submit_fence_s
        folders = {folder.generation: folder for folder in self._control.folders(sweep_before=before)}
        for generation, found in self._look(list(folders), listing).items():
            sighting = found.sighting(found.jid)
            if isinstance(sighting, Unknown):
                raise Unavailable(f"generation {generation} cannot be told: {sighting.why}")
            if isinstance(sighting, Observed):
                yield Owned(sighting, found.spec)
        for generation, jobs in listing.by_generation.items():
            # The control folder of a job is gone, and not by us: its launcher will find nothing to do.
            stray = _from_listing(jobs)
            if stray is not None and generation not in folders and not self._control.folder(generation).exists():
                yield Owned(stray, None)

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        if ref.is_newer_than(HANDLE_VERSION):
            raise Unavailable("the handle was written by a newer release")
        self._control.check()
        folder = self._control.folder(ref.generation)
        spec = folder.spec()
        if spec is None or spec.jid != ref.jid:
            return ""
        # One byte more than asked for tells a log that is cut, perhaps in a character, from one that is not.
        return tail(folder.log_end(max_bytes + 1), tail_lines, max_bytes)

    def end(self, jid: str, generation: str) -> None:
        folder = self._control.folder(generation)
        if not self._is_job(folder, jid):
            return
        listing = self._survey.take(fresh=True)
        found = self._look([generation], listing)[generation]
        if not isinstance(found.judgement, Verdict):
            ordered = Verdict(
                State.CANCELLED,
                Reason.CANCELLED,
                "ended on request",
                BY_ORDER,
                started_at=found.judgement.started_at if isinstance(found.judgement, Present) else None,
                finished_at=datetime.now(UTC),
            )
            self._control.put_verdict(generation, ordered)
        self._cancel(folder, listing)

    def remove(self, jid: str, generation: str) -> bool:
        self._control.check()
        folder = self._control.folder(generation)
        if not folder.exists() and self._control.take_name(generation):
            self._cancel(folder, self._survey.take())
            return False  # and a submitter or a launcher on its way will find the name taken
        if not folder.is_removed() and not self._is_job(folder, jid):
            return False
        verdict = _verdict(folder)
        is_over = verdict is not None and verdict.native_state != BY_ORDER
        self._control.mark_removed(generation)
        if not is_over:
            self._cancel(folder, self._survey.take())
        self._control.entomb(generation)
        return is_over

    def health(self) -> Health:
        try:
            self._control.probe()
            return Health(ok=True, message=self._transport.ping())
        except BackendError as error:
            return Health(ok=False, message=str(error))

    # Submitting

    def _is_there(self, spec: JobSpec) -> bool:
        """Whether this generation has been handed to Slurm, or has ended. Raises Conflict, Rejected: it is another's."""
        self._control.check()
        folder = self._control.folder(spec.generation)
        if not folder.exists():
            return False
        if folder.is_removed():
            raise Rejected("this generation of the job has been removed: it is not run again")
        there = folder.spec()
        if there is None:
            raise Unparseable(f"the control folder of generation {spec.generation} is damaged", str(folder.path))
        if (there.jid, there.instance, there.request.digest) != (spec.jid, spec.instance, spec.request.digest):
            raise Conflict(f"generation {spec.generation} is taken by another job, {there.jid}")
        return bool(folder.noted()) or folder.claim() is not None or folder.verdict() is not None

    def _check_user(self) -> None:
        """A job of Slurm runs as who has submitted it."""
        users, ours = self.common.container_user, (os.geteuid(), os.getegid())
        if users is not None and users != (ours[0], ours[0], ours[1], ours[1]):
            wanted = (users.uid_low, users.uid_high, users.gid_low, users.gid_high)
            if wanted != (ours[0], ours[0], ours[1], ours[1]):
                raise Rejected(f"CONTAINER_USER: jobs of Slurm run as pman's own user, {ours[0]}:{ours[1]}")

    def _is_new(self, spec: JobSpec) -> bool:
        """Make the control folder; return whether nobody can have handed the job to Slurm before."""
        incoming, outgoing = prepare_folders(self._store_base, spec, None)
        root = self._store_base.resolve()
        site = Site(self._node_base, self._own.hpc_image_cache or self._node_base / ".pman" / "images")
        files = files_of(spec, self._own, self.common, site, incoming.relative_to(root), outgoing.relative_to(root))
        return self._control.take(spec, files)

    def _is_known_to_slurm(self, spec: JobSpec) -> bool:
        """Whether another submitter, which made the control folder before, has come to its end. It may be alive or not."""
        folder = self._control.folder(spec.generation)
        until_s = time.monotonic() + PEER_S
        while time.monotonic() < until_s:
            if self._is_there(spec):
                return True
            time.sleep(0.05)
        jobs = self._survey.take(fresh=True).by_generation.get(spec.generation, ())
        for job in jobs:
            self._control.note(folder.generation, str(job.job_id))
        return bool(jobs)

    def _hand_over(self, spec: JobSpec) -> None:
        folder = self._control.node_folder(spec.generation)
        order = build_order(spec, self._own, self.common, self._control.node_launcher(), folder)
        try:
            job_id = self._transport.submit(order)
        except Rejected:
            self._control.mark_removed(spec.generation)
            self._control.entomb(spec.generation)
            raise
        self._control.note(spec.generation, str(job_id))

    # Looking

    def _is_job(self, folder: JobFolder, jid: str) -> bool:
        """Whether the folder is that of a job of this jid which is not removed."""
        self._control.check()
        if folder.is_removed():
            return False
        spec = folder.spec()
        return spec is not None and spec.jid == jid

    def _look(self, generations: Sequence[str], listing: Listing) -> dict[str, "_Found"]:
        """Read the control folders, ask accounting once for all whom slurmctld has forgotten, and judge."""
        read = {generation: _read(self._control.folder(generation), listing) for generation in generations}
        forgotten = {job_id for found in read.values() for job_id in found.forgotten(listing)}
        accounted, failure = self._accounted(forgotten)
        now = datetime.now(UTC)
        for found in read.values():
            found.judge(accounted, failure, now)
            if isinstance(found.judgement, Verdict) and found.known.verdict is None and found.spec is not None:
                found.judgement = self._control.put_verdict(found.folder.generation, found.judgement)
        return read

    def _accounted(self, job_ids: set[int]) -> tuple[dict[int, NativeJob], str]:
        """Return what accounting knows, and why it could not be asked, if it could not."""
        if not job_ids:
            return {}, ""
        try:
            jobs = self._transport.accounted(job_ids, datetime.now(UTC) - ACCOUNTED_SINCE)
        except NoAccounting:
            return {}, ""
        except BackendError as error:
            log.warning("accounting cannot be asked: %s", error)
            return {}, str(error)
        return {job.job_id: job for job in jobs}, ""

    def _cancel(self, folder: JobFolder, listing: Listing) -> None:
        """Have Slurm end every job of the generation."""
        job_ids = {int(noted.native_id) for noted in folder.noted() if noted.native_id.isdigit()}
        job_ids |= {job.job_id for job in listing.by_generation.get(folder.generation, ())}
        if job_ids:
            self._transport.cancel(job_ids, gently=self._own.hpc_runtime == "podman")


class _Found:
    """One generation: its control folder as it was read, and what that means."""

    def __init__(self, folder: JobFolder, spec: JobSpec | None, known: Known) -> None:
        self.folder = folder
        self.spec = spec
        self.known = known
        self.judgement: Judgement = Unknown("not judged yet")

    @property
    def jid(self) -> str:
        return "" if self.spec is None else self.spec.jid

    def forgotten(self, listing: Listing) -> set[int]:
        """Return the ids that slurmctld does not know any more, of a job whose end has not been told."""
        if self.known.verdict is not None:
            return set()
        ids = {noted.native_id for noted in self.known.noted}
        if self.known.claim is not None:
            ids = {self.known.claim.native_id}
        return {int(text) for text in ids if text.isdigit()} - listing.by_id.keys()

    def judge(self, accounted: Mapping[int, NativeJob], failure: str, now: datetime) -> None:
        if isinstance(self.judgement, Absent):
            return
        ids = {int(noted.native_id) for noted in self.known.noted if noted.native_id.isdigit()}
        if self.known.claim is not None and self.known.claim.native_id.isdigit():
            ids.add(int(self.known.claim.native_id))
        mine = {job_id: job for job_id, job in accounted.items() if job_id in ids}
        known = Known(
            noted=self.known.noted,
            claim=self.known.claim,
            end=self.known.end,
            verdict=self.known.verdict,
            listed=self.known.listed,
            accounted=mine,
            accounting_failed=failure,
        )
        self.judgement = judge(known, now)

    def sighting(self, jid: str) -> Sighting:
        judgement = self.judgement
        if isinstance(judgement, Absent | Unknown):
            return judgement
        if self.spec is None or self.spec.jid != jid:
            return Absent()
        common = {
            "jid": self.spec.jid,
            "generation": self.spec.generation,
            "digest": self.spec.request.digest,
            "handle": _handle(self.spec.native_name),
        }
        if isinstance(judgement, Present):
            return Observed(
                **common,
                state=judgement.state,
                native_state=judgement.native_state,
                message=judgement.message,
                started_at=judgement.started_at,
            )
        return Observed(
            **common,
            state=judgement.state,
            native_state=judgement.native_state,
            message=judgement.message,
            reason=judgement.reason,
            exit_code=judgement.exit_code,
            started_at=judgement.started_at,
            finished_at=judgement.finished_at,
        )


def _read(folder: JobFolder, listing: Listing) -> _Found:
    """Read a control folder."""
    listed = listing.by_generation.get(folder.generation, ())
    found = _Found(folder, None, Known(listed=listed))
    if not folder.exists() or folder.is_removed():
        # What Slurm has not ended yet is not gone.
        found.judgement = Absent()
        return found
    found.spec = folder.spec()
    try:
        verdict = folder.verdict()
    except ValueError as error:
        found.judgement = Unknown(str(error))
        return found
    found.known = Known(
        noted=folder.noted(), claim=folder.claim(), end=folder.end(), verdict=verdict, listed=listed
    )
    return found


def _from_listing(jobs: Sequence[NativeJob]) -> Observed | None:
    """Return how a job is of which the listing alone tells enough: one run, not ended, with its comment as we wrote it."""
    if len(jobs) != 1 or jobs[0].restarts:
        return None
    job = jobs[0]
    identity, meaning = identity_from(job.comment), meaning_of(job.state)
    if identity is None or meaning is None or meaning.stage is Stage.ENDED:
        return None
    present = running(job) if meaning.stage is Stage.RUNS else waiting(job)
    return Observed(
        jid=identity.jid,
        generation=identity.generation,
        digest=identity.digest,
        state=present.state,
        handle=_handle(job.name),
        native_state=present.native_state,
        message=present.message,
        started_at=present.started_at,
    )


def _verdict(folder: JobFolder) -> Verdict | None:
    try:
        return folder.verdict()
    except ValueError:
        return None


def _handle(native_name: str) -> Handle:
    return Handle(HANDLE_VERSION, {"name": native_name})
