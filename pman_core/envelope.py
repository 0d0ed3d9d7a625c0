"""A Celery message as kombu's Redis transport keeps it in a list: built here, pushed with the store's own connection.

kombu's publisher costs five times as much as the push itself and brings a second set of connections and time-outs
into every process that enqueues. The format is that of kombu's virtual transports, which clients in other languages
write too; ``tests/unit/test_envelope.py`` compares this one, field by field, with what the installed kombu writes.
Protocol: https://docs.celeryq.dev/en/stable/internals/protocol.html
"""

import json
import uuid
from base64 import b64encode

from celery import Celery

from pman_core.queues import Task

PERSISTENT = 2


def shown_name(task: Task, queue: str) -> str:
    """Return what Flower and the worker's log call the task: ``pman.submit docker``.

    It is only shown. The task is found by its own name, so workers of any release understand the message.
    """
    return f"{task} {queue.split('.')[1]}"


def shown_arguments(jid: str, generation: str) -> str:
    """Return what Flower shows as the arguments: the jid first, without quotes, to be searched and copied."""
    return f"{jid} {generation}"


def build_envelope(app: Celery, task: Task, jid: str, generation: str, queue: str) -> str:
    """Return the text that a worker consuming ``queue`` takes for ``task(jid, generation)``."""
    message = app.amqp.as_task_v2(
        str(uuid.uuid4()),
        task.value,
        args=(jid, generation),
        ignore_result=True,
        shadow=shown_name(task, queue),
        argsrepr=shown_arguments(jid, generation),
    )
    return json.dumps(
        {
            "body": b64encode(json.dumps(message.body).encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": message.headers,
            "properties": message.properties
            | {
                "body_encoding": "base64",
                "delivery_info": {"exchange": "", "routing_key": queue},
                "delivery_mode": PERSISTENT,
                "delivery_tag": str(uuid.uuid4()),
                "priority": 0,
            },
        }
    )
