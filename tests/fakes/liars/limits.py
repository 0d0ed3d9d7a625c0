"""Liars that do not keep a job to its limits, or do not say how it ended at one."""

from dataclasses import replace

from backends._time_limit import describe_time_limit
from backends.mock import MockBackend, MockSettings
from pman_core.backend import Capabilities, Handle, Observed
from pman_core.job import JobSpec
from pman_core.settings import Settings
from pman_core.states import Reason
from tests.fakes.liars.retold import Retold
from tests.fakes.unlimited import Unlimited


class IgnoresGpus(MockBackend):
    """Declares that it has none, and runs the job without."""

    def submit(self, spec: JobSpec) -> Handle:
        request = spec.request.model_copy(update={"gpus": 0})
        return super().submit(JobSpec(spec.generation, spec.instance, request))


class IgnoresTheTimeLimit(MockBackend):
    def __init__(self, common: Settings, own: MockSettings) -> None:
        super().__init__(common.model_copy(update={"timelimit_minutes": None}), own)


class ForgetsWhy(Unlimited):
    """What is past its time limit looks as if somebody had cancelled it."""

    def end_overdue(self, jid: str, generation: str) -> None:
        self.end(jid, generation)


class HidesTheLimit(Unlimited):
    """What is past its time limit does not say how long that was."""

    def told(self, spec_json: str) -> str:
        return "ended at its time limit"


class NamesTheSitesLimit(Unlimited):
    """What a job has asked for is not looked at."""

    def told(self, spec_json: str) -> str:
        return describe_time_limit(self._limits.time_limit_s(None))


class RemovesTheOverdue(Unlimited):
    """What is past its time limit is not there any more to tell so."""

    def end_overdue(self, jid: str, generation: str) -> None:
        self.remove(jid, generation)


class BlamesTheEnded(Retold, Unlimited):
    """Whatever is told to be past its time limit says so, also what had ended before."""

    def end_overdue(self, jid: str, generation: str) -> None:
        super().end_overdue(jid, generation)
        (self._folder.path / f"blamed-{generation}").touch()

    def retell(self, observed: Observed) -> Observed:
        is_blamed = (self._folder.path / f"blamed-{observed.generation}").exists()
        return replace(observed, reason=Reason.TIME_LIMIT) if is_blamed else observed


class NeverEndsTheOverdue(Unlimited):
    """Declares that the observer must end overdue jobs, and does not hear it."""

    def end_overdue(self, jid: str, generation: str) -> None:
        pass


class IgnoresTheUser(MockBackend):
    def __init__(self, common: Settings, own: MockSettings) -> None:
        super().__init__(common.model_copy(update={"container_user": None}), own)


class BoastsOfUsers(IgnoresTheUser):
    """Declares that it sets the user, and does not."""

    capabilities = Capabilities(watches=True)
