"""Ending and removing a job: a mark in its control folder first, then an abort of its workflow.

An abort is carried out later, by a scan, and the call's ``sbatch`` may come before it: a launcher that begins after the
mark leaves at once.
"""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from backends._cromwell.client import Client
from backends._cromwell.errors import NotInProgress, NotThere
from backends._cromwell.execution import bury
from backends._cromwell.facts import FactReader
from backends._cromwell.workflow import workflow_id
from backends._hpc.control import Control
from backends._hpc.outcome import Verdict, verdict_of
from pman_core.errors import Unavailable, Unparseable


class Ending:
    """Ends the jobs of one instance. Both methods may raise ``Unavailable``."""

    def __init__(self, control: Control, reader: FactReader, client: Client, instance: str) -> None:
        self._control = control
        self._reader = reader
        self._client = client
        self._instance = instance

    def end(self, jid: str, generation: str, verdict: Verdict) -> None:
        self._control.check()
        facts = self._reader.read(generation)
        if facts.damage:
            raise Unavailable(facts.damage)
        if not facts.is_there or facts.is_removed or (facts.spec is not None and facts.spec.jid != jid):
            return
        if facts.verdict is None:
            told = None if facts.end is None else verdict_of(facts.end)
            began_at = None if facts.claim is None else facts.claim.at
            ended_at = max(datetime.now(UTC), began_at or datetime.min.replace(tzinfo=UTC))
            self._control.put_verdict(generation, told or replace(verdict, started_at=began_at, finished_at=ended_at))
        abort(self._client, self._id(jid, generation))

    def remove(self, jid: str, generation: str) -> bool:
        self._control.check()
        facts = self._reader.read(generation)
        if facts.spec is not None and facts.spec.jid != jid:
            return False
        # First of all: a launcher that begins from here on leaves at once.
        if not facts.is_there:
            self._control.take_name(generation)
        elif not facts.is_removed:
            self._control.mark_removed(generation)
        native_id = self._id(jid, generation)
        if abort(self._client, native_id):
            return False
        if not facts.is_gone:
            account = None
            with suppress(NotThere, Unparseable):
                account = self._client.account(native_id)
            if facts.is_at_work and (account is None or account.status == "Failed"):
                return False  # Cromwell can end nothing of it; the launcher sees the mark, and ends it
            if account is not None:
                bury(native_id, account)
            self._reader.mark_gone(generation)
        return facts.claim is None or facts.end is not None

    def _id(self, jid: str, generation: str) -> str:
        return workflow_id(self._instance, jid, generation)


def abort(client: Client, native_id: str) -> bool:
    """Have a workflow aborted. Returns whether anything of it may go on for a while."""
    try:
        return client.abort(native_id) != "Aborted"
    except NotInProgress:
        return False
    except Unparseable as error:
        raise Unavailable(f"{error}: {error.raw}") from error
