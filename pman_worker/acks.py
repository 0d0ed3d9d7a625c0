"""How this worker receives and acknowledges its messages: cheaply, and never through a connection that is gone.

Every task here finds done what is done, and a message that was not acknowledged comes back after the visibility
time-out. So a late acknowledgement costs nothing, and one for each message in a transaction of its own costs a
quarter of the time of Celery's loop. To make a new client for every message costs a seventh.

kombu 5.7 also *ends* a worker whose Redis goes away under running tasks: it restores and acknowledges the messages of
the lost connection through a channel that has none any more (``AttributeError: 'NoneType' object has no attribute
'hostname'``; the like is told in https://github.com/celery/kombu/issues/582).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from time import time
from typing import Any

from kombu.asynchronous import get_event_loop
from kombu.transport.redis import Channel, QoS, SentinelChannel, SentinelTransport, Transport
from kombu.utils.json import dumps

BUNDLE_S = 0.1


class BundledAcks(QoS):
    """Acknowledges ``BUNDLE_S`` after the first task of a bundle; leaves a closed channel's messages to come back."""

    restore_at_shutdown = False
    # What the published types of kombu leave out.
    channel: Any
    _quick_ack: Callable[[str], None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._done: list[str] = []

    def append(self, message: Any, delivery_tag: str) -> None:
        """Write down that the message is under way, before it is: two commands in one packet, without a transaction."""
        place = message.delivery_info
        copy = dumps([message._raw, place["exchange"], place["routing_key"]])
        with self.channel.conn_or_acquire() as client:
            bundle = client.pipeline(transaction=False)
            bundle.zadd(self.unacked_index_key, {delivery_tag: time()}).hset(self.unacked_key, delivery_tag, copy)
            bundle.execute()
        super(QoS, self).append(message, delivery_tag)  # what the stock one does after its own two commands

    def ack(self, delivery_tag: str) -> None:
        """Called in the thread of Celery's loop."""
        if self.channel.closed:
            return
        self._quick_ack(delivery_tag)
        self._done.append(delivery_tag)
        loop = get_event_loop()
        if loop is None:
            self.flush()
        elif len(self._done) == 1:
            loop.call_later(BUNDLE_S, self.flush)

    def flush(self) -> None:
        """Acknowledge what is done, in one round trip."""
        tags, self._done = self._done, []
        if not tags or self.channel.closed:
            return
        with self.channel.conn_or_acquire() as client:
            bundle = client.pipeline(transaction=False)
            bundle.zrem(self.unacked_index_key, *tags).hdel(self.unacked_key, *tags).execute()

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if not self.channel.closed:
            super().reject(delivery_tag, requeue=requeue)


class PlainChannel(Channel):
    """One client for all that does not block, where the stock channel makes a new client for each command.

    Making one costs more than any command: redis-py fills a table of two hundred replies. Threads may share a client.
    """

    QoS = BundledAcks
    # What the published types of kombu leave out.
    pool: Any
    _create_client: Callable[..., Any]
    _shared: Any = None

    def conn_or_acquire(self, client: Any = None) -> AbstractContextManager[Any]:  # type: ignore[override]
        """Return a context of ``client``, or of the channel's own."""
        if client is None:
            if self._shared is None or self._shared.connection_pool is not self.pool:
                self._shared = self._create_client()
            client = self._shared
        return nullcontext(client)


class ReplicatedChannel(PlainChannel, SentinelChannel):
    """The same, of what Sentinel calls the master."""


def install() -> None:
    """Let every Redis channel of this process, through Sentinel too, be one of ours."""
    Transport.Channel = PlainChannel
    SentinelTransport.Channel = ReplicatedChannel
