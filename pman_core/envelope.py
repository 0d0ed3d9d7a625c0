"""A Celery message as kombu's Redis transport keeps it in a list: built here, pushed with the store's own connection.

kombu's publisher costs five times as much as the push itself and brings a second set of connections and time-outs
into every process that enqueues. The format is that of kombu's virtual transports, which clients in other languages
write too; ``tests/unit/test_envelope.py`` compares this one, field by field, with what the installed kombu writes.
Protocol: https://docs.celeryq.dev/en/stable/internals/protocol.html
"""

import functools
import json
import re
import uuid
from base64 import b64encode
from typing import Any

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
    text, embed = _form(app, task, queue)
    body = json.dumps([[jid, generation], {}, embed])
    told = {
        BODY: b64encode(body.encode()).decode(),
        # A name of a job needs no escaping, but nobody here has looked whether it is one.
        ARGUMENTS: json.dumps(shown_arguments(jid, generation))[1:-1],
        ID: str(uuid.uuid4()),
        TAG: str(uuid.uuid4()),
    }
    return MARK.sub(lambda mark: told[mark[0]], text)


BODY, ARGUMENTS, ID, TAG = "<body>", "<arguments>", "<id>", "<tag>"
MARK = re.compile(f"{BODY}|{ARGUMENTS}|{ID}|{TAG}")


@functools.lru_cache(maxsize=256)
def _form(app: Celery, task: Task, queue: str) -> tuple[str, Any]:
    """Return the message of a task and queue with marks where every message differs, and the last part of its body.

    Celery writes it once: that costs more than everything else that happens when a job is enqueued.
    """
    message = app.amqp.as_task_v2(
        ID, task.value, args=(), ignore_result=True, shadow=shown_name(task, queue), argsrepr=ARGUMENTS
    )
    properties = message.properties | {
        "body_encoding": "base64",
        "delivery_info": {"exchange": "", "routing_key": queue},
        "delivery_mode": PERSISTENT,
        "delivery_tag": TAG,
        "priority": 0,
    }
    envelope = {
        "body": BODY,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": message.headers,
        "properties": properties,
    }
    return json.dumps(envelope), message.body[2]
