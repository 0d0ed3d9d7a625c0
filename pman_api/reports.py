"""What workers have published about the backend, at most a few seconds old, so that a POST need not ask each time."""

from collections.abc import Callable

from pman_api.guarded_store import GuardedStore
from pman_core.backend import Capabilities
from pman_core.store.protocol import BackendReport

FRESH_S = 3.0


class Reports:
    """The report of one backend. Threads may share it: at worst two of them read it anew at once."""

    def __init__(self, store: GuardedStore, backend: str, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._backend = backend
        self._monotonic = monotonic
        self._stale_at = float("-inf")
        self._report: BackendReport | None = None

    def latest(self) -> BackendReport | None:
        """Return the report, ``None`` while no worker has spoken.

        Raises:
            StoreUnavailable: it must be read anew and cannot.
        """
        now = self._monotonic()
        if self._report is None or now >= self._stale_at:
            self._report = self._store.report(self._backend)
            self._stale_at = now + FRESH_S
        return self._report

    def capabilities(self) -> Capabilities | None:
        """Return what the backend can do; see :meth:`latest`."""
        report = self.latest()
        return Capabilities.from_dict(report.capabilities) if report else None
