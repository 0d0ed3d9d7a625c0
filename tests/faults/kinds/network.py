"""The network between pman and a Redis that is well."""

from collections.abc import Sequence
from random import Random

from tests.faults.kinds.base import NOBODY, cut_again_and_again
from tests.faults.kinds.redis import OfRedis
from tests.faults.stage import REDIS_TIMEOUT_S, Stage


class Slow(OfRedis):
    """Replies that come late, some of them later than pman waits."""

    name = "redis-slow"

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        stage.proxy.slow_down(REDIS_TIMEOUT_S * rng.choice((0.05, 0.2, 0.7, 1.3)))
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        stage.proxy.restore()


class Refused(Slow):
    """Every connection is cut and no new one is taken."""

    name = "redis-refused"

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        stage.proxy.refuse()
        return NOBODY


class HalfOpen(Slow):
    """Connections that look well and carry nothing."""

    name = "redis-half-open"

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        stage.proxy.swallow()
        return NOBODY


class Cut(OfRedis):
    """All connections cut, again and again; new ones are taken at once."""

    name = "redis-cut"
    lasts_s = (0.0, 0.0)

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        return cut_again_and_again(stage.proxy.cut, 10, rng)


NETWORK: Sequence[OfRedis] = (Slow(), Refused(), HalfOpen(), Cut())
