"""The Celery tasks: names and arguments, nothing else. The work is in :mod:`pman_worker.lifecycle`."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from celery import Celery

from pman_core.errors import StoreUnavailable, Unparseable
from pman_core.queues import Task
from pman_core.store.protocol import Obligation
from pman_worker import lifecycle, pulls
from pman_worker.context import Context

log = logging.getLogger(__name__)


@contextmanager
def _told(task: str, jid: str, generation: str) -> Iterator[None]:
    """Log every failure with the job it belongs to, and let Celery see it."""
    try:
        yield
    except StoreUnavailable as error:
        log.warning("%s broke off, the observer brings it back: jid=%s generation=%s %s", task, jid, generation, error)
    except Unparseable as error:
        log.exception("%s: not understood: jid=%s generation=%s raw=%s", task, jid, generation, error.raw)
        raise
    except Exception:
        log.exception("%s failed: jid=%s generation=%s", task, jid, generation)
        raise


def register(app: Celery, ctx: Context, stop: threading.Event | None = None) -> None:
    """Bind the tasks to ``app``. A store that is away ends a task quietly: the observer brings the job back.

    ``stop`` gives up the pulls that are under way: the worker is to end.
    """

    @app.task(name=Task.SUBMIT, shared=False)
    def submit(jid: str, generation: str) -> None:
        with _told("submit", jid, generation):
            lifecycle.submit(ctx, jid, generation)

    @app.task(name=Task.REFRESH, shared=False)
    def refresh(jid: str, generation: str) -> None:
        with _told("refresh", jid, generation):
            lifecycle.refresh(ctx, jid, generation)

    @app.task(name=Task.DELETE, shared=False)
    def delete(jid: str, generation: str) -> None:
        with _told("delete", jid, generation):
            lifecycle.remove(ctx, Obligation(jid, generation, ctx.host))

    # Acknowledged early: it may take longer than the visibility time-out, and those who wait for it do not need it.
    @app.task(name=Task.PULL, shared=False, acks_late=False)
    def pull(jid: str, generation: str) -> None:
        with _told("pull", jid, generation):
            pulls.pull(ctx, jid, generation, stop)
