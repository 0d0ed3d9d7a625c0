"""Runs jobs as batch jobs of a Slurm cluster, ``CONTAINER_ENV=slurm``, in Apptainer, Singularity or Podman.

Slurm 22.05 and later, by its commands (``_slurm/commands.py``) on a login node, or by its REST service
(``_slurm/rest.py``) from elsewhere. Slurm has no unique names and forgets its jobs after minutes, so each has a control
folder on shared storage and a launcher of ours on the node (``_hpc/``).
What Slurm says is translated by ``_slurm/state.py``, and weighed against the rest by ``_slurm/judge.py``.

https://slurm.schedmd.com/documentation.html
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from backends._hpc.control import Control
from backends._hpc.job_folder import JobFolder
from backends._hpc.outcome import Verdict
from backends._slurm.connect import transport_of
from backends._slurm.judge import JUST_SUBMITTED, Present
from backends._slurm.looks import Looks
from backends._slurm.settings import SlurmSettings
from backends._slurm.sight import HANDLE_VERSION, handle_of, quick_sighting
from backends._slurm.start import Starts
from backends._slurm.submit import Submitter
from backends._slurm.survey import Listing, Survey
from pman_core.backend import (
    Absent,
    Backend,
    Capabilities,
    Handle,
    Health,
    JobRef,
    Owned,
    Sighting,
    Unknown,
)
from pman_core.errors import BackendError, Rejected, Unavailable
from pman_core.job import JobSpec
from pman_core.log_tail import tail
from pman_core.settings import Settings as CommonSettings
from pman_core.states import Reason, State

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
        store_base = common.storebase or Path()
        self._control = Control(store_base, own.hpc_storebase or store_base, common.pman_instance, self.name)
        self._transport = transport_of(own)
        self.poll_s = own.slurm_poll_s  # type: ignore[misc]  # of the class elsewhere, a setting here
        self._survey = Survey(self._transport, common.pman_instance, own.slurm_poll_s)
        self._submitter = Submitter(self._control, self._transport, self._survey, own, common)
        self._looks = Looks(self._control, self._transport)
        self._starts = Starts()
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
        if self._submitter.is_there(spec):
            return handle_of(spec.native_name)
        if faults := self.capabilities.refusals(spec.request):
            raise Rejected("; ".join(map(str, faults)))
        self._submitter.check_user()
        if self._submitter.prepare(spec) or not self._submitter.is_known_to_slurm(spec):
            self._submitter.hand_over(spec)
        return handle_of(spec.native_name)

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        if not refs:
            return {}
        self._control.check()
        listing = self._survey.take()
        self._starts.keep(listing.by_generation)
        sightings: dict[tuple[str, str], Sighting] = {}
        slow: list[JobRef] = []
        for ref in refs:
            key = (ref.jid, ref.generation)
            if ref.is_newer_than(HANDLE_VERSION):
                sightings[key] = Unknown("the handle was written by a newer release")
            elif (quick := quick_sighting(jobs := listing.by_generation.get(ref.generation, ()))) is not None:
                folder = self._control.folder(ref.generation)
                sightings[key] = self._starts.seen(quick, folder, jobs[0]) if quick.jid == ref.jid else Absent()
            else:
                slow.append(ref)
        found = self._looks.look([ref.generation for ref in slow], listing)
        return sightings | {(ref.jid, ref.generation): found[ref.generation].told_of(ref.jid) for ref in slow}

    def owned(self) -> Iterator[Owned]:
        self._control.check()
        listing = self._survey.take()
        before = time.time() - self.common.submit_fence_s
        folders = {folder.generation: folder for folder in self._control.folders(sweep_before=before)}
        for found in self._looks.look(list(folders), listing).values():
            if (observed := found.as_owned()) is not None:
                yield Owned(observed, found.spec)
        for generation, jobs in listing.by_generation.items():
            # The control folder of a job is gone, and not by us: its launcher will find nothing to do.
            stray = quick_sighting(jobs)
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
        self._control.check()
        folder = self._control.folder(generation)
        if not folder.exists() or folder.is_removed() or _is_of_another(folder, jid):
            return
        listing = self._survey.take(fresh=True)
        found = self._looks.look([generation], listing)[generation]
        if isinstance(found.judgement, Unknown):
            # It may have ended by itself: only what is left of it is cancelled.
            self._cancel(folder, listing)
            raise Unavailable(f"whether the job has ended is not known: {found.judgement.why}")
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
        if _is_of_another(folder, jid):
            return False
        is_over = _has_ended(folder)
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

    def _cancel(self, folder: JobFolder, listing: Listing) -> None:
        """Have Slurm end every job of the generation.

        Slurm's numbers begin anew one day. So of one that is not in the listing only a younger job is cancelled.
        """
        job_ids = {job.job_id for job in listing.by_generation.get(folder.generation, ())}
        since_s = listing.began_at_s - JUST_SUBMITTED.total_seconds()
        given = [(noted.native_id, noted.at_s) for noted in folder.noted()]
        claim = folder.claim()
        if claim is not None and claim.at is not None:
            given.append((claim.native_id, claim.at.timestamp()))
        young = {int(native_id) for native_id, at_s in given if native_id.isdigit() and at_s > since_s}
        job_ids |= young - listing.by_id.keys()
        if job_ids:
            self._transport.cancel(job_ids, gently=self._own.hpc_runtime == "podman")


def _is_of_another(folder: JobFolder, jid: str) -> bool:
    """Whether the generation is that of another jid. A spec that cannot be read tells nothing."""
    spec = folder.spec()
    return spec is not None and spec.jid != jid


def _has_ended(folder: JobFolder) -> bool:
    """Whether the end of the job has been told, as something that has happened, and Slurm has nothing left of it."""
    try:
        verdict = folder.verdict()
    except ValueError:
        return False
    if verdict is None or verdict.native_state == BY_ORDER:
        return False
    # A second run, or a second order, may wait in the queue yet.
    return verdict.reason is not Reason.REQUEUED and len(folder.noted()) <= 1
