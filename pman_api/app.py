"""The app factory: what answers where. Pure: no environment is read, nothing connects.

Clients follow no redirect (a 308 is an error to them), so every path is served with and without its last slash.
"""

import time
from collections.abc import Callable

from flask import Flask

from pman_api import openapi, problems, request_ids
from pman_api.guarded_store import GuardedStore
from pman_api.jobs import Jobs
from pman_api.live_logs import LiveLogs
from pman_api.reports import Reports
from pman_api.service import Service
from pman_api.urls import JidConverter
from pman_core.broker import Publisher
from pman_core.settings import Settings
from pman_core.store.protocol import Store

BASE = "/api/v1"


def create_app(
    settings: Settings,
    store: Store,
    publisher: Publisher,
    *,
    monotonic: Callable[[], float] = time.monotonic,
) -> Flask:
    """Return the app of one CONTAINER_ENV over ``store``; tasks go out through ``publisher``."""
    app = Flask("pman_api", static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.url_map.converters["jid"] = JidConverter

    guarded = GuardedStore(store)
    reports = Reports(guarded, settings.container_env, monotonic)
    live_logs = LiveLogs(guarded, publisher, reports, settings.live_logs_s, monotonic)
    jobs = Jobs(settings, guarded, publisher, reports, live_logs)
    service = Service(settings, guarded, reports)

    app.add_url_rule(f"{BASE}/", "describe", service.describe, methods=["GET"])
    app.add_url_rule(f"{BASE}/", "submit", jobs.submit, methods=["POST"])
    app.add_url_rule(f"{BASE}/<jid:raw_jid>", "read", jobs.read, methods=["GET"])
    app.add_url_rule(f"{BASE}/<jid:raw_jid>", "delete", jobs.delete, methods=["DELETE"])
    app.add_url_rule("/jobs/", "list", jobs.list, methods=["GET"])
    app.add_url_rule("/health/", "health", service.health, methods=["GET"])
    app.add_url_rule("/ready/", "ready", service.ready, methods=["GET"])
    app.add_url_rule("/openapi.json", "openapi", openapi.view, methods=["GET"])

    request_ids.install(app)
    problems.install(app)
    return app
