"""What Redis itself can suffer. Its append-only file is on, as the README asks for; see ``System.start_redis``."""

import signal
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from tests.faults.evidence import Effect
from tests.faults.kinds.base import NOBODY, Fault
from tests.faults.plan import Choice
from tests.faults.stage import OBSERVERS, Stage


class OfRedis(Fault):
    targets = ("redis",)
    effects = frozenset({Effect.STORE_AWAY})


class Restart(OfRedis):
    name = "redis-restart"

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        stage.system.stop_redis()
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        stage.system.start_redis()


class Kill(Restart):
    name = "redis-kill"

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        stage.system.stop_redis(kill=True)
        return NOBODY


class Stop(OfRedis):
    name = "redis-stop"

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        stage.signal_redis(signal.SIGSTOP)
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        stage.signal_redis(signal.SIGCONT)


class Wipe(OfRedis):
    """Everything in it is gone, its file too. Observers are left alone until the sweep after it is done.

    docs/state.md says why: a wipe together with a new observer is what remains.
    """

    name = "redis-wipe"

    def occupies(self, target: str) -> frozenset[str]:
        return frozenset({target, "queues", *OBSERVERS})

    def choices(self, lease_s: float) -> list[Choice]:
        return [replace(choice, lasts_s=(lease_s + 10, lease_s + 10)) for choice in super().choices(lease_s)]

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        stage.redis.flushall()
        return NOBODY


WIPE = Wipe()
REDIS: Sequence[Fault] = (Restart(), Kill(), Stop())
