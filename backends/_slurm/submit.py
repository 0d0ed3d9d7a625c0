"""Handing a job to Slurm, which has no unique names: so the control folder is taken first, and asked first."""

import os
import time
from pathlib import Path

from backends._folders import prepare_folders
from backends._hpc.control import Control
from backends._hpc.files import Folders, files_of
from backends._slurm.order import build_order
from backends._slurm.settings import SlurmSettings
from backends._slurm.survey import Survey
from backends._slurm.transport import Transport
from pman_core.errors import Conflict, Rejected, Unparseable
from pman_core.job import JobSpec
from pman_core.settings import Settings as CommonSettings
from pman_core.settings import UserRange

PEER_S = 3.0
"""So long a submitter waits for the id of another one that was faster; then it asks Slurm itself."""


class Submitter:
    """The steps of one submit, in the order of the methods; every one of them may raise ``Unavailable``."""

    def __init__(
        self, control: Control, transport: Transport, survey: Survey, own: SlurmSettings, common: CommonSettings
    ) -> None:
        self._control = control
        self._transport = transport
        self._survey = survey
        self._own = own
        self._common = common
        self._store_base = common.storebase or Path()
        self._node_base = own.hpc_storebase or self._store_base

    def is_there(self, spec: JobSpec) -> bool:
        """Whether this generation was handed to Slurm, or has ended. Raises Conflict, Rejected: it is another's."""
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

    def check_user(self) -> None:
        """A job of Slurm runs as who has submitted it."""
        users, uid, gid = self._common.container_user, os.geteuid(), os.getegid()
        if users is not None and users != UserRange(uid, uid, gid, gid):
            raise Rejected(f"CONTAINER_USER: jobs of Slurm run as pman's own user, {uid}:{gid}")

    def prepare(self, spec: JobSpec) -> bool:
        """Make the control folder; return whether nobody can have handed the job to Slurm before."""
        incoming, outgoing = prepare_folders(self._store_base, spec, None)
        root = self._store_base.resolve()
        folders = Folders(self._node_base, incoming.relative_to(root), outgoing.relative_to(root))
        files = files_of(spec, self._own, self._common, folders)
        return self._control.take(spec, files)

    def is_known_to_slurm(self, spec: JobSpec) -> bool:
        """Whether another submitter, which made the control folder before, has handed the job over, dead or alive."""
        folder = self._control.folder(spec.generation)
        until_s = time.monotonic() + PEER_S
        while time.monotonic() < until_s:
            if self.is_there(spec):
                return True
            time.sleep(0.05)
        jobs = self._survey.take(fresh=True).by_generation.get(spec.generation, ())
        for job in jobs:
            self._control.note(folder.generation, str(job.job_id))
        return bool(jobs)

    def hand_over(self, spec: JobSpec) -> None:
        folder = self._control.node_folder(spec.generation)
        order = build_order(spec, self._own, self._common, self._control.node_launcher(), folder)
        try:
            job_id = self._transport.submit(order)
        except Rejected:
            if self.is_there(spec):
                return  # by another submitter, while this one slept
            self._control.mark_removed(spec.generation)
            self._control.entomb(spec.generation)
            raise
        self._control.note(spec.generation, str(job_id))
