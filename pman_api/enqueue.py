"""Enqueueing from within a request: never a reason for another reply.

The record is durable before, and the observer enqueues again what is due. So a broker that is away, and even a defect
of its client library, are told to the log only.
"""

import logging

from pman_core.broker import Publisher
from pman_core.queues import Task

log = logging.getLogger(__name__)


def enqueue(publisher: Publisher, task: Task, jid: str, generation: str, host: str = "") -> bool:
    """Publish ``task``, or log why it could not be. Never raises. Returns whether it was published."""
    try:
        return publisher.publish(task, jid, generation, host)
    except Exception:
        log.exception("not enqueued, the observer will: task=%s jid=%s", task, jid)
        return False
