"""The numbers that the store decides by, taken from the settings once."""

from dataclasses import dataclass

from pman_core.settings import Settings

TOMBSTONE_MIN_S = 24 * 3600
"""A tombstone outlives every message, listing and lease that may still speak of its job."""

CLOCK_MARGIN_S = 3600
"""So far the scheduler's clock may be from the store's."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Times in milliseconds."""

    lease_ms: int = 60_000
    attempts_max: int = 5
    requeue_ms: int = 10_000
    fence_ms: int = 300_000
    tombstone_ms: int = TOMBSTONE_MIN_S * 1000

    keeps_objects: bool = False
    """REMOVE_JOBS=no: a deleted job is ended and hidden, its native object stays."""

    @classmethod
    def from_settings(cls, settings: Settings) -> "Policy":
        """With REMOVE_JOBS=no native objects stay: their tombstone must cover the whole retention."""
        return cls(
            lease_ms=round(settings.submit_lease_s * 1000),
            attempts_max=settings.submit_attempts_max,
            requeue_ms=round(settings.requeue_s * 1000),
            fence_ms=round(settings.submit_fence_s * 1000),
            keeps_objects=not settings.remove_jobs,
            tombstone_ms=round(max(TOMBSTONE_MIN_S, settings.retention_hours * 3600 + CLOCK_MARGIN_S) * 1000),
        )
