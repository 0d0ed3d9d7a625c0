"""Keeps a Celery worker alive when Redis goes away while tasks are under way.

kombu 5.7 ends the worker in that case: it restores and acknowledges the messages of the lost connection through a
channel that has none any more (``AttributeError: 'NoneType' object has no attribute 'hostname'``; the like is told in
https://github.com/celery/kombu/issues/582). Neither is needed here. A message that was not acknowledged comes back
after the visibility time-out, the observer enqueues what is due before that, and every task finds done what is done.
"""

from kombu.transport.redis import Channel, QoS


class ForgivingQoS(QoS):
    """Leaves the messages of a closed channel to the visibility time-out."""

    restore_at_shutdown = False

    def ack(self, delivery_tag: str) -> None:
        if not self.channel.closed:
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if not self.channel.closed:
            super().reject(delivery_tag, requeue=requeue)


def survive_broker_loss() -> None:
    """Let every Redis channel of this process, through Sentinel too, use :class:`ForgivingQoS`."""
    Channel.QoS = ForgivingQoS
