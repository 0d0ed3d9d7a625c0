"""The Celery app with every setting that matters, and the publisher.

Both ends use the same configuration: the API and the observer enqueue, the worker consumes. Why each value is what
it is, is written in ``docs/decisions.md``; ``tests/unit/test_broker.py`` reads them all back.
Settings: https://docs.celeryq.dev/en/stable/userguide/configuration.html and
https://docs.celeryq.dev/projects/kombu/en/stable/reference/kombu.transport.redis.html
"""

import logging
from typing import Any, Protocol

from celery import Celery
from kombu import Queue

from pman_core.envelope import build_envelope
from pman_core.errors import StoreUnavailable
from pman_core.queues import PURPOSE, Message, Task, key_prefix, queue_name, worker_queues
from pman_core.settings import Settings

VISIBILITY_TIMEOUT_S = 120
"""Longer than any task may take (submit lease 60 s), short enough that a killed worker's messages come back soon."""

RESTORE_MUTEX_S = 30
"""So long nobody else brings messages back when a worker dies at it. To bring one back twice does no harm."""

log = logging.getLogger(__name__)


CONSUMER_SOCKET_TIMEOUT_S = 15.0
"""A worker waits for messages with blocking reads; it only has to notice a broker that is gone without a word."""


def celery_config(settings: Settings, *, consumes: bool) -> dict[str, Any]:
    """Return the whole Celery configuration for ``settings``, of a worker or of one that only enqueues. Pure."""
    url = settings.redis_url.get_secret_value()
    transport: dict[str, Any] = {
        "global_keyprefix": key_prefix(settings.pman_instance),
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": RESTORE_MUTEX_S,
        "socket_timeout": CONSUMER_SOCKET_TIMEOUT_S if consumes else settings.redis_timeout_s,
        "socket_connect_timeout": settings.redis_timeout_s,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "queue_order_strategy": "priority",
        # No message has a priority; with the usual four steps a worker would ask for four keys of every queue.
        "priority_steps": [0],
    }
    if url.startswith("sentinel://"):
        transport["master_name"] = settings.redis_sentinel_master
    return {
        "broker_url": url,
        "broker_transport_options": transport,
        "broker_connection_timeout": settings.redis_timeout_s,
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,  # Redis full, read-only, unable to save: else it ends the worker
        "broker_pool_limit": 32,
        "broker_pool_acquire_timeout": settings.redis_timeout_s,
        "result_backend": None,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_queues": [
            Queue(name, routing_key=name) for name in worker_queues(settings.container_env, settings.pman_hostname)
        ],
        "task_default_queue": queue_name(settings.container_env, PURPOSE[Task.SUBMIT]),
        "task_create_missing_queues": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,
        "task_publish_retry": False,
        "task_send_sent_event": False,
        "worker_send_task_events": True,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_soft_shutdown_timeout": 10.0,
        "worker_enable_soft_shutdown_on_idle": False,
        "worker_hijack_root_logger": False,
        "enable_utc": True,
    }


def make_celery(settings: Settings, *, consumes: bool = False) -> Celery:
    """Return a Celery app; no connection is made yet."""
    app = Celery("pman", set_as_current=False)
    app.conf.update(celery_config(settings, consumes=consumes))
    return app


class Publisher(Protocol):
    """Enqueues. A lost message is no harm: the observer enqueues again what is due."""

    def publish(self, task: Task, jid: str, generation: str, host: str = "") -> bool:
        """Enqueue ``task`` for one generation of one job; ``host`` asks for a worker of that host.

        Returns whether the broker has confirmed it. Never raises for a broker that is away.
        """

    def message(self, task: Task, jid: str, generation: str, host: str = "") -> Message:
        """Return what :meth:`publish` would enqueue, for a caller that enqueues together with something else. Pure."""

    def backlog(self, task: Task) -> int:
        """Return how many messages of ``task`` wait for a worker of any host. Raises ``StoreUnavailable``."""


class Queues(Protocol):
    """The lists that Celery's workers consume, see ``RedisStore``. Both raise ``StoreUnavailable``."""

    def push(self, queue: str, message: str) -> None: ...

    def length(self, queue: str) -> int: ...


class QueuePublisher:
    """The publisher of production: a message built here, pushed through the store's connection."""

    def __init__(self, app: Celery, backend: str, queues: Queues) -> None:
        self._app = app
        self._backend = backend
        self._queues = queues

    def publish(self, task: Task, jid: str, generation: str, host: str = "") -> bool:
        message = self.message(task, jid, generation, host)
        try:
            self._queues.push(*message)
        except StoreUnavailable as error:
            log.warning("not enqueued, the observer will: task=%s jid=%s error=%s", task, jid, error)
            return False
        return True

    def message(self, task: Task, jid: str, generation: str, host: str = "") -> Message:
        queue = queue_name(self._backend, PURPOSE[task], host)
        return Message(queue, build_envelope(self._app, task, jid, generation, queue))

    def backlog(self, task: Task) -> int:
        return self._queues.length(queue_name(self._backend, PURPOSE[task]))
