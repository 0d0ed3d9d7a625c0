"""What a worker takes from its queues: something that is no message is logged and dropped, and the worker goes on.

kombu 5.7 and Celery 5.7 let most of it through to the top of the loop: one text that is not JSON, or JSON of another
shape, *ends* every worker that takes it. A dropped message is no harm: what waits is enqueued again when it is due.
"""

import logging
from typing import Any

from kombu.transport import redis

NOT_A_MESSAGE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What comes of reading a text as a message that is none. Never an error of the connection or of Redis."""
SHOWN_MAX = 200

log = logging.getLogger(__name__)

# What the published types of kombu leave out.
_channels: Any = redis.Channel
_transports: Any = redis.Transport
_read_next = _channels._brpop_read
_deliver = _transports._deliver


def read_next(channel: Any, **options: Any) -> Any:
    """Take the next text from the queues and deliver it, if it is one of a message."""
    try:
        return _read_next(channel, **options)
    except NOT_A_MESSAGE:
        log.exception("dropped from a queue: not a message at all")
        return True


def deliver(transport: Any, raw: Any, queue: str) -> None:
    """Hand a message over to Celery; what Celery cannot handle is not left unacknowledged, to come back for ever."""
    try:
        _deliver(transport, raw, queue)
    except NOT_A_MESSAGE:
        log.exception("dropped from the queue %s: %s", queue, repr(raw)[:SHOWN_MAX])
        if tag := _tag_of(raw):
            for channel in transport.channels:
                channel.basic_reject(tag, requeue=False)


def _tag_of(raw: Any) -> str:
    try:
        return str(raw["properties"]["delivery_tag"])
    except NOT_A_MESSAGE:
        return ""


def install() -> None:
    """Let every Redis channel of this process, through Sentinel too, read like this."""
    _channels._brpop_read = read_next
    _transports._deliver = deliver
