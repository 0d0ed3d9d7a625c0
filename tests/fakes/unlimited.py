"""The mock as a scheduler without time limits: it says so, and ends an overdue job when it is told."""

from backends._time_limit import describe_time_limit
from backends.mock import MockBackend, MockSettings
from pman_core.backend import Capabilities
from pman_core.job import JobSpec
from pman_core.settings import Settings
from pman_core.states import Reason


class Unlimited(MockBackend):
    capabilities = Capabilities(sets_user=False, watches=True, ends_overdue=False)

    def __init__(self, common: Settings, own: MockSettings) -> None:
        self._limits = common
        super().__init__(common.model_copy(update={"timelimit_minutes": None}), own)

    def end_overdue(self, jid: str, generation: str) -> None:
        found = self._to_remove(jid, generation)
        if found is not None:
            self._end(*found, gone_after_s=None, reason=Reason.TIME_LIMIT, message=self.told(found[0].spec_json))

    def told(self, spec_json: str) -> str:
        """Return the message of a job that is past its time limit."""
        asked_minutes = JobSpec.from_json(spec_json).request.time_limit_minutes
        return describe_time_limit(self._limits.time_limit_s(asked_minutes))
