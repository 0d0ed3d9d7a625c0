"""What pman says of itself: the description that clients ask for, and the two probes."""

from flask import Response

from pman_api.guarded_store import GuardedStore
from pman_api.replies import json_reply
from pman_api.reports import Reports
from pman_api.wire import iso_time
from pman_core import __version__
from pman_core.errors import StoreUnavailable
from pman_core.settings import Settings
from pman_core.store.protocol import BackendReport


class Service:
    """The views that are about no job. No setting but the two named ones is ever shown."""

    def __init__(self, settings: Settings, store: GuardedStore, reports: Reports) -> None:
        self._settings = settings
        self._store = store
        self._reports = reports

    def describe(self) -> Response:
        """GET of the base: the three keys of the old pman need no Redis, so a Redis that is away changes nothing.

        ``container_env`` is the engine that was found, if it is another than the one that was asked for.
        """
        try:
            report = self._reports.latest()
        except StoreUnavailable:
            report = None
        return json_reply(
            {
                "server_version": __version__,
                "container_env": (report and report.capabilities.get("engine")) or self._settings.container_env,
                "storage_type": self._settings.storage_type,
                "backend": _backend(report),
            }
        )

    def health(self) -> Response:
        """Liveness: this process answers."""
        return json_reply({"status": "alive"})

    def ready(self) -> Response:
        """Readiness: jobs can be accepted. A backend that is ill, or has no worker yet, does not stop that."""
        self._store.ping()
        return json_reply({"status": "ready", "backend": _backend(self._reports.latest())})


def _backend(report: BackendReport | None) -> dict[str, object] | None:
    """Show what workers have said of the backend; ``null`` as long as none has."""
    if report is None:
        return None
    return {
        "name": report.name,
        "ok": report.ok,
        "message": report.message,
        "reported_at": iso_time(report.reported_at_ms),
        "capabilities": dict(report.capabilities),
    }
