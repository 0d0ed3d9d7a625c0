"""Celery messages that come twice, in another order, never, or long after their time, some in Celery's own format."""

import time
from collections.abc import Sequence
from random import Random

from pman_core.broker import QueuePublisher, make_celery
from pman_core.queues import PURPOSE, Task, key_prefix, queue_name
from pman_core.settings import load_settings
from tests.faults.evidence import Effect
from tests.faults.kinds.base import NOBODY, Fault
from tests.faults.stage import INSTANCE, Stage

TWICE = "for _, m in ipairs(redis.call('LRANGE', KEYS[1], 0, 50)) do redis.call('LPUSH', KEYS[1], m) end"
LOST = "redis.call('DEL', KEYS[1])"
BACKWARDS = """
local all = redis.call('LRANGE', KEYS[1], 0, -1)
redis.call('DEL', KEYS[1])
for _, m in ipairs(all) do redis.call('LPUSH', KEYS[1], m) end
"""
STEP_S = 0.05
LATE = 60


class Rewritten(Fault):
    """For a while the queues are rewritten in place, twenty times a second."""

    targets = ("queues",)
    lasts_s = (0.0, 0.0)

    def __init__(self, what: str, script: str) -> None:
        self.name = f"messages-{what}"
        self._script = script

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        until_s = time.monotonic() + rng.uniform(1, 5)
        while time.monotonic() < until_s:
            for task in (Task.SUBMIT, Task.DELETE):
                queue = queue_name(stage.system.backend, PURPOSE[task])
                stage.redis.eval(self._script, 1, key_prefix(INSTANCE) + queue)
            time.sleep(STEP_S)
        return NOBODY

    def occupies(self, target: str) -> frozenset[str]:
        return frozenset({"redis", "queues"})


class Late(Fault):
    """Submits of any job there ever was, and deletes of what was deleted, once more.

    Half of them as Celery itself writes them: in the format of another release.
    """

    name = "messages-late"
    targets = ("queues",)
    lasts_s = (0.0, 0.0)

    def occupies(self, target: str) -> frozenset[str]:
        return frozenset({"redis", "queues"})

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        system = stage.system
        settings = load_settings(
            container_env=system.backend, redis_url=system.redis_url, storebase=system.store_base,
            pman_instance=INSTANCE,
        )  # fmt: skip
        app = make_celery(settings)
        publisher = QueuePublisher(app, system.backend, system.connect_store())
        known = stage.known_generations()
        for jid, generation, is_deleted in rng.sample(known, min(LATE, len(known))):
            for task in (Task.SUBMIT, Task.DELETE) if is_deleted else (Task.SUBMIT,):
                if rng.random() < 0.5:
                    publisher.publish(task, jid, generation)
                else:
                    app.send_task(task.value, args=(jid, generation), queue=queue_name(system.backend, PURPOSE[task]))
        app.close()
        return NOBODY


class FullOfMessages(Late):
    """Redis is at its memory limit and evicts nothing, while messages wait: even to take one is a write."""

    name = "redis-full"
    lasts_s = (1.0, 5.0)
    effects = frozenset({Effect.STORE_AWAY})

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        super().begin(stage, target, rng)
        stage.redis.config_set("maxmemory", 1)
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        stage.redis.config_set("maxmemory", 0)


MESSAGES: Sequence[Fault] = (
    Rewritten("twice", TWICE),
    Rewritten("backwards", BACKWARDS),
    Rewritten("lost", LOST),
    Late(),
    FullOfMessages(),
)
