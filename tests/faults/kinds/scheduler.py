"""What a scheduler with an event stream can do wrong; the mock does it on demand."""

from collections.abc import Sequence
from random import Random

from backends._mock_folder import Faults, Folder
from tests.faults.kinds.base import NOBODY, Fault
from tests.faults.stage import Stage
from tests.faults.worlds import MockWorld


class OfMock(Fault):
    backends = frozenset({"mock"})
    targets = ("scheduler",)

    def __init__(self, what: str, faults: Faults, lasts_s: tuple[float, float] = (2.0, 10.0)) -> None:
        self.name = f"scheduler-{what}"
        self.lasts_s = lasts_s
        self._faults = faults

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        _folder_of(stage).faults = self._faults
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        _folder_of(stage).faults = Faults()


def _folder_of(stage: Stage) -> Folder:
    assert isinstance(stage.world, MockWorld)
    return stage.world.scheduler


SCHEDULER: Sequence[Fault] = (
    OfMock("down", Faults(down=True), (5.0, 30.0)),
    OfMock("slow", Faults(slow_s=5.0), (5.0, 12.0)),
    OfMock("errors", Faults(error_share=0.5)),
    OfMock("nonsense", Faults(error_share=0.2, error="unparseable")),
    OfMock("loses-events", Faults(lose_events=True)),
    OfMock("tells-late", Faults(late_events_s=4.0)),
    OfMock("tells-twice", Faults(repeat_events=True)),
    OfMock("tells-backwards", Faults(reorder_events=True)),
)
