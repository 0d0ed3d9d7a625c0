"""A look at many jobs: their control folders, Slurm's listing, and one question of accounting for the forgotten."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from backends._hpc.control import Control
from backends._hpc.outcome import Verdict
from backends._slurm.judge import goes_on
from backends._slurm.sight import Sight, read_sight
from backends._slurm.survey import Listing
from backends._slurm.transport import NativeJob, NoAccounting, Transport
from pman_core.errors import BackendError, Unavailable

log = logging.getLogger(__name__)

ACCOUNTED_SINCE = timedelta(days=365)


class Looks:
    """Looks, and writes down each end that is seen for the first time."""

    def __init__(self, control: Control, transport: Transport) -> None:
        self._control = control
        self._transport = transport

    def look(self, generations: Sequence[str], listing: Listing) -> dict[str, Sight]:
        """Read the control folders, ask accounting once for all whom slurmctld has forgotten, and judge."""
        read = {generation: read_sight(self._control.folder(generation), listing) for generation in generations}
        now = datetime.now(UTC)
        forgotten = {job_id for found in read.values() for job_id in found.forgotten(listing, now)}
        accounted, failure = self._accounted(forgotten)
        for found in read.values():
            found.decide(accounted, failure, now)
            if isinstance(found.judgement, Verdict) and found.known.verdict is None and found.spec is not None:
                with suppress(Unavailable):  # a full disk, or a removal meanwhile, does not change the truth
                    found.judgement = self._control.put_verdict(found.folder.generation, found.judgement)
        return read

    def _accounted(self, job_ids: set[int]) -> tuple[dict[int, NativeJob], str]:
        """Return what accounting knows, and why it can say nothing of the others, if it cannot."""
        try:
            jobs = self._ask(job_ids)
            late = {job_id for job_id in job_ids if job_id not in jobs or goes_on(jobs[job_id])}
        except NoAccounting:
            return {}, ""
        except BackendError as error:
            log.warning("accounting cannot be asked: %s", error)
            return {}, f"accounting cannot be asked: {error}"
        if not late:
            return jobs, ""
        try:
            if waiting := self._transport.unaccounted():
                return jobs, f"accounting has not heard all of slurmctld yet: {waiting} messages wait"
            # It has heard all by now. When it was asked, it may not have.
            return jobs | self._ask(late), ""
        except (NoAccounting, BackendError) as error:
            log.warning("whether accounting has heard all of slurmctld cannot be asked: %s", error)
            return jobs, f"whether accounting has heard all of slurmctld is not known: {error}"

    def _ask(self, job_ids: set[int]) -> dict[int, NativeJob]:
        if not job_ids:
            return {}
        return {job.job_id: job for job in self._transport.accounted(job_ids, datetime.now(UTC) - ACCOUNTED_SINCE)}
