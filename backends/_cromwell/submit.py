"""Handing a job to Cromwell: the control folder is taken first, then its workflow is posted, or adopted."""

import os
from collections.abc import Mapping
from pathlib import Path

from backends._cromwell.client import Client
from backends._cromwell.ending import abort
from backends._cromwell.errors import IdTaken
from backends._cromwell.facts import FactReader
from backends._cromwell.settings import CromwellSettings
from backends._cromwell.workflow import Task, build_attributes, build_form, workflow_id
from backends._folders import prepare_folders
from backends._hpc.control import Control
from backends._hpc.files import Folders, files_of
from pman_core.errors import Conflict, Rejected
from pman_core.job import JobSpec
from pman_core.settings import Settings


class Submitter:
    """The steps of one submit; every one of them may raise ``Unavailable``."""

    def __init__(
        self, control: Control, reader: FactReader, client: Client, own: CromwellSettings, common: Settings
    ) -> None:
        self._control = control
        self._reader = reader
        self._client = client
        self._own = own
        self._common = common
        self._store_base = common.storebase or Path()
        self._node_base = own.hpc_storebase or self._store_base

    def hand_over(self, spec: JobSpec) -> None:
        """Make the control folder and post the workflow, unless somebody else has done so meanwhile."""
        incoming, outgoing = prepare_folders(self._store_base, spec, None)
        root = self._store_base.resolve()
        folders = Folders(self._node_base, incoming.relative_to(root), outgoing.relative_to(root))
        files = files_of(spec, self._own, self._common, folders)
        form = self._form(spec, argv=files.pop("argv"), env=files.pop("env"))
        if self._control.take(spec, files) or not self.is_taken(spec):
            self._post(spec, form)

    def is_taken(self, spec: JobSpec) -> bool:
        """Whether this generation was accepted before; ``False`` if it is to be submitted, perhaps once more."""
        facts = self._reader.read(spec.generation)
        if facts.is_removed:
            raise Rejected("this generation of the job has been removed: it is not run again")
        if facts.spec is not None and (facts.spec.jid, facts.spec.instance, facts.spec.request.digest) != (
            spec.jid,
            spec.instance,
            spec.request.digest,
        ):
            raise Conflict(f"generation {spec.generation} is taken by another job, {facts.spec.jid}")
        return facts.accepted_at_s is not None or facts.verdict is not None or facts.claim is not None

    def check_user(self) -> None:
        users, (uid, gid) = self._common.container_user, (os.geteuid(), os.getegid())
        if users is None or (users.uid_low <= uid <= users.uid_high and users.gid_low <= gid <= users.gid_high):
            return
        raise Rejected(
            f"CONTAINER_USER: jobs run as the account that Cromwell submits them with, which is ours, {uid}:{gid}"
        )

    def _form(self, spec: JobSpec, argv: bytes, env: bytes) -> dict[str, str]:
        task = Task(self._control.node_launcher(), self._control.node_folder(spec.generation), argv, env)
        attributes = build_attributes(spec, self._common, self._own.cromwell_runtime_attributes)
        return build_form(spec, task, attributes, self._common.job_labels)

    def _post(self, spec: JobSpec, form: Mapping[str, str]) -> None:
        native_id = workflow_id(spec.instance, spec.jid, spec.generation)
        try:
            self._client.submit(form)
        except IdTaken:
            for workflow in self._client.with_ids([native_id], with_labels=True):
                # Its labels may be known later than it is.
                if workflow.identity is not None and workflow.identity.digest != spec.request.digest:
                    raise Conflict(f"workflow {native_id} is another job's") from None
        except Rejected:
            self._control.mark_removed(spec.generation)
            self._reader.mark_gone(spec.generation)
            raise
        if self._control.folder(spec.generation).is_removed():
            abort(self._client, native_id)
            raise Rejected("the job was removed while it was submitted")
        self._control.note(spec.generation, native_id)
