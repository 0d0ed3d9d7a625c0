"""The mock whose sightings are told otherwise; what some of the liars are made of."""

from collections.abc import Mapping, Sequence

from backends.mock import MockBackend
from pman_core.backend import JobRef, Observed, Sighting


class Retold(MockBackend):
    """Its sightings go through ``retell``."""

    def retell(self, observed: Observed) -> Observed:
        raise NotImplementedError

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        return {
            key: self.retell(found) if isinstance(found, Observed) else found
            for key, found in super().observe(refs).items()
        }
