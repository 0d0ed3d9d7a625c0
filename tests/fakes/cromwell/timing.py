"""Everything that delays a workflow in Cromwell. The defaults are Cromwell 92's, a site's `.conf` may change some.

What is configurable has the name of its setting beside it; the rest is fixed in Cromwell's code, or was measured.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

from pyhocon import ConfigTree

COUNTS = {"max_launch_count", "tokens", "poll_factor"}


@dataclass(frozen=True)
class Timing:
    """Durations in seconds, but for the fields in ``COUNTS``."""

    new_workflow_poll_s: float = 20.0
    """system.new-workflow-poll-rate: a poll starts workflows of ONE hog group."""
    max_launch_count: int = 50
    """system.max-workflow-launch-count: so many of that group."""
    call_start_s: float = 2.0
    """Measured: from the start of a workflow until its call asks for a token."""
    tokens: int = 20
    """system.job-rate-control.jobs: so many calls get a token ..."""
    token_period_s: float = 10.0
    """... system.job-rate-control.per."""
    poll_initial_s: float = 1.0
    """A submitted call is looked at after this time, then ever more seldom."""
    poll_factor: float = 1.1
    poll_max_s: float = 300.0
    finish_s: float = 1.0
    """Measured: from the end of a call to the end of its workflow."""
    abort_scan_s: float = 30.0
    """system.abort.scan-frequency."""
    metadata_flush_s: float = 5.0
    """services.MetadataService.config.db-flush-rate."""
    metadata_summary_s: float = 1.0
    """services.MetadataService.config.metadata-summary-refresh-interval."""
    key_value_flush_s: float = 5.0
    """services.KeyValue.config.db-flush-rate: a job id that is younger is lost by ``kill -9``."""
    heartbeat_s: float = 120.0
    """system.workflow-heartbeats.heartbeat-interval."""
    heartbeat_ttl_s: float = 600.0
    """system.workflow-heartbeats.ttl: a workflow of a dead Cromwell is resumed when its heartbeat is so old."""

    def scaled(self, factor: float) -> "Timing":
        """Return the same proportions in another time."""
        durations = (field.name for field in fields(self) if field.name not in COUNTS)
        return replace(self, **{name: getattr(self, name) * factor for name in durations})

    @classmethod
    def of(cls, conf: ConfigTree) -> "Timing":
        """Read what a `.conf` says of it."""
        system, services = "system.", "services."
        given: dict[str, Any] = {
            "new_workflow_poll_s": conf.get(f"{system}new-workflow-poll-rate", None),
            "max_launch_count": conf.get(f"{system}max-workflow-launch-count", None),
            "tokens": conf.get(f"{system}job-rate-control.jobs", None),
            "token_period_s": conf.get(f"{system}job-rate-control.per", None),
            "abort_scan_s": conf.get(f"{system}abort.scan-frequency", None),
            "heartbeat_s": conf.get(f"{system}workflow-heartbeats.heartbeat-interval", None),
            "heartbeat_ttl_s": conf.get(f"{system}workflow-heartbeats.ttl", None),
            "metadata_flush_s": conf.get(f"{services}MetadataService.config.db-flush-rate", None),
            "metadata_summary_s": conf.get(f"{services}MetadataService.config.metadata-summary-refresh-interval", None),
            "key_value_flush_s": conf.get(f"{services}KeyValue.config.db-flush-rate", None),
        }
        return cls(**{name: _number(value) for name, value in given.items() if value is not None})


DEFAULT = Timing()

FAST = Timing(
    new_workflow_poll_s=0.05,
    call_start_s=0.02,
    tokens=50,
    token_period_s=0.02,
    poll_initial_s=0.05,
    poll_max_s=0.2,
    finish_s=0.02,
    abort_scan_s=0.1,
    metadata_flush_s=0.05,
    metadata_summary_s=0.05,
    key_value_flush_s=0.05,
    heartbeat_s=0.2,
    heartbeat_ttl_s=1.0,
)
"""For suites: every delay is there, and short."""


def _number(value: Any) -> float | int:
    """Return seconds for a duration; pyhocon gives ``timedelta`` or ``relativedelta`` for ``30 seconds``."""
    if isinstance(value, int | float):
        return value
    if hasattr(value, "total_seconds"):
        return float(value.total_seconds())
    return float(value.hours * 3600 + value.minutes * 60 + value.seconds + value.microseconds / 1e6)
