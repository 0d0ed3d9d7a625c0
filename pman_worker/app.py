"""The Celery app of the worker, for ``celery -A pman_worker.app``: settings, context and tasks put together."""

import sys
import threading
import warnings
from typing import Any

from celery.exceptions import SecurityWarning
from celery.signals import heartbeat_sent, setup_logging, worker_init, worker_shutdown, worker_shutting_down

from pman_core.broker import make_celery
from pman_core.errors import InvalidSettings, Rejected
from pman_core.logs import configure_logging
from pman_core.settings import load_settings
from pman_worker import acks, intake
from pman_worker.context import make_context
from pman_worker.heartbeat import Heartbeat
from pman_worker.observer import open_patiently
from pman_worker.tasks import register

try:
    settings = load_settings()
    ctx = make_context(settings)
except (InvalidSettings, ImportError) as error:
    sys.stderr.write(f"the worker cannot start: {error}\n")
    sys.exit(2)

configure_logging(settings)
# Celery warns root of pickle; only JSON is accepted here.
warnings.filterwarnings("ignore", category=SecurityWarning)
acks.install()
intake.install()
app = make_celery(settings, consumes=True)
app.conf.worker_consumer = "pman_worker.consumer:Consumer"
stop = threading.Event()
heartbeat = Heartbeat(settings.heartbeat_file)
register(app, ctx, stop)


@setup_logging.connect(weak=False)
def _keep_logging(**_: Any) -> None:
    """A receiver of this signal keeps Celery from setting up logging of its own."""


@worker_init.connect(weak=False)
def _open(**_: Any) -> None:
    """A worker without its backend must not take jobs: it waits here."""
    heartbeat.begin()
    try:
        open_patiently(ctx, threading.Event())
    except Rejected as error:
        sys.stderr.write(f"the worker cannot start: {error}\n")
        sys.exit(2)


@heartbeat_sent.connect(weak=False)
def _beat(**_: Any) -> None:
    """Celery's loop sends events of its own every two seconds, as long as it has its connection."""
    heartbeat.beat()


@worker_shutting_down.connect(weak=False)
def _stop(**_: Any) -> None:
    """A warm shutdown waits for the tasks under way: not for a pull of an hour."""
    stop.set()


@worker_shutdown.connect(weak=False)
def _close(**_: Any) -> None:
    ctx.backend.close()
