"""What the store promises about pulls of images; a part of :class:`pman_core.store.protocol.Store`.

For each image and backend there is a set of jobs that wait for it, and at most one holder of its lease, who pulls. A
crash loses nothing: the lease runs out, and every job that waited is due again by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Pull:
    """One attempt to fetch one image; the token is its lease."""

    backend: str
    image: str
    token: str


class Waiter(NamedTuple):
    """A job that waits for an image."""

    jid: str
    generation: str


class Joined(StrEnum):
    """How :meth:`Pulls.join_pull` ended."""

    HOLDS = "holds"  # the lease is ours: pull
    WAITS = "waits"  # another one pulls; the job is among those that it will wake
    READY = "ready"  # the image was fetched after the job had asked for it: submit
    GONE = "gone"  # deleted, past it, or served: nobody waits


class Pulls(Protocol):
    """All is done by jid and generation, and only to records that are QUEUED: others have left."""

    def join_pull(self, pull: Pull, jid: str, generation: str, lease_s: float) -> Joined:
        """Add a job to those that wait for the image, and take the lease if it is free."""

    def tell_pull(self, pull: Pull, message: str, lease_s: float) -> Sequence[Waiter] | None:
        """Renew the lease, write how far it is into every record that waits, and put off the next attempts.

        Returns who waits still; ``None``, and nothing is done, if the lease is another's by now.
        """

    def end_pull(self, pull: Pull, *, fetched: bool, delay_s: float = 0.0, message: str = "") -> Sequence[Waiter]:
        """Give the lease back and let everybody go; returns who has waited.

        ``fetched``: the image is there, whoever holds the lease: each record gets ``image_at_ms`` and may be submitted
        at once. Else, only if the lease is ours, each is put off by ``delay_s`` with ``message`` (empty: as it was).
        """
