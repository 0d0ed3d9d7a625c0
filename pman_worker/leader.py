"""One observer leads, the others stand by: a lease in the store, renewed by a thread of its own.

The renewal has its own thread so that a scheduler that answers slowly does not cost the lease. Writes of the leader
need no fence of their own, they are compare-and-set; only the counting of absences is fenced by the token.
"""

import logging
import secrets
import threading
import time

from pman_core.errors import StoreUnavailable
from pman_core.store.protocol import Store

log = logging.getLogger(__name__)


class Leader:
    """The lease of ``scope``: ``leads()`` is true only while the store has confirmed it in time."""

    def __init__(self, store: Store, scope: str, lease_s: float) -> None:
        self.scope = scope
        self.token = secrets.token_hex(8)
        self._store = store
        self._lease_s = lease_s
        self._until_s = 0.0
        self._heard_until_s = 0.0

    def leads(self) -> bool:
        return time.monotonic() < self._until_s

    def hears(self) -> bool:
        """Whether the store has answered within the time of a lease, be it with a no."""
        return time.monotonic() < self._heard_until_s

    def renew(self) -> None:
        """Take or renew the lease; a store that is away lets it run out."""
        asked_s = time.monotonic()
        try:
            granted = self._store.lead(self.scope, self.token, self._lease_s)
        except StoreUnavailable as error:
            log.warning("leader lease of %s not renewed: %s", self.scope, error)
            return
        except Exception:
            # The thread must live on, or this observer would stand by for ever.
            log.exception("leader lease of %s not renewed", self.scope)
            return
        self._heard_until_s = asked_s + self._lease_s
        if granted and not self.leads():
            log.info("leading %s", self.scope)
        self._until_s = asked_s + self._lease_s if granted else 0.0

    def keep(self, stop: threading.Event) -> None:
        """Renew until ``stop`` is set, then give the lease back so that another takes over at once."""
        self.renew()
        while not stop.wait(self._lease_s / 3):
            self.renew()
        self._until_s = 0.0
        try:
            self._store.resign(self.scope, self.token)
        except StoreUnavailable as error:
            log.info("leader lease of %s left to run out: %s", self.scope, error)
